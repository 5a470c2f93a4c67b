"""From a method's edge scores to the numbers of a result. Knows names and numbers, no models."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float

from gaugeblock.compiled.graph import Place
from gaugeblock.levels import Classes
from gaugeblock.metrics.ranking import round_to_noise, tie_groups
from gaugeblock.metrics.recovery import (
    auprc,
    auprc_chance,
    auroc,
    auroc_bounds,
    best_f1,
    matched_auroc,
    precision_at_size,
    skill,
)

# Scores closer than this share of the largest |score| tie: what is left of an exact zero after a gradient.
NOISE = {"float64": 1e-9, "float32": 1e-6}


METRICS_VERSION = 1
"""Goes up whenever a score means something else or comes out differently; results of two versions never meet."""


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
    "best_f1": ScoreInfo("Best F1", "of any threshold on the scores; best 1"),
    "node_skill": ScoreInfo("Node skill", "skill over nodes, an edge method's scores pooled; chance 0, best 1"),
    "node_auprc": ScoreInfo("Node AUPRC", "average precision over nodes; best 1"),
    "port_skill": ScoreInfo("q/k/v skill", "skill over the q, k and v of heads; chance 0, best 1"),
    "port_auprc": ScoreInfo("q/k/v AUPRC", "average precision over the q, k and v of heads; best 1"),
    "cpr": ScoreInfo("CPR", "area under the faithfulness curve"),
    "cmd": ScoreInfo("CMD", "area between the faithfulness curve and 1; lower is better"),
    "log_cpr": ScoreInfo("CPR, log k", "CPR with the number of edges on a logarithmic axis"),
    "log_cmd": ScoreInfo("CMD, log k", "CMD with the number of edges on a logarithmic axis; lower is better"),
    "regret": ScoreInfo("Regret", "faithfulness of the true circuit − of the found one of equal size; best 0"),
    "faithfulness_at_true_size": ScoreInfo("Faithfulness", "of the found circuit at the true number of edges"),
    "pair_faithfulness_at_true_size": ScoreInfo("Faithfulness, per pair", "the same, as the mean of ratios over pairs"),
    "circuit_size": ScoreInfo("Circuit size", "edges of the chosen circuit, the smallest with faithfulness 0.9"),
    "circuit_precision": ScoreInfo("Circuit precision", "share of the chosen circuit's edges that are true; best 1"),
    "circuit_recall": ScoreInfo("Circuit recall", "share of true edges that are in the chosen circuit; best 1"),
    "circuit_f1": ScoreInfo("Circuit F1", "of the chosen circuit; best 1"),
    "circuit_shd": ScoreInfo("Hamming distance", "edges in either the chosen or the true circuit, not both; best 0"),
    "accuracy": ScoreInfo("Accuracy", "share of graded positions with the model's answer, chosen circuit; best 1"),
    "kl": ScoreInfo("KL", "KL divergence of the chosen circuit from the model, nats per position; best 0"),
    "total_variation": ScoreInfo("Total variation", "of the chosen circuit's outputs from the model's; best 0"),
    "squared_error": ScoreInfo("Squared error", "of the chosen circuit's numbers; best 0"),
    "completeness": ScoreInfo(
        "Completeness", "largest |F(C∖K) − F(M∖K)| over sets K of the chosen circuit C, per |F(M) − F(∅)|; best 0"
    ),
    "minimality": ScoreInfo(
        "Minimality", "of the least needed edge of the chosen circuit: the most it changes, per |F(M) − F(∅)|"
    ),
    "stability": ScoreInfo(
        "Stability", "mean Jaccard index of the top 5 % of edges on resamples of the pairs, if asked for; best 1"
    ),
    "equivalence_p": ScoreInfo("Equivalence p", "p-value of: chosen circuit and model are equivalent"),
    "independence_p": ScoreInfo("Independence p", "p-value of: what is left without the circuit is independent"),
    "independence_hsic": ScoreInfo("Independence HSIC", "dependence of what is left on the model; best 0"),
    "minimality_p": ScoreInfo("Minimality p", "p-value of: each edge of the circuit matters more than random ones"),
}


def noise_floor(scores: Iterable[float], relative: float) -> float:
    """The difference below which scores tie, in their own unit: `relative` × the largest |score|."""
    return relative * max((abs(s) for s in scores), default=0.0)


def strengths(
    edge_scores: Mapping[str, float], edges: Sequence[str], signed: bool, noise: float
) -> Float[np.ndarray, " edges"]:
    """What ranks `edges`: |score|, or the score of a signed method; differences below `noise` become ties."""
    scores = np.array([edge_scores[e] for e in edges], dtype=np.float64)
    return round_to_noise(scores if signed else np.abs(scores), noise)


def recovery_scores(
    scores: Float[np.ndarray, " names"], labels: Bool[np.ndarray, " names"], strata: Sequence[Hashable]
) -> dict[str, float | None]:
    """The scores of a result that compare with the truth (see SCORES)."""
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


@final
@dataclass(frozen=True)
class Scored:
    """A method's scores of edges, nodes or ports beside the truth; what is ignored is left out.

    Attributes:
        names, labels: what is scored, and whether it is true.
        ranks: what ranks; see `strengths`.
        recovery: see `recovery_scores`.
    """

    names: list[str]
    labels: Bool[np.ndarray, " names"]
    ranks: Float[np.ndarray, " names"]
    recovery: dict[str, float | None]

    @staticmethod
    def of(
        names: Sequence[str],
        classes: Classes,
        scores: Mapping[str, float],
        signed: bool,
        noise: float,
        place: Callable[[str], Hashable],
    ) -> "Scored":
        scored = [name for name in names if name in classes.positives or name in classes.negatives]
        labels = np.array([name in classes.positives for name in scored], dtype=bool)
        ranks = strengths(scores, scored, signed, noise)
        return Scored(scored, labels, ranks, recovery_scores(ranks, labels, [place(name) for name in scored]))

    def named(self, level: str) -> dict[str, float | None]:
        """The scores that are published of levels other than edges."""
        return {f"{level}_{name}": self.recovery[name] for name in ("skill", "auprc")}


def node_stratum(node: str) -> Hashable:
    """The place of a node up to which head it is: kind and layer."""
    place = Place.of(node)
    return place.kind, place.layer


def port_stratum(port: str) -> Hashable:
    """The place of a head's q, k or v up to which head it is."""
    place = Place.of(port)
    return place.layer, place.port


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
