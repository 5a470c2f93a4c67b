"""Ground truth: the class of every edge of a case's model, on its pairs, under an ablation.

Positive: an edge of the lowered program that is exercised. Negative: not live once the parts are left out that are
proved inert under the ablation, so that no ablation of any set of negatives can change a logit. Ignored: the rest,
never scored. Exercised means: member of an inclusion-minimal set of at most three edges whose joint ablation from the
clean state changes the graded logits of some pair.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, final

import numpy as np
from jaxtyping import Float

from gaugeblock.cases.classes import Classes, node_classes, port_classes, variable_classes
from gaugeblock.cases.effects import Effects
from gaugeblock.cases.pairs import Pairs
from gaugeblock.cases.sufficient import Sufficient, sufficient_sets
from gaugeblock.compiled.edges.graph import parse_edge
from gaugeblock.compiled.edges.inert import Inert
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.methods.engine.ablation import ABLATIONS as ABLATION_FUNCTIONS
from gaugeblock.methods.engine.ablation import donor_sources

ABLATIONS = tuple(ABLATION_FUNCTIONS)
"""Ablations for which truth is known: all there are."""

MAX_SET_SIZE = 3


@final
@dataclass(frozen=True)
class Witness:
    """Why an edge is exercised.

    Attributes:
        edges: an inclusion-minimal set that matters and holds the edge.
        pair: index of the pair on which it matters most.
        effect: by how much it moves a graded logit there.
        kappa: share of pairs on which it matters.
    """

    edges: tuple[str, ...]
    pair: int
    effect: float
    kappa: float


@final
@dataclass(frozen=True)
class Alternative:
    """Classes of edges, nodes and ports where one of several sufficient sets is the circuit."""

    edges: Classes
    nodes: Classes
    ports: Classes


@final
@dataclass(frozen=True)
class Truth:
    """What is true of a case under an ablation.

    Attributes:
        edges: classes of the graph's edges.
        nodes, ports, variables: the same for writers, for the q, k and v of heads, and for variables of the program.
        cancelling: nodes with a true edge whose ablation as a whole changes nothing.
        joint: the minimal sets of two or three edges that matter only together.
        sufficient: minimal sets of edges that suffice.
        reads: program edge -> the (operation, port, variable) reads it carries.
        witnesses: one per positive.
        inert: parts of the model that look live and change no logit, wherever their proof holds.
        donor: for `donor`, the (pair, position) from which each position's ablated values come; else None.
    """

    ablation: str
    edges: Classes
    nodes: Classes
    ports: Classes
    variables: Classes
    cancelling: frozenset[str]
    joint: tuple[tuple[str, ...], ...]
    sufficient: Sufficient
    reads: dict[str, tuple[tuple[str, str, str], ...]]
    witnesses: dict[str, Witness]
    numeric: bool
    inert: tuple[Inert, ...] = ()
    donor: tuple[list[list[int]], list[list[int]]] | None = None

    @property
    def positives(self) -> frozenset[str]:
        """True edges."""
        return self.edges.positives

    @property
    def negatives(self) -> frozenset[str]:
        """False edges."""
        return self.edges.negatives

    @property
    def ignored(self) -> frozenset[str]:
        """Edges that are never scored."""
        return self.edges.ignored

    @property
    def program(self) -> frozenset[str]:
        """Edges along which the lowered program passes a variable."""
        return frozenset(self.reads)

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """One alternative for each minimal sufficient set: a method is compared with all, and the best match counts.

        Positives that only other such sets hold are ignored, and with them the nodes and ports only they touch.
        """
        sets = self.sufficient.sets
        if len(sets) < 2:
            return (Alternative(self.edges, self.nodes, self.ports),)
        alternatives = []
        for chosen in sets:
            kept = self.positives - (frozenset().union(*sets) - chosen)
            writers, readers = (frozenset(parse_edge(edge)[end] for edge in kept) for end in (0, 1))
            alternatives.append(Alternative(self.edges.only(kept), self.nodes.only(writers), self.ports.only(readers)))
        return tuple(alternatives)

    def to_dict(self) -> dict[str, Any]:
        """Return the label file: all that the checker is told."""
        return {
            "ablation": self.ablation,
            "numeric": self.numeric,
            **self.edges.to_dict(),
            "nodes": self.nodes.to_dict(),
            "ports": self.ports.to_dict(),
            "variables": self.variables.to_dict(),
            "cancelling": sorted(self.cancelling),
            "joint": [list(edges) for edges in self.joint],
            "sufficient": self.sufficient.to_dict(),
            "reads": {edge: [list(read) for read in reads] for edge, reads in sorted(self.reads.items())},
            "witnesses": {
                edge: {"pair": w.pair, "set": list(w.edges), "effect": w.effect, "kappa": w.kappa}
                for edge, w in sorted(self.witnesses.items())
            },
            "inert": [asdict(part) | {"neurons": list(part.neurons)} for part in self.inert],
            "donor": None if self.donor is None else {"pair": self.donor[0], "pos": self.donor[1]},
        }


def label(model: CompiledModel, pairs: Pairs, ablation: str) -> Truth:
    """Return the truth about a model's edges, nodes, ports and variables, computed in float64."""
    graph, live, true = model.graph, model.live_edges_under(ablation), model.live_edges_under(None)
    effects = Effects(model, pairs, ablation)
    candidates = [e for e in graph.edges if e in true and not effects.task.engine.is_void(e)]
    witnesses, minimal = find_witnesses(candidates, effects.of, effects.tolerance)
    positives = frozenset(witnesses) & model.program_edges
    negatives = frozenset(graph.edges) - live
    edges = Classes(positives, negatives, frozenset(graph.edges) - positives - negatives)
    whole = effects.any_moves([graph.outgoing(writer) for writer in graph.writers])
    nodes, cancelling = node_classes(graph, edges, dict(zip(graph.writers, whole.tolist(), strict=True)))
    return Truth(
        ablation=ablation,
        edges=edges,
        nodes=nodes,
        ports=port_classes(graph, edges),
        variables=variable_classes(model.edge_reads, edges),
        cancelling=cancelling,
        joint=tuple(s for s in minimal if len(s) > 1),
        sufficient=sufficient_sets(candidates, positives, effects.any_moves),
        reads=model.edge_reads,
        witnesses={edge: w for edge, w in witnesses.items() if edge in positives},
        numeric=pairs.numeric,
        inert=model.provenance.inert,
        donor=_donor(effects) if ablation == "donor" else None,
    )


