"""RASPy: the dialect of Sasha Rush's package and of the blog post "Thinking Like Transformers" (Rush and Weiss, 2023).

A RASPy program runs with its import line changed to

    from gaugeblock.programs.readers.raspy import *

`tokens` and `indices` are global, `key(x) == query(y)` and its like are selectors, combined by `&`, `|`, `~`;
`selector.value(x, default=0)` gives the default where no key is selected, the value where one is, and the sum where
several are. `op.input("hello")` and `op("hello")` run it; `to_program(op, vocab, max_len)` makes a program to
compile.

Our own language names sums and copies apart, so `.value` is settled when the tokens are known (see `settle`): it
copies where at most one key can be selected or the values are not all numbers, and sums otherwise.

Differences: `~` negates whatever it is applied to (RASPy's own does not always), operators work with the number on
the left (`2 * x`) and unary (`-x`), and several keys with different texts are an error, as there is no sum of them.
Pictures are not drawn.
"""

import copy
import operator
from collections.abc import Callable, Iterable
from typing import Any, Final, final

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language import expression, selector
from gaugeblock.programs.language import functions as language
from gaugeblock.programs.language.expression import Constant, Tokens
from gaugeblock.programs.language.operations import Value
from gaugeblock.programs.language.selector import Mean, Sum
from gaugeblock.programs.program import Program
from gaugeblock.programs.readers.aggregation import program_of, rows_on, values_on

__all__ = ["SOp", "Selector", "Seq", "indices", "key", "query", "to_program", "tokens", "where"]


@final
class Seq(list[Any]):
    """The values on one input."""

    def toseq(self) -> list[Any]:
        """The values as a plain list."""
        return list(self)


def _binary(f: Callable[[Any, Any], Any]) -> Callable[["SOp", Any], "SOp"]:
    return lambda self, other: SOp(f(self.node, _node(other)))


def _reflected(f: Callable[[Any, Any], Any]) -> Callable[["SOp", Any], "SOp"]:
    return lambda self, other: SOp(f(_node(other), self.node))


def _unary(f: Callable[[Any], Any]) -> Callable[["SOp"], "SOp"]:
    return lambda self: SOp(f(self.node))


@final
class SOp:
    """A sequence operation that waits for its input; operators work position by position.

    `node` is the same in our own language, with `Mean` where `.value` is not settled yet.
    """

    def __init__(self, node: expression.SOp) -> None:
        self.node = node

    def input(self, xs: Iterable[Any]) -> Seq:
        """The values on an input: a list of tokens, or a text."""
        return Seq(values_on(self.node, xs, _total))

    __call__ = input

    def name(self, name: str) -> "SOp":
        """A copy that has the name."""
        return SOp(_named(self.node, name))

    def map(self, f: Callable[[Any], Any]) -> "SOp":
        """f of the value at each position."""
        return SOp(self.node.map(f))

    def __repr__(self) -> str:
        return repr(self.node)

    def __bool__(self) -> bool:
        return bool(self.node)  # raises, and says what to write instead

    __hash__ = object.__hash__
    __add__ = _binary(operator.add)
    __radd__ = _reflected(operator.add)
    __sub__ = _binary(operator.sub)
    __rsub__ = _reflected(operator.sub)
    __mul__ = _binary(operator.mul)
    __rmul__ = _reflected(operator.mul)
    __truediv__ = _binary(operator.truediv)
    __rtruediv__ = _reflected(operator.truediv)
    __floordiv__ = _binary(operator.floordiv)
    __rfloordiv__ = _reflected(operator.floordiv)
    __mod__ = _binary(operator.mod)
    __rmod__ = _reflected(operator.mod)
    __pow__ = _binary(operator.pow)
    __rpow__ = _reflected(operator.pow)
    __and__ = __rand__ = _binary(operator.and_)
    __or__ = __ror__ = _binary(operator.or_)
    __eq__ = _binary(operator.eq)  # type: ignore[assignment]
    __ne__ = _binary(operator.ne)  # type: ignore[assignment]
    __lt__ = _binary(operator.lt)
    __le__ = _binary(operator.le)
    __gt__ = _binary(operator.gt)
    __ge__ = _binary(operator.ge)
    __invert__ = _unary(operator.invert)
    __neg__ = _unary(operator.neg)
    __pos__ = _unary(operator.pos)
    __abs__ = _unary(abs)


