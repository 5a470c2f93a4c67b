"""What is known of a program's s-ops and selectors for every input up to its size, without running it on inputs.

Two views. A *table* of an s-op lists the values it takes at each position, for every value of the few s-ops it is
computed from (its variables: tokens, ranks, counts, ...). A *formula* is a selector as a boolean function of its
comparisons, whose value is known where they compare nothing that depends on the tokens.

Everything said here is a superset of what happens: "may" is never wrong, "must" is never missing a case. Statements
are about inputs of at most `max_len` tokens of the vocabulary on which the program has a value at all.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from numbers import Rational
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import MISSING, apply, node_value, selects, value_signature
from gaugeblock.programs.language.selector import And, Get, Mean, Select, Selector, Sum
from gaugeblock.programs.language.tree import Node, children, postorder
from gaugeblock.programs.program import Program
from gaugeblock.programs.proofs.formulas import Formula, along, boolean, selects_of
from gaugeblock.programs.proofs.functions import COMPARISONS, is_certain, is_rational

MOST_ROWS: Final = 50_000
"""Tables with more rows are not built."""

MOST_PAIRS: Final = 100_000
"""So many pairs of rows are compared, and no more."""

MOST_ATOMS: Final = 10
"""Formulas over more comparisons are not built."""

DEEPEST: Final = 12
"""Values are followed through so many nested reductions."""

LONGEST: Final = 128
"""Positions are not gone through one by one in programs for longer inputs."""


@final
@dataclass(frozen=True)
class Row:
    """One line of a table: at `position`, when the variables have certain values, the s-ops have `values`.

    Attributes:
        shared: values of those variables that are the same at all positions of an input.
        ranks: values of those variables that differ between any two positions of an input.
    """

    position: int
    shared: tuple[Any, ...]
    ranks: tuple[Any, ...]
    values: tuple[Any, ...]


Table = dict[int, list[Row]]
"""Rows for each input length."""


@final
class Facts:
    """Answers about the s-ops and selectors below `roots`, whose equal nodes are merged."""

    def __init__(self, program: Program, *roots: Node) -> None:
        self._program = program
        self._roots = roots  # kept, since nodes are known by their id
        self.lengths = range(1, program.max_len + 1)
        self._reads_tokens: set[int] = set()
        self._undefined: set[int] = set()
        self._rational: set[int] = set()
        self._varies: set[int] = set()
        self._nesting: dict[int, int] = {}
        self._memo: dict[tuple[Any, ...], Any] = {}
        for node in postorder(*roots):
            self._note(node)

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
            return all(map(_identical, columns))
        match node.operands:
            case (Tokens() as tokens,) if (vocab := self._vocab(tokens)) is not None:
                try:
                    return _identical([apply(node.f, (token,)) for token in vocab])
                except Exception:  # whatever a user's function raises
                    return False
        return False

    def _vocab(self, node: Node) -> tuple[Any, ...] | None:
        """The values of `tokens`; None for other nodes, and for the edges of a graph."""
        whole = node_value if self._program.graph else None
        return self._program.vocab if isinstance(node, Tokens) and node.part is whole else None

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
            found = self.values(x, n)
            if found is None:
                return False
            values.update(found)
        return _all_ordered(values)

    def told_apart(self, x: SOp) -> bool:
        """Whether any two values of x that are equal are certain to be of one type, so that functions cannot differ."""
        if isinstance(x, Mean):
            return x.default is MISSING or x.default is None
        values: set[tuple[type, Any]] = set()
        for n in self.lengths:
            found = self.values(x, n)
            if found is None:
                return False
            values.update((type(v), v) for v in found)
        return len(values) == len({v for _, v in values})

    # values

    def positional(self, x: SOp) -> list[tuple[Any, ...]] | None:
        """The values of x at each position, for each length from 1, if nothing below it reads the tokens."""
        return self._remember(("positional", id(x)), lambda: self._positional(x))

    def _positional(self, x: SOp) -> list[tuple[Any, ...]] | None:
        if id(x) in self._reads_tokens or len(self.lengths) > LONGEST:
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
        if self._nesting[id(x)] > DEEPEST:
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

    def table(self, *xs: SOp) -> Table | None:
        """The values of several s-ops together; None if they are not known, or too many."""
        return self._remember(("table", *map(id, xs)), lambda: self._table(xs))

    def _table(self, xs: tuple[SOp, ...]) -> Table | None:
        variables: list[SOp] = []
        inner: list[Elementwise] = []
        for node in self._cone(xs):
            if isinstance(node, Elementwise) and self.positional(node) is None:
                inner.append(node)
            else:
                variables.append(node)
        given = [(x, column) for x in variables if (column := self.positional(x)) is not None]
        free = [x for x in variables if self.positional(x) is None]
        domains = {n: [self.values(x, n) for x in free] for n in self.lengths}
        if any(d is None for ds in domains.values() for d in ds):
            return None
        if sum(n * math.prod(len(d or ()) for d in ds) for n, ds in domains.items()) > MOST_ROWS:
            return None
        uniform = [i for i, x in enumerate(free) if self.uniform(x)]
        ranks = [i for i, x in enumerate(free) if self.rank(x) is not None]

        def rows(n: int) -> Iterator[Row]:
            for choice in itertools.product(*(d or () for d in domains[n])):
                for position in range(n):
                    at = {id(x): v for x, v in zip(free, choice, strict=True)}
                    at |= {id(x): column[n - 1][position] for x, column in given}
                    try:
                        for node in inner:
                            at[id(node)] = apply(node.f, tuple(at[id(o)] for o in node.operands))
                    except Exception:  # values that do not meet, since the program has a value
                        continue
                    shared, distinct = (tuple(choice[i] for i in which) for which in (uniform, ranks))
                    yield Row(position, shared, distinct, tuple(_one_nan(at[id(x)]) for x in xs))

        return {n: list(rows(n)) for n in self.lengths}

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
        table = self.table(x)
        return table is not None and self.separate(table, lambda row: row.values, lambda row: row.position)

    def separate(
        self,
        table: Table,
        by: Callable[[Row], Any],
        what: Callable[[Row], Any],
        may_be_first: Callable[[int, Row], bool] = lambda n, row: True,
        may_be_second: Callable[[int, Row], bool] = lambda n, row: True,
    ) -> bool:
        """Whether any two positions of an input that are equal in `by` are certain to be equal in `what`.

        Only pairs of a position that may be first and one that may be second count.
        """
        for n, rows in table.items():
            groups: dict[Any, tuple[list[Row], list[Row]]] = {}
            for row in rows:
                first, second = groups.setdefault((row.shared, by(row)), ([], []))
                if may_be_first(n, row):
                    first.append(row)
                if may_be_second(n, row):
                    second.append(row)
            for first, second in groups.values():
                if not first or not second or _one_value(map(what, first + second)) or _one(first + second):
                    continue
                if len(first) * len(second) > MOST_PAIRS:
                    return False
                if any(_conflict(a, b, what) for a, b in itertools.product(first, second)):
                    return False
        return True

    def taken(self, x: SOp, n: int) -> set[Any]:
        """Values that x is certain to have somewhere in every input of length n."""
        positional = self.positional(x)
        if positional is not None:
            return set(positional[n - 1])
        table = self.table(x)
        if table is None:
            return set()
        found: dict[Any, dict[Any, set[Any]]] = {}  # by what is the same everywhere, then by rank
        for row in table[n]:
            if len(row.ranks) != 1:
                return set()
            found.setdefault(row.shared, {}).setdefault(row.ranks, set()).update(row.values)
        sure = [{v for values in by_rank.values() if len(values) == 1 for v in values} for by_rank in found.values()]
        return set.intersection(*sure) if sure else set()

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
        if isinstance(x.value.value, float) or self._nesting[id(x)] > DEEPEST:
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
        if m > MOST_ATOMS:
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


def _conflict(a: Row, b: Row, what: Callable[[Row], Any]) -> bool:
    if a.position == b.position or any(r == s for r, s in zip(a.ranks, b.ranks, strict=True)):
        return False
    return not _one_value((what(a), what(b)))


def _one_value(values: Iterable[Any]) -> bool:
    """Whether all are equal; what nan is part of is not."""
    distinct = set(values)
    return len(distinct) == 1 and not any(map(_has_nan, distinct))


def _identical(values: Sequence[Any]) -> bool:
    """Whether all are one value, also to functions that look at types."""
    return _one_value(values) and len(set(map(value_signature, values))) == 1


def _has_nan(value: Any) -> bool:
    return any(map(_has_nan, value)) if isinstance(value, tuple) else value != value


def _one_nan(value: Any) -> Any:
    """The value with the same object for every nan, so that scores that tie are equal."""
    if not _has_nan(value):
        return value
    return tuple(map(_one_nan, value)) if isinstance(value, tuple) else math.nan


def _one(rows: list[Row]) -> bool:
    """Whether all rows are of one position, because of its number or a rank that they share."""
    keys = zip(*((row.position, *row.ranks) for row in rows), strict=True)
    return any(len(set(values)) == 1 for values in keys)


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(v for _, v in {(type(v), v): None for v in values})


def _sums(values: tuple[Any, ...] | None, n: int) -> tuple[Any, ...] | None:
    """What up to n of these values may add up to, if they are integers."""
    if values is None or not all(isinstance(v, int) for v in values):
        return None
    low, high = min(0, n * min(values, default=0)), max(0, n * max(values, default=0))
    return tuple(range(low, high + 1)) if high - low <= MOST_ROWS else None


def _all_ordered(values: Iterable[Any]) -> bool:
    found = [v for v in values if v is not None]
    if all(isinstance(v, (Rational, float)) for v in found):
        return not any(math.isnan(v) for v in found)
    return all(isinstance(v, str) for v in found)
