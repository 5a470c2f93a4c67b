"""Candidates for pairs: edited copies of inputs, and what each edge of the program does on them.

Both inputs of a candidate are run through the lowered program, and the clean one also with each edge carrying what the
corrupted run holds. Where an edge matters on too few candidates, more are searched for by editing the best further.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Int

from gaugeblock.cases.edits import Tokens, edits_of, is_input
from gaugeblock.compiled.lowered.operations import BOS, INDICES, PRESENT, Attention, Lowered, Port, Variable
from gaugeblock.compiled.lowered.operations import Read as Moved
from gaugeblock.compiled.lowered.semantics import UNKNOWN, run
from gaugeblock.compiled.model import CompiledModel

N_SOURCES = 96
EDITS_PER_SOURCE = 16

CANDIDATES_PER_EDGE = 64
"""Candidates on which an edge matters; no more are looked for."""

PAIRS_PER_RUN = 256
"""Pairs that are run together."""

SEARCH_ROUNDS = 6
"""Rounds of the search for candidates on which an edge matters, where too few are at hand. Each tries up to
PARENTS_PER_ROUND · EDITS_PER_PARENT."""

PARENTS_PER_ROUND = 16
EDITS_PER_PARENT = 12

ROUNDS_WITHOUT_PROGRESS = 2
"""Rounds without progress after which the search gives up."""

Reads = tuple[tuple[str, Port, str], ...]
Stratum = tuple[str, Port, str]
"""(operation or "logits", port, writer): what an edge is wherever the model has its parts."""


def strata(lowered: Lowered) -> dict[Stratum, Reads]:
    """Return the program's edges, each with the reads that it carries."""
    edges: dict[Stratum, Reads] = {}
    for operation, port, name in lowered.flow:
        edge = operation, port, lowered.variables[name].writer
        edges[edge] = (*edges.get(edge, ()), (operation, port, name))
    return edges


class Candidate(NamedTuple):
    """A pair of inputs that may be chosen, and what makes one of the other."""

    clean: Tokens
    corrupted: Tokens
    edit: str


def edited_pairs(model: CompiledModel, rng: np.random.Generator) -> list[Candidate]:
    """Return edited inputs beside their sources, no pair twice."""
    program, edits = model.program, edits_of(model.program)
    sources, others = program.sample(rng, N_SOURCES), program.sample(rng, N_SOURCES)
    pairs: list[Candidate] = []
    for source, other in zip(sources, others, strict=True):
        pairs.append(Candidate(source, other, "another input"))
        cuts = rng.integers(max(len(source), len(other)), size=2)
        pairs += [Candidate(source, source[:cut] + other[cut:], "another ending") for cut in cuts]
        for _ in range(EDITS_PER_SOURCE):
            name = list(edits)[rng.integers(len(edits))]
            pairs.append(Candidate(source, edits[name](source, program.vocab, rng), name))
    return _valid(model, pairs)


def _valid(model: CompiledModel, pairs: Iterable[Candidate]) -> list[Candidate]:
    """Return the pairs of two different inputs of the domain, each once."""
    valid: dict[tuple[Any, ...], Candidate] = {}
    for pair in pairs:
        key = _key(pair)
        is_new = key not in valid and pair.clean != pair.corrupted
        if is_new and is_input(model.program, pair.clean) and is_input(model.program, pair.corrupted):
            valid[key] = pair
    return list(valid.values())


def encoded(model: CompiledModel, pairs: list[Candidate]) -> Int[np.ndarray, "input pos"]:
    """Return token ids of the clean inputs, then of the corrupted ones."""
    tokens = model.encode([p.clean for p in pairs] + [p.corrupted for p in pairs])
    return np.asarray(tokens.cpu())


def _key(pair: Candidate) -> tuple[Any, ...]:
    return (*pair.clean, None, *pair.corrupted)


