"""Tracr's dialect: the module `rasp` of the compiler by Lindner et al., "Tracr: Compiled Transformers" (2023).

A Tracr program runs with its import line changed to

    from gaugeblock.programs.readers import tracr as rasp

`sop([...])` runs it; `to_program(sop, vocab, max_len)` makes a program to compile.

Tracr wants to be told which s-ops are numerical, because its compiler encodes them differently. Here encodings are
inferred, and what an `Aggregate` does follows from the values (see `settle`), when the tokens are known: it copies
where at most one key can be selected or the values are not all numbers, and takes the mean otherwise, as Tracr's
evaluator does. `categorical(x)`, said of the values before they are aggregated, promises that one key is selected
at most, as Tracr's compiler demands: then numbers are copied as well. `numerical(x)` is noted and changes nothing.

Differences: means are exact fractions while they are computed with, comparisons take s-ops on both sides, a boolean
that is copied stays one (Tracr makes it 1.0), and s-ops have no annotations besides name and encoding.
"""

import enum
import operator
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, final

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language import expression, selector
from gaugeblock.programs.language import functions as language
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, Tokens
from gaugeblock.programs.language.merging import rebuilt
from gaugeblock.programs.language.operations import always
from gaugeblock.programs.language.selector import And, Get, Mean, Not, Or, Sum
from gaugeblock.programs.language.tree import postorder
from gaugeblock.programs.program import Program
from gaugeblock.programs.readers.aggregation import program_of, rows_on, values_on

Value = None | int | float | str | bool
NumericValue = int | float
Predicate = Callable[[Any, Any], bool]


E = TypeVar("E", bound="RASPExpr")


class RASPExpr:
    """An s-op or a selector; `node` is the same in our own language, with each Aggregate a `Mean`."""

    node: Any
    __hash__ = object.__hash__

    @property
    def name(self) -> str:
        """The name given, or the kind of expression."""
        return self.node.name or type(self).__name__

    def named(self: E, name: str) -> E:
        """The expression itself, after it was given a name."""
        self.node.name = name
        return self

    def __repr__(self) -> str:
        return repr(self.node)

    def __bool__(self) -> bool:
        return bool(self.node)  # raises, and says what to write instead


@final
class Encoding(enum.Enum):
    """How Tracr writes an s-op into the residual stream."""

    CATEGORICAL = "categorical"
    NUMERICAL = "numerical"


def _binary(f: Callable[[Any, Any], Any]) -> Callable[["SOp", Any], "SOp"]:
    return lambda self, other: _wrap(f(self.node, _node(other)))


def _reflected(f: Callable[[Any, Any], Any]) -> Callable[["SOp", Any], "SOp"]:
    return lambda self, other: _wrap(f(_node(other), self.node))


def _elementwise(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], expression.SOp]:
    return lambda a, b: Elementwise(f, (expression.as_sop(a), expression.as_sop(b)))


def _and(a: Any, b: Any) -> Any:
    return a and b


def _or(a: Any, b: Any) -> Any:
    return a or b


class SOp(RASPExpr):
    """A sequence operation; called with a list of tokens, it gives the list of its values."""

    node: expression.SOp
    encoding: Encoding | None = None

    def __call__(self, xs: Iterable[Any]) -> list[Any]:
        return values_on(self.node, xs, _mean)

    __hash__ = object.__hash__
    __add__ = _binary(operator.add)
    __radd__ = _reflected(operator.add)
    __sub__ = _binary(operator.sub)
    __rsub__ = _reflected(operator.sub)
    __mul__ = _binary(operator.mul)
    __rmul__ = _reflected(operator.mul)
    __truediv__ = _binary(operator.truediv)
    __rtruediv__ = _reflected(operator.truediv)
    __and__ = _binary(_elementwise(_and))
    __rand__ = _reflected(_elementwise(_and))
    __or__ = _binary(_elementwise(_or))
    __ror__ = _reflected(_elementwise(_or))
    __eq__ = _binary(operator.eq)  # type: ignore[assignment]
    __ne__ = _binary(operator.ne)  # type: ignore[assignment]
    __lt__ = _binary(operator.lt)
    __le__ = _binary(operator.le)
    __gt__ = _binary(operator.gt)
    __ge__ = _binary(operator.ge)

    def __invert__(self) -> "SOp":
        return _wrap(~self.node)


