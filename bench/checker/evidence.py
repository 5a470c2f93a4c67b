"""What the checker is given, and what it measures by itself: the effects of ablating sets of edges.

The *effect* of a set of edges on a pair is the largest change of a graded logit when all of them are ablated from the
clean state; the set *matters* on the pair if that exceeds 1e-9 · (1 + max |logit|). An edge is *exercised* if it
belongs to an inclusion-minimal set of at most three edges that matters on some pair.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TypedDict, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaugeblock.checker.weights import TOLERANCE, Rows, Run, WeightsModel
from gaugeblock.compiled.lowered import semantics
from gaugeblock.compiled.lowered.operations import Lowered
from gaugeblock.compiled.lowered.semantics import NOTHING, UNKNOWN
from gaugeblock.programs.program import Program

MAX_SET_SIZE = 3

ROUNDING = 1e-16
"""Of a writer's content, relative to its norm over all rows; what float64 leaves of it is less."""

INPUT_WRITERS = ("embed", "pos", "bias")


class Witness(TypedDict):
    """Why an edge is positive: a minimal set of edges with it that matters, the pair with its effect, and the share of
    pairs on which the set matters."""

    pair: int
    set: list[str]
    effect: float
    kappa: float


class ClassLists(TypedDict):
    """Names by class."""

    positives: list[str]
    negatives: list[str]
    ignored: list[str]


class SufficientSets(TypedDict):
    """Minimal sets of edges that suffice, how they were looked for, and how many sets were tried."""

    sets: list[list[str]]
    found_by: str
    tried: int


class Part(TypedDict):
    """One part of the model that changes no logit: its construction, its layer, and its head or its neurons."""

    construction: str
    layer: int
    head: int | None
    neurons: list[int]


