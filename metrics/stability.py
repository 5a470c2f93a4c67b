"""Whether a method finds the same edges again: over seeds, and over resamples of the pairs."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from gaugeblock.metrics.ranking import checked_scores, round_to_noise, tie_groups

_RESAMPLES_COMPARED = 1000


def top_k_shares(scores: Float[np.ndarray, " edges"], k: int) -> Float[np.ndarray, " edges"]:
    """For each edge the probability that it is among the top k when ties are broken at random.

    1 above the tie group that straddles the boundary, 0 below it, places left / group size within it. Sums to k.

    Raises:
        ValueError: NaN scores, or k outside 0 … number of edges.

    >>> top_k_shares(np.array([2.0, 1.0, 1.0, 0.0]), k=2).tolist()
    [1.0, 0.5, 0.5, 0.0]
    """
    scores = checked_scores(scores)
    if not 0 <= k <= len(scores):
        raise ValueError(f"the top {k} of {len(scores)} edges is impossible; give 0 ≤ k ≤ the number of edges")
    order, ends = tie_groups(scores)
    starts = np.concatenate([[0], ends[:-1]])
    shares = np.clip((k - starts) / (ends - starts), 0.0, 1.0) if len(scores) else np.zeros(0)
    result = np.empty(len(scores))
    result[order] = np.repeat(shares, ends - starts)
    return result


def jaccard(sets: Bool[np.ndarray, "runs edges"] | Float[np.ndarray, "runs edges"]) -> float | None:
    """Mean over all pairs of runs of |A ∩ B| / |A ∪ B|: how far the circuits found in several runs agree.

    Range 0 to 1, higher is better; two empty circuits agree (1). Two random sets of k of n edges come to about
    k / (2n − k), so compare at one size only. None with fewer than two runs.

    Where ties leave a circuit open, give the `top_k_shares` p of each run: then E|A ∩ B| / E|A ∪ B| =
    Σ p q / Σ (p + q − p q) is taken, ties being broken at random in each run on its own. So a method that ties all
    edges in every run scores what random sets do, not 1. Source: Jaccard (1912).

    Raises:
        ValueError: shares outside [0, 1], or NaN.

    >>> jaccard(np.array([[True, True, False], [True, False, False]]))
    0.5
    """
    shares = np.asarray(sets, dtype=np.float64)
    if shares.ndim != 2 or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"sets of shape {shares.shape}; give one bool, or one share in [0, 1], per run and edge")
    if len(shares) < 2:
        return None
    sizes = shares.sum(axis=1)
    shared = shares @ shares.T
    union = sizes[:, None] + sizes - shared
    agreement = np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
    return float(agreement[np.triu_indices(len(shares), k=1)].mean())


@final
@dataclass(frozen=True, eq=False)
class BootstrapScores:
    """Scores of edges as means over pairs, and what another draw of the pairs would do to them.

    Attributes:
        mean: of each edge.
        low, high: percentile interval of the mean.
        top_share: share of resamples in which the edge is among the top k, ties broken at random.
        jaccard: `jaccard` of the top k of the resamples (of the first 1000; the work grows with their square).

    >>> same = bootstrap_scores(np.array([[2.0, 1.0], [2.0, 1.0]]), k=1)
    >>> same.low.tolist(), same.high.tolist(), same.jaccard
    ([2.0, 1.0], [2.0, 1.0], 1.0)
    """

    mean: Float[np.ndarray, " edges"]
    low: Float[np.ndarray, " edges"]
    high: Float[np.ndarray, " edges"]
    top_share: Float[np.ndarray, " edges"]
    jaccard: float | None


def bootstrap_scores(
    scores: Float[np.ndarray, "pairs edges"],
    k: int,
    *,
    signed: bool = False,
    level: float = 0.95,
    n_resamples: int = 1000,
    noise: float = 1e-9,
    seed: int = 0,
) -> BootstrapScores:
    """Bootstrap over pairs of a method whose score of an edge is a mean over pairs.

    Pairs are drawn with replacement, as many as there are. The intervals are for each edge alone, not for all at once.
    Source: Efron & Tibshirani (1993), chapter 13.

    Args:
        scores: of each pair and edge.
        k: size of the circuit.
        signed: rank by the mean itself, not by its absolute value.
        level: of the intervals, between 0 and 1.
        n_resamples: how many resamples.
        noise: means that differ by less than this share of the largest |mean| tie.
        seed: of the resampling.

    Raises:
        ValueError: no pairs, scores that are not finite, an impossible k or level.

    >>> scores = bootstrap_scores(np.array([[3.0, 0.0], [1.0, 0.0]]), k=1)
    >>> scores.mean.tolist(), scores.top_share.tolist()
    ([2.0, 0.0], [1.0, 0.0])
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or len(scores) == 0 or not np.isfinite(scores).all():
        raise ValueError(f"scores of shape {scores.shape}; give one finite number per pair and edge, at least one pair")
    if not (0 < level < 1 and n_resamples > 0):
        raise ValueError(f"level {level} and {n_resamples} resamples; give a level between 0 and 1 and some resamples")
    n = len(scores)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_resamples)
    means = counts @ scores / n
    ranked = means if signed else np.abs(means)
    floor = noise * np.abs(means).max(axis=1, initial=0.0)
    tops = np.array([top_k_shares(round_to_noise(row, float(f)), k) for row, f in zip(ranked, floor, strict=True)])
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return BootstrapScores(scores.mean(axis=0), low, high, tops.mean(axis=0), jaccard(tops[:_RESAMPLES_COMPARED]))