@final
class Selector:
    """Which keys each query attends to; `key(x)` and `query(x)` are the sides of one that is yet to be compared."""

    def __init__(self, node: selector.Selector) -> None:
        self.node = node

    def value(self, value: Any, default: Value = 0) -> SOp:
        """The default where no key is selected, the value where one is, the sum where several are."""
        return SOp(self.node.mean(_node(value), default))

    def input(self, xs: Iterable[Any]) -> list[list[bool]]:
        """Which keys are selected on an input, as [query][key]."""
        return rows_on(self.node.selector(), xs, _total)

    __call__ = input

    def name(self, name: str) -> "Selector":
        """A copy that has the name."""
        return Selector(_named(self.node.selector(), name))

    def _compare(self, f: Callable[[Any, Any], Any], other: Any) -> "Selector":
        if not isinstance(self.node, language.Side):
            raise ProgramError("a selector is compared with nothing: only key(...) and query(...) are, with each other")
        return Selector(f(self.node, _node(other)))

    def __repr__(self) -> str:
        return repr(self.node)

    def __bool__(self) -> bool:
        return bool(self.node)  # raises, and says what to write instead

    __hash__ = object.__hash__

    def __and__(self, other: Any) -> "Selector":
        return Selector(self.node & _node(other))

    def __or__(self, other: Any) -> "Selector":
        return Selector(self.node | _node(other))

    def __invert__(self) -> "Selector":
        return Selector(~self.node)

    def __eq__(self, other: Any) -> "Selector":  # type: ignore[override]
        return self._compare(operator.eq, other)

    def __ne__(self, other: Any) -> "Selector":  # type: ignore[override]
        return self._compare(operator.ne, other)

    def __lt__(self, other: Any) -> "Selector":
        return self._compare(operator.lt, other)

    def __le__(self, other: Any) -> "Selector":
        return self._compare(operator.le, other)

    def __gt__(self, other: Any) -> "Selector":
        return self._compare(operator.gt, other)

    def __ge__(self, other: Any) -> "Selector":
        return self._compare(operator.ge, other)


def _node(value: Any) -> Any:
    return value.node if isinstance(value, (SOp, Selector)) else value


def _named(node: Any, name: str) -> Any:
    node = copy.copy(node)  # `tokens.name("x")` leaves `tokens` as it is
    node.name = name
    return node


def _total(node: Mean) -> expression.SOp:
    """`.value` over several numbers."""
    total = Sum(node.selector, node.value)
    if node.default == 0:
        return total
    count = Sum(node.selector, Constant(1))
    return language.where(count > 0, total, node.default)


tokens: Final = SOp(Tokens())
indices: Final = SOp(language.indices)


def key(value: Any) -> Selector:
    """The value, an s-op or a constant, at the key position."""
    return Selector(language.key(_node(value)))


def query(value: Any) -> Selector:
    """The value, an s-op or a constant, at the query position."""
    return Selector(language.query(_node(value)))


def where(condition: Any, a: Any, b: Any) -> SOp:
    """a where the condition holds, else b."""
    return SOp(language.where(_node(condition), _node(a), _node(b)))


def to_program(op: SOp, vocab: Iterable[Any], max_len: int, *, name: str | None = None, **options: Any) -> Program:
    """The s-op as a program over the tokens of `vocab`.

    Args:
        name: of the program; by default that of the s-op.
        options: further fields of the program, such as `description`, `reference` or `domain`.

    >>> shift = (key(indices) == query(indices - 1)).value(tokens, "_").name("shift")
    >>> shift("hello")
    ['_', 'h', 'e', 'l', 'l']
    >>> program = to_program(shift, vocab="abc", max_len=5)
    >>> program.name, program("cab")
    ('shift', ['_', 'c', 'a'])
    """
    return program_of(op.node, vocab, max_len, _total, name or op.node.name or "raspy", **options)
