"""What is known of a program's s-ops and selectors for every input up to its size, without running it on inputs.

Two views. A *table* of an s-op lists the values it takes at each position, for every value of the few s-ops it is
computed from (its variables: tokens, ranks, counts, ...). A *formula* is a selector as a boolean function of its
comparisons, whose value is known where they compare nothing that depends on the tokens.

Everything said here is a superset of what happens: "may" is never wrong, "must" is never missing a case. Statements
are about inputs of at most `max_len` tokens of the vocabulary on which the program has a value at all.
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from numbers import Rational
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import MISSING, apply, node_value, selects
from gaugeblock.programs.language.selector import And, Get, Mean, Select, Selector, Sum
from gaugeblock.programs.language.tree import Node, children, postorder
from gaugeblock.programs.program import Program
from gaugeblock.programs.proofs.formulas import Formula, along, boolean, selects_of
from gaugeblock.programs.proofs.functions import COMPARISONS, is_certain, is_rational
from gaugeblock.programs.proofs.tables import TableRow, ValueTable, certain_values, identical, one_nan, separate

MAX_TABLE_ROWS: Final = 50_000
"""Tables with more rows are not built."""

MAX_COMPARISONS: Final = 10
"""Formulas over more comparisons are not built."""

MAX_NESTED_REDUCTIONS: Final = 12
"""Values are followed through so many nested reductions."""

MAX_LENGTH_LISTED: Final = 128
"""Positions are not gone through one by one in programs for longer inputs."""


@final
class Facts:
    """Answers about s-ops and selectors over some tokens, whose equal nodes are merged (see `Merger`).

    What is found out for one expression is kept for the next.
    """

    def __init__(self, vocab: tuple[Any, ...], max_len: int, *, graph: bool = False) -> None:
        self._tokens = vocab
        self._graph = graph
        self.lengths = range(1, max_len + 1)
        self._noted: dict[Node, None] = {}  # keeps the nodes, which are known by their id otherwise
        self._reads_tokens: set[int] = set()
        self._undefined: set[int] = set()
        self._rational: set[int] = set()
        self._varies: set[int] = set()
        self._nesting: dict[int, int] = {}
        self._memo: dict[tuple[Any, ...], Any] = {}

    @classmethod
    def of(cls, program: Program, *roots: Node) -> "Facts":
        """The facts about expressions over the tokens of a program."""
        facts = cls(program.vocab, program.max_len, graph=program.graph)
        facts.add(*roots)
        return facts

    def add(self, *roots: Node) -> None:
        """Let questions be about these expressions too."""
        for node in postorder(*roots, leaves=self._noted):
            if node not in self._noted:
                self._note(node)
                self._noted[node] = None

    def _note(self, node: Node) -> None:
        """What follows for a node from its children alone."""
        below = [id(child) for child in children(node)]
        reduces = isinstance(node, (Get, Mean, Sum))
        self._nesting[id(node)] = max((self._nesting[c] for c in below), default=0) + reduces
        if isinstance(node, Tokens) or any(c in self._reads_tokens for c in below):
            self._reads_tokens.add(id(node))
        if isinstance(node, SOp) and not is_certain(node, self._undefined, self._vocab(node)):
            self._undefined.add(id(node))
        if isinstance(node, SOp) and is_rational(node, self._rational, self._vocab(node)):
            self._rational.add(id(node))
        depends = below
        if reduces:  # what a query gets from a selector that does not look at the query
            depends = below[:1]
        elif isinstance(node, Select):
            depends = below[1:]
        if isinstance(node, (Tokens, Indices)) or any(c in self._varies for c in depends):
            self._varies.add(id(node))
        if isinstance(node, Elementwise) and id(node) in self._varies and self._is_constant(node):
            self._varies.discard(id(node))

    def _is_constant(self, node: Elementwise) -> bool:
        """Whether it has one value after all, as `tokens.map(lambda x: 0)` has."""
        columns = self.positional(node)
        if columns is not None:
            return all(map(identical, columns))
        match node.operands:
            case (Tokens() as tokens,) if (vocab := self._vocab(tokens)) is not None:
                try:
                    return identical([apply(node.f, (token,)) for token in vocab])
                except Exception:  # whatever a user's function raises
                    return False
        return False

    def _vocab(self, node: Node) -> tuple[Any, ...] | None:
        """The values of `tokens`; None for other nodes, and for the edges of a graph."""
        whole = node_value if self._graph else None
        return self._tokens if isinstance(node, Tokens) and node.part is whole else None

    def _remember(self, question: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
        if question not in self._memo:
            self._memo[question] = compute()
        return self._memo[question]

    def defined(self, x: SOp) -> bool:
        """Whether x is certain to have a value at every position."""
        if id(x) not in self._undefined:
            return True
        return all((values := self.values(x, n)) is not None and None not in values for n in self.lengths)

    def uniform(self, x: Node) -> bool:
        """Whether x is certain to have one value for all positions of an input; of a selector: for all queries."""
        return id(x) not in self._varies

    def ordered(self, x: SOp) -> bool:
        """Whether any two values of x, where it has any, are certain to be <, == or >, and < is transitive."""
        if id(x) in self._rational:
            return True
        values: set[Any] = set()
        for n in self.lengths:
            at_n = self.values(x, n)
            if at_n is None:
                return False
            values.update(at_n)
        return _all_ordered(values)

    def told_apart(self, x: SOp) -> bool:
        """Whether any two values of x that are equal are certain to be of one type, so that functions cannot differ."""
        if isinstance(x, Mean):
            return x.default is MISSING or x.default is None
        values: set[tuple[type, Any]] = set()
        for n in self.lengths:
            at_n = self.values(x, n)
            if at_n is None:
                return False
            values.update((type(v), v) for v in at_n)
        return len(values) == len({v for _, v in values})

    # values

    def positional(self, x: SOp) -> list[tuple[Any, ...]] | None:
        """The values of x at each position, for each length from 1, if nothing below it reads the tokens."""
        return self._remember(("positional", id(x)), lambda: self._positional(x))

    def _positional(self, x: SOp) -> list[tuple[Any, ...]] | None:
        if id(x) in self._reads_tokens or len(self.lengths) > MAX_LENGTH_LISTED:
            return None
        try:  # the tokens do not matter
            (column,) = evaluate([x], [[None] * n for n in self.lengths])
        except ProgramError:  # perhaps for a length of which the domain has no input
            return None
        return [tuple(column.values[c] for c in row if c >= 0) for row in column.codes]

    def values(self, x: SOp, n: int) -> tuple[Any, ...] | None:
        """All values that x may have in an input of length n; None if they are not known, or too many."""
        return self._remember(("values", id(x), n), lambda: self._values(x, n))

    def _values(self, x: SOp, n: int) -> tuple[Any, ...] | None:
        positional = self.positional(x)
        if positional is not None:
            return _distinct(positional[n - 1])
        if self._nesting[id(x)] > MAX_NESTED_REDUCTIONS:
            return None
        match x:
            case Tokens():
                return self._vocab(x)
            case Elementwise():
                table = self.table(x)
                return None if table is None else _distinct(row.values[0] for row in table[n])
            case Get():
                values = self.values(x.value, n)
                default = () if x.default is MISSING else (x.default,)
                return None if values is None else _distinct((*values, *default))
            case Sum():
                first = self.rank(x)
                if first is not None:
                    return tuple(range(first, first + n))
                return _sums(self.values(x.value, n), n)
        return None

    def table(self, *xs: SOp) -> ValueTable | None:
        """The values of several s-ops together; None if they are not known, or too many."""
        return self._remember(("table", *map(id, xs)), lambda: self._table(xs))

    def _table(self, xs: tuple[SOp, ...]) -> ValueTable | None:
        variables: list[SOp] = []
        inner: list[Elementwise] = []
        for node in self._cone(xs):
            if isinstance(node, Elementwise) and self.positional(node) is None:
                inner.append(node)
            else:
                variables.append(node)
        fixed = [(x, column) for x in variables if (column := self.positional(x)) is not None]
        free = [x for x in variables if self.positional(x) is None]
        domains = {n: [self.values(x, n) for x in free] for n in self.lengths}
        if any(d is None for ds in domains.values() for d in ds):
            return None
        if sum(n * math.prod(len(d or ()) for d in ds) for n, ds in domains.items()) > MAX_TABLE_ROWS:
            return None
        uniform = [i for i, x in enumerate(free) if self.uniform(x)]
        ranks = [i for i, x in enumerate(free) if self.rank(x) is not None]

        def rows(n: int) -> Iterator[TableRow]:
            for choice in itertools.product(*(d or () for d in domains[n])):
                for position in range(n):
                    at = {id(x): v for x, v in zip(free, choice, strict=True)}
                    at |= {id(x): column[n - 1][position] for x, column in fixed}
                    try:
                        for node in inner:
                            at[id(node)] = apply(node.f, tuple(at[id(o)] for o in node.operands))
                    except Exception:  # values that do not meet, since the program has a value
                        continue
                    shared, distinct = (tuple(choice[i] for i in which) for which in (uniform, ranks))
                    yield TableRow(position, shared, distinct, tuple(one_nan(at[id(x)]) for x in xs))

        return ValueTable(self.lengths, rows)

    def _cone(self, xs: Sequence[SOp]) -> Iterator[SOp]:
        """The s-ops that xs are computed from at their own position, operands first, down to the variables."""
        seen: set[int] = set()
        stack = [(x, False) for x in reversed(xs)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                yield node
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                if isinstance(node, Elementwise) and self.positional(node) is None:
                    stack.extend((o, False) for o in reversed(node.operands))

    # positions told apart

    def distinct(self, x: SOp) -> bool:
        """Whether x is certain to differ between any two positions of an input."""
        return self._remember(("distinct", id(x)), lambda: self._distinct(x))

    def _distinct(self, x: SOp) -> bool:
        if isinstance(x, Indices) or self.rank(x) is not None:
            return True
        match x:
            case Elementwise(f=operator.add | operator.sub, operands=(a, b)) if id(x) in self._rational:
                if any(self.uniform(s) and self.defined(s) and self.distinct(y) for y, s in ((a, b), (b, a))):
                    return True
        table = self.table(x)
        return table is not None and separate(table, lambda row: row.values, lambda row: row.position)

    def taken(self, x: SOp, n: int) -> set[Any]:
        """Values that x is certain to have somewhere in every input of length n."""
        positional = self.positional(x)
        if positional is not None:
            return set(positional[n - 1])
        table = self.table(x)
        return set() if table is None else certain_values(table[n])

    def equals_itself(self, x: SOp) -> bool:
        """Whether x is certain to have a value everywhere that is equal to itself, as nan is not."""
        if not self.defined(x):
            return False
        values = [self.values(x, n) for n in self.lengths]
        return self.ordered(x) or all(vs is not None and all(v == v for v in vs) for vs in values)

    def rank(self, x: SOp) -> int | None:
        """The smallest value of x, if x is certain to number the positions of each input: 0 to n - 1, or from 1.

        That is so for the count of a selector that puts any two positions in an order: lexicographic in some
        s-ops, ascending or descending in each, the last of which differs between any two positions.
        """
        return self._remember(("rank", id(x)), lambda: self._rank(x))

    def _rank(self, x: SOp) -> int | None:
        if not isinstance(x, Sum) or not isinstance(x.value, Constant) or x.value.value != 1:
            return None
        if isinstance(x.value.value, float) or self._nesting[id(x)] > MAX_NESTED_REDUCTIONS:
            return None
        atoms = selects_of(x.selector)
        compared = list({id(a.key): a.key for a in atoms}.values())
        if len(compared) > 4 or any(a.key is not a.query or a.predicate not in COMPARISONS for a in atoms):
            return None
        if not all(self.defined(c) and self.ordered(c) for c in compared):
            return None
        number = {id(c): i for i, c in enumerate(compared)}
        sign = np.array([0, -1, 1])  # of key - query
        values = {id(a): along(np.asarray(a.predicate(sign, 0)), number[id(a.key)], len(compared)) for a in atoms}
        before = np.broadcast_to(boolean(x.selector, atoms, values), (3,) * len(compared))
        return self._first_rank(before, compared)

    def _first_rank(self, before: Bool[np.ndarray, "..."], compared: list[SOp]) -> int | None:
        """0 or 1 if `before`, given the signs of key - query in what is compared, is a lexicographic order."""
        if not compared:
            return None
        for i, x in enumerate(compared):
            equal, smaller, larger = (np.asarray(part) for part in np.moveaxis(before, i, 0))
            if (smaller.all() and not larger.any()) or (larger.all() and not smaller.any()):
                if self.distinct(x):
                    return int(equal.flat[0])  # the position itself
                return self._first_rank(equal, compared[:i] + compared[i + 1 :])
        return None

    # selectors

    def formula(self, selector: Selector) -> Formula | None:
        """The selector as a boolean function; None if it has too many atoms."""
        return self._remember(("formula", id(selector)), lambda: self._formula(selector))

    def _formula(self, selector: Selector) -> Formula | None:
        atoms = selects_of(selector)
        m = len(atoms)
        if m > MAX_COMPARISONS:
            return None
        axis = [along(np.array([False, True]), i, m) for i in range(m)]
        holds = boolean(selector, atoms, {id(a): axis[i] for i, a in enumerate(atoms)})
        possible = np.ones((2,) * m, dtype=bool)
        for i, j in itertools.combinations(range(m), 2):
            possible = possible & self._compatible(atoms[i], atoms[j], axis[i], axis[j])
        known = {i: masks for i, a in enumerate(atoms) if (masks := self._masks(a)) is not None}
        return Formula(atoms, np.broadcast_to(holds, (2,) * m), possible, known)

    def _compatible(self, a: Select, b: Select, x: Any, y: Any) -> Any:
        """Which truth values of two comparisons of the same s-ops exclude each other."""
        if a.key is not b.key or a.query is not b.query or {a.predicate, b.predicate} - set(COMPARISONS):
            return True
        if not (self.ordered(a.key) and self.ordered(a.query)):
            return True
        signs = {(a.predicate(s, 0), b.predicate(s, 0)) for s in (-1, 0, 1)}
        if not (self.defined(a.key) and self.defined(a.query)):
            signs.add((False, False))
        return reduce(np.logical_or, [(x == p) & (y == q) for p, q in signs])

    def looks_back(self, selector: Selector) -> bool:
        """Whether the selector is certain to select no key after its query, whatever the tokens are."""
        formula = self.formula(selector)
        if formula is None:  # of a conjunction, one part is enough
            return isinstance(selector, And) and any(map(self.looks_back, selector.operands))
        others = tuple(i for i in range(len(formula.atoms)) if i not in formula.known)
        may_hold = (formula.holds & formula.possible).any(axis=others).reshape(-1)
        return not any(np.triu(may_hold[formula.codes(n)], 1).any() for n in self.lengths)

    def _masks(self, atom: Select) -> list[Any] | None:
        keys, queries = self.positional(atom.key), self.positional(atom.query)
        if keys is None or queries is None:
            return None
        f = atom.predicate
        try:
            return [
                np.array([[selects(f, k, q) for k in ks] for q in qs]) for ks, qs in zip(keys, queries, strict=True)
            ]
        except Exception:  # a predicate that raises: the interpreter tells where
            return None


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(v for _, v in {(type(v), v): None for v in values})


def _sums(values: tuple[Any, ...] | None, n: int) -> tuple[Any, ...] | None:
    """What up to n of these values may add up to, if they are integers."""
    if values is None or not all(isinstance(v, int) for v in values):
        return None
    low, high = min(0, n * min(values, default=0)), max(0, n * max(values, default=0))
    return tuple(range(low, high + 1)) if high - low <= MAX_TABLE_ROWS else None


def _all_ordered(values: Iterable[Any]) -> bool:
    defined = [v for v in values if v is not None]
    if all(isinstance(v, (Rational, float)) for v in defined):
        return not any(math.isnan(v) for v in defined)
    return all(isinstance(v, str) for v in defined)
