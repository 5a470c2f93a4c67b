import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gaugeblock.metrics.bootstrap import Interval, mean_interval, paired_interval, standard_errors


def expanded(level: float, n: int) -> float:
    """The tail of the expanded percentile interval, from scipy's distributions."""
    return float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1)))


@pytest.mark.parametrize("n", [5, 12, 60])
def test_without_clusters_it_spans_scipys_expanded_bootstrap_and_students_t(n: int) -> None:
    values = np.random.default_rng(n).gamma(0.3, size=n)
    ours = mean_interval(values, n_resamples=20_000)
    percentile = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=20_000,
        confidence_level=1 - 2 * expanded(0.95, n),
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    student = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert ours.estimate == pytest.approx(values.mean())
    assert ours.low == pytest.approx(min(percentile.low, student.low), abs=0.02)
    assert ours.high == pytest.approx(max(percentile.high, student.high), abs=0.02)
    assert ours.low == pytest.approx(student.low, abs=1e-12)  # the one is wider below, where values are skewed
    assert n == 5 or ours.high > student.high  # and the other above


@pytest.mark.parametrize("level", [0.5, 0.6, 0.8])
def test_clusters_are_drawn_whole(level: float) -> None:
    values = np.array([0.0, 0.1, 0.2, 1.0, 1.1, 9.0])
    clusters = ["a", "a", "a", "b", "b", "c"]
    groups = [values[:3], values[3:5], values[5:]]
    means = [np.concatenate(drawn).mean() for drawn in itertools.product(groups, repeat=3)]
    tail = expanded(level, 3)
    percentile = np.quantile(means, [tail, 1 - tail], method="inverted_cdf")
    away = [group.sum() - len(group) * values.mean() for group in groups]
    half = stats.t.ppf((1 + level) / 2, 2) * np.sqrt(np.square(away).sum() * 3 / 2) / 6
    ours = mean_interval(values, clusters, level=level, n_resamples=50_000)
    assert ours.low == pytest.approx(min(percentile[0], values.mean() - half))
    assert ours.high == pytest.approx(max(percentile[1], values.mean() + half))
    assert ours.high > values.mean() + half + 0.1
    assert ours.n_clusters == 3


def test_standard_errors_are_those_of_cluster_means_and_leave_out_empty_clusters() -> None:
    totals = np.random.default_rng(0).normal(size=(5, 6))
    sizes = np.full((5, 6), 2.0)
    assert standard_errors(totals, sizes) == pytest.approx(stats.sem(totals / 2, axis=1))
    totals[1:, 4:] = sizes[1:, 4:] = 0
    assert standard_errors(totals, sizes)[1:] == pytest.approx(stats.sem(totals[1:, :4] / 2, axis=1))
    assert np.isnan(standard_errors(np.ones((1, 1)), np.ones((1, 1)))).all()


def test_the_order_of_results_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    values, clusters = rng.normal(size=40), rng.integers(8, size=40)
    order = rng.permutation(40)
    assert mean_interval(values, clusters.tolist()) == mean_interval(values[order], clusters[order].tolist())
    assert paired_interval(values, -values, clusters.tolist()) == paired_interval(
        values[order], -values[order], clusters[order].tolist()
    )


@pytest.mark.parametrize(("n", "failed"), [(2, 0), (3, 0), (4, 0), (4, 1), (7, 1), (20, 0), (20, 3), (41, 0), (41, 10)])
def test_where_nearly_all_are_equal_the_others_are_bounded_exactly(n: int, failed: int) -> None:
    upper = stats.binomtest(failed, n).proportion_ci(0.95, method="exact").high
    for best, worst in ((1.0, 0.3), (1.0, -0.9), (0.0, -0.2)):
        values = np.full(n, best)
        values[:failed] = worst
        ours = mean_interval(values, bounds=(-1.0, 1.0))
        student = 0.0 if not failed else stats.ttest_1samp(values, 0).confidence_interval(0.95).low
        far = max(1.0, best - worst) if failed else 1.0
        unseen = values.mean() - (upper - failed / n) * far
        assert ours.low == pytest.approx(max(-1.0, min(unseen, student if failed else unseen)))
        assert ours.high >= min(1.0, values.mean() + upper - failed / n) - 1e-12


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_intervals_with_bounds_have_a_width_and_keep_within(n: int, level: float) -> None:
    rng = np.random.default_rng(n)
    for values in (np.ones(n), np.zeros(n), -np.ones(n), rng.choice([-1.0, 1.0], size=n), rng.uniform(-1, 1, size=n)):
        interval = mean_interval(values, bounds=(-1.0, 1.0), level=level)
        assert interval.low is not None
        assert interval.high is not None
        assert -1 <= interval.low <= interval.estimate <= interval.high <= 1
        assert interval.high - interval.low > 0.1
    outside = mean_interval(np.array([5.0, 0.0, 0.0]), bounds=(-1.0, 1.0))  # damaged, and no reason to fail
    assert (outside.low, outside.high) == (-1, 5)


