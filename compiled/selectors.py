"""Selector algebra: any selector as a disjoint union of conjunctions, each of which is one attention head."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.expression import And, Not, Or, Select, Selector
from gaugeblock.programs.operations import selects

Conjunction = tuple[Select, ...]
Predicate = Callable[[Any, Any], bool]

MAX_TERMS = 64


def disjoint_conjunctions(selector: Selector) -> list[Conjunction]:
    """Conjunctions of which, for each (key, query), exactly one holds where the selector holds, else none."""
    terms = [_merged(term) for term in _terms(selector)]
    if len(terms) > MAX_TERMS:
        raise CompileError(f"a selector unfolds into {len(terms)} disjoint parts; at most {MAX_TERMS} are supported")
    return terms


def _terms(selector: Selector) -> list[Conjunction]:
    match selector:
        case Select():
            return [(selector,)]
        case Not(operand):
            return _complement(_terms(operand))
        case And((first, *rest)):
            terms = _terms(first)
            for operand in rest:
                terms = [a + b for a in terms for b in _terms(operand)]
            return terms
        case Or((first, *rest)):
            terms = _terms(first)
            for operand in rest:
                outside = _complement(terms)
                terms = terms + [a + b for a in outside for b in _terms(operand)]
            return terms
    raise TypeError(f"not a selector: {selector!r}")


def _complement(terms: list[Conjunction]) -> list[Conjunction]:
    result: list[Conjunction] = [()]
    for term in terms:
        # not (a and b and ...) = (not a) or (a and not b) or ..., disjoint as written
        outside = [(*term[:i], _negated(literal)) for i, literal in enumerate(term)]
        result = [a + b for a in result for b in outside]
        if len(result) > 16 * MAX_TERMS:
            raise CompileError("a selector is too deeply nested to unfold into disjoint parts")
    return result


def _negated(literal: Select) -> Select:
    return Select(literal.key, literal.query, _Not(literal.predicate))


def _merged(term: Conjunction) -> Conjunction:
    """One literal per (key, query) pair of s-ops."""
    groups: dict[tuple[int, int], list[Select]] = {}
    for literal in term:
        groups.setdefault((id(literal.key), id(literal.query)), []).append(literal)
    return tuple(_conjoined(group) for group in groups.values())


def _conjoined(group: list[Select]) -> Select:
    if len(group) == 1:
        return group[0]
    return Select(group[0].key, group[0].query, _All(tuple(literal.predicate for literal in group)))


def holds(predicate: Predicate, key: Any, query: Any) -> bool:
    """Whether a `Select` with this predicate selects. What is undefined is selected by complements only."""
    if isinstance(predicate, (_Not, _All)):
        return predicate(key, query)
    return selects(predicate, key, query)


@final
@dataclass(frozen=True)
class _Not:
    predicate: Predicate

    def __call__(self, key: Any, query: Any) -> bool:
        return not holds(self.predicate, key, query)


@final
@dataclass(frozen=True)
class _All:
    predicates: tuple[Predicate, ...]

    def __call__(self, key: Any, query: Any) -> bool:
        return all(holds(p, key, query) for p in self.predicates)
