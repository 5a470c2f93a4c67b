"""What of a model can reach its logits at all, decided by products of weights that are exactly zero.

A padded model computes much that nobody reads. Patching it would be wasted work: whatever is ablated there, the logits
stay. Only exact zeros count, so that pruning never changes a result; a rotated or trained model is left whole.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from gaugeblock.compiled.edges.graph import Place, parse_edge
from gaugeblock.methods.engine.weights import AttentionWeights, MlpWeights, Weights

Reads = dict[str, Float[Tensor, "d_model directions"]]


def prune(weights: Weights) -> tuple[Weights, frozenset[str]]:
    """(the model without heads and neurons that no path leads to the logits, the edges that can matter).

    With normalisation everything reaches everything through the scale, and the model comes back as it is.
    """
    if weights.norm != "none":
        return weights, frozenset(weights.graph.edges)
    reads: Reads = {"logits": weights.W_U}
    attentions: list[AttentionWeights] = []
    mlps: list[MlpWeights | None] = []
    for layer in reversed(range(weights.n_layers)):
        mlp = weights.mlp[layer]
        if mlp is not None:
            live = _meets(mlp.W_out, _all(reads)).any(1)
            alive = bool(live.any())
            mlp = MlpWeights(mlp.W_in[:, live], mlp.b_in[live], mlp.W_out[live], mlp.b_out)
            if alive:
                reads[f"m{layer}"] = mlp.W_in
            elif not bool(mlp.b_out.any()):
                mlp = None
        mlps.append(mlp)
        attentions.append(_live_heads(weights.attention[layer], layer, reads))
    edges = frozenset(edge for edge in weights.graph.edges if _is_live(weights, reads, edge))
    return replace(weights, attention=tuple(reversed(attentions)), mlp=tuple(reversed(mlps))), edges


def _live_heads(attention: AttentionWeights, layer: int, reads: Reads) -> AttentionWeights:
    """The heads that write where a later live reader reads; adds what they read themselves."""
    later = _all(reads)
    maps, keep = attention.maps, []
    for slot, head in enumerate(attention.heads):
        carried = attention.W_O[slot] @ later
        if bool((carried != 0).any()):
            keep.append(slot)
            reads[f"a{layer}.h{head}.v"] = maps[:, 2, slot][:, (carried != 0).any(1)]
            reads[f"a{layer}.h{head}.q"] = maps[:, 0, slot]
            reads[f"a{layer}.h{head}.k"] = maps[:, 1, slot]
    d_head = attention.W_O.shape[1]
    return AttentionWeights(
        heads=tuple(attention.heads[slot] for slot in keep),
        W_qkv=maps[:, :, keep].flatten(1),
        b_qkv=attention.b_qkv.view(3, len(attention.heads), d_head)[:, keep].flatten(),
        W_O=attention.W_O[keep],
        b_O=attention.b_O,
    )


def _is_live(weights: Weights, reads: Reads, edge: str) -> bool:
    writer, reader = parse_edge(edge)
    if reader not in reads:
        return False
    place = Place.of(writer)
    if place.kind == "bias":
        return True
    if place.kind in ("embed", "pos"):
        rows = weights.W_E if place.kind == "embed" else weights.W_pos
    elif place.kind == "mlp":
        mlp = weights.mlp[place.layer or 0]
        rows = None if mlp is None else torch.vstack([mlp.W_out, mlp.b_out])
    else:
        attention = weights.attention[place.layer or 0]
        rows = attention.W_O[attention.heads.index(place.head or 0)]
    return rows is not None and bool(_meets(rows, reads[reader]).any())


def _meets(rows: Tensor, columns: Tensor) -> Tensor:
    return rows @ columns != 0


def _all(reads: Reads) -> Tensor:
    return torch.hstack(list(reads.values()))
