"""Selectors (queries x keys), and the three kinds of s-op that read values by one: `Get`, `Mean` and `Sum`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language.expression import Constant, NamedNode, SOp, as_sop
from gaugeblock.programs.language.operations import MISSING, Value, _Missing, key_holds, plain


class Selector(NamedNode):
    """The keys that each query attends to. `&`, `|`, `~` combine selectors; methods reduce values over them."""

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

        >>> from gaugeblock.programs import key, program, query
        >>> shift = lambda tokens, indices: (key(indices) == query(indices - 1)).get(tokens, default="-")
        >>> program("abc", max_len=4)(shift)(["a", "b", "c"])
        ['-', 'a', 'b']
        """
        return Get(self.selector(), as_sop(value), default, unique=unique)

    def mean(self, value: Any, default: Any = MISSING) -> SOp:
        """Mean over the selected keys; booleans count as 0 and 1.

        >>> from gaugeblock.programs import causal, program
        >>> average = program(range(10), max_len=4)(lambda tokens, indices: causal.mean(tokens))
        >>> average([1, 2, 6])
        [1, 1.5, 3]
        """
        return Mean(self.selector(), as_sop(value), default)

    def sum(self, value: Any) -> SOp:
        """Sum over the selected keys; booleans count as 0 and 1.

        >>> from gaugeblock.programs import causal, program
        >>> total = program(range(10), max_len=4)(lambda tokens, indices: causal.sum(tokens))
        >>> total([1, 2, 6])
        [1, 3, 9]
        """
        return Sum(self.selector(), as_sop(value))

    def count(self) -> SOp:
        """How many keys are selected.

        >>> from gaugeblock.programs import key, program, query
        >>> greater = program(range(10), max_len=4)(lambda tokens, indices: (key(tokens) > query(tokens)).count())
        >>> greater([1, 2, 6])
        [2, 1, 0]
        """
        return Sum(self.selector(), Constant(1))

    def any(self, value: Any = True) -> SOp:
        """Whether the value holds at some selected key.

        >>> from gaugeblock.programs import causal, program
        >>> seen = program(range(10), max_len=4)(lambda tokens, indices: causal.any(tokens == 2))
        >>> seen([1, 2, 6])
        [False, True, True]
        """
        return Get(self & Select(as_sop(value), Constant(True), key_holds), Constant(True), False)

    def all(self, value: Any) -> SOp:
        """Whether the value holds at all selected keys.

        >>> from gaugeblock.programs import causal, program
        >>> small = program(range(10), max_len=4)(lambda tokens, indices: causal.all(tokens < 3))
        >>> small([1, 2, 6])
        [True, True, False]
        """
        return ~self.any(~as_sop(value))

    def max(self, value: Any, default: Any = MISSING) -> SOp:
        """The largest value over the selected keys.

        >>> from gaugeblock.programs import causal, program
        >>> largest = program(range(10), max_len=4)(lambda tokens, indices: causal.max(tokens))
        >>> largest([1, 6, 2])
        [1, 6, 6]
        """
        return self.best(value).get(value, default)

    def min(self, value: Any, default: Any = MISSING) -> SOp:
        """The smallest value over the selected keys.

        >>> from gaugeblock.programs import everything, program
        >>> smallest = program(range(10), max_len=4)(lambda tokens, indices: everything.min(tokens))
        >>> smallest([3, 1, 6])
        [1, 1, 1]
        """
        return self.best(value, largest=False).get(value, default)

    def best(self, score: Any, *, largest: bool = True) -> "Best":
        """The selector narrowed to the keys where `score` is largest (smallest if not `largest`).

        >>> from gaugeblock.programs import everything, program
        >>> last = program(range(10), max_len=4)(lambda tokens, indices: everything.best(indices).get(tokens))
        >>> last([1, 6, 2])
        [2, 2, 2]
        """
        return Best(self.selector(), as_sop(score), largest)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Best:
    """A selector narrowed to its best-scoring keys; only `.get` reads from it."""

    selector: Selector
    score: SOp
    largest: bool

    def get(self, value: Any, default: Any = MISSING, *, unique: bool = False) -> SOp:
        """The value at the best selected key; see `Get`.

        >>> from gaugeblock.programs import everything, program
        >>> argmax = program(range(10), max_len=4)(lambda tokens, indices: everything.best(tokens).get(indices))
        >>> argmax([1, 6, 2])
        [1, 1, 1]
        """
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


def _constant(default: Any) -> Any:
    """A default in the one form that values have."""
    if default is MISSING:
        return default
    if isinstance(default, NamedNode):
        raise ProgramError(
            f"a default is a constant, not {default!r}: write where(selector.any(), selector.get(x, default=0), other)"
        )
    try:
        return plain(default)
    except TypeError:
        raise ProgramError(f"{default!r} cannot be a default: values are hashable, and no functions") from None


def _as_selector(value: Any) -> Selector:
    if isinstance(value, Selector):
        return value.selector()
    other = type(value).__name__
    raise ProgramError(f"& and | combine selectors, not selector and {other}: write key(...) or query(...)")
