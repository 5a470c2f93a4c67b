"""The expressions a RASP program is made of: s-ops (one value per position) and selectors (queries x keys).

Only seven kinds of s-op exist. Everything else (`any`, `max`, `where`, ...) is written with them, so that the
interpreter and the compiler each have seven cases. Building an expression computes nothing.
"""

import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language.operations import (
    MISSING,
    IsIn,
    Round,
    Value,
    _Missing,
    divide,
    is_defined,
    key_holds,
    plain,
)

_PASSED_OVER = ("gaugeblock.programs.", "jaxtyping", "beartype")


def _origin() -> tuple[str, int] | None:
    """File and line of the user's code in which an expression is being built; None where the compiler builds it."""
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("gaugeblock.compiled."):
            return None
        if not module.startswith(_PASSED_OVER) or module.startswith("gaugeblock.programs.library."):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _no_truth(self: Any) -> bool:
    raise ProgramError(
        "an s-op or selector has no single truth value: use & | ~ instead of and, or, not, "
        "and where(condition, a, b) instead of if; (a < x) & (x < b) for a < x < b, where(a > b, a, b) for max(a, b), "
        "x.isin(values) for x in values"
    )


def _instead(problem: str) -> Callable[..., Any]:
    """A method of Python's that values one per position cannot have; the error says what to write."""

    def method(self: Any, *_: Any) -> Any:
        raise ProgramError(f"{self!r} holds one value per position: {problem}")

    return method


def _short_repr(self: Any) -> str:
    # The expression below a node may be huge, and shared subexpressions would be printed again and again.
    return f"<{type(self).__name__}{f' {self.name}' if self.name else ''}>"


