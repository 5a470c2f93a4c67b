"""Values, and the functions that the operators of the language stand for. None is "undefined"."""

import math
import operator
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import Any, Final, final

Value = Hashable
"""A value of an s-op at a position: bool, int, Fraction, float, str, any hashable, or None for "undefined"."""

LARGEST_WHOLE: Final = 2**53
"""Floats of at least this size are not taken for the integers that they equal."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""Marks an absent default, since None is a value (undefined)."""


def plain(value: Any) -> Any:
    """A value in the one form it has: numpy's scalars become bool, int, float or str, and a whole number an int, so
    that 2.0 is 2, in tuples too.

    Raises TypeError if it is not hashable, or a function.
    """
    hash(value)
    if callable(value):
        raise TypeError(f"a function is no value: {value!r}")
    if hasattr(value, "dtype") and hasattr(value, "item"):
        value = value.item()
    if type(value) is tuple:
        return tuple(map(plain, value))
    is_whole = isinstance(value, (float, Fraction)) and -LARGEST_WHOLE < value < LARGEST_WHOLE and value == int(value)
    return int(value) if is_whole else value


def value_key(value: Value) -> Any:
    """A key that is equal for values that are the same: True is not 1, but 0.5 is Fraction(1, 2)."""
    return (tuple, tuple(map(value_key, value))) if isinstance(value, tuple) else (isinstance(value, bool), value)


def value_signature(value: Any) -> Any:
    """Equal for values that no program can tell apart: True, 1 and 1.0 differ."""
    if isinstance(value, tuple):
        return tuple, tuple(map(value_signature, value))
    if isinstance(value, frozenset):
        return frozenset, frozenset(map(value_signature, value))
    if isinstance(value, float):
        return type(value), value, math.copysign(1, value)
    if value is MISSING:
        return id(MISSING)
    try:
        hash(value)
    except TypeError:  # what a function closes over may be anything
        return type(value), id(value)
    return type(value), value


def surface(value: Any) -> Any:
    """A value as users see it: fractions as floats."""
    if isinstance(value, tuple):
        return tuple(map(surface, value))
    return float(value) if isinstance(value, Fraction) else value


def divide(a: Any, b: Any) -> Any:
    """a / b, exact where both are rational."""
    if isinstance(a, Rational) and isinstance(b, Rational):
        return Fraction(a, b)
    return a / b


def choose(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b. Only the branch taken has to be defined."""
    return a if condition else b


def is_defined(value: Any) -> bool:
    """Whether there is a value; never undefined itself."""
    return value is not None


def together(*values: Any) -> tuple[Any, ...]:
    """Several values as one, each of which may be undefined: the output of a program with several."""
    return values


def apply(f: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    """The result of f for these values of its operands, in plain form: the one place that knows about None.

    Raises what f does, and TypeError for a result that is no value.
    """
    if f is choose:
        condition, a, b = values
        return None if condition is None else (a if condition else b)
    if None in values and f is not is_defined and f is not together:
        return None
    return plain(f(*values))


def selects(predicate: Callable[[Any, Any], bool], key: Any, query: Any) -> bool:
    """Whether a `Select` with this predicate selects: what is undefined is compared with nothing."""
    return key is not None and query is not None and bool(predicate(key, query))


def always(key: Any, query: Any) -> bool:
    """The predicate that selects every pair."""
    return True


def key_holds(key: Any, query: Any) -> bool:
    """The predicate that looks at the key only."""
    return bool(key)


def query_holds(key: Any, query: Any) -> bool:
    """The predicate that looks at the query only."""
    return bool(query)


def swapped(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The comparison that holds of (a, b) where `f`, one of the six comparisons, holds of (b, a)."""
    mirrored = {
        operator.lt: operator.gt,
        operator.gt: operator.lt,
        operator.le: operator.ge,
        operator.ge: operator.le,
    }
    return mirrored.get(f, f)


# Functions that differ in a number are classes, so that equal ones are recognised as equal.


@final
@dataclass(frozen=True)
class IsIn:
    """Whether a value is one of `values`."""

    values: frozenset[Value]

    def __call__(self, value: Any) -> bool:
        return value in self.values


@final
@dataclass(frozen=True)
class Local:
    """Whether the key is at the query or at most n before it."""

    n: int

    def __call__(self, key: int, query: int) -> bool:
        return 0 <= query - key <= self.n


@final
@dataclass(frozen=True)
class Strided:
    """Whether the key is at or before the query, a multiple of n away."""

    n: int

    def __call__(self, key: int, query: int) -> bool:
        return key <= query and (query - key) % self.n == 0


@final
@dataclass(frozen=True)
class SameBlock:
    """Whether key and query are in the same block of n."""

    n: int

    def __call__(self, key: int, query: int) -> bool:
        return key // self.n == query // self.n


@final
@dataclass(frozen=True)
class Round:
    """round(x, digits)."""

    digits: int | None

    def __call__(self, value: Any) -> Any:
        return round(value, self.digits)


@final
@dataclass(frozen=True)
class GraphNode:
    """A token of a program over graphs: the node's value, and the positions that its edges lead to."""

    value: Value
    targets: frozenset[int]

    def __repr__(self) -> str:
        return f"{self.value!r}→{sorted(self.targets)}"


def node_value(node: GraphNode) -> Value:
    """The value at a node of a graph."""
    return node.value


def edge_targets(node: GraphNode) -> Value:
    """The positions that the edges of a node of a graph lead to."""
    return node.targets


def leads_to(targets: frozenset[int], query: int) -> bool:
    """Whether the query's position is among a key's targets."""
    return query in targets
