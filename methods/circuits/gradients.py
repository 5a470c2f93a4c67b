"""Gradient attribution: the effect of ablating an edge or a node, to first order.

Everything here is (clean_w - ablated_w) · gradient, summed over positions and d_model. The presets differ in where on
the way from the ablated to the clean activations they take the gradient, and in whether it is the gradient at a
reader's own input (an edge) or at what a writer writes (a node).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gaugeblock.compiled.edges.graph import Place, parse_edge
from gaugeblock.methods.engine.activations import Activations, normalise_pullback, run_from
from gaugeblock.methods.engine.weights import Weights
from gaugeblock.methods.registry import method
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError

Sources = list[Float[Tensor, "pair pos d_model"]]

NUMBERS_AT_ONCE = 2**24
"""Numbers in the gradients of one layer's readers that a block of interpolated runs holds."""


@method()
def eap(task: Task) -> dict[str, float]:
    """Edge attribution patching: (clean_w - ablated_w) · d metric / d (input of r) at the clean run, mean over pairs.

    Source: Syed et al. 2023, after attribution patching (Nanda 2023). Cost: one forward and one backward pass. Exact
    where the model is linear; zero where softmax or ReLU steps are saturated.
    """
    return _averaged(task, [1.0], [1.0])


@method(level="nodes")
def attribution_patching(task: Task) -> dict[str, float]:
    """(clean_w - ablated_w) · d metric / d (output of w) at the clean run, mean over pairs.

    The sum of `eap` over the writer's edges. Source: Nanda 2023. Cost: one forward and one backward pass.
    """
    return dict(zip(task.graph.writers, node_effects(task).double().mean(1).tolist(), strict=True))


@method()
def eap_ig(task: Task, steps: int = 5, quadrature: str = "riemann") -> dict[str, float]:
    """EAP with the gradient averaged along the straight path of the embeddings, from ablated (0) to clean (1).

    Source: Hanna et al. 2024 (EAP-IG, inputs). Cost: `steps` forward and backward passes.

    Args:
        steps: number of points.
        quadrature: "riemann" (points k / steps, k = 0 … steps - 1, as published), "midpoint", or "gauss"
            (Gauss-Legendre, the most accurate at equal cost).
    """
    return _averaged(task, *quadrature_points(steps, quadrature))


@method()
def eap_ig_gauss(task: Task, steps: int = 5) -> dict[str, float]:
    """`eap_ig` with Gauss-Legendre points, several times closer to the integral at the same cost.

    Source: Hanna et al. 2024 for the method; the quadrature is ours. Cost: `steps` forward and backward passes.
    """
    return _averaged(task, *quadrature_points(steps, "gauss"))


@method()
def clean_corrupted(task: Task) -> dict[str, float]:
    """EAP with the mean of two gradients: at the clean embeddings and at the ablated ones.

    Source: Hanna et al. 2024. Cost: two forward and backward passes. The ablated embeddings give the corrupted run
    under `resample`; the published code takes the corrupted run under every ablation.
    """
    return _averaged(task, [0.0, 1.0], [0.5, 0.5])


