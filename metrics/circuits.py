"""A chosen circuit beside the true one: both are sets of edges, given as one bool per edge.

Ignored edges are left out of both. Unlike the metrics of `gaugeblock.metrics.recovery` these need a decision about
every edge, so they judge a method together with its threshold.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool


@final
@dataclass(frozen=True)
class CircuitMatch:
    """How a chosen circuit meets the true one; each number has range 0 to 1, and higher is better.

    Attributes:
        precision: share of chosen edges that are true; None where none is chosen.
        recall: share of true edges that are chosen; None where none is true.
        f1: 2 · |chosen ∩ true| / (|chosen| + |true|); None where both are empty.

    >>> circuit_match(np.array([False, False]), np.array([True, False]))
    CircuitMatch(precision=None, recall=0.0, f1=0.0)
    """

    precision: float | None
    recall: float | None
    f1: float | None


def circuit_match(chosen: Bool[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]) -> CircuitMatch:
    """Precision, recall and F1 of the edges in `chosen`; `labels` are True for true edges.

    Source: van Rijsbergen (1979).

    Raises:
        ValueError: the two differ in length.

    >>> circuit_match(np.array([True, True, False, False]), np.array([True, False, True, False]))
    CircuitMatch(precision=0.5, recall=0.5, f1=0.5)
    """
    chosen, labels = _checked(chosen, labels)
    hits, n_chosen, n_true = int((chosen & labels).sum()), int(chosen.sum()), int(labels.sum())
    return CircuitMatch(
        precision=hits / n_chosen if n_chosen else None,
        recall=hits / n_true if n_true else None,
        f1=2 * hits / (n_chosen + n_true) if n_chosen + n_true else None,
    )


def structural_hamming_distance(chosen: Bool[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]) -> int:
    """Number of edges that are in exactly one of the two circuits: false alarms and misses.

    Range 0 to the number of edges, lower is better. The empty circuit scores the number of true edges, so a value
    above that is worse than choosing nothing. An edge of a computational graph has one direction only, hence no
    reversed edges to count. Source: Tsamardinos, Brown & Aliferis (2006).

    Raises:
        ValueError: the two differ in length.

    >>> structural_hamming_distance(np.array([True, True, False, False]), np.array([True, False, True, False]))
    2
    """
    chosen, labels = _checked(chosen, labels)
    return int((chosen != labels).sum())


def normalised_hamming_distance(chosen: Bool[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]) -> float | None:
    """`structural_hamming_distance` divided by the number of edges: the share of wrong decisions.

    Range 0 to 1, lower is better. True edges are few, so the empty circuit already comes near 0: read it beside the
    share of true edges. None where there are no edges.

    >>> normalised_hamming_distance(np.array([True, True, False, False]), np.array([True, False, True, False]))
    0.5
    """
    distance = structural_hamming_distance(chosen, labels)
    return distance / len(labels) if len(labels) else None


def _checked(chosen: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels, dtype=bool)
    chosen = np.asarray(chosen, dtype=bool)
    if chosen.shape != labels.shape or chosen.ndim != 1:
        raise ValueError(
            f"the chosen circuit has shape {chosen.shape}, the true one {labels.shape}; give both one bool per edge"
        )
    return chosen, labels
