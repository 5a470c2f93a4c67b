"""Camouflage: the function stays, what it adds looks live, and no set of its edges changes a logit."""

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.edges.bounds import StreamBounds, after_head, after_neurons, start
from gaugeblock.compiled.edges.inert import CONSTRUCTIONS, without
from gaugeblock.compiled.loading import load
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.parts import take_apart
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.library.counting import frac_prevs
from gaugeblock.programs.library.formal_languages import dyck1
from gaugeblock.programs.library.order import reverse, sort
from support.naive import patched, writers

PROGRAMS = {
    "frac_prevs": frac_prevs.with_size("()a", 5),
    "sort": sort.with_size(range(4), 5),
    "reverse": reverse.with_size("abc", 5),
    "dyck1": dyck1.with_size(max_len=5),
}
Written = dict[str, torch.Tensor]

COMPOSITIONS = ("camouflage", "permute+pad+camouflage", "camouflage+permute+pad", "pad+camouflage+permute+camouflage")


@cache
def disguised(name: str, variants: str = "permute+pad+camouflage", seed: int = 1) -> CompiledModel:
    return apply_variants(compile(PROGRAMS[name]), variants.split("+"), seed)


def logits(model: CompiledModel, tokens: torch.Tensor) -> torch.Tensor:
    return model.to(dtype=torch.float64).hooked(tokens).detach()


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("frac_prevs", COMPOSITIONS[0]),
        *((name, COMPOSITIONS[1]) for name in PROGRAMS),
        ("reverse", COMPOSITIONS[2]),
        ("sort", COMPOSITIONS[3]),
    ],
)
def test_the_function_stays_with_and_without_the_parts(name: str, variants: str) -> None:
    model, plain = disguised(name, variants), compile(PROGRAMS[name])
    inputs = model.program.sample(np.random.default_rng(0), 60)
    assert model.batch(inputs) == model.program.batch(inputs)
    tokens = model.encode(inputs)
    bare = replace(model, weights=without(model.weights, model.provenance.inert))
    for other in (model, bare):
        difference = (logits(other, tokens) - logits(plain, tokens))[model.real(tokens)]
        assert float(difference.abs().max()) <= 1e-9


@pytest.mark.parametrize("name", PROGRAMS)
def test_much_looks_live_and_only_the_circuit_is(name: str) -> None:
    model, plain = disguised(name), disguised(name, "permute+pad")
    assert len(model.live_edges) > 4 * len(plain.live_edges)
    for ablation in ("resample", "donor", "mean", None):
        live = model.live_edges_under(ablation)
        assert model.program_edges <= live
        assert len(live) == len(plain.live_edges)
    on_bos = {f"a{part.layer}.h{part.head}" for part in model.provenance.inert if part.construction == "parked head"}
    under_zero_only = model.live_edges_under("zero") - model.live_edges_under("mean")
    assert on_bos & {edge.partition("->")[0] for edge in under_zero_only}
    assert not {edge for edge in under_zero_only if edge.endswith("logits") and edge.partition("->")[0] not in on_bos}


def test_every_construction_stands_in_every_layer() -> None:
    model, padded = disguised("sort"), disguised("sort", "permute+pad")
    counts = Counter((part.layer, part.construction) for part in model.provenance.inert)
    assert {construction for _, construction in counts} == set(CONSTRUCTIONS)
    for layer in range(model.hooked.cfg.n_layers):
        assert all(counts[layer, construction] for construction in CONSTRUCTIONS)
        assert counts[layer, "constant key"] == len(model.graph.heads(layer))
    assert model.hooked.cfg.d_mlp <= 2 * padded.hooked.cfg.d_mlp


