"""From program to HookedTransformer: the compiler, the compiled model, its graph and variants."""

if __name__ == "compiled":
    raise ImportError("the folder 'compiled/' is the package 'gaugeblock.compiled': import gaugeblock.compiled")