def test_without_bounds_what_shows_no_spread_has_no_interval() -> None:
    assert mean_interval(np.array([1.0, 2.0]), ["sort", "sort"]) == Interval(1.5, None, None, 1)
    assert mean_interval(np.array([0.3, 0.1 + 0.2, 0.3])).low is None  # rounding is no spread
    first = np.random.default_rng(0).normal(size=30)
    assert paired_interval(first, first) == Interval(0.0, None, None, 30)
    assert paired_interval(first + 0.1, first).low is None
    assert paired_interval(first[:2], first[1:3], ["sort", "sort"]).low is None


NEARLY_PERFECT = np.array([1.0] * 37 + [0.6, 0.2, 0.0])
POPULATIONS = {
    "spread": np.random.default_rng(0).beta(2, 1, size=40),
    "around chance": np.random.default_rng(1).normal(0, 0.3, size=40),
    "perfect or not": np.array([1.0] * 26 + [0.0] * 14),
    "nearly perfect": NEARLY_PERFECT,
    "nearly chance": 1 - NEARLY_PERFECT,
}


@pytest.mark.parametrize("n", [4, 20])
@pytest.mark.parametrize("name", POPULATIONS)
def test_a_nominal_95_percent_covers_90_percent_also_with_four_clusters(name: str, n: int) -> None:
    rng, population = np.random.default_rng(7), POPULATIONS[name]
    inside = 0
    for _ in range(400):
        drawn = np.clip(rng.choice(population, size=n).repeat(2) + rng.normal(0, 1e-3, size=2 * n), -1, 1)
        drawn[np.abs(drawn - 1) < 0.01] = 1.0
        drawn[np.abs(drawn) < 0.01] = 0.0
        interval = mean_interval(drawn, np.arange(n).repeat(2).tolist(), bounds=(-1.0, 1.0), n_resamples=300)
        inside += interval.low <= population.mean() <= interval.high
    assert inside >= 0.9 * 400


def test_pairing_cancels_what_is_hard_for_both() -> None:
    rng = np.random.default_rng(3)
    difficulty = rng.normal(size=30)
    first = difficulty + 0.1 + 0.01 * rng.normal(size=30)
    paired = paired_interval(first, difficulty)
    alone = mean_interval(first)
    student = stats.ttest_rel(first, difficulty).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx((student.low, student.high))
    assert alone.low is not None
    assert alone.high is not None
    assert alone.low < difficulty.mean() < alone.high  # alone, the better one is not told apart


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_named() -> None:
    for interval in (mean_interval, lambda v, *c, **k: paired_interval(v, np.zeros(len(v)), *c, **k)):
        with pytest.raises(ValueError, match="no values"):
            interval(np.array([]))
        with pytest.raises(ValueError, match="1 of 2 values are NaN"):
            interval(np.array([1.0, np.nan]))
        with pytest.raises(ValueError, match="2 values but 1 clusters"):
            interval(np.array([1.0, 2.0]), ["a"])
        for level in (1.5, 0.0, math.nan):
            with pytest.raises(ValueError, match=f"level {level}"):
                interval(np.array([1.0, 2.0]), level=level)
    with pytest.raises(ValueError, match="0 resamples"):
        mean_interval(np.array([1.0, 2.0]), n_resamples=0)
    with pytest.raises(ValueError, match="2 and 3 values"):
        paired_interval(np.zeros(2), np.zeros(3))
