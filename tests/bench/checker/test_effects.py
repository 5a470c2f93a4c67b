"""The checker's search for sets of edges that matter, against brute force."""

from itertools import combinations

import numpy as np
import pytest

from gaugeblock.checker.evidence import Evidence, Experiment
from gaugeblock.compiled.compiler import compile
from gaugeblock.methods.engine.ablation import ABLATIONS
from gaugeblock.programs.library.counting import frac_prevs
from support.audits import sample


def redundant() -> Evidence:
    """Two MLPs copy a token, a third computes whether either copy is there: ablations must break both."""
    model = compile(frac_prevs.with_size("()", 3))
    tok, one, other, out = 0, 1, 2, 3
    weights: dict[str, np.ndarray] = {
        "embed.W_E": np.zeros((4, 4)), "pos_embed.W_pos": np.zeros((4, 4)),
        "unembed.W_U": np.eye(4)[:, [out]], "unembed.b_U": np.zeros(1),
    }  # fmt: skip
    weights["embed.W_E"][1, tok] = 1
    for layer, (reads, bias, writes) in enumerate(
        [
            ([tok], [0.0], [(one, 1.0)]),
            ([tok], [0.0], [(other, 1.0)]),
            ([one, other], [0.0, -1.0], [(out, 1), (out, -1)]),
        ]
    ):
        at, n = f"blocks.{layer}.", len(bias)
        for x in "QKV":
            weights |= {f"{at}attn.W_{x}": np.zeros((1, 4, 1)), f"{at}attn.b_{x}": np.zeros((1, 1))}
        weights |= {f"{at}attn.W_O": np.zeros((1, 1, 4)), f"{at}attn.b_O": np.zeros(4), f"{at}mlp.b_out": np.zeros(4)}
        weights |= {f"{at}mlp.W_in": np.zeros((4, n)), f"{at}mlp.b_in": np.array(bias)}
        weights[f"{at}mlp.W_in"][reads] = 1
        weights[f"{at}mlp.W_out"] = np.zeros((n, 4))
        for neuron, (direction, value) in enumerate(writes):
            weights[f"{at}mlp.W_out"][neuron, direction] = value
    clean, corrupted = model.encode([[")", ")", ")"], [")", "("]]), model.encode([["("] * 3, ["(", "("]])
    return Evidence(weights, model.lowered, model.program, clean, corrupted, model.real(clean))


@pytest.mark.parametrize("which", ["redundant", "frac_prevs", "reverse"])
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_minimal_sets_are_those_of_the_definition(which: str, ablation: str) -> None:
    if which == "redundant":
        experiment = Experiment(redundant(), "resample", None)
    else:
        experiment = sample(which).experiments[ablation]
    live = sorted(experiment.evidence.model.live)
    mattering = {
        frozenset(edges)
        for size in (1, 2, 3)
        for edges in combinations(live, size)
        if float(experiment.graded(experiment.change(edges)).max()) > experiment.evidence.tolerance
    }
    minimal = {s for s in mattering if not any(t < s for t in mattering)}
    assert set(experiment.minimal_sets) == minimal
    assert experiment.exercised == {e: min(len(s) for s in minimal if e in s) for e in set().union(*minimal)}
    if which == "redundant":
        assert frozenset({"m0->m2", "m1->m2"}) in minimal
