"""An outer bound, from the weights alone, of the residual stream, whatever set of edges is ablated.

A writer's content is bounded by a sum of polytopes, each given by its vertices (rows). A head writes mixtures of what
its values can be, so its polytopes are linear images of those of the stream; neurons that read along one line write
along a broken line, whose corners are vertices. As every set is convex and every writer has its own, the bound holds
for any mixture of contents, drawn anew for each writer and reader.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from gaugeblock.compiled.stages.assemble import Weights

Vertices = Float[np.ndarray, "_ d_model"]

SURE_SCORE_GAP = 60.0
"""A gap between scores beyond which attention to the lower one, below 1e-26, is nothing."""


@final
@dataclass(frozen=True)
class StreamBounds:
    """Polytopes whose sum bounds the stream: at the BOS position, and at every other one. Both lists run in parallel,
    so that what polytope i holds anywhere is the hull of bos[i] and other[i]."""

    bos: tuple[Vertices, ...] = ()
    other: tuple[Vertices, ...] = ()

    def plus(self, *more: "StreamBounds") -> "StreamBounds":
        """The stream after further writers."""
        bos, other = (sum((getattr(c, kind) for c in more), getattr(self, kind)) for kind in ("bos", "other"))
        return StreamBounds(bos, other)

    def highest(self, reads: Float[np.ndarray, "d_model n"]) -> Float[np.ndarray, " n"]:
        """Upper bound of stream @ reads, at any position."""
        return np.maximum(*(_most(polytopes, reads) for polytopes in (self.bos, self.other))).sum(0)

    def extent(self) -> tuple[Float[np.ndarray, " d_model"], Float[np.ndarray, " d_model"]]:
        """Lower and upper bound along each direction, at any position."""
        low, high = (
            extreme(*(extreme.reduceat(*_stacked(polytopes)) for polytopes in (self.bos, self.other)))
            for extreme in (np.minimum, np.maximum)
        )
        return low.sum(0), high.sum(0)


def start(weights: Weights, zeroed: bool) -> StreamBounds:
    """Bound what embed and pos write. zeroed: whether they can be ablated to zero."""
    W_E, W_pos = weights["embed.W_E"], weights["pos_embed.W_pos"]
    bos = len(W_E) - 2
    parts = [(W_E[[bos]], np.delete(W_E, bos, 0)), (W_pos[:1], W_pos[1:])]
    return _contents(parts, zeroed)


def after_head(before: StreamBounds, head: Weights) -> StreamBounds:
    """Bound what a head writes by all that its values can be; zero included, as it may be ablated or stand later."""
    carried = head["W_V"] @ head["W_O"]
    values = list(zip(_mapped(before.bos, carried), _mapped(before.other, carried), strict=True))
    constant = (head["b_V"] @ head["W_O"])[None]
    values.append((constant, constant))
    at_bos, elsewhere = (gap(before, head, at) >= SURE_SCORE_GAP for at in ("bos", "other"))
    return _contents([(b if at_bos else np.vstack([b, o]), b if elsewhere else np.vstack([b, o])) for b, o in values])


def after_neurons(
    before: StreamBounds,
    W_in: Float[np.ndarray, "d_model n"],
    b_in: Float[np.ndarray, " n"],
    W_out: Float[np.ndarray, "n d_model"],
) -> StreamBounds:
    """Bound what neurons write: those that read along the same line together, the others one by one."""
    lines, members = _lines(W_in)
    ranges = [(-_most(p, -lines).sum(0), _most(p, lines).sum(0)) for p in (before.bos, before.other)]
    parts = []
    for line, neurons in enumerate(members):
        slopes = lines[:, line] @ W_in[:, neurons]
        corners = [_corners(low[line], high[line], slopes, b_in[neurons]) @ W_out[neurons] for low, high in ranges]
        parts.append((corners[0], corners[1]))
    return _contents(parts)


def gap(before: StreamBounds, head: Weights, query: str) -> float:
    """Lower bound of a head's score of BOS minus its score of any other key, for the query at BOS ("bos") or not."""
    constant = head["b_Q"][None]
    queries, starts = _stacked([*(q for q in _mapped(getattr(before, query), head["W_Q"]) if q.any()), constant])
    at_bos, elsewhere = (_mapped(polytopes, head["W_K"]) for polytopes in (before.bos, before.other))
    varied = [(b, o) for b, o in zip(at_bos, elsewhere, strict=True) if b.any() or o.any()]
    if not varied:
        return 0.0
    leads = _most([b for b, _ in varied], -queries.T) + _most([o for _, o in varied], queries.T)
    behind = np.maximum.reduceat(leads.sum(0), starts).sum()
    return -float(behind) / math.sqrt(head["W_Q"].shape[1])


def _stacked(polytopes: Sequence[Float[np.ndarray, "_ d"]]) -> tuple[Float[np.ndarray, "rows d"], list[int]]:
    """All vertices, and where each polytope's begin."""
    return np.vstack(polytopes), np.cumsum([0, *(len(vertices) for vertices in polytopes[:-1])]).tolist()


def _most(
    polytopes: Sequence[Float[np.ndarray, "_ d"]], reads: Float[np.ndarray, "d n"]
) -> Float[np.ndarray, "polytopes n"]:
    """The most that each read can be of each polytope."""
    rows, starts = _stacked(polytopes)
    return np.maximum.reduceat(rows @ reads, starts)


def _mapped(
    polytopes: Sequence[Float[np.ndarray, "_ d"]], by: Float[np.ndarray, "d e"]
) -> list[Float[np.ndarray, "_ e"]]:
    rows, starts = _stacked(polytopes)
    return np.split(rows @ by, starts[1:])


def _contents(parts: Sequence[tuple[Vertices, Vertices]], zeroed: bool = True) -> StreamBounds:
    kept = [(b, o) for b, o in parts if b.any() or o.any()]
    return StreamBounds(tuple(_distinct(b, zeroed) for b, _ in kept), tuple(_distinct(o, zeroed) for _, o in kept))


def _distinct(vertices: Vertices, zeroed: bool) -> Vertices:
    if zeroed:
        vertices = np.vstack([vertices, np.zeros_like(vertices[:1])])
    return np.unique(vertices, axis=0) if len(vertices) > 3 else vertices


def _lines(W_in: Float[np.ndarray, "d_model n"]) -> tuple[Float[np.ndarray, "d_model lines"], list[np.ndarray]]:
    """Unit vectors along which neurons read, and who reads along each."""
    size = np.linalg.norm(W_in, axis=0)
    unit = W_in / np.where(size > 0, size, 1)
    first = np.abs(unit) > 1e-9
    unit = unit * np.sign(unit[first.argmax(0), np.arange(unit.shape[1])] + (size == 0))
    _, index, inverse = np.unique(np.round(unit, 9), axis=1, return_index=True, return_inverse=True)
    return unit[:, index], [np.flatnonzero(inverse == i) for i in range(len(index))]


def _corners(
    low: float, high: float, slopes: Float[np.ndarray, " n"], biases: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "corners n"]:
    """Activations relu(slope t + bias) at both ends of t's range and at every bend between."""
    with np.errstate(divide="ignore", invalid="ignore"):
        bends = -biases / slopes
    at = np.concatenate([[low, high], bends[(bends > low) & (bends < high)]])
    return np.maximum(at[:, None] * slopes + biases, 0)