def _wrap(node: expression.SOp) -> SOp:
    sop = SOp()
    sop.node = node
    return sop


def _node(value: Any) -> Any:
    return value.node if isinstance(value, RASPExpr) else value


def _sop(value: Any, where: str) -> expression.SOp:
    if not isinstance(value, SOp):
        raise ProgramError(f"{where} takes an s-op, not {value!r}: write Full({value!r}) for a constant")
    return value.node


def _selector(value: Any, where: str) -> selector.Selector:
    if not isinstance(value, Selector):
        raise ProgramError(f"{where} takes a selector, not {value!r}: make one with Select(keys, queries, predicate)")
    return value.node


def _mean(node: Mean) -> expression.SOp:
    """`Aggregate` over several numbers."""
    return node


# s-ops


@final
class Map(SOp):
    """f of the value at each position; undefined stays undefined."""

    def __init__(self, f: Callable[[Any], Any], inner: Any, simplify: bool = True) -> None:
        self.f, self.inner = f, inner
        self.node = _sop(inner, "Map").map(f)


class SequenceMap(SOp):
    """f of the values of two s-ops at each position."""

    def __init__(self, f: Callable[[Any, Any], Any], fst: Any, snd: Any) -> None:
        self.f, self.fst, self.snd = f, fst, snd
        self.node = Elementwise(f, (_sop(fst, "SequenceMap"), _sop(snd, "SequenceMap")))


@final
class LinearSequenceMap(SOp):
    """fst_fac * fst + snd_fac * snd at each position."""

    def __init__(self, fst: Any, snd: Any, fst_fac: NumericValue, snd_fac: NumericValue) -> None:
        self.fst, self.snd, self.fst_fac, self.snd_fac = fst, snd, fst_fac, snd_fac
        self.node = _sop(fst, "LinearSequenceMap") * fst_fac + _sop(snd, "LinearSequenceMap") * snd_fac


@final
class Full(SOp):
    """The same value everywhere."""

    def __init__(self, fill: Value) -> None:
        self.fill = fill
        self.node = Constant(fill)


@final
class SelectorWidth(SOp):
    """How many keys are selected."""

    def __init__(self, selector: Any) -> None:
        self.selector = selector
        self.node = Sum(_selector(selector, "SelectorWidth"), Constant(1))


@final
class Aggregate(SOp):
    """The mean of the selected numbers, or the one value selected; `default` where none is, None for undefined."""

    def __init__(self, selector: Any, sop: Any, default: Value = None) -> None:
        self.selector, self.sop, self.default = selector, sop, default
        over, value = _selector(selector, "Aggregate"), _sop(sop, "Aggregate")
        if sop.encoding is Encoding.CATEGORICAL:
            self.node = Get(over, value, default, unique=True)
        else:
            self.node = Mean(over, value, default)


tokens: Final = _wrap(Tokens())
indices: Final = _wrap(Indices())  # not the one of `language`, since `named` changes it
length: Final = _wrap(language.everything.count()).named("length")


def sop_not(sop: SOp) -> SOp:
    """The s-op that is true where this one is not: ~sop."""
    return ~sop


T = TypeVar("T", bound=SOp)


def numerical(sop: T) -> T:
    """The s-op, noted as numerical."""
    sop.encoding = Encoding.NUMERICAL
    return sop


def categorical(sop: T) -> T:
    """The s-op, noted as categorical: an `Aggregate` of it copies one value."""
    sop.encoding = Encoding.CATEGORICAL
    return sop


def is_numerical(sop: SOp) -> bool:
    """Whether the s-op was noted as numerical."""
    return sop.encoding is Encoding.NUMERICAL


def is_categorical(sop: SOp) -> bool:
    """Whether the s-op was not noted as numerical."""
    return not is_numerical(sop)


# selectors


