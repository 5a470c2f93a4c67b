import itertools

import numpy as np
import pytest
from scipy.stats import bootstrap

from gaugeblock.metrics.bootstrap import Interval, mean_interval, paired_interval


def test_without_clusters_it_is_scipys_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=60)
    ours = mean_interval(values, n_resamples=20_000)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_clusters_are_drawn_whole() -> None:
    values = np.array([0.0, 0.1, 0.2, 1.0, 1.1, 3.0])
    clusters = ["a", "a", "a", "b", "b", "c"]
    groups = [values[:3], values[3:5], values[5:]]
    means = [np.concatenate(drawn).mean() for drawn in itertools.product(groups, repeat=3)]
    ours = mean_interval(values, clusters, level=0.8, n_resamples=50_000)
    # 27 equally likely resamples; the 10 % and 90 % points lie inside an atom each.
    expected = np.quantile(means, [0.1, 0.9], method="inverted_cdf")
    assert (ours.low, ours.high) == pytest.approx(expected)
    assert ours.n_clusters == 3


def test_the_order_of_results_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    values, clusters = rng.normal(size=40), rng.integers(8, size=40)
    order = rng.permutation(40)
    assert mean_interval(values, clusters.tolist()) == mean_interval(values[order], clusters[order].tolist())


def test_pairing_cancels_what_is_hard_for_both() -> None:
    rng = np.random.default_rng(3)
    difficulty = rng.normal(size=30)
    first = difficulty + 0.1 + 0.01 * rng.normal(size=30)
    paired = paired_interval(first, difficulty)
    alone = mean_interval(first)
    assert (paired.low, paired.high) == pytest.approx((0.1, 0.1), abs=0.01)
    assert alone.low is not None
    assert alone.high is not None
    assert alone.low < difficulty.mean() < alone.high  # alone, the better one is not told apart
    assert paired_interval(first, first) == Interval(0.0, 0.0, 0.0, 30)


def test_one_cluster_shows_no_spread() -> None:
    assert mean_interval(np.array([1.0, 2.0]), ["sort", "sort"]) == Interval(1.5, None, None, 1)


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean_interval(np.array([]))
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        mean_interval(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="2 values but 1 clusters"):
        mean_interval(np.array([1.0, 2.0]), ["a"])
    with pytest.raises(ValueError, match=r"level 1\.5"):
        mean_interval(np.array([1.0, 2.0]), level=1.5)
    with pytest.raises(ValueError, match="2 and 3 values"):
        paired_interval(np.zeros(2), np.zeros(3))
