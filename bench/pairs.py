"""Pairs of inputs (clean, corrupted), made by knowing the program.

Many edited copies of many inputs are run through the lowered program. For each variable, pairs are chosen in which
it differs while as little else as possible does, and pairs in which it differs and the output does not. Nothing is
ever filtered by "the output changed".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Int
from torch import Tensor

from gaugeblock.compiled.lowered import BOS, PRESENT
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.semantics import run
from gaugeblock.programs.operations import GraphNode

N_PAIRS = 128
N_SOURCES = 96
EDITS_PER_SOURCE = 24

Tokens = list[Any]


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """Attributes:
    clean, corrupted: token ids, BOS at position 0, PAD after the input.
    positions: the graded positions, real in both.
    tags: per pair, why it is there.
    numeric: whether the output is one number.
    donor_seed: seed of the sources of `donor` ablation, part of the data.
    """

    clean: Int[Tensor, "pair pos"]
    corrupted: Int[Tensor, "pair pos"]
    positions: Bool[Tensor, "pair pos"]
    tags: tuple[str, ...]
    numeric: bool
    donor_seed: int

    def __len__(self) -> int:
        return len(self.clean)


@final
@dataclass(frozen=True)
class _Candidates:
    """Edited inputs beside their sources. `differs[i, v]`: whether variable v does, at positions real in both."""

    sources: list[Tokens]
    edited: list[Tokens]
    edits: list[str]
    names: list[str]
    differs: Bool[np.ndarray, "candidate variable"]
    output_differs: Bool[np.ndarray, " candidate"]


def make_pairs(model: CompiledModel, seed: int = 0, n: int = N_PAIRS) -> Pairs:
    """n pairs for the model's program, deterministic in the seed; fewer where the domain holds fewer."""
    rng = np.random.default_rng([seed, 1])
    candidates = _candidates(model, rng)
    chosen = _choose(candidates, rng, n)
    both = [candidates.sources[i] for i, _ in chosen] + [candidates.edited[i] for i, _ in chosen]
    tokens = model.encode(both).cpu()
    clean, corrupted = tokens[: len(chosen)], tokens[len(chosen) :]
    return Pairs(
        clean=clean,
        corrupted=corrupted,
        positions=model.real(clean) & model.real(corrupted),
        tags=tuple(tag for _, tag in chosen),
        numeric=model.lowered.output.numeric,
        donor_seed=seed,
    )


def _candidates(model: CompiledModel, rng: np.random.Generator) -> _Candidates:
    program = model.program
    sources = program.sample(rng, N_SOURCES)
    others = program.sample(rng, N_SOURCES)
    edits = GRAPH_EDITS if program.graph else EDITS
    found: dict[tuple[Any, ...], tuple[Tokens, Tokens, str]] = {}
    for source, other in zip(sources, others, strict=True):
        found.setdefault((*source, None, *other), (source, other, "another input"))
        for _ in range(EDITS_PER_SOURCE):
            name = list(edits)[rng.integers(len(edits))]
            edited = edits[name](source, program.vocab, rng)
            if edited and edited != source and len(edited) <= program.max_len and program.domain.contains(edited):
                found.setdefault((*source, None, *edited), (source, edited, name))
    triples = list(found.values())
    tokens = model.encode([s for s, _, _ in triples] + [e for _, e, _ in triples]).cpu().numpy()
    codes = run(model.lowered, tokens)
    common = (tokens < model.bos)[: len(triples)] & (tokens < model.bos)[len(triples) :]
    names = [name for name in codes if name not in (PRESENT, BOS, "logits")]
    differs = np.stack([_differs(codes[name], common) for name in names], 1)
    return _Candidates(
        sources=[s for s, _, _ in triples],
        edited=[e for _, e, _ in triples],
        edits=[name for _, _, name in triples],
        names=names,
        differs=differs,
        output_differs=_differs(codes["logits"], common),
    )


def _differs(codes: np.ndarray, common: np.ndarray) -> np.ndarray:
    half = len(codes) // 2
    return ((codes[:half] != codes[half:]) & common).any(1)


def _choose(candidates: _Candidates, rng: np.random.Generator, n: int) -> list[tuple[int, str]]:
    """Indices of candidates with the reason for each. Round by round, every purpose takes its next best one."""
    total = len(candidates.sources)
    order = rng.permutation(total)
    few = order[np.argsort(candidates.differs[order].sum(1), kind="stable")]
    lengths = np.array([len(s) != len(e) for s, e in zip(candidates.sources, candidates.edited, strict=True)])
    queues: list[tuple[str, list[int]]] = []
    for v, name in enumerate(candidates.names):
        queues.append((f"{name} differs", [i for i in few if candidates.differs[i, v]]))
        silent = [i for i in few if candidates.differs[i, v] and not candidates.output_differs[i]]
        queues.append((f"{name} differs, the output does not", silent))
    queues.append(("lengths differ", [i for i in order if lengths[i]]))
    for edit in sorted(set(candidates.edits)):
        queues.append((edit, [i for i in order if candidates.edits[i] == edit]))
    chosen: dict[int, str] = {}
    while len(chosen) < min(n, total):
        for tag, queue in queues:
            while queue and queue[0] in chosen:
                queue.pop(0)
            if queue and len(chosen) < n:
                chosen[queue.pop(0)] = tag
    return [(int(i), tag) for i, tag in chosen.items()]


# --- edits: (input, vocabulary, generator) -> another input ------------------------------------------------------

Edit = Callable[[Tokens, tuple[Any, ...], np.random.Generator], Tokens]


def _substitute(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i = int(rng.integers(len(xs)))
    return [*xs[:i], vocab[rng.integers(len(vocab))], *xs[i + 1 :]]


def _repeat(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i, j = rng.integers(len(xs), size=2)
    return [*xs[:i], xs[j], *xs[i + 1 :]]


def _swap(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i, j = rng.integers(len(xs), size=2)
    swapped = list(xs)
    swapped[i], swapped[j] = swapped[j], swapped[i]
    return swapped


def _rotate(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i = int(rng.integers(len(xs)))
    return xs[i:] + xs[:i]


def _insert(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i = int(rng.integers(len(xs) + 1))
    return [*xs[:i], vocab[rng.integers(len(vocab))], *xs[i:]]


def _delete(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i = int(rng.integers(len(xs)))
    return xs[:i] + xs[i + 1 :]


EDITS: dict[str, Edit] = {
    "one token replaced": _substitute,
    "one token repeated": _repeat,
    "two tokens swapped": _swap,
    "rotated": _rotate,
    "one token inserted": _insert,
    "one token deleted": _delete,
}


def _value_replaced(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i = int(rng.integers(len(xs)))
    return [*xs[:i], GraphNode(vocab[rng.integers(len(vocab))], xs[i].targets), *xs[i + 1 :]]


def _values_swapped(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i, j = rng.integers(len(xs), size=2)
    swapped = list(xs)
    swapped[i] = GraphNode(xs[j].value, xs[i].targets)
    swapped[j] = GraphNode(xs[i].value, xs[j].targets)
    return swapped


def _edge_flipped(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i, target = (int(n) for n in rng.integers(len(xs), size=2))
    return [*xs[:i], GraphNode(xs[i].value, xs[i].targets ^ {target}), *xs[i + 1 :]]


def _node_added(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    return [*xs, GraphNode(vocab[rng.integers(len(vocab))], frozenset([int(rng.integers(len(xs)))]))]


GRAPH_EDITS: dict[str, Edit] = {
    "one value replaced": _value_replaced,
    "two values swapped": _values_swapped,
    "one edge added or removed": _edge_flipped,
    "one node added": _node_added,
}
