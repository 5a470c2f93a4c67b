"""From a method's edge scores to the numbers of a result. Knows names and numbers, no models."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from gaugeblock.cases.classes import Classes
from gaugeblock.compiled.edges.graph import Place
from gaugeblock.metrics.ranking import round_to_noise, tie_groups
from gaugeblock.metrics.recovery import recovery_scores

NOISE = {"float64": 1e-9, "float32": 1e-6}
"""Scores closer than this share of the largest |score| tie: what is left of an exact zero after a gradient."""


def noise_floor(scores: Iterable[float], relative: float) -> float:
    """Return the difference below which scores tie, in their own unit: `relative` × the largest |score|.

    >>> noise_floor([3.0, -4.0], 0.5)
    2.0
    """
    return relative * max((abs(s) for s in scores), default=0.0)


def strengths(
    edge_scores: Mapping[str, float], edges: Sequence[str], signed: bool, noise: float
) -> Float[np.ndarray, " edges"]:
    """Return what ranks `edges`: |score|, or the score of a signed method; differences below `noise` become ties.

    >>> scores = {"embed->m0": -0.5, "m0->logits": 0.25}
    >>> strengths(scores, list(scores), signed=False, noise=0.0).tolist()
    [0.5, 0.25]
    """
    scores = np.array([edge_scores[e] for e in edges], dtype=np.float64)
    return round_to_noise(scores if signed else np.abs(scores), noise)


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
        """Return the scores that are published of nodes or ports."""
        return {f"{level}_{name}": self.recovery[name] for name in ("skill", "auprc")}


def node_stratum(node: str) -> Hashable:
    """Return the place of a node up to which head it is: kind and layer.

    >>> node_stratum("a1.h0") == node_stratum("a1.h3")
    True
    """
    place = Place.of(node)
    return place.kind, place.layer


def port_stratum(port: str) -> Hashable:
    """Return the place of a head's q, k or v up to which head it is.

    >>> port_stratum("a1.h0.q") == port_stratum("a1.h0.k")
    False
    """
    place = Place.of(port)
    return place.layer, place.port


@dataclass(frozen=True)
class TopEdges:
    """The edges a method puts on top, as many as there are true ones.

    A group of tied edges that does not fit as a whole is left out, so that no sort order decides:
    then `places` are left, for which `tied` edges are equally good.
    """

    hits: tuple[str, ...]
    misses: tuple[str, ...]
    false_alarms: tuple[str, ...]
    places: int
    tied: int


def top_edges(
    edge_scores: Mapping[str, float],
    positives: Sequence[str],
    negatives: Sequence[str],
    *,
    signed: bool,
    noise: float,
) -> TopEdges:
    """Return hits, misses and false alarms of the top |positives| edges among positives and negatives.

    >>> scores = {"embed->m0": 0.1, "m0->logits": 0.9, "pos->logits": 0.5}
    >>> top = top_edges(scores, ["embed->m0", "m0->logits"], ["pos->logits"], signed=False, noise=0.0)
    >>> top.hits, top.misses, top.false_alarms
    (('m0->logits',), ('embed->m0',), ('pos->logits',))
    """
    edges = [*positives, *negatives]
    size = len(positives)
    order, ends = tie_groups(strengths(edge_scores, edges, signed, noise))
    whole = int(ends[ends <= size].max(initial=0))
    taken = {edges[i] for i in order[:whole]}
    open_group = int(ends[ends > whole].min(initial=len(edges))) - whole if whole < size else 0
    return TopEdges(
        hits=tuple(e for e in positives if e in taken),
        misses=tuple(e for e in positives if e not in taken),
        false_alarms=tuple(e for e in negatives if e in taken),
        places=size - whole,
        tied=open_group,
    )
