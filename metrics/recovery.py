"""How well edge scores recover the labelled edges of a known circuit.

All functions take `scores` (higher = more likely in the circuit) and `labels` (True = positive,
False = negative) of the same edges, ignored edges already left out. Tied scores never get an order:
each function says what it makes of them. Nothing is thresholded, pruned or rounded; see
`gaugeblock.metrics.ranking.round_to_noise` for scores that differ by float noise only. A metric that
is undefined on the given labels is None. NaN scores and differing lengths raise `ValueError`.
"""

import re
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from gaugeblock.metrics.ranking import checked_labels, checked_scores, staircase, tie_groups

Stratum = tuple[str, int, str, int, str]


def auroc(scores: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]) -> float | None:
    """Area under the ROC curve: P(positive > negative) + ½ P(positive = negative).

    Range 0 to 1, higher is better, chance 0.5. Ties count half (mid-ranks).
    None without positives or without negatives. Source: Hanley & McNeil (1982); Fawcett (2006).

    >>> auroc(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]))
    0.75
    """
    bounds = auroc_bounds(scores, labels)
    return None if bounds is None else (bounds[0] + bounds[1]) / 2


def auroc_bounds(scores: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]) -> tuple[float, float] | None:
    """The least and the greatest AUROC over all orders within tie groups: (pessimistic, optimistic).

    P(positive > negative) and P(positive ≥ negative). Range 0 to 1, higher is better; their mean is
    `auroc`, their distance the share of positive-negative pairs that the scores leave undecided.
    None without positives or without negatives. Source: Fawcett (2006) on equally scored instances.

    >>> auroc_bounds(np.array([1.0, 1.0]), np.array([True, False]))
    (0.0, 1.0)
    """
    scores = checked_scores(scores)
    labels = checked_labels(labels, len(scores))
    taken, hits = staircase(scores, labels)
    n_pairs = int(labels.sum()) * int((~labels).sum())
    if n_pairs == 0:
        return None
    false_alarms = np.diff(taken - hits)
    return float(false_alarms @ hits[:-1] / n_pairs), float(false_alarms @ hits[1:] / n_pairs)


def auprc(scores: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]) -> float | None:
    """Average precision: Σ_g (recall_g − recall_{g−1}) · precision_g over tie groups g from the top.

    Range 0 to 1, higher is better, chance `auprc_chance` (constant scores: the share of positives).
    A tie group is one step. None without positives.
    Source: scikit-learn's `average_precision_score`; Davis & Goadrich (2006) on why not to interpolate.

    >>> auprc(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, False, True]))  # (1/1 + 2/4) / 2
    0.75
    """
    scores = checked_scores(scores)
    labels = checked_labels(labels, len(scores))
    if not labels.any():
        return None
    taken, hits = staircase(scores, labels)
    return float(np.sum(np.diff(hits) * hits[1:] / taken[1:]) / hits[-1])


def auprc_chance(n_positive: int, n: int) -> float | None:
    """Exact expectation of average precision when all orders of the n edges are equally likely, no ties.

    A positive stands at each rank k with chance 1/n, with (k−1)(P−1)/(n−1) others above it on average, so

        E[AP] = 1/n · Σ_k 1/k · (1 + (k−1)(P−1)/(n−1)) = 1/n · (H_n + (P−1)(n−H_n)/(n−1)),

    with P = `n_positive` and H_n = 1 + 1/2 + … + 1/n. It lies above the prevalence P/n, far above on
    short lists: 0.163 instead of 0.067 for 2 of 30. Range above 0 to 1. None without positives.
    Source: Bestgen (2015), "Exact expected average precision of the random baseline".

    Raises:
        ValueError: unless 0 ≤ n_positive ≤ n.

    >>> auprc_chance(1, 2)  # first or second: (1 + 1/2) / 2
    0.75
    """
    if not 0 <= n_positive <= n:
        raise ValueError(f"{n_positive} positives among {n} edges is impossible; give 0 ≤ n_positive ≤ n")
    if n_positive == 0:
        return None
    harmonic = float(np.sum(1 / np.arange(1, n + 1)))
    others = (n_positive - 1) / (n - 1) if n > 1 else 0.0
    return (harmonic + others * (n - harmonic)) / n


def precision_at_size(scores: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]) -> float | None:
    """Share of positives among the top P edges, P being the number of positives (R-precision).

    Range 0 to 1, higher is better, chance P/n. Of a tie group that straddles the boundary, the expected
    number of positives over all orders within it counts. Recall is the same number. None without positives.
    Source: Manning, Raghavan & Schütze (2008), section 8.4.

    >>> precision_at_size(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]))
    0.5
    """
    scores = checked_scores(scores)
    labels = checked_labels(labels, len(scores))
    n_positive = int(labels.sum())
    if n_positive == 0:
        return None
    return float(np.interp(n_positive, *staircase(scores, labels)) / n_positive)


def best_f1(scores: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]) -> tuple[float, float] | None:
    """The largest F1 over all circuits {score ≥ threshold}, and its threshold.

    F1 = 2 · hits / (edges taken + positives), the harmonic mean of precision and recall. Only whole tie groups are
    taken; among equally good thresholds the highest, i.e. the smallest circuit, is returned. Range above 0 to 1,
    higher is better; at least 2P / (n + P), which taking every edge gives. The threshold is chosen with the labels
    in sight, so this is a ceiling on what a threshold could do. None without positives.
    Source: van Rijsbergen (1979); Lipton, Elkan & Naryanaswamy (2014) on the best threshold.

    >>> best_f1(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]))  # three edges, two of them right
    (0.8, 2.0)
    """
    scores = checked_scores(scores)
    labels = checked_labels(labels, len(scores))
    if not labels.any():
        return None
    taken, hits = staircase(scores, labels)
    f1 = 2 * hits / (taken + labels.sum())
    best = int(np.argmax(f1))  # the first of equals: the smallest circuit
    order, _ = tie_groups(scores)
    return float(f1[best]), float(scores[order[taken[best] - 1]])


