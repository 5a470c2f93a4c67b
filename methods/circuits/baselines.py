"""Controls: scores that show what the numbers of a method mean. None of them knows what the model is for."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gaugeblock.compiled.edges.graph import parse_edge
from gaugeblock.methods.engine.activations import normalise_change
from gaugeblock.methods.engine.weights import Weights
from gaugeblock.methods.registry import method
from gaugeblock.methods.task import Task


@method(control=True)
def random(task: Task) -> dict[str, float]:
    """A uniform random score for every edge: what chance looks like. Cost: nothing."""
    return dict(zip(task.graph.edges, task.rng.random(len(task.graph.edges)).tolist(), strict=True))


@method("all", control=True)
def all_edges(task: Task) -> dict[str, float]:
    """1 for every edge: no order at all, so that ties show. Cost: nothing."""
    return dict.fromkeys(task.graph.edges, 1.0)


@method(control=True)
def magnitude(task: Task) -> dict[str, float]:
    """How much ablating an edge changes what its reader computes, whatever becomes of it.

    Mean over the positions of a pair that are not PAD on its clean side, then over pairs, of
    ‖(norm(x - clean_w + ablated_w) - norm(x)) W‖, where x is the reader's clean input and W the map that it reads
    through (q, k or v of a head, W_in, W_U). Cost: no pass beyond the clean and the corrupted run.
    """
    shown = task.rows.clean.clone()
    shown[:, 0] = True  # BOS
    return mean_changes(task, shown)


def mean_changes(task: Task, rows: Bool[Tensor, "pair pos"]) -> dict[str, float]:
    """`magnitude` over these rows of each pair."""
    engine, graph = task.engine, task.graph
    weight = rows.double() * rows.shape[1] / rows.sum(1, keepdim=True)
    effects: dict[str, float] = {}
    with torch.no_grad():
        for stage, (readers, maps) in enumerate(_readers(engine.weights)):
            stream = engine.clean_run.stream[stage]
            for edge in graph.incoming(readers[0][0]) if readers and readers[0] else ():
                writer = parse_edge(edge)[0]
                change = normalise_change(engine.weights, stream, engine.difference[graph.writer_index[writer]])
                seen = (change @ maps.flatten(1)).view(*change.shape[:2], *maps.shape[1:])
                means = (seen.norm(dim=-1) * weight.to(seen)[..., None, None]).mean((0, 1)).tolist()
                for names, row in zip(readers, means, strict=True):
                    effects |= {f"{writer}->{reader}": mean for reader, mean in zip(names, row, strict=True)}
    return {edge: effects[edge] for edge in graph.edges}


def _readers(weights: Weights) -> Iterator[tuple[list[list[str]], Float[Tensor, "d_model port head width"]]]:
    """The readers of each stage and the maps they read through; MLPs and the logits are one reader of one port."""
    for layer, (attention, mlp) in enumerate(zip(weights.attention, weights.mlp, strict=True)):
        yield [[f"a{layer}.h{head}.{port}" for head in attention.heads] for port in "qkv"], attention.maps
        yield ([], attention.maps) if mlp is None else ([[f"m{layer}"]], mlp.W_in[:, None, None])
    yield [["logits"]], weights.W_U[:, None, None]
