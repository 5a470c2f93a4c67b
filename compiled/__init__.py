"""From program to HookedTransformer: the compiler, the compiled model, its graph and its variants.

The names below load on first use: the names of edges are here, and who only needs those does not wait for torch.
"""

if __name__ == "compiled":
    raise ImportError("'compiled/' is the package gaugeblock.compiled: import gaugeblock.compiled")

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from gaugeblock.compiled.compiler import compile
    from gaugeblock.compiled.edges.graph import Graph
    from gaugeblock.compiled.loading import load
    from gaugeblock.compiled.model import CompiledModel, Provenance
    from gaugeblock.compiled.stages.hooked import split_inputs
    from gaugeblock.compiled.swapping.components import From, Linear, Mean, Pattern, SwapError, Values, Zero
    from gaugeblock.compiled.swapping.files import load_swapped, save_swapped
    from gaugeblock.compiled.swapping.fragments.directions import fitted_read, fitted_write, reads_of, writes_of
    from gaugeblock.compiled.swapping.fragments.fragment import Fragment, compile_fragment
    from gaugeblock.compiled.swapping.fragments.ports import Categorical, Line, Number, Vectors
    from gaugeblock.compiled.swapping.swap import swap

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "compiler": ["compile"],
        "edges.graph": ["Graph"],
        "loading": ["load"],
        "model": ["CompiledModel", "Provenance"],
        "stages.hooked": ["split_inputs"],
        "swapping.components": ["From", "Linear", "Mean", "Pattern", "SwapError", "Values", "Zero"],
        "swapping.files": ["load_swapped", "save_swapped"],
        "swapping.fragments.directions": ["fitted_read", "fitted_write", "reads_of", "writes_of"],
        "swapping.fragments.fragment": ["Fragment", "compile_fragment"],
        "swapping.fragments.ports": ["Categorical", "Line", "Number", "Vectors"],
        "swapping.swap": ["swap"],
    },
)
