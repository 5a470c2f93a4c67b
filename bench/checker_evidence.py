"""What the checker is given, and what it measures by itself: the effects of ablating sets of edges.

The *effect* of a set of edges on a pair is the largest change of a graded logit when all of them are ablated from the
clean state; the set *matters* on the pair if that exceeds 1e-9 · (1 + max |logit|). An edge is *exercised* if it
belongs to an inclusion-minimal set of at most three edges that matters on some pair.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TypedDict, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaugeblock.checker_model import TOLERANCE, Rows, Run, WeightsModel
from gaugeblock.compiled import semantics
from gaugeblock.compiled.lowered import Lowered
from gaugeblock.programs.program import Program

LARGEST_SET = 3
INPUT_WRITERS = ("embed", "pos", "bias")


class Witness(TypedDict):
    """Why an edge is positive: a minimal set of edges with it that matters, the pair with its effect, and the share of
    pairs on which the set matters."""

    pair: int
    set: list[str]
    effect: float
    kappa: float


class Labels(TypedDict):
    """One label file: a case's truth under one ablation. Edges are written "writer->reader".

    reads: program edge -> the [operation, port, variable] reads of the lowered program that it carries.
    donor: under `donor`, for each [pair][pos] the corrupted pair and position it takes its values from; used where the
        clean input has a token. None under `resample`.
    """

    ablation: str
    numeric: bool
    positives: list[str]
    negatives: list[str]
    ignored: list[str]
    reads: dict[str, list[list[str]]]
    witnesses: dict[str, Witness]
    donor: dict[str, list[list[int]]] | None


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """All that the checker is given, except for the labels. Token ids: the vocabulary, then BOS, then PAD."""

    weights: Mapping[str, np.ndarray]
    lowered: Lowered
    program: Program
    clean: Int[Tensor, "pair pos"]
    corrupted: Int[Tensor, "pair pos"]
    positions: Bool[Tensor, "pair pos"]

    @cached_property
    def model(self) -> WeightsModel:
        return WeightsModel(self.weights)

    @cached_property
    def clean_run(self) -> Run:
        return self.model.run(self.clean)

    @cached_property
    def corrupted_run(self) -> Run:
        return self.model.run(self.corrupted)

    @cached_property
    def clean_codes(self) -> dict[str, np.ndarray]:
        return semantics.run(self.lowered, self.clean.numpy())

    @cached_property
    def corrupted_codes(self) -> dict[str, np.ndarray]:
        return semantics.run(self.lowered, self.corrupted.numpy())

    @cached_property
    def tolerance(self) -> float:
        """What a graded logit may move by without having changed."""
        graded = self.clean_run.logits[self.positions]
        return TOLERANCE * (1 + float(graded.abs().max())) if graded.numel() else TOLERANCE

    def real(self, tokens: Int[Tensor, "pair pos"]) -> Bool[Tensor, "pair pos"]:
        """Positions that hold a token of the input."""
        return tokens < len(self.lowered.vocab)


class Experiment:
    """What ablating edges does, measured under one ablation. Knows no labels."""

    def __init__(self, evidence: Evidence, ablation: str, donor: Mapping[str, Sequence[Sequence[int]]] | None) -> None:
        self.evidence = evidence
        self.ablation = ablation
        self.donor = None if donor is None else (torch.as_tensor(donor["pair"]), torch.as_tensor(donor["pos"]))
        self._effects: dict[frozenset[str], Float[Tensor, " pair"]] = {}

    @cached_property
    def difference(self) -> dict[str, Rows]:
        """Writer -> ablated minus clean value; writers without any are left out."""
        clean, source = self.evidence.clean_run.written, self.evidence.corrupted_run.written
        found = {writer: self._ablated(source[writer], clean[writer]) - clean[writer] for writer in clean}
        return {writer: rows for writer, rows in found.items() if bool(rows.any())}

    @cached_property
    def codes(self) -> dict[str, np.ndarray]:
        """The ablation's values of each variable of the lowered program, as codes."""
        clean, source = self.evidence.clean_codes, self.evidence.corrupted_codes
        return {
            name: self._ablated(torch.as_tensor(source[name]), torch.as_tensor(clean[name])).numpy() for name in clean
        }

    def _ablated(self, source: Tensor, clean: Tensor) -> Tensor:
        if self.donor is None:
            return source
        real = self.evidence.real(self.evidence.clean)
        pair, pos = (torch.where(real, index, 0) for index in self.donor)
        return torch.where(real.reshape(real.shape + (1,) * (clean.ndim - 2)), source[pair, pos], clean)

    def change(self, edges: Iterable[str], pairs: Int[Tensor, " some"] | None = None) -> Float[Tensor, "pair pos out"]:
        """Change of the logits when these edges are ablated, on all pairs or some."""
        run, difference = self.evidence.clean_run, self.difference
        if pairs is not None:
            run, difference = run.on(pairs), {writer: rows[pairs] for writer, rows in difference.items()}
        return self.evidence.model.patched(run, difference, edges)

    def effect(self, edges: Iterable[str]) -> Float[Tensor, " pair"]:
        """Per pair, the largest change of a graded logit."""
        key, model = frozenset(edge for edge in edges if not self.is_void(edge)), self.evidence.model
        if key not in self._effects:
            # among live edges, what the other nodes write for nobody need not be computed
            nodes = model.live_writers if key <= model.live else None
            change = model.patched(self.evidence.clean_run, self.difference, key, nodes)
            self._effects[key] = self.graded(change)
        return self._effects[key]

    def graded(
        self, change: Float[Tensor, "pair pos out"], pairs: Int[Tensor, " some"] | None = None
    ) -> Float[Tensor, " pair"]:
        """Per pair, the largest change at a graded position."""
        positions = self.evidence.positions if pairs is None else self.evidence.positions[pairs]
        return (change.abs().amax(2) * positions).amax(1)

    def matters(self, edges: Iterable[str]) -> bool:
        """On some pair."""
        return bool((self.effect(edges) > self.evidence.tolerance).any())

    def kappa(self, edges: Iterable[str]) -> float:
        """Share of pairs on which the set matters."""
        return float((self.effect(edges) > self.evidence.tolerance).double().mean())

    def is_void(self, edge: str) -> bool:
        """Whether the ablation puts the same in its place, whatever else is ablated."""
        writer = edge.partition("->")[0]
        return writer in INPUT_WRITERS and writer not in self.difference

    @cached_property
    def minimal_sets(self) -> tuple[frozenset[str], ...]:
        """All sets of at most three live edges that matter while no proper subset of them does; small ones first."""
        found: list[frozenset[str]] = []
        candidates = [e for e in self.evidence.model.edges if e in self.evidence.model.live and not self.is_void(e)]
        for size in range(1, LARGEST_SET + 1):
            for edges in map(frozenset, combinations(candidates, size)):
                if not any(known <= edges for known in found) and self.matters(edges):
                    found.append(edges)
            if size == 1:
                candidates = [edge for edge in candidates if frozenset([edge]) not in found]
        return tuple(found)

    @cached_property
    def exercised(self) -> dict[str, int]:
        """Edges in a minimal set -> size of the smallest one."""
        sizes: dict[str, int] = {}
        for edges in self.minimal_sets:
            sizes |= {edge: len(edges) for edge in edges if edge not in sizes}
        return sizes
