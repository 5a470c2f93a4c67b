"""Functions of a user's own file, given as "file.py:function"."""

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gaugeblock.programs.errors import GaugeblockError, UnknownName


def function_in(path: Path, name: str, error: type[GaugeblockError]) -> Callable[..., Any]:
    """The function of a Python file, which is run. Raises `error` where that fails, UnknownName for another name."""
    if not path.is_file():
        raise error(f"there is no file {path} to take the function {name!r} from")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as problem:
        raise error(f"{path} could not be imported: {type(problem).__name__}: {problem}") from problem
    found = getattr(module, name, None)
    if not callable(found):
        own = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
        raise UnknownName(f"function in {path}", name, own)
    return found
