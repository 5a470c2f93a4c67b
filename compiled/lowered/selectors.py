"""Selector algebra: any selector as a disjoint union of conjunctions, each of which is one attention head, or as one
predicate over tuples of everything it reads.

A literal is a `Select` over *bases*: tokens, indices or the result of a `.get`, of which its key and query are
functions, or else these themselves. Whatever is said of the same two bases is one literal with one predicate table.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Int

from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import apply, selects, together
from gaugeblock.programs.language.selector import And, Get, Not, Or, Select, Selector
from gaugeblock.programs.language.tree import postorder

Conjunction = tuple[Select, ...]
Predicate = Callable[[Any, Any], bool]
"""A user's function of (key, query), or one of the combinations below."""

MAX_NESTING = 1000
"""Conjunctions that may arise on the way to fewer."""


class _TooMany(Exception):
    pass


def disjoint_conjunctions(selector: Selector, limit: int = MAX_NESTING) -> list[Conjunction] | None:
    """Conjunctions of which, for each (key, query), exactly one holds where the selector holds, else none.

    None where there would be more than `limit`.
    """
    try:
        terms = _terms(_simplified(_on_bases(selector)))
    except _TooMany:
        return None
    return [_merged(term) for term in terms] if len(terms) <= limit else None


def on_tuples(selector: Selector) -> Select:
    """The selector as one predicate of all that its literals read at the key, and all that they read at the query."""
    tree = _on_bases(selector)
    literals = [node for node in postorder(tree) if isinstance(node, Select)]
    keys, queries = ({id(getattr(x, side)): getattr(x, side) for x in literals} for side in ("key", "query"))
    key_place, query_place = ({i: place for place, i in enumerate(ids)} for ids in (keys, queries))
    places = {id(x): (key_place[id(x.key)], query_place[id(x.query)]) for x in literals}
    return Select(
        Elementwise(together, tuple(keys.values())),
        Elementwise(together, tuple(queries.values())),
        _OnTuples(tree, places),
    )


class _Combination:
    """A predicate made of others; `grid` says what it selects."""

    def __call__(self, key: Any, query: Any) -> bool:
        return bool(grid(self, [key], [query])[0, 0])


def grid(predicate: Predicate, keys: Sequence[Any], queries: Sequence[Any]) -> Bool[np.ndarray, "key query"]:
    """Whether each key value is selected by each query value.

    What is undefined is selected by complements only. Values that never meet may be of unlike types.
    """
    match predicate:
        case _Not(inner):
            return ~grid(inner, keys, queries)
        case _All(parts):
            return np.logical_and.reduce([grid(part, keys, queries) for part in parts])
        case _OnBases(inner, key_of, query_of):
            of_keys, of_queries = _results(key_of, keys), _results(query_of, queries)
            known = grid(inner, of_keys.values, of_queries.values)
            table = known[of_keys.codes][:, of_queries.codes]
            return table & (of_keys.codes >= 0)[:, None] & (of_queries.codes >= 0)
        case _OnTuples(tree, places):
            return _tree_grid(tree, places, keys, queries)

    def selected(key: Any, query: Any) -> bool:
        try:
            return selects(predicate, key, query)
        except Exception:  # no input leads here: sound supersets of values hold combinations that never occur
            return False

    table = np.array([selected(k, q) for k in keys for q in queries], dtype=bool)
    return table.reshape(len(keys), len(queries))


def _tree_grid(
    tree: Selector, places: dict[int, tuple[int, int]], keys: Sequence[Any], queries: Sequence[Any]
) -> Bool[np.ndarray, "key query"]:
    tables: dict[int, np.ndarray] = {}
    for node in postorder(tree):
        match node:
            case Select(predicate=predicate):
                place = places[id(node)]
                of_keys = _results(operator.itemgetter(place[0]), keys)
                of_queries = _results(operator.itemgetter(place[1]), queries)
                known = grid(predicate, of_keys.values, of_queries.values)
                tables[id(node)] = known[of_keys.codes][:, of_queries.codes]
            case And(operands):
                tables[id(node)] = np.logical_and.reduce([tables[id(x)] for x in operands])
            case Or(operands):
                tables[id(node)] = np.logical_or.reduce([tables[id(x)] for x in operands])
            case Not(operand):
                tables[id(node)] = ~tables[id(operand)]
    return tables[id(tree)]


@final
@dataclass(frozen=True)
class _Results:
    """values[codes], -1 where the function raised."""

    codes: Int[np.ndarray, " values"]
    values: list[Any]


def _results(f: Callable[[Any], Any], values: Sequence[Any]) -> _Results:
    codes: list[int] = []
    index: dict[tuple[type, Any], int] = {}
    for value in values:
        try:
            result = f(value)
        except Exception:  # as above
            codes.append(-1)
            continue
        codes.append(index.setdefault((type(result), result), len(index)))
    return _Results(np.array(codes, dtype=int), [v for _, v in index])


# --- bases -----------------------------------------------------------------------------------------------------------

_NOTHING_READ = Constant(True)


