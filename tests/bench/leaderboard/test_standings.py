"""Rank intervals, intervals of all pairs and the frontier, against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugeblock.leaderboard.standings import N_RESAMPLES, frontier, pair_intervals, rank_intervals
from gaugeblock.metrics.bootstrap import paired_interval

PROGRAMS = ["b", "a", "b", "c", "a", "d", "b"]


def test_rank_intervals_are_those_of_a_plain_loop():
    values = np.random.default_rng(3).normal(size=(4, 7)) + np.array([[0.9], [0.5], [0.4], [-2.0]])
    names = sorted(set(PROGRAMS))
    drawn = np.random.default_rng(0).integers(len(names), size=(N_RESAMPLES, len(names)))
    ranks = []
    for row in drawn.tolist():
        cases = [i for k in row for i, p in enumerate(PROGRAMS) if p == names[k]]
        means = [sum(v[i] for i in cases) / len(cases) for v in values.tolist()]
        ranks.append([1 + sum(other > mean for other in means) for mean in means])
    expected = []
    for column in zip(*ranks):
        ordered = sorted(column)
        expected.append((ordered[int(0.025 * N_RESAMPLES) - 1], ordered[int(0.975 * N_RESAMPLES) - 1]))
    ranks = rank_intervals(values, PROGRAMS)
    assert ranks == expected
    assert ranks[0][0] == 1
    assert ranks[3] == (4, 4)  # behind in every resample
    assert len({*ranks}) > 2


def test_equal_methods_share_their_ranks_whatever_the_order_of_cases():
    row = np.random.default_rng(0).normal(size=7)
    ranks = rank_intervals(np.array([row, row, row + 0.1 + 1e-15, row - 5]), PROGRAMS)
    assert ranks == [(2, 2), (2, 2), (1, 1), (4, 4)]
    order = [3, 0, 6, 2, 5, 1, 4]
    values = np.random.default_rng(1).normal(size=(5, 7))
    assert rank_intervals(values[:, order], [PROGRAMS[i] for i in order]) == rank_intervals(values, PROGRAMS)


def test_one_program_has_no_rank_intervals():
    assert rank_intervals(np.ones((2, 3)), ["a", "a", "a"]) == [None, None]


def test_intervals_of_all_pairs_are_paired_intervals():
    rng = np.random.default_rng(5)
    values = rng.normal(size=(5, 7))
    values[1, [0, 2, 6]] = np.nan  # without program b
    values[4] = np.nan
    values[3, 1:] = np.nan  # one case is left, which does not count
    counted = np.array([False, True, True, True, True, True, True])
    intervals = pair_intervals(values, counted, PROGRAMS)
    assert intervals.keys() == {(0, 1), (0, 2), (1, 2)}
    for (i, j), interval in intervals.items():
        both = counted & np.isfinite(values[i]) & np.isfinite(values[j])
        programs = [p for p, b in zip(PROGRAMS, both) if b]
        expected = paired_interval(values[i][both], values[j][both], programs)
        assert (interval.low, interval.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
        assert (interval.estimate, interval.n_clusters) == (pytest.approx(expected.estimate), expected.n_clusters)
    alone = pair_intervals(values[:2, 1:2], np.array([True]), ["a"])
    assert (alone[0, 1].low, alone[0, 1].high) == (None, None)


numbers = st.integers(0, 6).map(float)


@given(st.lists(st.tuples(numbers, numbers), max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_frontier_is_what_nothing_beats(points):
    def beats(other, point):
        return other[0] <= point[0] and other[1] >= point[1] and other != point

    expected = {i for i, point in enumerate(points) if not any(beats(other, point) for other in points)}
    best = frontier(points)
    assert set(best) == expected
    assert [points[i] for i in best] == sorted(points[i] for i in best)
