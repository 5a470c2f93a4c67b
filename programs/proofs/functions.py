"""What is known of an s-op from the function it applies, or from the kind of node it is and what its operands are."""

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import MISSING, IsIn, Round, choose, divide, is_defined, together
from gaugeblock.programs.language.selector import Get, Mean, Sum

COMPARISONS: Final = (operator.lt, operator.le, operator.eq, operator.ne, operator.ge, operator.gt)
_BOOLEAN: Final = (*COMPARISONS, operator.not_, is_defined)
_RATIONAL: Final = (
    operator.add,
    operator.sub,
    operator.mul,
    operator.neg,
    operator.floordiv,
    operator.mod,
    abs,
    divide,
)
_LOGICAL: Final = (operator.and_, operator.or_)


def respects_equality(f: Callable[..., Any]) -> bool:
    """Whether f is known to give equal results for equal values, even if their types differ."""
    return f in (choose, *_BOOLEAN, *_RATIONAL, *_LOGICAL) or isinstance(f, (IsIn, Round))


def gives_boolean(f: Callable[..., Any]) -> bool:
    """Whether all results of f are True or False."""
    return f in _BOOLEAN or isinstance(f, IsIn)


def is_boolean(x: SOp) -> bool:
    """Whether all values x has are True or False: comparisons and their combinations."""
    stack = [x]
    while stack:
        match stack.pop():
            case Elementwise(f=f, operands=operands) if f in _LOGICAL:
                stack.extend(operands)
            case Elementwise(f=f) if gives_boolean(f):
                pass
            case _:
                return False
    return True


def is_certain(x: SOp, undefined: set[int], vocab: tuple[Any, ...] | None) -> bool:
    """Whether x has a value everywhere, by the kind of node it is."""
    match x:
        case Tokens():
            return vocab is None or None not in vocab
        case Constant(value=value):
            return value is not None
        case Elementwise(f=f, operands=operands):
            if f in (is_defined, together):
                return True
            return respects_equality(f) and not any(id(o) in undefined for o in operands)
        case Get(value=value, default=default) | Mean(value=value, default=default):
            return default is not None and id(value) not in undefined
        case Sum(value=value):
            return id(value) not in undefined
    return True


def is_rational(x: SOp, rational: set[int], vocab: tuple[Any, ...] | None) -> bool:
    """Whether all values x has are booleans, integers or fractions, by the kind of node it is."""

    def fits(value: Any) -> bool:
        return value is None or value is MISSING or isinstance(value, (int, Fraction))

    match x:
        case Tokens():
            return vocab is not None and all(map(fits, vocab))
        case Constant(value=value):
            return fits(value)
        case Elementwise(f=f, operands=operands):
            if f is choose:
                return all(id(o) in rational for o in operands[1:])
            if f in (*_RATIONAL, *_LOGICAL) or isinstance(f, Round):
                return all(id(o) in rational for o in operands)
            return gives_boolean(f)
        case Get(value=value, default=default) | Mean(value=value, default=default):
            return fits(default) and id(value) in rational
    return isinstance(x, (Indices, Sum))
