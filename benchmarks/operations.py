"""Floating-point operations of exact patching: how many there must be, how many are done, and in which part."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hooked import clock

from gaugeblock.compiled.edges.graph import Place, parse_edge
from gaugeblock.methods import Task

PRODUCTS = {"aten::mm": 0, "aten::addmm": 1, "aten::addmm_": 1, "aten::bmm": 0, "aten::baddbmm": 1}
"""Matrix products, and where among its inputs the two factors start."""

KINDS = ("projections", "attention", "MLPs", "unembedding and metric", "clean values, changed items", "Python and rest")


def kind_of(op: str, shapes: Sequence[Any], task: Task) -> str:
    """Which part of the model an operation belongs to, by its sizes."""
    cfg: Any = task.model.cfg
    if op == "aten::index_select":
        return "clean values, changed items"
    if op in ("aten::bmm", "aten::baddbmm"):
        return "attention"
    sizes = {shape[-1] for shape in shapes if shape}
    vocab = cfg.d_vocab_out + -cfg.d_vocab_out % 16
    if sizes & {cfg.d_vocab_out, vocab} and task.clean.shape[1] not in sizes:
        return "unembedding and metric"
    if cfg.d_mlp in sizes:
        return "MLPs"
    if op in PRODUCTS:
        return "projections"
    if op in ("aten::abs", "aten::amax", "aten::gt", "aten::nonzero"):
        return "clean values, changed items"
    if sizes & {cfg.d_head, task.clean.shape[1]} or cfg.n_heads * cfg.d_head in sizes:
        return "attention"
    return KINDS[-1]


def flops(op: str, shapes: Sequence[Any]) -> float:
    if op not in PRODUCTS:
        return 0.0
    left, right = shapes[PRODUCTS[op] :][:2]
    return 2.0 * float(np.prod(left)) * right[-1]


def needed(task: Task) -> float:
    """Floating-point operations of the products behind every change that can be seen, with maps multiplied out.

    Per (edge, pair): the reader's map on the change; the one head, or the MLP; then whole layers up to the logits.
    For a model without normalisation, of equal layers.
    """
    cfg: Any = task.model.cfg
    pos = task.clean.shape[1]
    d, z, neurons, vocab, last = cfg.d_model, cfg.d_head, cfg.d_mlp, cfg.d_vocab_out, cfg.n_layers - 1
    heads = 3 * d * cfg.n_heads * z + 2 * pos * cfg.n_heads * z + cfg.n_heads * z * d

    def behind(layer: int) -> int:
        """From the stream behind a layer."""
        if layer == last:
            return d * vocab
        return heads + d * neurons + neurons * (d if layer + 1 < last else vocab) + behind(layer + 1)

    pairs = task.engine.difference.flatten(2).any(-1).sum(-1).tolist()
    total = 0
    for writer, reader in map(parse_edge, task.graph.edges):
        place, layer = Place.of(reader), Place.of(reader).layer
        if layer is None:
            cost = d * vocab
        elif place.kind == "mlp":
            cost = d * neurons + (neurons * d + behind(layer) if layer < last else neurons * vocab)
        else:
            head = d * z + (1 if place.port == "v" else 2) * pos * z + z * neurons
            cost = head + (z * d + neurons * d + behind(layer) if layer < last else z * vocab + neurons * vocab)
        total += cost * pairs[task.graph.writer_index[writer]]
    return 2.0 * pos * total


def gemm(task: Task, rows: int, inner: int, columns: int) -> float:
    """Floating-point operations per second of a plain product; the best of a few tries."""
    like = task.engine.clean_logits
    left, right = (like.new_zeros(shape).normal_() for shape in ((rows, inner), (inner, columns)))
    out, work = like.new_zeros(rows, columns), 2.0 * rows * inner * columns
    repeats, best = max(1, int(5e9 / work)), 0.0
    for _ in range(5):
        start = clock(task)
        for _ in range(repeats):
            torch.mm(left, right, out=out)
        best = max(best, repeats * work / (clock(task) - start))
    return best
