"""What is claimed of `.get`, against running every input; wrong programs and their smallest failing input."""

import operator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugeblock.programs import (
    ALL_INPUTS,
    Domain,
    Program,
    causal,
    edges,
    everything,
    indices,
    key,
    local,
    map_n,
    names,
    query,
    registry,
    same_block,
    select,
    strided,
    where,
)
from gaugeblock.programs.domain import all_sequences, everywhere
from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import SOp, Tokens
from gaugeblock.programs.language.merging import merge
from gaugeblock.programs.language.operations import MISSING
from gaugeblock.programs.language.selector import Get, Selector, Sum
from gaugeblock.programs.language.tree import postorder
from gaugeblock.programs.proofs.claims import GetClaim, check_gets
from gaugeblock.programs.proofs.existence import at_least_one
from gaugeblock.programs.proofs.facts import Facts
from gaugeblock.programs.proofs.uniqueness import at_most_one

tokens = Tokens()

VOCABS: list[tuple[Any, ...]] = [(0, 1, 2), (1, -1), (0, 0.5, 2), (0, 1, None), ("a", "b"), (2, "a")]


def before(*keys: SOp, descending: bool = False) -> Selector:
    """Lexicographic order of positions in the keys given."""
    x, *rest = keys
    smaller = key(x) > query(x) if descending else key(x) < query(x)
    return smaller | ((key(x) == query(x)) & before(*rest, descending=descending)) if rest else smaller


