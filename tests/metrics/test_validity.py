import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from gaugeblock.metrics.validity import rank_validity, spearman

INF = float("inf")
values = st.integers(-3, 3).map(float) | st.floats(-1e6, 1e6) | st.sampled_from([INF, -INF])


@given(st.lists(st.tuples(values, values), max_size=25))
def test_spearman_is_scipys(rows: list[tuple[float, float]]) -> None:
    x, y = np.array(rows, dtype=float).reshape(-1, 2).T
    correlation = spearman(x, y)
    if min(len(set(x.tolist())), len(set(y.tolist()))) < 3:
        assert correlation is None
    else:
        assert correlation == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def table(seed: int, difficulty: float, signal: float) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """20 programs with 2 cases each and 6 methods: case difficulty moves both numbers, quality as told."""
    rng = np.random.default_rng(seed)
    cases = np.repeat(np.arange(40), 6)
    hard, quality = difficulty * rng.normal(size=40)[cases], rng.normal(size=240)
    metric = hard + signal * quality + rng.normal(size=240)
    return metric, hard + quality, [f"c{c}" for c in cases], [f"p{c // 2}" for c in cases]


def test_within_cases_difficulty_does_not_pass_for_validity() -> None:
    covered, estimates = [], []
    for seed in range(60):
        blind = rank_validity(*table(seed, difficulty=3.0, signal=0.0), n_resamples=200)
        overall, within = blind.overall, blind.within
        assert overall is not None
        assert within is not None
        assert overall.estimate > 0.7
        assert within.low is not None
        assert within.high is not None
        assert (blind.n_rows, blind.n_cases, within.n_clusters) == (240, 40, 20)
        covered.append(within.low <= 0 <= within.high)
        estimates.append(within.estimate)
    assert np.mean(estimates) == pytest.approx(0.0, abs=0.03)
    assert np.mean(covered) > 0.85


def test_both_are_what_they_say() -> None:
    metric, recovery, cases, programs = table(1, difficulty=0.5, signal=1.0)
    validity = rank_validity(metric, recovery, cases, programs)
    assert validity.overall is not None
    assert validity.within is not None
    assert validity.overall.estimate == pytest.approx(spearmanr(metric, recovery).statistic)
    per_case = [spearmanr(metric[6 * c : 6 * c + 6], recovery[6 * c : 6 * c + 6]).statistic for c in range(40)]
    assert validity.within.estimate == pytest.approx(np.mean(per_case))
    order = np.random.default_rng(2).permutation(240)
    again = rank_validity(metric[order], recovery[order], [cases[i] for i in order], [programs[i] for i in order])
    assert again.overall is not None
    assert again.within is not None
    for a, b in ((validity.overall, again.overall), (validity.within, again.within)):
        assert (a.estimate, a.low, a.high) == pytest.approx((b.estimate, b.low, b.high))


def test_whole_programs_are_resampled() -> None:
    rng = np.random.default_rng(5)
    metric, recovery = rng.normal(size=(2, 12))
    programs = list("aaaabbbbcccc")
    blocks = [np.arange(4), np.arange(4, 8), np.arange(8, 12)]
    drawn = [np.concatenate(some) for some in itertools.product(blocks, repeat=3)]
    correlations = [spearmanr(metric[rows], recovery[rows]).statistic for rows in drawn]
    interval = rank_validity(metric, recovery, programs, programs, level=0.8, n_resamples=4000).overall
    assert interval is not None
    expected = np.quantile(correlations, [0.1, 0.9], method="inverted_cdf")
    assert (interval.low, interval.high) == pytest.approx(tuple(expected))


def test_undefined_is_none() -> None:
    flat = rank_validity(np.ones(4), np.arange(4.0), list("abcd"), list("abcd"))
    assert (flat.overall, flat.within, flat.n_cases) == (None, None, 0)
    one = rank_validity(np.arange(4.0), np.arange(4.0), ["a"] * 4, ["p"] * 4)
    assert one.overall is not None
    assert (one.overall.estimate, one.overall.low, one.overall.n_clusters) == (1.0, None, 1)
    # One row per program: a resample rarely holds three distinct rows.
    few = rank_validity(np.arange(3.0), np.arange(3.0), list("abc"), list("abc")).overall
    assert few is not None
    assert (few.estimate, few.low, few.high) == (1.0, None, None)


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_named() -> None:
    x = np.arange(4.0)
    with pytest.raises(ValueError, match="1 of 4 rows have a NaN"):
        spearman(np.array([0, 1, 2, np.nan]), x)
    with pytest.raises(ValueError, match=r"x has shape \(4,\) and y \(3,\)"):
        spearman(x, x[:3])
    with pytest.raises(ValueError, match="4 rows, 3 cases"):
        rank_validity(x, x, ["a"] * 3, ["a"] * 4)
    with pytest.raises(ValueError, match="'a' belongs to two programs"):
        rank_validity(x, x, ["a"] * 4, list("pppq"))
