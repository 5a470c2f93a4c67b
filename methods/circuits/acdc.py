"""ACDC: greedy removal of edges from the output backwards."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gaugeblock.compiled.edges.graph import parse_edge
from gaugeblock.methods.circuits.greedy import Deciding, Stage, stages
from gaugeblock.methods.engine.objective import Objective
from gaugeblock.methods.registry import method
from gaugeblock.methods.task import Task

THRESHOLDS = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@method()
def acdc(task: Task, thresholds: Sequence[float] = THRESHOLDS, objective: str = "divergence") -> dict[str, float]:
    """The largest threshold at which an edge survives ACDC; 0 where it survives none.

    For one threshold: readers from the output backwards, and each reader's edges from the latest writer backwards;
    an edge is removed (ablated for good) if that raises the objective by less than the threshold.

    Source: Conmy et al. 2023. Cost: one forward pass per edge and threshold in principle. Edges whose removal cannot
    change anything are removed without a run: those into a node all of whose outgoing edges are gone, and those whose
    ablated value the reader cannot tell from the clean one.

    Args:
        thresholds: the sweep.
        objective: "divergence" (KL from the clean output, squared error for numeric outputs; mean over graded
            positions and pairs) or "metric" (loss of the task's metric).
    """
    scores = dict.fromkeys(task.graph.edges, 0.0)
    for threshold in sorted(thresholds):
        for edge in survivors(task, threshold, objective):
            scores[edge] = threshold
    return scores


@method()
def acdc_metric(task: Task, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, float]:
    """`acdc` with the loss of the task's metric as objective, as the published code offers beside KL.

    Unlike KL, the loss falls where a removal makes the model surer of its answer; such edges go at any threshold.
    Source and cost: as `acdc`.
    """
    return acdc(task, thresholds, "metric")


def survivors(task: Task, threshold: float, objective: str = "divergence") -> list[str]:
    """The circuit that ACDC keeps at one threshold, in the order of the graph's edges."""
    return search(task, Objective(task, objective), threshold)[0]


def search(task: Task, objective: Objective, threshold: float) -> tuple[list[str], Float[Tensor, " pair"]]:
    """(edges that stay, in the order of the graph; the objective of every pair with all others ablated).

    An edge goes if that raises the mean of the objective by less than the threshold. Readers go from the output
    backwards, and so do each reader's edges. Edges whose ablation cannot matter go without a trial: they do not reach
    the logits, their node is no longer read, or their reader cannot tell the ablated value from the clean one.
    """
    with torch.no_grad():
        return _search(task, objective, threshold)


def _search(task: Task, objective: Objective, threshold: float) -> tuple[list[str], Tensor]:
    graph, engine = task.graph, task.engine
    removed = {edge for edge in graph.edges if edge.startswith("bias->") or edge not in engine.live}
    value = objective(engine.clean_logits, torch.arange(len(task.clean), device=task.clean.device))
    later: list[Stage] = []
    for whole in reversed(stages(engine.pruned, engine.pruned_run)):
        read = [n == "logits" or not removed.issuperset(graph.outgoing(n)) for n in whole.nodes]
        for slot, _, reader in whole.backwards():
            removed.update(() if read[slot] else graph.incoming(reader))
        if not any(read):
            continue
        stage = whole.only([slot for slot, is_read in enumerate(read) if is_read])
        deciding = Deciding(stage, later, removed, objective)
        for slot, port, reader in stage.backwards():
            for edge in reversed(graph.incoming(reader)):
                if edge in removed:
                    continue
                writer = graph.writer_index[parse_edge(edge)[0]]
                change = stage.into(engine.difference[writer], (port, slot))
                if bool(change.any()):
                    trial = deciding.try_cut(slot, port, change, value)
                    engine.forwards += len(trial.pairs) / len(value) * (1 + len(later)) / engine.weights.stages
                    if float(trial.objective.mean()) - float(value.mean()) >= threshold:
                        continue
                    deciding.accept(trial)
                    value = trial.objective
                removed.add(edge)
        later.insert(0, stage)
    return [edge for edge in graph.edges if edge not in removed], value
