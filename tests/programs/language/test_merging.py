"""Which expressions are one after merging, and that merging changes no value."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from gaugeblock.programs import SOp, causal, everything, indices, key, query, registry
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import Constant, Elementwise, Tokens
from gaugeblock.programs.language.merging import merge
from gaugeblock.programs.language.selector import Get
from gaugeblock.programs.language.tree import postorder

tokens = Tokens()


def power(base: int, x: int) -> int:
    return base**x


def plus(n: Any) -> Any:
    return lambda x: x + n


def recursive(n: int) -> Any:
    def down(x: int) -> int:
        return down(x - 1) if x > n else x

    return down


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (tokens + 1, Tokens() + 1, True),
        (tokens + 1, tokens + 2, False),
        (tokens + 1, 1 + tokens, False),
        (tokens + 1, tokens + 1.0, True),
        (tokens + 1, tokens + True, False),
        (tokens + 3, tokens + (Constant(1) + 2), True),
        (tokens * 0.0, tokens * -0.0, True),
        (tokens.isin([1, 2]), tokens.isin([2, 1, 1]), True),
        (tokens.map(plus(1)), tokens.map(plus(1)), True),
        (tokens.map(plus(1)), tokens.map(plus(2)), False),
        (tokens.map(plus([1])), tokens.map(plus([1])), False),
        (tokens.map(lambda x: x), tokens.map(lambda y: y), False),
        (tokens.map(lambda x, n=1: x + n), tokens.map(lambda x, n=2: x + n), False),
        (tokens.map(partial(power, 2)), tokens.map(partial(power, 2)), True),
        (tokens.map(partial(power, 2)), tokens.map(partial(power, 3)), False),
        (tokens.map(recursive(1)), tokens.map(recursive(1)), True),
        (tokens.map(recursive(1)), tokens.map(recursive(2)), False),
        ((key(tokens) == query(tokens)).count(), (query(tokens) == key(tokens)).count(), True),
        (causal.count(), (key(indices) <= query(indices)).count(), True),
        (everything.mean(tokens, 0), everything.mean(tokens, None), False),
        (everything.mean(tokens), everything.mean(tokens, None), False),
        (causal.max(tokens), causal.max(tokens), True),
        (causal.max(tokens), causal.min(tokens), False),
        (everything.get(tokens, 0), everything.get(tokens, 0, unique=True), True),
    ],
)
def test_what_is_the_same(a: SOp, b: SOp, same: bool) -> None:
    x, y = merge(a, b)
    assert (x is y) == same
    assert merge(x)[0] is not a


def test_names_lines_and_assertions_are_kept() -> None:
    first, second = everything.get(tokens, 0), everything.get(tokens, 0, unique=True)
    second.name = "second"
    (merged,) = merge(Elementwise(max, (first, second)))
    (get,) = [node for node in postorder(merged) if isinstance(node, Get)]
    assert (get.name, get.unique, get.origin) == ("second", True, second.origin)
    assert (first.name, first.unique) == (None, False)


def test_what_raises_stays_as_it_is() -> None:
    (merged,) = merge(Constant(1) / 0)
    assert isinstance(merged, Elementwise)


def test_long_chains_of_equal_parts() -> None:
    x: SOp = tokens
    for _ in range(300):
        x = (x + 1) - (x + 1) * 2
    (merged,) = merge(x)
    assert sum(1 for _ in postorder(merged)) == 2 + 3 * 300 + 1


@pytest.mark.parametrize("name", ["sort", "dyck2", "add", "induction"])
def test_merging_changes_no_value(name: str) -> None:
    program = registry.get(name)
    inputs = program.sample(np.random.default_rng(0), 50)
    before, after = evaluate([program.output, *merge(program.output)], inputs)
    assert [before.values[c] for c in before.codes.flatten()] == [after.values[c] for c in after.codes.flatten()]
