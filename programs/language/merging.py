"""Equal subexpressions made one object, so that "the same s-op" can be asked with `is`."""

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, Tokens
from gaugeblock.programs.language.operations import apply, value_signature
from gaugeblock.programs.language.selector import And, Get, Mean, Not, Or, Select, Sum
from gaugeblock.programs.language.tree import Node, called_like, children, postorder


def merge(*roots: Node) -> tuple[Any, ...]:
    """The same expressions, in which nodes that compute the same by the same functions are one object.

    Functions of constants become constants. Merged nodes keep the name that came first and where it was written;
    a `.get` is marked unique if one of those merged is. The nodes given are left as they are.
    """
    return Merger()(*roots)


class Merger:
    """Merges expressions one after another (see `merge`): equal nodes of different calls are one object too."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Any] = {}
        self._merged: dict[Node, Any] = {}

    def __call__(self, *roots: Node) -> tuple[Any, ...]:
        for node in postorder(*roots, leaves=self._merged):
            if node not in self._merged:
                self._merged[node] = self._merge(node)
        return tuple(self._merged[root] for root in roots)

    def _merge(self, node: Node) -> Any:
        built = _folded(rebuilt(node, {id(child): self._merged[child] for child in children(node)}))
        merged = self._known.setdefault(signature(built), built)
        if (merged is built and built is not node) or merged.name is None:
            merged.name, merged.origin = node.name, node.origin
        if isinstance(node, Get) and node.unique:
            merged.unique = True
        return merged


def rebuilt(node: Node, new: dict[int, Any]) -> Any:
    """A copy of the node over the replacements of its children, with its name and line; `Tokens` and `Indices` are
    given as they are."""
    return called_like(_copied(node, new), node)


def _copied(node: Node, new: dict[int, Any]) -> Any:
    parts = tuple(new[id(child)] for child in children(node))
    match node:
        case Constant(value=value):
            return Constant(value)
        case Elementwise(f=f):
            return Elementwise(f, parts)
        case Get():
            selector, value, *score = parts
            return Get(selector, value, node.default, score[0] if score else None, node.largest, node.unique)
        case Mean():
            selector, value = parts
            return Mean(selector, value, node.default)
        case Sum():
            return Sum(*parts)
        case Select():
            key, query = parts
            return Select(key, query, node.predicate)
        case And():
            return And(parts)
        case Or():
            return Or(parts)
        case Not():
            return Not(*parts)
    return node


def signature(node: Node) -> tuple[Any, ...]:
    """Equal for nodes that do the same with the same (identical) children. Whether a `.get` is `unique` is no part."""
    parts = tuple(id(child) for child in children(node))
    match node:
        case Constant(value=value):
            return Constant, value_signature(value)
        case Tokens(part=part):
            return Tokens, function_signature(part)
        case Indices():
            return (Indices,)
        case Elementwise(f=f):
            return Elementwise, function_signature(f), parts
        case Select(predicate=predicate):
            return Select, function_signature(predicate), parts
        case Get():
            return Get, parts, value_signature(node.default), node.largest or node.score is None
        case Mean():
            return Mean, parts, value_signature(node.default)
    return type(node), parts


def function_signature(f: Callable[..., Any] | None, within: tuple[int, ...] = ()) -> Any:
    """Equal for functions that are the same object, or the same code over the same values.

    Functions made by running the same `lambda` or `def` twice are equal where all they close over is.
    `within` are the functions, by id, that are being looked into already.
    """
    if id(f) in within:
        return "recursion", within.index(id(f))
    within = (*within, id(f))

    def captured(value: Any) -> Any:
        functions = (FunctionType, partial)
        return function_signature(value, within) if isinstance(value, functions) else value_signature(value)

    if isinstance(f, partial):
        keywords = tuple((k, captured(v)) for k, v in f.keywords.items())
        return partial, captured(f.func), tuple(map(captured, f.args)), keywords
    if not isinstance(f, FunctionType):
        return value_signature(f)
    try:
        closed = tuple(captured(cell.cell_contents) for cell in f.__closure__ or ())
    except ValueError:  # a variable that has no value yet
        return id(f)
    keywords = tuple((k, captured(v)) for k, v in (f.__kwdefaults__ or {}).items())
    return f.__code__, id(f.__globals__), closed, tuple(map(captured, f.__defaults__ or ())), keywords


def _folded(node: Any) -> Any:
    """A function of constants as the constant that it is; as it stands where the function raises."""
    if not isinstance(node, Elementwise) or not all(isinstance(x, Constant) for x in node.operands):
        return node
    try:
        return Constant(apply(node.f, tuple(x.value for x in node.operands)))  # type: ignore[attr-defined]
    except Exception:  # whatever a user's function raises; the interpreter tells where
        return node
