"""Intervals of means that hold with few clusters, and paired ones between methods."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import betaincinv, ndtr, stdtrit

EQUAL = 1e-9
"""Means closer than this are equal: they differ by the order in which they were summed."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval; `low` and `high` are None where no spread is to be seen, as with one cluster.

    >>> Interval(estimate=0.5, low=0.4, high=0.6, n_clusters=10).high
    0.6
    """

    estimate: float
    low: float | None
    high: float | None
    n_clusters: int


def mean_interval(
    values: Float[np.ndarray, " units"],
    clusters: Sequence[Hashable] | None = None,
    *,
    bounds: tuple[float, float] | None = None,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of the mean of `values`, in their unit, that covers it also with few clusters.

    It spans two intervals of n clusters, with t the quantile of Student's distribution of n − 1 degrees of freedom:

    - the expanded percentile bootstrap: clusters are drawn whole, n with replacement, and the tails of the means of
      all their units are cut off at Φ(−√(n / (n − 1)) t) instead of at 2.5 % (Hesterberg 2015);
    - mean ± t × standard error, see `standard_errors`.

    Where `bounds` are known and at most a quarter of the clusters differ from a common value, what was seen says
    little of the rest: as many more as the upper limit of their share allows (Clopper & Pearson 1934) are counted, each
    1 away or as far as the farthest one seen. The interval then has a width also where all clusters are equal; without
    bounds it is None there. The result does not depend on the order of the units.

    Nominal 95 % intervals of skill cover 98 % on average over 31 methods with 4 programs (92 % at least), 97 % with 41;
    those of the percentile bootstrap 71 % and 92 %, and 9 % where nearly all are perfect
    (benchmarks/bench_statistics.py).

    Args:
        values: one per unit.
        clusters: one name per unit; without it each unit is its own cluster.
        bounds: the least and the largest value that is possible, for values whose unit is 1, as from chance to the
            best score. The interval stays within them, or within the values where these do not.
        level: of the interval, between 0 and 1.
        n_resamples: how many resamples.
        seed: of the resampling.

    Raises:
        ValueError: no values, values that are not finite, lengths that differ, or an impossible level.

    >>> mean_interval(np.array([1.0, 3.0, 2.0]), ["sort", "sort", "hist"]).estimate
    2.0
    >>> mean_interval(np.array([1.0, 3.0]), ["sort", "sort"])
    Interval(estimate=2.0, low=None, high=None, n_clusters=1)
    >>> round(mean_interval(np.ones(41), bounds=(-1.0, 1.0)).low, 3)  # 41 perfect scores
    0.914
    """
    totals, sizes = _clustered(values, clusters, level)
    if n_resamples < 1:
        raise ValueError(f"{n_resamples} resamples; give at least 1")
    estimate, n = math.fsum(totals) / len(values), len(totals)
    if n == 1:
        return Interval(estimate, None, None, 1)

    error = float(standard_errors(totals, sizes))
    quantile = stdtrit(n - 1, (1 + level) / 2)
    tail = ndtr(-math.sqrt(n / (n - 1)) * quantile)
    drawn = np.random.default_rng(seed).integers(n, size=(n_resamples, n))
    resampled = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    low, high = min(low, estimate - quantile * error), max(high, estimate + quantile * error)
    if bounds is None:
        return Interval(estimate, float(low), float(high), n) if error else Interval(estimate, None, None, n)

    away = totals / sizes - np.median(totals / sizes)
    others = int((np.abs(away) > EQUAL).sum())
    if others <= n / 4:
        unseen = betaincinv(others + 1, n - others, (1 + level) / 2) - others / n
        low = min(low, estimate - unseen * max(1.0, -away.min()))
        high = max(high, estimate + unseen * max(1.0, away.max()))
    low, high = max(low, min(bounds[0], np.min(values))), min(high, max(bounds[1], np.max(values)))
    return Interval(estimate, float(low), float(high), n)


def paired_interval(
    first: Float[np.ndarray, " units"],
    second: Float[np.ndarray, " units"],
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """Interval of the mean of `first` − `second`, unit by unit, as of two methods on the same cases: Student's t.

    What makes a case hard for both cancels, so this interval tells methods apart whose own intervals overlap. It is
    mean ± t × standard error, see `standard_errors`; None where all clusters differ by the same, which shows no spread.
    Errors as in `mean_interval`.

    >>> interval = paired_interval(np.array([3.0, 5.0, 4.0]), np.array([2.0, 4.0, 2.0]))
    >>> round(interval.low, 2), round(interval.high, 2)  # 4/3 ± 4.30 × 1/3
    (-0.1, 2.77)
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} and {len(second)} values; paired methods need the same units")
    totals, sizes = _clustered(first - second, clusters, level)
    estimate, n = math.fsum(totals) / len(first), len(totals)
    half = float(stdtrit(n - 1, (1 + level) / 2) * standard_errors(totals, sizes)) if n > 1 else 0.0
    return Interval(estimate, estimate - half, estimate + half, n) if half else Interval(estimate, None, None, n)


def standard_errors(
    totals: Float[np.ndarray, "*means clusters"], sizes: Float[np.ndarray, "*means clusters"]
) -> Float[np.ndarray, " *means"]:
    """Standard errors of means over clusters, Σ totals / Σ sizes. Clusters of size 0 are left out; NaN with one.

    √(n / (n − 1) Σ (total − size × mean)²) / Σ sizes: of clusters of equal size, the standard error of their means; of
    others, that of a ratio. Source: Cochran (1977), sections 6.4 and 9A.2. What is rounding is 0.

    >>> standard_errors(np.array([1.0, 2.0, 3.0]), np.ones(3)).round(4)  # 1 / √3
    np.float64(0.5774)
    """
    n, size = (sizes > 0).sum(axis=-1), sizes.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        away = totals - (totals.sum(axis=-1) / size)[..., None] * sizes
        errors = np.sqrt(n / (n - 1) * (away**2).sum(axis=-1)) / size
    return np.where(errors <= 1e-12 * np.abs(totals).sum(axis=-1) / np.maximum(size, 1), 0.0, errors)


def _clustered(
    values: Float[np.ndarray, " units"], clusters: Sequence[Hashable] | None, level: float
) -> tuple[Float[np.ndarray, " clusters"], Float[np.ndarray, " clusters"]]:
    """The sum and the size of each cluster: exact and sorted, so that the order of the units changes nothing."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("there are no values; an interval needs at least one")
    if bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{bad} of {len(values)} values are NaN or infinite")
    if clusters is not None and len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters; each value needs one cluster")
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not possible; give one between 0 and 1, as 0.95")
    members: defaultdict[Hashable, list[float]] = defaultdict(list)
    for cluster, value in zip(range(len(values)) if clusters is None else clusters, values.tolist()):
        members[cluster].append(value)
    sums = np.array(sorted((math.fsum(group), len(group)) for group in members.values()), dtype=np.float64)
    return sums[:, 0], sums[:, 1]
