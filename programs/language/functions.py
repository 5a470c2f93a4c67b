"""The surface of the language: what programs are written with, besides the operators and methods of s-ops."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens, as_sop
from gaugeblock.programs.language.operations import (
    Local,
    SameBlock,
    Strided,
    always,
    choose,
    edge_targets,
    key_holds,
    leads_to,
    query_holds,
    swapped,
)
from gaugeblock.programs.language.selector import Select, Selector
from gaugeblock.programs.language.tree import postorder


@final
@dataclass(eq=False, repr=False)
class Side(Selector):
    """The selector `key(x)` or `query(x)`: one side of a comparison, and, where x is boolean, a selector of its own."""

    sop: SOp
    is_key: bool
    __hash__ = object.__hash__

    def selector(self) -> Selector:
        if self.is_key:
            return Select(self.sop, Constant(True), key_holds)
        return Select(Constant(True), self.sop, query_holds)

    def _compare(self, f: Callable[[Any, Any], bool], other: Any) -> Selector:
        side = "key" if self.is_key else "query"
        if isinstance(other, Side):
            if other.is_key == self.is_key:
                raise ProgramError(f"a selector compares key(...) with query(...), not {side} with {side}")
            if self.is_key:
                return Select(self.sop, other.sop, f)
            return Select(other.sop, self.sop, swapped(f))
        if isinstance(other, (SOp, Selector)):
            raise ProgramError(
                f"{side}(x) is compared with {'an s-op' if isinstance(other, SOp) else 'a selector'}, which could be "
                f"meant at the key or at the query: write key(y) or query(y), or compare inside: {side}(x == y)"
            )
        return Side(Elementwise(f, (self.sop, as_sop(other))), self.is_key).selector()

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


def key(value: Any) -> Side:
    """The value at the key position, to compare with `query(...)`; alone: the keys where it is true.

    >>> from gaugeblock.programs import program
    >>> count = program("abc", max_len=4)(lambda tokens, indices: (key(tokens) == query(tokens)).count())
    >>> count(["a", "b", "a"])
    [2, 1, 2]
    """
    return Side(as_sop(value), is_key=True)


def query(value: Any) -> Side:
    """The value at the query position, to compare with `key(...)`; alone: the queries where it is true.

    >>> from gaugeblock.programs import program
    >>> before = program("abc", max_len=4)(lambda tokens, indices: (key(indices) < query(indices)).count())
    >>> before(["a", "b", "a"])
    [0, 1, 2]
    """
    return Side(as_sop(value), is_key=False)


def select(keys: Any, queries: Any, predicate: Callable[[Any, Any], bool]) -> Selector:
    """Key k is selected by query q where predicate(keys[k], queries[q]).

    >>> from gaugeblock.programs import program
    >>> near = select(indices, indices, lambda k, q: abs(k - q) < 2)
    >>> program("abc", max_len=4)(lambda tokens, indices: near.count())(["a", "b", "a"])
    [2, 3, 2]
    """
    return Select(as_sop(keys), as_sop(queries), predicate)


def map_n(f: Callable[..., Any], *operands: Any) -> SOp:
    """f of the operands' values at each position.

    >>> from gaugeblock.programs import program
    >>> label = program("abc", max_len=4)(lambda tokens, indices: map_n(lambda x, i: f"{x}{i}", tokens, indices))
    >>> label(["a", "b", "a"])
    ['a0', 'b1', 'a2']
    """
    if not operands:
        raise ProgramError("map_n needs at least one operand after the function")
    return Elementwise(f, tuple(as_sop(x) for x in operands))


def where(condition: Any, a: Any, b: Any) -> SOp:
    """a where the condition holds, else b. Only the branch that is taken has to be defined.

    >>> from gaugeblock.programs import program
    >>> mask = program("abc", max_len=4)(lambda tokens, indices: where(tokens == "a", "-", tokens))
    >>> mask(["a", "b", "a"])
    ['-', 'b', '-']
    """
    return Elementwise(choose, (as_sop(condition), as_sop(a), as_sop(b)))


indices: Final = Indices()
everything: Final[Selector] = Select(Constant(True), Constant(True), always)
everything.name = "everything"
causal: Final[Selector] = Select(indices, indices, operator.le)
causal.name = "causal"


edges: Final[Selector] = Select(Tokens("edges", edge_targets), indices, leads_to)
"""For programs over graphs: the keys from which an edge leads to the query."""
edges.name = "edges"
for _constant in postorder(causal, everything, edges):
    _constant.origin = None  # written in no user's line


def local(n: int) -> Selector:
    """The current and the n keys before it.

    >>> from gaugeblock.programs import program
    >>> seen = program("abc", max_len=4)(lambda tokens, indices: local(1).any(tokens == "a"))
    >>> seen(["a", "b", "c", "a"])
    [True, True, False, True]
    """
    return Select(indices, indices, Local(_count("local", n, 0)))


def strided(n: int) -> Selector:
    """Keys up to the query whose distance is a multiple of n.

    >>> from gaugeblock.programs import program
    >>> every_second = program(range(10), max_len=4)(lambda tokens, indices: strided(2).sum(tokens))
    >>> every_second([1, 2, 3, 4])
    [1, 2, 4, 6]
    """
    return Select(indices, indices, Strided(_count("strided", n, 1)))


def same_block(n: int) -> Selector:
    """Keys of the query's block, where the input is cut into blocks of n from its beginning.

    >>> from gaugeblock.programs import program
    >>> block_sum = program(range(10), max_len=4)(lambda tokens, indices: same_block(2).sum(tokens))
    >>> block_sum([1, 2, 3, 4])
    [3, 3, 7, 7]
    """
    return Select(indices, indices, SameBlock(_count("same_block", n, 1)))


def _count(function: str, n: Any, least: int) -> int:
    if not isinstance(n, int) or n < least:
        raise ProgramError(f"{function}({n!r}) is not possible: give an integer of at least {least}")
    return n


def loop(n: int, step: Callable[[Any], Any], init: Any) -> Any:
    """`step` applied n times to `init`, unrolled.

    >>> loop(3, lambda x: 2 * x, 1)
    8
    >>> from gaugeblock.programs import program
    >>> spread = program("ab", max_len=4)(lambda tokens, indices: loop(2, local(1).any, tokens == "a"))
    >>> spread(["a", "b", "b", "b"])
    [True, True, True, False]
    """
    for _ in range(n):
        init = step(init)
    return init
