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
from gaugeblock.metrics.agreement import accuracy, kl_divergence, pair_total_variation, squared_error, total_variation
from gaugeblock.metrics.causal import completeness, minimality
from gaugeblock.metrics.circuits import circuit_match, structural_hamming_distance
from gaugeblock.metrics.faithfulness import (
    MIB_SIZES,
    FaithfulnessCurve,
    Run,
    cmd,
    cpr,
    faithfulness_curve,
    log_cmd,
    log_cpr,
    regret,
)
from gaugeblock.metrics.hypothesis_tests import equivalence_test, independence_test, minimality_test
from gaugeblock.metrics.paths import random_paths
from gaugeblock.metrics.ranking import tie_groups

Scores = dict[str, float | None]

MIN_CHANGE = 1e-4  # of a graded logit, relative to the largest: far above rounding, far below another answer
FAITHFUL = 0.9  # of the chosen circuit
SIZES_TRIED = 20  # when it is chosen, from one edge to all, evenly in their logarithm
MAX_EDGES_FOR_MINIMALITY = 40  # of a chosen circuit whose parts are taken out; a larger one has no minimality
CIRCUITS = 32  # that completeness may run, and minimality; it takes more where a circuit is large
RANDOM_EDGES = 20  # that the minimality test compares each edge with


@final
@dataclass(frozen=True)
class Behaviour:
    """What the circuits of a ranking do.

    Attributes:
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


@final
@dataclass(frozen=True, eq=False)
class _Chosen:
    """The chosen circuit, and what the metric and the logits are with it.

    Attributes:
        mask: which of the scored edges it holds.
        circuit, complement, model, nothing: the metric per pair, of it, of all but it, of all edges and of none.
        logits, model_logits: with it, and with all edges.
    """

    mask: Bool[np.ndarray, " edges"]
    circuit: Float[np.ndarray, " pairs"]
    complement: Float[np.ndarray, " pairs"]
    model: Float[np.ndarray, " pairs"]
    nothing: Float[np.ndarray, " pairs"]
    logits: Float[np.ndarray, "pairs pos out"]
    model_logits: Float[np.ndarray, "pairs pos out"]

    @staticmethod
    def of(task: Task, run: Run, edges: Sequence[str], mask: Bool[np.ndarray, " edges"]) -> "_Chosen":
        values = run(np.array([mask, ~mask, np.ones_like(mask), np.zeros_like(mask)]))
        with torch.no_grad():
            masks = _widener(task, edges)(np.array([mask, np.ones_like(mask)]))
            logits = task.engine.forward(masks.to(task.engine.clean_logits)).double().cpu().numpy()
        return _Chosen(mask, *values, *logits)

    @property
    def span(self) -> float | None:
        """What all edges together change, over all pairs; None where that is nothing: it may cancel between pairs."""
        span = abs(float(self.model.mean() - self.nothing.mean()))
        values = [self.circuit, self.complement, self.model, self.nothing]
        return None if span <= _tolerance(values) else span


def behaviour(
    task: Task, edges: Sequence[str], ranks: Float[np.ndarray, " edges"], labels: Bool[np.ndarray, " edges"]
) -> Behaviour:
    """Measure what circuits of top-ranked `edges` do. All other edges are ablated throughout, in the whole that
    circuits are compared with too."""
    run, curve, mask = circuit_runner(task, edges), None, None
    changed = _changed_pairs(task)
    if len(edges):
        curve, mask = faithfulness_curve(run, ranks, MIB_SIZES, changed=changed), choose(run, ranks, changed)
    chosen = None if mask is None else _Chosen.of(task, run, edges, mask)
    at_true_size, per_pair = _at_true_size(run, ranks, labels, changed)
    return Behaviour(
        _curve_scores(curve)
        | at_true_size
        | _match_scores(chosen, labels)
        | _agreement_scores(task, chosen)
        | _causal_scores(run, chosen)
        | _test_scores(task, run, edges, chosen),
        per_pair,
        [] if curve is None else list(zip(curve.fractions.tolist(), map(_number, curve.f))),
        [] if curve is None else list(zip(curve.fractions.tolist(), map(_number, curve.f_pairs))),
        [] if mask is None else [edge for edge, taken in zip(edges, mask) if taken],
    )


def circuit_runner(task: Task, edges: Sequence[str]) -> Run:
    """Return what maps masks over `edges` to the task's metric per circuit and pair, every other edge ablated."""
    full = _widener(task, edges)
    return lambda masks: task.engine.measure(full(masks), task.metric).double().cpu().numpy()


