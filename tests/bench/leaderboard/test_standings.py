"""Tests of all pairs, rank intervals, intervals of all pairs and the frontier, against scipy and plain loops."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gaugeblock.leaderboard.standings import frontier, pair_intervals, rank_intervals, told_apart
from gaugeblock.metrics.bootstrap import paired_interval

PROGRAMS = ["b", "a", "b", "c", "a", "d", "b"]


def holm(p: dict) -> set:
    """The pairs that Holm's procedure rejects at 4 %, step by step."""
    sure = set()
    for done, pair in enumerate(sorted(p, key=p.get)):
        if p[pair] > 0.04 / (len(p) - done):
            break
        sure.add(pair)
    return sure


@pytest.mark.parametrize("n", [3, 8, 40])
@pytest.mark.parametrize("seed", range(4))
def test_methods_are_told_apart_by_scipys_paired_t_test_and_holm(n, seed):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(6, n)) * 0.3 + np.array([[2.0], [1.0], [1.0], [0.8], [0.0], [-3.0]])
    means[2] = means[1]  # the same, which is no comparison
    order = rng.permutation(2 * n)
    wiggle = rng.normal(size=(6, n))
    wiggle[2] = wiggle[1]
    values = np.concatenate([means + wiggle, means - wiggle], axis=1)[:, order]
    programs = [f"p{i % n}" for i in order]
    pairs = [pair for pair in itertools.combinations(range(6), 2) if pair != (1, 2)]
    sure = holm({(i, j): stats.ttest_rel(means[i], means[j]).pvalue for i, j in pairs})
    apart = told_apart(values, programs)
    assert {pair for pair in itertools.combinations(range(6), 2) if apart[pair]} == sure
    assert (apart == apart.T).all()
    assert len(sure) > 0
    ranks = rank_intervals(values, programs)
    for i in range(6):
        better = [j for j in range(6) if (min(i, j), max(i, j)) in sure and means[j].mean() > means[i].mean()]
        worse = [j for j in range(6) if (min(i, j), max(i, j)) in sure and means[j].mean() < means[i].mean()]
        assert ranks[i] == (1 + len(better), 6 - len(worse))


def test_equal_methods_share_their_ranks_whatever_the_order_of_cases():
    row = np.random.default_rng(0).normal(size=7)
    rows = np.array([row, row, row + 0.1 + 1e-15, row - 5 + 0.1 * np.arange(7)])
    assert rank_intervals(rows, PROGRAMS) == [(1, 3), (1, 3), (1, 3), (4, 4)]
    assert rank_intervals(np.tile(rows, 3), range(21)) == [(2, 3), (2, 3), (1, 1), (4, 4)]  # by the sign test
    order = [3, 0, 6, 2, 5, 1, 4]
    values = np.random.default_rng(1).normal(size=(5, 7))
    assert rank_intervals(values[:, order], [PROGRAMS[i] for i in order]) == rank_intervals(values, PROGRAMS)


SKILLS = {
    "normal": np.random.default_rng(0).normal(size=1000),
    "skewed": np.random.default_rng(1).beta(1.5, 0.4, size=1000),
    "nearly perfect": np.array([1.0] * 36 + [0.6, 0.2, 0.0, 0.9]),
}


@pytest.mark.parametrize("n", [4, 41])
@pytest.mark.parametrize("name", SKILLS)
def test_boards_of_nine_equal_methods_rarely_show_a_rank(name, n):
    rng = np.random.default_rng(2)
    boards = [rng.choice(SKILLS[name], size=(9, n)) for _ in range(300)]
    assert np.mean([told_apart(board, range(n)).any() for board in boards]) <= 0.08


def test_a_board_of_one_method_or_none_has_nobody_to_tell_apart():
    assert told_apart(np.ones((1, 7)), PROGRAMS).tolist() == [[False]]
    assert rank_intervals(np.ones((1, 7)), PROGRAMS) == [(1, 1)]
    assert rank_intervals(np.empty((0, 7)), PROGRAMS) == []


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
    for two, program in ((values[:2, 1:2], ["a"]), (np.array([values[0], values[0]]), PROGRAMS)):
        alone = pair_intervals(two, np.ones(len(program), dtype=bool), program)[0, 1]
        assert (alone.low, alone.high) == (None, None)


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
