"""Information flow routes: how much of a reader's input each writer accounts for on one clean run."""

import torch
from jaxtyping import Float
from torch import Tensor

from gaugeblock.compiled.edges.graph import Place, parse_edge
from gaugeblock.methods.registry import method
from gaugeblock.methods.task import Task


@method()
def information_flow_routes(task: Task) -> dict[str, float]:
    """Share of the writers' L1 proximity to the reader's input y that writer w, with its part z_w, has:
    p_w / Σ_v p_v with p_w = max(0, ‖y‖₁ - ‖y - z_w‖₁); 0 where no writer has any.

    Mean over the positions of a pair, then over pairs: graded positions for the logits, and for all other readers
    those that hold a token of the input. Knows no metric, no corruption and no ablation, and nothing of what a reader
    reads from y: all heads and ports of a layer get the same scores. `bias` takes its share of the whole, but scores
    0 as everywhere, since no ablation replaces it.

    Source: Ferrando & Voita 2024. They score an edge at one prediction and position, with a head's output taken apart
    by the position it comes from, and follow the routes above a threshold down from the prediction; here an edge
    stands for all positions, and its own share is the score, so that the order depends on no threshold.
    Cost: one forward pass.
    """
    engine, graph = task.engine, task.graph
    writers, stream = engine.clean_run.writers, engine.clean_run.stream
    shares: dict[tuple[int, bool], Tensor] = {}
    scores: dict[str, float] = {}
    for reader in graph.readers:
        place = Place.of(reader)
        layer = engine.weights.n_layers if place.layer is None else place.layer
        edges = graph.incoming(reader)
        stage = (layer, place.kind == "mlp")
        if stage not in shares:
            names = [parse_edge(edge)[0] for edge in edges]
            parts = writers[[graph.writer_index[name] for name in names]]
            if "bias" in names:
                before = engine.weights.attention[: layer + stage[1]]
                parts[names.index("bias")] = torch.stack([a.b_O for a in before]).sum(0)
            where = task.positions if place.kind == "logits" else task.rows.clean
            share = proximity_shares(parts, stream[2 * layer + stage[1]]) * where
            shares[stage] = (share.sum(-1) / where.sum(-1).clamp(min=1)).mean(-1)
        for edge, score in zip(edges, shares[stage].tolist(), strict=True):
            scores[edge] = 0.0 if edge.startswith("bias->") else score
    return scores


def proximity_shares(
    parts: Float[Tensor, "part *rows d_model"], whole: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, " part *rows"]:
    """max(0, ‖whole‖₁ - ‖whole - part‖₁) of each part, divided by the sum over parts."""
    size = whole.abs().sum(-1)
    proximity = torch.stack([(size - (whole - part).abs().sum(-1)).clamp(min=0) for part in parts])
    total = proximity.sum(0)
    return proximity / torch.where(total > 0, total, 1.0)
