"""Changes that run through a model when edges are ablated: only what differs from the clean run is computed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gaugeblock.compiled.graph import Place
from gaugeblock.methods.activations import Activations, attend, causal_mask, normalise_change
from gaugeblock.methods.weights import Attention, Mlp, Weights

Cut = Sequence[tuple[str, int]]
"""Ablated edges as (reader, index of the writer)."""


@final
@dataclass(frozen=True, eq=False)
class Block:
    """The items whose logits change.

    Attributes:
        set, pair: which set and which pair each item is.
        logits: the change of the item's logits.
        work: forward passes over all pairs that this took.
    """

    set: Int[Tensor, " item"]
    pair: Int[Tensor, " item"]
    logits: Float[Tensor, "item pos vocab"]
    work: float


@final
@dataclass(eq=False)
class _Items:
    """Items on their way through the layers. `stream`: change of the residual stream; `written`: of each writer."""

    set: Tensor
    pair: Tensor
    stream: Tensor
    written: dict[int, Tensor]

    def keep(self, alive: Tensor) -> None:
        if not alive.all():
            self.set, self.pair, self.stream = self.set[alive], self.pair[alive], self.stream[alive]
            self.written = {w: change[alive] for w, change in self.written.items()}


@final
@dataclass(frozen=True, eq=False)
class Changes:
    """Follows changes relative to `clean`. `difference` is what ablating each writer would change in its value."""

    weights: Weights
    clean: Activations
    difference: Float[Tensor, "writer pair pos d_model"]

    def follow(self, cuts: Sequence[Cut]) -> Block:
        """The changed logits for each set of ablated edges, on all pairs."""
        device, n_pairs = self.difference.device, self.difference.shape[1]
        items = _Items(
            set=torch.arange(len(cuts), device=device).repeat_interleave(n_pairs),
            pair=torch.arange(n_pairs, device=device).repeat(len(cuts)),
            stream=self.difference.new_zeros(len(cuts) * n_pairs, *self.difference.shape[2:]),
            written={},
        )
        by_reader: dict[str, list[tuple[int, int]]] = {}
        for i, cut in enumerate(cuts):
            for reader, writer in cut:
                by_reader.setdefault(reader, []).append((i, writer))
        work = 0.0
        last = torch.tensor([max((self.stage(r) for r, _ in cut), default=-1) for cut in cuts], device=device)
        for stage in range(self.weights.stages - 1):
            if not len(items.pair):
                break
            work += len(items.pair) / n_pairs / self.weights.stages
            self._step(stage, items, by_reader)
            items.keep((last[items.set] > stage) | items.stream.flatten(1).any(1))
        return self._finish(items, by_reader, work)

    def follow_each(self, reader: str, writers: Sequence[int], rows_at_once: int) -> Iterator[Block]:
        """The changed logits for each edge into one reader alone; `Block.set` is the place in `writers`."""
        if not writers:
            return
        change = self.into(reader, self.difference[list(writers)])
        which, pair = change.flatten(2).any(2).nonzero(as_tuple=True)
        block = max(1, rows_at_once // change.shape[2])
        for start in range(0, len(pair), block):
            chosen, own = which[start : start + block], pair[start : start + block]
            stream = self._after(reader, change[chosen, own], own)
            items = _Items(chosen, own, stream, {})
            first = self.stage(reader)
            work = 0.0
            if first < self.weights.stages - 1:
                items.keep(stream.flatten(1).any(1))
                for stage in range(first + 1, self.weights.stages - 1):
                    work += len(items.pair) / self.difference.shape[1] / self.weights.stages
                    self._step(stage, items, {})
                yield self._finish(items, {}, work)
            else:
                yield Block(chosen, own, stream, 0.0)

    # --- one reader alone ----------------------------------------------------------------------------------------

    def into(self, reader: str, difference: Tensor) -> Tensor:
        """Change of what the reader computes linearly from its input: q, k or v, pre-activations, logits."""
        stage = self.stage(reader)
        stream = self.clean.stream[stage]
        change = normalise_change(self.weights, stream.expand_as(difference), difference)
        return change @ self._map(reader)

    def _map(self, reader: str) -> Tensor:
        place = Place.of(reader)
        if place.kind == "logits":
            return self.weights.W_U
        assert place.layer is not None
        if place.kind == "mlp":
            mlp = self.weights.mlp[place.layer]
            assert mlp is not None
            return mlp.W_in
        attention = self.weights.attention[place.layer]
        return attention.maps[:, "qkv".index(place.port or "q"), attention.heads.index(place.head or 0)]

    def _after(self, reader: str, change: Tensor, pair: Tensor) -> Tensor:
        """Change of what the reader's node writes (of the logits themselves for "logits")."""
        place = Place.of(reader)
        if place.kind == "logits":
            return change
        assert place.layer is not None
        if place.kind == "mlp":
            return self._mlp(place.layer, change, pair)
        slot = self.weights.attention[place.layer].heads.index(place.head or 0)
        none = change.new_zeros(())
        qkv = [change if port == place.port else none for port in "qkv"]
        return self._head(place.layer, slot, qkv, pair)

    # --- whole stages --------------------------------------------------------------------------------------------

    def _step(self, stage: int, items: _Items, cuts: dict[str, list[tuple[int, int]]]) -> None:
        layer = stage // 2
        if stage % 2 == 0:
            self._attention_step(layer, self.weights.attention[layer], items, cuts)
        elif (mlp := self.weights.mlp[layer]) is not None:
            self._mlp_step(layer, mlp, items, cuts)

    def _attention_step(
        self, layer: int, attention: Attention, items: _Items, cuts: dict[str, list[tuple[int, int]]]
    ) -> None:
        heads, d_head = len(attention.heads), attention.W_O.shape[1]
        base = self.clean.stream[2 * layer][items.pair]
        moved = items.stream.flatten(1).any(1)
        shared = items.stream.new_zeros(*items.stream.shape[:2], 3, heads, d_head)
        if moved.any():
            change = normalise_change(self.weights, base[moved], items.stream[moved])
            shared[moved] = (change @ attention.W_qkv).view(*change.shape[:2], 3, heads, d_head)
        total = torch.zeros_like(items.stream)
        for slot, head in enumerate(attention.heads):
            ports = []
            for i, port in enumerate("qkv"):
                projected = shared[:, :, i, slot]
                reader = f"a{layer}.h{head}.{port}"
                if reader in cuts:
                    change = self._cut_change(items, cuts[reader])
                    change = normalise_change(self.weights, base, items.stream + change)
                    projected = change @ attention.maps[:, i, slot]
                ports.append(projected)
            alive = torch.stack([p.flatten(1).any(1) for p in ports]).any(0)
            if alive.any():
                written = torch.zeros_like(items.stream)
                written[alive] = self._head(layer, slot, [p[alive] for p in ports], items.pair[alive])
                total += written
                items.written[self._writer(f"a{layer}.h{head}")] = written
        items.stream = items.stream + total

    def _mlp_step(self, layer: int, mlp: Mlp, items: _Items, cuts: dict[str, list[tuple[int, int]]]) -> None:
        base = self.clean.stream[2 * layer + 1][items.pair]
        change = items.stream
        if (reader := f"m{layer}") in cuts:
            change = change + self._cut_change(items, cuts[reader])
        pre = normalise_change(self.weights, base, change) @ mlp.W_in
        alive = pre.flatten(1).any(1)
        if alive.any():
            written = torch.zeros_like(items.stream)
            written[alive] = self._mlp(layer, pre[alive], items.pair[alive])
            items.written[self._writer(f"m{layer}")] = written
            items.stream = items.stream + written

    def _finish(self, items: _Items, cuts: dict[str, list[tuple[int, int]]], work: float) -> Block:
        change = items.stream
        if "logits" in cuts:
            change = change + self._cut_change(items, cuts["logits"])
        base = self.clean.stream[-1][items.pair]
        return Block(items.set, items.pair, normalise_change(self.weights, base, change) @ self.weights.W_U, work)

    def _cut_change(self, items: _Items, cuts: list[tuple[int, int]]) -> Tensor:
        """What ablating these edges adds to the reader's input: ablated minus current, for the items they concern."""
        sets, writers = (sorted(set(column)) for column in zip(*cuts, strict=True))
        chosen = self.difference.new_zeros(int(max(items.set.max(), sets[-1])) + 1, len(writers))
        for own, writer in cuts:
            chosen[own, writers.index(writer)] = 1
        replaced = torch.einsum("sw,wptd->sptd", chosen, self.difference[writers])
        change = replaced[items.set, items.pair]
        for column, writer in enumerate(writers):
            if writer in items.written:
                change -= chosen[items.set, column, None, None] * items.written[writer]
        return change

    # --- nodes ---------------------------------------------------------------------------------------------------

    def _head(self, layer: int, slot: int, changes: Sequence[Tensor], pair: Tensor) -> Tensor:
        clean = self.clean.qkv[layer][pair, :, :, slot]
        q, k, v = (clean[:, :, i] + change for i, change in enumerate(changes))
        z, _ = attend(q, k, v, causal_mask(self.weights, q.shape[1]))
        return (z - self.clean.z[layer][pair, :, slot]) @ self.weights.attention[layer].W_O[slot]

    def _mlp(self, layer: int, change: Tensor, pair: Tensor) -> Tensor:
        mlp, pre, post = self.weights.mlp[layer], self.clean.pre[layer], self.clean.post[layer]
        assert mlp is not None and pre is not None and post is not None  # noqa: PT018
        return (self.weights.activation(pre[pair] + change) - post[pair]) @ mlp.W_out

    def stage(self, reader: str) -> int:
        """Where along the stream a reader reads: 2l for attention in layer l, 2l + 1 for its MLP, then the logits."""
        place = Place.of(reader)
        if place.kind == "logits" or place.layer is None:
            return self.weights.stages - 1
        return 2 * place.layer + (place.kind == "mlp")

    def _writer(self, name: str) -> int:
        return self.weights.graph.writer_index[name]
