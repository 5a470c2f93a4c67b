"""Does a metric that needs no ground truth rank methods as the truth does?"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

from gaugeblock.metrics.bootstrap import Interval, mean_interval


@final
@dataclass(frozen=True)
class Validity:
    """Spearman correlations between a metric and true recovery, from −1 to 1. Higher is better for a metric that
    rises with quality; one that falls (CMD, KL) should come near −1.

    Attributes:
        overall: over all rows. Differences in difficulty between cases enter it, for better and for worse.
        within: mean over cases of the correlation over methods; what matters for choosing a method.
        n_rows: rows behind `overall`.
        n_cases: cases behind `within`.

    Both are None where undefined: no three distinct values of the metric, or of recovery. Interval ends are None
    with a single cluster, and where half of the resamples or more leave the correlation undefined.

    >>> alone = rank_validity(np.array([1.0, 2.0]), np.array([1.0, 2.0]), ["sort/pad"] * 2, ["sort"] * 2)
    >>> alone  # two rows show no order
    Validity(overall=None, within=None, n_rows=2, n_cases=0)
    """

    overall: Interval | None
    within: Interval | None
    n_rows: int
    n_cases: int


def spearman(x: Float[np.ndarray, " rows"], y: Float[np.ndarray, " rows"]) -> float | None:
    """Spearman's rank correlation: Pearson's r of mid-ranks, equal values sharing the mean of their ranks.

    Range −1 to 1. None where x or y has fewer than three distinct values: with two it measures a difference between
    two groups, no order. Infinities rank. Source: Spearman (1904); Kendall & Gibbons (1990) on ties.

    Raises:
        ValueError: lengths that differ, or NaN.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
    1.0
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"x has shape {x.shape} and y {y.shape}; give one number of each per row")
    if missing := int((np.isnan(x) | np.isnan(y)).sum()):
        raise ValueError(f"{missing} of {len(x)} rows have a NaN; leave out rows in which either is undefined")
    return _rank_correlation(x, y)


def rank_validity(
    metric: Float[np.ndarray, " rows"],
    recovery: Float[np.ndarray, " rows"],
    cases: Sequence[Hashable],
    programs: Sequence[Hashable],
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Validity:
    """Spearman correlation of a metric with true recovery over (method, case) rows, overall and within cases.

    Some cases are hard for every method and have low values of every metric, so `overall` can be high for a metric
    that cannot tell two methods apart on one case, and low for one that can. `within` is free of that; cases on which
    fewer than three values differ are left out of it.

    Intervals: of `overall`, the percentile bootstrap in which whole programs are drawn with replacement, with all their
    cases and rows; of `within`, `mean_interval` over programs.

    Args:
        metric, recovery: one per row; rows in which either is undefined are left out beforehand.
        cases: the case of each row.
        programs: the program of each row, the clusters of the bootstrap.
        level: of the intervals, between 0 and 1.
        n_resamples: how many resamples.
        seed: of the resampling.

    Raises:
        ValueError: lengths that differ, NaN, a case that belongs to two programs, or an impossible level.

    >>> cmd, skill = np.array([0.1, 0.2, 0.4]), np.array([0.9, 0.8, 0.3])
    >>> rank_validity(cmd, skill, ["sort/pad"] * 3, ["sort"] * 3).within
    Interval(estimate=-1.0, low=None, high=None, n_clusters=1)
    """
    metric, recovery = np.asarray(metric, dtype=np.float64), np.asarray(recovery, dtype=np.float64)
    overall = spearman(metric, recovery)
    if not len(cases) == len(programs) == len(metric):
        raise ValueError(f"{len(metric)} rows, {len(cases)} cases and {len(programs)} programs; each row needs one")
    if not (0 < level < 1 and n_resamples > 0):
        raise ValueError(f"level {level} and {n_resamples} resamples; give a level between 0 and 1 and some resamples")
    program_of = dict(zip(cases, programs))
    if moved := [case for case, program in zip(cases, programs) if program_of[case] != program]:
        raise ValueError(f"case {moved[0]!r} belongs to two programs; a case has one")

    by_case = _positions(cases)
    correlations = {case: _rank_correlation(metric[rows], recovery[rows]) for case, rows in by_case.items()}
    defined = {case: value for case, value in correlations.items() if value is not None}
    within = None
    if defined:
        clusters = [program_of[case] for case in defined]
        values = np.array(list(defined.values()))
        within = mean_interval(values, clusters, bounds=(-1.0, 1.0), level=level, n_resamples=n_resamples, seed=seed)
    return Validity(
        overall=None if overall is None else _clustered(metric, recovery, programs, overall, level, n_resamples, seed),
        within=within,
        n_rows=len(metric),
        n_cases=len(defined),
    )


def _clustered(
    x: np.ndarray,
    y: np.ndarray,
    clusters: Sequence[Hashable],
    estimate: float,
    level: float,
    n_resamples: int,
    seed: int,
) -> Interval:
    # By name, so that results which finished in another order give the same interval.
    members = [rows for _, rows in sorted(_positions(clusters).items(), key=lambda item: repr(item[0]))]
    if len(members) == 1:
        return Interval(estimate, None, None, 1)
    rng = np.random.default_rng(seed)
    x, y = _levels(x), _levels(y)
    values = []
    for _ in range(n_resamples):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        value = _of_levels(x[rows], y[rows])
        if value is not None:
            values.append(value)
    if 2 * len(values) <= n_resamples:
        return Interval(estimate, None, None, len(members))
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), len(members))


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    return _of_levels(_levels(x), _levels(y))


def _levels(values: np.ndarray) -> Int[np.ndarray, " rows"]:
    """Which of the distinct values, in increasing order, each one is."""
    return np.unique(values, return_inverse=True)[1]


def _of_levels(x: Int[np.ndarray, " rows"], y: Int[np.ndarray, " rows"]) -> float | None:
    (a, n_a), (b, n_b) = _mid_ranks(x), _mid_ranks(y)
    if min(n_a, n_b) < 3:
        return None
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def _mid_ranks(levels: Int[np.ndarray, " rows"]) -> tuple[Float[np.ndarray, " rows"], int]:
    """Ranks from 1 up, and how many distinct ones there are."""
    counts = np.bincount(levels)
    return (np.cumsum(counts) - (counts - 1) / 2)[levels], int((counts > 0).sum())


def _positions(names: Sequence[Hashable]) -> dict[Hashable, Int[np.ndarray, " members"]]:
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        members[name].append(i)
    return {name: np.array(rows) for name, rows in members.items()}
