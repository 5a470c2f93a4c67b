"""Have all keys that a query selects one value? Rules that prove it for the `.get` of a program.

Take any two keys that one query selects both, and suppose the truth values of the selector's comparisons are such
that this is possible. Their values agree if one of these holds (`_Pair`):

- nothing is possible: where comparisons look at positions only, they are gone through for each length;
- something that is equal at both keys, because of `key(x) == query(y)` or as the score of `.best`, differs between
  any two positions: an index, a function of it that repeats no value, the rank in a total order;
- the value is computed from such things, or is the same at all positions (`.any`, `.max`, `.min`);
- going through all values of the tokens, ranks and counts that the keys and the value are computed from finds no
  two positions at which they would be selected and differ.
"""

import itertools
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from gaugeblock.programs.language.expression import Elementwise, SOp
from gaugeblock.programs.language.operations import selects
from gaugeblock.programs.language.selector import And, Get, Select, Selector
from gaugeblock.programs.proofs.facts import Facts
from gaugeblock.programs.proofs.formulas import Formula, condition_on_key, condition_on_query, fixed_by
from gaugeblock.programs.proofs.functions import respects_equality
from gaugeblock.programs.proofs.tables import TableRow, separate

MAX_STATES: Final = 200
"""Pairs of keys are not gone through where the comparisons of one key have more combinations of truth values."""


@final
@dataclass(frozen=True)
class _Pair:
    """What is known of two keys that a query selects.

    Attributes:
        both: comparisons that hold of both.
        first, second: comparisons that look at the key only, and whether they hold.
    """

    both: tuple[Select, ...]
    first: tuple[tuple[Select, bool], ...]
    second: tuple[tuple[Select, bool], ...]


def at_most_one(facts: Facts, get: Get) -> str | None:
    """Why all keys that a query selects have one value; None if no rule proves it.

    >>> from gaugeblock.programs import key, program, query
    >>> @program(vocab=range(4), max_len=5)
    ... def by_rank(tokens, indices):
    ...     before = (key(tokens) < query(tokens)) | (key(tokens) == query(tokens)) & (key(indices) < query(indices))
    ...     return (key(before.count()) == query(indices)).get(tokens)
    >>> at_most_one(Facts.of(by_rank, by_rank.output), by_rank.output)
    'no two positions have the same value'
    """
    if facts.uniform(get.value):
        return "the value is the same at all positions"
    if get.score is not None and (reason := _agree(facts, get, _Pair((), (), ()))):
        return reason
    for selector in (get.selector, *_conjuncts(get.selector)):
        formula = facts.formula(selector)
        pairs = None if formula is None else _pairs(facts, formula)
        if pairs is not None:
            reasons = [_agree(facts, get, pair) for pair in pairs]
            if all(reasons):
                different = dict.fromkeys(reason for reason in reasons if reason)
                return "; ".join(different) or "by position, no query selects two keys at any length"
    return None


def _conjuncts(selector: Selector) -> Iterator[Selector]:
    """The parts that a selector is a conjunction of, if it is one."""
    stack = list(reversed(selector.operands)) if isinstance(selector, And) else []
    while stack:
        part = stack.pop()
        if isinstance(part, And):
            stack.extend(reversed(part.operands))
        else:
            yield part


def _pairs(facts: Facts, formula: Formula) -> list[_Pair] | None:
    """Every kind of pair of keys that a query may select; None if there are too many."""
    free = [i for i in range(len(formula.atoms)) if i not in formula.known]
    queries = [i for i in free if condition_on_query(formula.atoms[i]) is not None]
    fixing = [i for i in range(len(formula.atoms)) if fixed_by(formula.atoms[i])]
    on_key = [i for i in free if (x := condition_on_key(formula.atoms[i])) is not None and facts.table(x) is not None]
    columns = list(dict.fromkeys([*formula.known, *queries, *fixing, *on_key]))
    selected = np.argwhere(formula.holds & formula.possible)
    states = np.unique(selected[:, columns], axis=0) if len(selected) else selected
    if len(states) > MAX_STATES:
        return None
    meet = _codes_that_meet(facts, formula)
    t = len(formula.known)
    codes = states[:, :t] @ (2 ** np.arange(t)[::-1])
    pairs: dict[_Pair, None] = {}
    for (a, b), (x, y) in zip(
        itertools.combinations_with_replacement(codes.tolist(), 2),
        itertools.combinations_with_replacement(states.tolist(), 2),
        strict=True,
    ):
        first, second = dict(zip(columns, x, strict=True)), dict(zip(columns, y, strict=True))
        if meet[a, b] and all(first[i] == second[i] for i in queries):
            both = tuple(formula.atoms[i] for i in fixing if first[i] and second[i])
            at = [tuple((formula.atoms[i], bool(bits[i])) for i in on_key) for bits in (first, second)]
            pairs[_Pair(both, *at)] = None
    return list(pairs)


