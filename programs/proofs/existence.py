"""Does every query select a key? A rule that proves it for the `.get` of a program.

For each length, position and truth value of the comparisons that look at the query only, the selector holds of some
key whatever the comparisons on tokens say. Such a key may be the query's own position (`key(x) <= query(x)`), or the
one that has the value looked for, where x takes all values that y can have.
"""

from typing import Final

import numpy as np

from gaugeblock.programs.language.operations import selects
from gaugeblock.programs.language.selector import Get, Select
from gaugeblock.programs.proofs.facts import Facts
from gaugeblock.programs.proofs.formulas import Formula, condition_on_query
from gaugeblock.programs.proofs.functions import COMPARISONS

MAX_PAIRS_TRIED: Final = 10_000
"""A value that is looked for and a value that some key has are compared where there are no more such pairs."""


def at_least_one(facts: Facts, get: Get) -> str | None:
    """Why every query selects a key; None if no rule proves it."""
    if get.score is not None and not facts.defined(get.score):
        return None
    formula = facts.formula(get.selector)
    if formula is None:
        return None
    atoms = formula.atoms
    free = [i for i in range(len(atoms)) if i not in formula.known]
    queries = [i for i in free if condition_on_query(atoms[i]) is not None]
    of_itself = {
        i: bool(atoms[i].predicate(0, 0))
        for i in free
        if atoms[i].key is atoms[i].query and atoms[i].predicate in COMPARISONS and facts.equals_itself(atoms[i].key)
    }
    met = [i for i in free if i not in queries and _is_met(facts, atoms[i])]
    somewhere, itself = _certain(formula, queries, {}), _certain(formula, queries, of_itself)
    by_value = [_certain(formula, queries, {i: True}) for i in met]
    by_position = by_itself = True
    for n in facts.lengths:
        codes = formula.codes(n)
        selected = somewhere[codes].any(1)
        by_position = by_position and bool(selected.all())
        selected |= itself[codes.diagonal()]
        by_itself = by_itself and bool(selected.all())
        for certain in by_value:
            selected |= certain[codes].all(1)
        if not selected.all():
            return None
    if by_position:
        return "by position, every query selects a key at every length"
    if by_itself:
        return "every position selects itself"
    return " and ".join(f"{atoms[i].key.name or 'value'} takes every value that is looked for" for i in met)


def _certain(formula: Formula, queries: list[int], fixed: dict[int, bool]) -> np.ndarray:
    """Whether the selector holds whatever the other comparisons say: [code of the known ones, of those on queries]."""
    m = len(formula.atoms)
    holds = formula.holds | ~formula.possible
    for i, value in fixed.items():
        holds = np.repeat(holds.take([int(value)], axis=i), 2, axis=i)
    first = [*formula.known, *queries]
    holds = holds.transpose([*first, *(i for i in range(m) if i not in first)])
    return holds.reshape(2 ** len(formula.known), 2 ** len(queries), -1).all(-1)


def _is_met(facts: Facts, atom: Select) -> bool:
    """Whether for every value that the query may have, some key is certain to have one that fits."""
    for n in facts.lengths:
        wanted, taken = facts.values(atom.query, n), facts.taken(atom.key, n)
        if wanted is None or not taken or len(wanted) * len(taken) > MAX_PAIRS_TRIED:
            return False
        try:
            if not all(any(selects(atom.predicate, k, q) for k in taken) for q in wanted):
                return False
        except Exception:  # a predicate that raises on values that perhaps never meet
            return False
    return True
