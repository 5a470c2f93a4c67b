"""The patching engine, and attribution and patching methods that run on it. Importing it registers the methods."""

if __name__ == "methods":
    raise ImportError("'methods/' is the package gaugeblock.methods: import gaugeblock.methods")

from gaugeblock.methods import circuits
from gaugeblock.methods.attribute import attribute
from gaugeblock.methods.check import check_method
from gaugeblock.methods.engine.engine import Engine
from gaugeblock.methods.registry import Method, get_method, method, method_names, run_method
from gaugeblock.methods.task import Task

__all__ = [
    "Engine",
    "Method",
    "Task",
    "attribute",
    "check_method",
    "get_method",
    "method",
    "method_names",
    "run_method",
]
