"""Pairs of inputs (clean, corrupted), made by knowing the program.

Many edited copies of many inputs are run through the lowered program, also with each of its edges carrying what the
corrupted run holds. Pairs are chosen so that each edge matters on its share of them, that each variable differs while
as little else as possible does, with and without the output, and that selectors take each of their branches. Nothing
is ever filtered by "the output changed". Only the program, its size and the seed count, not where the model has what.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gaugeblock.cases.edits import Tokens, edits_of, is_input
from gaugeblock.compiled.lowered.operations import (
    BOS,
    INDICES,
    PRESENT,
    Attention,
    Lowered,
    Port,
    Variable,
)
from gaugeblock.compiled.lowered.operations import Read as Moved
from gaugeblock.compiled.lowered.semantics import UNKNOWN, run
from gaugeblock.compiled.model import CompiledModel

N_PAIRS = 128
N_SOURCES = 96
EDITS_PER_SOURCE = 16

SHARE = 0.05
"""Of the pairs on which each edge of the program is to matter, if the program allows it."""

ENOUGH = 64
"""Candidates for an edge; no more are looked for."""

AT_ONCE = 256
"""Pairs that are run together."""

ROUNDS = 6
"""Of the search for pairs on which an edge matters, where too few are at hand. Each tries up to PARENTS · CHILDREN."""

PARENTS = 16
CHILDREN = 12

PATIENCE = 2
"""Rounds without progress after which the search gives up."""

Read = tuple[str, Port, str]
Stratum = tuple[str, Port, str]
"""(operation or "logits", port, writer): what an edge is wherever the model has its parts."""


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """Attributes:
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
    """n pairs for the model's program, deterministic in the seed; fewer where the domain holds fewer."""
    rng = np.random.default_rng([seed, 1])
    found = _Candidates.of(model, _edited(model, rng))
    need = math.ceil(SHARE * n) + 1
    found = _with_rare_edges(model, found, need, rng)
    chosen = _choose(found, model.lowered.output.variable, rng, n, need)
    rows = rng.permutation(list(chosen))
    clean, corrupted = torch.from_numpy(_encoded(model, [found.pairs[i] for i in rows])).chunk(2)
    return Pairs(
        clean=clean,
        corrupted=corrupted,
        positions=model.real(clean) & model.real(corrupted),
        tags=tuple(chosen[i] for i in rows),
        numeric=model.lowered.output.numeric,
        donor_seed=seed,
        differs={name: torch.from_numpy(differs[rows]) for name, differs in found.differs.items()},
        unexercised=tuple(edge for edge, matters in found.exercised.items() if not matters.changed.any()),
    )


def kappas(model: CompiledModel, pairs: Pairs) -> dict[str, float]:
    """Program edge -> the share of pairs on which it matters under `resample`, by the program alone.

    An output that the program with the edge's reads replaced does not define counts as changed; the model may still
    give the same there, so that this is an upper bound, and exact where all is defined.
    """
    runs = _Runs.of(model.lowered, torch.cat([pairs.clean, pairs.corrupted]).cpu().numpy())
    return {edge: float(runs.replaced(reads).changed.mean()) for edge, reads in model.edge_reads.items()}


def strata(lowered: Lowered) -> dict[Stratum, tuple[Read, ...]]:
    """The program's edges, each with the reads that it carries."""
    found: dict[Stratum, list[Read]] = {}
    for operation, port, name in lowered.flow:
        found.setdefault((operation, port, lowered.variables[name].writer), []).append((operation, port, name))
    return {edge: tuple(reads) for edge, reads in found.items()}


# --- candidates ------------------------------------------------------------------------------------------------------


class _Pair(NamedTuple):
    clean: Tokens
    corrupted: Tokens
    edit: str


def _edited(model: CompiledModel, rng: np.random.Generator) -> list[_Pair]:
    """Edited inputs beside their sources, no pair twice."""
    program, edits = model.program, edits_of(model.program)
    sources, others = program.sample(rng, N_SOURCES), program.sample(rng, N_SOURCES)
    found: list[_Pair] = []
    for source, other in zip(sources, others, strict=True):
        found.append(_Pair(source, other, "another input"))
        cuts = rng.integers(max(len(source), len(other)), size=2)
        found += [_Pair(source, source[:cut] + other[cut:], "another ending") for cut in cuts]
        for _ in range(EDITS_PER_SOURCE):
            name = list(edits)[rng.integers(len(edits))]
            found.append(_Pair(source, edits[name](source, program.vocab, rng), name))
    return _valid(model, found)


