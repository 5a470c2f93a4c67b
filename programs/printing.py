"""The one printer of expressions and values: short text, much as a program writes them."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, final

from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import (
    MISSING,
    IsIn,
    Local,
    Round,
    SameBlock,
    Strided,
    always,
    choose,
    divide,
    edge_targets,
    is_defined,
    key_holds,
    leads_to,
    query_holds,
    together,
)
from gaugeblock.programs.language.selector import And, Get, Mean, Not, Or, Select, Sum
from gaugeblock.programs.language.tree import Node

MAX_DEPTH: Final = 6
"""Operands further below an expression are printed as an ellipsis."""

SIGNS: Final[dict[Callable[..., Any], str]] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    divide: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.and_: "&",
    operator.or_: "|",
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
_PREFIXES: Final[dict[Callable[..., Any], str]] = {operator.not_: "~", operator.neg: "-"}
_FUNCTIONS: Final[dict[Callable[..., Any], str]] = {choose: "where", is_defined: "defined", together: "together"}
_KINDS: Final[dict[type, str]] = {Local: "local", Strided: "strided", SameBlock: "same_block"}


def value_text(value: Any) -> str:
    """A value as it stands in a cell: T and F for booleans, – for undefined, letters without quotation marks.

    >>> " ".join(map(value_text, [None, True, "a", 0.3333333, frozenset({2, 1}), (1, "b")]))
    '– T a 0.3333 {1,2} (1,b)'
    """
    match value:
        case None:
            return "–"
        case True | False:
            return "T" if value else "F"
        case str():
            return value if value.strip() and value.isprintable() else repr(value)
        case float():
            return f"{value:.4g}"
        case Fraction() if max(value.denominator, abs(value.numerator)) > 999:
            return f"{float(value):.3g}"
        case frozenset():
            return "{" + ",".join(map(value_text, sorted(value, key=repr))) + "}"
        case tuple():
            return "(" + ",".join(map(value_text, value)) + ")"
    return str(value)


@final
@dataclass(frozen=True)
class Printer:
    """Prints expressions, with names for what they are made of.

    >>> from gaugeblock.programs import key, query
    >>> Printer().formula((key(Tokens()) == query(Tokens())).count())
    '(key(tokens) == query(tokens)).count()'

    Attributes:
        names: by id, for nodes that are to be called so instead of by their own name.
    """

    names: Mapping[int, str] = field(default_factory=dict)

    def formula(self, node: Node) -> str:
        """The expression itself."""
        return self._printed(node, 0)

    def label(self, node: Node) -> str:
        """The name of an expression, or the expression."""
        return self._name(node) or self.formula(node)

    def _name(self, node: Node) -> str | None:
        if isinstance(node, Tokens) and node.part is edge_targets:
            return "edges"
        return self.names.get(id(node), node.name)

    def _whole(self, node: Node, depth: int) -> str:
        """Something that stands between parentheses already: its name or its text."""
        return self._name(node) or (self._printed(node, depth) if depth <= MAX_DEPTH else "…")

    def _part(self, node: Node, depth: int) -> str:
        """An operand: its name or its text, in parentheses where it needs them."""
        match node:
            case And() | Or():
                infix = True
            case Elementwise(f=f) | Select(predicate=f):
                infix = f in SIGNS or f in _PREFIXES
            case _:
                infix = False
        text = self._whole(node, depth)
        return f"({text})" if infix and text not in (self._name(node), "…") else text

    def _printed(self, node: Node, depth: int) -> str:
        below = depth + 1
        match node:
            case Tokens() | Indices():
                return self._name(node) or type(node).__name__.lower()
            case Constant(value=value):
                return repr(value)
            case Elementwise(f=f, operands=operands):
                infix = f in SIGNS or f in _PREFIXES
                return _elementwise(f, [self._part(x, below) if infix else self._whole(x, below) for x in operands])
            case Select():
                return self._select(node, below)
            case And(operands=parts):
                return " & ".join(self._part(x, below) for x in parts)
            case Or(operands=parts):
                return " | ".join(self._part(x, below) for x in parts)
            case Not(operand=operand):
                return f"~{self._part(operand, below)}"
            case Get() | Mean() | Sum():
                return self._reduction(node, below)
        raise TypeError(f"{node!r} is not part of the language")

    def _select(self, node: Select, depth: int) -> str:
        f = node.predicate
        if f is always:
            return "everything"
        if f is leads_to:
            return "edges"
        if isinstance(f, (Local, Strided, SameBlock)):
            return f"{_KINDS[type(f)]}({f.n})"
        key, query = self._whole(node.key, depth), self._whole(node.query, depth)
        if f is key_holds:
            return f"key({key})"
        if f is query_holds:
            return f"query({query})"
        if f in SIGNS:
            return f"key({key}) {SIGNS[f]} query({query})"
        return f"select({key}, {query}, {_called(f)})"

    def _reduction(self, node: Get | Mean | Sum, depth: int) -> str:
        match node:
            case Get(selector=And(operands=(asked, Select(key=held, predicate=f)))) if is_any(node) and f is key_holds:
                of = "" if isinstance(held, Constant) else self._whole(held, depth)
                return f"{self._part(asked, depth)}.any({of})"
        selector, value = self._part(node.selector, depth), self._whole(node.value, depth)
        if isinstance(node, Sum):
            return f"{selector}.count()" if is_count(node) else f"{selector}.sum({value})"
        if isinstance(node, Get):
            if node.score is not None:
                score = self._whole(node.score, depth)
                selector += f".best({score}{'' if node.largest else ', largest=False'})"
        default = "" if node.default is MISSING else f", {node.default!r}"
        return f"{selector}.{'get' if isinstance(node, Get) else 'mean'}({value}{default})"


def is_any(node: SOp) -> bool:
    """Whether this is a reduction that asks only if some key is selected."""
    return (
        isinstance(node, Get)
        and isinstance(node.value, Constant)
        and node.value.value is True
        and node.default is False
    )


def is_count(node: SOp) -> bool:
    """Whether this is a sum of ones."""
    return isinstance(node, Sum) and isinstance(node.value, Constant) and node.value.value == 1


def _elementwise(f: Callable[..., Any], operands: list[str]) -> str:
    if f in SIGNS and len(operands) == 2:
        return f"{operands[0]} {SIGNS[f]} {operands[1]}"
    if f in _PREFIXES:
        return _PREFIXES[f] + operands[0]
    if isinstance(f, IsIn):
        return f"{operands[0]}.isin({value_text(f.values)})"
    if isinstance(f, Round):
        return f"round({', '.join(operands)})"
    return f"{_FUNCTIONS.get(f) or _called(f)}({', '.join(operands)})"


def _called(f: Callable[..., Any]) -> str:
    """A user's function by its name, or f."""
    name = getattr(f, "__name__", "f")
    return "f" if name == "<lambda>" else name