def matched_auroc(
    scores: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"], strata: Sequence[Hashable]
) -> tuple[float | None, float]:
    """AUROC in which each positive meets only the negatives of its own stratum.

    For a positive: the share of its stratum's negatives with a lower score, ties half; then the mean over
    the positives that have such a negative. Range 0 to 1, higher is better. Chance is exactly 0.5 for any
    scores that depend on the place in the graph alone, where the edges of a stratum are exchangeable
    (heads of a layer placed uniformly at random). `stratum` gives the strata of edge names.

    Returns:
        The value (None where no positive has a comparator) and the share of positives that have one
        (0 to 1; 0 without positives).

    >>> scores, labels = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False])
    >>> matched_auroc(scores, labels, ["layer 0", "layer 0", "layer 1", "layer 2"])
    (1.0, 0.5)
    """
    scores = checked_scores(scores)
    labels = checked_labels(labels, len(scores))
    if len(strata) != len(scores):
        raise ValueError(f"{len(scores)} scores but {len(strata)} strata; each score needs one stratum")
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for i, place in enumerate(strata):
        members[place].append(i)
    total, compared = 0.0, 0
    for indices in members.values():
        value = auroc(scores[indices], labels[indices])  # the mean over the stratum's positives
        if value is not None:
            n_positive = int(labels[indices].sum())
            total += value * n_positive
            compared += n_positive
    if compared == 0:
        return None, 0.0
    return total / compared, compared / int(labels.sum())


def skill(
    scores: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"], strata: Sequence[Hashable]
) -> tuple[float | None, float]:
    """2 · matched AUROC − 1, the headline of circuit recovery.

    Range −1 to 1, higher is better; 1 means every positive above all its comparators, chance is exactly 0
    (under the condition of `matched_auroc`).

    Where *no* positive has a comparator, as in models with one head per layer, all negatives are the
    comparators (2 · AUROC − 1). Then the returned share is 0.0 and chance is no longer 0 for a rule that
    knows where circuits lie, so flag such a value.

    Returns:
        The skill (None without positives or without negatives) and the share of positives with a comparator
        in their own stratum.

    >>> skill(np.array([1.0, 3.0, 2.0]), np.array([False, True, False]), ["layer 0", "layer 0", "layer 0"])
    (1.0, 1.0)
    """
    value, share = matched_auroc(scores, labels, strata)
    if value is None:
        value = auroc(scores, labels)
    return (None if value is None else 2 * value - 1), share


_WRITER = re.compile(r"(?P<name>embed|pos|bias)|a(?P<head>\d+)\.h\d+|m(?P<mlp>\d+)")
_READER = re.compile(r"(?P<name>logits)|a(?P<head>\d+)\.h\d+\.(?P<port>[qkv])|m(?P<mlp>\d+)")


def stratum(edge: str) -> Stratum:
    """The place of an edge up to which head it is: (writer kind, its layer, reader kind, its layer, port).

    Kinds are "embed", "pos", "bias", "head", "mlp" and "logits"; layer is −1 where there is none; port is
    "q", "k", "v" for heads and "" otherwise.

        >>> stratum("a0.h1->a2.h0.k")
        ('head', 0, 'head', 2, 'k')

    Raises:
        ValueError: `edge` is no "writer->reader" name.
    """
    writer, _, reader = edge.partition("->")
    written, read = _WRITER.fullmatch(writer), _READER.fullmatch(reader)
    if written is None or read is None:
        raise ValueError(f'{edge!r} is no edge name; write "writer->reader", such as "a0.h1->a2.h0.k" or "embed->m0"')
    return *_kind_and_layer(written), *_kind_and_layer(read), read["port"] or ""


def _kind_and_layer(match: re.Match[str]) -> tuple[str, int]:
    if match["head"] is not None:
        return "head", int(match["head"])
    if match["mlp"] is not None:
        return "mlp", int(match["mlp"])
    return match["name"], -1


def recovery_scores(
    scores: Float[np.ndarray, " names"], labels: Bool[np.ndarray, " names"], strata: Sequence[Hashable]
) -> dict[str, float | None]:
    """Return what a result says of edges, nodes or ports beside the truth, by the names of its scores.

    >>> scores = recovery_scores(np.array([3.0, 2.0, 1.0]), np.array([True, False, False]), "aab")
    >>> scores["skill"], scores["auroc"], scores["precision_at_size"]
    (1.0, 1.0, 1.0)
    """
    value, comparators = skill(scores, labels, strata)
    low, high = auroc_bounds(scores, labels) or (None, None)
    f1 = best_f1(scores, labels)
    return {
        "skill": value,
        "comparators": comparators,
        "matched_auroc": matched_auroc(scores, labels, strata)[0],
        "auroc": auroc(scores, labels),
        "auroc_low": low,
        "auroc_high": high,
        "auprc": auprc(scores, labels),
        "auprc_chance": auprc_chance(int(labels.sum()), len(labels)),
        "precision_at_size": precision_at_size(scores, labels),
        "best_f1": None if f1 is None else f1[0],
    }
