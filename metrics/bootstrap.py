"""Bootstrap intervals of means, by cluster, and paired between methods."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval; `low` and `high` are None with one cluster, which shows no spread.

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
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean of `values`, in their unit.

    Whole clusters are drawn with replacement, as many as there are, and the mean of all their units is
    taken, so dependence within a cluster (the cases of one program) widens the interval as it should. The
    result does not depend on the order of the units. With few clusters intervals come out too narrow: of
    normal means from 4, a nominal 95 % covers about 80 %, from 10 about 90 %.
    Source: Efron & Tibshirani (1993), chapter 13; Field & Welsh (2007) on clusters.

    Args:
        values: one per unit.
        clusters: one name per unit; without it each unit is its own cluster.
        level: of the interval, between 0 and 1.
        n_resamples: how many resamples.
        seed: of the resampling.

    Raises:
        ValueError: no values, values that are not finite, lengths that differ, or an impossible level.

    >>> mean_interval(np.array([1.0, 3.0, 2.0]), ["sort", "sort", "hist"]).estimate
    2.0
    >>> mean_interval(np.array([1.0, 3.0]), ["sort", "sort"])
    Interval(estimate=2.0, low=None, high=None, n_clusters=1)
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("there are no values; an interval needs at least one")
    if bad := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{bad} of {len(values)} values are NaN or infinite")
    if clusters is not None and len(clusters) != len(values):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters; each value needs one cluster")
    if not (0 < level < 1 and n_resamples > 0):
        raise ValueError(f"level {level} and {n_resamples} resamples; give a level between 0 and 1 and some resamples")

    members: defaultdict[Hashable, list[float]] = defaultdict(list)
    for cluster, value in zip(range(len(values)) if clusters is None else clusters, values.tolist()):
        members[cluster].append(value)
    estimate = math.fsum(values) / len(values)
    if len(members) == 1:
        return Interval(estimate, None, None, 1)

    # Sums are exact and sorted, so that results which finished in another order give the same interval.
    totals = np.array(sorted((math.fsum(group), len(group)) for group in members.values()))
    drawn = np.random.default_rng(seed).integers(len(totals), size=(n_resamples, len(totals)))
    resampled = totals[drawn].sum(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(resampled[:, 0] / resampled[:, 1], [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), len(totals))


def paired_interval(
    first: Float[np.ndarray, " units"],
    second: Float[np.ndarray, " units"],
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """`mean_interval` of `first` − `second`, unit by unit: two methods on the same cases.

    What makes a case hard for both cancels, so this interval tells methods apart whose own intervals
    overlap; they are not separable where it contains 0. Arguments and errors as in `mean_interval`.

    >>> paired_interval(np.array([3.0, 5.0]), np.array([2.0, 4.0]))  # always 1 above
    Interval(estimate=1.0, low=1.0, high=1.0, n_clusters=2)
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} and {len(second)} values; paired methods need the same units")
    return mean_interval(first - second, clusters, level=level, n_resamples=n_resamples, seed=seed)
