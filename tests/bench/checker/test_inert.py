"""The checker's proofs of inert parts: they hold for what `camouflage` makes, not for what was tampered with."""

import copy
from functools import cache

import numpy as np
import pytest

from gaugeblock.checker.evidence import Evidence, Part
from gaugeblock.checker.inert import check_inert, reduced
from gaugeblock.checker.weights import WeightsModel
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.library.counting import frac_prevs
from gaugeblock.programs.library.formal_languages import dyck1
from gaugeblock.programs.library.order import sort

PROGRAMS = {
    "frac_prevs": frac_prevs.with_size("()a", 5),
    "sort": sort.with_size(range(4), 5),
    "dyck1": dyck1.with_size(max_len=5),
}


@cache
def disguised(name: str, variants: str = "permute+pad+camouflage") -> CompiledModel:
    return apply_variants(compile(PROGRAMS[name]), variants.split("+"), 2)


def parts_of(model: CompiledModel) -> list[Part]:
    return [
        {"construction": p.construction, "layer": p.layer, "head": p.head, "neurons": list(p.neurons)}
        for p in model.provenance.inert
    ]


def check(model: CompiledModel, parts: list[Part], weights: dict[str, np.ndarray] | None = None) -> tuple[bool, str]:
    tokens = model.encode(model.program.sample(np.random.default_rng(0), 4))
    evidence = Evidence(weights or model.weights, model.lowered, model.program, tokens, tokens, model.real(tokens))
    claim = check_inert(evidence, parts, "resample")
    return claim.ok, claim.detail


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        *((name, "permute+pad+camouflage") for name in PROGRAMS),
        ("dyck1", "camouflage"),
        ("sort", "camouflage+pad+permute"),
        ("frac_prevs", "permute+pad+camouflage+rotate"),
    ],
)
def test_what_camouflage_makes_is_proved_and_leaves_the_same_live_edges(name: str, variants: str) -> None:
    model = disguised(name, variants)
    parts = parts_of(model)
    ok, detail = check(model, parts)
    assert ok, detail
    for ablation in ("resample", "mean", "zero", None):
        assert WeightsModel(reduced(model.weights, parts, ablation)).live == model.live_edges_under(ablation)


def of(model: CompiledModel, construction: str) -> list[Part]:
    return [part for part in parts_of(model) if part["construction"] == construction]


def changed(model: CompiledModel, name: str, place: object, value: float) -> dict[str, np.ndarray]:
    """The weights with a value added at one place."""
    weights = {key: array.copy() for key, array in model.weights.items()}
    weights[name][place] += value
    return weights


@pytest.mark.parametrize("name", ["frac_prevs", "sort"])
def test_each_tampering_with_a_part_is_caught(name: str) -> None:
    model = disguised(name)
    parts = parts_of(model)
    for part in of(model, "dead neurons"):
        ok, detail = check(model, parts, changed(model, f"blocks.{part['layer']}.mlp.b_in", part["neurons"][0], 64.0))
        assert not ok
        assert f"neuron {part['neurons'][0]} may read up to" in detail
    for part in of(model, "twin neurons")[:3]:
        neuron, at = part["neurons"][-1], f"blocks.{part['layer']}.mlp."
        direction = int(np.abs(model.weights[at + "W_out"][neuron]).argmax())
        ok, detail = check(model, parts, changed(model, at + "W_out", (neuron, direction), 1e-3))
        assert not ok
        assert "what twins write does not cancel" in detail
        assert "twins have other thresholds" in check(model, parts, changed(model, at + "b_in", neuron, 1e-3))[1]
        reads = int(np.abs(model.weights[at + "W_in"][:, neuron]).argmax())
        assert "do not read the same" in check(model, parts, changed(model, at + "W_in", (reads, neuron), 1e-3))[1]
    bos = model.provenance.directions.index("bos=True")
    for part in of(model, "parked head")[:3]:
        at, head = f"blocks.{part['layer']}.attn.", part["head"]
        ok, detail = check(model, parts, changed(model, at + "W_K", (head, bos), -model.weights[at + "W_K"][head, bos]))
        assert not ok
        assert "BOS may lead by no more than" in detail
        assert "BOS may have a value" in check(model, parts, changed(model, at + "W_V", (head, bos), 1e-3))[1]


@pytest.mark.parametrize("name", PROGRAMS)
def test_parts_of_the_program_are_no_inert_parts(name: str) -> None:
    model = disguised(name)
    where = model.provenance
    for operation, site in where.sites.items():
        layer, _, head = site[1:].partition(".h")
        if head:
            false: Part = {"construction": "parked head", "layer": int(layer), "head": int(head), "neurons": []}
            assert not check(model, [false])[0], operation
        else:
            for construction in ("dead neurons", "twin neurons"):
                neurons = list(where.neurons[operation])
                false = {"construction": construction, "layer": int(layer), "head": None, "neurons": neurons}
                assert not check(model, [false])[0], operation


def test_a_list_that_makes_no_sense_is_refused() -> None:
    model = disguised("sort")
    parts = parts_of(model)
    neurons = next(part for part in parts if part["neurons"])
    faults: dict[str, Part] = {
        "no construction is named 'sleeping head'": {**parts[0], "construction": "sleeping head"},
        "there is no layer 9": {**parts[0], "layer": 9},
        "not one of its heads": {**of(model, "parked head")[0], "head": 77},
        "not some of its neurons": {**neurons, "neurons": [9999]},
        "is listed 2 times": copy.deepcopy(neurons),
    }
    for message, part in faults.items():
        ok, detail = check(model, [*parts, part])
        assert not ok
        assert message in detail


def test_no_key_of_an_undisguised_head_is_constant() -> None:
    model = disguised("sort", "permute+pad")
    part: Part = {"construction": "constant key", "layer": 0, "head": model.graph.heads(0)[0], "neurons": []}
    assert "no key direction is the same for every token" in check(model, [part])[1]