def _base(x: SOp) -> SOp:
    """The base of an s-op, of which it is a function: one one-hot variable, nothing at all, or, if neither, itself."""
    leaves: dict[int, SOp] = {}
    stack: list[SOp] = [x]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Elementwise):
            stack.extend(node.operands)
        elif not isinstance(node, Constant):
            leaves[id(node)] = node
    if not leaves:
        return _NOTHING_READ
    first = next(iter(leaves.values()))
    return first if len(leaves) == 1 and isinstance(first, (Tokens, Indices, Get)) else x


def _function(x: SOp, base: SOp) -> Callable[[Any], Any]:
    """x as a function of the value of its base."""
    order = [node for node in postorder(x, leaves={base: None}) if isinstance(node, SOp) and node is not base]
    known: dict[tuple[type, Any], Any] = {}  # True and 1 are told apart

    def value(of_base: Any) -> Any:
        if (type(of_base), of_base) not in known:
            values: dict[int, Any] = {id(base): of_base}
            for node in order:
                if isinstance(node, Elementwise):
                    values[id(node)] = apply(node.f, tuple(values[id(operand)] for operand in node.operands))
                else:
                    assert isinstance(node, Constant)
                    values[id(node)] = node.value
            known[type(of_base), of_base] = values[id(x)]
        return known[type(of_base), of_base]

    return value


def _on_bases(selector: Selector) -> Selector:
    """The selector with every literal over bases."""
    new: dict[int, Selector] = {}
    for node in postorder(selector):
        match node:
            case Select(key=key, query=query, predicate=predicate):
                k, q = _base(key), _base(query)
                if k is key and q is query:
                    new[id(node)] = node
                else:
                    new[id(node)] = Select(k, q, _OnBases(predicate, _function(key, k), _function(query, q)))
            case And(operands):
                new[id(node)] = And(tuple(new[id(x)] for x in operands))
            case Or(operands):
                new[id(node)] = Or(tuple(new[id(x)] for x in operands))
            case Not(operand):
                new[id(node)] = Not(new[id(operand)])
    return new[id(selector)]


@final
@dataclass(frozen=True)
class _OnBases(_Combination):
    predicate: Predicate
    key_of: Callable[[Any], Any]
    query_of: Callable[[Any], Any]


@final
@dataclass(frozen=True, eq=False)
class _OnTuples(_Combination):
    """A tree of selectors whose literals read from the given places of a tuple of keys and one of queries."""

    tree: Selector
    places: dict[int, tuple[int, int]]


# --- simplification --------------------------------------------------------------------------------------------------


def _simplified(selector: Selector) -> Selector:
    """The selector in which what is said of the same two bases is one literal."""
    new: dict[int, Selector] = {}
    for node in postorder(selector):
        match node:
            case Select():
                new[id(node)] = node
            case Not(operand):
                inner = new[id(operand)]
                new[id(node)] = _negated(inner) if isinstance(inner, Select) else Not(inner)
            case And(operands) | Or(operands):
                new[id(node)] = _combined(type(node), [new[id(x)] for x in operands])
    return new[id(selector)]


def _combined(kind: type[And] | type[Or], operands: Sequence[Selector]) -> Selector:
    flat = [x for operand in operands for x in (operand.operands if isinstance(operand, kind) else (operand,))]
    parts: list[Selector] = []
    for x in flat:
        partner = next((i for i, y in enumerate(parts) if _compatible(x, y)), None)
        if partner is None:
            parts.append(x)
        else:
            y = parts[partner]
            assert isinstance(x, Select)
            assert isinstance(y, Select)
            parts[partner] = _conjoined([y, x]) if kind is And else _negated(_conjoined([_negated(y), _negated(x)]))
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def _compatible(x: Selector, y: Selector) -> bool:
    """Whether two literals read the same bases, or nothing on one side."""
    if not (isinstance(x, Select) and isinstance(y, Select)):
        return False
    return _same(x.key, y.key) and _same(x.query, y.query)


def _same(a: SOp, b: SOp) -> bool:
    return a is b or a is _NOTHING_READ or b is _NOTHING_READ


# --- disjoint conjunctions -------------------------------------------------------------------------------------------


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
                if len(terms) > MAX_NESTING:
                    raise _TooMany
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
        if len(result) > MAX_NESTING:
            raise _TooMany
    return result


def _negated(literal: Select) -> Select:
    if isinstance(literal.predicate, _Not):
        return Select(literal.key, literal.query, literal.predicate.predicate)
    return Select(literal.key, literal.query, _Not(literal.predicate))


def _merged(term: Conjunction) -> Conjunction:
    """One literal per pair of bases."""
    groups: list[list[Select]] = []
    for literal in term:
        for group in groups:
            if all(_compatible(literal, other) for other in group):
                group.append(literal)
                break
        else:
            groups.append([literal])
    return tuple(_conjoined(group) for group in groups)


def _conjoined(group: list[Select]) -> Select:
    if len(group) == 1:
        return group[0]
    key = next((x.key for x in group if x.key is not _NOTHING_READ), _NOTHING_READ)
    query = next((x.query for x in group if x.query is not _NOTHING_READ), _NOTHING_READ)
    return Select(key, query, _All(tuple(literal.predicate for literal in group)))


@final
@dataclass(frozen=True)
class _Not(_Combination):
    predicate: Predicate


@final
@dataclass(frozen=True)
class _All(_Combination):
    predicates: tuple[Predicate, ...]
