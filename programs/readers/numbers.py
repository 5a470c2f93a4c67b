"""What a reader has to know of an expression to choose a reduction: are its values numbers, is one key selected.

Dialects of RASP have one aggregation whose meaning depends on the values: numbers are averaged or summed, anything
else is copied from the one key selected. Here every expression is followed through a few hundred made-up positions:
tokens and indices are drawn at random, functions are called, reductions draw from the values they read. An
expression holds numbers if every value that turned up is one (booleans are 0 and 1). A rare text may be missed; the
sum or mean that is then built says so when it meets that text. Nothing is ever quietly wrong.

That at most one key is selected is known by rules: what is compared for equality differs at every two positions,
because it is an index shifted by what is equal everywhere, a rank in an order without ties, or a function of the
index and one token or count whose values, listed up to the maximal length, show it; or a relation between indices
is so listed.
"""

import operator
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Final, final

from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import MISSING, Value, apply, divide, selects
from gaugeblock.programs.language.selector import And, Get, Mean, Or, Select, Selector, Sum
from gaugeblock.programs.language.tree import Node, children, postorder

POSITIONS: Final = 256
"""How many positions are made up, or as many as there are tokens or indices."""

LARGEST: Final = 4096
"""Functions of the index and a variable are listed where there are no more combinations than this."""


@final
@dataclass(frozen=True, eq=False)
class Table:
    """The values of a function of the index and of at most one variable, the tokens or a count.

    `rows[i]` are those at index i: one for each value of the variable, or one alone without a variable.
    """

    variable: SOp | None
    rows: list[list[Value]]

    def separates(self) -> bool:
        """Whether no value stands in two rows, and all are defined."""
        rows = [set(row) for row in self.rows]
        everything = set[Value]().union(*rows)
        return None not in everything and len(everything) == sum(map(len, rows))


