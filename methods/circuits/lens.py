"""Node scores read off the residual stream of one clean run through the unembedding."""

import torch
from jaxtyping import Float
from torch import Tensor

from gaugeblock.compiled.edges.graph import Place
from gaugeblock.methods.engine.activations import normalise
from gaugeblock.methods.engine.weights import Weights
from gaugeblock.methods.registry import method
from gaugeblock.methods.task import Task


@method(level="nodes")
def direct_logit_attribution(task: Task) -> dict[str, float]:
    """What each node adds directly to the clean answer's logit, over and above what it adds to the average logit.

    w · (W_U[:, answer] - mean over outputs of W_U), the final normalisation's scale frozen at the clean run; for
    numeric outputs w · W_U with the sign of clean minus corrupted output. Mean over the graded positions of a pair,
    then over pairs. The scores of all nodes, with the constants `bias` (scored 0, as nothing replaces it) and b_U,
    add up to the clean run's own centred logit. Blind to everything a node does through other nodes.

    Source: Elhage et al. 2021; Wang et al. 2023. Published uses often take the logit against one wrong answer; the
    average over outputs needs none, and is the same as centring the unembedding. Cost: one forward pass.
    """
    engine = task.engine
    logits, graded = engine.clean_logits, task.positions
    if task.numeric:
        sign = (logits - engine.corrupted_run.logits)[..., 0].sign()
        direction = sign[..., None] * engine.weights.W_U[:, 0]
    else:
        centred = engine.weights.W_U - engine.weights.W_U.mean(1, keepdim=True)
        direction = centred.T[logits.argmax(-1)]
    direction = frozen_pullback(engine.weights, engine.clean_run.stream[-1], direction)
    weight = graded.to(direction) / graded.sum(-1, keepdim=True) / len(graded)
    scores = engine.clean_run.writers.flatten(1) @ (direction * weight[..., None]).flatten()
    return dict(zip(task.graph.writers, scores.tolist(), strict=True))


def frozen_pullback(
    weights: Weights, x: Float[Tensor, "*rows d_model"], direction: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows d_model"]:
    """The direction in front of the normalisation that gives the same products as this one behind it, with the scale
    that the normalisation has at x taken as a constant."""
    if weights.norm == "none":
        return direction
    if weights.norm == "layer":
        x = x - x.mean(-1, keepdim=True)
        direction = direction - direction.mean(-1, keepdim=True)
    return direction / (x.square().mean(-1, keepdim=True) + weights.eps).sqrt()


@method(level="nodes")
def logit_lens(task: Task) -> dict[str, float]:
    """How much clearer the answer gets by what a node adds: the metric of the unembedded residual stream just after it
    minus just before it, mean over pairs.

    Unembedding means the model's own final normalisation, W_U and b_U. `embed` is added to an empty stream and `pos`
    to `embed`; the heads of one layer are each added alone to the stream in front of the layer. `bias`, which no
    ablation replaces, scores 0.

    Source: the logit lens (nostalgebraist 2020), with the task's metric in place of a look at the top tokens.
    Cost: one forward pass, and two unembeddings per node.
    """
    engine = task.engine
    weights = engine.weights
    pairs = torch.arange(len(task.clean), device=task.clean.device)

    def clearness(stream: Tensor) -> float:
        return float(task.metric(normalise(weights, stream) @ weights.W_U + weights.b_U, pairs).mean())

    scores: dict[str, float] = {}
    for writer, added in zip(task.graph.writers, engine.clean_run.writers, strict=True):
        before = _stream_before(task, writer)
        scores[writer] = clearness(before + added) - clearness(before)
    return scores


def _stream_before(task: Task, writer: str) -> Float[Tensor, "pair pos d_model"]:
    place, run = Place.of(writer), task.engine.clean_run
    if place.layer is None:
        embed = run.writers[task.graph.writer_index["embed"]]
        return embed if place.kind == "pos" else torch.zeros_like(embed)
    return run.stream[2 * place.layer + (place.kind == "mlp")]
