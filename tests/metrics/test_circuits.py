import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, hamming_loss, precision_score, recall_score

from gaugeblock.metrics.circuits import (
    CircuitMatch,
    circuit_match,
    normalised_hamming_distance,
    structural_hamming_distance,
)
from gaugeblock.metrics.recovery import best_f1

decisions = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20)


@given(decisions)
def test_a_chosen_circuit_is_judged_as_scikit_learn_does(drawn: list[tuple[bool, bool]]) -> None:
    chosen, labels = np.array(drawn).T
    match = circuit_match(chosen, labels)
    for value, oracle in (
        (match.precision, precision_score(labels, chosen, zero_division=np.nan)),
        (match.recall, recall_score(labels, chosen, zero_division=np.nan)),
        (match.f1, f1_score(labels, chosen, zero_division=np.nan)),
    ):
        assert value == (None if np.isnan(oracle) else pytest.approx(oracle))
    share = hamming_loss(labels, chosen)
    assert normalised_hamming_distance(chosen, labels) == pytest.approx(share)
    assert structural_hamming_distance(chosen, labels) == round(share * len(drawn))


@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans()), max_size=12))
def test_best_f1_is_the_best_over_all_thresholds(drawn: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([float(s) for s, _ in drawn]), np.array([label for _, label in drawn], dtype=bool)
    if not labels.any():
        assert best_f1(scores, labels) is None
        return
    by_threshold = {t: f1_score(labels, scores >= t) for t in set(scores.tolist())}
    best = max(by_threshold.values())
    threshold = max(t for t, value in by_threshold.items() if value == pytest.approx(best, abs=1e-12))
    assert best_f1(scores, labels) == (pytest.approx(best), threshold)


def test_no_edges_and_empty_circuits_are_undefined_not_zero() -> None:
    nothing, empty = np.zeros(0, dtype=bool), np.zeros(3, dtype=bool)
    assert circuit_match(empty, empty) == CircuitMatch(None, None, None)
    assert circuit_match(empty, ~empty) == CircuitMatch(None, 0.0, 0.0)
    assert structural_hamming_distance(nothing, nothing) == 0
    assert normalised_hamming_distance(nothing, nothing) is None


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\), the true one \(3,\)"):
        circuit_match(np.zeros(2, dtype=bool), np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        best_f1(np.array([np.nan, 1.0]), np.array([True, False]))
