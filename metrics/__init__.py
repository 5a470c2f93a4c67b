"""Pure functions from scores and labels to numbers: recovery and faithfulness."""

if __name__ == "metrics":
    raise ImportError("the folder 'metrics/' is the package 'gaugeblock.metrics': import gaugeblock.metrics")
