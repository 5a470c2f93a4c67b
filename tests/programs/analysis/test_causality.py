"""Causality of programs, against comparing all pairs of inputs."""

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
)
from gaugeblock.programs.analysis.causality import is_causal
from gaugeblock.programs.domain import all_sequences
from gaugeblock.programs.language.expression import SOp, Tokens

tokens = Tokens()
length = everything.count()
hist = (key(tokens) == query(tokens)).count()
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
    causality = is_causal(p, enumerate_up_to)
    assert causality.causal == (not depends_on_what_follows(p))
    assert (causality.how == "by construction") == (name in BY_CONSTRUCTION)
    if causality.how != "by construction":
        assert causality.how == ("enumerated" if enumerate_up_to == 1000 else "observed")
    assert (causality.counterexample is None) == causality.causal
    if (example := causality.counterexample) is not None:
        a, b, i = example.input, example.other, example.position
        assert a[: i + 1] == b[: i + 1]
        assert [p(a)[i], p(b)[i]] == [example.output, example.other_output]
        assert p(a)[i] != p(b)[i]


def test_a_counterexample_is_small() -> None:
    sort = is_causal(registry.get("sort"))
    assert str(sort) == "not causal: at position 0 the output is 1 for [1], 0 for [1, 0]"
    assert str(is_causal(registry.get("dyck3"))) == "causal by construction"


def test_only_inputs_of_the_domain_count() -> None:
    fours = Domain("four tokens", lambda xs: len(xs) == 4)
    assert is_causal(program(length, domain=fours)).causal
    assert not is_causal(program(length)).causal
