"""Methods by name, and the protocol they keep: `(task, **params) -> {edge or node name: score}`."""

import math
import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, TypeVar, final

import torch

from gaugeblock.compiled.edges.graph import Graph, owner, parse_edge
from gaugeblock.methods.guard import left_unchanged, task_unchanged
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import GaugeblockError, InputError, MethodError, UnknownName
from gaugeblock.programs.loading import function_in

Level = Literal["edges", "nodes"]
Function = Callable[..., Mapping[str, float]]
AnyFunction = TypeVar("AnyFunction", bound=Function)


@final
@dataclass(frozen=True)
class Method:
    """A method as it is run.

    Attributes:
        level: whether it scores edges, or nodes, which are then lifted to edges.
        signed: whether the score itself ranks; otherwise |score| does.
        control: whether it is there to show what the numbers mean, and has no rank.

    >>> get_method("activation_patching").level
    'nodes'
    """

    name: str
    level: Level
    signed: bool
    function: Function
    control: bool = False


_METHODS: dict[str, Method] = {}


def method(
    name: str | None = None, level: Level = "edges", signed: bool = False, control: bool = False
) -> Callable[[AnyFunction], AnyFunction]:
    """A decorator that registers a method under a name, by default that of the function.

    >>> @method(level="nodes")
    ... def early(task):
    ...     return {writer: -place for place, writer in enumerate(task.graph.writers)}
    >>> get_method("early").level
    'nodes'
    """
    if level not in ("edges", "nodes"):
        raise MethodError(f"a method scores 'edges' or 'nodes', not {level!r}")

    def register(function: AnyFunction) -> AnyFunction:
        called = name or function.__name__
        _METHODS[called] = Method(called, level, signed, function, control)
        return function

    return register


def method_names() -> list[str]:
    """The names of all registered methods, those of installed plug-ins (entry point group `gaugeblock.methods`) too.

    >>> "eap_ig" in method_names()
    True
    """
    _load_plugins()
    return list(_METHODS)


def get_method(given: "str | Function | Method") -> Method:
    """The method of a name, of "file.py:function", or of a function itself.

    Raises UnknownName, with the nearest names, or MethodError where the file cannot be used.

    >>> get_method("random").control
    True
    >>> get_method(lambda task: dict.fromkeys(task.graph.edges, 1.0)).name
    '<lambda>'
    """
    if isinstance(given, Method):
        return given
    if not isinstance(given, str) and not callable(given):
        raise MethodError(f"a method is a name, 'file.py:function' or a function of a task, not {reprlib.repr(given)}")
    if callable(given):
        known = next((m for m in _METHODS.values() if m.function is given), None)
        return known or Method(getattr(given, "__name__", type(given).__name__), "edges", False, given)
    file, colon, function = given.rpartition(":")
    if colon and file.endswith(".py"):
        return _from_file(Path(file), function)
    _load_plugins()
    if given not in _METHODS:
        raise UnknownName("method", given, _METHODS)
    return _METHODS[given]


@final
@dataclass(frozen=True)
class Attribution:
    """What a method says: one finite score for every edge, and one for every node (writer)."""

    edges: dict[str, float]
    nodes: dict[str, float]


def attribution(given: "str | Function | Method", task: Task, **params: Any) -> Attribution:
    """Run a method, with gradients on. Scores of nodes are lifted to edges, scores of edges pooled to nodes.

    Raises MethodError where the method raises, exits, leaves the model or the task changed (both are put back), misses
    a name, or gives something that is no number, InputError where the metric has no gradient and the method needs one;
    names that do not exist are warned about (`UnknownScores`) and dropped.
    """
    chosen = get_method(given)
    called = f"method {chosen.name!r}"
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            left_unchanged(task.model, called),
            task_unchanged(task, called),
        ):
            scores = chosen.function(task, **params)
    except GaugeblockError:
        raise
    except (Exception, SystemExit) as error:
        of_gradients = isinstance(error, RuntimeError) and any(word in str(error) for word in ("grad", "backward"))
        if of_gradients and (fault := task.gradient_fault()):
            raise InputError(f"{called} takes the metric's gradient, and {fault}; edge_patching needs none") from error
        raise MethodError(f"{called} raised {type(error).__name__}: {error}") from error
    if chosen.level == "edges":
        edges = _checked(chosen, scores, task, task.graph.edges)
        return Attribution(edges, pool(edges, task.graph, chosen.signed))
    nodes = _checked(chosen, scores, task, task.graph.writers)
    return Attribution(lift(nodes, task.graph.edges, chosen.signed), nodes)


def run_method(given: "str | Function | Method", task: Task, **params: Any) -> dict[str, float]:
    """Run a method and return one finite score per edge; see `attribution`.

    >>> import gaugeblock as gb
    >>> model = gb.compile(gb.programs.get("hist").with_size("ab", 3))
    >>> clean, corrupted = model.encode(["aab"]), model.encode(["abb"])
    >>> task = Task.build(model.hooked, model.graph, clean, corrupted, model.real(clean))
    >>> scores = run_method("edge_patching", task)
    >>> sorted(edge for edge, score in scores.items() if score > 1)
    ['a0.h0->m0', 'embed->a0.h0.k', 'embed->a0.h0.q', 'm0->logits']
    """
    return attribution(given, task, **params).edges


