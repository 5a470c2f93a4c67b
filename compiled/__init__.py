"""From program to HookedTransformer: the compiler, the compiled model, its graph and its variants."""

if __name__ == "compiled":
    raise ImportError("'compiled/' is the package gaugeblock.compiled: import gaugeblock.compiled")

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.components import From, Linear, Mean, Pattern, SwapError, Values, Zero
from gaugeblock.compiled.files import load
from gaugeblock.compiled.fragments.directions import fitted_read, fitted_write, reads_of, writes_of
from gaugeblock.compiled.fragments.fragment import Fragment, compile_fragment
from gaugeblock.compiled.fragments.ports import Categorical, Line, Number, Vectors
from gaugeblock.compiled.graph import Graph
from gaugeblock.compiled.model import CompiledModel, Provenance
from gaugeblock.compiled.swapped_files import load_swapped, save_swapped
from gaugeblock.compiled.swapping import swap

__all__ = [
    "Categorical",
    "CompiledModel",
    "Fragment",
    "From",
    "Graph",
    "Line",
    "Linear",
    "Mean",
    "Number",
    "Pattern",
    "Provenance",
    "SwapError",
    "Values",
    "Vectors",
    "Zero",
    "compile",
    "compile_fragment",
    "fitted_read",
    "fitted_write",
    "load",
    "load_swapped",
    "reads_of",
    "save_swapped",
    "swap",
    "writes_of",
]
