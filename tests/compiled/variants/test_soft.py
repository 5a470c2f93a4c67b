"""Soft models: the same decoded outputs, gradients where saturated models have none, and certificates all the same."""

import itertools
import math

import numpy as np
import pytest
import torch

import gaugeblock as gb
import gaugeblock.compiled.variants.soft
from gaugeblock.cases.pairs import Pairs, make_pairs
from gaugeblock.cases.truth import label
from gaugeblock.checker.evidence import Evidence, Experiment
from gaugeblock.checker.labels import check_necessity
from gaugeblock.checker.models import check_equivalence
from gaugeblock.checker.program import check_attention, check_interchange
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.compiled.variants.soft import SHARPNESSES, soft, softened
from gaugeblock.methods.circuits.gradients import eap
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.program import Program
from gaugeblock.programs.registry import get

SIZES = {
    "hist": ("abc", 5), "sort": (range(4), 4), "reverse": ("abc", 5), "double_hist": ("ab", 6),
    "frac_prevs": ("()a", 6), "most_frequent": (range(3), 4), "dyck2": (None, 4),
}  # fmt: skip


def small(name: str) -> Program:
    vocab, max_len = SIZES[name]
    return get(name).with_size(vocab, max_len)


def made(p: Program, *variants: str, seed: int = 1) -> CompiledModel:
    return apply_variants(compile(p), (*variants, "soft"), seed)


def scores(model: CompiledModel, pairs: Pairs) -> dict[str, float]:
    exact = model.to(dtype=torch.float64)
    task = Task.build(
        exact.hooked, exact.graph, pairs.clean, pairs.corrupted, pairs.positions,
        numeric=pairs.numeric, pad_token=model.pad,
    )  # fmt: skip
    return {edge: abs(score) for edge, score in eap(task).items()}


def evidence_of(model: CompiledModel, pairs: Pairs) -> Evidence:
    return Evidence(
        model.weights, model.lowered, model.program, pairs.clean, pairs.corrupted, pairs.positions,
        model.activation, model.sharpness,
    )  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_outputs_are_those_of_the_program_on_the_whole_domain_in_both_precisions(name: str) -> None:
    p = small(name)
    inputs = [list(xs) for n in range(1, p.max_len + 1) for xs in itertools.product(p.vocab, repeat=n)]
    inputs = [xs for xs in inputs if p.domain.contains(xs)]
    model = made(p)
    assert model.activation == "gelu"
    assert model.sharpness in SHARPNESSES
    for dtype in (torch.float32, torch.float64):
        assert model.to(dtype=dtype).batch(inputs) == [p.reference(xs) for xs in inputs]


@pytest.mark.parametrize("name", ["hist", "sort", "double_hist", "reverse"])
def test_gradients_reach_every_positive_that_they_miss_in_the_plain_model(name: str) -> None:
    model = compile(small(name))
    pairs = make_pairs(model, 0)
    positives = label(model, pairs, "resample").positives
    plain, soft_ones = scores(model, pairs), scores(soft(model, np.random.default_rng(0)), pairs)
    assert np.mean([plain[edge] > 1e-4 for edge in positives]) < 0.4
    assert min(soft_ones[edge] for edge in positives) > 1e-2


def test_the_leak_is_what_softmax_says_and_the_sharpness_the_smallest_that_bears_it() -> None:
    """frac_prevs averages over the keys so far. The first query selects one key, of value 1: each of the five others
    weighs e^-2S of it, the sink e^-S. Outputs are fractions of up to six, so 1 lies 1/6 from its neighbour."""
    tokens = compile(small("frac_prevs")).encode(["(aaaaa", "aaaaaa"])
    errors = {}
    for sharpness in SHARPNESSES:
        exact = softened(compile(small("frac_prevs")), sharpness, 4.0).to(dtype=torch.float64)
        one, none = exact.hooked(tokens)[:, 1, 0].tolist()
        sink, other = math.exp(-sharpness), math.exp(-2 * sharpness)
        assert one == pytest.approx(1 / (1 + sink + 5 * other), rel=1e-12)
        assert none == 0
        errors[sharpness] = 1 - one
    assert errors[SHARPNESSES[0]] < 1 / 6 / 4  # this input would bear the softest; the whole domain does as well
    assert made(small("frac_prevs")).sharpness == SHARPNESSES[0]


