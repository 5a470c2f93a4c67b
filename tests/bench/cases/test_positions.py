"""Truth about input positions and attention patterns, against plain Python and the models themselves."""

from typing import Any

import numpy as np
import pytest
import torch

from gaugeblock.cases.case import Case, case
from gaugeblock.cases.positions import MAX_SUBSTITUTES, input_positions
from gaugeblock.programs.language.operations import GraphNode
from gaugeblock.programs.program import Program
from gaugeblock.programs.registry import get


def edited(program: Program, xs: list[Any], position: int) -> list[list[Any]]:
    """All inputs that differ in one token there; sums stay sums, and graphs keep their edges."""
    if isinstance(xs[0], GraphNode):
        values = [x.value for x in xs]
        others = [[*values[:position], v, *values[position + 1 :]] for v in program.vocab if v != values[position]]
        return [[GraphNode(v, x.targets) for v, x in zip(other, xs, strict=True)] for other in others]
    others = [[*xs[:position], v, *xs[position + 1 :]] for v in program.vocab if v != xs[position]]
    return [o for o in others if o.count("+") == 1] if "+" in program.vocab else others


def by_hand(program: Program, xs: list[Any]) -> np.ndarray:
    """[output position, input position], computed by the program's reference in plain Python."""
    outputs = program.reference(xs)
    depends = np.zeros((len(xs), len(xs)), dtype=bool)
    for j in range(len(xs)):
        for other in edited(program, xs, j):
            depends[:, j] |= [a != b for a, b in zip(program.reference(other), outputs, strict=True)]
    return depends


@pytest.mark.parametrize("name", ["hist", "sort", "first_token", "dyck1", "has_in_neighbour", "add"])
def test_input_positions_are_those_of_brute_force(name: str) -> None:
    program = get(name).with_size(max_len=5)
    inputs = program.sample(np.random.default_rng(0), 25)
    matrices = input_positions(program, inputs)
    assert len(matrices) == len(inputs)
    for xs, depends in zip(inputs, matrices, strict=True):
        np.testing.assert_array_equal(depends, by_hand(program, xs), err_msg=str(xs))
    assert any(depends.any() for depends in matrices)
    assert not all(depends.all() for depends in matrices)


def test_of_many_tokens_some_are_tried() -> None:
    """The first token decides all outputs; whether another one equals a given rare token is seldom seen."""
    program = get("first_token").with_size(vocab=range(2 * MAX_SUBSTITUTES), max_len=3)
    (depends,) = input_positions(program, [[5, 5, 7]])
    np.testing.assert_array_equal(depends, [[True, False, False]] * 3)
    program = get("hist").with_size(vocab=range(2 * MAX_SUBSTITUTES), max_len=3)
    xs = [[0, 1, 2]]
    several = [input_positions(program, xs, seed)[0] for seed in range(8)]
    assert all((depends <= by_hand(program, xs[0])).all() for depends in several)
    assert any((a != b).any() for a in several for b in several)
    np.testing.assert_array_equal(several[3], input_positions(program, xs, 3)[0])


@pytest.mark.parametrize("name", ["hist@v3n4/permute+pad#1", "has_in_neighbour@v6n3", "add@v11n5"])
def test_of_a_case_they_are_laid_out_like_its_pairs(name: str) -> None:
    c = case(name)
    depends, real = c.input_positions, c.model.real(c.pairs.clean)
    assert depends.shape == (*c.pairs.clean.shape, c.pairs.clean.shape[1])
    assert not depends[~real].any()
    assert not depends.transpose(1, 2)[~real].any()
    for row, depends_here in list(zip(c.pairs.clean.tolist(), depends, strict=True))[:40]:
        xs = [c.model.lowered.vocab[token] for token in row if token < c.model.bos]
        n = len(xs) + 1
        np.testing.assert_array_equal(depends_here[1:n, 1:n].numpy(), by_hand(c.program, xs), err_msg=str(xs))


def attention(c: Case) -> dict[str, torch.Tensor]:
    """The attention of every head on the clean inputs, from TransformerLens' own cache, in float64."""
    model = c.model.to(dtype=torch.float64).hooked
    with torch.no_grad():
        cache = model.run_with_cache(c.pairs.clean)[1]
    layers, heads = range(model.cfg.n_layers), range(model.cfg.n_heads)
    return {f"a{i}.h{h}": cache[f"blocks.{i}.attn.hook_pattern"][:, h] for i in layers for h in heads}


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("frac_prevs", 1e-9),
        ("frac_prevs/permute+pad+rotate#1", 1e-9),
        ("sort@v4n5", 1e-9),
        ("sort@v4n5/permute+pad+rotate#1", 1e-9),
        ("sort@v4n5/soft", 0.2),
    ],
)
def test_heads_attend_as_their_selectors_say(name: str, tolerance: float) -> None:
    c = case(name)
    real, measured, patterns = c.model.real(c.pairs.clean), attention(c), c.attention_patterns
    assert set(patterns) == {site for op, site in c.model.provenance.sites.items() if site.startswith("a")}
    for head, expected in patterns.items():
        assert torch.equal(expected.isnan().any(2), ~real)
        assert float((measured[head] - expected)[real].abs().max()) <= tolerance, head
        torch.testing.assert_close(expected[real].sum(1), torch.ones(int(real.sum()), dtype=torch.float64))


def test_a_pattern_that_is_known_by_hand() -> None:
    """`frac_prevs` looks at all tokens so far, itself included, alike."""
    c = case("frac_prevs")
    (pattern,) = c.attention_patterns.values()
    for query in range(1, c.pairs.clean.shape[1]):
        row = torch.zeros(pattern.shape[2], dtype=torch.float64)
        row[1 : query + 1] = 1 / query
        real = c.model.real(c.pairs.clean)[:, query]
        assert torch.equal(pattern[real, query], row.expand(int(real.sum()), -1))
