"""What the circuits that a method finds do: faithfulness at every size, and one circuit chosen without the truth.

Recovery compares edges with the truth. Here only `regret`, what says "true size" and how the chosen circuit meets the
true one do; everything else can be measured on any model. The *chosen* circuit is the one a user would report: the
smallest of top-ranked edges with faithfulness 0.9.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float

from gaugeblock.methods.task import Task
from gaugeblock.metrics.agreement import (
    accuracy,
    kl_divergence,
    pair_total_variation,
    squared_error,
    total_variation,
)
from gaugeblock.metrics.causal import completeness, minimality
from gaugeblock.metrics.circuits import circuit_match, structural_hamming_distance
from gaugeblock.metrics.faithfulness import SIZES, Run, cmd, cpr, faithfulness_curve, log_cmd, log_cpr, regret
from gaugeblock.metrics.hypothesis_tests import equivalence_test, independence_test, minimality_test, random_paths
from gaugeblock.metrics.ranking import tie_groups

Scores = dict[str, float | None]

CHANGE = 1e-4  # of a graded logit, relative to the largest: far above rounding, far below another answer
FAITHFUL = 0.9  # of the chosen circuit
SIZES_TRIED = 20  # when it is chosen, from one edge to all, evenly in their logarithm
LARGEST = 40  # edges of a chosen circuit whose parts are taken out; a larger one has no minimality
CIRCUITS = 32  # that completeness may run, and minimality; it takes more where a circuit is large
RANDOM_EDGES = 20  # that the minimality test compares each edge with


@final
@dataclass(frozen=True)
class Behaviour:
    """Attributes:
    scores: by name, see `gaugeblock.evaluation.scores.SCORES`; None where undefined.
    per_pair: faithfulness at the true size of each pair; None where the pair has nothing to explain.
    curve, pair_curve: (share of edges in the circuit, faithfulness): ratio of means, and mean of ratios.
    chosen: edges of the chosen circuit.
    """

    scores: Scores
    per_pair: list[float | None]
    curve: list[tuple[float, float | None]]
    pair_curve: list[tuple[float, float | None]]
    chosen: list[str]


def behaviour(
    task: Task, edges: Sequence[str], ranks: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]
) -> Behaviour:
    """What circuits of top-ranked `edges` do. All other edges are ablated throughout, in the whole that circuits are
    compared with too."""
    if not len(edges):
        return Behaviour({}, [], [], [], [])
    run, changed = circuit_runner(task, edges), _changed_pairs(task)
    whole = faithfulness_curve(run, ranks, SIZES, changed=changed)
    scores: Scores = {
        "cpr": cpr(whole.fractions, whole.f),
        "cmd": cmd(whole.fractions, whole.f),
        "log_cpr": log_cpr(whole.fractions, whole.f),
        "log_cmd": log_cmd(whole.fractions, whole.f),
    }
    per_pair: list[float | None] = []
    if labels.any():
        at_size, per_pair = _at_true_size(run, ranks, labels, changed)
        scores |= at_size
    chosen = choose(run, ranks, changed)
    if chosen is not None:
        scores |= _chosen_scores(task, run, edges, chosen, labels)
    return Behaviour(
        scores,
        per_pair,
        list(zip(whole.fractions.tolist(), map(_number, whole.f))),
        list(zip(whole.fractions.tolist(), map(_number, whole.f_pairs))),
        [] if chosen is None else [edge for edge, taken in zip(edges, chosen) if taken],
    )


def circuit_runner(task: Task, edges: Sequence[str]) -> Run:
    """Masks over `edges` -> the task's metric per circuit and pair; every edge outside `edges` is ablated."""
    full = _widener(task, edges)
    return lambda masks: task.engine.measure(full(masks), task.metric).double().cpu().numpy()


def choose(
    run: Run, ranks: Float[np.ndarray, " edges"], changed: Bool[np.ndarray, " pairs"]
) -> Bool[np.ndarray, " edges"] | None:
    """The smallest circuit of whole tie groups from the top whose faithfulness is at least FAITHFUL.

    Looked for at SIZES_TRIED sizes, each taken to the next smaller and the next larger circuit of whole tie groups.
    None where no pair has anything to explain.
    """
    order, ends = tie_groups(ranks)
    wanted = np.unique(np.rint(np.geomspace(1, len(ranks), SIZES_TRIED)).astype(int))
    bounds = np.array([0, *ends])
    above = np.searchsorted(bounds, wanted)
    sizes = np.unique(bounds[[0, *above, *(above - (bounds[above] > wanted))]])
    masks = np.zeros((len(sizes), len(ranks)), dtype=bool)
    for mask, size in zip(masks, sizes):
        mask[order[:size]] = True
    means = run(masks)[:, changed].mean(axis=1) if changed.any() else np.zeros(len(masks))
    span = means[-1] - means[0]
    if abs(span) <= _tolerance(means):
        return None
    return masks[int(np.argmax((means - means[0]) / span >= FAITHFUL))]


