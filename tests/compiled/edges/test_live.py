"""Structural and live edges: bounds on what can matter, whatever the basis."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.edges.live import live_edges, structural_edges
from gaugeblock.compiled.lowered.operations import BOS
from gaugeblock.compiled.stages.assemble import Weights
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.registry import get, names
from support.various import VARIOUS

PLAIN = [name for name in names() if name not in ("rover", "subleq")]  # which take minutes


@pytest.mark.parametrize(("name", "variants"), [(n, ()) for n in PLAIN] + [(n, ("permute", "pad")) for n in VARIOUS])
def test_the_slice_finds_the_program(name: str, variants: tuple[str, ...]) -> None:
    """The compiler knows which edges carry a variable; the weights alone give the same set."""
    model = apply_variants(compile(get(name)), variants, seed=5)
    live, structural = live_edges(model.weights, model.graph), structural_edges(model.weights, model.graph)
    assert live <= model.program_edges
    for edge in model.program_edges - live:  # a default that nobody tells from the other values
        assert [(port, name) for _, port, name in model.edge_reads[edge]] == [("v", BOS)]
    assert live <= structural <= set(model.graph.edges)
    if variants:
        assert len(structural) > 2 * len(live)


def rotated(weights: Weights, seed: int) -> Weights:
    size = weights["embed.W_E"].shape[1]
    basis = ortho_group.rvs(size, random_state=seed)
    writes = ("W_E", "W_pos", "W_O", "W_out", "b_O", "b_out")
    reads = ("W_Q", "W_K", "W_V", "W_in", "W_U")
    result = {}
    for name, array in weights.items():
        kind = name.split(".")[-1]
        if kind in writes:
            result[name] = array @ basis
        elif kind in reads:
            result[name] = np.einsum("ij,...jk->...ik", basis.T, array)
        else:
            result[name] = array
    return result


def test_labels_do_not_depend_on_the_basis() -> None:
    model = apply_variants(compile(get("dyck2")), ("permute", "pad"), seed=1)
    turned = rotated(model.weights, seed=0)
    assert live_edges(turned, model.graph) == live_edges(model.weights, model.graph)
    assert structural_edges(turned, model.graph) == structural_edges(model.weights, model.graph)
