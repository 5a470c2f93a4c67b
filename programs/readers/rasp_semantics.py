"""What the operators and functions of the RASP text language make of atoms, lists, s-ops and selectors.

A sequence holds values of one kind: numbers, booleans or text. The kind is known as the expression is built, and
decides what `aggregate` means.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, final

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp
from gaugeblock.programs.language.functions import everything, indices
from gaugeblock.programs.language.operations import MISSING, IsIn, Round, Value, choose, divide, surface
from gaugeblock.programs.language.selector import And, Get, Mean, Not, Or, Select, Selector, Sum
from gaugeblock.programs.readers.aggregation import Lookups

Kind = Literal["number", "boolean", "text"]

COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "%": operator.mod,
    "^": operator.pow,
}
PREFIXES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "not": operator.not_,
    "-": operator.neg,
    "+": operator.pos,
}
MAX_RANGE_ELEMENTS: Final = 10_000
"""How many elements `range` may give."""


@final
@dataclass(frozen=True)
class Sequence:
    """An s-op whose values are of one kind."""

    sop: SOp
    kind: Kind


def is_atom(value: Any) -> bool:
    """Whether a value is a number, a boolean or a text."""
    return isinstance(value, (int, Fraction, float, str))


def kind_of(atom: Value) -> Kind:
    """The kind of an atom."""
    if isinstance(atom, bool):
        return "boolean"
    return "text" if isinstance(atom, str) else "number"


def described(value: Any) -> str:
    """A value for messages."""
    if isinstance(value, Sequence):
        return f"an s-op of {_plural(value.kind)}"
    if isinstance(value, Selector):
        return "a selector"
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__}"
    return repr(surface(value)) if is_atom(value) else "a function"


def _plural(kind: Kind) -> str:
    return kind if kind == "text" else f"{kind}s"


def sequence(value: Any) -> Sequence:
    """An s-op, or an atom at all positions."""
    if isinstance(value, Sequence):
        return value
    if not is_atom(value):
        raise ProgramError(f"{described(value)} stands where an s-op or an atom is needed")
    return Sequence(Constant(value), kind_of(value))


def _common(kinds: list[Kind], what: str) -> Kind:
    """The kind of a sequence that takes values from several; booleans among numbers are 0 and 1."""
    different = set(kinds)
    if len(different) > 1 and "text" in different:
        others = " and ".join(_plural(k) for k in sorted(different))
        raise ProgramError(f"{what} would hold {others}; a sequence holds values of one kind")
    return "number" if len(different) > 1 else kinds[0]


def _truth(value: Any) -> SOp:
    """An s-op of booleans; 0 and the empty text are false."""
    x = sequence(value)
    return x.sop if x.kind == "boolean" else Elementwise(bool, (x.sop,))


def prefix(sign: str, x: Any) -> Any:
    """`not x`, `-x` or `+x`."""
    if isinstance(x, Selector) and sign == "not":
        return Not(x)
    if not isinstance(x, Sequence):
        if not is_atom(x):
            raise ProgramError(f"{sign!r} cannot be applied to {described(x)}")
        return PREFIXES[sign](x)
    if sign == "not":
        return Sequence(~_truth(x), "boolean")
    if x.kind == "text":
        raise ProgramError(f"{sign!r} cannot be applied to {described(x)}")
    return Sequence(-x.sop, "number") if sign == "-" else x


def binary(sign: str, a: Any, b: Any) -> Any:
    """The value of `a sign b`, elementwise where one of them is an s-op."""
    if sign == "in":
        return _contained(a, b)
    if sign in ("and", "or"):
        return _connected(sign, a, b)
    if isinstance(a, list) and isinstance(b, list) and sign == "+":
        return a + b
    for x in (a, b):
        if not isinstance(x, Sequence) and not is_atom(x):
            raise ProgramError(f"{sign!r} cannot be applied to {described(a)} and {described(b)}")
    f = COMPARISONS.get(sign) or ARITHMETIC[sign]
    if is_atom(a) and is_atom(b):
        return f(a, b)
    x, y = sequence(a), sequence(b)
    kind = _result(sign, x.kind, y.kind)
    if sign == "/" and is_atom(a) and a == 1 and (selector := _counted(y.sop)) is not None:
        return Sequence(Sum(selector, Constant(1)), kind)
    return Sequence(Elementwise(f, (x.sop, y.sop)), kind)


def _counted(share: SOp) -> Selector | None:
    """The selector of which `1 / share` is the width, where the share is that of position 0, always selected.

    That is how the language counts; as a sum, far fewer values have to be told apart.
    """
    match share:
        case Mean(
            selector=selector,
            value=Elementwise(f=f, operands=(Elementwise(f=g, operands=(Indices(), Constant(value=0))),)),
        ) if f is int and g is operator.eq and _selects_first(selector):
            return selector
    return None


def _selects_first(selector: Selector) -> bool:
    """Whether it can be seen that position 0 is selected by every query."""
    match selector:
        case Or(operands=operands):
            return any(map(_selects_first, operands))
        case Select(key=Indices(), query=Constant(value=0), predicate=predicate):
            return predicate is operator.eq
    return selector is everything


def _result(sign: str, a: Kind, b: Kind) -> Kind:
    """The kind of `a sign b`. Raises ProgramError where it has no value, or never another than False."""
    texts = (a, b).count("text")
    if sign in COMPARISONS:
        if texts == 1:
            raise ProgramError(f"{_plural(a)} and {_plural(b)} are compared with {sign!r}: {_ADVICE}")
        return "boolean"
    if texts == 0:
        return "number"
    if (sign == "+" and texts == 2) or (sign == "*" and texts == 1):
        return "text"
    raise ProgramError(f"{sign!r} cannot be applied to {_plural(a)} and {_plural(b)}: {_ADVICE}")


_ADVICE: Final = "`tokens` is text; tokens_int and tokens_float read it as numbers"


def _connected(sign: str, a: Any, b: Any) -> Any:
    if isinstance(a, Selector) and isinstance(b, Selector):
        return And((a, b)) if sign == "and" else Or((a, b))
    if isinstance(a, Selector) or isinstance(b, Selector):
        raise ProgramError(f"{sign!r} connects two selectors or two s-ops, not {described(a)} and {described(b)}")
    if isinstance(a, Sequence) or isinstance(b, Sequence):
        f = operator.and_ if sign == "and" else operator.or_
        return Sequence(Elementwise(f, (_truth(a), _truth(b))), "boolean")
    return (a and b) if sign == "and" else (a or b)


def _contained(x: Any, container: Any) -> Any:
    if isinstance(container, Sequence) and is_atom(x):
        equal = Select(container.sop, Constant(x), operator.eq)
        return Sequence(Get(equal, Constant(True), False), "boolean")
    if not isinstance(container, (list, dict)) or not (isinstance(x, Sequence) or is_atom(x)):
        raise ProgramError(f"`x in y` asks for an s-op or an atom in a list: {described(x)} in {described(container)}")
    if not all(map(is_atom, container)):
        raise ProgramError("`x in y` needs a list of atoms")
    if isinstance(x, Sequence):
        return Sequence(Elementwise(IsIn(frozenset(container)), (x.sop,)), "boolean")
    return x in container


def choice(condition: Sequence, then: Any, otherwise: Any) -> Sequence:
    """`then if condition else otherwise` at each position."""
    a, b = sequence(then), sequence(otherwise)
    kind = _common([a.kind, b.kind], "the conditional expression")
    return Sequence(Elementwise(choose, (condition.sop, a.sop, b.sop)), kind)


def select(key: Any, query: Any, comparison: str) -> Selector:
    """Selects the keys that compare so with the query."""
    k, q = sequence(key), sequence(query)
    _result(comparison, k.kind, q.kind)
    f = COMPARISONS[comparison]
    if isinstance(k.sop, Constant) and isinstance(q.sop, Constant) and f(k.sop.value, q.sop.value):
        return everything
    return Select(k.sop, q.sop, f)


def aggregate(lookups: Lookups, selector: Any, values: Any, default: Any = None) -> Sequence:
    """The mean of numbers over the selected keys; booleans and text are copied from the one selected key.

    Where no key is selected: the default or, without one, 0, False, or for text an error.
    """
    if not isinstance(selector, Selector):
        raise ProgramError(f"aggregate needs a selector first, not {described(selector)}")
    x = sequence(values)
    if default is not None and not is_atom(default):
        raise ProgramError(f"the default of aggregate is an atom, not {described(default)}")
    if default is None:
        kind, fill = x.kind, {"number": 0, "boolean": False, "text": MISSING}[x.kind]
    else:
        kind, fill = _common([x.kind, kind_of(default)], "the result of aggregate"), default
    if isinstance(x.sop, Constant):
        return Sequence(Get(selector, x.sop, fill), kind)
    if x.kind == "number" and not lookups.selects_at_most_one(selector):
        return Sequence(Mean(selector, x.sop, fill), kind)
    return Sequence(Get(selector, x.sop, fill, unique=True), kind)


def selector_width(selector: Any, assume_bos: Any = False) -> Sequence:
    """How many keys are selected; with assume_bos, position 0 marks the beginning and is not counted."""
    if not isinstance(selector, Selector) or not isinstance(assume_bos, bool):
        arguments = f"{described(selector)}, {described(assume_bos)}"
        raise ProgramError(f"selector_width needs a selector and perhaps True or False, not {arguments}")
    if assume_bos:
        selector = And((selector, Select(indices, Constant(0), operator.ne)))
    return Sequence(Sum(selector, Constant(1)), "number")


def indicator(x: Any) -> Any:
    """1 where x holds, else 0."""
    if is_atom(x):
        return int(bool(x))
    return Sequence(Elementwise(int, (_truth(x),)), "number")


def converted(f: Callable[[Any], Any], kind: Kind, x: Any) -> Any:
    """f of an atom, or at each position."""
    return Sequence(Elementwise(f, (x.sop,)), kind) if isinstance(x, Sequence) else f(x)


def rounded(x: Any) -> Any:
    """The nearest integer, the even one of two."""
    if sequence(x).kind == "text":
        raise ProgramError(f"{described(x)} cannot be rounded")
    return converted(Round(None), "number", x)


def indexed(lookups: Lookups, x: Any, index: Any, length: Any) -> Any:
    """`x[index]`: an element of a list, text or dict; where x is an s-op, its value at that position.

    A negative index counts from the end. A dict takes an s-op as index too, which is translated by it.
    """
    if isinstance(x, dict):
        return _looked_up(x, index)
    if not isinstance(x, (list, str, Sequence)):
        raise ProgramError(f"only lists, texts, dicts and s-ops have elements, not {described(x)}")
    if not isinstance(index, int) or isinstance(index, bool):
        raise ProgramError(f"the index is {described(index)}, not an integer")
    if isinstance(x, Sequence):
        place = sequence(index if index >= 0 else binary("+", length, index))
        return aggregate(lookups, Select(indices, place.sop, operator.eq), x)
    if not -len(x) <= index < len(x):
        raise ProgramError(f"the index {index} is out of range: there are {len(x)} elements")
    return x[index]


@final
@dataclass(frozen=True)
class Translate:
    """The value that stands for another in a table."""

    table: tuple[tuple[Value, Value], ...]

    def __call__(self, value: Any) -> Value:
        return dict(self.table)[value]


def _looked_up(table: dict[Any, Any], key: Any) -> Any:
    if isinstance(key, Sequence):
        if not table or not all(map(is_atom, table.values())):
            raise ProgramError("a dict that is indexed by an s-op has atoms as values, at least one")
        kind = _common([kind_of(v) for v in table.values()], "the dict")
        return Sequence(Elementwise(Translate(tuple(table.items())), (key.sop,)), kind)
    if not is_atom(key) or key not in table:
        raise ProgramError(f"{described(key)} is not in the dict: {', '.join(map(repr, table))}")
    return table[key]


def as_text(value: Any) -> str:
    """A value as text; fractions as decimals."""
    return str(surface(value))


def exact(value: Any) -> Fraction:
    """A number as an exact fraction, floats as the decimals they are written as."""
    return Fraction(str(value)) if isinstance(value, (float, str)) else Fraction(value)


def in_range(*bounds: Any) -> list[int]:
    """The integers that Python's `range` gives for one to three integers."""
    if not 1 <= len(bounds) <= 3 or not all(isinstance(b, int) for b in bounds):
        arguments = ", ".join(map(described, bounds))
        raise ProgramError(f"range({arguments}) is not possible: give one to three integers")
    integers = range(*bounds)
    if len(integers) > MAX_RANGE_ELEMENTS:
        raise ProgramError(f"range gives {len(integers)} elements; at most {MAX_RANGE_ELEMENTS} are supported")
    return list(integers)


def zipped(*lists: Any) -> list[list[Any]]:
    """Lists of the elements that stand at the same place of several lists."""
    if not lists or not all(isinstance(x, list) for x in lists):
        raise ProgramError(f"zip takes lists, not {', '.join(map(described, lists)) or 'nothing'}")
    if len({len(x) for x in lists}) > 1:
        raise ProgramError(f"zip takes lists of equal lengths, not {', '.join(str(len(x)) for x in lists)}")
    return [list(row) for row in zip(*lists, strict=True)]


def length_of(x: Any) -> int:
    """How many elements a list or dict has."""
    if not isinstance(x, (list, dict)):
        raise ProgramError(f"len takes a list, not {described(x)}; `length` is the length of the input")
    return len(x)
