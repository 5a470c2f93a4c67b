"""Ablating every edge alone, fast: each (edge, pair) restarts the model right behind the reader it changes.

An item is one edge on one pair. Items whose reader does not see the change are never run, nor those whose reader
writes the same as before. Behind a changed reader comes a plain forward pass, in blocks of items that fit a core's
cache. Without normalisation W_O · W_in and W_out · W_U are multiplied out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from gaugeblock.compiled.edges.graph import Graph, parse_edge
from gaugeblock.methods.engine.activations import Activations, causal_mask, normalise, normalise_change
from gaugeblock.methods.engine.edge_sets import moved, take
from gaugeblock.methods.engine.weights import MlpWeights, Weights

MIN_COLUMNS = 16
"""A CPU runs a product with fewer columns than this at a fraction of its speed, so W_U is padded to it."""


@final
@dataclass(frozen=True, eq=False)
class Ends:
    """Logits of some items.

    Attributes:
        edge, pair: what each item is; edges by their place in the graph.
        work: forward passes over all pairs that this took.
    """

    edge: Int[Tensor, " item"]
    pair: Int[Tensor, " item"]
    logits: Float[Tensor, "item pos vocab"]
    work: float


@final
class SingleEdges:
    """Single edges of one model on one set of pairs. `difference`: ablated minus clean value of each writer."""

    def __init__(
        self,
        weights: Weights,
        clean: Activations,
        difference: Float[Tensor, "writer pair pos d_model"],
        rows_at_once: int,
    ) -> None:
        self.weights, self.clean, self.difference = weights, clean, difference
        self._difference = difference.flatten(0, 1)
        pos = difference.shape[2]
        self.mask = causal_mask(weights, pos)
        self.block = max(1, rows_at_once // pos)
        vocab = weights.W_U.shape[1]
        self.vocab, wide = vocab, -vocab % MIN_COLUMNS
        self.W_U, self.b_U = pad(self.weights.W_U, (0, wide)), pad(weights.b_U, (0, wide))
        self.layers = [_Layer.of(self.weights, self.clean, layer) for layer in range(weights.n_layers)]

    def run(self) -> Iterator[Ends]:
        """Every item whose logits can differ from the clean ones, in blocks."""
        graph = self.weights.graph
        edges = _edges_by_stage(graph, self.weights.n_layers)
        for layer in range(self.weights.n_layers):
            yield from self._heads(layer, edges[2 * layer])
            if (mlp := self.weights.mlp[layer]) is not None:
                yield from self._mlp(layer, mlp, edges[2 * layer + 1])
        yield from self._logits(edges[-1])

    # --- items at each kind of reader ----------------------------------------------------------------------------

    def _changes(self, stage: int, writers: list[int], W: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(column in `writers`, pair, change of the normalised stream) where a change can be seen through W."""
        seen = W.any(-1) if self.weights.norm == "none" else torch.ones(len(W), dtype=torch.bool, device=W.device)
        column, pair = (self._touched[writers] @ seen.to(W)).nonzero(as_tuple=True)
        writer = torch.tensor(writers, device=pair.device)[column]
        for part in range(0, len(pair), 8 * self.block):
            here = slice(part, part + 8 * self.block)
            change = take(self._difference, writer[here] * self.difference.shape[1] + pair[here])
            if self.weights.norm != "none":
                change = normalise_change(self.weights, take(self.clean.stream[stage], pair[here]), change)
            yield column[here], pair[here], change

    def _heads(self, layer: int, edges: "_Stage") -> Iterator[Ends]:
        attention, clean = self.weights.attention[layer], self.layers[layer]
        heads, d_head = attention.W_O.shape[:2]
        if not heads:
            return
        small: list[_Changed] = []  # blocks that are run together
        rows = [[edges.row(f"a{layer}.h{head}.{port}") for head in attention.heads] for port in "qkv"]
        places = edges.first + len(edges.writers) * torch.tensor(rows, device=self.W_U.device)
        for column, pair, change in self._changes(2 * layer, edges.writers, attention.W_qkv):
            read = (change.flatten(0, 1) @ attention.W_qkv).view(*change.shape[:2], 3, heads, d_head)
            read = read.permute(2, 3, 0, 1, 4).flatten(1, 2)  # port, (head, item), pos, d_head
            for port, seen in enumerate(read):
                alive = moved(seen).nonzero().squeeze(-1)
                for part in alive.split(4 * self.block):
                    slot, item = part // len(pair), part % len(pair)
                    edge, of = places[port][slot] + take(column, item), take(pair, item)
                    dz = clean.change_of_z(port, slot, of, take(seen, part), self.mask)
                    changed = _Changed(slot, edge, of, dz).chosen(moved(dz, take(clean.floor, slot)))
                    if len(changed.pair) >= self.block:
                        yield from self._behind_heads(layer, changed)
                    else:
                        small.append(changed)
        if small:
            yield from self._behind_heads(layer, _Changed.joined(small))

    def _behind_heads(self, layer: int, changed: "_Changed") -> Iterator[Ends]:
        for head in range(len(self.weights.attention[layer].heads)):
            mine = changed.chosen(changed.slot == head)
            for block in mine.blocks(self.block):
                logits, stages = self._behind_head(layer, head, block.pair, block.dz)
                yield self._ends(block.edge, block.pair, logits, stages)

    def _mlp(self, layer: int, mlp: MlpWeights, edges: "_Stage") -> Iterator[Ends]:
        clean, stage = self.layers[layer], 2 * layer + 1
        for column, pair, change in self._changes(stage, edges.writers, mlp.W_in):
            for part in range(0, len(pair), self.block):
                here = slice(part, part + self.block)
                read = change[here] @ mlp.W_in
                seen = moved(read).nonzero().squeeze(-1)
                p, c = pair[here][seen], column[here][seen]
                post = self.weights.activation(take(clean.pre, p).add_(take(read, seen))).sub_(take(clean.post, p))
                kept = moved(post).nonzero().squeeze(-1)
                if not len(kept):
                    continue
                p, c, post = p[kept], c[kept], post[kept]
                x = take(self.clean.stream[stage + 1], p) + post @ mlp.W_out
                logits, stages = self._finish(x.flatten(0, 1), len(p), stage + 1)
                yield self._ends(edges.first + c, p, logits, stages)

    def _logits(self, edges: "_Stage") -> Iterator[Ends]:
        for column, pair, change in self._changes(self.weights.stages - 1, edges.writers, self.W_U):
            seen = (change @ self.W_U)[..., : self.vocab]
            kept = moved(seen).nonzero().squeeze(-1)
            of = pair[kept]
            yield Ends(edges.first + column[kept], of, self.clean.logits[of] + seen[kept], 0.0)

    # --- what follows --------------------------------------------------------------------------------------------

    def _behind_head(self, layer: int, head: int, pair: Tensor, dz: Tensor) -> tuple[Tensor, int]:
        """Logits, and stages run, when one head's z changes by dz."""
        attention, mlp, clean = self.weights.attention[layer], self.weights.mlp[layer], self.layers[layer]
        stage, items, dz = 2 * layer + 1, len(pair), dz.flatten(0, 1)
        if mlp is None or self.weights.norm != "none":
            x = take(self.clean.stream[stage], pair).flatten(0, 1).addmm_(dz, attention.W_O[head])
            return self._finish(x, items, stage)
        pre = take(clean.pre, pair).flatten(0, 1).addmm_(dz, clean.W_O_in[head])
        post = self.weights.activation(pre)
        if layer == self.weights.n_layers - 1:
            logits = take(self._past_last, pair).flatten(0, 1).addmm_(dz, self._W_O_U[head])
            return logits.addmm_(post, self._W_out_U), 1
        x = take(clean.past, pair).flatten(0, 1).addmm_(dz, attention.W_O[head]).addmm_(post, mlp.W_out)
        logits, stages = self._finish(x, items, stage + 1)
        return logits, stages + 1

    def _finish(self, x: Float[Tensor, "row d_model"], items: int, stage: int) -> tuple[Tensor, int]:
        """Logits, and stages run, when the stream in front of a stage is x, which is overwritten."""
        weights, last = self.weights, self.weights.stages - 1
        for at in range(stage, last):
            attention, mlp, biases = weights.attention[at // 2], weights.mlp[at // 2], self.layers[at // 2]
            if at % 2 == 0:
                if attention.heads:
                    z = self._attend(normalise(weights, x), at // 2, items)
                    x.addmm_(z, attention.W_O.flatten(0, 1))
                if biases.b_O is not None:
                    x += biases.b_O
            elif mlp is not None:
                post = weights.activation(_affine(biases.b_in, normalise(weights, x), mlp.W_in))
                if at == last - 1 and weights.norm == "none":
                    logits = torch.addmm(self._b_out_U, x, self.W_U).addmm_(post, self._W_out_U)
                    return logits, last - stage
                x.addmm_(post, mlp.W_out)
                if biases.b_out is not None:
                    x += biases.b_out
        return torch.addmm(self.b_U, normalise(weights, x), self.W_U), last - stage

    def _attend(self, x: Float[Tensor, "row d_model"], layer: int, items: int) -> Float[Tensor, "row z"]:
        attention = self.weights.attention[layer]
        heads, d_head = attention.W_O.shape[:2]
        qkv = _affine(self.layers[layer].b_qkv, x, attention.W_qkv).view(items, -1, 3, heads, d_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).reshape(3, items * heads, -1, d_head)
        z = _softmax(torch.bmm(q, k.transpose(1, 2)), self.mask) @ v
        return z.view(items, heads, -1, d_head).transpose(1, 2).reshape(-1, heads * d_head)

    def _ends(self, edge: Tensor, pair: Tensor, logits: Tensor, stages: int) -> Ends:
        logits = logits.view(len(pair), -1, logits.shape[-1])[..., : self.vocab]
        work = len(pair) * stages / self.difference.shape[1] / self.weights.stages
        return Ends(edge, pair, logits, work)

    @cached_property
    def _touched(self) -> Float[Tensor, "writer pair d_model"]:
        """1 where a writer changes a coordinate at some position, else 0."""
        return (self.difference.abs().amax(2) > 0).to(self.difference)

    # --- maps multiplied out -------------------------------------------------------------------------------------

    @cached_property
    def _W_O_U(self) -> Tensor:
        return self.weights.attention[-1].W_O @ self.W_U

    @cached_property
    def _W_out_U(self) -> Tensor:
        mlp = self.weights.mlp[-1]
        return self.W_U[:0] if mlp is None else mlp.W_out @ self.W_U

    @cached_property
    def _b_out_U(self) -> Tensor:
        mlp = self.weights.mlp[-1]
        return self.b_U if mlp is None else self.b_U + mlp.b_out @ self.W_U

    @cached_property
    def _past_last(self) -> Tensor:
        """Clean logits without what the neurons of the last MLP add."""
        return self.clean.stream[-2] @ self.W_U + self._b_out_U


@final
@dataclass(frozen=True, eq=False)
class _Changed:
    """Items whose head changes: which head of the layer, edge, pair, and by how much z changes."""

    slot: Tensor
    edge: Tensor
    pair: Tensor
    dz: Tensor

    def chosen(self, where: Tensor) -> "_Changed":
        if where.all():
            return self
        index = where.nonzero().squeeze(-1)
        return _Changed(*(take(x, index) for x in (self.slot, self.edge, self.pair, self.dz)))

    def blocks(self, size: int) -> Iterator["_Changed"]:
        for start in range(0, len(self.pair), size):
            yield _Changed(*(x[start : start + size] for x in (self.slot, self.edge, self.pair, self.dz)))

    @staticmethod
    def joined(parts: list["_Changed"]) -> "_Changed":
        return _Changed(*(torch.cat([getattr(p, n) for p in parts]) for n in ("slot", "edge", "pair", "dz")))


@final
@dataclass(frozen=True, eq=False)
class _Stage:
    """Edges into the readers of one stage: [reader, writer] in row-major order from place `first`."""

    first: int
    readers: list[str]
    writers: list[int]

    def row(self, reader: str) -> int:
        return self.readers.index(reader)


def _edges_by_stage(graph: Graph, n_layers: int) -> list[_Stage]:
    names: list[list[str]] = []
    for layer in range(n_layers):
        names.append([r for r in graph.readers if r.startswith(f"a{layer}.")])
        names.append([r for r in graph.readers if r == f"m{layer}"])
    names.append(["logits"])
    stages = []
    for readers in names:
        incoming = graph.incoming(readers[0]) if readers else ()
        writers = [graph.writer_index[parse_edge(e)[0]] for e in incoming]
        stages.append(_Stage(graph.edge_index[incoming[0]] if incoming else 0, readers, writers))
    return stages


@final
@dataclass(frozen=True, eq=False)
class _Layer:
    """One layer's clean values, laid out to be picked by item.

    Attributes:
        q, k, v, pattern, z: [(pair, head), pos, …].
        floor: per head, the rounding error of z: changes up to it are none.
        pre, post: neurons.
        past: the stream behind the layer without what its neurons add.
        W_O_in: per head, W_O · W_in.
        b_qkv, b_O, b_in, b_out: None where all zero.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    pattern: Tensor
    z: Tensor
    floor: Tensor
    pre: Tensor
    post: Tensor
    past: Tensor
    W_O_in: Tensor
    b_qkv: Tensor | None
    b_O: Tensor | None
    b_in: Tensor | None
    b_out: Tensor | None

    @staticmethod
    def of(weights: Weights, clean: Activations, layer: int) -> "_Layer":
        attention, mlp = weights.attention[layer], weights.mlp[layer]
        q, k, v = clean.qkv[layer].permute(2, 0, 3, 1, 4).flatten(1, 2)
        rounding = torch.finfo(v.dtype).eps / 2
        empty = v.new_zeros(0)
        pre, post = clean.pre[layer], clean.post[layer]
        return _Layer(
            q,
            k,
            v,
            clean.pattern[layer].flatten(0, 1),
            clean.z[layer].transpose(1, 2).flatten(0, 1),
            rounding * clean.qkv[layer][:, :, 2].abs().amax((0, 1, 3)),
            empty if pre is None else pre,
            empty if post is None else post,
            clean.stream[2 * layer + 1] + mlp.b_out if mlp is not None else clean.stream[2 * layer + 1],
            empty if mlp is None else attention.W_O @ mlp.W_in,
            _nonzero(attention.b_qkv),
            _nonzero(attention.b_O),
            None if mlp is None else _nonzero(mlp.b_in),
            None if mlp is None else _nonzero(mlp.b_out),
        )

    def change_of_z(
        self, port: int, slot: Tensor, pair: Tensor, change: Float[Tensor, "item pos d_head"], mask: Tensor | None
    ) -> Float[Tensor, "item pos d_head"]:
        """What a change of some heads' q (port 0), k (1) or v (2) changes in z."""
        place = pair * len(self.floor) + slot
        if port == 2:
            return torch.bmm(take(self.pattern, place), change)
        q, k, v = take(self.q, place), take(self.k, place), take(self.v, place)
        (q if port == 0 else k).add_(change)
        return torch.bmm(_softmax(torch.bmm(q, k.transpose(1, 2)), mask), v).sub_(take(self.z, place))


def _affine(bias: Tensor | None, x: Float[Tensor, "row read"], W: Float[Tensor, "read write"]) -> Tensor:
    """x @ W + bias; None where every bias is zero."""
    return x @ W if bias is None else torch.addmm(bias, x, W)


def _nonzero(bias: Tensor) -> Tensor | None:
    return bias if bias.any() else None


def _softmax(scores: Float[Tensor, "item query key"], mask: Tensor | None) -> Float[Tensor, "item query key"]:
    """Softmax in place; torch's own is many times slower on CPU for axes under 16."""
    if mask is not None:
        scores += mask
    if scores.shape[-1] > 16 or scores.is_cuda:
        return scores.softmax(-1)
    scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    return scores.div_(scores.sum(-1, keepdim=True))