def choose(
    run: Run, ranks: Float[np.ndarray, " edges"], changed: Bool[np.ndarray, " pairs"]
) -> Bool[np.ndarray, " edges"] | None:
    """Return the smallest circuit of whole tie groups from the top whose faithfulness is at least FAITHFUL.

    It is looked for at SIZES_TRIED sizes, each taken to the next smaller and the next larger circuit of whole groups.
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


# --- families of scores: each names its scores, which are undefined until they are measured ---------------------------


def _curve_scores(curve: FaithfulnessCurve | None) -> Scores:
    scores: Scores = dict.fromkeys(("cpr", "cmd", "log_cpr", "log_cmd"))
    if curve is not None:
        for name, area in {"cpr": cpr, "cmd": cmd, "log_cpr": log_cpr, "log_cmd": log_cmd}.items():
            scores[name] = area(curve.fractions, curve.f)
    return scores


def _at_true_size(
    run: Run,
    ranks: Float[np.ndarray, " edges"],
    labels: Bool[np.ndarray, " edges"],
    changed: Bool[np.ndarray, " pairs"],
) -> tuple[Scores, list[float | None]]:
    """(scores of the circuit with as many edges as there are true ones, its faithfulness on each pair)."""
    scores: Scores = dict.fromkeys(("regret", "faithfulness_at_true_size", "pair_faithfulness_at_true_size"))
    if not labels.any():
        return scores, []
    size = [float(labels.mean())]
    curve = faithfulness_curve(run, ranks, size, changed=changed)
    true = faithfulness_curve(run, labels.astype(np.float64), size, changed=changed)
    span = curve.full - curve.values[0]
    differing = np.abs(span) > _tolerance([*curve.values, curve.full])
    per_pair = np.full(len(span), np.nan)
    np.divide(curve.values[1] - curve.values[0], span, out=per_pair, where=differing)
    scores["regret"] = regret(float(true.f[1]), float(curve.f[1]))
    scores["faithfulness_at_true_size"] = _number(curve.f[1])
    scores["pair_faithfulness_at_true_size"] = _number(curve.f_pairs[1])
    return scores, [_number(f) for f in per_pair]


def _match_scores(chosen: _Chosen | None, labels: Bool[np.ndarray, " edges"]) -> Scores:
    scores: Scores = dict.fromkeys(("circuit_size", "circuit_precision", "circuit_recall", "circuit_f1", "circuit_shd"))
    if chosen is not None:
        match = circuit_match(chosen.mask, labels)
        scores["circuit_size"] = float(chosen.mask.sum())
        scores["circuit_precision"], scores["circuit_recall"] = match.precision, match.recall
        scores["circuit_f1"] = match.f1
        scores["circuit_shd"] = float(structural_hamming_distance(chosen.mask, labels))
    return scores


def _agreement_scores(task: Task, chosen: _Chosen | None) -> Scores:
    scores: Scores = dict.fromkeys(("accuracy", "kl", "total_variation", "squared_error"))
    if chosen is None:
        return scores
    outputs = chosen.model_logits, chosen.logits, task.positions.cpu().numpy()
    if task.numeric:
        scores["squared_error"] = squared_error(outputs[0][..., 0], outputs[1][..., 0], outputs[2])
    elif task.own_metric is None:
        scores["accuracy"] = accuracy(*outputs)
        scores["kl"] = kl_divergence(*outputs)
        scores["total_variation"] = total_variation(*outputs)
    return scores


def _causal_scores(run: Run, chosen: _Chosen | None) -> Scores:
    scores: Scores = dict.fromkeys(("completeness", "minimality"))
    if chosen is None or (span := chosen.span) is None:
        return scores
    scores["completeness"] = completeness(run, chosen.mask, budget=CIRCUITS).largest / span
    if _is_small(chosen):
        smallest = minimality(run, chosen.mask, budget=CIRCUITS).smallest
        scores["minimality"] = None if smallest is None else smallest / span
    return scores


def _test_scores(task: Task, run: Run, edges: Sequence[str], chosen: _Chosen | None) -> Scores:
    """p-values of hypothesis tests, and their statistics."""
    scores: Scores = dict.fromkeys(("equivalence_p", "independence_p", "independence_hsic", "minimality_p"))
    if chosen is None:
        return scores
    distances = None
    if not task.numeric and task.own_metric is None:
        distances = pair_total_variation(chosen.model_logits, chosen.logits, task.positions.cpu().numpy())
    if (equivalent := equivalence_test(chosen.circuit, chosen.model, distances)) is not None:
        scores["equivalence_p"] = equivalent.p_value
    if len(chosen.model) > 1:
        independent = independence_test(chosen.complement, chosen.model, n_permutations=200)
        scores["independence_p"], scores["independence_hsic"] = independent.p_value, independent.statistic
    if chosen.span is not None and _is_small(chosen):
        paths = random_paths(edges, chosen.mask, 10 * RANDOM_EDGES)
        minimal = minimality_test(run, chosen.mask, paths if len(paths) else None, n_random=RANDOM_EDGES)
        scores["minimality_p"] = None if minimal is None else minimal.p_value
    return scores


def _is_small(chosen: _Chosen) -> bool:
    """Whether the circuit's edges can be taken out one by one."""
    return 0 < int(chosen.mask.sum()) <= MAX_EDGES_FOR_MINIMALITY


# --- tools -----------------------------------------------------------------------------------------------------------


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
    moved = (ablated - clean).abs().amax(-1) > MIN_CHANGE * (1 + clean.abs().max())
    return (moved & task.positions).any(-1).cpu().numpy()
