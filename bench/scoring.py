"""From a method's edge scores to the numbers of a result. Knows names and numbers, no models."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from gaugeblock.metrics.ranking import round_to_noise, tie_groups
from gaugeblock.metrics.recovery import (
    auprc,
    auprc_chance,
    auroc,
    auroc_bounds,
    matched_auroc,
    precision_at_size,
    skill,
    stratum,
)

# Scores closer than this share of the largest |score| tie: what is left of an exact zero after a gradient.
NOISE = {"float64": 1e-9, "float32": 1e-6}


class ScoreInfo(NamedTuple):
    label: str
    about: str


SCORES: dict[str, ScoreInfo] = {
    "skill": ScoreInfo(
        "Skill",
        "2 × matched AUROC − 1: every true edge against false ones in the same place; chance 0, best 1",
    ),
    "comparators": ScoreInfo("Comparators", "share of true edges that have a false edge in the same place"),
    "matched_auroc": ScoreInfo("Matched AUROC", "AUROC within strata of equal place; chance 0.5, best 1"),
    "auroc": ScoreInfo("AUROC", "P(true edge above false edge), ties half; chance 0.5, best 1"),
    "auroc_low": ScoreInfo("AUROC, low", "AUROC with every tie against the method"),
    "auroc_high": ScoreInfo("AUROC, high", "AUROC with every tie for the method"),
    "auprc": ScoreInfo("AUPRC", "average precision; best 1"),
    "auprc_chance": ScoreInfo("AUPRC by chance", "exact expectation of average precision under a random order"),
    "precision_at_size": ScoreInfo("Precision", "share of true edges among the top k, k the true number; best 1"),
    "cpr": ScoreInfo("CPR", "area under the faithfulness curve"),
    "cmd": ScoreInfo("CMD", "area between the faithfulness curve and 1; lower is better"),
    "regret": ScoreInfo("Regret", "faithfulness of the true circuit − of the found one of equal size; best 0"),
    "faithfulness_at_true_size": ScoreInfo("Faithfulness", "of the found circuit at the true number of edges"),
}


def noise_floor(scores: Iterable[float], relative: float) -> float:
    """The difference below which scores tie, in their own unit: `relative` × the largest |score|."""
    return relative * max((abs(s) for s in scores), default=0.0)


def strengths(
    edge_scores: Mapping[str, float], edges: Sequence[str], signed: bool, noise: float
) -> Float[np.ndarray, "edges"]:
    """What ranks `edges`: |score|, or the score of a signed method; differences below `noise` become ties."""
    scores = np.array([edge_scores[e] for e in edges], dtype=np.float64)
    return round_to_noise(scores if signed else np.abs(scores), noise)


def recovery_scores(
    scores: Float[np.ndarray, "edges"], labels: Bool[np.ndarray, "edges"], edges: Sequence[str]
) -> dict[str, float | None]:
    """The scores of a result that compare with the true edges (see SCORES)."""
    strata = [stratum(e) for e in edges]
    value, comparators = skill(scores, labels, strata)
    low, high = auroc_bounds(scores, labels) or (None, None)
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
    }


@dataclass(frozen=True)
class Found:
    """The edges a method puts on top, as many as there are true ones.

    A group of tied edges that does not fit as a whole is left out, so that no sort order decides:
    then `places` are left, for which `tied` edges are equally good.
    """

    hits: tuple[str, ...]
    misses: tuple[str, ...]
    false_alarms: tuple[str, ...]
    places: int
    tied: int


def found(
    edge_scores: Mapping[str, float],
    positives: Sequence[str],
    negatives: Sequence[str],
    *,
    signed: bool,
    noise: float,
) -> Found:
    """Hits, misses and false alarms of the top |positives| edges among positives and negatives."""
    edges = [*positives, *negatives]
    size = len(positives)
    order, ends = tie_groups(strengths(edge_scores, edges, signed, noise))
    whole = int(ends[ends <= size].max(initial=0))
    taken = {edges[i] for i in order[:whole]}
    open_group = int(ends[ends > whole].min(initial=len(edges))) - whole if whole < size else 0
    return Found(
        hits=tuple(e for e in positives if e in taken),
        misses=tuple(e for e in positives if e not in taken),
        false_alarms=tuple(e for e in negatives if e in taken),
        places=size - whole,
        tied=open_group,
    )
