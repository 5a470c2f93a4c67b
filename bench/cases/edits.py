"""Small changes of an input, from which pairs are made: (input, vocabulary, generator) -> another input.

What comes out may equal the input, be empty, too long or outside the domain; whoever calls sorts that out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from gaugeblock.programs.language.operations import GraphNode
from gaugeblock.programs.program import Program

Tokens = list[Any]
Edit = Callable[[Tokens, tuple[Any, ...], np.random.Generator], Tokens]


def edits_of(program: Program) -> dict[str, Edit]:
    """The edits for the program's kind of inputs, by name."""
    return GRAPH_EDITS if program.graph else EDITS


def is_input(program: Program, xs: Tokens) -> bool:
    """Whether an edited input is one that the program is meant for at its size."""
    return 0 < len(xs) <= program.max_len and program.domain.contains(xs)


def _token(vocab: tuple[Any, ...], rng: np.random.Generator) -> Any:
    return vocab[rng.integers(len(vocab))]


def _substitute(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i = int(rng.integers(len(xs)))
    return [*xs[:i], _token(vocab, rng), *xs[i + 1 :]]


def _substitute_two(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    return _substitute(_substitute(xs, vocab, rng), vocab, rng)


def _first(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    return [_token(vocab, rng), *xs[1:]]


def _last(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    return [*xs[:-1], _token(vocab, rng)]


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


def _reverse(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i, j = sorted(rng.integers(len(xs) + 1, size=2))
    return [*xs[:i], *xs[i:j][::-1], *xs[j:]]


def _insert(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i = int(rng.integers(len(xs) + 1))
    return [*xs[:i], _token(vocab, rng), *xs[i:]]


def _delete(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i = int(rng.integers(len(xs)))
    return xs[:i] + xs[i + 1 :]


def _cut(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    return xs[: int(rng.integers(len(xs)))]


EDITS: dict[str, Edit] = {
    "one token replaced": _substitute,
    "two tokens replaced": _substitute_two,
    "the first token replaced": _first,
    "the last token replaced": _last,
    "one token repeated": _repeat,
    "two tokens swapped": _swap,
    "rotated": _rotate,
    "a stretch reversed": _reverse,
    "one token inserted": _insert,
    "one token deleted": _delete,
    "cut short": _cut,
}


def _value_replaced(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    i = int(rng.integers(len(xs)))
    return [*xs[:i], GraphNode(_token(vocab, rng), xs[i].targets), *xs[i + 1 :]]


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
    return [*xs, GraphNode(_token(vocab, rng), frozenset([int(rng.integers(len(xs)))]))]


def _node_removed(xs: Tokens, vocab: tuple[Any, ...], rng: np.random.Generator) -> Tokens:
    return [GraphNode(x.value, x.targets - {len(xs) - 1}) for x in xs[:-1]]


GRAPH_EDITS: dict[str, Edit] = {
    "one value replaced": _value_replaced,
    "two values swapped": _values_swapped,
    "one edge added or removed": _edge_flipped,
    "one node added": _node_added,
    "the last node removed": _node_removed,
}
