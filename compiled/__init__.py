"""From program to HookedTransformer: the compiler, the compiled model, its graph and its variants."""

if __name__ == "compiled":
    raise ImportError("'compiled/' is the package gaugeblock.compiled: import gaugeblock.compiled")

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.files import load
from gaugeblock.compiled.graph import Graph
from gaugeblock.compiled.model import CompiledModel, Provenance

__all__ = ["CompiledModel", "Graph", "Provenance", "compile", "load"]
