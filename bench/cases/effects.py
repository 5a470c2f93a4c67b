"""How far ablating sets of edges moves the graded logits of a case, in float64."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gaugeblock.cases.pairs import Pairs
from gaugeblock.compiled.edges.inert import proved, without
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.methods.task import Task

TOLERANCE = 1e-9
"""A set of edges matters on a pair if it moves a graded logit by more than this times (1 + max |logit|)."""

PAIRS_LOOKED_AT_FIRST = 16
"""Pairs that come first where one pair is enough to decide."""


@final
class Effects:
    """The effect of sets of edges: per pair, the largest change of a graded logit.

    Computed without the parts that are proved inert under the ablation, which spares most of the work.

    Attributes:
        task: the model in float64, on the case's pairs, under the ablation.
        tolerance: what a graded logit may move by without having changed.
    """

    def __init__(self, model: CompiledModel, pairs: Pairs, ablation: str) -> None:
        parts = proved(model.provenance.inert, ablation)
        exact = replace(model, weights=without(model.weights, parts), dtype=torch.float64)
        self.task = Task.build(
            exact.hooked, exact.graph, pairs.clean, pairs.corrupted, pairs.positions, ablation,
            numeric=pairs.numeric, pad_token=model.pad, donor_seed=pairs.donor_seed,
        )  # fmt: skip
        self.tolerance = TOLERANCE * (1 + float(self.task.engine.clean_logits.abs().max()))
        self._edges = frozenset(exact.graph.edges)
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
        self._first, self._others = order[:PAIRS_LOOKED_AT_FIRST], order[PAIRS_LOOKED_AT_FIRST:]

    def of(self, sets: Sequence[tuple[str, ...]]) -> Float[np.ndarray, "sets pairs"]:
        """Return the effect of each set on each pair."""
        return self.task.engine.patch(self._there(sets), self._change).double().cpu().numpy()

    def any_moves(self, sets: Sequence[tuple[str, ...]]) -> Bool[np.ndarray, " sets"]:
        """Return whether each set matters on some pair; most that do show it on a few."""
        moves = self._moves(sets, self._first)
        still = np.flatnonzero(~moves)
        if len(still) and len(self._others):
            moves[still] = self._moves([sets[int(i)] for i in still], self._others)
        return moves

    def _moves(self, sets: Sequence[tuple[str, ...]], pairs: Tensor) -> Bool[np.ndarray, " sets"]:
        effect = self.task.engine.patch(self._there(sets), self._change, pairs.to(self.task.clean.device))
        return (effect > self.tolerance).any(1).cpu().numpy()

    def _there(self, sets: Sequence[Iterable[str]]) -> list[list[str]]:
        return [[edge for edge in edges if edge in self._edges] for edges in sets]

    def _change(self, logits: Float[Tensor, "item pos out"], pair: Tensor) -> Float[Tensor, " item"]:
        change = (logits - self.task.engine.clean_logits[pair]).abs() * self.task.positions[pair][:, :, None]
        return change.flatten(1).amax(1)
