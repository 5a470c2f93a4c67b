"""The edges that the weights connect at all (structural), and those that can reach the logits (live).

Both are properties of the weights alone and do not depend on the basis of the residual stream.
"""

import numpy as np
from jaxtyping import Float

from gaugeblock.compiled.edges.graph import Graph, Place, parse_edge
from gaugeblock.compiled.stages.assemble import Weights

TOLERANCE = 1e-9

Matrix = Float[np.ndarray, "_ _"]


def structural_edges(weights: Weights, graph: Graph) -> frozenset[str]:
    """Edges whose writer's output directions meet the reader's input map: W_out · W_read is not zero."""
    reads = {reader: input_map(weights, reader) for reader in graph.readers}
    return _meeting(weights, graph, reads)


def live_edges(weights: Weights, graph: Graph) -> frozenset[str]:
    """Edges on the backward slice from the unembedding, neuron by neuron and subspace by subspace.

    A neuron is live if it writes where a later live reader reads. A head's v is live in the directions that its
    W_V·W_O carries to live readers; its q and k are live if its output is, where the other side is not zero.
    The complement changes no logit, whatever set of it is replaced by whatever content.
    """
    reads: dict[str, Matrix] = {"logits": weights["unembed.W_U"]}
    for layer in reversed(range(_n_layers(weights))):
        at = f"blocks.{layer}."
        if f"m{layer}" in graph.reader_index:
            live = _meets(weights[at + "mlp.W_out"], _stacked(reads)).any(1)
            reads[f"m{layer}"] = weights[at + "mlp.W_in"][:, live]
        later = _stacked(reads)
        for head in graph.heads(layer):
            _head_reads(weights, graph, layer, head, later, reads)
    return _meeting(weights, graph, reads)


def _head_reads(weights: Weights, graph: Graph, layer: int, head: int, later: Matrix, reads: dict[str, Matrix]) -> None:
    at, name = f"blocks.{layer}.attn.", f"a{layer}.h{head}"
    W_Q, W_K, W_V = (weights[at + f"W_{x}"][head] for x in "QKV")
    carried = weights[at + "W_O"][head] @ later
    carried = carried * _meets(weights[at + "W_O"][head], later)
    if not _meets(np.vstack([W_V, weights[at + "b_V"][head]]), carried).any():
        return
    before = [output_map(weights, w) for w in graph.writers if _is_before(w, layer)]
    content = np.vstack(before)
    asked = np.vstack([_product(content, W_Q), weights[at + "b_Q"][head]])
    reads[f"{name}.v"] = _product(carried.T, W_V.T).T
    # what b_K adds is the same for every key: softmax ignores it
    reads[f"{name}.q"] = _product(_product(content, W_K), W_Q.T).T
    reads[f"{name}.k"] = _product(asked, W_K.T).T


def _meeting(weights: Weights, graph: Graph, reads: dict[str, Matrix]) -> frozenset[str]:
    outputs = {writer: output_map(weights, writer) for writer in graph.writers}
    ends = {edge: parse_edge(edge) for edge in graph.edges}
    return frozenset(e for e, (w, r) in ends.items() if r in reads and _meets(outputs[w], reads[r]).any())


def _product(rows: Matrix, matrix: Matrix) -> Matrix:
    """rows · matrix, where rows that are only rounding are zero."""
    result = rows @ matrix
    size = np.linalg.norm(rows, axis=1) * np.linalg.norm(matrix)
    return result * (np.linalg.norm(result, axis=1) > TOLERANCE * size)[:, None]


def _meets(rows: Matrix, columns: Matrix) -> np.ndarray:
    """Whether each row · column is not zero, relative to their lengths."""
    size = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(columns, axis=0)[None, :]
    return np.abs(rows @ columns) > TOLERANCE * size


def output_map(weights: Weights, writer: str) -> Matrix:
    """Rows that span what the writer can write."""
    place = Place.of(writer)
    at = f"blocks.{place.layer}."
    match place.kind:
        case "embed":
            return weights["embed.W_E"]
        case "pos":
            return weights["pos_embed.W_pos"]
        case "head":
            W_V, b_V, W_O = (weights[at + f"attn.{x}"][place.head] for x in ("W_V", "b_V", "W_O"))
            return np.vstack([W_V, b_V]) @ W_O
        case "mlp":
            return np.vstack([weights[at + "mlp.W_out"], weights[at + "mlp.b_out"]])
    return np.stack([weights[f"blocks.{i}.attn.b_O"] for i in range(_n_layers(weights))])


def input_map(weights: Weights, reader: str) -> Matrix:
    """Columns that span what the reader reads."""
    place = Place.of(reader)
    at = f"blocks.{place.layer}."
    if place.kind == "logits":
        return weights["unembed.W_U"]
    if place.kind == "mlp":
        return weights[at + "mlp.W_in"]
    if place.port == "v":
        return weights[at + "attn.W_V"][place.head] @ weights[at + "attn.W_O"][place.head]
    return weights[at + f"attn.W_{(place.port or '').upper()}"][place.head]


def _is_before(writer: str, layer: int) -> bool:
    place = Place.of(writer)
    return place.layer is None or place.layer < layer


def _stacked(reads: dict[str, Matrix]) -> Matrix:
    """All columns, parallel ones once: else their number would grow with every layer."""
    columns = np.hstack(list(reads.values()))
    size = np.linalg.norm(columns, axis=0)
    columns = columns[:, size > 0] / size[size > 0]
    first = np.unique(columns.round(12) + 0.0, axis=1, return_index=True)[1]
    return columns[:, np.sort(first)]


def _n_layers(weights: Weights) -> int:
    return sum(name.endswith("attn.W_Q") for name in weights)
