"""What the controls show: the ceiling, chance, and that no rule about places can win."""

from dataclasses import replace

import numpy as np
import pytest

from gaugeblock.cases.case import Case
from gaugeblock.cases.classes import Classes
from gaugeblock.cases.pairs import make_pairs
from gaugeblock.cases.recipe import Recipe
from gaugeblock.cases.truth import Truth, label
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.evaluation.entrants import oracle, place, prior, weights
from gaugeblock.evaluation.evaluate import evaluate
from gaugeblock.metrics.recovery import skill, stratum
from gaugeblock.programs.registry import get

LAYOUTS = 200


def layouts() -> list[tuple[Case, Truth]]:
    """Padded and permuted layouts of one program with their labels; true are the edges with a read that is true in the
    plain model."""
    program = get("count_a").with_size(max_len=5)
    plain = compile(program)
    known = label(plain, make_pairs(plain, n=24), "resample")
    true = {read for edge in known.positives for read in known.reads[edge]}
    cases = []
    for seed in range(LAYOUTS):
        model = apply_variants(plain, ("permute", "pad"), seed)
        recipe = Recipe(program.name, None, ("permute", "pad"), seed)
        positives = frozenset(edge for edge, reads in model.edge_reads.items() if true & set(reads))
        negatives = frozenset(model.graph.edges) - model.live_edges
        ignored = frozenset(model.graph.edges) - positives - negatives
        cases.append((Case(recipe, program, model), replace(known, edges=Classes(positives, negatives, ignored))))
    return cases


def skill_of(scores: dict[str, float], truth: Truth) -> float:
    edges = sorted(truth.positives | truth.negatives)
    labels = np.array([edge in truth.positives for edge in edges])
    value, comparators = skill(np.array([scores[e] for e in edges]), labels, [stratum(e) for e in edges])
    assert value is not None
    assert comparators > 0
    return value


@pytest.mark.slow
def test_a_rule_that_never_looks_at_the_model_has_no_skill_over_200_layouts() -> None:
    cases = layouts()
    by_prior = [skill_of(prior(c, "resample"), truth) for c, truth in cases]
    assert abs(np.mean(by_prior)) <= 0.02
    # The prior gives edges in one place one score. A rule that prefers low head numbers does not, and is right or
    # wrong by luck: its mean is 0 within the standard error of 200 layouts.
    by_name = [skill_of({e: -float(i) for i, e in enumerate(c.model.graph.edges)}, truth) for c, truth in cases]
    assert abs(np.mean(by_name)) <= 3 * np.std(by_name) / np.sqrt(LAYOUTS)
    assert all(skill_of(oracle_of(c, truth), truth) == 1.0 for c, truth in cases)


def oracle_of(c: Case, truth: Truth) -> dict[str, float]:
    return {edge: float(edge in truth.positives) for edge in c.model.graph.edges}


@pytest.mark.parametrize("name", ["frac_prevs", "sort", "sort/permute+pad#1"])
def test_the_oracle_is_the_ceiling_and_the_slice_is_near_it(name: str) -> None:
    best = evaluate("oracle", name).scores
    assert best["skill"] == best["auprc"] == best["precision_at_size"] == 1.0
    assert best["regret"] == pytest.approx(0.0)
    assert (evaluate("weights", name).scores["skill"] or 0) >= 0.95


def test_controls_score_every_edge() -> None:
    from gaugeblock.cases.case import case

    c = case("hist/permute+pad#1")
    for control in (oracle, prior, weights):
        assert set(control(c, "resample")) == set(c.model.graph.edges)
    assert place("a0.h1->a2.h0.k") == "head 0 > head 2 k"
    assert place("embed->logits") == "embed > logits"
