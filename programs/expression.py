"""The expressions a RASP program is made of: s-ops (one value per position) and selectors (queries x keys).

Only seven kinds of s-op exist. Everything else (`any`, `max`, `where`, ...) is written with them, so that the
interpreter and the compiler each have seven cases. Building an expression computes nothing.
"""

import operator
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import Any, Final, final

from gaugeblock.programs.errors import ProgramError

Value = Hashable
"""What an s-op may hold at a position: bool, int, Fraction, float, str, or None for "undefined"."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""Marks an absent default, since None is a value (undefined)."""


def divide(a: Any, b: Any) -> Any:
    """a / b, exact where both are rational."""
    if isinstance(a, Rational) and isinstance(b, Rational):
        return Fraction(a, b)
    return a / b


def choose(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    return a if condition else b


def always(key: Any, query: Any) -> bool:
    """The predicate that selects every pair."""
    return True


def key_holds(key: Any, query: Any) -> bool:
    """The predicate that looks at the key only."""
    return bool(key)


def query_holds(key: Any, query: Any) -> bool:
    """The predicate that looks at the query only."""
    return bool(query)


def _swap(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    mirrored = {
        operator.lt: operator.gt,
        operator.gt: operator.lt,
        operator.le: operator.ge,
        operator.ge: operator.le,
    }
    return mirrored.get(f, f)


def _no_truth(self: Any) -> bool:
    raise ProgramError(
        "an s-op or selector has no single truth value: use & | ~ instead of and, or, not, "
        "and where(condition, a, b) instead of if"
    )


def _short_repr(self: Any) -> str:
    # The expression below a node may be huge, and shared subexpressions would be printed again and again.
    return f"<{type(self).__name__}{f' {self.name}' if self.name else ''}>"


class SOp:
    """A sequence operation: maps an input of length n to n values. Operators build new s-ops elementwise."""

    name: str | None = None
    __bool__ = _no_truth
    __hash__ = object.__hash__
    __repr__ = _short_repr

    def map(self, f: Callable[[Any], Any]) -> "SOp":
        """f applied to the value at each position; undefined stays undefined."""
        return Elementwise(f, (self,))

    def isin(self, values: Any) -> "SOp":
        """True where the value is one of `values`."""
        allowed = frozenset(values)
        return self.map(lambda x: x in allowed)

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
        return self.map(lambda x: round(x, digits))


@final
@dataclass(eq=False, repr=False)
class Tokens(SOp):
    """The input itself."""

    name: str | None = "tokens"


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


@final
@dataclass(eq=False, repr=False)
class Mean(SOp):
    """The mean of the value over the selected keys, as an exact fraction; `default` where none is selected.

    Undefined where the value of a selected key is.
    """

    selector: "Selector"
    value: SOp
    default: Value | _Missing = MISSING


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
    __bool__ = _no_truth
    __hash__ = object.__hash__
    __repr__ = _short_repr

    def __and__(self, other: Any) -> "Selector":
        return And((self, _as_selector(other)))

    def __or__(self, other: Any) -> "Selector":
        return Or((self, _as_selector(other)))

    def __invert__(self) -> "Selector":
        return Not(self)

    def get(self, value: Any, default: Any = MISSING, *, unique: bool = False) -> SOp:
        """The value at the one selected key (or of several that agree); see `Get`.

        unique: assert that at most one key is selected where that cannot be proved; shown as an assumption.
        """
        return Get(self, as_sop(value), default, unique=unique)

    def mean(self, value: Any, default: Any = MISSING) -> SOp:
        """Mean over the selected keys; booleans count as 0 and 1."""
        return Mean(self, as_sop(value), default)

    def sum(self, value: Any) -> SOp:
        """Sum over the selected keys; booleans count as 0 and 1."""
        return Sum(self, as_sop(value))

    def count(self) -> SOp:
        """How many keys are selected."""
        return Sum(self, Constant(1))

    def any(self, value: Any = True) -> SOp:
        """Whether the value holds at some selected key."""
        return Get(self & key(value), Constant(True), False)

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
        return Best(self, as_sop(score), largest)


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


@dataclass(eq=False)
class _Side:
    """`key(x)` or `query(x)`: one side of a comparison, and, where x is boolean, a selector of its own."""

    sop: SOp
    is_key: bool
    __hash__ = object.__hash__
    __bool__ = _no_truth

    def _compare(self, f: Callable[[Any, Any], bool], other: Any) -> Selector:
        if isinstance(other, _Side):
            if other.is_key == self.is_key:
                side = "key" if self.is_key else "query"
                raise ProgramError(f"a selector compares key(...) with query(...), not {side} with {side}")
            if self.is_key:
                return Select(self.sop, other.sop, f)
            return Select(other.sop, self.sop, _swap(f))
        if isinstance(other, SOp):
            side = "key" if self.is_key else "query"
            raise ProgramError(
                f"{side}(x) is compared with an s-op, which could be meant at the key or at the query: "
                f"write key(y) or query(y), or compare inside: {side}(x == y)"
            )
        return _Side(_binary(f, self.sop, other), self.is_key).selector()

    def selector(self) -> Selector:
        if self.is_key:
            return Select(self.sop, Constant(True), key_holds)
        return Select(Constant(True), self.sop, query_holds)

    def __eq__(self, other: Any) -> Selector:  # type: ignore[override]
        return self._compare(operator.eq, other)

    def __ne__(self, other: Any) -> Selector:  # type: ignore[override]
        return self._compare(operator.ne, other)

    def __lt__(self, other: Any) -> Selector:
        return self._compare(operator.lt, other)

    def __le__(self, other: Any) -> Selector:
        return self._compare(operator.le, other)

    def __gt__(self, other: Any) -> Selector:
        return self._compare(operator.gt, other)

    def __ge__(self, other: Any) -> Selector:
        return self._compare(operator.ge, other)

    def __and__(self, other: Any) -> Selector:
        return self.selector() & other

    def __or__(self, other: Any) -> Selector:
        return self.selector() | other

    def __invert__(self) -> Selector:
        return ~self.selector()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(Selector, name):
            raise AttributeError(name)
        return getattr(self.selector(), name)


def key(value: Any) -> _Side:
    """The value at the key position, to compare with `query(...)`; alone: the keys where it is true."""
    return _Side(as_sop(value), is_key=True)


def query(value: Any) -> _Side:
    """The value at the query position, to compare with `key(...)`; alone: the queries where it is true."""
    return _Side(as_sop(value), is_key=False)


def select(keys: Any, queries: Any, predicate: Callable[[Any, Any], bool]) -> Selector:
    """Key k is selected by query q where predicate(keys[k], queries[q])."""
    return Select(as_sop(keys), as_sop(queries), predicate)


def map_n(f: Callable[..., Any], *operands: Any) -> SOp:
    """f of the operands' values at each position."""
    if not operands:
        raise ProgramError("map_n needs at least one operand after the function")
    return Elementwise(f, tuple(as_sop(x) for x in operands))


def where(condition: Any, a: Any, b: Any) -> SOp:
    """a where the condition holds, else b. Only the branch that is taken has to be defined."""
    return Elementwise(choose, (as_sop(condition), as_sop(a), as_sop(b)))


def as_sop(value: Any) -> SOp:
    """The s-op itself, or a constant."""
    if isinstance(value, SOp):
        return value
    if isinstance(value, (Selector, _Side)):
        raise ProgramError("a selector stands where a value is needed: reduce it first, e.g. with .count()")
    try:
        hash(value)
    except TypeError:
        raise ProgramError(f"{value!r} cannot be a value in a program: values are hashable") from None
    return Constant(plain(value))


def plain(value: Any) -> Value:
    """A value as a Python object: numpy's scalars become bool, int, float or str.

    Raises TypeError if it is not hashable.
    """
    hash(value)
    return value.item() if hasattr(value, "dtype") and hasattr(value, "item") else value


def _as_selector(value: Any) -> Selector:
    if isinstance(value, Selector):
        return value
    if isinstance(value, _Side):
        return value.selector()
    given = type(value).__name__
    raise ProgramError(f"& and | combine selectors, not selector and {given}: write key(...) or query(...)")


def _binary(f: Callable[[Any, Any], Any], a: Any, b: Any) -> SOp:
    if isinstance(a, (Selector, _Side)) or isinstance(b, (Selector, _Side)):
        raise ProgramError("an s-op meets a selector: write key(...) or query(...) on both sides")
    return Elementwise(f, (as_sop(a), as_sop(b)))


def apply(f: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    """What an elementwise operation gives for these operand values: the one place that knows about None."""
    if f is choose:
        condition, a, b = values
        return None if condition is None else (a if condition else b)
    if None in values:
        return None
    return f(*values)


def selects(predicate: Callable[[Any, Any], bool], key: Any, query: Any) -> bool:
    """Whether a `Select` with this predicate selects: what is undefined is compared with nothing."""
    return key is not None and query is not None and bool(predicate(key, query))


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


indices: Final = Indices()
everything: Final[Selector] = Select(Constant(True), Constant(True), always)
everything.name = "everything"
causal: Final[Selector] = Select(indices, indices, operator.le)
causal.name = "causal"


def local(n: int) -> Selector:
    """The current and the n keys before it."""
    return select(indices, indices, lambda k, q: 0 <= q - k <= n)


def strided(n: int) -> Selector:
    """Keys up to the query whose distance is a multiple of n."""
    return select(indices, indices, lambda k, q: k <= q and (q - k) % n == 0)


def loop(n: int, step: Callable[[Any], Any], init: Any) -> Any:
    """`step` applied n times to `init`, unrolled."""
    for _ in range(n):
        init = step(init)
    return init


__all__ = [
    "MISSING", "And", "Best", "Constant", "Elementwise", "Get", "Indices", "Mean", "Node", "Not", "Or", "SOp",
    "Select", "Selector", "Sum", "Tokens", "Value", "apply", "as_sop", "causal", "children", "everything",
    "indices", "key", "local", "loop", "map_n", "plain", "postorder", "query", "select", "selects", "strided",
    "where",
]  # fmt: skip