def ablated(
    ablation: str, model: CompiledModel, clean: torch.Tensor, corrupted: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The contents put in each writer's place, written out anew."""
    exact = model.to(dtype=torch.float64).hooked
    unchanged, source, real, there = (
        writers(exact, clean),
        writers(exact, corrupted),
        model.real(clean),
        model.real(corrupted),
    )
    if ablation == "zero":
        return {writer: torch.zeros_like(rows) for writer, rows in source.items()}
    if ablation == "resample":
        return source
    if ablation == "donor":
        places = there.nonzero()
        drawn = places[torch.as_tensor(np.random.default_rng(0).integers(len(places), size=tuple(clean.shape)))]
        moved = {writer: rows[drawn[..., 0], drawn[..., 1]] for writer, rows in source.items()}
    else:
        share = there[..., None] / there.sum(0).clamp(min=1)[:, None]
        moved = {writer: (rows * share).sum(0).expand_as(rows) for writer, rows in source.items()}
        real = real & there.any(0)
    return {writer: torch.where(real[..., None], rows, unchanged[writer]) for writer, rows in moved.items()}


@pytest.mark.parametrize("ablation", ["resample", "donor", "mean", "zero"])
@pytest.mark.parametrize("name", ["frac_prevs", "sort"])
def test_no_set_of_negatives_matters_even_beside_broken_edges(name: str, ablation: str) -> None:
    model, rng = disguised(name), np.random.default_rng(3)
    inputs = model.program.sample(rng, 12)
    tokens = model.encode(inputs)
    exact, source = model.to(dtype=torch.float64), ablated(ablation, model, tokens, tokens.flip(0))
    negatives = np.array(sorted(set(model.graph.edges) - model.live_edges_under(ablation)))
    program = np.array(sorted(model.program_edges))
    clean, real = logits(model, tokens), model.real(tokens)
    for density in (1.0, 0.5, 0.1):
        chosen = negatives[rng.random(len(negatives)) < density].tolist()
        for broken in ([], program[rng.random(len(program)) < 0.4].tolist()):
            before = patched(exact.hooked, tokens, source, broken) if broken else clean
            change = (patched(exact.hooked, tokens, source, [*chosen, *broken]) - before)[real]
            assert float(change.abs().max()) <= 1e-9 * (1 + float(clean.abs().max()))


def test_heads_on_bos_leave_it_where_everything_is_zeroed() -> None:
    """Why their proof is not claimed for zero ablation."""
    model = disguised("sort")
    exact, tokens = model.to(dtype=torch.float64), model.encode(model.program.sample(np.random.default_rng(1), 40))
    source = ablated("zero", model, tokens, tokens)
    on_bos = [part for part in model.provenance.inert if part.construction == "parked head"]
    edges = [f"embed->a{part.layer}.h{part.head}.k" for part in on_bos]
    assert not set(edges) & model.live_edges_under("mean")
    change = (patched(exact.hooked, tokens, source, edges) - logits(model, tokens))[model.real(tokens)]
    assert float(change.abs().max()) > 1e-3


def test_bounds_hold_for_every_mixture_of_contents() -> None:
    """Against random mixtures of what real runs write, drawn anew for each writer."""
    model, rng = disguised("dyck1"), np.random.default_rng(5)
    tokens = model.encode(model.program.sample(rng, 30))
    written = {w: rows.numpy() for w, rows in writers(model.to(dtype=torch.float64).hooked, tokens).items()}
    reads = rng.normal(size=(model.weights["embed.W_E"].shape[1], 40))

    def check(bound: StreamBounds, names: list[str], zeroed: bool) -> None:
        mixed = np.zeros((200, len(reads)))
        for name in names:
            rows = written[name][:, 1:].reshape(-1, len(reads))
            share = rng.random((200, 1))
            a, b = (rows[rng.integers(len(rows), size=200)] for _ in range(2))
            mixed += (share * a + (1 - share) * b) * (rng.random((200, 1)) < 0.8 if zeroed else 1.0)
        assert ((mixed @ reads) <= bound.highest(reads) + 1e-9).all()

    for zeroed in (False, True):
        names, bound = ["embed", "pos"], start(model.weights, zeroed)
        for i, layer in enumerate(take_apart(model)):
            bound = bound.plus(*(after_head(bound, head.parameters) for head in layer.heads))
            names += [f"a{i}.h{h}" for h in model.graph.heads(i)]
            check(bound, names, zeroed)
            bound = bound.plus(*(after_neurons(bound, g.W_in, g.b_in, g.W_out) for g in layer.neurons))
            names.append(f"m{i}")
            check(bound, names, zeroed)


def test_weights_do_not_single_the_parts_out() -> None:
    """Norms of added neurons and heads lie in the range of those of the circuit's, give or take a factor of four."""
    model = disguised("sort")
    added = {(p.layer, j) for p in model.provenance.inert for j in p.neurons}
    used = {(int(model.provenance.sites[op][1:]), j) for op, js in model.provenance.neurons.items() for j in js}
    for name, axis in (("W_in", 0), ("W_out", 1)):
        norms = [np.linalg.norm(model.weights[f"blocks.{i}.mlp.{name}"], axis=axis) for i in range(3)]
        circuit = [norms[layer][j] for layer, j in used]
        disguise = np.array([norms[layer][j] for layer, j in added])
        assert ((disguise >= min(circuit) / 4) & (disguise <= 4 * max(circuit))).all()


def test_files_keep_the_parts_and_a_seed_decides_them(tmp_path: Path) -> None:
    model = disguised("frac_prevs")
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.provenance == model.provenance
    assert again.live_edges_under("mean") == model.live_edges_under("mean")
    one, other = (
        apply_variants(compile(PROGRAMS["frac_prevs"]), ("permute", "pad", "camouflage"), seed) for seed in (1, 2)
    )
    assert one.hash == model.hash != other.hash


def test_gelu_is_refused() -> None:
    model = replace(compile(PROGRAMS["sort"]), activation="gelu")
    with pytest.raises(CompileError, match="camouflage needs ReLU neurons; 'sort' has gelu ones"):
        apply_variants(model, ("camouflage",), 0)
