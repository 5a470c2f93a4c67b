"""The variant `decoy`: another program beside the circuit, which nothing graded reads."""

from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch

from gaugeblock.cases.case import case
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.edges.graph import owner, parse_edge
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.decoy import DECOYS, decoy, parameters
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.registry import get

ORDERS = [("decoy",), *permutations(("decoy", "pad", "permute")), ("decoy", "decoy")]


@cache
def compiled(name: str) -> CompiledModel:
    return compile(get(name))


@pytest.mark.parametrize("variants", ORDERS, ids="+".join)
@pytest.mark.parametrize("name", ["hist", "dyck2"])
def test_the_function_and_the_circuit_stay(name: str, variants: tuple[str, ...]) -> None:
    p, plain = get(name), compiled(name)
    inputs = p.sample(np.random.default_rng(0), 40)
    model = apply_variants(plain, variants, 4)
    assert model.batch(inputs) == p.batch(inputs)
    assert model.program_edges <= model.live_edges  # the circuit's sites were followed to where they stand now
    if "permute" not in variants:  # operations may then share other sites
        assert len(model.live_edges) == len(plain.live_edges)


def test_live_edges_are_those_of_the_model_alone() -> None:
    plain = compiled("dyck2")
    model = decoy(plain, np.random.default_rng(1))
    place = {plain.provenance.sites[op]: model.provenance.sites[op] for op in plain.provenance.sites}

    def renamed(edge: str) -> str:
        writer, reader = parse_edge(edge)
        node = owner(reader)
        return f"{place.get(writer, writer)}->{place.get(node, node)}{reader.removeprefix(node)}"

    assert {renamed(edge) for edge in plain.live_edges} == model.live_edges
    assert model.structural_edges > model.live_edges


def states(model: CompiledModel, inputs: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """The last residual stream at real positions, and which of its dimensions are the decoy's."""
    tokens = model.encode(inputs)
    _, cache = model.hooked.run_with_cache(tokens)
    last = cache[f"blocks.{model.hooked.cfg.n_layers - 1}.hook_resid_post"][model.real(tokens)]
    return last, torch.tensor([label == "decoy" for label in model.provenance.directions])


@pytest.mark.parametrize("seed", range(2))
def test_a_decoy_computes_its_own_program_in_its_own_directions(seed: int) -> None:
    model = compiled("sort")
    both = decoy(model, np.random.default_rng(seed)).to(dtype=torch.float64)
    inputs = model.program.sample(np.random.default_rng(5), 80)
    stream, theirs = states(both, inputs)
    plain_stream, _ = states(model.to(dtype=torch.float64), inputs)
    torch.testing.assert_close(stream[:, ~theirs], plain_stream)
    agrees = []
    for name in DECOYS:  # one of them, compiled alone, fills the other directions with just these values
        alone = compile(get(name).with_size(vocab=range(8), max_len=10)).to(dtype=torch.float64)
        expected, _ = states(alone, inputs)
        if expected.shape == stream[:, theirs].shape:
            agrees.append(torch.allclose(expected, stream[:, theirs]))
    assert any(agrees)
    assert (stream[:, theirs].std(0) > 0.05).double().mean() > 0.7
    assert not both.weights["unembed.W_U"][theirs.numpy()].any()


def test_places_of_the_decoy_and_its_size() -> None:
    model = compiled("sort")
    seen = set()
    for seed in range(6):
        both = decoy(model, np.random.default_rng(seed))
        assert parameters(both) <= 3 * parameters(model)
        seen.add((both.hooked.cfg.d_model, both.hooked.cfg.n_layers, *both.provenance.sites.values()))
    assert len(seen) >= 5


def test_a_tiny_model_gets_a_small_decoy() -> None:
    p = get("identity").with_size(vocab="x", max_len=1)
    model = decoy(compile(p), np.random.default_rng(0))
    assert model.batch([["x"]]) == [["x"]]
    assert "decoy" in model.provenance.directions


@pytest.mark.parametrize("case_id", ["hist/decoy", pytest.param("sort/permute+pad+decoy#1", marks=pytest.mark.slow)])
def test_the_certificate_is_green(case_id: str) -> None:
    c = case(case_id)
    claims = c.certify(["resample"], n_samples=200).claims
    assert not [claim for claim in claims if not claim.ok]
    assert "decoy" in c.model.provenance.directions
