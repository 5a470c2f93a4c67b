"""From edge scores to numbers and to the circuit that is drawn."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.evaluation.ranking import NOISE, noise_floor, strengths, top_edges
from gaugeblock.evaluation.scores import SCORES
from gaugeblock.metrics.recovery import precision_at_size, recovery_scores, stratum

EDGES = [f"a0.h{h}->m0" for h in range(6)]


def test_dust_ties_and_the_sign_counts_only_for_signed_methods():
    scores = dict(zip(EDGES, [3.0, -2.0, 1e-17, 0.0, -1e-16, 1.0]))
    noise = noise_floor(scores.values(), NOISE["float64"])
    assert strengths(scores, EDGES, False, noise).tolist() == [3.0, 2.0, 0.0, 0.0, 0.0, 1.0]
    signed = strengths(scores, EDGES, True, noise)
    assert signed[1] == -2.0
    assert len({signed[2], signed[3], signed[4]}) == 1


@given(scale=st.floats(1e-30, 1e30), scores=st.lists(st.integers(-50, 50), min_size=6, max_size=6))
def test_the_unit_of_the_scores_does_not_matter(scale, scores):
    def ranks(factor):
        named = {e: s * factor for e, s in zip(EDGES, scores)}
        return np.unique(strengths(named, EDGES, False, noise_floor(named.values(), 1e-6)), return_inverse=True)[1]

    assert ranks(1.0).tolist() == ranks(scale).tolist()


def test_every_recovery_score_is_explained():
    scores = recovery_scores(np.arange(6.0), np.arange(6) > 3, [stratum(e) for e in EDGES])
    assert set(scores) <= set(SCORES)
    assert scores["skill"] == 1.0
    assert scores["comparators"] == 1.0


@given(scores=st.lists(st.integers(0, 4), min_size=6, max_size=6), n_true=st.integers(1, 5))
def test_the_found_circuit_takes_whole_tie_groups(scores, n_true):
    named = {e: float(s) for e, s in zip(EDGES, scores)}
    positives, negatives = EDGES[:n_true], EDGES[n_true:]
    circuit = top_edges(named, positives, negatives, signed=False, noise=0.0)
    taken = {*circuit.hits, *circuit.false_alarms}
    assert len(taken) + circuit.places == n_true
    assert all(named[a] > named[b] for a in taken for b in EDGES if b not in taken)
    assert {*circuit.hits, *circuit.misses} == set(positives)
    # The expected precision lies between all open places wrong and all of them right.
    labels = np.array([e in positives for e in EDGES])
    precision = precision_at_size(np.array([named[e] for e in EDGES]), labels)
    assert len(circuit.hits) - 1e-9 <= precision * n_true <= len(circuit.hits) + circuit.places + 1e-9
    assert circuit.tied >= circuit.places
