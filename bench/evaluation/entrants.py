"""Who can be put on the leaderboard: registered methods, a user's own functions, and controls.

Controls know something a method may not know, to show what the numbers mean: `oracle` knows the truth, `prior` knows
where circuits of other programs lie but never looks at the model, and `weights` knows the graded columns of the
unembedding and never runs the model.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gaugeblock.compiled.edges.graph import parse_edge
from gaugeblock.compiled.edges.live import input_map, output_map
from gaugeblock.evaluation.process_state import kept_state
from gaugeblock.methods.registry import Attribution, Method, attribution, get_method, method_names, pool
from gaugeblock.metrics.recovery import stratum
from gaugeblock.programs.errors import MethodError, UnknownName

if TYPE_CHECKING:
    from gaugeblock.cases.case import Case
    from gaugeblock.methods.task import Task

MethodLike = str | Callable[..., dict[str, float]]
"""How a user names a method: a registered name, "file.py:function", or a function."""


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

    def params(self, changed: dict[str, Any]) -> dict[str, Any]:
        """Return all parameters of the method: its defaults, with some changed."""
        if self.method is None:
            return dict(changed)
        accepted = list(inspect.signature(self.function).parameters.values())[1:]
        return {p.name: p.default for p in accepted if p.default is not p.empty} | changed

    def scores(self, case: "Case", task: "Task", params: dict[str, Any]) -> Attribution:
        """Return one score per edge and one per node. Raises MethodError."""
        if self.method is not None:
            return attribution(self.method, task, **params)
        if params:
            raise MethodError(f"control {self.name!r} takes no parameters, got {', '.join(params)}")
        edges = dict(self.function(case, task.ablation))
        return Attribution(edges, pool(edges, task.graph))


def entrant(method: MethodLike) -> Entrant:
    """Return the method or control of a name, "file.py:function", or a function.

    Raises UnknownName or MethodError.

    >>> entrant("eap_ig").control, entrant("oracle").control
    (False, True)
    """
    if isinstance(method, str) and method in CONTROLS:
        return Entrant(method, "edges", False, CONTROLS[method], None)
    with kept_state():  # whatever the method's file does when it is loaded
        if isinstance(method, str) and ":" not in method and method not in method_names():
            raise UnknownName("method or control", method, entrant_names())
        known = get_method(method)
    return Entrant(known.name, known.level, known.signed, known.function, known)


def entrant_names() -> list[str]:
    """Return the names of all registered methods, then of the controls."""
    return [*(name for name in method_names() if name not in CONTROLS), *CONTROLS]


# --- controls --------------------------------------------------------------------------------------------------------


def oracle(case: "Case", ablation: str) -> dict[str, float]:
    """Score every positive 1 and all else 0: the ceiling of every recovery score."""
    truth = case.truth(ablation)
    return {edge: float(edge in truth.positives) for edge in case.model.graph.edges}


def weights(case: "Case", ablation: str) -> dict[str, float]:
    """Score by the backward slice from the unembedding, then by the Frobenius norm of the weights W_out · W_read.

    Live edges rank above all others. Uses no data. Both parts do not depend on the residual basis.
    """
    model = case.model
    norms = {edge: _virtual_norm(case, edge) for edge in model.graph.edges}
    largest = max(norms.values()) or 1.0
    return {edge: float(edge in model.live_edges) + norm / (2 * largest) for edge, norm in norms.items()}


def prior(case: "Case", ablation: str) -> dict[str, float]:
    """Score an edge by how often one in its place is a positive in the circuits of other programs.

    A place is (kind and layer of the writer; kind, layer and port of the reader). Heads of a layer are exchangeable,
    so their numbers carry nothing. Never looks at the model. The frequencies are frozen in data/prior.json; the
    case's own program is left out.
    """
    tables = [table for program, table in frozen_prior().items() if program != case.program.name]
    frequency = {place: sum(t.get(place, 0.0) for t in tables) / len(tables) for t in tables for place in t}
    return {edge: frequency.get(place(edge), 0.0) for edge in case.model.graph.edges}


CONTROLS: dict[str, Callable[["Case", str], dict[str, float]]] = {"oracle": oracle, "prior": prior, "weights": weights}


def place(edge: str) -> str:
    """Return the place of an edge, a key of data/prior.json.

    >>> place("a0.h3->a1.h2.k")
    'head 0 > head 1 k'
    """
    writer, layer, reader, reader_layer, port = stratum(edge)
    ends = [f"{kind} {at}" if at >= 0 else kind for kind, at in ((writer, layer), (reader, reader_layer))]
    return f"{ends[0]} > {ends[1]} {port}".strip()


@lru_cache(maxsize=1)
def frozen_prior() -> dict[str, dict[str, float]]:
    """Return program -> place -> share of its edges there that are positives; see benchmarks/learn_prior.py."""
    return json.loads(files("gaugeblock.evaluation").joinpath("data/prior.json").read_text())["programs"]


def _virtual_norm(case: "Case", edge: str) -> float:
    writer, reader = parse_edge(edge)
    out, read = output_map(case.model.weights, writer), input_map(case.model.weights, reader)
    return float(np.linalg.norm(out @ read))
