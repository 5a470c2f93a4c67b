"""Ground truth: the class of every edge of a case's model, on its pairs, under an ablation.

Positive: an edge of the lowered program that is exercised. Negative: not live, so that no ablation of any set of
negatives can change a logit. Ignored: the rest, never scored. Exercised means: member of an inclusion-minimal set of
at most three edges whose joint ablation from the clean state changes the graded logits of some pair.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float

from gaugeblock.compiled.model import CompiledModel
from gaugeblock.methods.ablation import Rows, donor_sources
from gaugeblock.methods.task import Task
from gaugeblock.pairs import Pairs

ABLATIONS = ("resample", "donor")
"""Ablations for which truth is known."""

TOLERANCE = 1e-9
"""A set of edges matters on a pair if it moves a graded logit by more than this times (1 + max |logit|)."""

LARGEST_SET = 3

Effects = Callable[[Sequence[tuple[str, ...]]], Float[np.ndarray, "sets pairs"]]


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
class Truth:
    """Attributes:
    positives, negatives, ignored: a partition of the graph's edges.
    reads: program edge -> the (operation, port, variable) reads it carries.
    witnesses: one per positive.
    donor: for `donor`, the (pair, position) from which each position's ablated values come; else None.
    """

    ablation: str
    positives: frozenset[str]
    negatives: frozenset[str]
    ignored: frozenset[str]
    reads: dict[str, tuple[tuple[str, str, str], ...]]
    witnesses: dict[str, Witness]
    numeric: bool
    donor: tuple[list[list[int]], list[list[int]]] | None = None

    @property
    def program(self) -> frozenset[str]:
        """Edges along which the lowered program passes a variable."""
        return frozenset(self.reads)

    def to_dict(self) -> dict[str, Any]:
        """The label file: all that the checker is told."""
        return {
            "ablation": self.ablation,
            "numeric": self.numeric,
            "positives": sorted(self.positives),
            "negatives": sorted(self.negatives),
            "ignored": sorted(self.ignored),
            "reads": {edge: [list(read) for read in reads] for edge, reads in sorted(self.reads.items())},
            "witnesses": {
                edge: {"pair": w.pair, "set": list(w.edges), "effect": w.effect, "kappa": w.kappa}
                for edge, w in sorted(self.witnesses.items())
            },
            "donor": None if self.donor is None else {"pair": self.donor[0], "pos": self.donor[1]},
        }


def label(model: CompiledModel, pairs: Pairs, ablation: str) -> Truth:
    """Classes of all edges, in float64."""
    exact = model.to(dtype=torch.float64)
    live = model.live_edges
    task = Task.build(
        exact.hooked, exact.graph, pairs.clean, pairs.corrupted, pairs.positions, ablation,
        numeric=pairs.numeric, pad_token=model.pad, donor_seed=pairs.donor_seed,
    )  # fmt: skip
    candidates = [e for e in model.graph.edges if e in live and not task.engine.is_void(e)]
    witnesses = find_witnesses(candidates, _effects(task), task_tolerance(task))
    positives = frozenset(witnesses) & model.program_edges
    negatives = frozenset(model.graph.edges) - live
    return Truth(
        ablation=ablation,
        positives=positives,
        negatives=negatives,
        ignored=frozenset(model.graph.edges) - positives - negatives,
        reads=model.edge_reads,
        witnesses={edge: w for edge, w in witnesses.items() if edge in positives},
        numeric=pairs.numeric,
        donor=_donor(model, pairs) if ablation == "donor" else None,
    )


def find_witnesses(candidates: Sequence[str], effects: Effects, tolerance: float) -> dict[str, Witness]:
    """For each exercised edge the first of its smallest minimal sets, sizes in order."""
    witnesses: dict[str, Witness] = {}
    minimal: list[frozenset[str]] = []
    alone: set[str] = set()
    for size in range(1, LARGEST_SET + 1):
        sets = [s for s in combinations([c for c in candidates if c not in alone], size) if not _covered(s, minimal)]
        if not sets:
            continue
        for edges, effect in zip(sets, effects(sets), strict=True):
            matters = effect > tolerance
            if not matters.any():
                continue
            minimal.append(frozenset(edges))
            if size == 1:
                alone.update(edges)
            pair = int(effect.argmax())
            witness = Witness(edges, pair, float(effect[pair]), float(matters.mean()))
            for edge in edges:
                witnesses.setdefault(edge, witness)
    return witnesses


def _covered(edges: Iterable[str], minimal: list[frozenset[str]]) -> bool:
    return any(smaller <= set(edges) for smaller in minimal)


def task_tolerance(task: Task) -> float:
    """TOLERANCE on the scale of the task's clean logits."""
    return TOLERANCE * (1 + float(task.engine.clean_logits.abs().max()))


def _effects(task: Task) -> Effects:
    clean = task.engine.clean_logits
    graded = task.positions[:, :, None]

    def change(logits: torch.Tensor, pair: torch.Tensor) -> torch.Tensor:
        return ((logits - clean[pair]).abs() * graded[pair]).flatten(1).amax(1)

    def effects(sets: Sequence[tuple[str, ...]]) -> Float[np.ndarray, "sets pairs"]:
        return task.engine.patch(sets, change).double().cpu().numpy()

    return effects


def _donor(model: CompiledModel, pairs: Pairs) -> tuple[list[list[int]], list[list[int]]]:
    rows = Rows(model.real(pairs.clean), model.real(pairs.corrupted), pairs.donor_seed)
    pair, pos = donor_sources(rows)
    return pair.tolist(), pos.tolist()