@final
class Kinds:
    """What is known of expressions over some tokens, at lengths up to `max_len`; learnt once per node.

    Equal subexpressions have to be one object (see `merging`).
    """

    def __init__(self, vocab: Sequence[Value], max_len: int) -> None:
        self._vocab = vocab
        self._max_len = max(max_len, 2)  # at one position everything would be distinct
        self._random = random.Random(0)
        self._count = max(POSITIONS, len(vocab), self._max_len)
        self._examples: dict[Node, list[Value]] = {}
        self._tables: dict[Node, Table] = {}
        self._uniform: set[Node] = set()  # s-ops equal at all positions, selectors equal for all queries
        self._distinct: set[Node] = set()  # s-ops nowhere equal, selectors of at most one key

    def holds_numbers(self, sop: SOp) -> bool:
        """Whether the values are numbers or booleans, as far as they turned up."""
        self._learn(sop)
        return all(isinstance(v, Real) for v in self._examples[sop] if v is not None)

    def selects_at_most_one(self, selector: Selector) -> bool:
        """Whether a rule says that no query selects two keys."""
        self._learn(selector)
        return selector in self._distinct

    def _learn(self, root: Node) -> None:
        for node in postorder(root, leaves=self._examples):
            if node in self._examples:
                continue
            self._examples[node] = self._made_up(node) if isinstance(node, SOp) else []
            if (table := self._table(node)) is not None:
                self._tables[node] = table
            if self._is_uniform(node):
                self._uniform.add(node)
            if self._is_distinct(node) if isinstance(node, SOp) else self._is_single(node):
                self._distinct.add(node)

    def _made_up(self, node: SOp) -> list[Value]:
        n, rng = self._count, self._random
        match node:
            case Tokens():
                return self._shuffled(self._vocab)
            case Indices():
                return self._shuffled(range(self._max_len))
            case Constant(value=value):
                return [value] * n
            case Elementwise(f=f, operands=operands):
                rows = zip(*(self._examples[x] for x in operands), strict=True)
                return [_attempt(f, values) for values in rows]
            case Get() | Mean() | Sum():
                pool = [v for v in self._examples[node.value] if v is not None]
                drawn = [self._reduced(node, pool) for _ in range(n)]
                default = MISSING if isinstance(node, Sum) else node.default
                return drawn if default is MISSING else [default if rng.random() < 0.25 else v for v in drawn]
        raise TypeError(f"{node!r} is not part of the language")

    def _shuffled(self, values: Sequence[Value]) -> list[Value]:
        repeated = [values[i % len(values)] for i in range(self._count)]
        self._random.shuffle(repeated)
        return repeated

    def _reduced(self, node: Get | Mean | Sum, pool: list[Any]) -> Value:
        """What the reduction might give for some of the values in the pool."""
        if isinstance(node, Get):
            return self._random.choice(pool) if pool else None
        least = 0 if isinstance(node, Sum) else 1
        summands = self._random.choices(pool, k=self._random.randint(least, self._max_len)) if pool else []
        if not all(isinstance(v, Real) for v in summands):
            return None
        total = sum(summands)
        return total if isinstance(node, Sum) or not summands else divide(total, len(summands))

    def _table(self, node: Node) -> Table | None:
        n = self._max_len
        match node:
            case Tokens() if n * len(self._vocab) <= LARGEST:
                return Table(node, [list(self._vocab)] * n)
            case Sum(value=Constant(value=1)) if n * (n + 1) <= LARGEST:
                return Table(node, [list(range(n + 1))] * n)
            case Indices():
                return Table(None, [[i] for i in range(n)])
            case Constant(value=value):
                return Table(None, [[value]] * n)
            case Elementwise(f=f, operands=operands) if all(x in self._tables for x in operands):
                return _table_of(f, [self._tables[x] for x in operands])
        return None

    def _is_uniform(self, node: Node) -> bool:
        match node:
            case Tokens() | Indices():
                return False
            case Get() | Mean() | Sum():
                return node.selector in self._uniform
            case Select(query=query):
                return query in self._uniform
        return all(child in self._uniform for child in children(node))

    def _is_distinct(self, node: SOp) -> bool:
        if node in self._tables and self._tables[node].separates():
            return True
        match node:
            case Elementwise(f=operator.add | operator.sub, operands=(a, b)):
                return (a in self._distinct and b in self._uniform) or (b in self._distinct and a in self._uniform)
            case Sum(selector=selector, value=Constant(value=1)):
                return self._is_order(selector)
        return False

    def _is_single(self, selector: Selector) -> bool:
        match selector:
            case And(operands=operands):
                return any(s in self._distinct for s in operands)
            case Select(key=key, query=query, predicate=predicate):
                if predicate is operator.eq and key in self._distinct:
                    return True
                keys, queries = self._tables.get(key), self._tables.get(query)
                if keys and queries and keys.variable is queries.variable is None:
                    return all(sum(_attempt_to_select(predicate, *k, *q) for k in keys.rows) <= 1 for q in queries.rows)
        return False

    def _is_order(self, selector: Selector) -> bool:
        """Whether the selector is strictly before the query in an order that has no ties."""
        match selector:
            case (
                Or(operands=(Select() as strict, And(operands=(s, t))))
                | Or(operands=(And(operands=(s, t)), Select() as strict))
            ):
                pairs = ((s, t), (t, s))
                return any(_compares(strict, *_STRICT, of=tie) and self._breaks(tie, later) for tie, later in pairs)
        return self._is_strict(selector)

    def _breaks(self, tie: Selector, later: Selector) -> bool:
        """Whether `tie` holds of equal values that are always defined, and `later` is an order without ties."""
        if not isinstance(tie, Select) or not _compares(tie, operator.eq, of=tie):
            return False
        return None not in self._examples[tie.key] and self._is_strict(later)

    def _is_strict(self, selector: Selector) -> bool:
        return (
            isinstance(selector, Select)
            and _compares(selector, *_STRICT, of=selector)
            and (selector.key in self._distinct)
        )


_STRICT = (operator.lt, operator.gt)


def _table_of(f: Callable[..., Any], tables: list[Table]) -> Table | None:
    """A function's table from those of its operands; None if they depend on several variables."""
    variables = [t.variable for t in tables if t.variable is not None]
    if any(v is not variables[0] for v in variables):
        return None
    width = max(len(t.rows[0]) for t in tables)
    wide = [[row if len(row) == width else row * width for row in t.rows] for t in tables]
    rows = [[_attempt(f, values) for values in zip(*at, strict=True)] for at in zip(*wide, strict=True)]
    return Table(variables[0] if variables else None, rows)


def _compares(select: Select, *predicates: Callable[[Any, Any], bool], of: Selector) -> bool:
    """Whether the keys and the queries are both the keys of another selector, compared by one of the predicates."""
    same = isinstance(of, Select) and select.key is of.key and select.query is of.key
    return same and select.predicate in predicates


def _attempt(f: Callable[..., Any], values: tuple[Any, ...]) -> Value:
    """The result, or undefined where the function does not take made-up values."""
    try:
        return apply(f, values)
    except Exception:  # whatever a user's function raises
        return None


def _attempt_to_select(predicate: Callable[[Any, Any], bool], key: Value, query: Value) -> bool:
    try:
        return selects(predicate, key, query)
    except Exception:  # as above; a relation that cannot be listed counts as one that selects
        return True
