"""Who stands where, and how sure that is: bootstraps that draw programs, jointly for all methods of a board."""

from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from gaugeblock.metrics.bootstrap import Interval

N_RESAMPLES = 2000
TAIL = 0.025
ROUND = 9  # decimals: means that differ by less are equal, whatever order they were summed in


def rank_intervals(
    values: Float[np.ndarray, "methods cases"], programs: Sequence[Hashable]
) -> list[tuple[int, int] | None]:
    """A 95 % interval of each method's rank; None for all with one program, which shows no spread.

    Whole programs are drawn with replacement, the same ones for every method; in each resample a method's rank is
    1 + the number of methods with a larger mean. The interval holds the ranks from the 2.5th to the 97.5th
    percentile. Source: Goldstein & Spiegelhalter (1996) on rank intervals; Field & Welsh (2007) on clusters.
    """
    names = sorted(set(programs), key=str)
    if len(names) < 2 or len(values) == 0:
        return [None] * len(values)
    of = np.array([names.index(p) for p in programs])
    totals = np.stack([values[:, of == i].sum(axis=1) for i in range(len(names))])
    counts = np.bincount(of, minlength=len(names))
    drawn = _draws(len(names))
    means = np.round((drawn @ totals) / (drawn @ counts)[:, None], ROUND)
    ordered = np.sort(-means, axis=1)
    ranks = 1 + np.stack([np.searchsorted(row, -mean, side="left") for row, mean in zip(ordered, means)])
    low = np.quantile(ranks, TAIL, axis=0, method="inverted_cdf")
    high = np.quantile(ranks, 1 - TAIL, axis=0, method="inverted_cdf")
    return [(int(a), int(b)) for a, b in zip(low, high)]


def pair_intervals(
    values: Float[np.ndarray, "methods cases"], counted: Bool[np.ndarray, " cases"], programs: Sequence[Hashable]
) -> dict[tuple[int, int], Interval]:
    """For each i < j the interval of the mean of values[i] − values[j] over the counted cases that both have.

    NaN where a method has no value; pairs without common cases are left out. The same numbers as
    `gaugeblock.metrics.bootstrap.paired_interval`, for all pairs at once.
    """
    names = sorted({p for p, c in zip(programs, counted) if c}, key=str)
    of = np.array([names.index(p) if c else -1 for p, c in zip(programs, counted)])
    member = (of[None, :] == np.arange(len(names))[:, None]).astype(float)  # programs × cases
    intervals: dict[tuple[int, int], Interval] = {}
    for i in range(len(values) - 1):
        difference = np.where(counted, values[i] - values[i + 1 :], np.nan)
        known = np.isfinite(difference)
        totals = np.where(known, difference, 0.0) @ member.T
        counts = known.astype(float) @ member.T
        for n in np.unique((counts > 0).sum(axis=1)):
            rows = np.flatnonzero((counts > 0).sum(axis=1) == n)
            for j, interval in zip(rows, _intervals(totals[rows], counts[rows], int(n))):
                if interval is not None:
                    intervals[i, i + 1 + int(j)] = interval
    return intervals


def _intervals(
    totals: Float[np.ndarray, "pairs programs"], counts: Float[np.ndarray, "pairs programs"], n: int
) -> list[Interval | None]:
    """The intervals of pairs that have n programs in common."""
    if n == 0:
        return [None] * len(totals)
    kept = [sorted((t, c) for t, c in zip(*pair) if c) for pair in zip(totals.tolist(), counts.tolist())]
    sums, sizes = np.moveaxis(np.array(kept), 2, 0)
    estimates = sums.sum(axis=1) / sizes.sum(axis=1)
    if n == 1:
        return [Interval(float(e), None, None, 1) for e in estimates]
    drawn = _draws(n)
    low, high = np.quantile((sums @ drawn.T) / (sizes @ drawn.T), [TAIL, 1 - TAIL], axis=1)
    return [Interval(float(e), float(a), float(b), n) for e, a, b in zip(estimates, low, high)]


@lru_cache(maxsize=64)
def _draws(n: int) -> Float[np.ndarray, "resamples clusters"]:
    """How often each of n clusters is drawn: the same draws as those of `gaugeblock.metrics.bootstrap`."""
    drawn = np.random.default_rng(0).integers(n, size=(N_RESAMPLES, n))
    return np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(float)


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, value) points that no other beats: none costs as little and is better, or costs less
    and is as good. From the cheapest on; of equal points all are in it."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    best: list[int] = []
    for i in order:
        if not best or points[i][1] > points[best[-1]][1] or points[i] == points[best[-1]]:
            best.append(i)
    return best
