"""Mutated weights, programs and data, all of which the checker must catch."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gaugeblock.checker import check_labels
from gaugeblock.checker.models import check_assumptions, check_data, check_equivalence
from gaugeblock.programs.language.functions import key
from gaugeblock.programs.library.arithmetic import add
from gaugeblock.programs.program import program
from support.audits import sample


@pytest.mark.parametrize("name", ["frac_prevs", "sort"])
def test_weights_that_move_a_graded_logit_are_caught(name: str) -> None:
    small = sample(name)
    graded = small.evidence.clean_run.logits[small.evidence.positions]
    rng, caught = np.random.default_rng(0), 0
    entries = [(key, tuple(i)) for key, array in small.evidence.weights.items() for i in np.argwhere(array)]
    for at in rng.permutation(len(entries)):
        key, index = entries[at]
        weights = {name: array.copy() for name, array in small.evidence.weights.items()}
        weights[key][index] *= rng.choice([1 + 1e-6, 1.01, 0, -1])
        evidence = replace(small.evidence, weights=weights)
        if float((evidence.clean_run.logits[evidence.positions] - graded).abs().max()) <= 1.01e-6:
            continue
        claims = check_labels(evidence, small.labels["resample"])
        assert not all(claim.ok for claim in claims), (key, index)
        caught += 1
        if caught == 8:
            break
    assert caught == 8


def test_a_wrong_reference_and_a_wrong_model_are_caught() -> None:
    evidence = sample("sort").evidence
    backwards = replace(evidence.program, reference=lambda xs: sorted(xs, reverse=True))
    assert not check_equivalence(replace(evidence, program=backwards), torch.float32, 100, 0).ok
    weights = {**evidence.weights, "unembed.W_U": np.roll(evidence.weights["unembed.W_U"], 1, axis=1)}
    claim = check_equivalence(replace(evidence, weights=weights), torch.float32, 100, 0)
    assert not claim.ok
    assert "the model says" in claim.detail


def test_assumptions_are_listed_and_a_broken_one_is_caught() -> None:
    evidence = sample("sort").evidence
    claim = check_assumptions(replace(evidence, program=add), 300, 0)
    assert claim is not None
    assert claim.ok
    assert "'plus'" in claim.detail

    @program(vocab="ab", max_len=4)
    def wrong(tokens: Any, indices: Any) -> Any:
        """Claims that there is one a."""
        the_a = key(tokens == "a").get(indices, default=0, unique=True)
        return the_a == indices

    claim = check_assumptions(replace(evidence, program=wrong), 50, 0)
    assert claim is not None
    assert not claim.ok
    assert "'the_a' (" in claim.detail
    assert "selects the keys 0 and 1" in claim.detail
    assert check_assumptions(evidence, 50, 0) is None


def test_small_domains_are_checked_whole() -> None:
    evidence = sample("sort").evidence
    claim = check_equivalence(evidence, torch.float32, 10, 0)
    assert claim.ok
    assert claim.checked == sum(4**n for n in range(1, 6))


def test_wrong_data_are_caught() -> None:
    evidence = sample("sort").evidence
    assert check_data(evidence).ok
    bos = evidence.positions.clone()
    bos[0, 0] = True
    assert not check_data(replace(evidence, positions=bos)).ok
    hole = evidence.clean.clone()
    hole[0, 1] = 5  # PAD before the input
    assert not check_data(replace(evidence, clean=hole)).ok
    broken = {**evidence.weights, "unembed.b_U": np.full(4, np.nan)}
    assert not check_data(replace(evidence, weights=broken)).ok
