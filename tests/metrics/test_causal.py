"""Oracle: every set K, one at a time, in plain Python."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.metrics.causal import completeness, minimality
from gaugeblock.metrics.faithfulness import Run

N_EDGES = 6


def polynomial(seed: int) -> Run:
    """A model on 6 edges in which edges interact in random pairs and triples; 3 pairs of inputs."""
    rng = np.random.default_rng(seed)
    terms = [(list(rng.choice(N_EDGES, size=rng.integers(1, 4), replace=False)), rng.normal(size=3)) for _ in range(8)]
    return lambda masks: sum(np.outer(masks[:, edges].all(axis=1), weights) for edges, weights in terms)


def subsets(members: list[int]) -> Iterator[tuple[int, ...]]:
    return itertools.chain.from_iterable(itertools.combinations(members, k) for k in range(len(members) + 1))


def f_of(run: Run, edges: set[int]) -> float:
    return float(run(np.array([[e in edges for e in range(N_EDGES)]])).mean())


circuits = st.lists(st.booleans(), min_size=N_EDGES, max_size=N_EDGES)
seeds = st.integers(0, 2**32 - 1)


@given(circuits, seeds)
def test_completeness_is_over_every_set(drawn: list[bool], seed: int) -> None:
    run, members = polynomial(seed), [e for e in range(N_EDGES) if drawn[e]]
    gaps = {
        k: abs(f_of(run, set(members) - set(k)) - f_of(run, set(range(N_EDGES)) - set(k))) for k in subsets(members)
    }
    by_size = [[gap for k, gap in gaps.items() if len(k) == size] for size in range(len(members) + 1)]
    complete = completeness(run, np.array(drawn))
    assert complete.exact
    assert complete.n_sets == 2 ** len(members)
    assert complete.largest == pytest.approx(max(gaps.values()))
    assert complete.mean == pytest.approx(np.mean([np.mean(group) for group in by_size]))
    assert gaps[tuple(np.flatnonzero(complete.worst))] == pytest.approx(complete.largest)
    assert complete.span == pytest.approx(abs(f_of(run, set(range(N_EDGES))) - f_of(run, set())))


@given(circuits, seeds)
def test_minimality_is_over_every_set_for_each_edge(drawn: list[bool], seed: int) -> None:
    run, members = polynomial(seed), [e for e in range(N_EDGES) if drawn[e]]
    needed = minimality(run, np.array(drawn))
    assert needed.exact
    assert needed.edges.tolist() == members
    assert (needed.smallest is None) == (not members)
    for i, v in enumerate(members):
        others = [e for e in members if e != v]
        changes = [
            abs(f_of(run, set(members) - set(k)) - f_of(run, set(members) - set(k) - {v})) for k in subsets(others)
        ]
        assert needed.largest[i] == pytest.approx(max(changes))
        assert needed.alone[i] == pytest.approx(changes[0])
    if members:
        assert needed.smallest == pytest.approx(needed.largest.min())


def either(masks: np.ndarray) -> np.ndarray:
    """Edges 0 and 1 back each other up; edge 2 does nothing."""
    return (masks[:, 0] | masks[:, 1]).astype(float)[:, None]


def test_a_backup_shows_in_completeness_and_in_minimality_only_with_a_set() -> None:
    without_backup = np.array([True, False, False])
    assert completeness(either, without_backup).largest == 1.0
    assert completeness(either, without_backup).worst.tolist() == [True, False, False]
    assert completeness(either, np.array([True, True, False])).largest == 0.0

    whole = np.ones(3, dtype=bool)
    assert minimality(either, whole).largest.tolist() == [1.0, 1.0, 0.0]
    assert minimality(either, whole).alone.tolist() == [0.0, 0.0, 0.0]
    given_sets = minimality(either, whole, np.array([[True, False, True]]))
    assert given_sets.largest.tolist() == [0.0, 1.0, 0.0]
    assert (given_sets.n_sets, given_sets.exact) == (2, False)


def test_samples_estimate_the_exact_mean_and_keep_to_the_budget() -> None:
    circuit, run = np.array([True] * 5 + [False]), polynomial(3)
    exact = completeness(run, circuit, budget=64)
    assert exact.exact
    sampled = [completeness(run, circuit, budget=60, seed=seed) for seed in range(300)]
    assert {(s.exact, s.n_sets) for s in sampled} == {(False, 30)}
    assert np.mean([s.mean for s in sampled]) == pytest.approx(exact.mean, rel=0.03)
    assert all(s.largest <= exact.largest + 1e-12 and s.span == exact.span for s in sampled)

    seen = []

    def counting(masks: np.ndarray) -> np.ndarray:
        seen.append(len(masks))
        return run(masks)

    some, every = minimality(counting, circuit, budget=31), minimality(counting, circuit, budget=32)
    assert (some.exact, every.exact) == (False, True)
    assert np.all(some.largest <= every.largest + 1e-12)
    assert np.array_equal(some.alone, every.alone)
    assert seen[0] <= 31
    assert seen[1] == 32


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_named() -> None:
    run = polynomial(0)
    with pytest.raises(ValueError, match="one bool per edge, not float64"):
        completeness(run, np.ones(N_EDGES))
    with pytest.raises(ValueError, match=r"sets have shape \(2, 3\)"):
        minimality(run, np.ones(N_EDGES, dtype=bool), np.ones((2, 3), dtype=bool))
    with pytest.raises(ValueError, match="NaN or infinite"):
        completeness(lambda masks: run(masks) * np.nan, np.ones(N_EDGES, dtype=bool))