def lift(nodes: Mapping[str, float], edges: tuple[str, ...], signed: bool = False) -> dict[str, float]:
    """Edge scores from node scores: the smaller |score| (score, if signed) of the two nodes.

    A head's q, k and v count as the head; `logits` counts as above all others.
    """
    strength = {node: score if signed else abs(score) for node, score in nodes.items()}
    ends = {edge: parse_edge(edge) for edge in edges}
    return {
        edge: min(strength[writer], strength.get(owner(reader), math.inf)) for edge, (writer, reader) in ends.items()
    }


def pool(edges: Mapping[str, float], graph: Graph, signed: bool = False) -> dict[str, float]:
    """Node scores from edge scores: the largest |score| (score, if signed) among the edges out of a node.

    A node is in a circuit as soon as one of its edges is. A writer that no edge leaves gets 0.
    """
    return _largest({writer: graph.outgoing(writer) for writer in graph.writers}, edges, signed)


def pool_ports(edges: Mapping[str, float], graph: Graph, signed: bool = False) -> dict[str, float]:
    """The same for the q, k and v of every head, over the edges into them."""
    ports = [reader for reader in graph.readers if owner(reader) != reader]
    return _largest({port: graph.incoming(port) for port in ports}, edges, signed)


def _largest(groups: Mapping[str, Sequence[str]], edges: Mapping[str, float], signed: bool) -> dict[str, float]:
    return {
        name: max((edges[edge] if signed else abs(edges[edge]) for edge in group), default=0.0)
        for name, group in groups.items()
    }


class UnknownScores(UserWarning):
    """Scores of names that are in no graph, which are dropped."""


def _checked(chosen: Method, scores: Any, task: Task, names: tuple[str, ...]) -> dict[str, float]:
    called = f"method {chosen.name!r}"
    if not isinstance(scores, Mapping):
        raise MethodError(f"{called} returned {type(scores).__name__}; a method returns a dict from names to numbers")
    known = set(names)
    unknown = [name for name in scores if name not in known]
    if missing := [name for name in names if name not in scores]:
        says = f"{called} misses {len(missing)} of {len(names)} {chosen.level}, for example {missing[0]!r}"
        raise MethodError(says + _instead(missing[0], unknown, task.graph))
    if unknown:
        says = f"{called} scored {len(unknown)} unknown names, for example {reprlib.repr(unknown[0])}"
        warnings.warn(says, UnknownScores, stacklevel=3)
    result = {name: _number(called, name, scores[name]) for name in names}
    if wrong := [name for name, score in result.items() if not math.isfinite(score)]:
        says = f"{called} gave {len(wrong)} {chosen.level} NaN or infinity, for example {wrong[0]!r}"
        fault = task.gradient_fault()
        raise MethodError(f"{says}; {fault}" if fault and "NaN" in fault else says)
    return result


def _instead(missing: str, unknown: list[Any], graph: Graph) -> str:
    """What a method scored instead of a name: the nearest of its unknown names, and what they are if all are known."""
    if not unknown:
        return ""
    texts = {str(name): name for name in reversed(unknown)}
    nearest = texts[get_close_matches(missing, texts, n=1, cutoff=0)[0]]
    says = f"; it scored {len(unknown)} unknown names, the nearest {reprlib.repr(nearest)}"
    for level, names in (("edges", graph.edges), ("nodes", graph.writers)):
        if set(texts) <= set(names):
            return f"{says}: they are {level}, so declare it with @method(level={level!r})"
    return says


def _number(called: str, name: str, score: Any) -> float:
    try:
        if isinstance(score, str | bytes):  # float would read them
            raise TypeError
        return float(score)
    except OverflowError:
        raise MethodError(f"{called} gave {name!r} a score that is too large for a float (1.8e308)") from None
    except Exception:
        raise MethodError(f"{called} gave {name!r} the score {reprlib.repr(score)}, which is not a number") from None


def _from_file(path: Path, function: str) -> Method:
    before = dict(_METHODS)
    try:
        loaded = function_in(path, function, MethodError)
        declared = {m.function: m for name, m in _METHODS.items() if before.get(name) is not m}
    finally:
        _METHODS.clear()
        _METHODS.update(before)  # a file's own registrations do not outlive this call
    return declared.get(loaded) or Method(function, "edges", False, loaded)


def _load_plugins() -> None:
    for entry in entry_points(group="gaugeblock.methods"):
        if entry.name not in _METHODS:
            try:
                _METHODS[entry.name] = get_method(entry.load())
            except Exception as error:
                warnings.warn(f"plug-in {entry.name!r} could not be loaded: {error}", stacklevel=3)