def find_witnesses(
    candidates: Sequence[str],
    effects: Callable[[Sequence[tuple[str, ...]]], Float[np.ndarray, "sets pairs"]],
    tolerance: float,
) -> tuple[dict[str, Witness], list[tuple[str, ...]]]:
    """Return (for each exercised edge the first of its smallest minimal sets, all minimal sets), sizes in order."""
    witnesses: dict[str, Witness] = {}
    minimal: list[tuple[str, ...]] = []
    alone: set[str] = set()
    for size in range(1, MAX_SET_SIZE + 1):
        sets = [s for s in combinations([c for c in candidates if c not in alone], size) if not _covered(s, minimal)]
        if not sets:
            continue
        for edges, effect in zip(sets, effects(sets), strict=True):
            matters = effect > tolerance
            if not matters.any():
                continue
            minimal.append(edges)
            if size == 1:
                alone.update(edges)
            pair = int(effect.argmax())
            witness = Witness(edges, pair, float(effect[pair]), float(matters.mean()))
            for edge in edges:
                witnesses.setdefault(edge, witness)
    return witnesses, minimal


def _covered(edges: Iterable[str], minimal: list[tuple[str, ...]]) -> bool:
    return any(set(smaller) <= set(edges) for smaller in minimal)


def _donor(effects: Effects) -> tuple[list[list[int]], list[list[int]]]:
    pair, pos = donor_sources(effects.task.rows)
    return pair.tolist(), pos.tolist()
