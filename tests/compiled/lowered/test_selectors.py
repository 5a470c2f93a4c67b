"""Selector algebra: the disjoint conjunctions hold exactly where the selector holds, and never two at once."""

import operator
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.compiled.lowered.selectors import disjoint_conjunctions, grid, on_tuples
from gaugeblock.programs.language.expression import Constant, Elementwise, SOp, Tokens
from gaugeblock.programs.language.functions import indices
from gaugeblock.programs.language.operations import apply, key_holds, selects
from gaugeblock.programs.language.selector import And, Not, Or, Select, Selector

TOKENS = Tokens()
PARITY = Elementwise(lambda x: x % 2, (TOKENS,))
SUM = Elementwise(operator.add, (TOKENS, indices))
SIDES = [(TOKENS, TOKENS), (indices, indices), (TOKENS, indices), (PARITY, TOKENS), (SUM, indices)]
LITERALS = [Select(a, b, f) for a, b in SIDES for f in (operator.lt, operator.eq, operator.ge)]
LITERALS.append(Select(PARITY, Constant(True), key_holds))

Place = tuple[int | None, int]
"""(token, index); the token may be undefined."""

PLACES: list[Place] = [(t, i) for t in (None, 0, 1, 2) for i in range(3)]


def shapes() -> st.SearchStrategy[Any]:
    """A literal's number, or (kind, shapes)."""
    literal = st.integers(0, len(LITERALS) - 1)
    kinds = st.sampled_from(["not", "and", "or"])
    return st.recursive(literal, lambda inner: st.tuples(kinds, st.lists(inner, min_size=1, max_size=3)), max_leaves=6)


def built(shape: Any) -> Selector:
    if isinstance(shape, int):
        return LITERALS[shape]
    kind, inner = shape
    operands = tuple(built(x) for x in inner)
    return Not(operands[0]) if kind == "not" else And(operands) if kind == "and" else Or(operands)


def value(sop: SOp, place: Place) -> Any:
    match sop:
        case Elementwise(f, operands):
            return apply(f, tuple(value(x, place) for x in operands))
        case Constant(constant):
            return constant
    return place[0] if sop is TOKENS else place[1]


def holds(selector: Selector, key: Place, query: Place) -> bool:
    match selector:
        case Select(k, q, predicate):
            return selects(predicate, value(k, key), value(q, query))
        case Not(operand):
            return not holds(operand, key, query)
        case And(operands):
            return all(holds(x, key, query) for x in operands)
        case Or(operands):
            return any(holds(x, key, query) for x in operands)
    raise TypeError


def table(literal: Select) -> np.ndarray:
    """[key, query]"""
    keys, queries = ([value(side, place) for place in PLACES] for side in (literal.key, literal.query))
    return grid(literal.predicate, keys, queries)


@given(shapes())
def test_exactly_one_conjunction_holds_where_the_selector_does(shape: Any) -> None:
    selector = built(shape)
    expected = np.array([[holds(selector, key, query) for query in PLACES] for key in PLACES])
    assert (table(on_tuples(selector)) == expected).all()
    if (terms := disjoint_conjunctions(selector)) is not None:
        met = [np.logical_and.reduce([table(literal) for literal in term]) for term in terms]
        assert (np.sum(met, axis=0) == expected).all()


def test_what_is_said_of_the_same_variables_is_one_table() -> None:
    odd, less, equal = LITERALS[-1], LITERALS[0], LITERALS[1]
    (term,) = disjoint_conjunctions(Or((And((less, odd)), Not(Or((equal, odd)))))) or []
    assert len(term) == 1