class Labels(TypedDict):
    """One label file: a case's truth under one ablation. Edges are written "writer->reader".

    nodes, ports, variables: classes of writers, of the q, k and v of heads, and of the program's variables.
    cancelling: nodes with a positive edge whose ablation as a whole changes nothing.
    joint: the minimal sets of several edges that matter only together.
    inert: parts that look live and change no logit; what each is called says under which ablations.
    reads: program edge -> the [operation, port, variable] reads of the lowered program that it carries.
    donor: under `donor`, for each [pair][pos] the corrupted pair and position it takes its values from; used where the
        clean input has a token. None under the other ablations.
    """

    ablation: str
    numeric: bool
    positives: list[str]
    negatives: list[str]
    ignored: list[str]
    nodes: ClassLists
    ports: ClassLists
    variables: ClassLists
    cancelling: list[str]
    joint: list[list[str]]
    sufficient: SufficientSets
    reads: dict[str, list[list[str]]]
    witnesses: dict[str, Witness]
    inert: list[Part]
    donor: dict[str, list[list[int]]] | None


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """All that the checker is given, except for the labels. Token ids: the vocabulary, then BOS, then PAD.

    activation: of the hidden units, "relu" or "gelu".
    sharpness: distance between levels of attention scores in a `soft` model; None where attention is saturated.
    """

    weights: Mapping[str, np.ndarray]
    lowered: Lowered
    program: Program
    clean: Int[Tensor, "pair pos"]
    corrupted: Int[Tensor, "pair pos"]
    positions: Bool[Tensor, "pair pos"]
    activation: str = "relu"
    sharpness: float | None = None

    @cached_property
    def model(self) -> WeightsModel:
        return WeightsModel(self.weights, activation=self.activation)

    @cached_property
    def proofs(self) -> dict[str, list[str]]:
        """What is wrong with a list of inert parts, once that is known."""
        return {}

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
    """What ablating edges does, measured under one ablation. Knows no labels.

    Args:
        possible: edges that can matter; by default all that are live.
        reactivated: edges of camouflage that matter under this ablation, though no part of the program is behind them.
    """

    def __init__(
        self,
        evidence: Evidence,
        ablation: str,
        donor: Mapping[str, Sequence[Sequence[int]]] | None,
        possible: frozenset[str] | None = None,
        reactivated: frozenset[str] = frozenset(),
    ) -> None:
        self.evidence = evidence
        self.possible = evidence.model.live if possible is None else possible
        self.reactivated = reactivated
        self.ablation = ablation
        self.donor = None if donor is None else (torch.as_tensor(donor["pair"]), torch.as_tensor(donor["pos"]))
        self._effects: dict[frozenset[str], Float[Tensor, " pair"]] = {}
        self._void: dict[str, bool] = {}

    @cached_property
    def difference(self) -> dict[str, Rows]:
        """Writer -> ablated minus clean value; writers without any are left out."""
        clean, source = self.evidence.clean_run.written, self.evidence.corrupted_run.written
        differences = {writer: self._ablated(source[writer], clean[writer]) - clean[writer] for writer in clean}
        return {writer: rows for writer, rows in differences.items() if bool(rows.any())}

    @cached_property
    def codes(self) -> dict[str, np.ndarray]:
        """The ablation's values of each variable of the lowered program, as codes."""
        clean, source = self.evidence.clean_codes, self.evidence.corrupted_codes
        return {
            name: self._ablated_codes(torch.as_tensor(source[name]), torch.as_tensor(clean[name])).numpy()
            for name in clean
        }

    def _ablated(self, source: Rows, clean: Rows) -> Rows:
        """Return what stands in a writer's place."""
        if self.ablation == "zero":
            return torch.zeros_like(clean)
        return self._averaged(source, clean, lambda rows: rows.mean(0))

    def _ablated_codes(self, source: Tensor, clean: Tensor) -> Tensor:
        """Return the same for a variable's codes: UNKNOWN where different ones are averaged."""
        if self.ablation == "zero":
            return torch.full_like(clean, NOTHING)
        return self._averaged(source, clean, lambda codes: codes[0] if len(codes.unique()) == 1 else UNKNOWN)

    def _averaged(self, source: Tensor, clean: Tensor, average: Callable[[Tensor], Tensor | int]) -> Tensor:
        """Return, under `mean` and position by position, the average over the corrupted inputs with a token there."""
        if self.ablation != "mean":
            return self._moved(source, clean)
        real, there = self.evidence.real(self.evidence.clean), self.evidence.real(self.evidence.corrupted)
        result = clean.clone()
        for pos in range(clean.shape[1]):
            if bool(there[:, pos].any()):
                result[real[:, pos], pos] = average(source[there[:, pos], pos])
        return result

    def _moved(self, source: Tensor, clean: Tensor) -> Tensor:
        """Return the corrupted run's values at the same place, or where the donors say."""
        if self.donor is None:
            return source
        real = self.evidence.real(self.evidence.clean)
        pair, pos = (torch.where(real, index, 0) for index in self.donor)
        return torch.where(real.reshape(real.shape + (1,) * (clean.ndim - 2)), source[pair, pos], clean)

    def change(self, edges: Iterable[str], pairs: Int[Tensor, " some"] | None = None) -> Float[Tensor, "pair pos out"]:
        """Return the change of the logits when these edges are ablated, on all pairs or some."""
        run, difference = self.evidence.clean_run, self.difference
        if pairs is not None:
            run, difference = run.on(pairs), {writer: rows[pairs] for writer, rows in difference.items()}
        return self.evidence.model.patched(run, difference, edges)

    def rounding(self, edges: Iterable[str], pairs: Int[Tensor, " some"]) -> float:
        """Return how far a graded logit moves where all that is put in place is off by ROUNDING."""
        generator, run = torch.Generator().manual_seed(0), self.evidence.clean_run.on(pairs)
        exact = {writer: rows[pairs] for writer, rows in self.difference.items()}
        off = {
            writer: rows + ROUNDING * run.written[writer].norm() * torch.randn(rows.shape, generator=generator).double()
            for writer, rows in exact.items()
        }
        one, other = (self.evidence.model.patched(run, rows, edges) for rows in (exact, off))
        return float(self.graded(one - other, pairs).max())

    def effect(self, edges: Iterable[str]) -> Float[Tensor, " pair"]:
        """Return, per pair, the largest change of a graded logit."""
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
        """Return, per pair, the largest change at a graded position."""
        positions = self.evidence.positions if pairs is None else self.evidence.positions[pairs]
        return (change.abs().amax(2) * positions).amax(1)

    def matters(self, edges: Iterable[str]) -> bool:
        """Return whether the set matters on some pair."""
        return bool((self.effect(edges) > self.evidence.tolerance).any())

    def kappa(self, edges: Iterable[str]) -> float:
        """Return the share of pairs on which the set matters."""
        return float((self.effect(edges) > self.evidence.tolerance).double().mean())

    def is_void(self, edge: str) -> bool:
        """Return whether the ablation puts the same in its place as far as it is read, whatever else is ablated."""
        writer, _, reader = edge.partition("->")
        if writer not in INPUT_WRITERS:  # what it writes may change with other edges
            return False
        if edge not in self._void:
            difference = self.difference.get(writer)
            self._void[edge] = difference is None or not bool((difference @ self.evidence.model.read_by(reader)).any())
        return self._void[edge]

    @cached_property
    def minimal_sets(self) -> tuple[frozenset[str], ...]:
        """All sets of at most three possible edges that matter while no proper subset does; small ones first."""
        minimal: list[frozenset[str]] = []
        candidates = [e for e in self.evidence.model.edges if e in self.possible and not self.is_void(e)]
        for size in range(1, MAX_SET_SIZE + 1):
            for edges in map(frozenset, combinations(candidates, size)):
                if not any(known <= edges for known in minimal) and self.matters(edges):
                    minimal.append(edges)
            if size == 1:
                candidates = [edge for edge in candidates if frozenset([edge]) not in minimal]
        return tuple(minimal)

    @cached_property
    def exercised(self) -> dict[str, int]:
        """Edges in a minimal set -> size of the smallest one."""
        sizes: dict[str, int] = {}
        for edges in self.minimal_sets:
            sizes |= {edge: len(edges) for edge in edges if edge not in sizes}
        return sizes
