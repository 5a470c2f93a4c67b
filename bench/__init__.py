"""gaugeblock: an interpretability benchmark built from compiled transformers with certified circuits.

The names below load on first use, because torch and transformer_lens take seconds to import.
"""

if __name__ == "bench":
    raise ImportError("the folder 'bench/' is the package 'gaugeblock': import gaugeblock")

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gaugeblock import compiled, methods, metrics, programs
    from gaugeblock.cases import case
    from gaugeblock.comparing import compare, swap_search
    from gaugeblock.compiled import compile, load
    from gaugeblock.evaluation import evaluate
    from gaugeblock.methods import attribute, check_method, method
    from gaugeblock.programs import Program
    from gaugeblock.programs.errors import GaugeblockError
    from gaugeblock.running.runner import run
    from gaugeblock.suites.named import suite

_MODULES = ("programs", "compiled", "methods", "metrics")
_NAMES = {
    "Program": "gaugeblock.programs",
    "GaugeblockError": "gaugeblock.programs.errors",
    "compile": "gaugeblock.compiled",
    "load": "gaugeblock.compiled",
    "case": "gaugeblock.cases",
    "suite": "gaugeblock.suites.named",
    "compare": "gaugeblock.comparing",
    "swap_search": "gaugeblock.comparing",
    "evaluate": "gaugeblock.evaluation",
    "run": "gaugeblock.running.runner",
    "method": "gaugeblock.methods",
    "attribute": "gaugeblock.methods",
    "check_method": "gaugeblock.methods",
}

__all__ = [
    "GaugeblockError",
    "Program",
    "attribute",
    "case",
    "check_method",
    "compare",
    "compile",
    "compiled",
    "evaluate",
    "load",
    "method",
    "methods",
    "metrics",
    "programs",
    "run",
    "suite",
    "swap_search",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name in _NAMES:
        value = globals()[name] = getattr(import_module(_NAMES[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
