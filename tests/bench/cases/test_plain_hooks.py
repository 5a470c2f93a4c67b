"""The labels of `quick`, checked with plain TransformerLens hooks and nothing of the engine or the checker."""

import numpy as np
import pytest
import torch

from gaugeblock.cases.case import case
from gaugeblock.suites.suites import suite
from support.naive import patched, writers

LONG = ("add/permute+pad#1", "dyck2/permute+pad#1")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in suite("quick")]
)
def test_witnesses_matter_and_the_rest_does_not(name: str) -> None:
    c = case(name)
    truth, pairs = c.truth("resample"), c.pairs
    model = c.model.to(dtype=torch.float64).hooked
    source = writers(model, pairs.corrupted)
    with torch.no_grad():
        clean = model(pairs.clean)
    tolerance = 1e-9 * (1 + float(clean.abs().max()))

    def effect(edges: list[str]) -> torch.Tensor:
        change = (patched(model, pairs.clean, source, edges) - clean).abs() * pairs.positions[..., None]
        return change.flatten(1).amax(1)

    for edge, witness in truth.witnesses.items():
        change = effect(list(witness.edges))
        assert float(change[witness.pair]) == pytest.approx(witness.effect), edge
        assert float((change > tolerance).double().mean()) == pytest.approx(witness.kappa), edge
    for edge in truth.ignored:
        assert float(effect([edge]).max()) <= tolerance, edge
    negatives = sorted(truth.negatives)
    rng = np.random.default_rng(0)
    subsets = [
        negatives,
        *(rng.choice(negatives, size=1 + len(negatives) // 3, replace=False).tolist() for _ in range(2)),
    ]
    for subset in subsets:
        assert float(effect(subset).max()) <= tolerance
        # also with program edges broken: the negatives add nothing to what those do
        broken = sorted(truth.positives)[:2]
        both = patched(model, pairs.clean, source, [*subset, *broken])
        alone = patched(model, pairs.clean, source, broken)
        assert float(((both - alone).abs() * pairs.positions[..., None]).max()) <= tolerance
