"""From program to HookedTransformer: the compiler, the compiled model, its graph and its variants."""

if __name__ == "compiled":
    raise ImportError("'compiled/' is the package gaugeblock.compiled: import gaugeblock.compiled")

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.components import From, Linear, Mean, Pattern, SwapError, Values, Zero
from gaugeblock.compiled.files import load
from gaugeblock.compiled.graph import Graph
from gaugeblock.compiled.model import CompiledModel, Provenance
from gaugeblock.compiled.swapped_files import load_swapped, save_swapped
from gaugeblock.compiled.swapping import swap

__all__ = [
    "CompiledModel",
    "From",
    "Graph",
    "Linear",
    "Mean",
    "Pattern",
    "Provenance",
    "SwapError",
    "Values",
    "Zero",
    "compile",
    "load",
    "load_swapped",
    "save_swapped",
    "swap",
]
