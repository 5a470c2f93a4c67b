"""Exact patching: the effect of an ablation, measured by running it."""

import torch

from gaugeblock.methods.registry import method
from gaugeblock.methods.task import Task


@method()
def edge_patching(task: Task) -> dict[str, float]:
    """Effect of ablating each edge alone: mean over pairs of metric(clean) - metric(edge ablated).

    Source: activation patching (Vig et al. 2020, Meng et al. 2022) applied to edges, as in path patching
    (Goldowsky-Dill et al. 2023). Cost: one forward pass per edge in principle; only what changes is recomputed.
    """
    effect = _clean_metric(task) - task.engine.single_edges(task.metric).mean(1)
    return dict(zip(task.graph.edges, effect.tolist(), strict=True))


@method(level="nodes")
def activation_patching(task: Task) -> dict[str, float]:
    """Effect of ablating each node for all its readers: mean over pairs of metric(clean) - metric(node ablated).

    Source: Vig et al. 2020; Meng et al. 2022. Cost: one forward pass per node. Node scores are lifted to edges.
    """
    values = task.engine.patch([task.graph.outgoing(w) for w in task.graph.writers], task.metric)
    return dict(zip(task.graph.writers, (_clean_metric(task) - values.mean(1)).tolist(), strict=True))


@method()
def random(task: Task) -> dict[str, float]:
    """A uniform random score for every edge: what chance looks like."""
    return dict(zip(task.graph.edges, task.rng.random(len(task.graph.edges)).tolist(), strict=True))


def _clean_metric(task: Task) -> torch.Tensor:
    pairs = torch.arange(len(task.clean), device=task.clean.device)
    return task.metric(task.engine.clean_logits, pairs).mean()
