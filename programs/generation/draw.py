"""The material of random programs: typed s-ops and selectors as text, and the choices among them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

import numpy as np

Kind = Literal["bool", "int", "num", "sym", "any"]
"""The kind of the values of an s-op: "num" holds fractions and floats too, "any" mixes kinds that have no order."""

Number = int | float

NUMBERS: Final = ("bool", "int", "num")
ORDERED: Final = ("bool", "int", "num", "sym")
LARGEST_NUMBER: Final = 200
"""Numbers are kept within this of 0."""


class Impossible(Exception):
    """A rule that does not apply to the values there are."""


@final
@dataclass(frozen=True)
class Value:
    """An s-op that has been written, or a constant.

    Attributes:
        text: its name, or how it is written.
        low, high: bounds of its numbers.
        symbols: its possible strings, where it holds strings.
        size: about how many values it may have.
        reads: the tokens, indices and reductions it is computed from elementwise, each with its number of values;
            None for a reduction that has no name yet.
        depth: the longest chain of reductions below it.
        undefined: whether it may be None.
        function_of: the s-ops that fix its value, each by itself.
        distinct: whether no two positions of an input share a value.
        position: whether its values are positions of the input.
        uniform: whether it is the same at all positions of an input.
    """

    text: str
    kind: Kind
    low: Number = 0
    high: Number = 0
    symbols: tuple[str, ...] = ()
    size: int = 1
    reads: frozenset[tuple[str, int]] | None = frozenset()
    depth: int = 0
    undefined: bool = False
    function_of: tuple[str, ...] = ()
    distinct: bool = False
    position: bool = False
    uniform: bool = False

    @property
    def constant(self) -> bool:
        """Whether it is a constant."""
        return self.reads == frozenset()


@final
@dataclass(frozen=True)
class WrittenSelector:
    """A selector. `itself`: every query selects its own position; `some`: every query selects some key."""

    text: str
    depth: int
    itself: bool = False
    some: bool = False


@final
@dataclass
class Draw:
    """The state that rules draw from.

    Attributes:
        values, selectors: what has been written, oldest first.
        unused: names of those nothing has read yet, which are preferred.
        entries: the largest product of the numbers of values that an elementwise expression may read.
        deepest: the longest chain of reductions allowed.
    """

    rng: np.random.Generator
    values: list[Value]
    max_len: int
    entries: int
    deepest: int
    graph: bool
    selectors: list[WrittenSelector] = field(default_factory=list)
    unused: set[str] = field(default_factory=set)

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return bool(self.rng.random() < p)

    def one(self, options: Sequence[Any]) -> Any:
        """One of the options."""
        if not options:
            raise Impossible
        return options[int(self.rng.integers(len(options)))]

    def weighted(self, options: Iterable[tuple[Number, Any]]) -> Any:
        """One of the options, given as (weight, option)."""
        weights, choices = zip(*options, strict=True)
        p = np.array(weights, dtype=float)
        return choices[int(self.rng.choice(len(choices), p=p / p.sum()))]

    def pick(self, kinds: Sequence[str] = ORDERED, fits: Callable[[Value], bool] = lambda v: True) -> Value:
        """A value of one of the kinds; new and unused ones are preferred."""
        fitting = [v for v in self.values if v.kind in kinds and fits(v)]
        if not fitting:
            raise Impossible
        n = len(fitting)
        return self.weighted(((4 if v.text in self.unused else 1) * (1 + i / n), v) for i, v in enumerate(fitting))

    def constant(self, like: Value) -> Value:
        """A constant to combine or compare with a value."""
        if like.kind == "sym":
            return symbol(self.one(like.symbols))
        if like.kind == "bool":
            return number(self.chance(0.5))
        low, high = max(math.ceil(like.low), -8), min(math.floor(like.high), 8)
        if like.kind == "num" and self.chance(0.5):
            return number(self.one([0.5, 0.25, -0.5, 1.5, 0.1]))
        return number(int(self.rng.integers(low, max(low, high) + 1)))

    def other(self, value: Value, constant: float = 0.5) -> Value:
        """A second operand: a constant with that probability, else a value of a kind that goes with the first."""
        if self.chance(constant):
            return self.constant(value)
        return self.pick(NUMBERS if value.kind in NUMBERS else (value.kind,))


def number(value: Number) -> Value:
    """A constant number."""
    kind: Kind = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "num"
    return Value(repr(value), kind, value, value, uniform=True)


def symbol(value: str) -> Value:
    """A constant string."""
    return Value(repr(value), "sym", symbols=(value,), uniform=True)


UNDEFINED: Final = Value("None", "any", undefined=True, uniform=True)
