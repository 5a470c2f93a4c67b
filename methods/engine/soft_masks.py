"""The forward pass under masks of edges: whole layers at once, batched over masks, differentiable."""

from functools import cached_property
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gaugeblock.compiled.edges.graph import Graph
from gaugeblock.methods.engine.activations import attend, causal_mask, normalise
from gaugeblock.methods.engine.weights import Weights


@final
class SoftMasks:
    """A model whose reader r reads  Σ_w ablated_w + m[w→r] · (current_w − ablated_w)  over the writers w before it.

    weights: of the model, pruned or whole: edges of what was pruned have no effect and no gradient.
    """

    def __init__(self, weights: Weights, graph: Graph) -> None:
        self.weights, self.graph = weights, graph

    def run(
        self,
        masks: Float[Tensor, "mask edge"],
        clean: Float[Tensor, "writer pair pos d_model"],
        ablated: Float[Tensor, "writer pair pos d_model"],
    ) -> Float[Tensor, "mask pair pos vocab"]:
        """The logits under each mask. Only the sources' rows of `clean` are read."""
        weights, n_masks, shape = self.weights, len(masks), clean.shape[1:]
        causal = causal_mask(weights, shape[1])
        sources = self._sources
        gaps = (clean[sources] - ablated[sources]).expand(n_masks, -1, *shape)
        base = ablated[sources].sum(0)
        index = self.graph.writer_index

        def read(columns: Int[Tensor, "reader writer"]) -> Float[Tensor, "mask reader pair pos d_model"]:
            total = torch.bmm(masks[:, columns], gaps.flatten(2)).view(n_masks, len(columns), *shape)
            return normalise(weights, total + base)

        for layer, (attention, mlp) in enumerate(zip(weights.attention, weights.mlp, strict=True)):
            if attention.heads:
                n_heads, d_head = len(attention.heads), attention.W_O.shape[1]
                maps = attention.maps.permute(1, 2, 0, 3).flatten(0, 1)  # [port and head, d_model, d_head]
                bias = attention.b_qkv.view(3 * n_heads, 1, d_head)
                qkv = read(self._columns[2 * layer]).flatten(2, 3) @ maps + bias
                q, k, v = qkv.view(n_masks, 3, n_heads, *shape[:2], d_head).unbind(1)
                z, _ = attend(q, k, v, causal)
                written = (z.flatten(2, 3) @ attention.W_O).view(n_masks, n_heads, *shape)
                rows = ablated[[index[f"a{layer}.h{head}"] for head in attention.heads]]
                gaps = torch.cat([gaps, written - rows], 1)
                base = base + rows.sum(0)
            base = base + attention.b_O
            if mlp is not None:
                post = weights.activation(read(self._columns[2 * layer + 1]) @ mlp.W_in + mlp.b_in)
                row = ablated[index[f"m{layer}"]]
                gaps = torch.cat([gaps, post @ mlp.W_out + mlp.b_out - row], 1)
                base = base + row
        return read(self._columns[-1])[:, 0] @ weights.W_U + weights.b_U

    @cached_property
    def _sources(self) -> list[int]:
        return [self.graph.writer_index[w] for w in ("embed", "pos") if w in self.graph.writer_index]

    @cached_property
    def _columns(self) -> list[Int[Tensor, "reader writer"]]:
        """Per stage, where the edges from each writer so far to each reader stand in a mask."""
        written = [self.graph.writers[i] for i in self._sources]
        stages = []

        def stage(readers: list[str]) -> None:
            edges = [self.graph.indices(f"{writer}->{reader}" for writer in written) for reader in readers]
            places = torch.tensor(edges, dtype=torch.long, device=self.weights.W_E.device)
            stages.append(places.view(len(readers), len(written)))

        for layer, (attention, mlp) in enumerate(zip(self.weights.attention, self.weights.mlp, strict=True)):
            stage([f"a{layer}.h{head}.{port}" for port in "qkv" for head in attention.heads])
            written += [f"a{layer}.h{head}" for head in attention.heads]
            stage([] if mlp is None else [f"m{layer}"])
            written += [] if mlp is None else [f"m{layer}"]
        stage(["logits"])
        return stages
