"""Gradient attribution: the effect of ablating an edge, to first order."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gaugeblock.compiled.graph import parse_edge
from gaugeblock.methods.activations import normalise_pullback, run_from
from gaugeblock.methods.registry import method
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError

Sources = list[Float[Tensor, "pair pos d_model"]]


@method()
def eap(task: Task) -> dict[str, float]:
    """Edge attribution patching: (clean_w - ablated_w) · d metric / d (input of r) at the clean run, mean over pairs.

    Source: Syed et al. 2023, after attribution patching (Nanda 2023). Cost: one forward and one backward pass. Exact
    where the model is linear; zero where softmax or ReLU steps are saturated.
    """
    return _edge_scores(task, [_sources(task)], [1.0])


@method()
def eap_ig(task: Task, steps: int = 5, quadrature: str = "riemann") -> dict[str, float]:
    """EAP with the gradient averaged along the straight path of the embeddings, from ablated (0) to clean (1).

    Source: Hanna et al. 2024 (EAP-IG, inputs). Cost: `steps` forward and backward passes.

    Args:
        steps: number of points.
        quadrature: "riemann" (points k / steps, k = 0 … steps - 1, as published), "midpoint", or "gauss"
            (Gauss-Legendre, the most accurate at equal cost).
    """
    points, weights = quadrature_points(steps, quadrature)
    clean = _sources(task)
    ablated = list(task.engine.ablated[: len(clean)])
    path = [[a + float(x) * (c - a) for a, c in zip(ablated, clean, strict=True)] for x in points]
    return _edge_scores(task, path, weights)


def quadrature_points(steps: int, quadrature: str) -> tuple[Sequence[float], Sequence[float]]:
    """Points in [0, 1] and weights that sum to 1."""
    if steps < 1:
        raise MethodError(f"eap_ig needs at least one step, got {steps}")
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


def _sources(task: Task) -> Sources:
    names = [w for w in ("embed", "pos") if w in task.graph.writer_index]
    return [task.engine.clean_run.writers[task.graph.writer_index[w]] for w in names]


def _edge_scores(task: Task, path: Sequence[Sources], weights: Sequence[float]) -> dict[str, float]:
    """Sum over path points of weight · (clean - ablated) · gradient, mean over pairs."""
    index, n_pairs = task.graph.writer_index, len(task.clean)
    totals = torch.zeros(len(task.graph.readers), len(index), dtype=torch.float64, device=task.clean.device)
    difference = task.engine.difference.flatten(1)
    for sources, weight in zip(path, weights, strict=True):
        for reader, gradient in reader_gradients(task, sources):
            row = task.graph.reader_index[reader]
            totals[row] -= weight * (difference @ gradient.flatten()).double() / n_pairs
    ends = (parse_edge(edge) for edge in task.graph.edges)
    scores = totals.tolist()
    return {
        edge: scores[task.graph.reader_index[r]][index[w]] for edge, (w, r) in zip(task.graph.edges, ends, strict=True)
    }


def reader_gradients(task: Task, sources: Sources) -> Iterator[tuple[str, Float[Tensor, "pair pos d_model"]]]:
    """(reader, gradient of the summed metric at the reader's input) on the run from these sources."""
    engine = task.engine
    weights = engine.weights
    leaves = [source.detach().requires_grad_() for source in sources]
    with torch.enable_grad():
        run = run_from(weights, leaves)
        total = task.metric(run.logits, torch.arange(len(task.clean), device=task.clean.device)).sum()
        inner = [*run.qkv, *(pre for pre in run.pre if pre is not None), run.stream[-1]]
        gradients = torch.autograd.grad(total, inner, materialize_grads=True)
    engine.forwards += 1
    engine.backwards += 1
    qkv, pres = gradients[: weights.n_layers], list(gradients[weights.n_layers : -1])
    for layer, (attention, mlp) in enumerate(zip(weights.attention, weights.mlp, strict=True)):
        W = attention.maps
        stream = run.stream[2 * layer].detach()
        for slot, head in enumerate(attention.heads):
            for i, port in enumerate("qkv"):
                inside = qkv[layer][:, :, i, slot] @ W[:, i, slot].T
                yield f"a{layer}.h{head}.{port}", normalise_pullback(weights, stream, inside)
        if mlp is not None:
            inside = pres.pop(0) @ mlp.W_in.T
            yield f"m{layer}", normalise_pullback(weights, run.stream[2 * layer + 1].detach(), inside)
    yield "logits", gradients[-1]
