"""gaugeblock: an interpretability benchmark built from compiled transformers with certified circuits.

The names below load on first use, because torch and transformer_lens take seconds to import.
"""

if __name__ == "bench":
    raise ImportError("the folder 'bench/' is the package 'gaugeblock': import gaugeblock")

from importlib.metadata import version
from typing import TYPE_CHECKING

import lazy_loader

__version__ = version("gaugeblock")

if TYPE_CHECKING:
    from gaugeblock import compiled, methods, metrics, programs
    from gaugeblock.cases.case import case
    from gaugeblock.comparison.compare import compare
    from gaugeblock.comparison.search import swap_search
    from gaugeblock.compiled.compiler import compile
    from gaugeblock.compiled.explain import explain
    from gaugeblock.compiled.loading import load
    from gaugeblock.evaluation.evaluate import evaluate
    from gaugeblock.methods import attribute, check_method, method
    from gaugeblock.programs.errors import GaugeblockError
    from gaugeblock.programs.program import Program
    from gaugeblock.running.runner import run
    from gaugeblock.suites.suites import suite

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules={"compiled", "methods", "metrics", "programs"},
    submod_attrs={
        "cases.case": ["case"],
        "comparison.compare": ["compare"],
        "comparison.search": ["swap_search"],
        "compiled.compiler": ["compile"],
        "compiled.explain": ["explain"],
        "compiled.loading": ["load"],
        "evaluation.evaluate": ["evaluate"],
        "methods": ["attribute", "check_method", "method"],
        "programs.errors": ["GaugeblockError"],
        "programs.program": ["Program"],
        "running.runner": ["run"],
        "suites.suites": ["suite"],
    },
)
