"""The checker's forward against plain TransformerLens hooks, its edges and which of them are live."""

import numpy as np
import pytest
import torch

from gaugeblock.checker.weights import WeightsModel
from gaugeblock.compiled.edges.live import live_edges
from gaugeblock.compiled.stages.hooked import hooked
from support.audits import PAIRS, sample
from support.naive import patched as plain_patched


def random_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Two dense layers, all biases included; one head that writes nothing."""
    d, heads, d_head, neurons, vocab, width = 7, 3, 4, 6, 5, 6
    shapes: dict[str, tuple[int, ...]] = {
        "embed.W_E": (vocab + 2, d), "pos_embed.W_pos": (width, d), "unembed.W_U": (d, 3), "unembed.b_U": (3,)
    }  # fmt: skip
    for layer in range(2):
        at = f"blocks.{layer}."
        for x in "QKV":
            shapes |= {f"{at}attn.W_{x}": (heads, d, d_head), f"{at}attn.b_{x}": (heads, d_head)}
        shapes |= {f"{at}attn.W_O": (heads, d_head, d), f"{at}attn.b_O": (d,), f"{at}mlp.W_in": (d, neurons)}
        shapes |= {f"{at}mlp.b_in": (neurons,), f"{at}mlp.W_out": (neurons, d), f"{at}mlp.b_out": (d,)}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    weights["blocks.1.attn.W_O"][2] = 0
    return weights


def random_case() -> tuple[dict[str, np.ndarray], torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    tokens = torch.as_tensor(rng.integers(7, size=(2, 8, 6)))
    return random_weights(rng), tokens[0], tokens[1]


@pytest.mark.parametrize("which", ["random", "sort/pad", "frac_prevs", "dyck1"])
def test_forward_equals_plain_hooks(which: str) -> None:
    if which == "random":
        weights, clean, corrupted = random_case()
    else:
        evidence = sample(which).evidence
        weights, clean, corrupted = dict(evidence.weights), evidence.clean, evidence.corrupted
    ours, theirs = WeightsModel(weights), hooked(weights, "test", "cpu", torch.float64)
    run, source = ours.run(clean), ours.run(corrupted).written
    difference = {writer: source[writer] - run.written[writer] for writer in run.written}
    with torch.no_grad():
        torch.testing.assert_close(run.logits, theirs(clean), rtol=1e-9, atol=1e-9)
        rng = np.random.default_rng(0)
        for density in (0.02, 0.1, 0.3, 0.6, 1.0, *rng.random(5)):
            edges = [edge for edge in ours.edges if rng.random() < density]
            patched = run.logits + ours.patched(run, difference, edges)
            torch.testing.assert_close(patched, plain_patched(theirs, clean, source, edges), rtol=1e-9, atol=1e-9)


def test_patching_some_pairs_is_a_part_of_patching_all() -> None:
    weights, clean, corrupted = random_case()
    model = WeightsModel(weights)
    run, source = model.run(clean), model.run(corrupted).written
    difference = {writer: source[writer] - run.written[writer] for writer in run.written}
    some = torch.tensor([5, 0, 3])
    part = model.patched(run.on(some), {w: rows[some] for w, rows in difference.items()}, model.edges[::3])
    torch.testing.assert_close(part, model.patched(run, difference, model.edges[::3])[some])


@pytest.mark.parametrize("name", ["frac_prevs", "sort", "reverse", "dyck1", "sort/pad", "dyck1/pad"])
def test_edges_and_liveness_agree_with_the_labelling(name: str) -> None:
    small = sample(name)
    assert set(small.evidence.model.edges) == set(small.model.graph.edges)
    assert small.evidence.model.live == live_edges(small.model.weights, small.model.graph)


def test_liveness_does_not_depend_on_the_basis() -> None:
    weights = dict(sample("sort/pad").evidence.weights)
    d_model = weights["embed.W_E"].shape[1]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(d_model, d_model)))[0]
    for name, array in weights.items():
        reads = name.endswith(("W_Q", "W_K", "W_V", "W_in", "W_U"))
        writes = name.endswith(("W_E", "W_pos", "W_O", "W_out", "b_O", "b_out"))
        if writes:
            weights[name] = array @ turn
        elif reads:
            weights[name] = np.einsum("ij,...jk->...ik", turn.T, array)
    assert WeightsModel(weights).live == sample("sort/pad").evidence.model.live


def test_edges_that_are_not_live_are_inert_under_any_content() -> None:
    evidence = sample("dyck1/pad").evidence
    rng = np.random.default_rng(0)
    dead = sorted(set(evidence.model.edges) - evidence.model.live)
    rows = {w: v[torch.as_tensor(rng.permutation(PAIRS))] * 3 for w, v in evidence.clean_run.written.items()}
    for _ in range(10):
        edges = [edge for edge in dead if rng.random() < 0.5]
        assert float(evidence.model.patched(evidence.clean_run, rows, edges).abs().max()) <= evidence.tolerance