def _valid(model: CompiledModel, pairs: Iterable[_Pair]) -> list[_Pair]:
    """Those of two different inputs of the domain, each once."""
    found: dict[tuple[Any, ...], _Pair] = {}
    for pair in pairs:
        key = _key(pair)
        is_new = key not in found and pair.clean != pair.corrupted
        if is_new and is_input(model.program, pair.clean) and is_input(model.program, pair.corrupted):
            found[key] = pair
    return list(found.values())


def _encoded(model: CompiledModel, pairs: list[_Pair]) -> Int[np.ndarray, "input pos"]:
    """Token ids of the clean inputs, then of the corrupted ones."""
    tokens: Int[np.ndarray, "input pos"] = (
        model.encode([p.clean for p in pairs] + [p.corrupted for p in pairs]).cpu().numpy()
    )
    return tokens


def _key(pair: _Pair) -> tuple[Any, ...]:
    return (*pair.clean, None, *pair.corrupted)


class _Effect(NamedTuple):
    """Per pair: whether a graded output changes for sure, whether it changes or becomes undefined, and how many
    variables change."""

    known: Bool[np.ndarray, " pair"]
    changed: Bool[np.ndarray, " pair"]
    reach: Int[np.ndarray, " pair"]


@final
@dataclass(frozen=True)
class _Runs:
    """Codes of the clean and the corrupted runs of pairs."""

    lowered: Lowered
    tokens: Int[np.ndarray, "pair pos"]
    graded: Bool[np.ndarray, "pair pos"]
    clean: Mapping[str, np.ndarray]
    corrupted: Mapping[str, np.ndarray]

    @staticmethod
    def of(lowered: Lowered, tokens: Int[np.ndarray, "input pos"]) -> "_Runs":
        """Of as many clean inputs as corrupted ones, those first."""
        n, codes, real = len(tokens) // 2, run(lowered, tokens), tokens < len(lowered.vocab)
        clean, corrupted = ({name: c[half] for name, c in codes.items()} for half in (slice(n), slice(n, None)))
        return _Runs(lowered, tokens[:n], real[:n] & real[n:], clean, corrupted)

    def differs(self, name: str, above: int | None = None) -> Bool[np.ndarray, " pair"]:
        """Whether a variable differs at a graded position; or whether it is above a limit in one input only."""
        clean, corrupted = self.clean[name], self.corrupted[name]
        unequal = clean != corrupted if above is None else (clean > above) != (corrupted > above)
        found: Bool[np.ndarray, " pair"] = (unequal & self.graded).any(1)
        return found

    def replaced(self, reads: Iterable[tuple[str, str, str]], enough: int | None = None) -> _Effect:
        """What changes if these reads of the clean run see the corrupted one; the rest of the pairs is not looked at
        once `enough` are found on which an output does."""
        names = {name for _, _, name in reads}
        rows = np.flatnonzero(np.any([(self.clean[n] != self.corrupted[n]).any(1) for n in names], axis=0))
        total = len(self.tokens)
        effect = _Effect(np.zeros(total, bool), np.zeros(total, bool), np.zeros(total, int))
        for part in np.split(rows, range(AT_ONCE, len(rows), AT_ONCE)):
            if not len(part) or (enough is not None and effect.known.sum() >= enough):
                break
            swapped: Any = {read: self.corrupted[read[2]][part] for read in reads}
            codes = run(self.lowered, self.tokens[part], swapped)
            moved = (codes["logits"] != self.clean["logits"][part]) & self.graded[part]
            effect.known[part] = (moved & (codes["logits"] != UNKNOWN)).any(1)
            effect.changed[part] = moved.any(1)
            effect.reach[part] = np.sum([(codes[n] != self.clean[n][part]).any(1) for n in codes], axis=0)
        return effect


