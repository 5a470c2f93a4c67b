"""The inputs a program is meant for: a predicate, a sampler, and all of them where they are few."""

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from gaugeblock.programs.language.operations import GraphNode

Tokens = list[Any]
Sampler = Callable[[np.random.Generator, tuple[Any, ...], int], Tokens]
"""(rng, vocab, max_len) -> an input."""


def everywhere(xs: Tokens) -> bool:
    """The predicate of a domain without exceptions."""
    return True


def sample_sequence(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> Tokens:
    """A sequence of 1 to max_len tokens, half the time over a few tokens only, so that repeats are common."""
    n = int(rng.integers(1, max_len + 1))
    return sample_tokens(rng, vocab, n, few=bool(rng.random() < 0.5))


def sample_tokens(rng: np.random.Generator, vocab: tuple[Any, ...], n: int, *, few: bool = False) -> Tokens:
    """n uniform tokens of the vocabulary or, if `few`, of one to three of its tokens."""
    if few:
        kinds = int(rng.integers(1, min(3, len(vocab)) + 1))
        vocab = tuple(vocab[i] for i in rng.choice(len(vocab), size=kinds, replace=False))
    return [vocab[i] for i in rng.integers(len(vocab), size=n)]


def all_sequences(vocab: tuple[Any, ...], max_len: int) -> Iterator[Tokens]:
    """Every sequence of 1 to max_len tokens, shortest first."""
    for n in range(1, max_len + 1):
        yield from map(list, itertools.product(vocab, repeat=n))


def count_sequences(vocab: tuple[Any, ...], max_len: int) -> int:
    """How many sequences of 1 to max_len tokens there are."""
    return sum(len(vocab) ** n for n in range(1, max_len + 1))


@final
@dataclass(frozen=True)
class Domain:
    """The inputs a program is meant for; at any vocabulary and maximal length.

    Attributes:
        description: one phrase for error messages and pages.
        contains: whether a non-empty sequence over the vocabulary belongs to the domain.
        sample: gives an input of 1 to max_len tokens, preferring those on which the output is interesting.
        generate: (vocab, max_len) -> an iterator that includes every input of the domain.
        size: (vocab, max_len) -> how many sequences `generate` gives, computed without generating them.

    >>> starts_with_a = Domain("inputs that start with a", contains=lambda xs: xs[0] == "a")
    >>> list(starts_with_a.enumerate(("a", "b"), max_len=2))
    [['a'], ['a', 'a'], ['a', 'b']]
    """

    description: str
    contains: Callable[[Tokens], bool] = everywhere
    sample: Sampler = sample_sequence
    generate: Callable[[tuple[Any, ...], int], Iterator[Tokens]] = all_sequences
    size: Callable[[tuple[Any, ...], int], int] = count_sequences

    def enumerate(self, vocab: tuple[Any, ...], max_len: int, limit: int = 100_000) -> Iterator[Tokens] | None:
        """Every input of the domain, shortest first; None where there are more than `limit` to go through.

        >>> list(ALL_INPUTS.enumerate(("a", "b"), max_len=1))
        [['a'], ['b']]
        >>> ALL_INPUTS.enumerate(("a", "b"), max_len=20) is None
        True
        """
        if self.size(vocab, max_len) > limit:
            return None
        return filter(self.contains, self.generate(vocab, max_len))


ALL_INPUTS = Domain("all non-empty sequences over the vocabulary")


def all_inputs(sample: Sampler) -> Domain:
    """All inputs as a domain with that sampler."""
    return replace(ALL_INPUTS, sample=sample)


def graph_tokens(graph: Any) -> list[GraphNode]:
    """The tokens of a graph given as {"nodes": [value, ...], "edges": [(from, to), ...]}, or as tokens already.

    Raises TypeError, which says what is wrong, for anything else.
    """
    if not isinstance(graph, Mapping):
        tokens = list(graph)
        if not all(isinstance(x, GraphNode) for x in tokens):
            raise TypeError("a list is no graph")
        return tokens
    if set(graph) != {"nodes", "edges"}:
        raise TypeError(f"its keys are {', '.join(map(repr, graph)) or 'none'}")
    return _graph(graph["nodes"], graph["edges"])


def _graph(nodes: Sequence[Any], edges: Iterable[Any]) -> list[GraphNode]:
    targets: list[set[int]] = [set() for _ in nodes]
    for edge in edges:
        try:
            ends = tuple(map(operator.index, edge))
        except TypeError:
            ends = ()
        if len(ends) != 2 or not all(0 <= end < len(targets) for end in ends):
            raise TypeError(f"{edge!r} leads from no node to another: nodes are 0 to {len(targets) - 1}")
        targets[ends[0]].add(ends[1])
    return [GraphNode(value, frozenset(to)) for value, to in zip(nodes, targets, strict=True)]


def is_graph(xs: Tokens) -> bool:
    """Whether every edge leads to a node."""
    return all(0 <= target < len(xs) for x in xs for target in x.targets)


def sample_graph(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> Tokens:
    """A graph of 1 to max_len nodes, with few, some or most of the possible edges."""
    n = int(rng.integers(1, max_len + 1))
    present = rng.random((n, n)) < rng.choice([0.1, 0.3, 0.7])
    edges = [(int(a), int(b)) for a, b in np.argwhere(present)]
    return list(_graph(sample_tokens(rng, vocab, n, few=bool(rng.random() < 0.3)), edges))


def all_graphs(vocab: tuple[Any, ...], max_len: int) -> Iterator[Tokens]:
    """Every graph of 1 to max_len nodes, smallest first."""
    for n in range(1, max_len + 1):
        pairs = [(a, b) for a in range(n) for b in range(n)]
        for values in itertools.product(vocab, repeat=n):
            for chosen in itertools.product((False, True), repeat=len(pairs)):
                yield list(_graph(values, itertools.compress(pairs, chosen)))


def graph_vocabulary(vocab: tuple[Any, ...], max_len: int) -> tuple[GraphNode, ...]:
    """Every token of graphs of up to max_len nodes."""
    subsets = [frozenset(s) for n in range(max_len + 1) for s in itertools.combinations(range(max_len), n)]
    return tuple(GraphNode(value, targets) for value in vocab for targets in subsets)


def count_graphs(vocab: tuple[Any, ...], max_len: int) -> int:
    """How many graphs of 1 to max_len nodes there are."""
    return sum(len(vocab) ** n * 2 ** (n * n) for n in range(1, max_len + 1))


GRAPHS = Domain("all graphs over the values of nodes", is_graph, sample_graph, all_graphs, count_graphs)
