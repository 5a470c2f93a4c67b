"""Causality, depth, widths and values of programs, against running every input and against counts by hand."""

import itertools
from typing import Any

import pytest

from gaugeblock.programs import (
    ALL_INPUTS,
    Domain,
    Program,
    causal,
    everything,
    indices,
    key,
    local,
    query,
    registry,
    same_block,
    select,
    strided,
    where,
)
from gaugeblock.programs.analysis.analysis import depth_lower_bound, is_causal, rasp_depth, reachable, selector_widths
from gaugeblock.programs.domain import all_sequences
from gaugeblock.programs.language.expression import SOp, Tokens

tokens = Tokens()
length = everything.count()
hist = (key(tokens) == query(tokens)).count()
before = (key(tokens) < query(tokens)) | ((key(tokens) == query(tokens)) & (key(indices) < query(indices)))
previous = key(indices) == query(indices - 1)


def program(output: Any, vocab: Any = range(3), max_len: int = 4, domain: Domain = ALL_INPUTS) -> Program:
    return Program("test", lambda t, i: output, tuple(vocab), max_len, domain=domain)


def depends_on_what_follows(p: Program) -> bool:
    """Whether two inputs of the domain agree so far and their outputs do not; all pairs are compared."""
    inputs = [xs for xs in all_sequences(p.vocab, p.max_len) if p.domain.contains(xs)]
    runs = list(zip(inputs, p.batch(inputs), strict=True))
    return any(
        a[: i + 1] == b[: i + 1] and x[i] != y[i]
        for (a, x), (b, y) in itertools.combinations(runs, 2)
        for i in range(min(len(a), len(b)))
    )


OUTPUTS: dict[str, SOp] = {
    "tokens": tokens + indices,
    "previous": previous.get(tokens, None),
    "fraction so far": causal.mean(tokens == 1),
    "a part of causal": ((key(tokens) == query(tokens)) & ~(key(indices) > query(indices))).count(),
    "either of two": (local(1) | (strided(2) & key(tokens == 1))).count(),
    "by a predicate": select(indices, indices, lambda k, q: k * 2 <= q).sum(tokens),
    "own block": same_block(2).max(tokens),
    "length": length,
    "a constant of all": everything.get(7),
    "reverse": (key(indices) == query(length - 1 - indices)).get(tokens),
    "differences cancel": everything.count() - length,
    "histogram": hist,
    "next": (key(indices) == query(indices + 1)).get(tokens, None),
    "only a late token tells": everything.any((tokens == 2) & (indices == 3)),
    "by the query": ((key(indices) == query(tokens)) & (key(indices) <= query(indices))).get(tokens, 0),
}
BY_CONSTRUCTION = [*list(OUTPUTS)[:6], "by the query"]


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("enumerate_up_to", [1000, 10])
def test_causality(name: str, enumerate_up_to: int) -> None:
    p = program(OUTPUTS[name])
    found = is_causal(p, enumerate_up_to)
    assert found.causal == (not depends_on_what_follows(p))
    assert (found.how == "by construction") == (name in BY_CONSTRUCTION)
    if found.how != "by construction":
        assert found.how == ("enumerated" if enumerate_up_to == 1000 else "observed")
    assert (found.counterexample is None) == found.causal
    if (example := found.counterexample) is not None:
        a, b, i = example.input, example.other, example.position
        assert a[: i + 1] == b[: i + 1]
        assert [p(a)[i], p(b)[i]] == [example.output, example.other_output]
        assert p(a)[i] != p(b)[i]


def test_a_counterexample_is_small() -> None:
    found = is_causal(registry.get("sort"))
    assert str(found) == "not causal: at position 0 the output is 1 for [1], 0 for [1, 0]"
    assert str(is_causal(registry.get("dyck3"))) == "causal by construction"


def test_only_inputs_of_the_domain_count() -> None:
    fours = Domain("four tokens", lambda xs: len(xs) == 4)
    assert is_causal(program(length, domain=fours)).causal
    assert not is_causal(program(length)).causal