def _codes_that_meet(facts: Facts, formula: Formula) -> np.ndarray:
    """Which two combinations of known comparisons occur at two keys of one query."""
    kinds = 2 ** len(formula.known)
    meet = np.zeros((kinds, kinds), dtype=bool)
    if not formula.known:  # of any length
        return ~meet
    for n in facts.lengths:
        counts = np.stack([(formula.codes(n) == kind).sum(1) for kind in range(kinds)], axis=1)
        present = (counts > 0).astype(int)
        meet |= (present.T @ present > 0) & ~np.eye(kinds, dtype=bool)
        meet |= np.diag((counts > 1).any(0))
    return meet


def _agree(facts: Facts, get: Get, pair: _Pair) -> str | None:
    """Why the values at such two keys are equal; None if no rule proves it."""
    scores = () if get.score is None else (get.score,)
    fixed = list({id(x): x for x in (*scores, *(x for atom in pair.both for x in fixed_by(atom)))}.values())
    for x in fixed:
        if facts.distinct(x):
            return f"no two positions have the same {_called(x)}"
    names = " and ".join(_called(x) for x in fixed) or "condition"
    if fixed and _computed_from(facts, get.value, fixed):
        return f"the value is computed from the same {names}"
    known = [x for x in fixed if facts.table(x) is not None]
    watched = {id(x): x for atom, _ in (*pair.first, *pair.second) if (x := condition_on_key(atom)) is not None}
    xs = [*{id(x): x for x in (*known, *watched.values())}.values()]
    place = {id(x): i for i, x in enumerate(xs)}

    def may_be(conditions: tuple[tuple[Select, bool], ...]) -> Callable[[int, TableRow], bool]:
        def check(n: int, row: TableRow) -> bool:
            for atom, holds in conditions:
                if any(
                    selects(atom.predicate, row.values[place[id(atom.key)]], c) != holds for c in constant[id(atom)]
                ):
                    return False
            return all(row.values[place[i]] in sought[n] for i, sought in targets)

        return check

    constant = {id(atom): facts.values(atom.query, 1) or () for atom, _ in (*pair.first, *pair.second)}
    targets = [(id(a.key), values) for a in pair.both if id(a.key) in place and (values := _sought(facts, a))]
    first, second = may_be(pair.first), may_be(pair.second)

    def same(row: TableRow) -> Any:
        return tuple(row.values[place[id(x)]] for x in known)

    if not xs:
        return None
    table = facts.table(*xs, get.value)
    if table is not None and separate(table, same, lambda row: row.values[-1], first, second):
        return f"going through all values, the same {names} always comes with the same value"
    table = facts.table(*xs)
    if table is not None and separate(table, same, lambda row: row.position, first, second):
        return f"going through all values, no two positions have the same {names}"
    return None


def _sought(facts: Facts, atom: Select) -> dict[int, set[Any]] | None:
    """The values that a key must have to equal the query, for each length."""
    sought = {n: facts.values(atom.query, n) for n in facts.lengths}
    if atom.predicate is not operator.eq or any(values is None for values in sought.values()):
        return None
    return {n: set(values or ()) for n, values in sought.items()}


def _computed_from(facts: Facts, value: SOp, fixed: list[SOp]) -> bool:
    """Whether the value at a position follows from those of `fixed` there, as they are compared."""
    known = {id(x) for x in fixed}
    stack = [(value, False)]
    seen: set[tuple[int, bool]] = set()
    while stack:
        x, exactly = stack.pop()  # exactly: a function may tell apart values that are equal
        if (
            (id(x), exactly) in seen
            or facts.uniform(x)
            or (id(x) in known and not (exactly and not facts.told_apart(x)))
        ):
            continue
        seen.add((id(x), exactly))
        if not isinstance(x, Elementwise):
            return False
        stack += [(o, exactly or not respects_equality(x.f)) for o in x.operands]
    return True


def _called(x: SOp) -> str:
    return x.name or "value"
