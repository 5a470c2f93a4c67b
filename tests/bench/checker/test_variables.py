"""The claim about variables: it holds for what the compiler says, and for nothing that was tampered with."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugeblock.checker.claims import Claim
from gaugeblock.checker.evidence import Evidence
from gaugeblock.checker.variables import VariablePlace, check_variables
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.registry import get

Places = dict[str, VariablePlace]

NAMES = ("hist", "sort", "frac_prevs", "dyck2", "in_neighbour_mean", "reverse", "cumulative_sum")
VARIANTS = ((), ("permute", "pad"), ("permute", "pad", "decoy", "rotate"))


@cache
def sample(name: str, variants: tuple[str, ...] = ()) -> tuple[CompiledModel, Evidence]:
    model = apply_variants(compile(get(name)), variants, 1)
    tokens = model.encode(model.program.sample(np.random.default_rng(0), 30))
    return model, Evidence(
        model.weights, model.lowered, model.program, tokens, tokens, model.real(tokens), model.activation,
        model.sharpness,
    )  # fmt: skip


def places_of(model: CompiledModel) -> Places:
    places: Places = json.loads(json.dumps({name: subspace.to_dict() for name, subspace in model.subspaces.items()}))
    return places


def check(name: str, variants: tuple[str, ...], change: Callable[[Places], Any] | None = None, **options: Any) -> Claim:
    model, evidence = sample(name, variants)
    places = deepcopy(places_of(model))
    if change is not None:
        change(places)
    return check_variables(evidence, places, model.edge_reads, **options)


@pytest.mark.parametrize("variants", VARIANTS, ids="+".join)
@pytest.mark.parametrize("name", NAMES)
def test_what_the_compiler_says_holds(name: str, variants: tuple[str, ...]) -> None:
    claim = check(name, variants)
    assert claim.ok, claim.detail
    assert claim.checked > 100


def test_soft_models_decode_to_the_nearest_value() -> None:
    assert not check("frac_prevs", ("soft",)).ok
    assert check("frac_prevs", ("soft",), soft=True).ok


# --- mutations -------------------------------------------------------------------------------------------------------


def swap(first: str, second: str) -> Callable[[Places], None]:
    def change(places: Places) -> None:
        a, b = places[first], places[second]
        a["directions"], b["directions"] = b["directions"], a["directions"]

    return change


def reorder(name: str) -> Callable[[Places], None]:
    def change(places: Places) -> None:
        rows = places[name]["directions"]
        rows[0], rows[1] = rows[1], rows[0]

    return change


def put(name: str, **fields: Any) -> Callable[[Places], None]:
    return lambda places: places[name].update(fields)  # type: ignore[typeddict-item]


ROTATED = ("permute", "pad", "decoy", "rotate")


@pytest.mark.parametrize("variants", [(), ROTATED], ids="+".join)
def test_swapped_directions_are_caught(variants: tuple[str, ...]) -> None:
    model, _ = sample("hist", variants)
    onehot = [v.name for v in model.lowered.variables.values() if v.encoding == "onehot"]
    for name in onehot:
        if len(model.subspaces[name].directions) > 1:
            assert not check("hist", variants, reorder(name)).ok, name
    assert "does not decode" in check("hist", variants, swap("present", "bos")).detail
    assert not check("frac_prevs", variants, reorder(ratio_of("frac_prevs"))).ok


def ratio_of(name: str) -> str:
    """A variable of two or more directions that something computes."""
    model, _ = sample(name)
    names = [
        n
        for n, subspace in model.subspaces.items()
        if subspace.written not in ("embed", "pos") and len(subspace.directions) > 1
    ]
    return names[0] if names else "tokens"


@settings(max_examples=25)
@given(st.data(), st.floats(0.01, 3.1))
def test_a_direction_turned_anywhere_is_caught(data: st.DataObject, angle: float) -> None:
    """Into any other direction, one that padding or a decoy uses included."""
    model, _ = sample("hist", ROTATED)
    # of `map` some values never occur: their directions are only known to be orthogonal
    name = data.draw(st.sampled_from(sorted(set(model.subspaces) - {"map"})))
    row = data.draw(st.integers(0, len(model.subspaces[name].directions) - 1))
    towards = data.draw(st.integers(0, len(model.provenance.directions) - 1))
    assert model.provenance.basis is not None
    mine, other = model.subspaces[name].directions[row], model.provenance.basis[towards]
    if np.array_equal(mine, other):
        return

    def turn(places: Places) -> None:
        places[name]["directions"][row] = (np.cos(angle) * mine + np.sin(angle) * other).tolist()

    assert not check("hist", ROTATED, turn).ok


@pytest.mark.parametrize("name", ["hist", "sort", pytest.param("dyck2", marks=pytest.mark.slow)])
def test_another_writer_or_last_reader_is_caught(name: str) -> None:
    model, evidence = sample(name, ROTATED)
    nodes = [*evidence.model.writers, "logits", None]
    half_layer: Mapping[str | None, int | None] = {node: _half_layer(node) for node in nodes}
    for variable, subspace in model.subspaces.items():
        for node in nodes:
            if node not in (subspace.written, "logits", None):
                assert not check(name, ROTATED, put(variable, written=node)).ok, (variable, node)
            if half_layer[node] != half_layer[subspace.read] and node not in ("embed", "pos"):
                assert not check(name, ROTATED, put(variable, read=node)).ok, (variable, node)


def _half_layer(node: str | None) -> int | None:
    if node is None or node in ("embed", "pos"):
        return None
    if node == "logits":
        return 1000
    layer, head, _ = node[1:].partition(".h")
    return 2 * int(layer) + (not head)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda places: places.pop("bos"), "without a place: bos"),
        (lambda places: places.update(other=places["bos"]), "no variable of the program: other"),
        (put("bos", directions=[[1.0]]), "the directions of bos have the shape"),
        (put("bos", written="a9.h0"), "no node of the model"),
        (put("bos", directions=[[0.0] * 19]), "the directions of bos and bos are not orthonormal"),
    ],
    ids=["missing", "unknown", "shape", "node", "zero"],
)
def test_what_is_no_label_data_is_told(change: Callable[[Places], Any], said: str) -> None:
    assert said in check("hist", (), change).detail


def test_a_model_that_holds_another_value_is_caught() -> None:
    """The labels are right, the weights are not: hist's counts written one further."""
    model, evidence = sample("hist")
    weights = {name: array.copy() for name, array in evidence.weights.items()}
    out = next(subspace for subspace in model.subspaces.values() if subspace.written == "m0")
    columns = out.directions.argmax(1)
    W_out = weights["blocks.0.mlp.W_out"]
    W_out[:, columns] = np.roll(W_out[:, columns], 1, axis=1)
    wrong = Evidence(weights, model.lowered, model.program, evidence.clean, evidence.clean, evidence.positions)
    claim = check_variables(wrong, places_of(model), model.edge_reads)
    assert not claim.ok
    assert "does not decode" in claim.detail