@pytest.mark.parametrize("variants", [("permute", "pad"), ("decoy", "pad")], ids="+".join)
def test_other_variants_before_and_after_change_nothing(variants: tuple[str, ...]) -> None:
    p = small("sort")
    inputs = p.sample(np.random.default_rng(0), 100)
    plain = made(p)
    for order in ((*variants, "soft"), ("soft", *variants)):
        model = apply_variants(compile(p), order, 1)
        assert model.sharpness == plain.sharpness
        assert model.batch(inputs) == p.batch(inputs)
        assert model.live_edges == model.program_edges
    assert made(p, *variants).hash == made(p, *variants).hash != made(p, *variants, seed=2).hash


def test_rotate_comes_last_and_camouflage_not_at_all() -> None:
    p = small("hist")
    inputs = p.sample(np.random.default_rng(0), 50)
    assert apply_variants(compile(p), ("soft", "rotate"), 1).batch(inputs) == p.batch(inputs)
    with pytest.raises(CompileError, match="rotate"):
        apply_variants(compile(p), ("rotate", "soft"), 1)
    with pytest.raises(CompileError, match="write it before rotate"):
        soft(apply_variants(compile(p), ("rotate",), 1), np.random.default_rng(0))
    with pytest.raises(CompileError, match="exclude each other"):
        apply_variants(compile(p), ("camouflage", "soft"), 1)
    with pytest.raises(CompileError, match="soft already, of sharpness 4"):
        apply_variants(compile(p), ("soft", "soft"), 1)


def test_a_program_without_a_soft_model_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaugeblock.compiled.variants.soft, "SHARPNESSES", (0.5, 1.0))
    with pytest.raises(CompileError, match=r"'hist' has no soft model: at every sharpness from 0.5 to 1 some output"):
        soft(compile(small("hist")), np.random.default_rng(0))


@pytest.mark.parametrize("name", ["hist", "sort", "frac_prevs", "dyck2", "double_hist", "reverse"])
def test_what_is_exercised_stays_within_the_program(name: str) -> None:
    model = made(small(name), "permute", "pad")
    pairs = make_pairs(model, 0)
    evidence = evidence_of(model, pairs)
    experiment = Experiment(evidence, "resample", None)
    labels = label(model, pairs, "resample").to_dict()
    assert model.live_edges == model.program_edges == evidence.model.live
    assert set(experiment.exercised) <= model.program_edges
    for claim in (check_interchange(experiment, labels), check_attention(evidence, labels)):
        assert claim.ok, claim.detail
    assert check_necessity(experiment, labels).ok


def test_the_checker_sees_what_a_soft_model_must_not_do() -> None:
    model = made(small("sort"))
    pairs = make_pairs(model, 0)
    labels = label(model, pairs, "donor").to_dict()
    evidence = evidence_of(model, pairs)
    experiment = Experiment(evidence, "donor", labels["donor"])
    claim = check_interchange(experiment, labels)
    assert claim.ok, claim.detail
    assert "outputs that move agree" in claim.detail
    # reads told of another edge
    by_port = {edge: reads for edge, reads in labels["reads"].items() if edge in labels["positives"]}
    first, second = [edge for edge in sorted(by_port) if edge.endswith((".q", ".k"))][:2]
    swapped = {**labels, "reads": labels["reads"] | {first: by_port[second], second: by_port[first]}}
    assert not check_interchange(experiment, swapped).ok
    # a head that attends more widely than the sharpness says, though outputs may still decode
    site = next(site for op, site in model.provenance.sites.items() if site.startswith("a0"))
    weights = {name: array.copy() for name, array in model.weights.items()}
    for name in ("W_Q", "b_Q"):
        weights[f"blocks.0.attn.{name}"][int(site[-1])] *= 0.25
    dull = Evidence(
        weights, model.lowered, model.program, pairs.clean, pairs.corrupted, pairs.positions, "gelu", model.sharpness
    )
    assert not check_attention(dull, labels).ok
    # the same weights, called saturated, or with another activation
    exact = Evidence(model.weights, model.lowered, model.program, pairs.clean, pairs.corrupted, pairs.positions, "gelu")
    assert not check_attention(exact, labels).ok
    relu = Evidence(model.weights, model.lowered, model.program, pairs.clean, pairs.corrupted, pairs.positions)
    assert check_equivalence(evidence, torch.float32, 200, 0).ok
    assert not check_interchange(Experiment(relu, "donor", labels["donor"]), labels).ok


def test_a_certificate_is_green() -> None:
    certificate = gb.case("hist@v3n5/pad+soft#1").certificate
    assert certificate.ok, [claim for claim in certificate.claims if not claim.ok]