@method()
def eap_ig_activations(task: Task, steps: int = 5, quadrature: str = "riemann") -> dict[str, float]:
    """EAP with each edge's gradient averaged along the straight path of its own writer, from ablated (0) to clean (1).

    At every point one writer's output is interpolated for all its readers, and the rest of the model follows from
    that. A writer's scores add up to the effect of ablating it, as `steps` grows.

    Source: Hanna et al. 2024 (EAP-IG, activations). The published code moves the points by one (k = 1 … steps) and
    averages each edge over the paths of all writers, on most of which its own writer does not move; only the path of
    an edge's own writer has the meaning of an integral. Cost: `steps` forward and backward passes for every writer,
    each from the writer on.

    Args:
        steps: number of points.
        quadrature: as in `eap_ig`.
    """
    totals, engine, graph = no_totals(task), task.engine, task.graph
    path = list(zip(*quadrature_points(steps, quadrature), strict=True))
    n_pairs, n_pos, d_model = engine.difference.shape[1:]
    readers = max([1, *(3 * len(attention.heads) for attention in engine.weights.attention)])
    per_block = max(1, NUMBERS_AT_ONCE // (readers * n_pairs * n_pos * d_model))
    number = torch.arange(n_pairs, device=task.clean.device)
    stages = [stage_behind(w) for w in graph.writers]
    for stage in sorted(set(stages)):
        tail, clean = behind(engine.weights, stage), engine.clean_run.stream[stage]
        moved = [w for w, place in enumerate(stages) if place == stage and graph.writers[w] != "bias"]
        items = torch.tensor([(w, x, weight) for w in moved for x, weight in path], dtype=torch.float64)
        for block in items.to(clean.device).split(per_block):
            writer, x, weight = block[:, 0].long(), block[:, 1].to(clean), block[:, 2]
            difference = engine.difference[writer]
            streams = (clean + (1 - x[:, None, None, None]) * difference).flatten(0, 1)
            owned = weight[:, None] * torch.nn.functional.one_hot(writer, len(graph.writers))
            for group in _groups(task, tail, [streams], number.repeat(len(block)), stage):
                gradient = group.gradient.unflatten(1, difference.shape[:2]).flatten(2)
                values = torch.einsum("rik,ik->ri", gradient, difference.flatten(1))
                totals[group.rows(task)] -= values.double() @ owned / n_pairs
    return by_edge(task, totals)


@method(level="nodes")
def hisp(task: Task, normalise: bool = True) -> dict[str, float]:
    """Head importance: mean over pairs of |(clean_w - ablated_w) · d metric / d (output of w)|, normalised by layer.

    Source: Michel et al. 2019, whose gradient with respect to a head's gate is this product under `zero` ablation;
    the absolute value is taken for every pair. They score heads only. Here a layer's MLP is one more node of its
    layer, and the sources are a layer of their own. Cost: one forward and one backward pass.

    Args:
        normalise: divide the scores of a layer by their L2 norm, as published.
    """
    scores = node_effects(task).double().abs().mean(1)
    if normalise:
        layers = [Place.of(w).layer for w in task.graph.writers]
        for layer in set(layers):
            nodes = [i for i, other in enumerate(layers) if other == layer]
            norm = scores[nodes].norm()
            scores[nodes] /= torch.where(norm > 0, norm, 1.0)
    return dict(zip(task.graph.writers, scores.tolist(), strict=True))


def quadrature_points(steps: int, quadrature: str) -> tuple[Sequence[float], Sequence[float]]:
    """Points in [0, 1] and weights that sum to 1."""
    if steps < 1:
        raise MethodError(f"integrated gradients need at least one step, got {steps}")
    even = [1.0 / steps] * steps
    match quadrature:
        case "riemann":
            return [k / steps for k in range(steps)], even
        case "midpoint":
            return [(k + 0.5) / steps for k in range(steps)], even
        case "gauss":
            x, w = np.polynomial.legendre.leggauss(steps)
            return ((x + 1) / 2).tolist(), (w / 2).tolist()
    raise MethodError(f"there is no quadrature {quadrature!r}; possible: riemann, midpoint, gauss")


def stage_behind(writer: str) -> int:
    """The first reading place of the stream (see `Weights.stages`) that sees what a writer writes."""
    place = Place.of(writer)
    return 0 if place.layer is None else 2 * place.layer + (1 if place.kind == "head" else 2)


def writers_before(task: Task, stage: int) -> int:
    """How many writers, the first in the order of the graph, a reading place of the stream sees."""
    return sum(stage_behind(w) <= stage for w in task.graph.writers)


def behind(weights: Weights, stage: int) -> Weights:
    """What of a model lies behind a reading place of the stream, as a model that starts there."""
    attention, mlp = list(weights.attention[stage // 2 :]), weights.mlp[stage // 2 :]
    if stage % 2:
        a = attention[0]
        attention[0] = replace(
            a, heads=(), W_qkv=a.W_qkv[:, :0], b_qkv=a.b_qkv[:0], W_O=a.W_O[:0], b_O=torch.zeros_like(a.b_O)
        )
    return replace(weights, attention=tuple(attention), mlp=mlp)


def effects(
    difference: Float[Tensor, "writer pair pos d_model"], gradient: Float[Tensor, "reader pair pos d_model"]
) -> Float[Tensor, "reader writer pair"]:
    """For every reader and writer: ablated - clean, times the gradient, summed over a pair's positions."""
    return torch.bmm(gradient.flatten(2).transpose(0, 1), difference.flatten(2).permute(1, 2, 0)).permute(1, 2, 0)


def clean_graph(task: Task) -> tuple[Activations, Float[Tensor, ""]]:
    """The clean run and the metric summed over pairs, ready for `torch.autograd.grad`."""
    pairs = torch.arange(len(task.clean), device=task.clean.device)
    task.engine.forwards += 1
    return _graph(task, task.engine.weights, _sources(task), pairs)


def node_effects(task: Task) -> Float[Tensor, "writer pair"]:
    """For every writer and pair: clean - ablated, times the gradient at what the writer writes on the clean run."""
    run, total = clean_graph(task)
    gradients = torch.autograd.grad(total, run.stream, materialize_grads=True)
    task.engine.backwards += 1
    products = [
        -(difference * gradients[stage_behind(w)]).flatten(1).sum(1)
        for w, difference in zip(task.graph.writers, task.engine.difference, strict=True)
    ]
    return torch.stack(products)


def reader_gradients(task: Task, sources: Sources) -> Iterator[tuple[str, Float[Tensor, "pair pos d_model"]]]:
    """(reader, gradient of the summed metric at the reader's input) on the run from these sources."""
    pairs = torch.arange(len(task.clean), device=task.clean.device)
    for group in _groups(task, task.engine.weights, sources, pairs, stage=0):
        yield from zip(group.readers, group.gradient, strict=True)


class _Group(NamedTuple):
    """Readers at one place of the stream, and the gradient at the input of each."""

    stage: int
    readers: list[str]
    gradient: Float[Tensor, "reader item pos d_model"]

    def rows(self, task: Task) -> list[int]:
        return [task.graph.reader_index[reader] for reader in self.readers]


def _groups(
    task: Task, weights: Weights, sources: Sources, pairs: Int[Tensor, " item"], stage: int
) -> Iterator[_Group]:
    """Gradients of the summed metric at every reader of a model that starts at this stage of the task's."""
    run, total = _graph(task, weights, sources, pairs)
    inner = [*run.qkv, *(pre for pre in run.pre if pre is not None), run.stream[-1]]
    gradients = torch.autograd.grad(total, inner, materialize_grads=True)
    whole = task.engine.weights.stages
    share = len(pairs) / len(task.clean) * (whole - stage) / whole
    task.engine.forwards += share
    task.engine.backwards += share
    qkv, pres = gradients[: weights.n_layers], list(gradients[weights.n_layers : -1])
    for i, (attention, mlp) in enumerate(zip(weights.attention, weights.mlp, strict=True)):
        layer = stage // 2 + i
        if attention.heads:
            maps = attention.maps.permute(2, 1, 0, 3).flatten(0, 1)  # by head, then by port, as the readers
            inside = qkv[i].permute(3, 2, 0, 1, 4).flatten(0, 1)
            readers = [f"a{layer}.h{head}.{port}" for head in attention.heads for port in "qkv"]
            yield _Group(2 * layer, readers, pulled(weights, run.stream[2 * i].detach(), maps, inside))
        if mlp is not None:
            inside = pres.pop(0)[None]
            gradient = pulled(weights, run.stream[2 * i + 1].detach(), mlp.W_in[None], inside)
            yield _Group(2 * layer + 1, [f"m{layer}"], gradient)
    yield _Group(whole - 1, ["logits"], gradients[-1][None])


def pulled(
    weights: Weights,
    stream: Float[Tensor, "item pos d_model"],
    maps: Float[Tensor, "reader d_model read"],
    inside: Float[Tensor, "reader item pos read"],
) -> Float[Tensor, "reader item pos d_model"]:
    """Gradients at readers' inputs, in front of the normalisation, from those behind the readers' maps."""
    gradient = torch.bmm(inside.flatten(1, 2), maps.transpose(1, 2)).view(len(inside), *stream.shape)
    return normalise_pullback(weights, stream.expand_as(gradient), gradient)


def _graph(
    task: Task, weights: Weights, sources: Sources, pairs: Int[Tensor, " item"]
) -> tuple[Activations, Float[Tensor, ""]]:
    with torch.enable_grad():
        run = run_from(weights, [source.detach().requires_grad_() for source in sources])
        return run, task.metric(run.logits, pairs).sum()


def _sources(task: Task) -> Sources:
    """What `embed` and, where the model has it, `pos` write on the clean run."""
    return [task.engine.clean_run.writers[task.graph.writer_index[w]] for w in _leaves(task)]


def _leaves(task: Task) -> list[str]:
    return [w for w in ("embed", "pos") if w in task.graph.writer_index]


def _averaged(task: Task, points: Sequence[float], weights: Sequence[float]) -> dict[str, float]:
    """Every edge's (clean - ablated) · weighted mean of its reader's gradients on the path of the embeddings."""
    totals, engine = no_totals(task), task.engine
    clean, everyone = _sources(task), torch.arange(len(task.clean), device=task.clean.device)
    differences = [engine.difference[task.graph.writer_index[w]] for w in _leaves(task)]
    for x, weight in zip(points, weights, strict=True):
        sources = clean if x == 1 else [c + (1 - x) * d for c, d in zip(clean, differences, strict=True)]
        for group in _groups(task, engine.weights, sources, everyone, stage=0):
            seen = writers_before(task, group.stage)
            values = effects(engine.difference[:seen], group.gradient)
            totals[group.rows(task), :seen] -= weight * values.double().mean(-1)
    return by_edge(task, totals)


def no_totals(task: Task) -> Float[Tensor, "reader writer"]:
    """Zero for every reader and writer."""
    shape = len(task.graph.readers), len(task.graph.writers)
    return torch.zeros(shape, dtype=torch.float64, device=task.clean.device)


def by_edge(task: Task, totals: Float[Tensor, "reader writer"]) -> dict[str, float]:
    """Scores by name from those by reader and writer."""
    scores, graph = totals.tolist(), task.graph
    ends = {edge: parse_edge(edge) for edge in graph.edges}
    return {edge: scores[graph.reader_index[r]][graph.writer_index[w]] for edge, (w, r) in ends.items()}