def _at_true_size(
    run: Run,
    ranks: Float[np.ndarray, " edges"],
    labels: Bool[np.ndarray, " edges"],
    changed: Bool[np.ndarray, " pairs"],
) -> tuple[Scores, list[float | None]]:
    size = [float(labels.mean())]
    found = faithfulness_curve(run, ranks, size, changed=changed)
    true = faithfulness_curve(run, labels.astype(np.float64), size, changed=changed)
    span = found.full - found.values[0]
    differing = np.abs(span) > _tolerance([*found.values, found.full])
    per_pair = np.full(len(span), np.nan)
    np.divide(found.values[1] - found.values[0], span, out=per_pair, where=differing)
    scores = {
        "regret": regret(float(true.f[1]), float(found.f[1])),
        "faithfulness_at_true_size": _number(found.f[1]),
        "pair_faithfulness_at_true_size": _number(found.f_pairs[1]),
    }
    return scores, [_number(f) for f in per_pair]


def _chosen_scores(
    task: Task,
    run: Run,
    edges: Sequence[str],
    chosen: Bool[np.ndarray, " edges"],
    labels: Bool[np.ndarray, " edges"],
) -> Scores:
    match = circuit_match(chosen, labels)
    scores: Scores = {
        "circuit_size": float(chosen.sum()),
        "circuit_precision": match.precision,
        "circuit_recall": match.recall,
        "circuit_f1": match.f1,
        "circuit_shd": float(structural_hamming_distance(chosen, labels)),
    }
    values = run(np.array([chosen, ~chosen, np.ones_like(chosen), np.zeros_like(chosen)]))
    of_circuit, of_complement, of_model, of_nothing = values
    distances = None
    kept, whole = (x.double().cpu().numpy() for x in _logits(task, edges, np.array([chosen, np.ones_like(chosen)])))
    graded = task.positions.cpu().numpy()
    if task.numeric:
        scores["squared_error"] = squared_error(whole[..., 0], kept[..., 0], graded)
    elif task.own_metric is None:
        scores["accuracy"] = accuracy(whole, kept, graded)
        scores["kl"] = kl_divergence(whole, kept, graded)
        scores["total_variation"] = total_variation(whole, kept, graded)
        distances = pair_total_variation(whole, kept, graded)
    equivalent = equivalence_test(of_circuit, of_model, distances)
    scores["equivalence_p"] = None if equivalent is None else equivalent.p_value
    if len(of_model) > 1:
        independent = independence_test(of_complement, of_model, n_permutations=200)
        scores |= {"independence_p": independent.p_value, "independence_hsic": independent.statistic}

    span = abs(float(of_model.mean() - of_nothing.mean()))  # over all pairs: what changes in some may cancel
    if span <= _tolerance(values):
        return scores
    scores["completeness"] = completeness(run, chosen, budget=CIRCUITS).largest / span
    if 0 < chosen.sum() <= LARGEST:
        smallest = minimality(run, chosen, budget=CIRCUITS).smallest
        scores["minimality"] = None if smallest is None else smallest / span
        paths = random_paths(edges, chosen, 10 * RANDOM_EDGES)
        minimal = minimality_test(run, chosen, paths if len(paths) else None, n_random=RANDOM_EDGES)
        scores["minimality_p"] = None if minimal is None else minimal.p_value
    return scores


def _logits(task: Task, edges: Sequence[str], masks: Bool[np.ndarray, "mask edges"]) -> torch.Tensor:
    with torch.no_grad():
        return task.engine.forward(_widener(task, edges)(masks).to(task.engine.clean_logits))


def _widener(task: Task, edges: Sequence[str]) -> Callable[[Bool[np.ndarray, "mask edges"]], torch.Tensor]:
    """Masks over `edges` as masks over all edges of the graph, the others ablated."""
    columns = torch.tensor(task.graph.indices(edges), device=task.clean.device)

    def widen(masks: Bool[np.ndarray, "mask edges"]) -> torch.Tensor:
        full = torch.zeros(len(masks), len(task.graph.edges), dtype=torch.bool, device=task.clean.device)
        full[:, columns] = torch.tensor(masks, device=full.device)
        return full

    return widen


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _tolerance(values: npt.ArrayLike) -> float:
    """The difference up to which values of the metric count as equal, as in `faithfulness_curve`."""
    return 1e-5 * (1 + float(np.abs(values).max()))


def _changed_pairs(task: Task) -> Bool[np.ndarray, " pairs"]:
    """The pairs in which ablating everything changes what the model says at a graded position."""
    with torch.no_grad():
        ablated = task.engine.forward(torch.zeros(1, len(task.graph.edges), device=task.clean.device))[0]
    clean = task.engine.clean_logits
    moved = (ablated - clean).abs().amax(-1) > CHANGE * (1 + clean.abs().max())
    return (moved & task.positions).any(-1).cpu().numpy()