@final
class Comparison(enum.Enum):
    """A predicate of (key, query)."""

    EQ = "=="
    LT = "<"
    LEQ = "<="
    GT = ">"
    GEQ = ">="
    NEQ = "!="
    TRUE = "True"
    FALSE = "False"

    def __call__(self, key: Any, query: Any) -> bool:
        return _PREDICATES[self](key, query)


def _never(key: Any, query: Any) -> bool:
    return False


_PREDICATES: Final[dict[Comparison, Predicate]] = {
    Comparison.EQ: operator.eq,
    Comparison.LT: operator.lt,
    Comparison.LEQ: operator.le,
    Comparison.GT: operator.gt,
    Comparison.GEQ: operator.ge,
    Comparison.NEQ: operator.ne,
    Comparison.TRUE: always,
    Comparison.FALSE: _never,
}


class Selector(RASPExpr):
    """Which keys each query attends to; called with a list of tokens, it gives [query][key]."""

    node: selector.Selector

    def __call__(self, xs: Iterable[Any]) -> list[list[bool]]:
        return rows_on(self.node, xs, _mean)

    def __and__(self, other: Any) -> "Selector":
        return SelectorAnd(self, other)

    def __or__(self, other: Any) -> "Selector":
        return SelectorOr(self, other)

    def __invert__(self) -> "Selector":
        return SelectorNot(self)


@final
class Select(Selector):
    """Key k is selected by query q where predicate(keys[k], queries[q])."""

    def __init__(self, keys: Any, queries: Any, predicate: Predicate) -> None:
        self.keys, self.queries, self.predicate = keys, queries, predicate
        plain = _PREDICATES[predicate] if isinstance(predicate, Comparison) else predicate
        key, query = _sop(keys, "Select"), _sop(queries, "Select")
        if plain is always:  # then it does not matter of what
            key = query = Constant(True)
        self.node = selector.Select(key, query, plain)


@final
class SelectorAnd(Selector):
    """Selects where both selectors do."""

    def __init__(self, fst: Any, snd: Any) -> None:
        self.fst, self.snd = fst, snd
        self.node = And((_selector(fst, "SelectorAnd"), _selector(snd, "SelectorAnd")))


@final
class SelectorOr(Selector):
    """Selects where one or both of the selectors do."""

    def __init__(self, fst: Any, snd: Any) -> None:
        self.fst, self.snd = fst, snd
        self.node = Or((_selector(fst, "SelectorOr"), _selector(snd, "SelectorOr")))


@final
class SelectorNot(Selector):
    """Selects where the selector does not."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.node = Not(_selector(inner, "SelectorNot"))


selector_and, selector_or, selector_not = SelectorAnd, SelectorOr, SelectorNot


def evaluate(expr: SOp | Selector, xs: Iterable[Any]) -> list[Any]:
    """What the expression is on an input."""
    return expr(xs)


def to_program(
    sop: SOp, vocab: Iterable[Any], max_len: int, *, name: str | None = None, causal: bool = False, **options: Any
) -> Program:
    """The s-op as a program over the tokens of `vocab`.

    Args:
        name: of the program; by default that of the s-op.
        causal: whether selectors are restricted to the keys up to the query, as by Tracr's option of that name.
        options: further fields of the program, such as `description`, `reference` or `domain`.

    >>> mirrored = length - indices - 1
    >>> reverse = Aggregate(Select(indices, mirrored, Comparison.EQ), tokens).named("reverse")
    >>> reverse("abc")
    ['c', 'b', 'a']
    >>> program = to_program(reverse, vocab="abc", max_len=5)
    >>> program.name, program("cab")
    ('reverse', ['b', 'a', 'c'])
    """
    root = _causal(sop.node) if causal else sop.node
    return program_of(root, vocab, max_len, _mean, name or sop.name, **options)


def _causal(root: expression.SOp) -> expression.SOp:
    """The same, where every reduction sees only the keys up to the query."""
    new: dict[int, Any] = {}
    for node in postorder(root):
        built = rebuilt(node, new)
        if isinstance(built, (Get, Mean, Sum)):
            built.selector = And((built.selector, language.causal))
        new[id(node)] = built
    return new[id(root)]