class EdgeEffect(NamedTuple):
    """What an edge does alone, per pair: whether a graded output changes for sure, whether it changes or becomes
    undefined, and how many variables change."""

    known: Bool[np.ndarray, " pair"]
    changed: Bool[np.ndarray, " pair"]
    reach: Int[np.ndarray, " pair"]


@final
@dataclass(frozen=True)
class PairedRuns:
    """The codes of the clean and the corrupted runs of pairs."""

    lowered: Lowered
    tokens: Int[np.ndarray, "pair pos"]
    graded: Bool[np.ndarray, "pair pos"]
    clean: Mapping[str, np.ndarray]
    corrupted: Mapping[str, np.ndarray]

    @staticmethod
    def of(lowered: Lowered, tokens: Int[np.ndarray, "input pos"]) -> "PairedRuns":
        """Run the program on as many clean inputs as corrupted ones, those first."""
        n, codes, real = len(tokens) // 2, run(lowered, tokens), tokens < len(lowered.vocab)
        clean, corrupted = ({name: c[half] for name, c in codes.items()} for half in (slice(n), slice(n, None)))
        return PairedRuns(lowered, tokens[:n], real[:n] & real[n:], clean, corrupted)

    def differs(self, name: str, above: int | None = None) -> Bool[np.ndarray, " pair"]:
        """Return whether a variable differs at a graded position; or whether it is above a limit in one input only."""
        clean, corrupted = self.clean[name], self.corrupted[name]
        unequal = clean != corrupted if above is None else (clean > above) != (corrupted > above)
        differs: Bool[np.ndarray, " pair"] = (unequal & self.graded).any(1)
        return differs

    def replaced(self, reads: Iterable[tuple[str, str, str]], enough: int | None = None) -> EdgeEffect:
        """Return what changes if these reads of the clean run see the corrupted one; the rest of the pairs is not
        looked at once there are `enough` on which an output does."""
        names = {name for _, _, name in reads}
        rows = np.flatnonzero(np.any([(self.clean[n] != self.corrupted[n]).any(1) for n in names], axis=0))
        total = len(self.tokens)
        effect = EdgeEffect(np.zeros(total, bool), np.zeros(total, bool), np.zeros(total, int))
        for part in np.split(rows, range(PAIRS_PER_RUN, len(rows), PAIRS_PER_RUN)):
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
class Candidates:
    """Pairs to choose from, and what is known of each.

    Attributes:
        differs: variable -> whether it differs at a graded position.
        branches: what one input of a pair makes a selector do and the other does not -> in which pairs.
        exercised: edge -> what it does alone.
    """

    pairs: list[Candidate]
    differs: dict[str, Bool[np.ndarray, " pair"]]
    branches: dict[str, Bool[np.ndarray, " pair"]]
    exercised: dict[Stratum, EdgeEffect]

    @staticmethod
    def of(model: CompiledModel, pairs: list[Candidate]) -> "Candidates":
        """Run both inputs of each pair, and the clean one with each edge replaced."""
        lowered, tokens = model.lowered, encoded(model, pairs)
        runs, probed = PairedRuns.of(lowered, tokens), PairedRuns.of(_probed(lowered), tokens)
        return Candidates(
            pairs=pairs,
            differs={name: runs.differs(name) for name in lowered.variables if name not in (PRESENT, BOS, INDICES)},
            branches={tag: probed.differs(probe, above) for tag, probe, above in _branches(lowered)},
            exercised={edge: runs.replaced(reads, CANDIDATES_PER_EDGE) for edge, reads in strata(lowered).items()},
        )

    def with_more(self, others: "Candidates") -> "Candidates":
        """Return both together, these first."""

        def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.concatenate([a, b])

        return Candidates(
            self.pairs + others.pairs,
            {name: joined(values, others.differs[name]) for name, values in self.differs.items()},
            {tag: joined(values, others.branches[tag]) for tag, values in self.branches.items()},
            {e: EdgeEffect(*map(joined, effect, others.exercised[e])) for e, effect in self.exercised.items()},
        )


