"""Layers of programs, against counts by hand."""

from typing import Any

import pytest

from gaugeblock.programs import Program, causal, everything, indices, key, query, where
from gaugeblock.programs.analysis.depth import depth_lower_bound, rasp_depth
from gaugeblock.programs.language.expression import SOp, Tokens

tokens = Tokens()
length = everything.count()
hist = (key(tokens) == query(tokens)).count()
before = (key(tokens) < query(tokens)) | ((key(tokens) == query(tokens)) & (key(indices) < query(indices)))
previous = key(indices) == query(indices - 1)


def program(output: Any) -> Program:
    return Program("test", lambda t, i: output, (0, 1, 2), 4)


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
    counted, bound = rasp_depth(program(output)), depth_lower_bound(program(output))
    assert (counted.layers, counted.heads) == (layers, heads)
    assert bound.half_layers == half_layers
    assert bound.layers == -(-half_layers // 2)
    assert bound.attention <= layers
    assert len(bound.chain) > 0 or half_layers == 0
