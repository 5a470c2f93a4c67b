"""Selector algebra: the disjoint conjunctions hold exactly where the selector holds, and never two at once."""

import operator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.compiled.selectors import disjoint_conjunctions
from gaugeblock.compiled.selectors import holds as literal_holds
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.expression import And, Not, Or, Select, Selector, Tokens
from gaugeblock.programs.language import indices

TOKENS = Tokens()
LITERALS = [
    Select(a, b, f)
    for a, b in ((TOKENS, TOKENS), (indices, indices), (TOKENS, indices))
    for f in (operator.lt, operator.eq, operator.ge)
]


def shapes() -> st.SearchStrategy[Any]:
    """A literal's number, or (kind, shapes)."""
    literal = st.integers(0, len(LITERALS) - 1)
    kinds = st.sampled_from(["not", "and", "or"])
    return st.recursive(literal, lambda inner: st.tuples(kinds, st.lists(inner, min_size=1, max_size=3)), max_leaves=5)


def built(shape: Any) -> Selector:
    if isinstance(shape, int):
        return LITERALS[shape]
    kind, inner = shape
    operands = tuple(built(x) for x in inner)
    return Not(operands[0]) if kind == "not" else And(operands) if kind == "and" else Or(operands)


def holds(selector: Selector, key: tuple[int, int], query: tuple[int, int]) -> bool:
    match selector:
        case Select():
            k = key[0] if selector.key is TOKENS else key[1]
            q = query[0] if selector.query is TOKENS else query[1]
            return literal_holds(selector.predicate, k, q)
        case Not(operand):
            return not holds(operand, key, query)
        case And(operands):
            return all(holds(x, key, query) for x in operands)
        case Or(operands):
            return any(holds(x, key, query) for x in operands)
    raise TypeError


@given(shapes())
def test_exactly_one_conjunction_holds_where_the_selector_does(shape: Any) -> None:
    selector = built(shape)
    try:
        terms = disjoint_conjunctions(selector)
    except CompileError:  # too many parts: refused, as documented
        return
    places = [(t, i) for t in (None, 0, 1, 2) for i in range(3)]
    for key in places:
        for query in places:
            true = [term for term in terms if all(holds(s, key, query) for s in term)]
            assert len(true) == int(holds(selector, key, query))
