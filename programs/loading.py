"""Code that is found rather than imported by name: functions of a user's own file, modules of a folder of ours."""

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
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
    function = getattr(module, name, None)
    if not callable(function):
        defined = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
        raise UnknownName(f"function in {path}", name, defined)
    return function


def submodules(package: str, path: Iterable[str]) -> list[ModuleType]:
    """The modules of a package that are in its folder, by name, imported: called with `__name__` and `__path__`.

    So that a new program or method is one new file, and no list names it.
    """
    return [importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(path)]
