"""Who stands where, and how sure that is: tests and intervals over programs, for all methods of a board at once."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import stdtr, stdtrit

from gaugeblock.metrics.bootstrap import EQUAL, Interval, standard_errors

ERROR_RATE = 0.04  # of a whole board; t-tests of few skewed programs err more often than they say, up to 8 %


def told_apart(
    values: Float[np.ndarray, "methods cases"], programs: Sequence[Hashable]
) -> Bool[np.ndarray, "methods methods"]:
    """Whether the means of two methods differ: paired t-tests over programs, all pairs of the board, Holm's correction.

    Two methods are compared by mean / standard error of their difference (`gaugeblock.metrics.bootstrap`), with
    programs − 1 degrees of freedom; where it is the same on all n programs, which leaves t undefined, by the sign test,
    p = 2^(1 − n). Every pair is corrected for, not the leader against those below alone: the leader was chosen by its
    result. Methods that score the same are no comparison. Of boards of nine equal methods 2 % show any difference on
    average over the skills of 31 methods, and about 8 % of the worst of them, at 4 programs and at 41
    (benchmarks/bench_statistics.py). With one program, all that is not equal differs.

    Source: Holm (1979); Mogstad, Romano, Shaikh & Wilhelm (2024) on what such tests say about ranks.
    """
    names = {program: i for i, program in enumerate(sorted(set(programs), key=str))}
    member = np.eye(len(names))[[names[program] for program in programs]]  # cases × programs
    totals, sizes, n = values @ member, member.sum(axis=0), len(names)
    first, second = np.triu_indices(len(values), 1)
    p = np.ones(len(first))
    for i in range(len(values) - 1):
        difference = totals[i] - totals[i + 1 :]
        mean = np.abs(difference.sum(axis=1)) / len(programs)
        error = standard_errors(difference, np.broadcast_to(sizes, difference.shape)) if n > 1 else np.zeros(len(mean))
        with np.errstate(divide="ignore", invalid="ignore"):
            student = np.where(error > 0, 2 * stdtr(max(n - 1, 1), -mean / error), 0.0 if n == 1 else 2.0 ** (1 - n))
        p[first == i] = np.where(mean > EQUAL, student, np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]  # NaN, at the end, are no comparisons
    holds = p[order] * np.arange(len(order), 0, -1) <= ERROR_RATE
    sure = order[: len(order) if holds.all() else int(holds.argmin())]
    apart = np.zeros((len(values), len(values)), dtype=bool)
    apart[first[sure], second[sure]] = apart[second[sure], first[sure]] = True
    return apart


def rank_intervals(
    values: Float[np.ndarray, "methods cases"], programs: Sequence[Hashable]
) -> list[tuple[int, int] | None]:
    """95 % intervals of the ranks of all methods, together; None for all with one program, which shows no spread.

    From 1 + the number of methods that are surely better to the number of all that are not surely worse, of those
    that can be told apart, see `told_apart`.
    """
    if len(set(programs)) < 2:
        return [None] * len(values)
    apart, means = told_apart(values, programs), values.mean(axis=1)
    above = (apart & (means[None, :] > means[:, None])).sum(axis=1)
    below = (apart & (means[None, :] < means[:, None])).sum(axis=1)
    return [(1 + int(a), len(values) - int(b)) for a, b in zip(above, below)]


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
        n = (counts > 0).sum(axis=1)
        means = totals.sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
        halves = stdtrit(np.maximum(n - 1, 1), 0.975) * standard_errors(totals, counts)
        for j, (k, mean, half) in enumerate(zip(n.tolist(), means.tolist(), halves.tolist()), start=i + 1):
            if k:
                low, high = (mean - half, mean + half) if k > 1 and half > 0 else (None, None)
                intervals[i, j] = Interval(mean, low, high, k)
    return intervals


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, value) points that no other beats: none costs as little and is better, or costs less
    and is as good. From the cheapest on; of equal points all are in it."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    best: list[int] = []
    for i in order:
        if not best or points[i][1] > points[best[-1]][1] or points[i] == points[best[-1]]:
            best.append(i)
    return best
