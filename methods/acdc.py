"""ACDC: greedy removal of edges from the output backwards."""

from collections.abc import Sequence

from gaugeblock.compiled.graph import owner, parse_edge
from gaugeblock.methods.objective import Objective
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
    graph, engine = task.graph, task.engine
    measure = Objective(task, objective)
    removed: set[str] = set()
    cut: list[str] = []  # the removed edges that can make a difference
    value = 0.0
    for reader in reversed(graph.readers):
        node = owner(reader)
        connected = reader == "logits" or any(e not in removed for e in graph.outgoing(node))
        for edge in reversed(graph.incoming(reader)):
            if connected and not edge.startswith("bias->"):
                if not engine.is_unchanged(edge):
                    tried = float(engine.patch([[*cut, edge]], measure).mean())
                    if tried - value >= threshold:
                        continue
                    value = tried
                if not engine.is_void(edge):
                    cut.append(edge)
            removed.add(edge)
        cut = [e for e in cut if _reaches(parse_edge(e)[1], removed, task)]
    return [edge for edge in graph.edges if edge not in removed]


def _reaches(reader: str, removed: set[str], task: Task) -> bool:
    return reader == "logits" or any(e not in removed for e in task.graph.outgoing(owner(reader)))