class SOp:
    """A sequence operation: maps an input of length n to n values. Operators build new s-ops elementwise."""

    name: str | None = None
    origin: tuple[str, int] | None = None
    __bool__ = _no_truth
    __hash__ = object.__hash__
    __repr__ = _short_repr
    __iter__ = _instead("it cannot be iterated; for sums, maxima and counts over positions write everything.sum(x)")
    __len__ = _instead("its length is everything.count()")
    __getitem__ = _instead("for the value at index 0 write (key(indices) == 0).get(x)")
    __contains__ = _instead("for `v in x` write (key(x) == v).any(), for `x in (v, w)` x.isin((v, w))")
    __int__ = __float__ = __index__ = _instead("for int, float or a function of math write x.map(int)")
    __xor__ = __rxor__ = _instead("for ^ of truth values write !=, of integers x.map(lambda v: v ^ 1)")

    def __post_init__(self) -> None:
        self.origin = _origin()

    def map(self, f: Callable[[Any], Any]) -> "SOp":
        """f applied to the value at each position; undefined stays undefined."""
        return Elementwise(f, (self,))

    def isin(self, values: Any) -> "SOp":
        """True where the value is one of `values`."""
        return self.map(IsIn(frozenset(values)))

    def defined(self) -> "SOp":
        """True where there is a value, False where it is undefined (None)."""
        return Elementwise(is_defined, (self,))

    def __add__(self, other: Any) -> "SOp":
        return _binary(operator.add, self, other)

    def __radd__(self, other: Any) -> "SOp":
        return _binary(operator.add, other, self)

    def __sub__(self, other: Any) -> "SOp":
        return _binary(operator.sub, self, other)

    def __rsub__(self, other: Any) -> "SOp":
        return _binary(operator.sub, other, self)

    def __mul__(self, other: Any) -> "SOp":
        return _binary(operator.mul, self, other)

    def __rmul__(self, other: Any) -> "SOp":
        return _binary(operator.mul, other, self)

    def __truediv__(self, other: Any) -> "SOp":
        return _binary(divide, self, other)

    def __rtruediv__(self, other: Any) -> "SOp":
        return _binary(divide, other, self)

    def __floordiv__(self, other: Any) -> "SOp":
        return _binary(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> "SOp":
        return _binary(operator.floordiv, other, self)

    def __mod__(self, other: Any) -> "SOp":
        return _binary(operator.mod, self, other)

    def __rmod__(self, other: Any) -> "SOp":
        return _binary(operator.mod, other, self)

    def __pow__(self, other: Any) -> "SOp":
        return _binary(operator.pow, self, other)

    def __rpow__(self, other: Any) -> "SOp":
        return _binary(operator.pow, other, self)

    def __and__(self, other: Any) -> "SOp":
        return _binary(operator.and_, self, other)

    __rand__ = __and__

    def __or__(self, other: Any) -> "SOp":
        return _binary(operator.or_, self, other)

    __ror__ = __or__

    def __eq__(self, other: Any) -> "SOp":  # type: ignore[override]
        return _binary(operator.eq, self, other)

    def __ne__(self, other: Any) -> "SOp":  # type: ignore[override]
        return _binary(operator.ne, self, other)

    def __lt__(self, other: Any) -> "SOp":
        return _binary(operator.lt, self, other)

    def __le__(self, other: Any) -> "SOp":
        return _binary(operator.le, self, other)

    def __gt__(self, other: Any) -> "SOp":
        return _binary(operator.gt, self, other)

    def __ge__(self, other: Any) -> "SOp":
        return _binary(operator.ge, self, other)

    def __invert__(self) -> "SOp":
        return Elementwise(operator.not_, (self,))

    def __neg__(self) -> "SOp":
        return Elementwise(operator.neg, (self,))

    def __pos__(self) -> "SOp":
        return self

    def __abs__(self) -> "SOp":
        return Elementwise(abs, (self,))

    def __round__(self, digits: int | None = None) -> "SOp":
        return Elementwise(Round(digits), (self,))


@final
@dataclass(eq=False, repr=False)
class Tokens(SOp):
    """The input itself or, with a `part`, that part of each of its tokens."""

    name: str | None = "tokens"
    part: Callable[[Any], Value] | None = None


@final
@dataclass(eq=False, repr=False)
class Indices(SOp):
    """0, 1, ..., n - 1."""

    name: str | None = "indices"


@final
@dataclass(eq=False, repr=False)
class Constant(SOp):
    """The same value everywhere."""

    value: Value


@final
@dataclass(eq=False, repr=False)
class Elementwise(SOp):
    """f of the operands' values at the same position; undefined (None) where an operand is undefined."""

    f: Callable[..., Any]
    operands: tuple[SOp, ...]


@final
@dataclass(eq=False, repr=False)
class Get(SOp):
    """The value at the selected key; `default` where none is selected.

    Where several keys are selected their values must agree. With a `score`, only the selected keys with the
    largest score (the smallest if not `largest`) count; a key whose score is undefined never does.
    """

    selector: "Selector"
    value: SOp
    default: Value | _Missing = MISSING
    score: SOp | None = None
    largest: bool = True
    unique: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.default = _constant(self.default)


@final
@dataclass(eq=False, repr=False)
class Mean(SOp):
    """The mean of the value over the selected keys, as an exact fraction; `default` where none is selected.

    Undefined where the value of a selected key is.
    """

    selector: "Selector"
    value: SOp
    default: Value | _Missing = MISSING

    def __post_init__(self) -> None:
        super().__post_init__()
        self.default = _constant(self.default)


@final
@dataclass(eq=False, repr=False)
class Sum(SOp):
    """The sum of the value over the selected keys (0 where none is selected). A count is the sum of 1.

    An int if all the summands are ints or booleans, else an exact fraction. Undefined where a summand is.
    """

    selector: "Selector"
    value: SOp


class Selector:
    """Which keys each query attends to. `&`, `|`, `~` combine selectors; methods reduce values over them."""

    name: str | None = None
    origin: tuple[str, int] | None = None
    __bool__ = _no_truth
    __hash__ = object.__hash__
    __repr__ = _short_repr

    def __post_init__(self) -> None:
        self.origin = _origin()

    def selector(self) -> "Selector":
        """The selector itself; a `key(x)` or `query(x)` that stands alone becomes one."""
        return self

    def __and__(self, other: Any) -> "Selector":
        return And((self.selector(), _as_selector(other)))

    def __or__(self, other: Any) -> "Selector":
        return Or((self.selector(), _as_selector(other)))

    def __invert__(self) -> "Selector":
        return Not(self.selector())

    def get(self, value: Any, default: Any = MISSING, *, unique: bool = False) -> SOp:
        """The value at the one selected key (or of several that agree); see `Get`.

        unique: assert that at most one key is selected where that cannot be proved; shown as an assumption.
        """
        return Get(self.selector(), as_sop(value), default, unique=unique)

    def mean(self, value: Any, default: Any = MISSING) -> SOp:
        """Mean over the selected keys; booleans count as 0 and 1."""
        return Mean(self.selector(), as_sop(value), default)

    def sum(self, value: Any) -> SOp:
        """Sum over the selected keys; booleans count as 0 and 1."""
        return Sum(self.selector(), as_sop(value))

    def count(self) -> SOp:
        """How many keys are selected."""
        return Sum(self.selector(), Constant(1))

    def any(self, value: Any = True) -> SOp:
        """Whether the value holds at some selected key."""
        return Get(self & Select(as_sop(value), Constant(True), key_holds), Constant(True), False)

    def all(self, value: Any) -> SOp:
        """Whether the value holds at all selected keys."""
        return ~self.any(~as_sop(value))

    def max(self, value: Any, default: Any = MISSING) -> SOp:
        """The largest value over the selected keys."""
        return self.best(value).get(value, default)

    def min(self, value: Any, default: Any = MISSING) -> SOp:
        """The smallest value over the selected keys."""
        return self.best(value, largest=False).get(value, default)

    def best(self, score: Any, *, largest: bool = True) -> "Best":
        """Of the selected keys, only those where `score` is largest (smallest if not `largest`)."""
        return Best(self.selector(), as_sop(score), largest)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Best:
    """A selector narrowed to its best-scoring keys; only `.get` reads from it."""

    selector: Selector
    score: SOp
    largest: bool

    def get(self, value: Any, default: Any = MISSING, *, unique: bool = False) -> SOp:
        """The value at the best selected key; see `Get`."""
        return Get(self.selector, as_sop(value), default, self.score, self.largest, unique)


@final
@dataclass(eq=False, repr=False)
class Select(Selector):
    """Key k is selected by query q where predicate(key[k], query[q]); not where either is undefined."""

    key: SOp
    query: SOp
    predicate: Callable[[Any, Any], bool]


@final
@dataclass(eq=False, repr=False)
class And(Selector):
    operands: tuple[Selector, ...]


@final
@dataclass(eq=False, repr=False)
class Or(Selector):
    operands: tuple[Selector, ...]


@final
@dataclass(eq=False, repr=False)
class Not(Selector):
    operand: Selector


def _constant(default: Any) -> Any:
    """A default in the one form that values have."""
    if default is MISSING:
        return default
    if isinstance(default, (SOp, Selector)):
        raise ProgramError(
            f"a default is a constant, not {default!r}: write where(selector.any(), selector.get(x, default=0), other)"
        )
    try:
        return plain(default)
    except TypeError:
        raise ProgramError(f"{default!r} cannot be a default: values are hashable, and no functions") from None


def as_sop(value: Any) -> SOp:
    """The s-op itself, or a constant."""
    if isinstance(value, SOp):
        return value
    if isinstance(value, Selector):
        raise ProgramError("a selector stands where a value is needed: reduce it first, e.g. with .count()")
    try:
        return Constant(plain(value))
    except TypeError:
        raise ProgramError(
            f"{value!r} cannot be a value in a program: values are hashable, and no functions; is a call missing?"
        ) from None


def _as_selector(value: Any) -> Selector:
    if isinstance(value, Selector):
        return value.selector()
    given = type(value).__name__
    raise ProgramError(f"& and | combine selectors, not selector and {given}: write key(...) or query(...)")


def _binary(f: Callable[[Any, Any], Any], a: Any, b: Any) -> SOp:
    if isinstance(a, Selector) or isinstance(b, Selector):
        raise ProgramError("an s-op meets a selector: write key(...) or query(...) on both sides")
    return Elementwise(f, (as_sop(a), as_sop(b)))


Node = SOp | Selector


def children(node: Node) -> tuple[Node, ...]:
    """What a node is computed from, selectors included."""
    match node:
        case Elementwise(operands=operands):
            return operands
        case And(operands=selectors) | Or(operands=selectors):
            return selectors
        case Get():
            scores = () if node.score is None else (node.score,)
            return node.selector, node.value, *scores
        case Mean() | Sum():
            return node.selector, node.value
        case Select():
            return node.key, node.query
        case Not():
            return (node.operand,)
    return ()


def postorder(*roots: Node, leaves: Mapping[Any, Any] | frozenset[Any] = frozenset()) -> Iterator[Node]:
    """Every node below the roots once, children first, going no deeper than `leaves`.

    No recursion, so that chains may be thousands long.
    """
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            if node not in leaves:
                stack.extend((child, False) for child in reversed(children(node)) if id(child) not in seen)


def called_like(result: Any, node: Node) -> Any:
    """`result`, which stands for `node`, with its name and its line."""
    if result is not node:
        result.name, result.origin = node.name, node.origin
    return result


def located(node: Node) -> str:
    """How to tell a user which expression is meant: its kind, its name, and the line it was written in."""
    kinds = {Get: "`.get`", Mean: "`.mean`", Sum: "`.sum`"}
    kind = kinds.get(type(node), "the selector" if isinstance(node, Selector) else "the s-op")
    name = repr(node.name) if node.name else "without a name"
    place = f" ({Path(node.origin[0]).name}, line {node.origin[1]})" if node.origin else ""
    return f"{kind} {name}{place}"