@final
@dataclass(frozen=True)
class _Candidates:
    """Attributes:
    differs: variable -> whether it differs at a graded position.
    branches: what one input of a pair makes a selector do and the other does not -> in which pairs.
    exercised: edge -> what it does alone.
    """

    pairs: list[_Pair]
    differs: dict[str, Bool[np.ndarray, " pair"]]
    branches: dict[str, Bool[np.ndarray, " pair"]]
    exercised: dict[Stratum, _Effect]

    @staticmethod
    def of(model: CompiledModel, pairs: list[_Pair]) -> "_Candidates":
        """Run both inputs of each pair, and the clean one with each edge replaced."""
        lowered, tokens = model.lowered, _encoded(model, pairs)
        runs, probed = _Runs.of(lowered, tokens), _Runs.of(_probed(lowered), tokens)
        return _Candidates(
            pairs=pairs,
            differs={name: runs.differs(name) for name in lowered.variables if name not in (PRESENT, BOS, INDICES)},
            branches={tag: probed.differs(probe, above) for tag, probe, above in _branches(lowered)},
            exercised={edge: runs.replaced(reads, ENOUGH) for edge, reads in strata(lowered).items()},
        )

    def with_more(self, others: "_Candidates") -> "_Candidates":
        """Both, these first."""

        def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.concatenate([a, b])

        return _Candidates(
            self.pairs + others.pairs,
            {name: joined(values, others.differs[name]) for name, values in self.differs.items()},
            {tag: joined(values, others.branches[tag]) for tag, values in self.branches.items()},
            {e: _Effect(*map(joined, effect, others.exercised[e])) for e, effect in self.exercised.items()},
        )


def _probed(lowered: Lowered) -> Lowered:
    """The same with heads that count how many keys each head selects, with and without its ranking."""
    variables = dict(lowered.variables)
    operations = list(lowered.operations)
    for op in lowered.operations:
        if isinstance(op, Attention) and op.name in lowered.needed:
            for name, ranking in ((f"{op.name} selected", op.ranking), (f"{op.name} in question", None)):
                values = tuple(range(lowered.max_len + 1))
                variables[name] = Variable(name, values, "scalar", name)
                counted = Moved("sum", PRESENT, np.ones(1), name)
                operations.append(Attention(name, op.conditions, ranking, (counted,)))
    return replace(lowered, variables=variables, operations=tuple(operations))


def _branches(lowered: Lowered) -> list[tuple[str, str, int]]:
    """(tag, probe, limit): the branch is whether the probe's count exceeds the limit."""
    heads = [op for op in lowered.operations if isinstance(op, Attention) and op.name in lowered.needed]
    nothing = [(f"{op.name} selects nothing in one", f"{op.name} selected", 0) for op in heads]
    ties = [(f"{op.name} breaks a tie in one", f"{op.name} in question", 1) for op in heads if op.ranking is not None]
    return nothing + ties


# --- the search for pairs on which rare edges matter -----------------------------------------------------------------


def _with_rare_edges(model: CompiledModel, found: _Candidates, need: int, rng: np.random.Generator) -> _Candidates:
    """Candidates with more of those on which an edge matters that matters on fewer than `need`."""
    for edge in found.exercised:
        effect = found.exercised[edge]
        if effect.known.sum() < need and effect.reach.any():
            more = _search(model, found.pairs, strata(model.lowered)[edge], effect, need, rng)
            if more:
                found = found.with_more(_Candidates.of(model, more))
    return found


def _search(
    model: CompiledModel,
    start: list[_Pair],
    reads: tuple[Read, ...],
    effect: _Effect,
    need: int,
    rng: np.random.Generator,
) -> list[_Pair]:
    """New pairs on which an edge matters, as many as are missing to `need` if they are found. The pairs on which what
    it changes reaches furthest are edited further, round by round, until that leads nowhere."""
    best = _best(start, effect)
    known = {_key(pair) for pair in start}
    missing = need - int(effect.known.sum())
    hits: list[_Pair] = []
    patience = PATIENCE
    for _ in range(ROUNDS):
        children = [_child(model, parent, rng) for _, parent in best for _ in range(CHILDREN)]
        children = [pair for pair in _valid(model, children) if _key(pair) not in known]
        if not children:
            break
        known |= {_key(pair) for pair in children}
        effect = _Runs.of(model.lowered, _encoded(model, children)).replaced(reads)
        hits += [pair for pair, hit in zip(children, effect.known, strict=True) if hit]
        furthest = best[0][0]
        best = sorted(best + _best(children, effect), key=lambda item: item[0], reverse=True)[:PARENTS]
        patience = PATIENCE if hits or best[0][0] > furthest else patience - 1
        if len(hits) >= missing or not patience:
            break
    return hits[:missing]


