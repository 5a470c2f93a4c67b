"""Rotation keeps the function, the truth and every bit."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from gaugeblock.cases.case import case
from gaugeblock.checker.evidence import Evidence, Experiment
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.compiled.variants.rotate import rotate
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.registry import get

NAMES = ("hist", "sort", "frac_prevs", "dyck2", "in_neighbour_mean", "double_hist")


@cache
def both(name: str, variants: tuple[str, ...] = ("permute", "pad")) -> tuple[CompiledModel, CompiledModel]:
    """A model before and after."""
    before = apply_variants(compile(get(name)), variants, 1)
    return before, rotate(before, np.random.default_rng(1))


def basis_of(model: CompiledModel) -> np.ndarray:
    assert model.provenance.basis is not None
    return model.provenance.basis


def is_float32(array: np.ndarray) -> bool:
    return np.array_equal(array, array.astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_turning_back_gives_the_same_bits(name: str) -> None:
    before, after = both(name)
    basis, old, new = basis_of(after), before.weights, after.weights
    assert np.array_equal(basis @ basis.T, np.eye(len(basis)))
    for key in ("embed.W_E", "pos_embed.W_pos"):
        assert np.array_equal(new[key] @ basis.T, old[key])
    assert np.array_equal(basis @ new["unembed.W_U"], old["unembed.W_U"])
    for at in (f"blocks.{i}." for i in range(before.hooked.cfg.n_layers)):
        assert np.array_equal(basis @ new[at + "mlp.W_in"], old[at + "mlp.W_in"])
        assert np.array_equal(new[at + "mlp.W_out"] @ basis.T, old[at + "mlp.W_out"])
        W_Q, W_K, W_V, W_O = ([w[f"{at}attn.W_{x}"] for w in (new, old)] for x in "QKVO")
        moves, moves_old = (v @ o for v, o in zip(W_V, W_O, strict=True))
        assert np.array_equal(basis @ moves @ basis.T, moves_old)
        scores, scores_old = (q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[2]) for q, k in zip(W_Q, W_K, strict=True))
        np.testing.assert_allclose(basis @ scores @ basis.T, scores_old, rtol=1e-13, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_float32_loses_nothing(name: str) -> None:
    before, after = both(name)
    exact = [key for key in before.weights if not key.endswith(("W_Q", "b_Q")) and is_float32(before.weights[key])]
    assert len(exact) > 10 * before.hooked.cfg.n_layers
    assert all(is_float32(after.weights[key]) for key in exact)


def test_score_weights_are_exact_where_scores_are() -> None:
    """Of hist d_head is 5: W_Q holds √5; widened to 16 it holds multiples of 4."""
    before, after = both("hist", ())
    assert not is_float32(before.weights["blocks.0.attn.W_Q"])
    assert is_float32(after.weights["blocks.0.attn.W_Q"])


@pytest.mark.parametrize("name", NAMES)
def test_no_coordinate_stands_for_anything(name: str) -> None:
    _, after = both(name)
    assert np.abs(basis_of(after)).max() < 0.9
    written = (after.weights["embed.W_E"] != 0).mean(1)
    assert written[: len(after.lowered.vocab)].mean() > 0.5  # a token's one-hot is spread


@pytest.mark.parametrize("name", ["hist", "frac_prevs", "reverse"])
def test_all_outputs_stay(name: str) -> None:
    p = get(name).with_size(get(name).vocab[:3], 5)
    inputs = [list(xs) for n in range(1, 6) for xs in product(p.vocab, repeat=n)]
    model = apply_variants(compile(p), ("permute", "pad", "rotate"), 2)
    assert model.dtype is torch.float32
    meant = p.batch(inputs)
    assert model.batch(inputs) == meant
    assert model.to(dtype=torch.float64).batch(inputs) == meant


@pytest.mark.parametrize("name", NAMES)
def test_edges_stay(name: str) -> None:
    before, after = both(name)
    assert after.graph == before.graph
    assert after.live_edges == before.live_edges
    assert after.structural_edges == before.structural_edges
    assert after.edge_reads == before.edge_reads


@pytest.mark.parametrize("name", NAMES)
def test_negatives_stay_inert_beside_whatever_is_broken(name: str) -> None:
    _, after = both(name)
    inputs = after.program.sample(np.random.default_rng(0), 40)
    tokens = after.encode(inputs)
    clean, corrupted = tokens[:20], tokens[20:]
    evidence = Evidence(after.weights, after.lowered, after.program, clean, corrupted, after.real(clean))
    experiment = Experiment(evidence, "resample", None)
    rng = np.random.default_rng(1)
    negatives = sorted(set(after.graph.edges) - after.live_edges)
    live = sorted(after.live_edges)
    for density in (1.0, 0.5, 0.1):
        subset = [edge for edge in negatives if rng.random() < density]
        broken = [edge for edge in live if rng.random() < 0.3]
        moved = experiment.change([*subset, *broken]) - experiment.change(broken)
        assert float(moved.abs().max()) <= 1e-11


@pytest.mark.parametrize("name", NAMES)
def test_rounding_stays_within_its_bound(name: str) -> None:
    for model in (both(name)[1], both(name, ())[1]):
        tokens = model.encode(model.program.sample(np.random.default_rng(3), 100))
        with torch.no_grad():
            rounded, exact = (model.to(dtype=dtype).hooked(tokens).double() for dtype in (model.dtype, torch.float64))
        assert float((rounded - exact).abs()[model.real(tokens)].max()) <= model.error_bound


def test_what_float32_cannot_hold_runs_in_float64() -> None:
    """A heavy sink multiplies what used to be exact zeros at BOS."""
    model = apply_variants(compile(get("cumulative_rest")), ("permute", "pad", "rotate"), 1)
    inputs = model.program.sample(np.random.default_rng(0), 50)
    assert model.dtype is torch.float64
    assert model.batch(inputs) == model.program.batch(inputs)
    assert model.to(dtype=torch.float32).batch(inputs) != model.program.batch(inputs)


@pytest.mark.slow
def test_bits_do_not_hang_on_threads_or_process() -> None:
    code = (
        "from gaugeblock.compiled.compiler import compile\n"
        "from gaugeblock.compiled.variants.registry import apply_variants\n"
        "from gaugeblock.programs.registry import get\n"
        "for name in ('hist', 'sort'):\n"
        "    print(apply_variants(compile(get(name)), ('permute', 'pad', 'rotate'), 1).hash)\n"
    )
    here = [apply_variants(compile(get(name)), ("permute", "pad", "rotate"), 1).hash for name in ("hist", "sort")]
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}  # here torch has one thread
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == here


def test_the_certificate_holds() -> None:
    certificate = case("hist/permute+pad+rotate#1").certify(("resample", "donor"), 500)
    assert certificate.ok, [claim for claim in certificate.claims if not claim.ok]


def test_it_comes_last_and_once() -> None:
    model = compile(get("hist"))
    with pytest.raises(CompileError, match=r"comes last: instead of pad\+rotate\+permute write pad\+permute\+rotate"):
        apply_variants(model, ("pad", "rotate", "permute"), 0)
    with pytest.raises(CompileError, match="rotated already"):
        rotate(both("hist")[1], np.random.default_rng(0))


def test_weights_that_no_reflection_leaves_short_are_refused() -> None:
    model = compile(get("hist"))
    drawn = np.random.default_rng(0).normal(size=model.weights["embed.W_E"].shape).astype(np.float32)
    long = model.weights | {"embed.W_E": drawn.astype(np.float64)}
    with pytest.raises(CompileError, match="no rotation of 'hist'"):
        rotate(replace(model, weights=long), np.random.default_rng(0))
