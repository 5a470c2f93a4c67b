"""Suites: what `stress` promises of its cases is measured, `full` has the whole library, and names are understood."""

from dataclasses import replace
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
import torch

from gaugeblock.cases.case import Case, case
from gaugeblock.cases.effects import Effects
from gaugeblock.cases.recipe import CaseError, Recipe
from gaugeblock.compiled.edges.graph import parse_edge
from gaugeblock.compiled.lowered import semantics
from gaugeblock.evaluation.evaluate import evaluate, make_task
from gaugeblock.methods.circuits.gradients import eap
from gaugeblock.programs.errors import InputError, ProgramError, UnknownName
from gaugeblock.programs.registry import get, library_names
from gaugeblock.suites.stress import STRESS
from gaugeblock.suites.suites import CORE, FULL_WITHOUT, SUITES, case_ids, suite

QUICK = (
    "bracket_depth/permute+pad+rotate#1",
    "self_check/permute+pad+rotate#1",
    "two_of_three/permute+pad+rotate#1",
    "last_seen/permute+pad+decoy+rotate#1",
    "kth_largest/permute+pad+rotate#1",
)
"""Cases of `stress` that are looked at each time; the others take longer."""


def without_gradient(c: Case) -> bool:
    exact = replace(c, model=c.model.to(dtype=torch.float64))
    scores = eap(make_task(exact, "resample", 0))
    return bool(np.mean([abs(scores[e]) < 1e-4 for e in c.truth("resample").positives]) >= 0.5)


def cancels(c: Case) -> bool:
    """Asked of the model: ablating all that goes out of the node, or one edge of it."""
    truth, effects = c.truth("resample"), Effects(c.model, c.pairs, "resample")
    for node in truth.cancelling:
        out = c.model.graph.outgoing(node)
        true = [(edge,) for edge in out if edge in truth.positives]
        if true and effects.of([tuple(out)]).max() <= effects.tolerance:
            return True
    return False


def gate(c: Case, output: bool) -> bool:
    """Whether two true edges matter together on 5 % of pairs where neither does alone and the output is that."""
    truth, effects = c.truth("resample"), Effects(c.model, c.pairs, "resample")
    edges = sorted(truth.positives)
    sets = list(combinations(edges, 2))
    alone = dict(zip(edges, effects.of([(e,) for e in edges]) > effects.tolerance, strict=True))
    together = effects.of(sets) > effects.tolerance
    counted = outputs_are(c, output)
    share = 0.0
    for (a, b), matters in zip(sets, together, strict=True):
        neither = ~alone[a] & ~alone[b]
        never = not (alone[a].any() or alone[b].any())
        share = max(share, float((matters & neither & (counted | never)).mean()))
    return share >= 0.05


def outputs_are(c: Case, wanted: bool) -> np.ndarray:
    """Per pair: whether the clean output is that at every graded position."""
    lowered, graded = c.model.lowered, c.pairs.positions.numpy()
    values = lowered.variables[lowered.output.variable].values
    codes = semantics.run(lowered, c.pairs.clean.numpy())["logits"]
    is_wanted = np.isin(codes, [code for code, value in enumerate(values) if value is wanted])
    return np.asarray((is_wanted | ~graded).all(1))


def raises_the_metric(c: Case) -> bool:
    scores = evaluate("edge_patching", c).edge_scores
    true = [scores[e] for e in c.truth("resample").positives]
    return min(true) <= -0.05 * max(true)


def draws_attention(c: Case) -> bool:
    scores, truth = evaluate("magnitude", c).edge_scores, c.truth("resample")
    ranked = sorted([*truth.positives, *truth.negatives], key=lambda e: -scores[e])[: len(truth.positives)]
    return sum(e in truth.negatives for e in ranked) >= len(ranked) / 2


def depends_on_zero(c: Case) -> bool:
    zero, resample = c.truth("zero").positives, c.truth("resample").positives
    return len(zero - resample) >= 0.6 * len(zero)


def is_a_long_chain(c: Case) -> bool:
    edges = map(parse_edge, c.truth("resample").positives)
    graph = nx.DiGraph([(w, r.rpartition(".")[0] if r.count(".") == 2 else r) for w, r in edges])
    return len(nx.dag_longest_path(graph)) >= 8


def is_rare(c: Case) -> bool:
    return min(w.kappa for w in c.truth("resample").witnesses.values()) <= 1 / 16


SHOWN = {
    "saturation": without_gradient,
    "cancellation": cancels,
    "or": lambda c: gate(c, True),
    "and": lambda c: gate(c, False),
    "suppressors": raises_the_metric,
    "decoys": draws_attention,
    "off-distribution": depends_on_zero,
    "long-chains": is_a_long_chain,
    "rare-edges": is_rare,
}


@pytest.mark.parametrize(
    ("family", "case_id"),
    [
        pytest.param(family, case_id, marks=() if case_id in QUICK else pytest.mark.slow)
        for family, of_it in STRESS.items()
        for case_id in of_it.cases
    ],
)
def test_a_case_of_stress_shows_what_its_family_promises(family: str, case_id: str) -> None:
    assert SHOWN[family](case(case_id))


def test_the_properties_are_not_those_of_every_case() -> None:
    """A plain lookup has none of them."""
    lookup = case("first_token")
    assert [family for family, shown in SHOWN.items() if shown(lookup)] == []


def test_stress_has_a_family_for_each_way_to_fail() -> None:
    assert set(SHOWN) == set(STRESS)
    assert all(family.shows and family.cases and all(family.cases.values()) for family in STRESS.values())
    assert set(suite("stress")) == {id_ for name in STRESS for id_ in suite(f"stress:{name}")}


@pytest.mark.parametrize("name", SUITES)
def test_ids_of_suites_are_full_and_of_programs_that_exist(name: str) -> None:
    ids = suite(name)
    assert len(set(ids)) == len(ids) > 0
    for case_id in ids:
        recipe = Recipe.parse(case_id)
        assert recipe.id == case_id
        assert len(get(recipe.program).outputs) == 1


def test_full_has_every_program_of_the_library_but_those_that_do_not_fit() -> None:
    programs = [Recipe.parse(case_id).program for case_id in suite("full")]
    assert sorted([*programs, *FULL_WITHOUT]) == sorted(library_names())


def test_names_of_suites_and_cases_mix() -> None:
    assert case_ids(["sort#0", "quick", "sort"])[:3] == ["sort", "frac_prevs", "frac_prevs/permute+pad#1"]
    assert case_ids(["stress:cancellation", "core"])[2:] == list(CORE)
    assert case_ids(["season(seed=7,index=3)/permute#5"]) == ["season(seed=7,index=3)/permute#5"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("qick", UnknownName, "did you mean quick"),
        ("stress:decoy", UnknownName, "did you mean decoys"),
        ("season", InputError, "write season:7 for the 20 cases"),
        ("season:seven", InputError, "write season:7"),
        ("season:7:0", InputError, "1 to 100"),
        ("season:7:101", InputError, "1 to 100"),
        ("season:-7", InputError, "write season:7"),
        (f"season:{2**512}", ProgramError, "from 0 to 2\\*\\*512"),
        ("season(seed=7, index=3)", ProgramError, "write season\\(seed=7,index=3\\)"),
        ("season(seed=07,index=3)", ProgramError, "write season\\(seed=7,index=3\\)"),
        ("sort@x", CaseError, "the form is"),
    ],
)
def test_other_names_are_refused(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        case_ids([name])