def build(steps: list[tuple[int, int, int, int]]) -> tuple[list[SOp], list[Selector]]:
    """S-ops and selectors in which parts are shared: each step is an operation on results of earlier ones."""
    sops: list[SOp] = [tokens, indices, tokens + 0, before(tokens, indices).count()]
    selectors: list[Selector] = [causal, everything, key(indices) == query(indices - 1), key(tokens) == query(tokens)]
    for operation, i, j, k in steps:
        a, b, c = (sops[x % len(sops)] for x in (i, j, k))
        s, t = (selectors[x % len(selectors)] for x in (i, j))
        match operation:
            case 0:
                sops.append([a + b, a - b, a * 2 - b, a // 2, a % 2, -a][k % 6])
            case 1:
                sops.append(where(b == k % 3, a, c))
            case 2:
                sops.append([a == b, a < b, ~(a == k % 3), a.isin({0, "a"}), (a == 1) & (b == k % 3)][k % 5])
            case 3:
                sops.append(s.count() if k % 2 else s.sum(b))
            case 4:
                sops.append([s.mean(a, None), s.max(b, 0), s.min(b, None), s.any(b == 1)][k % 4])
            case 5:
                sops.append(
                    [map_n(lambda x, y: (x, y), a, b), a.map(str), a.map(lambda x: x if x == 1 else None)][k % 3]
                )
            case 6:
                order = before(a, b, descending=bool(k % 2))
                sops.append([order, ~order, order | (key(b) == query(b))][k % 3].count())
            case 7:
                sops.append(s.best(b).get(c, [0, None][k % 2]))
            case 8:
                selectors.append([s & t, s | t, s & ~t, ~s][k % 4])
            case 9:
                f = [operator.eq, operator.eq, operator.le, operator.lt, operator.ne, operator.ge][k % 6]
                selectors.append(select(a, b, f))
            case 10:
                selectors.append([key(a == k % 3).selector(), query(a == k % 3).selector(), key(a).selector()][k % 3])
            case 11:
                selectors.append([local(1), strided(2), same_block(2), before(a, b), causal & s][k % 5])
            case 12:
                selectors.append([select(a, b, lambda x, y: x == 1 and y == 0), query(b == k % 2) & s][k % 2])
    return sops, selectors


number = st.integers(0, 30)
steps = st.lists(st.tuples(st.integers(0, 12), number, number, number), min_size=1, max_size=8)


def has_value(nodes: list[SOp], inputs: list[list[Any]]) -> bool:
    try:
        evaluate(nodes, inputs)
    except ProgramError:
        return False
    return True


def with_value(nodes: list[SOp], inputs: list[list[Any]]) -> list[list[Any]]:
    """The inputs on which the s-ops have values."""
    if has_value(nodes, inputs):
        return inputs
    half = len(inputs) // 2
    return with_value(nodes, inputs[:half]) + with_value(nodes, inputs[half:]) if half else []


@settings(max_examples=100)
@given(st.sampled_from(VOCABS), steps, number, number, number)
def test_rules_are_sound(vocab: tuple[Any, ...], steps: list[Any], which: int, value: int, score: int) -> None:
    """Whatever a rule proves is so on every input on which everything else has a value."""
    sops, selectors = build(steps)
    by = sops[-1 - score % 4] if score % 3 == 0 else None
    (get,) = merge(Get(selectors[-1 - which % 3], sops[-1 - value % 4], None, by, bool(score % 2)))
    program = Program("test", lambda t, i: get, vocab, 3)
    facts = Facts.of(program, get)
    most, least = at_most_one(facts, get), at_least_one(facts, get)
    parts = [Sum(get.selector, get.value.defined()), get.value]
    if by is not None:  # its values must have an order
        parts += [get.score, Get(get.selector, everything.any(True), None, get.score)]
    inputs = with_value(parts, list(all_sequences(vocab, program.max_len)))
    assert most is None or with_value([get], inputs) == inputs, most
    some = Get(get.selector, everything.any(True), MISSING, get.score, get.largest)
    assert least is None or with_value([some], inputs) == inputs, least


@settings(max_examples=25)
@given(st.sampled_from(VOCABS), steps)
def test_facts_are_true(vocab: tuple[Any, ...], steps: list[Any]) -> None:
    """Values, ranks, distinct and defined s-ops, against the values on every input."""
    sops = merge(*build(steps)[0])
    program = Program("test", lambda t, i: sops[-1], vocab, 3)
    facts = Facts.of(program, *sops)
    inputs = with_value(list(sops), list(all_sequences(vocab, 3)))
    for xs in inputs:
        for x, column in zip(sops, evaluate(sops, [xs]), strict=True):
            n = len(xs)
            row = [column.values[c] for c in column.codes[0]]
            values, first = facts.values(x, n), facts.rank(x)
            assert values is None or set(map(typed, row)) <= set(map(typed, values))
            assert first is None or sorted(row) == list(range(first, first + n))
            assert not facts.distinct(x) or len(set(row)) == n
            assert not facts.defined(x) or None not in row
            assert not facts.uniform(x) or len(set(map(typed, row))) == 1
            assert facts.taken(x, n) <= set(row)


def typed(value: Any) -> tuple[type, Any]:
    return type(value), value


def claims(
    get: SOp, vocab: Any = range(4), max_len: int = 8, domain: Domain = ALL_INPUTS, **options: Any
) -> list[GetClaim]:
    program = Program("test", lambda t, i: get, tuple(vocab), max_len, domain=domain, **options)
    return list(check_gets(program, enumerate_up_to=10_000))


length = everything.count()
rank = before(tokens, indices).count()
plus = (key(tokens) == 3).best(indices).get(indices, 0)
significance = where(indices < plus, plus - 1 - indices, -1)

PROVED = {
    "the same position": key(indices) == query(indices),
    "an index that is computed": key(indices) == query(everything.max(tokens)),
    "an injective function of the index": key(indices * 7 % 11) == query(tokens),
    "a part of such keys": (key(tokens) == query(tokens)) & (key(indices) == query(tokens)),
    "reverse": key(indices) == query(length - 1 - indices),
    "a position of its own": local(3) & ~(key(indices) < query(indices)),
    "one of two, by the query": (key(indices) == query(indices)) & query(tokens == 1)
    | (key(indices) == 0) & ~query(tokens == 1).selector(),
    "rank": key(rank) == query(indices),
    "descending rank": key(before(-tokens, indices).count()) == query(indices),
    "rank counted from 1": key((~before(-tokens, -indices)).count()) == query(indices + 1),
    "rank by three keys": key(before(tokens % 2, tokens, indices, descending=True).count()) == query(indices),
    "rank by a count, then by index": key(before((key(tokens) == query(tokens)).count(), indices).count())
    == query(length - 1 - indices),
    "rank of ranks": key(before(rank).count()) == query(indices),
    "a position by its rank": key(length - 1 - rank == 0),
}


@pytest.mark.parametrize("name", PROVED)
def test_rules_prove(name: str) -> None:
    (*_, claim) = claims(PROVED[name].get(indices * 2 + tokens % 2, None))
    assert claim.at_most_one.how == "rule"
    assert claim.at_least_one.how == "default"


ALWAYS = ("the same position", "reverse", "a position of its own", "one of two, by the query", "a position by its rank")


@pytest.mark.parametrize("name", [*ALWAYS, *(name for name in PROVED if name.startswith("rank") or "rank" in name)])
def test_rules_prove_that_a_key_is_selected(name: str) -> None:
    (*_, claim) = claims(PROVED[name].get(tokens))
    assert (claim.at_most_one.how, claim.at_least_one.how) == ("rule", "rule")


@pytest.mark.parametrize(
    "get",
    [
        (key(tokens) == query(tokens)).get(tokens % 3),
        (key(tokens) == query(tokens)).get(tokens.map(str)),
        everything.best(tokens).get(tokens * 2),
        everything.best(map_n(lambda t, i: (t, -i), tokens, indices)).get(indices),
        causal.best(indices).get(tokens),
        (key(tokens) == query(tokens)).best(rank).get(indices),
        causal.max(tokens),
        local(2).min(tokens),
        strided(2).best(indices, largest=False).get(tokens),
        same_block(3).best(-indices).get(tokens),
        ((key(tokens) < query(tokens)) | (key(tokens) >= query(tokens))).best(indices).get(tokens),
        everything.get(length),
    ],
)
def test_rules_prove_gets_without_default(get: Any) -> None:
    (*_, claim) = claims(get)
    assert (claim.at_most_one.how, claim.at_least_one.how) == ("rule", "rule")


def test_rules_go_through_values() -> None:
    only = (key(tokens == 2) & (key(indices) <= query(indices))).get(tokens, None)
    assert claims(only)[0].at_most_one.how == "rule"
    digits = (key(significance) == query(length - 1 - indices)).get(tokens, 0)
    assert claims(digits)[-1].at_most_one.how == "rule"
    assert "same significance" not in str(claims(digits)[-1])  # it has no name here


def test_equal_values_of_different_types_are_told_apart_by_functions() -> None:
    mixed = where(indices == 0, 1, True)
    assert claims((key(mixed) == query(mixed)).get(mixed))[0].at_most_one.how == "rule"
    with pytest.raises(ProgramError, match="whose values '1' and 'True' differ"):
        claims((key(mixed) == query(mixed)).get(mixed.map(str)))


def test_what_no_rule_proves_is_enumerated_or_assumed() -> None:
    distinct = Domain(
        "no token twice", lambda xs: len(set(xs)) == len(xs), lambda rng, v, n: [v[int(rng.integers(len(v)))]]
    )
    place = (key((key(tokens) < query(tokens)).count()) == query(indices)).get(tokens)
    (claim,) = claims(place, range(4), 4, distinct)
    assert str(claim.at_most_one) == str(claim.at_least_one) == "enumerated: all 64 inputs"  # 4 + 12 + 24 + 24
    (claim,) = claims(place, range(8), 8, distinct)
    assert claim.assumed
    assert not claim.asserted
    (claim,) = claims((key(tokens) == 3).get(indices, 0, unique=True), range(8), 8, distinct)
    assert claim.at_most_one.how == "assumed"
    assert claim.at_least_one.how == "default"
    assert claim.asserted
    assert claim.label.startswith("`.get`")
    assert "test_uniqueness.py, line" in claim.label


def test_claims_are_kept_with_the_program() -> None:
    program = registry.get("sort").with_size(max_len=5)
    assert check_gets(program) is check_gets(program)


def test_gets_that_compute_the_same_are_one() -> None:
    twice = [(key(indices) == query(indices - 1)).get(tokens, None, unique=unique) for unique in (False, True)]
    (claim,) = claims(twice[0] == twice[1])
    assert claim.asserted


def test_edges() -> None:
    def neighbour(t: SOp, i: SOp) -> SOp:
        return edges.get(t, None)

    with pytest.raises(ProgramError, match=r"selects the keys 0 and 1.*differ"):
        check_gets(Program("test", neighbour, (0, 1), 3, graph=True))
    (claim,) = check_gets(Program("test", lambda t, i: edges.best(i).get(t, None), (0, 1), 3, graph=True))
    assert claim.at_most_one.how == "rule"


# refuted


def smallest_failing(get: SOp, vocab: Any, max_len: int) -> int:
    """The length of the shortest input on which there is no value."""
    return next(len(xs) for xs in all_sequences(tuple(vocab), max_len) if not has_value([get], [xs]))


@pytest.mark.parametrize(
    ("get", "what"),
    [
        ((key(tokens) == query(tokens)).get(indices), "selects the keys 0 and 1, whose values 0 and 1 differ"),
        ((key(indices) == query(indices - 1)).get(tokens), "selects no key and has no default"),
        ((key(rank) == query(indices + 1)).get(tokens), "selects no key and has no default"),
        ((key((key(tokens) < query(tokens)).count()) == query(indices)).get(tokens), "selects no key"),
        (everything.best(tokens).get(indices), "whose values 0 and 1 differ"),
        ((key(tokens) == 3).get(tokens), "selects no key"),
        ((key(length - indices) == query(indices)).get(tokens), "selects no key"),
        (
            (key(indices) == query(4 - indices)).get(tokens, 0) + (key(indices) == query(5)).get(tokens),
            "selects no key",
        ),
        ((key(tokens) == query(where(length == 5, tokens, -1))).get(indices, 0), "whose values"),
    ],
)
@pytest.mark.parametrize("max_len", [5, 9])
def test_wrong_programs_are_refuted_with_a_smallest_input(get: Any, what: str, max_len: int) -> None:
    with pytest.raises(ProgramError, match=what) as raised:
        claims(get, range(4), max_len)
    assert "test_uniqueness.py, line" in str(raised.value)
    shown = str(raised.value).rpartition(" of the input ")[2]
    assert shown.count(",") + 1 == smallest_failing(get, range(4), 5)


def test_a_wrong_assertion_is_refuted() -> None:
    with pytest.raises(ProgramError, match=r"selects the keys 0 and 1.*of the input \[7, 7\]"):
        claims((key(tokens) == 7).get(indices, 0, unique=True), range(8), 20)


# the library


@pytest.mark.parametrize("name", names())
def test_rules_prove_the_library(name: str) -> None:
    """But for what it asserts, as that a sum has one plus sign, and where the domain is restricted."""
    program = registry.get(name)
    if program.domain.contains is not everywhere:
        return
    (output,) = merge(program.output)
    facts = Facts.of(program, output)
    for get in postorder(output):
        if isinstance(get, Get) and not get.unique:
            assert at_most_one(facts, get)
            assert get.default is not MISSING or at_least_one(facts, get)


@pytest.mark.parametrize("max_len", [6, 500])
def test_positions_moved_by_one_number_differ(max_len: int) -> None:
    """At lengths too, and by numbers, that cannot be gone through."""
    moved = indices - everything.mean(tokens * 1000)
    program = Program("moved", lambda tokens, indices: (key(moved) == query(0)).get(tokens, -1), range(40), max_len)
    assert check_gets(program, 10)[0].at_most_one.how == "rule"
    (mixed,) = merge((key(indices - tokens) == query(0)).get(indices, -1))
    assert at_most_one(Facts.of(program, mixed), mixed) is None
