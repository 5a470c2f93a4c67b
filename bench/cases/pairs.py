"""Pairs of inputs (clean, corrupted), made by knowing the program.

Many edited copies of many inputs are run through the lowered program, also with each of its edges carrying what the
corrupted run holds. Pairs are chosen so that each edge matters on its share of them, that each variable differs while
as little else as possible does, with and without the output, and that selectors take each of their branches. Nothing
is ever filtered by "the output changed". Only the program, its size and the seed count, not where the model has what.
"""

import math
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gaugeblock.cases.candidates import Candidates, PairedRuns, Stratum, edited_pairs, encoded, with_rare_edges
from gaugeblock.compiled.model import CompiledModel

N_PAIRS = 128

MIN_SHARE = 0.05
"""Share of the pairs on which each edge of the program is to matter, if the program allows it."""


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """The data of a case.

    Attributes:
        clean, corrupted: token ids, BOS at position 0, PAD after the input.
        positions: the graded positions, real in both.
        tags: per pair, why it is there.
        numeric: whether the output is one number.
        donor_seed: seed of the sources of `donor` ablation, part of the data.
        differs: variable -> in which pairs it differs at some graded position.
        unexercised: edges (operation, port, writer) that alone matter on no candidate.
    """

    clean: Int[Tensor, "pair pos"]
    corrupted: Int[Tensor, "pair pos"]
    positions: Bool[Tensor, "pair pos"]
    tags: tuple[str, ...]
    numeric: bool
    donor_seed: int
    differs: dict[str, Bool[Tensor, " pair"]] = field(default_factory=dict)
    unexercised: tuple[Stratum, ...] = ()

    def __len__(self) -> int:
        return len(self.clean)


def make_pairs(model: CompiledModel, seed: int = 0, n: int = N_PAIRS) -> Pairs:
    """Return n pairs for the model's program, deterministic in the seed; fewer where the domain holds fewer."""
    rng = np.random.default_rng([seed, 1])
    candidates = Candidates.of(model, edited_pairs(model, rng))
    need = math.ceil(MIN_SHARE * n) + 1
    candidates = with_rare_edges(model, candidates, need, rng)
    chosen = _choose(candidates, model.lowered.output.variable, rng, n, need)
    rows = rng.permutation(list(chosen))
    clean, corrupted = torch.from_numpy(encoded(model, [candidates.pairs[i] for i in rows])).chunk(2)
    return Pairs(
        clean=clean,
        corrupted=corrupted,
        positions=model.real(clean) & model.real(corrupted),
        tags=tuple(chosen[i] for i in rows),
        numeric=model.lowered.output.numeric,
        donor_seed=seed,
        differs={name: torch.from_numpy(differs[rows]) for name, differs in candidates.differs.items()},
        unexercised=tuple(edge for edge, matters in candidates.exercised.items() if not matters.changed.any()),
    )


def kappas(model: CompiledModel, pairs: Pairs) -> dict[str, float]:
    """Return, for each program edge, the share of pairs on which it matters under `resample`, by the program alone.

    An output that the program with the edge's reads replaced does not define counts as changed; the model may still
    give the same there, so that this is an upper bound, and exact where all is defined.
    """
    runs = PairedRuns.of(model.lowered, torch.cat([pairs.clean, pairs.corrupted]).cpu().numpy())
    return {edge: float(runs.replaced(reads).changed.mean()) for edge, reads in model.edge_reads.items()}


def _choose(candidates: Candidates, output: str, rng: np.random.Generator, n: int, need: int) -> dict[int, str]:
    """Choose n candidates: index -> the reason for it. First comes what edges need, then round by round every purpose's
    next one, for variables and branches of those in which the fewest variables differ."""
    total = len(candidates.pairs)
    differing = np.sum([1 + np.zeros(total), *candidates.differs.values()], axis=0)
    order = rng.permutation(total)
    simplest = order[np.argsort(differing[order], kind="stable")]
    chosen = _for_edges(candidates, simplest, differing, n, need)
    purposes = [(simplest, _variables_and_branches(candidates, output)), (order, _lengths_and_edits(candidates))]
    queues = [(tag, [int(i) for i in by if wanted[i]]) for by, group in purposes for tag, wanted in group.items()]
    while len(chosen) < min(n, total):
        for tag, queue in queues:
            while queue and queue[0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < n:
                chosen[queue.pop(0)] = tag
    return chosen


def _for_edges(
    candidates: Candidates, simplest: np.ndarray, differing: np.ndarray, n: int, need: int
) -> dict[int, str]:
    """Choose pairs until each edge matters on `need` of them, the rarest edge first: of the pairs on which it matters
    the one that serves most open edges per differing variable."""
    matters = {}
    for edge, effect in candidates.exercised.items():
        hits = effect.known if effect.known.sum() >= need else effect.changed
        if hits.any():
            matters[edge] = hits[simplest]
    missing = {edge: min(need, int(hits.sum())) for edge, hits in matters.items()}
    rarest = sorted(matters, key=lambda edge: int(matters[edge].sum()))
    chosen: dict[int, str] = {}
    free = np.ones(len(simplest), bool)
    while len(chosen) < n and (edges := [edge for edge in rarest if missing[edge] > 0]):
        served = np.sum([matters[edge] for edge in edges], axis=0)
        pick = int(np.argmax(np.where(free & matters[edges[0]], served / differing[simplest], 0)))
        free[pick] = False
        operation, port, writer = edges[0]
        chosen[int(simplest[pick])] = f"{writer} matters to {operation}" + (f".{port}" if port in "qkv" else "")
        for edge in edges:
            missing[edge] -= int(matters[edge][pick])
    return chosen


def _variables_and_branches(candidates: Candidates, output: str) -> dict[str, Bool[np.ndarray, " pair"]]:
    """Return tag -> the candidates that serve this purpose."""
    same = ~candidates.differs.get(output, np.zeros(len(candidates.pairs), bool))
    purposes: dict[str, Bool[np.ndarray, " pair"]] = {}
    for name, differs in candidates.differs.items():
        purposes[f"{name} differs"] = differs
        purposes[f"{name} differs, the output does not"] = differs & same
    return purposes | candidates.branches


def _lengths_and_edits(candidates: Candidates) -> dict[str, Bool[np.ndarray, " pair"]]:
    """Return tag -> the candidates that serve this purpose. Together they hold all candidates."""
    lengths = {"lengths differ": np.array([len(p.clean) != len(p.corrupted) for p in candidates.pairs])}
    names = sorted({p.edit for p in candidates.pairs})
    return lengths | {name: np.array([p.edit == name for p in candidates.pairs]) for name in names}
