"""What every ranking metric starts from: checked inputs, and tie groups in place of a sort's order."""

import numpy as np
from jaxtyping import Bool, Float, Int


def checked_scores(scores: np.ndarray) -> Float[np.ndarray, " edges"]:
    """`scores` as float64; infinities rank, NaN raises `ValueError`."""
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"scores must be one number per edge, not an array of shape {array.shape}")
    if missing := int(np.isnan(array).sum()):
        raise ValueError(f"{missing} of {len(array)} scores are NaN; every edge needs a number")
    return array


def checked_labels(labels: np.ndarray, n_scores: int) -> Bool[np.ndarray, " edges"]:
    """`labels` as bool, one per score; else `ValueError` naming both lengths."""
    array = np.asarray(labels, dtype=bool)
    if array.shape != (n_scores,):
        raise ValueError(f"{n_scores} scores but labels of shape {array.shape}; each score needs one label")
    return array


def tie_groups(
    scores: Float[np.ndarray, " edges"],
) -> tuple[Int[np.ndarray, " edges"], Int[np.ndarray, " groups"]]:
    """Edges from the highest score down, and where the groups of equal scores end.

    Returns `order` and `ends`: the top `ends[g]` edges are `order[: ends[g]]`, whole tie groups each time.
    The order *within* a group is arbitrary, so a metric may look at the list only at `ends`.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_group = np.ones(len(scores), dtype=bool)
    last_of_group[:-1] = ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(last_of_group) + 1


def staircase(
    scores: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]
) -> tuple[Int[np.ndarray, " steps"], Int[np.ndarray, " steps"]]:
    """Edges taken and positives among them, at zero and after each tie group from the top.

    Between two steps a uniformly random order within the group takes positives linearly on average.
    """
    order, ends = tie_groups(scores)
    hits = np.cumsum(labels[order])[ends - 1]
    return np.concatenate([[0], ends]), np.concatenate([[0], hits])


def round_to_noise(scores: Float[np.ndarray, " edges"], noise: float) -> Float[np.ndarray, " edges"]:
    """Make scores that are closer than the noise floor equal, so that rounding noise orders nothing.

    Sorted scores are cut wherever neighbours are at least `noise` apart, and every piece takes its
    smallest score. So two scores closer than `noise` always tie (rounding to a grid would part some of
    them), order is kept otherwise, and a second application changes nothing. The price: a chain of
    scores, each within `noise` of the next, ties as a whole.

    Args:
        scores: one per edge, in any unit; take |score| first where only the size counts.
        noise: the noise floor ≥ 0 in the unit of the scores; 0 changes nothing.

    Raises:
        ValueError: NaN among the scores, or a noise floor that is negative or not finite.

    >>> round_to_noise(np.array([0.0, 0.1, 1.0]), noise=0.2).tolist()
    [0.0, 0.0, 1.0]
    """
    scores = checked_scores(scores)
    if not (np.isfinite(noise) and noise >= 0):
        raise ValueError(f"the noise floor must be a finite number ≥ 0, not {noise}")
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.ones(len(scores), dtype=bool)
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, which starts no piece: equal infinities tie
        starts[1:] = np.diff(ordered) >= noise
    rounded = np.empty_like(scores)
    rounded[order] = ordered[starts][np.cumsum(starts) - 1]
    return rounded
