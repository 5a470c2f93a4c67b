"""Who can be put on the leaderboard: registered methods, a user's own functions, and the controls."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaugeblock.evaluation.controls import CONTROLS
from gaugeblock.methods.registry import Attribution, Method, attribution, get_method, method_names, pool
from gaugeblock.programs.errors import MethodError, UnknownName

if TYPE_CHECKING:
    from gaugeblock.cases.case import Case
    from gaugeblock.methods.task import Task

Given = str | Callable[..., dict[str, float]]


@dataclass(frozen=True)
class Entrant:
    """A method, or a control, which may know the truth that a method may not.

    Attributes:
        level: what it scores: edges, or nodes that are lifted to edges.
        signed: whether the score ranks, rather than |score|.
    """

    name: str
    level: str
    signed: bool
    function: Callable[..., Mapping[str, float]]
    method: Method | None

    @property
    def control(self) -> bool:
        """Whether it is there to show what the numbers mean, and has no rank."""
        return self.method is None or self.method.control

    @cached_property
    def source(self) -> str | None:
        """Hash of the file a user's function stands in, so that an edited one is seen; None for our own."""
        if self.function.__module__.partition(".")[0] == "gaugeblock":
            return None
        file = inspect.getsourcefile(self.function)
        if file is not None and Path(file).is_file():
            return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
        code = self.function.__code__
        return hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()[:16]

    def params(self, given: dict[str, Any]) -> dict[str, Any]:
        """All parameters of the method, with its defaults where nothing is given."""
        if self.method is None:
            return dict(given)
        accepted = list(inspect.signature(self.function).parameters.values())[1:]
        defaults = {p.name: p.default for p in accepted if p.default is not p.empty}
        return defaults | given

    def scores(self, case: "Case", task: "Task", params: dict[str, Any]) -> Attribution:
        """One score per edge and one per node. Raises MethodError."""
        if self.method is not None:
            return attribution(self.method, task, **params)
        if params:
            raise MethodError(f"control {self.name!r} takes no parameters, got {', '.join(params)}")
        edges = dict(self.function(case, task.ablation))
        return Attribution(edges, pool(edges, task.graph))


def entrant(given: Given) -> Entrant:
    """The method or control of a name, "file.py:function", or a function. Raises UnknownName or MethodError."""
    if isinstance(given, str) and given in CONTROLS:
        return Entrant(given, "edges", False, CONTROLS[given], None)
    if isinstance(given, str) and ":" not in given and given not in method_names():
        raise UnknownName("method or control", given, entrant_names())
    method = get_method(given)
    return Entrant(method.name, method.level, method.signed, method.function, method)


def entrant_names() -> list[str]:
    """All registered methods, then the controls."""
    return [*(name for name in method_names() if name not in CONTROLS), *CONTROLS]
