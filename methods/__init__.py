"""The patching engine, and attribution, patching and representation methods that run on it."""

if __name__ == "methods":
    raise ImportError("the folder 'methods/' is the package 'gaugeblock.methods': import gaugeblock.methods")
