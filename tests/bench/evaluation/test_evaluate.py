"""One method on one case, on the real stack."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

import gaugeblock as gb
from gaugeblock.evaluation.case_record import case_record
from gaugeblock.evaluation.evaluate import make_task, rescore
from gaugeblock.evaluation.scores import SCORES
from gaugeblock.programs.errors import MethodError, UnknownName
from gaugeblock.results.records import Result


@pytest.fixture(scope="module")
def case():
    return gb.case("frac_prevs/permute+pad#1")


def constant(task):
    return dict.fromkeys(task.graph.edges, 1.0)


def arbitrary(task, scale=1.0):
    return {
        edge: scale * float(value) for edge, value in zip(task.graph.edges, task.rng.normal(size=len(task.graph.edges)))
    }


@pytest.mark.parametrize("ablation", ["resample", "donor"])
def test_the_oracle_is_perfect(case, ablation):
    result = gb.evaluate("oracle", case, ablation=ablation)
    scores = result.scores
    assert set(scores) == set(SCORES)
    assert (scores["skill"], scores["auprc"], scores["precision_at_size"]) == (1.0, 1.0, 1.0)
    assert scores["faithfulness_at_true_size"] == pytest.approx(1.0, abs=1e-4)
    assert scores["regret"] == pytest.approx(0.0, abs=1e-4)
    assert Result.model_validate(result.model_dump()) == result


def test_scores_agree_with_scikit_learn(case):
    result = gb.evaluate(arbitrary, case, seed=3)
    truth = case.truth("resample")
    edges = sorted(truth.positives | truth.negatives)
    labels = [e in truth.positives for e in edges]
    strengths = [abs(result.edge_scores[e]) for e in edges]
    assert result.scores["auroc"] == pytest.approx(roc_auc_score(labels, strengths))
    assert result.scores["auprc"] == pytest.approx(average_precision_score(labels, strengths))


def test_a_result_is_scored_again_without_its_method(case):
    result = gb.evaluate(arbitrary, case, seed=3, resamples=2)
    assert result.scores["stability"] is not None
    forged = result.model_copy(update={"scores": dict.fromkeys(result.scores, 1.0), "circuit": [], "curve": []})
    again = rescore(forged, case)
    assert again.scores == result.scores | {"stability": 1.0}
    assert (again.circuit, again.curve, again.pair_scores) == (result.circuit, result.curve, result.pair_scores)


def test_a_constant_score_has_no_skill(case):
    result = gb.evaluate(constant, case)
    assert result.scores["skill"] == 0.0
    assert (result.scores["auroc_low"], result.scores["auroc_high"]) == (0.0, 1.0)


def test_the_same_seed_gives_the_same_result_and_the_unit_does_not_matter(case):
    first, again, other = (gb.evaluate(arbitrary, case, seed=s) for s in (0, 0, 1))
    assert first.edge_scores == again.edge_scores
    assert first.edge_scores != other.edge_scores
    assert gb.evaluate(arbitrary, case, scale=1e-12).scores == first.scores


def test_what_a_method_draws_on_one_case_says_nothing_of_another():
    drawn = {}

    def draws(task):
        drawn[len(drawn)] = task.rng.random(2000)
        return dict.fromkeys(task.graph.edges, 1.0)

    for name in ("hist", "hist/permute+pad#1", "frac_prevs"):
        for seed in (0, 1):
            gb.evaluate(draws, name, seed=seed)
    gb.evaluate(draws, "hist")
    assert (drawn.pop(6) == drawn[0]).all()
    between = np.corrcoef(list(drawn.values())) - np.eye(6)
    assert np.abs(between).max() < 0.1  # 4 standard deviations


def test_faithfulness_is_that_of_the_circuit_run_with_plain_hooks(case):
    """At the true size, with the oracle's circuit and one edge of it missing, against TransformerLens hooks."""
    truth, model, pairs = case.truth("resample"), case.model, case.pairs
    dropped = next(e for e in sorted(truth.positives) if e.endswith(".v"))
    spare = sorted(truth.negatives)[0]

    def off_by_one(task):
        return {e: float((e in truth.positives and e != dropped) or e == spare) for e in task.graph.edges}

    result = gb.evaluate(off_by_one, case)
    writer, reader = dropped.split("->")
    layer, head = (int(part[1:]) for part in reader.split(".")[:2])
    hooked = model.hooked
    _, clean = hooked.run_with_cache(pairs.clean)
    _, corrupted = hooked.run_with_cache(pairs.corrupted)
    assert writer == "embed", "the test is written for an edge from the embedding"
    change = (corrupted["hook_embed"] - clean["hook_embed"]) @ hooked.W_V[layer, head]

    def patch(value, hook):
        value[:, :, head] += change
        return value

    task = make_task(case, "resample", 0)
    everyone = torch.arange(len(pairs))
    with torch.no_grad():
        kept = task.metric(
            hooked.run_with_hooks(pairs.clean, fwd_hooks=[(f"blocks.{layer}.attn.hook_v", patch)]), everyone
        )
        full = task.metric(hooked(pairs.clean), everyone)
        empty = task.metric(hooked(pairs.corrupted), everyone)
    span = (full - empty).numpy()
    expected = (kept - empty).numpy() / np.where(np.abs(span) > 1e-3, span, np.nan)
    measured = np.array([np.nan if v is None else v for v in result.pair_scores["faithfulness"]])
    compared = np.isfinite(expected) & np.isfinite(measured)
    assert compared.sum() > 10
    np.testing.assert_allclose(measured[compared], expected[compared], atol=1e-3)


def test_a_method_that_breaks_the_protocol_is_an_error(case):
    with pytest.raises(MethodError, match=r"misses 137 of 137 edges"):
        gb.evaluate(lambda task: {}, case)
    with pytest.raises(MethodError, match=r"(?i)nan"):
        gb.evaluate(lambda task: dict.fromkeys(task.graph.edges, float("nan")), case)
    with pytest.raises(MethodError):
        gb.evaluate(lambda task: dict.fromkeys(task.graph.edges, float("inf")), case)
    with pytest.raises(UnknownName, match="oracle"):
        gb.evaluate("oracel", case)
    with pytest.raises(UnknownName, match="resample"):
        gb.evaluate("oracle", case, ablation="resampel")
    with pytest.raises(MethodError, match="no parameters"):
        gb.evaluate("oracle", case, steps=3)


def test_the_record_of_a_case_partitions_its_graph(case):
    record = case_record(case, "resample", case.certify(["resample"], n_samples=200))
    edges = [*record.positives, *record.negatives, *record.ignored]
    assert sorted(edges) == sorted(case.model.graph.edges)
    assert set(record.edge_variables) <= set(record.positives)
    assert record.certified
    assert record.comparators == gb.evaluate("oracle", case).scores["comparators"]
