"""What circuits do, against the same numbers worked out with plain hooks."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

import gaugeblock as gb
from gaugeblock.evaluation.chosen_circuit import FAITHFUL, SIZES_TRIED, Behaviour, behaviour
from gaugeblock.evaluation.scores import SCORES
from gaugeblock.methods.registry import run_method
from gaugeblock.methods.task import Task
from gaugeblock.results.files import read_result, write_json
from gaugeblock.results.records import Result
from support.naive import patched, writers
from support.tasks import RANDOM, compiled_task, random_task

EDGES = ("embed->logits", "a1.h0->logits", "embed->m1", "m1->logits")


class Plain:
    """Circuits of some edges of a task, all other edges ablated, run with hooks."""

    def __init__(self, task: Task, edges: tuple[str, ...]) -> None:
        self.task, self.edges = task, edges
        self.source = writers(task.model, task.corrupted)
        self.seen: dict[frozenset[str], np.ndarray] = {}

    def logits(self, circuit: set[str]) -> np.ndarray:
        if (known := self.seen.get(frozenset(circuit))) is not None:
            return known
        cut = [edge for edge in self.task.graph.edges if edge not in circuit]
        self.seen[frozenset(circuit)] = patched(self.task.model, self.task.clean, self.source, cut).numpy()
        return self.seen[frozenset(circuit)]

    def metric(self, circuit: set[str]) -> np.ndarray:
        """Per pair, the mean log-odds of the clean answer."""
        clean, values = self.task.model(self.task.clean).detach().numpy(), []
        for logits, before, graded in zip(self.logits(circuit), clean, self.task.positions.numpy()):
            answers = before.argmax(-1)
            odds = [x[a] - np.logaddexp.reduce(np.delete(x, a)) for x, a in zip(logits[graded], answers[graded])]
            values.append(np.mean(odds))
        return np.array(values)

    def faithfulness(self, circuit: set[str]) -> float:
        empty, whole = (self.metric(c).mean() for c in (set(), set(self.edges)))
        return float((self.metric(circuit).mean() - empty) / (whole - empty))


def measured(task: Task, edges: tuple[str, ...], ranks: Any, true: tuple[str, ...] = ()) -> Behaviour:
    return behaviour(task, edges, np.array(ranks, dtype=float), np.array([e in true for e in edges], dtype=bool))


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


@pytest.mark.parametrize("kind", ["plain", "layer norm"])
def test_a_small_circuit_as_with_hooks(kind: str) -> None:
    task = random_task(RANDOM[kind])
    plain = Plain(task, EDGES)
    order = max(  # a ranking whose chosen circuit leaves something out
        (("a1.h0->logits", "embed->m1", "m1->logits", "embed->logits"), EDGES),
        key=lambda order: max(plain.faithfulness(set(order[:k])) for k in (1, 2, 3)),
    )
    true = order[1:3]
    does = measured(task, EDGES, [4.0 - order.index(e) for e in EDGES], true)

    size = next(k for k in (1, 2, 3, 4) if plain.faithfulness(set(order[:k])) >= FAITHFUL)
    chosen, everything = set(order[:size]), set(EDGES)
    assert set(does.chosen) == chosen
    graded = task.positions.numpy()
    p, q = (softmax(plain.logits(circuit))[graded] for circuit in (everything, chosen))
    span = abs(plain.metric(everything).mean() - plain.metric(set()).mean())
    subsets = [set(k) for n in range(size + 1) for k in combinations(sorted(chosen), n)]
    gaps = [abs((plain.metric(chosen - k) - plain.metric(everything - k)).mean()) for k in subsets]
    needed = {
        edge: max(abs((plain.metric(chosen - k) - plain.metric(chosen - k - {edge})).mean()) for k in subsets)
        for edge in chosen
    }
    expected = {
        "accuracy": np.mean(p.argmax(-1) == q.argmax(-1)),
        "kl": np.mean((p * np.log(p / q)).sum(-1)),
        "total_variation": np.mean(np.abs(p - q).sum(-1) / 2),
        "completeness": max(gaps) / span,
        "minimality": min(needed.values()) / span,
        "circuit_size": size,
        "circuit_precision": len(chosen & set(true)) / size,
        "circuit_recall": len(chosen & set(true)) / 2,
        "circuit_shd": len(chosen ^ set(true)),
        "faithfulness_at_true_size": plain.faithfulness(set(order[:2])),
        "regret": plain.faithfulness(set(true)) - plain.faithfulness(set(order[:2])),
    }
    assert {name: does.scores[name] for name in expected} == pytest.approx(expected, rel=1e-6, abs=1e-9)

    empty, whole, two = (plain.metric(set(c)) for c in ((), EDGES, order[:2]))
    assert does.per_pair == pytest.approx(((two - empty) / (whole - empty)).tolist())
    assert does.scores["pair_faithfulness_at_true_size"] == pytest.approx(np.mean(does.per_pair))


@pytest.mark.parametrize("ties", [False, True])
def test_the_chosen_circuit_is_the_smallest_on_the_grid_that_is_faithful(ties: bool) -> None:
    task = random_task({})
    edges = task.graph.edges
    plain = Plain(task, edges)
    effects = np.array(list(run_method("edge_patching", task).values()))
    ranks = np.abs(effects).round(2) if ties else np.abs(effects)
    sizes = set()
    for k in range(SIZES_TRIED):
        wanted = round(len(edges) ** (k / (SIZES_TRIED - 1)))
        lowest = sorted(ranks, reverse=True)[wanted - 1]
        above, below = int((ranks >= lowest).sum()), int((ranks > lowest).sum())  # ties belong together
        sizes |= {above} if above == wanted else {above, below}
    by_size = {size: {e for e, r in zip(edges, ranks) if (ranks > r).sum() < size} for size in sorted(sizes)}
    assert all(len(circuit) == size for size, circuit in by_size.items())
    expected = next(circuit for circuit in by_size.values() if plain.faithfulness(circuit) >= FAITHFUL)
    assert 1 < len(expected) < len(edges)
    assert set(measured(task, edges, ranks).chosen) == expected


def test_a_numeric_output_has_a_squared_error_and_no_answers() -> None:
    task = compiled_task("frac_prevs")
    edges = tuple(e for e in task.graph.edges if not e.startswith("bias"))
    effects = run_method("edge_patching", task)
    does = measured(task, edges, [abs(effects[e]) for e in edges], edges[:2])
    plain = Plain(task, edges)
    graded = task.positions.numpy()
    gap = (plain.logits(set(edges)) - plain.logits(set(does.chosen)))[..., 0][graded]
    assert does.scores["squared_error"] == pytest.approx(np.mean(gap**2), abs=1e-12)
    assert {does.scores[name] for name in ("accuracy", "kl", "total_variation", "equivalence_p")} == {None}


def test_equal_scores_leave_nothing_to_choose() -> None:
    task = random_task({})
    does = measured(task, task.graph.edges, np.ones(len(task.graph.edges)), task.graph.edges[:3])
    assert does.chosen == list(task.graph.edges)
    assert does.scores["completeness"] == 0.0
    assert (does.scores["accuracy"], does.scores["kl"], does.scores["circuit_recall"]) == (1.0, 0.0, 1.0)
    sizes = [size for size, _ in does.curve]
    assert [f for _, f in does.curve] == pytest.approx(sizes)  # nothing but interpolation
    assert does.scores["cpr"] == pytest.approx(0.5)


def test_where_nothing_changes_all_is_undefined() -> None:
    task = random_task({})
    task = Task.build(task.model, task.graph, task.clean, task.clean, task.positions)
    does = measured(task, EDGES, [4, 3, 2, 1], EDGES[:2])
    assert set(does.scores.values()) == {None}
    assert {f for _, f in does.curve + does.pair_curve} == {None}
    assert does.per_pair == [None] * len(task.clean)
    assert does.chosen == []


def test_no_edges_no_true_edges_and_one_pair() -> None:
    task = random_task({})
    nothing = measured(task, (), ())
    assert nothing == Behaviour(dict.fromkeys(nothing.scores), [], [], [], [])
    assert nothing.scores.keys() < SCORES.keys()
    without = measured(task, EDGES, [4, 3, 2, 1])
    assert without.per_pair == []
    assert without.scores["regret"] is None
    assert without.scores["circuit_recall"] is None
    for ablation in ("resample", "donor", "mean", "zero"):
        one = Task.build(task.model, task.graph, task.clean[:1], task.corrupted[:1], task.positions[:1], ablation)
        does = measured(one, EDGES, [4, 3, 2, 1], EDGES[:2])
        assert does.scores["independence_p"] is None  # of one pair nothing can be told
        assert [f for _, f in does.curve] == pytest.approx([f for _, f in does.pair_curve])
        assert np.isfinite([v for v in does.scores.values() if v is not None]).all()


def test_no_division_by_what_vanishes_over_all_pairs() -> None:
    """One pair of thirty differs, and the metric is small: enough for faithfulness, which asks that pair alone."""
    task = random_task({})
    clean = task.clean[:1].repeat(30, 1)
    corrupted = clean.clone()
    corrupted[0] = task.corrupted[0]
    task = Task.build(task.model, task.graph, clean, corrupted, torch.ones_like(clean).bool())
    plain = Plain(task, EDGES)
    span = plain.metric(set(EDGES)) - plain.metric(set())
    assert span[1:] == pytest.approx(0)
    small = replace(task, own_metric=lambda logits, pair: 1e-4 / span[0] * task.metric(logits, pair))
    does = measured(small, EDGES, [4, 3, 2, 1], EDGES[:2])
    assert does.chosen
    assert does.scores["completeness"] is None
    assert measured(task, EDGES, [4, 3, 2, 1], EDGES[:2]).scores["completeness"] is not None


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_constant_method_has_a_whole_record(score: float, tmp_path: Any) -> None:
    def constant(task: Task) -> dict[str, float]:
        return dict.fromkeys(task.graph.edges, score)

    case = gb.case("hist@v3n3/pad")
    result = gb.evaluate(constant, case)
    assert result.scores["skill"] == 0.0
    assert (
        result.scores["circuit_size"]
        == len(result.circuit)
        == len(case.truth("resample").positives) + len(case.truth("resample").negatives)
    )
    write_json(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == Result.model_validate(result.model_dump()) == result