def _probed(lowered: Lowered) -> Lowered:
    """Return the program with heads that count how many keys each head selects, with and without its ranking."""
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
    """Return (tag, probe, limit): the branch is whether the probe's count exceeds the limit."""
    heads = [op for op in lowered.operations if isinstance(op, Attention) and op.name in lowered.needed]
    nothing = [(f"{op.name} selects nothing in one", f"{op.name} selected", 0) for op in heads]
    ties = [(f"{op.name} breaks a tie in one", f"{op.name} in question", 1) for op in heads if op.ranking is not None]
    return nothing + ties


# --- the search for pairs on which rare edges matter -----------------------------------------------------------------


def with_rare_edges(model: CompiledModel, candidates: Candidates, need: int, rng: np.random.Generator) -> Candidates:
    """Return the candidates with more of those on which an edge matters that matters on fewer than `need`."""
    for edge in candidates.exercised:
        effect = candidates.exercised[edge]
        if effect.known.sum() < need and effect.reach.any():
            more = _search(model, candidates.pairs, strata(model.lowered)[edge], effect, need, rng)
            if more:
                candidates = candidates.with_more(Candidates.of(model, more))
    return candidates


def _search(
    model: CompiledModel,
    start: list[Candidate],
    reads: Reads,
    effect: EdgeEffect,
    need: int,
    rng: np.random.Generator,
) -> list[Candidate]:
    """Search new pairs on which an edge matters, as many as are missing to `need`. The pairs on which what it changes
    reaches furthest are edited further, round by round, until that leads nowhere."""
    best = _best(start, effect)
    known = {_key(pair) for pair in start}
    missing = need - int(effect.known.sum())
    hits: list[Candidate] = []
    patience = ROUNDS_WITHOUT_PROGRESS
    for _ in range(SEARCH_ROUNDS):
        children = [_child(model, parent, rng) for _, parent in best for _ in range(EDITS_PER_PARENT)]
        children = [pair for pair in _valid(model, children) if _key(pair) not in known]
        if not children:
            break
        known |= {_key(pair) for pair in children}
        effect = PairedRuns.of(model.lowered, encoded(model, children)).replaced(reads)
        hits += [pair for pair, hit in zip(children, effect.known, strict=True) if hit]
        furthest = best[0][0]
        best = sorted(best + _best(children, effect), key=lambda item: item[0], reverse=True)[:PARENTS_PER_ROUND]
        patience = ROUNDS_WITHOUT_PROGRESS if hits or best[0][0] > furthest else patience - 1
        if len(hits) >= missing or not patience:
            break
    return hits[:missing]


def _best(pairs: list[Candidate], effect: EdgeEffect) -> list[tuple[tuple[bool, bool, int], Candidate]]:
    """Return the PARENTS_PER_ROUND best pairs: sure to matter, then perhaps, then the more variables change."""
    order = np.lexsort((effect.reach, effect.changed, effect.known))[::-1][:PARENTS_PER_ROUND]
    return [((bool(effect.known[i]), bool(effect.changed[i]), int(effect.reach[i])), pairs[i]) for i in order]


def _child(model: CompiledModel, parent: Candidate, rng: np.random.Generator) -> Candidate:
    """Return the pair with its sides swapped, with an edit of one side, or with the same edit of both."""
    clean, corrupted, name = parent
    edits, vocab = edits_of(model.program), model.program.vocab
    edit = edits[list(edits)[rng.integers(len(edits))]]
    change, seed = rng.integers(7), int(rng.integers(2**32))
    if change == 0:
        return Candidate(corrupted, clean, name)
    if change <= 4:  # the clean side, and from 3 on the corrupted one
        clean = edit(clean, vocab, np.random.default_rng(seed))
    if change >= 3:
        corrupted = edit(corrupted, vocab, np.random.default_rng(seed))
    return Candidate(clean, corrupted, name)
