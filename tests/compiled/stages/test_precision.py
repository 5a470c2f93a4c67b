"""Steps that repeat: errors do not pile up, however often."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.compiled import load
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.lowered.operations import RestoringTable
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.stages.layout import layout
from gaugeblock.compiled.stages.units import Units, table_units
from gaugeblock.programs.language.functions import key, map_n, query, where
from gaugeblock.programs.program import Program, program


def beside(x: Any, indices: Any, by: int, default: Any) -> Any:
    return (key(indices) == query(indices + by)).get(x, default=default)


@program(vocab=range(2), max_len=8)
def rule_30(tokens: Any, indices: Any, rounds: int = 4) -> Any:
    """Wolfram's cellular automaton between two walls of zeros."""
    s = tokens
    for _ in range(rounds):
        s = map_n(lambda a, b, c: a ^ (b | c), beside(s, indices, -1, 0), s, beside(s, indices, 1, 0))
    return s


@program(vocab=range(4), max_len=8)
def odd_even_sort(tokens: Any, indices: Any, rounds: int = 4) -> Any:
    """Neighbours trade places, in turns."""
    s = tokens
    for turn in range(rounds):
        left, right = beside(s, indices, -1, -1), beside(s, indices, 1, 9)
        s = where((indices + turn) % 2 == 1, map_n(max, s, left), map_n(min, s, right))
    return s


@program(vocab="#.o", max_len=8)
def flood(tokens: Any, indices: Any, rounds: int = 4) -> Any:
    """What water reaches that spreads one place in a round, and not over walls."""
    wet = tokens == "o"
    for _ in range(rounds):
        wet = wet | ((tokens != "#") & (beside(wet, indices, -1, False) | beside(wet, indices, 1, False)))
    return wet


@cache
def rule_30_often() -> CompiledModel:
    return compile(rule_30.with_arguments(rounds=14))


def expected(name: str, xs: list[Any], rounds: int) -> list[Any]:
    """The same in plain Python."""
    n = len(xs)
    s = [x == "o" for x in xs] if name == "flood" else list(xs)
    for turn in range(rounds):
        if name == "rule_30":
            wide = [0, *s, 0]
            s = [wide[i] ^ (wide[i + 1] | wide[i + 2]) for i in range(n)]
        elif name == "flood":
            wide = [False, *s, False]
            s = [w or (x != "#" and (wide[i] or wide[i + 2])) for i, (x, w) in enumerate(zip(xs, s, strict=True))]
        else:
            for i in range(turn % 2, n - 1, 2):
                s[i : i + 2] = sorted(s[i : i + 2])
    return s


@pytest.mark.parametrize(
    ("p", "rounds"), [(rule_30, 4), (rule_30, 8), (rule_30, 24), (odd_even_sort, 4), (odd_even_sort, 12), (flood, 14)]
)
def test_a_step_may_repeat_often(p: Program, rounds: int) -> None:
    model = compile(p.with_arguments(rounds=rounds))
    inputs = p.sample(np.random.default_rng(0), 100)
    assert model.batch(inputs) == [expected(p.name, xs, rounds) for xs in inputs]
    assert model.dtype == torch.float32
    restoring = [op for op in model.lowered.operations if isinstance(op, RestoringTable)]
    assert bool(restoring) == (rounds > 4), "a model that is exact without is left as it is"
    assert len(restoring) <= rounds / 2
    got = model.hooked(model.encode(inputs))
    assert (got - model.to(dtype=torch.float64).hooked(model.encode(inputs))).abs().max() <= model.error_bound < 0.5


def test_such_a_model_is_saved_and_read(tmp_path: Any) -> None:
    model = rule_30_often()
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert [type(op) for op in again.lowered.operations] == [type(op) for op in model.lowered.operations]
    assert all(np.array_equal(again.weights[name], model.weights[name]) for name in model.weights)


def added(units: Units, stream: np.ndarray) -> np.ndarray:
    """What the hidden units add to a stream, one at a time."""
    result = np.zeros_like(stream)
    for unit in range(len(units)):
        reads, writes = units.reads.unit == unit, units.writes.unit == unit
        before = stream[units.reads.direction[reads]] @ units.reads.weight[reads] + units.bias[unit]
        np.add.at(result, units.writes.direction[writes], max(before, 0.0) * units.writes.weight[writes])
    return result


@given(st.integers(0, 2**32 - 1))
def test_a_restoring_table_passes_on_no_error_of_its_gates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = rule_30_often()
    where_, variables = layout(model.lowered), model.lowered.variables
    op = next(op for op in model.lowered.operations if isinstance(op, RestoringTable))
    codes = [int(rng.integers(len(variables[gate].values))) for gate in op.gates]
    wrong = rng.dirichlet(np.ones(len(op.gates))) * 0.24  # shared among the gates: less than a quarter in all
    stream = np.zeros(len(where_.labels))
    for gate, code, by in zip(op.gates, codes, wrong, strict=True):
        directions = np.array(where_.directions[gate])
        stream[directions[code]] = 1 + by * rng.choice((-1, 1)) / 2
        stream[directions[(code + 1) % len(directions)]] = by * rng.choice((-1, 0, 1)) / 2
    out = added(table_units(op, model.lowered, where_), stream)[list(where_.directions[op.out])]
    assert np.abs(out - np.eye(len(out))[op.table[tuple(codes)]]).max() < 1e-12
