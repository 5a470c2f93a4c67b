"""Variants keep the function, fill what they promise to fill, and depend on nothing but their seed."""

from collections import Counter

import numpy as np
import pytest
import torch

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.edges.graph import Place
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.errors import UnknownName
from gaugeblock.programs.registry import get
from support.various import VARIOUS

COMPOSITIONS = [("permute",), ("pad",), ("permute", "pad"), ("pad", "permute")]


@pytest.mark.parametrize("variants", COMPOSITIONS, ids="+".join)
@pytest.mark.parametrize("name", [*VARIOUS, "rasp.frac_prevs", "rasp.frac_prevs_l", "tracr.detect_pattern_a"])
def test_the_function_stays(name: str, variants: tuple[str, ...]) -> None:
    p = get(name)
    inputs = p.sample(np.random.default_rng(0), 100)
    for seed in (1, 2):
        assert apply_variants(compile(p), variants, seed).batch(inputs) == p.batch(inputs)


def test_a_seed_decides_everything() -> None:
    model = compile(get("sort"))
    first, again, other = (apply_variants(model, ("permute", "pad"), seed) for seed in (1, 1, 2))
    assert first.hash == again.hash != other.hash


def padded(seed: int = 3) -> CompiledModel:
    return apply_variants(compile(get("sort")), ("permute", "pad"), seed)


def test_padding_fills_every_head_and_neuron() -> None:
    model = padded()
    cfg = model.hooked.cfg
    assert all(len(model.graph.heads(layer)) == cfg.n_heads >= 4 for layer in range(cfg.n_layers))
    for layer in range(cfg.n_layers):
        assert np.abs(model.weights[f"blocks.{layer}.mlp.W_out"]).any(1).all()
        assert np.abs(model.weights[f"blocks.{layer}.mlp.W_in"]).any(0).all()


def test_padding_varies_and_is_as_large_as_the_circuit() -> None:
    model = padded().to(dtype=torch.float64)
    inputs = model.program.sample(np.random.default_rng(9), 200)
    tokens = model.encode(inputs)
    model.hooked.set_use_attn_result(True)
    _, cache = model.hooked.run_with_cache(tokens)
    real = model.real(tokens)
    circuit = set(model.provenance.sites.values())
    norms: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for writer in model.graph.writers:
        place = Place.of(writer)
        if place.kind != "head":
            continue
        output = cache[f"blocks.{place.layer}.attn.hook_result"][:, :, place.head][real]
        assert output.std(0).max() > 1e-3, f"{writer} does not vary"
        norms[writer in circuit].append(output.norm(dim=-1))
    circuit = torch.cat(norms[True])
    low, high = 0.95 * circuit.quantile(0.1), 1.05 * circuit.quantile(0.9)
    means = torch.stack([n.mean() for n in norms[False]])
    assert ((means >= low) & (means <= high)).float().mean() > 0.9


@pytest.mark.slow
def test_circuit_heads_stand_in_every_slot_alike() -> None:
    """Heads of a layer are exchangeable: over seeds, the counting head of hist is uniform over the slots."""
    model = compile(get("hist"))
    slots = Counter(
        next(s for op, s in apply_variants(model, ("permute", "pad"), seed).provenance.sites.items() if "head" in op)[
            -1
        ]
        for seed in range(200)
    )
    assert len(slots) == 4
    assert max(abs(n - 50) for n in slots.values()) < 25  # 4 standard deviations


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"no variant is named 'rotat'|did you mean"):
        apply_variants(compile(get("hist")), ("rotat",), 0)
