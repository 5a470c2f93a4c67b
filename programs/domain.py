"""Which inputs a program is meant for: a predicate, a sampler, and all of them where they are few."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

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
    """

    description: str
    contains: Callable[[Tokens], bool] = everywhere
    sample: Sampler = sample_sequence
    generate: Callable[[tuple[Any, ...], int], Iterator[Tokens]] = all_sequences
    size: Callable[[tuple[Any, ...], int], int] = count_sequences

    def enumerate(self, vocab: tuple[Any, ...], max_len: int, limit: int = 100_000) -> Iterator[Tokens] | None:
        """Every input of the domain, shortest first; None where there are more than `limit` to go through."""
        if self.size(vocab, max_len) > limit:
            return None
        return filter(self.contains, self.generate(vocab, max_len))


ALL_INPUTS = Domain("all non-empty sequences over the vocabulary")


def all_inputs(sample: Sampler) -> Domain:
    """All inputs, with a sampler of its own."""
    return replace(ALL_INPUTS, sample=sample)
