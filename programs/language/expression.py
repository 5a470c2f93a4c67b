"""Expressions with one value per position: s-ops, and the four kinds of them that need no attention.

Only seven kinds of s-op exist, here and in `selector`. Everything else (`any`, `max`, `where`, ...) is written with
them, so that the interpreter and the compiler each have seven cases. Building an expression computes nothing.
"""

import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language.operations import IsIn, Round, Value, divide, is_defined, plain

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


class NamedNode:
    """The base of s-ops and selectors: a name, and the line of the user's code that it was written in."""

    name: str | None = None
    origin: tuple[str, int] | None = None
    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        self.origin = _origin()

    def __bool__(self) -> bool:
        raise ProgramError(
            "an s-op or selector has no single truth value: use & | ~ instead of and, or, not, "
            "and where(condition, a, b) instead of if; (a < x) & (x < b) for a < x < b, where(a > b, a, b) for "
            "max(a, b), x.isin(values) for x in values"
        )

    def __repr__(self) -> str:
        # The expression below a node may be huge, and shared subexpressions would be printed again and again.
        return f"<{type(self).__name__}{f' {self.name}' if self.name else ''}>"


def _instead(problem: str) -> Callable[..., Any]:
    """A method of Python's that values one per position cannot have; the error says what to write."""

    def method(self: Any, *_: Any) -> Any:
        raise ProgramError(f"{self!r} holds one value per position: {problem}")

    return method


class SOp(NamedNode):
    """A sequence operation: maps an input of length n to n values. Operators build new s-ops elementwise."""

    __hash__ = object.__hash__
    __iter__ = _instead("it cannot be iterated; for sums, maxima and counts over positions write everything.sum(x)")
    __len__ = _instead("its length is everything.count()")
    __getitem__ = _instead("for the value at index 0 write (key(indices) == 0).get(x)")
    __contains__ = _instead("for `v in x` write (key(x) == v).any(), for `x in (v, w)` x.isin((v, w))")
    __int__ = __float__ = __index__ = _instead("for int, float or a function of math write x.map(int)")
    __xor__ = __rxor__ = _instead("for ^ of truth values write !=, of integers x.map(lambda v: v ^ 1)")

    def map(self, f: Callable[[Any], Any]) -> "SOp":
        """f applied to the value at each position; undefined stays undefined.

        >>> from gaugeblock.programs import program
        >>> program(range(10), max_len=4)(lambda tokens, indices: tokens.map(str))([1, 2])
        ['1', '2']
        """
        return Elementwise(f, (self,))

    def isin(self, values: Any) -> "SOp":
        """True where the value is one of `values`.

        >>> from gaugeblock.programs import program
        >>> program("aeioux", max_len=4)(lambda tokens, indices: tokens.isin("aeiou"))(["x", "a"])
        [False, True]
        """
        return self.map(IsIn(frozenset(values)))

    def defined(self) -> "SOp":
        """True where there is a value, False where it is undefined (None).

        >>> from gaugeblock.programs import program
        >>> program("ab", max_len=4)(lambda tokens, indices: tokens.map({"a": 1}.get).defined())(["a", "b"])
        [True, False]
        """
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


def as_sop(value: Any) -> SOp:
    """The s-op itself, or a constant."""
    if isinstance(value, SOp):
        return value
    if isinstance(value, NamedNode):
        raise ProgramError("a selector stands where a value is needed: reduce it first, e.g. with .count()")
    try:
        return Constant(plain(value))
    except TypeError:
        raise ProgramError(
            f"{value!r} cannot be a value in a program: values are hashable, and no functions; is a call missing?"
        ) from None


def _binary(f: Callable[[Any, Any], Any], a: Any, b: Any) -> SOp:
    if any(isinstance(x, NamedNode) and not isinstance(x, SOp) for x in (a, b)):
        raise ProgramError("an s-op meets a selector: write key(...) or query(...) on both sides")
    return Elementwise(f, (as_sop(a), as_sop(b)))
