import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from gaugeblock.metrics.stability import bootstrap_scores, jaccard, top_k_shares


def top_sets(scores: list[int], k: int) -> list[set[int]]:
    """The top k edges in every order that the scores allow."""
    orders = itertools.permutations(range(len(scores)))
    return [set(o[:k]) for o in orders if all(scores[a] >= scores[b] for a, b in itertools.pairwise(o))]


levels = st.lists(st.integers(0, 2), min_size=5, max_size=5)


@given(levels, levels, st.integers(0, 5))
def test_ties_are_broken_in_every_way(first: list[int], second: list[int], k: int) -> None:
    shares_of_runs = np.array([top_k_shares(np.array(scores, dtype=float), k) for scores in (first, second)])
    sets = [top_sets(scores, k) for scores in (first, second)]
    for shares, options in zip(shares_of_runs, sets):
        assert shares == pytest.approx([np.mean([e in option for option in options]) for e in range(5)])
    met = [(len(a & b), len(a | b)) for a in sets[0] for b in sets[1]]
    both, either = np.mean(met, axis=0)
    assert jaccard(shares_of_runs) == pytest.approx(both / either if either else 1.0)


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=2, max_size=5))
def test_jaccard_of_sets_is_scikit_learns(drawn: list[list[bool]]) -> None:
    sets = np.array(drawn)
    pairs = [jaccard_score(a, b, zero_division=1.0) for a, b in itertools.combinations(sets, 2)]
    assert jaccard(sets) == pytest.approx(np.mean(pairs))
    assert jaccard(sets[:1]) is None


def test_a_method_that_ties_everything_is_as_stable_as_chance() -> None:
    tied = np.tile(top_k_shares(np.zeros(100), 10), (7, 1))
    assert jaccard(tied) == pytest.approx(10 / 190)


def test_the_bootstrap_is_the_one_over_all_resamples() -> None:
    scores = np.array([[3.0, 0.0, -2.0, -2.0], [0.0, 1.0, -2.0, -2.0], [0.0, 2.5, 0.5, 0.5]])
    means = np.array([scores[list(drawn)].mean(axis=0) for drawn in itertools.product(range(3), repeat=3)])
    resampled = bootstrap_scores(scores, 2, level=0.8, n_resamples=8000)
    assert np.allclose(resampled.mean, scores.mean(axis=0))
    expected = np.quantile(means, [0.1, 0.9], axis=0, method="inverted_cdf")
    assert np.allclose([resampled.low, resampled.high], expected)
    tops = np.array([top_k_shares(np.abs(row).round(9), 2) for row in means])
    assert resampled.top_share == pytest.approx(tops.mean(axis=0), abs=0.02)
    assert resampled.top_share[2] == resampled.top_share[3]  # the same scores, whatever rounding does
    signed = bootstrap_scores(scores, 2, signed=True)
    assert signed.top_share[2] < resampled.top_share[2]


def test_one_pair_has_no_spread() -> None:
    alone = bootstrap_scores(np.array([[1.0, -3.0, 2.0]]), 1)
    assert np.array_equal(alone.low, alone.high)
    assert alone.top_share.tolist() == [0.0, 1.0, 0.0]
    assert alone.jaccard == 1.0


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="top 4 of 3 edges"):
        top_k_shares(np.zeros(3), 4)
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        top_k_shares(np.array([np.nan, 0.0]), 1)
    with pytest.raises(ValueError, match=r"share in \[0, 1\]"):
        jaccard(np.array([[2.0], [1.0]]))
    with pytest.raises(ValueError, match="finite number per pair"):
        bootstrap_scores(np.array([[np.nan]]), 1)
    with pytest.raises(ValueError, match="level 0"):
        bootstrap_scores(np.ones((2, 2)), 1, level=0)