# (RASP layers, heads per layer, half layers at least), counted by hand
DEPTHS: dict[str, tuple[SOp, int, tuple[int, ...], int]] = {
    "tokens only": (tokens.map(str), 0, (), 0),
    "a token at its position": (tokens * indices, 0, (), 2),
    "a token and its position added": (tokens + indices, 0, (), 0),
    "previous": (previous.get(tokens, None), 1, (1,), 1),
    "a function of the previous": (previous.get(tokens, 0).map(lambda x: x**2 % 3), 1, (1,), 1),
    "compared with the previous": (previous.get(tokens, None) == tokens, 1, (1,), 2),
    "previous of previous": (previous.get(previous.get(tokens, 0), 0), 2, (1, 1), 3),
    "previous as a sum": (previous.sum(tokens), 1, (1,), 1),
    "fraction": (causal.mean(tokens == 1), 1, (1,), 1),
    "difference of fractions": (causal.mean(tokens == 1) - causal.mean(tokens == 2), 1, (1,), 1),
    "more than half": (causal.mean(tokens == 1) > 0.5, 1, (1,), 2),
    "length": (length, 1, (1,), 2),
    "histogram": (hist, 1, (1,), 2),
    "double histogram": (
        ((key(hist) == query(hist)) & (key(tokens) != query(tokens))).count(),
        2,
        (1, 1),
        4,
    ),
    "sort": ((key(before.count()) == query(indices)).get(tokens), 2, (1, 1), 3),
    "reverse": ((key(indices) == query(length - 1 - indices)).get(tokens), 2, (1, 1), 3),
    "three at once, one shared": (causal.mean(tokens) + previous.get(tokens, 0) + causal.mean(indices), 1, (2,), 1),
    "a product in between": ((key(hist * length) <= query(hist)).mean(tokens), 2, (2, 1), 3),
    "best is a head of its own": (causal.best(tokens).get(tokens) + causal.best(indices).get(indices), 1, (2,), 1),
    "early and late": (where(hist > length - 1, causal.mean(tokens), previous.get(hist, 0)), 2, (3, 1), 4),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_depths(name: str) -> None:
    output, layers, heads, half_layers = DEPTHS[name]
    found, bound = rasp_depth(program(output)), depth_lower_bound(program(output))
    assert (found.layers, found.heads) == (layers, heads)
    assert bound.half_layers == half_layers
    assert bound.layers == -(-half_layers // 2)
    assert bound.attention <= layers
    assert len(bound.chain) > 0 or half_layers == 0


@pytest.mark.parametrize("enumerate_up_to", [1000, 10])
def test_widths_and_values_against_every_input(enumerate_up_to: int) -> None:
    rank = before.count()
    rank.name, before.name = "rank", "before"
    p = program((key(rank) == query(indices)).get(where(tokens == 0, None, tokens)))
    inputs = list(all_sequences(p.vocab, p.max_len))
    width, exactly_one = selector_widths(p, enumerate_up_to)
    assert (width.smallest, width.largest, width.selector.name) == (0, 3, "before")
    assert (exactly_one.smallest, exactly_one.largest) == (1, 1)
    reached = reachable(p, enumerate_up_to)
    assert {found.exact for found in (width, exactly_one, *reached)} == {enumerate_up_to == 1000}
    by_name = {found.node.name: found for found in reached}
    assert by_name["tokens"].values == (0, 1, 2)
    assert by_name["tokens"].by_position is None
    assert by_name["indices"].by_position == ((0,), (1,), (2,), (3,))
    assert by_name["rank"].values == (0, 1, 2, 3)
    outputs = [{row[i] for row in p.batch(inputs) if i < len(row)} for i in range(4)]
    assert reached[-1].by_position is None
    assert all(set(reached[-1].values) == values for values in outputs)
    assert reached[-1].values == (1, 2, None)


def test_values_by_position_and_type() -> None:
    found = reachable(program(where(indices == 0, True, indices)))[-1]
    assert [(type(v), v) for v in found.values] == [(bool, True), (int, 1), (int, 2), (int, 3)]
    assert found.by_position == ((True,), (1,), (2,), (3,))