def _best(pairs: list[_Pair], effect: _Effect) -> list[tuple[tuple[bool, bool, int], _Pair]]:
    """The PARENTS pairs of the highest score: sure to matter, then perhaps, then the more variables change."""
    order = np.lexsort((effect.reach, effect.changed, effect.known))[::-1][:PARENTS]
    return [((bool(effect.known[i]), bool(effect.changed[i]), int(effect.reach[i])), pairs[i]) for i in order]


def _child(model: CompiledModel, parent: _Pair, rng: np.random.Generator) -> _Pair:
    """The pair with its sides swapped, with an edit of one side, or with the same edit of both."""
    clean, corrupted, name = parent
    edits, vocab = edits_of(model.program), model.program.vocab
    edit = edits[list(edits)[rng.integers(len(edits))]]
    way, seed = rng.integers(7), int(rng.integers(2**32))
    if way == 0:
        return _Pair(corrupted, clean, name)
    if way <= 4:
        clean = edit(clean, vocab, np.random.default_rng(seed))
    if way >= 3:
        corrupted = edit(corrupted, vocab, np.random.default_rng(seed))
    return _Pair(clean, corrupted, name)


# --- choosing --------------------------------------------------------------------------------------------------------


def _choose(found: _Candidates, output: str, rng: np.random.Generator, n: int, need: int) -> dict[int, str]:
    """Indices of candidates with the reason for each: first what edges need, then round by round every purpose's next
    one, for variables and branches of those in which the fewest variables differ."""
    total = len(found.pairs)
    differing = np.sum([1 + np.zeros(total), *found.differs.values()], axis=0)
    order = rng.permutation(total)
    few = order[np.argsort(differing[order], kind="stable")]
    chosen = _for_edges(found, few, differing, n, need)
    purposes = [(few, _variables_and_branches(found, output)), (order, _lengths_and_edits(found))]
    queues = [(tag, [int(i) for i in by if wanted[i]]) for by, group in purposes for tag, wanted in group.items()]
    while len(chosen) < min(n, total):
        for tag, queue in queues:
            while queue and queue[0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < n:
                chosen[queue.pop(0)] = tag
    return chosen


def _for_edges(found: _Candidates, few: np.ndarray, differing: np.ndarray, n: int, need: int) -> dict[int, str]:
    """Pairs until each edge matters on `need` of them, the rarest edge first: of the pairs on which it matters the one
    that serves most open edges per differing variable."""
    matters = {}
    for edge, effect in found.exercised.items():
        hits = effect.known if effect.known.sum() >= need else effect.changed
        if hits.any():
            matters[edge] = hits[few]
    missing = {edge: min(need, int(hits.sum())) for edge, hits in matters.items()}
    rarest = sorted(matters, key=lambda edge: int(matters[edge].sum()))
    chosen: dict[int, str] = {}
    free = np.ones(len(few), bool)
    while len(chosen) < n and (edges := [edge for edge in rarest if missing[edge] > 0]):
        served = np.sum([matters[edge] for edge in edges], axis=0)
        pick = int(np.argmax(np.where(free & matters[edges[0]], served / differing[few], 0)))
        free[pick] = False
        operation, port, writer = edges[0]
        chosen[int(few[pick])] = f"{writer} matters to {operation}" + (f".{port}" if port in "qkv" else "")
        for edge in edges:
            missing[edge] -= int(matters[edge][pick])
    return chosen


def _variables_and_branches(found: _Candidates, output: str) -> dict[str, Bool[np.ndarray, " pair"]]:
    """Tag -> the candidates that serve this purpose."""
    same = ~found.differs.get(output, np.zeros(len(found.pairs), bool))
    purposes: dict[str, Bool[np.ndarray, " pair"]] = {}
    for name, differs in found.differs.items():
        purposes[f"{name} differs"] = differs
        purposes[f"{name} differs, the output does not"] = differs & same
    return purposes | found.branches


def _lengths_and_edits(found: _Candidates) -> dict[str, Bool[np.ndarray, " pair"]]:
    """Tag -> the candidates that serve this purpose. Together they hold all candidates."""
    lengths = {"lengths differ": np.array([len(p.clean) != len(p.corrupted) for p in found.pairs])}
    names = sorted({p.edit for p in found.pairs})
    return lengths | {name: np.array([p.edit == name for p in found.pairs]) for name in names}
