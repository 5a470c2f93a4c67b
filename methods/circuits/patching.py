"""Exact patching: the effect of carrying other values along some edges, measured by running it.

Noising starts from the clean run and ablates, denoising starts from everything ablated and restores. Path patching is
noising too, with the change that arrives along several paths instead of one edge.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gaugeblock.compiled.edges.graph import owner, parse_edge
from gaugeblock.methods.circuits.baselines import mean_changes
from gaugeblock.methods.engine.ablation import Values
from gaugeblock.methods.engine.activations import (
    Activations,
    attend,
    causal_mask,
    neurons,
    normalise,
    normalise_change,
    project,
)
from gaugeblock.methods.engine.edge_sets import Changes, Cut
from gaugeblock.methods.engine.weights import Weights
from gaugeblock.methods.registry import method
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError


@method()
def edge_patching(task: Task) -> dict[str, float]:
    """Effect of ablating each edge alone: mean over pairs of metric(clean) - metric(edge ablated).

    Source: activation patching (Vig et al. 2020, Meng et al. 2022) applied to edges, as in path patching
    (Goldowsky-Dill et al. 2023). Cost: one forward pass per edge in principle; only what changes is recomputed.
    """
    effect = _clean_metric(task) - task.engine.single_edges(task.metric).mean(1)
    return dict(zip(task.graph.edges, effect.tolist(), strict=True))


@method()
def edge_denoising(task: Task) -> dict[str, float]:
    """Effect of restoring each edge alone: mean over pairs of metric(edge restored) - metric(everything ablated).

    "Everything ablated" is the empty circuit: every edge carries its ablated value, which under `resample` is the run
    on the corrupted input. The restored edge carries its writer's clean value instead, and what that changes in the
    reader's output is added to whatever later readers see, and so on to the logits. (Were all other edges held at
    their ablated values, only edges into the logits could ever matter.)

    Source: causal tracing (Meng et al. 2022) applied to edges; the term is that of Heimersheim & Nanda 2024. Finds
    what suffices, such as either half of an OR, and misses what needs company, such as either half of an AND.
    Cost: one forward pass per edge in principle, and one for the empty circuit; only what changes is recomputed.
    """
    cuts = [_ends(task, [edge]) for edge in task.graph.edges]
    return dict(zip(task.graph.edges, _effects(task, _restoring(task), cuts).tolist(), strict=True))


@method(level="nodes")
def activation_patching(task: Task) -> dict[str, float]:
    """Effect of ablating each node for all its readers: mean over pairs of metric(clean) - metric(node ablated).

    Source: Vig et al. 2020; Meng et al. 2022. Cost: one forward pass per node. Node scores are lifted to edges.
    """
    values = task.engine.patch([task.graph.outgoing(w) for w in task.graph.writers], task.metric)
    return dict(zip(task.graph.writers, (_clean_metric(task) - values.mean(1)).tolist(), strict=True))


@method(level="nodes")
def activation_denoising(task: Task) -> dict[str, float]:
    """Effect of restoring each node for all its readers: mean over pairs of metric(node restored) - metric(everything
    ablated).

    Under `resample` this is the usual denoising: run on the corrupted input, overwrite what the node writes with its
    clean value, recompute all that follows. Under other ablations the run starts from the empty circuit in the same
    way as in `edge_denoising`.

    Source: causal tracing (Meng et al. 2022); Heimersheim & Nanda 2024. Cost: one forward pass per node, and one for
    the empty circuit. Node scores are lifted to edges.
    """
    cuts = [_ends(task, task.graph.outgoing(w)) for w in task.graph.writers]
    return dict(zip(task.graph.writers, _effects(task, _restoring(task), cuts).tolist(), strict=True))


@method()
def edge_pair_patching(task: Task, budget: int = 500) -> dict[str, float]:
    """The largest effect of ablating an edge, alone or beside one other edge that is ablated already.

    Of effect({e}) and effect({e, f}) - effect({f}) over all partners f the one of largest magnitude, with its sign;
    effects as in `edge_patching`. Finds edges of which any one of two suffices, which single ablations cannot see;
    redundancy of three and more stays hidden. The maximum over partners also lifts small scores: the more partners,
    the more.

    Pairs of which one edge provably does nothing, alone or beside the other, need no run. Where more than `budget`
    pairs remain, edges into the same reader come first, then edges out of the same writer, then all others; within
    each class the pairs whose lesser edge moves its reader most, relative to the reader's other edges (`magnitude`,
    of all positions); then in the order of the graph. The others are not run.

    Source: pairwise knock-outs, as for backup heads in Wang et al. 2023; as a score our own. Cost: one forward pass
    per edge and per pair of edges, at most `budget` pairs; only what changes is recomputed.

    Args:
        budget: the largest number of pairs that are run.
    """
    if budget < 0:
        raise MethodError(f"the budget of edge_pair_patching is a number of pairs, 0 or more, not {budget}")
    edges = task.graph.edges
    pairs = _ranked_pairs(task, budget)
    clean = _clean_metric(task)
    effect = (clean - task.engine.single_edges(task.metric).mean(1)).cpu().numpy()
    together = task.engine.patch([[edges[e], edges[f]] for e, f in pairs], task.metric)
    best = effect.copy()
    for (e, f), joint in zip(pairs, (clean - together.mean(1)).cpu().numpy(), strict=True):
        for edge, partner in ((e, f), (f, e)):
            if abs(joint - effect[partner]) > abs(best[edge]):
                best[edge] = joint - effect[partner]
    return dict(zip(edges, best.tolist(), strict=True))


@method()
def path_patching(task: Task) -> dict[str, float]:
    """Effect of what an ablated writer changes in a reader's input directly and through MLPs between them.

    The writer (sender) is ablated and all other heads keep their clean output, while the MLPs are recomputed. What
    then arrives at the reader (receiver) is put into the clean run there; the receiver's node and everything after it
    are recomputed. Score: mean over pairs of metric(clean) - metric(patched).

    Source: Wang et al. 2023; Goldowsky-Dill et al. 2023, in the form with MLPs as part of the path; a normalisation
    in front of a recomputed part is recomputed with it. Cost: two forward passes per edge in principle; the first is
    shared by all readers of a writer and runs MLPs alone, the second recomputes only what changes.
    """
    pruned, clean = task.engine.pruned, task.engine.pruned_run
    scores = dict.fromkeys(task.graph.edges, 0.0)
    for stage, arriving in enumerate(_arriving(task, pruned, clean)):
        changes = Changes(pruned, clean, arriving)
        edges = [edge for edge in task.graph.edges if changes.stage(parse_edge(edge)[1]) == stage]
        effects = _effects(task, changes, [_ends(task, [edge]) for edge in edges])
        scores |= dict(zip(edges, (-effects).tolist(), strict=True))
    return scores


# --- what all of them share ----------------------------------------------------------------------------------------


def _clean_metric(task: Task) -> Tensor:
    pairs = torch.arange(len(task.clean), device=task.clean.device)
    return task.metric(task.engine.clean_logits, pairs).mean()


def _ends(task: Task, edges: Sequence[str]) -> Cut:
    """(reader, writer index) of each edge; none for the bias, which nothing replaces."""
    ends = [parse_edge(edge) for edge in edges]
    return [(reader, task.graph.writer_index[writer]) for writer, reader in ends if writer != "bias"]


def _effects(task: Task, changes: Changes, cuts: Sequence[Cut]) -> Float[Tensor, " set"]:
    """Mean over pairs of what each set of replaced edges adds to the metric of the run that changes start from."""
    with torch.no_grad():
        start = changes.clean.logits
        everyone = torch.arange(len(start), device=start.device)
        values, work = changes.values(cuts, task.metric, start, everyone)
        task.engine.forwards += work
        return (values - task.metric(start, everyone)).mean(1)


# --- denoising -----------------------------------------------------------------------------------------------------


def _restoring(task: Task) -> Changes:
    """Changes from ablated to clean values, on the run in which everything is ablated."""
    engine = task.engine
    with torch.no_grad():
        empty = empty_run(engine.weights, engine.pruned, engine.ablated)
    engine.forwards += 1
    return Changes(engine.pruned, empty, -engine.difference)


def empty_run(weights: Weights, live: Weights, ablated: Values) -> Activations:
    """The run in which every edge carries its ablated value, in the heads and neurons of `live`.

    `writers` is what the edges carry, not what their writers would write on these inputs.
    """
    index = weights.graph.writer_index
    carried = {name: ablated[i] for name, i in index.items()}
    at = sum((carried[name] for name in ("embed", "pos") if name in index), torch.zeros_like(ablated[0]))
    mask = causal_mask(weights, at.shape[1])
    stream, qkv, patterns, zs, pres, posts = [at], [], [], [], [], []
    for layer, (attention, mlp) in enumerate(zip(live.attention, live.mlp, strict=True)):
        qkv.append(project(attention, normalise(weights, at)))
        q, k, v = qkv[-1].permute(2, 0, 3, 1, 4)
        z, pattern = attend(q, k, v, mask)
        patterns.append(pattern)
        zs.append(z.transpose(1, 2))
        whole = weights.attention[layer]
        at = sum((carried[f"a{layer}.h{head}"] for head in whole.heads), at + whole.b_O)
        stream.append(at)
        pres.append(None if mlp is None else neurons(mlp, normalise(weights, at)))
        posts.append(None if pres[-1] is None else weights.activation(pres[-1]))
        at = at + carried.get(f"m{layer}", 0.0)
        stream.append(at)
    logits = normalise(weights, at) @ weights.W_U + weights.b_U
    return Activations(
        tuple(stream), ablated, tuple(qkv), tuple(patterns), tuple(zs), tuple(pres), tuple(posts), logits
    )


# --- pairs of edges ------------------------------------------------------------------------------------------------


def _ranked_pairs(task: Task, budget: int) -> list[tuple[int, int]]:
    """The first `budget` pairs of edges that can have a joint effect of their own, by place in the graph."""
    graph = task.graph
    first, second = np.triu(interacting(task), 1).nonzero()
    ends = [parse_edge(edge) for edge in graph.edges]
    writers = np.array([graph.writer_index[writer] for writer, _ in ends])
    readers = np.array([graph.reader_index[reader] for _, reader in ends])
    size = np.array(list(mean_changes(task, torch.ones_like(task.positions)).values()))
    largest = np.zeros(len(graph.readers))
    np.maximum.at(largest, readers, size)
    moved = size / np.where(largest > 0, largest, 1.0)[readers]
    kind = np.where(readers[first] == readers[second], 0, np.where(writers[first] == writers[second], 1, 2))
    order = np.lexsort((second, first, -np.minimum(moved[first], moved[second]), kind))[:budget]
    return list(zip(first[order].tolist(), second[order].tolist(), strict=True))


def interacting(task: Task) -> Bool[np.ndarray, "edge edge"]:
    """Which pairs of edges are not exact trivialities: a pair is one if an edge of it never does anything, or if one
    of them does nothing on clean inputs and the other one cannot change its writer."""
    graph, engine = task.graph, task.engine
    void = np.array([engine.is_void(edge) for edge in graph.edges])
    quiet = np.array([engine.is_unchanged(edge) for edge in graph.edges])
    reaches = np.eye(len(graph.writers), dtype=bool)  # [from, to]
    for writer in graph.writers:
        for reader in graph.readers:
            if owner(reader) == writer:
                for edge in graph.incoming(reader):
                    if not void[graph.edge_index[edge]]:
                        source = graph.writer_index[parse_edge(edge)[0]]
                        reaches[:, graph.writer_index[writer]] |= reaches[:, source]
    ends = [parse_edge(edge) for edge in graph.edges]
    sources = [graph.writer_index[writer] for writer, _ in ends]
    owners = [graph.writer_index.get(owner(reader), -1) for _, reader in ends]
    feeds = reaches[owners][:, sources] & (np.array(owners) >= 0)[:, None]  # [edge, later edge]
    return ~void & ~void[:, None] & (~quiet | feeds) & (~quiet[:, None] | feeds.T)


# --- path patching -------------------------------------------------------------------------------------------------


def _arriving(task: Task, weights: Weights, clean: Activations) -> Iterator[Float[Tensor, "writer pair pos d_model"]]:
    """For each stage, what ablating each writer changes in the stream in front of it if all later heads stay clean;
    zero for writers that come after it."""
    engine, index = task.engine, task.graph.writer_index
    arriving = torch.zeros_like(engine.difference)
    started: list[int] = []

    def start(names: Sequence[str]) -> None:
        rows = [index[name] for name in names if name in index]
        arriving[rows] = engine.difference[rows]
        started.extend(rows)

    start(("embed", "pos"))
    for layer, mlp in enumerate(weights.mlp):
        yield arriving
        start([f"a{layer}.h{head}" for head in task.graph.heads(layer)])
        yield arriving
        pre, post = clean.pre[layer], clean.post[layer]
        if mlp is not None and pre is not None and post is not None:
            for row in started:
                change = normalise_change(weights, clean.stream[2 * layer + 1], arriving[row]) @ mlp.W_in
                arriving[row] += (weights.activation(pre + change) - post) @ mlp.W_out
            engine.forwards += len(started) / weights.stages
        start([f"m{layer}"])
    yield arriving
