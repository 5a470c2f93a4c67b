"""What many circuits of one model say. What circuits have in common is computed once.

Two circuits with the same edges into a head, from writers that do the same in both, have the same head there. Circuits
from which one edge or a few are taken out agree in most heads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaugeblock.compiled.edges.graph import Graph
from gaugeblock.methods.engine.activations import attend, causal_mask, normalise
from gaugeblock.methods.engine.weights import Weights

NUMBERS_AT_ONCE = 2**23
"""Numbers in residual streams that are held at once, for as many pairs as that allows."""


@final
@dataclass(frozen=True, eq=False)
class ReaderInputs:
    """The different inputs of a reader.

    Attributes:
        parts: per writer that it reads, (which of the inputs hold it, which state of the writer each of them holds).
        count: how many inputs there are.
        of_circuit: the input of each circuit.
    """

    parts: list[tuple[str, Int[Tensor, " _"], Int[Tensor, " _"]]]
    count: int
    of_circuit: Int[Tensor, " circuit"]


@final
@dataclass(frozen=True, eq=False)
class HeadStates:
    """The different states of a head: which inputs its q, k and v have in each [state, 3]."""

    ports: tuple[ReaderInputs, ReaderInputs, ReaderInputs]
    states: Int[Tensor, "state 3"]


@final
class HardMasks:
    """Circuits, one row of `masks` each: True where an edge is clean, False where it carries its ablated value."""

    def __init__(self, weights: Weights, graph: Graph, masks: Bool[Tensor, "circuit edge"]) -> None:
        self.weights, self.graph, self.masks = weights, graph, masks
        nowhere = masks.new_zeros(len(masks), dtype=torch.long)
        self.sources: list[str] = [w for w in ("embed", "pos") if w in graph.writer_index]
        self._state = dict.fromkeys(self.sources, nowhere)
        self.heads: dict[str, HeadStates] = {}
        self.mlps: dict[int, ReaderInputs] = {}
        for layer, (attention, mlp) in enumerate(zip(weights.attention, weights.mlp, strict=True)):
            states = {f"a{layer}.h{head}": self._head(f"a{layer}.h{head}") for head in attention.heads}
            for name, (head, of_circuit) in states.items():
                self.heads[name], self._state[name] = head, of_circuit
            if mlp is not None:
                self.mlps[layer] = self._read(f"m{layer}")
                self._state[f"m{layer}"] = self.mlps[layer].of_circuit
        self.logits = self._read("logits")

    @property
    def states(self) -> int:
        """How many states of writers, and of the logits, there are to compute."""
        return sum(len(h.states) for h in self.heads.values()) + sum(m.count for m in self.mlps.values()) + self.count

    @property
    def count(self) -> int:
        """How many different logits there are."""
        return self.logits.count

    @property
    def streams(self) -> int:
        """The most residual streams that are held at once for each pair."""
        reads = [*self.mlps.values(), self.logits, *(port for head in self.heads.values() for port in head.ports)]
        return len(self.sources) + self.states + max(read.count for read in reads)

    def run(
        self, clean: Float[Tensor, "writer pair pos d_model"], ablated: Float[Tensor, "writer pair pos d_model"]
    ) -> Iterator[tuple[slice, Float[Tensor, "state pair pos vocab"]]]:
        """(pairs, different logits on them), in blocks of pairs; `logits.of_circuit` says which are whose."""
        n_pairs, n_pos, d_model = clean.shape[1:]
        size = max(1, NUMBERS_AT_ONCE // (self.streams * n_pos * d_model))
        for start in range(0, n_pairs, size):
            pairs = slice(start, start + size)
            yield pairs, self._run(clean[:, pairs], ablated[:, pairs])

    def _run(
        self, clean: Float[Tensor, "writer pair pos d_model"], ablated: Float[Tensor, "writer pair pos d_model"]
    ) -> Float[Tensor, "state pair pos vocab"]:
        weights, index, shape = self.weights, self.graph.writer_index, clean.shape[1:]
        mask = causal_mask(weights, shape[1])
        gaps = {w: (clean[index[w]] - ablated[index[w]])[None] for w in self.sources}
        base = ablated[[index[w] for w in self.sources]].sum(0)

        def stream(read: ReaderInputs) -> Float[Tensor, "state row d_model"]:
            total = base.repeat(read.count, 1, 1, 1)
            for writer, held, state in read.parts:
                total.index_add_(0, held, gaps[writer].index_select(0, state))
            return normalise(weights, total).flatten(1, 2)

        for layer, (attention, mlp) in enumerate(zip(weights.attention, weights.mlp, strict=True)):
            d_head = attention.W_O.shape[1]
            written = {}
            for slot, h in enumerate(attention.heads):
                head = self.heads[f"a{layer}.h{h}"]
                q, k, v = (
                    (stream(read) @ attention.maps[:, port, slot] + attention.b_qkv.view(3, -1, d_head)[port, slot])
                    .view(read.count, *shape[:2], d_head)
                    .index_select(0, head.states[:, port])
                    for port, read in enumerate(head.ports)
                )
                z, _ = attend(q, k, v, mask)
                written[f"a{layer}.h{h}"] = z @ attention.W_O[slot]
            for name, output in written.items():
                gaps[name] = output.sub_(ablated[index[name]])
                base = base + ablated[index[name]]
            base = base + attention.b_O
            if mlp is not None:
                post = weights.activation(torch.matmul(stream(self.mlps[layer]), mlp.W_in).add_(mlp.b_in))
                gap = torch.matmul(post, mlp.W_out).add_(mlp.b_out).view(-1, *shape)
                gaps[f"m{layer}"] = gap.sub_(ablated[index[f"m{layer}"]])
                base = base + ablated[index[f"m{layer}"]]
        return (stream(self.logits) @ weights.W_U + weights.b_U).view(self.count, *shape[:2], -1)

    def _head(self, name: str) -> tuple[HeadStates, Int[Tensor, " circuit"]]:
        q, k, v = (self._read(f"{name}.{port}") for port in "qkv")
        together = torch.stack([q.of_circuit, k.of_circuit, v.of_circuit], 1)
        states, of_circuit = together.unique(dim=0, return_inverse=True)
        return HeadStates((q, k, v), states), of_circuit

    def _read(self, reader: str) -> ReaderInputs:
        writers = list(self._state)
        columns = self.graph.indices(f"{writer}->{reader}" for writer in writers)
        kept = self.masks[:, torch.as_tensor(columns, device=self.masks.device)]
        states = torch.stack([self._state[writer] for writer in writers], 1).masked_fill(~kept, -1)
        inputs, of_circuit = states.unique(dim=0, return_inverse=True)
        parts = []
        for column, writer in enumerate(writers):
            held = (inputs[:, column] >= 0).nonzero().squeeze(1)
            if len(held):
                parts.append((writer, held, inputs[held, column]))
        return ReaderInputs(parts, len(inputs), of_circuit)
