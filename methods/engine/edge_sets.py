"""Changes that run through a model when edges are ablated: only what differs from the clean run is computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaugeblock.compiled.edges.graph import Place
from gaugeblock.methods.engine.activations import Activations, attend, causal_mask, normalise_change
from gaugeblock.methods.engine.weights import AttentionWeights, MlpWeights, Weights

Cut = Sequence[tuple[str, int]]
"""Ablated edges as (reader, index of the writer)."""

Functional = Callable[[Tensor, Tensor], Tensor]
"""(logits [n, pos, vocab], pair index [n]) -> [n]."""

ROWS_AT_ONCE = 2048
"""Token rows that a block of (set, pair) items starts with."""


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
            chosen = alive.nonzero().squeeze(1)
            self.set, self.pair, self.stream = (take(x, chosen) for x in (self.set, self.pair, self.stream))
            self.written = {w: take(change, chosen) for w, change in self.written.items()}


def take(values: Tensor, chosen: Int[Tensor, " item"]) -> Tensor:
    """values[chosen], which torch does several times slower."""
    return values.index_select(0, chosen)


def moved(change: Float[Tensor, "item ..."], floor: Tensor | float = 0.0) -> Bool[Tensor, " item"]:
    """Whether each item is anywhere larger than a floor; several times faster than `any`."""
    flat = change.flatten(1)
    if not flat.shape[1]:  # an MLP that writes only b_out has no neurons
        return flat.new_zeros(len(flat), dtype=torch.bool)
    return flat.abs().amax(1) > floor


@final
@dataclass(frozen=True, eq=False)
class Changes:
    """Changes relative to `clean`. `difference` is what ablating each writer would change in its value."""

    weights: Weights
    clean: Activations
    difference: Float[Tensor, "writer pair pos d_model"]

    def on(self, pairs: Int[Tensor, " chosen"]) -> "Changes":
        """The same on some pairs."""
        return Changes(self.weights, self.clean.on(pairs), self.difference[:, pairs])

    def values(
        self,
        cuts: Sequence[Cut],
        functional: Functional,
        start: Float[Tensor, "pair pos vocab"],
        number: Int[Tensor, " pair"],
    ) -> tuple[Float[Tensor, "set pair"], float]:
        """(the functional of the logits with each set of ablated edges, forward passes over all pairs that this took).

        Args:
            start: the logits that changes are added to.
            number: the index of each pair, for the functional.
        """
        result = functional(start.clone(), number.clone()).repeat(len(cuts), 1)  # it may work in place
        first = [min((self.stage(reader) for reader, _ in cut), default=0) for cut in cuts]
        order = sorted(range(len(cuts)), key=first.__getitem__)
        per_block = max(1, ROWS_AT_ONCE // max(1, start[..., 0].numel()))
        work = 0.0
        for begin in range(0, len(order), per_block):
            chosen = order[begin : begin + per_block]
            block = self.follow([cuts[i] for i in chosen])
            if len(block.pair):
                which = torch.tensor(chosen, device=block.pair.device)[block.set]
                result[which, block.pair] = functional(start[block.pair] + block.logits, number[block.pair])
            work += block.work
        return result, work

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
        stages = [self.stage(reader) for reader in by_reader]
        last = torch.tensor([max((self.stage(r) for r, _ in cut), default=-1) for cut in cuts], device=device)
        work = 0.0
        for stage in range(min(stages, default=0), self.weights.stages - 1):
            if not len(items.pair):
                break
            work += len(items.pair) / n_pairs / self.weights.stages
            self._step(stage, items, by_reader)
            items.keep((take(last, items.set) > stage) | moved(items.stream))
        return self._finish(items, by_reader, work)

    # --- one reader alone ----------------------------------------------------------------------------------------

    def into(self, reader: str, difference: Float[Tensor, "*writer pair pos d_model"]) -> Tensor:
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

    # --- whole stages --------------------------------------------------------------------------------------------

    def _step(self, stage: int, items: _Items, cuts: dict[str, list[tuple[int, int]]]) -> None:
        layer = stage // 2
        if stage % 2 == 0:
            self._attention_step(layer, self.weights.attention[layer], items, cuts)
        elif (mlp := self.weights.mlp[layer]) is not None:
            self._mlp_step(layer, mlp, items, cuts)

    def _attention_step(
        self, layer: int, attention: AttentionWeights, items: _Items, cuts: dict[str, list[tuple[int, int]]]
    ) -> None:
        if not attention.heads:
            return
        streaming = moved(items.stream).nonzero().squeeze(1)  # items in which something arrives
        pair = take(items.pair, streaming)
        change = self._normalised(2 * layer, pair, take(items.stream, streaming))
        n_heads, d_head = attention.W_O.shape[:2]
        qkv = (change @ attention.W_qkv).view(*change.shape[:2], 3, n_heads, d_head)
        alive = qkv.abs().sum((1, 2, 4)) > 0  # [item, head]
        if not cuts and bool(alive.all()) and len(streaming) == len(items.pair):
            items.stream = items.stream + self._heads(layer, qkv, pair)
            return
        total = items.stream
        for slot, head in enumerate(attention.heads):
            chosen, ports = streaming, qkv[:, :, :, slot]
            readers = [f"a{layer}.h{head}.{port}" for port in "qkv"]
            if not cuts.keys().isdisjoint(readers):
                chosen, ports = self._with_cuts(layer, attention, slot, items, cuts, (streaming, ports), readers)
            kept = (alive[:, slot] if chosen is streaming else moved(ports)).nonzero().squeeze(1)
            if len(kept):
                chosen = take(chosen, kept)
                output = self._head(layer, slot, take(ports, kept).unbind(2), take(items.pair, chosen))
                total = total.index_add(0, chosen, output)
                if cuts:
                    written = torch.zeros_like(items.stream).index_copy_(0, chosen, output)
                    items.written[self._writer(f"a{layer}.h{head}")] = written
        items.stream = total

    def _with_cuts(
        self,
        layer: int,
        attention: AttentionWeights,
        slot: int,
        items: _Items,
        cuts: dict[str, list[tuple[int, int]]],
        arriving: tuple[Int[Tensor, " moved"], Float[Tensor, "moved pos 3 d_head"]],
        readers: Sequence[str],
    ) -> tuple[Int[Tensor, " chosen"], Float[Tensor, "chosen pos 3 d_head"]]:
        """(items whose head may change, changes of its q, k and v): what arrives in the stream, and what cuts add."""
        concerned = {i: self._concerned(items, cuts[r]) for i, r in enumerate(readers) if r in cuts}
        some = torch.zeros(len(items.pair), dtype=torch.bool, device=items.pair.device)
        for places in (arriving[0], *concerned.values()):
            some[places] = True
        chosen = some.nonzero().squeeze(1)
        row = some.cumsum(0) - 1  # of an item among the chosen
        ports = arriving[1].new_zeros(len(chosen), *arriving[1].shape[1:])
        ports[row[arriving[0]]] = arriving[1]
        for i, places in concerned.items():
            change = take(items.stream, places) + self._cut_change(items, cuts[readers[i]], places)
            change = self._normalised(2 * layer, take(items.pair, places), change)
            ports[row[places], :, i] = change @ attention.maps[:, i, slot]
        return chosen, ports

    def _mlp_step(self, layer: int, mlp: MlpWeights, items: _Items, cuts: dict[str, list[tuple[int, int]]]) -> None:
        change = items.stream
        if (reader := f"m{layer}") in cuts:
            change = change + self._cut_change(items, cuts[reader])
        pre = self._normalised(2 * layer + 1, items.pair, change) @ mlp.W_in
        alive = moved(pre)
        if bool(alive.all()):
            output = written = self._mlp(layer, pre, items.pair)
            items.stream = items.stream + output
        else:
            chosen = alive.nonzero().squeeze(1)
            if not len(chosen):
                return
            output = self._mlp(layer, take(pre, chosen), take(items.pair, chosen))
            items.stream = items.stream.index_add(0, chosen, output)
            written = torch.zeros_like(items.stream).index_copy_(0, chosen, output) if cuts else output
        if cuts:
            items.written[self._writer(f"m{layer}")] = written

    def _finish(self, items: _Items, cuts: dict[str, list[tuple[int, int]]], work: float) -> Block:
        change = items.stream
        if "logits" in cuts:
            change = change + self._cut_change(items, cuts["logits"])
        logits = self._normalised(self.weights.stages - 1, items.pair, change) @ self.weights.W_U
        return Block(items.set, items.pair, logits, work)

    def _normalised(self, stage: int, pair: Tensor, change: Tensor) -> Tensor:
        if self.weights.norm == "none":
            return change
        return normalise_change(self.weights, take(self.clean.stream[stage], pair), change)

    def _concerned(self, items: _Items, cuts: list[tuple[int, int]]) -> Int[Tensor, " concerned"]:
        """The items in whose set one of these edges is ablated."""
        sets = torch.tensor(sorted({cut_set for cut_set, _ in cuts}), device=items.set.device)
        return torch.isin(items.set, sets).nonzero().squeeze(1)

    def _cut_change(
        self, items: _Items, cuts: list[tuple[int, int]], places: Int[Tensor, " chosen"] | None = None
    ) -> Float[Tensor, "chosen pos d_model"]:
        """What ablating these edges adds to the reader's input: ablated minus current, for all items or the chosen."""
        of_set, pair = (x if places is None else take(x, places) for x in (items.set, items.pair))
        sets, writers = (sorted(set(column)) for column in zip(*cuts, strict=True))
        chosen = self.difference.new_zeros(int(max(items.set.max(), sets[-1])) + 1, len(writers))
        for cut_set, writer in cuts:
            chosen[cut_set, writers.index(writer)] = 1
        replaced = torch.einsum("sw,wptd->sptd", chosen, self.difference[writers])
        change = take(replaced.flatten(0, 1), of_set * replaced.shape[1] + pair)
        for column, writer in enumerate(writers):
            if (written := items.written.get(writer)) is not None:
                written = written if places is None else take(written, places)
                change -= take(chosen[:, column], of_set)[:, None, None] * written
        return change

    # --- nodes ---------------------------------------------------------------------------------------------------

    def _head(self, layer: int, slot: int, changes: Sequence[Tensor], pair: Tensor) -> Tensor:
        """Change of one head's output from the changes of its q, k and v."""
        clean = [take(self._clean_ports[layer][i][slot], pair) for i in range(3)]
        q, k, v = (x + change for x, change in zip(clean, changes, strict=True))
        z, _ = attend(q, k, v, self._mask)
        return (z - take(self._clean_z[layer][slot], pair)) @ self.weights.attention[layer].W_O[slot]

    def _heads(self, layer: int, qkv: Tensor, pair: Tensor) -> Tensor:
        """Change of the sum of all heads' outputs."""
        q, k, v = (qkv + take(self.clean.qkv[layer], pair)).permute(2, 0, 3, 1, 4)
        z, _ = attend(q, k, v, self._mask)
        z = z.transpose(1, 2) - take(self.clean.z[layer], pair)
        return z.flatten(2) @ self.weights.attention[layer].W_O.flatten(0, 1)

    def _mlp(self, layer: int, change: Tensor, pair: Tensor) -> Tensor:
        """Change of an MLP's output from the change of its pre-activations."""
        mlp, pre, post = self.weights.mlp[layer], self.clean.pre[layer], self.clean.post[layer]
        assert mlp is not None
        assert pre is not None
        assert post is not None
        return self.weights.activation(take(pre, pair).add_(change)).sub_(take(post, pair)) @ mlp.W_out

    @cached_property
    def _mask(self) -> Tensor | None:
        return causal_mask(self.weights, self.difference.shape[2])

    @cached_property
    def _clean_ports(self) -> list[list[list[Tensor]]]:
        """Clean q, k and v of each head, contiguous: [layer][port][slot]."""
        return [[[x[:, :, i, h].contiguous() for h in range(x.shape[3])] for i in range(3)] for x in self.clean.qkv]

    @cached_property
    def _clean_z(self) -> list[list[Tensor]]:
        return [[z[:, :, h].contiguous() for h in range(z.shape[2])] for z in self.clean.z]

    def stage(self, reader: str) -> int:
        """Where along the stream a reader reads: 2l for attention in layer l, 2l + 1 for its MLP, then the logits."""
        place = Place.of(reader)
        if place.kind == "logits" or place.layer is None:
            return self.weights.stages - 1
        return 2 * place.layer + (place.kind == "mlp")

    def _writer(self, name: str) -> int:
        return self.weights.graph.writer_index[name]
