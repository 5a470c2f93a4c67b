"""The suite `core`: what it is made of, that its cases stay what they are, and that places in them say nothing."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import networkx as nx
import numpy as np
import pytest

from gaugeblock.cases.case import Case, case
from gaugeblock.cases.recipe import Recipe
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.evaluation.entrants import prior
from gaugeblock.metrics.recovery import matched_auroc, stratum
from gaugeblock.programs.registry import get
from gaugeblock.suites.suites import CORE

RECIPES = [Recipe.parse(case_id) for case_id in CORE]
PROGRAMS = [recipe.program for recipe in RECIPES]
LAYOUTS = 40


@cache
def plain(program: str) -> CompiledModel:
    return compile(get(program))


def frozen() -> dict[str, dict[str, Any]]:
    return json.loads(files("gaugeblock.suites").joinpath("data/core.json").read_text(encoding="utf-8"))


# --- what it is made of --------------------------------------------------------------------------------------------


def test_variants_are_as_promised() -> None:
    assert 38 <= len(RECIPES) <= 45
    assert len(set(PROGRAMS)) == len(RECIPES)
    assert all(reason.strip() for reason in CORE.values())
    assert all(recipe.id == case_id for recipe, case_id in zip(RECIPES, CORE, strict=True))
    assert all({"permute", "pad", "rotate"} <= set(recipe.variants) for recipe in RECIPES)
    for variant in ("soft", "camouflage"):
        assert sum(variant in recipe.variants for recipe in RECIPES) >= len(RECIPES) / 3, variant


@pytest.mark.slow
def test_circuits_range_over_depths_and_heads_and_kinds() -> None:
    models = [plain(program) for program in PROGRAMS]
    heads = [len({site for site in m.provenance.sites.values() if site.startswith("a")}) for m in models]
    layers = [sum(name.endswith("attn.W_Q") for name in model.weights) for model in models]
    assert min(heads) == 1  # no program is positionwise
    assert max(heads) >= 8
    assert min(layers) == 1
    assert max(layers) == 8
    assert {model.lowered.output.numeric for model in models} == {True, False}
    assert {"causal" in model.program.tags for model in models} == {True, False}


def shape(model: CompiledModel) -> str:
    """The circuit up to names and sizes: kinds of operations, and which reads by which port what another writes.

    The hash sees kinds of nodes and which are neighbours, so a read is a chain of two nodes, which says its direction.
    """
    graph, lowered = nx.Graph(), model.lowered
    kinds = {op.name: type(op).__name__ for op in lowered.operations}
    for i, (reader, port, variable) in enumerate(lowered.flow):
        writer = lowered.variables[variable].writer
        for name in (writer, reader):
            graph.add_node(name, kind=kinds.get(name, name))
        graph.add_node(("out", i), kind="out")
        graph.add_node(("in", i), kind=port)
        nx.add_path(graph, [writer, ("out", i), ("in", i), reader])
    return str(nx.weisfeiler_lehman_graph_hash(graph, node_attr="kind", iterations=12))


@pytest.mark.slow
def test_no_two_circuits_have_one_shape() -> None:
    shapes: dict[str, list[str]] = {}
    for program in PROGRAMS:
        shapes.setdefault(shape(plain(program)), []).append(program)
    assert [same for same in shapes.values() if len(same) > 1] == []


def test_the_shape_sees_operations_and_neither_names_nor_sizes() -> None:
    assert shape(compile(get("sort").with_size(range(3), 4))) == shape(plain("sort"))
    assert shape(compile(get("kth_largest(k=3)"))) == shape(plain("kth_largest"))
    assert shape(plain("sort")) != shape(plain("sort_unique"))


# --- its cases stay what they are ----------------------------------------------------------------------------------


def test_each_case_has_a_version_and_a_hash() -> None:
    assert list(frozen()) == list(CORE)
    assert all(entry["version"] >= 1 and len(entry["hash"]) == 64 for entry in frozen().values())


@pytest.mark.slow
@pytest.mark.parametrize("case_id", CORE)
def test_a_case_changes_with_its_version_only(case_id: str) -> None:
    entry = frozen()[case_id]
    assert case(case_id).hash == entry["hash"], (
        f"{case_id} is another case than version {entry['version']}: its weights, pairs or truth have changed. "
        "If that is meant, raise its version with `python benchmarks/freeze_core.py`"
    )


# --- places say nothing --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_rule_about_places_has_a_matched_auroc_of_a_half(program: str) -> None:
    """True are the edges of the program, false all others, which is quick and nearly the truth on data."""
    model, by_prior, by_name = plain(program), [], []
    for seed in range(LAYOUTS):
        laid_out = apply_variants(model, ("permute", "pad"), seed)
        edges = laid_out.graph.edges
        true, places = np.array([e in laid_out.program_edges for e in edges]), [stratum(e) for e in edges]
        scores = prior(Case(Recipe(program, None, ("permute", "pad"), seed), laid_out.program, laid_out), "resample")
        by_prior.append(matched_auroc(np.array([scores[e] for e in edges]), true, places)[0])
        by_name.append(matched_auroc(-np.arange(len(edges), dtype=float), true, places)[0])
    assert abs(np.mean(by_prior) - 0.5) <= 0.01
    # A rule that prefers low head numbers is right or wrong by luck, so its mean has a standard error.
    assert abs(np.mean(by_name) - 0.5) <= 4 * np.std(by_name) / np.sqrt(LAYOUTS)
