"""Truth, pairs and cases on real models, against brute force and what is known of the programs."""

from itertools import combinations

import numpy as np
import pytest
import torch

from gaugeblock import sufficient
from gaugeblock.cases import Case, CaseError, Recipe, case, resized
from gaugeblock.compiled.compiler import compile
from gaugeblock.levels import Classes, node_classes, port_classes
from gaugeblock.pairs import make_pairs
from gaugeblock.programs.errors import UnknownName
from gaugeblock.programs.registry import get
from gaugeblock.sufficient import sufficient_sets
from gaugeblock.suites import suite
from gaugeblock.truth import ABLATIONS, find_witnesses, label
from support.naive import patched, writers


def test_known_edges_of_small_programs() -> None:
    truth = case("frac_prevs").truth("resample")
    assert truth.positives == {"embed->a0.h0.v", "a0.h0->logits"}
    assert truth.negatives == {"embed->logits", "pos->logits", "pos->a0.h0.v"}
    # positions matter once a row may hold what stands elsewhere
    assert case("frac_prevs").truth("donor").positives == truth.positives | {"pos->a0.h0.q", "pos->a0.h0.k"}
    # the length of the input arrives through padding, though the source never mentions it
    assert "embed->a0.h0.k" in case("reverse").truth("resample").positives


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_labels_are_a_partition_and_every_positive_has_its_witness(ablation: str) -> None:
    c = case("sort/permute+pad#1")
    truth = c.truth(ablation)
    assert sorted([*truth.positives, *truth.negatives, *truth.ignored]) == sorted(c.model.graph.edges)
    assert set(truth.witnesses) == truth.positives <= truth.program
    assert all(edge in w.edges and w.kappa > 0 and w.effect > 1e-3 for edge, w in truth.witnesses.items())


def test_single_effects_are_those_of_plain_hooks() -> None:
    c = case("hist")
    truth = c.truth("resample")
    model = c.model.to(dtype=torch.float64).hooked
    source = writers(model, c.pairs.corrupted)
    clean = model(c.pairs.clean).detach()
    for edge in c.model.graph.edges:
        change = (patched(model, c.pairs.clean, source, [edge]) - clean).abs() * c.pairs.positions[..., None]
        matters = bool((change > 1e-9 * (1 + clean.abs().max())).any())
        assert matters == (edge in truth.positives), edge


def brute_force(effect: dict[frozenset[str], bool], edges: str) -> set[str]:
    """Members of inclusion-minimal sets of at most three that matter."""
    found: set[str] = set()
    for size in (1, 2, 3):
        for chosen in combinations(edges, size):
            smaller = [frozenset(s) for k in range(1, size) for s in combinations(chosen, k)]
            if effect[frozenset(chosen)] and not any(effect[s] for s in smaller):
                found |= set(chosen)
    return found


@pytest.mark.parametrize("seed", range(30))
def test_minimal_sets_as_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = "abcdef"
    sets = [frozenset(s) for k in (1, 2, 3) for s in combinations(edges, k)]
    effect = {s: bool(rng.random() < 0.15) for s in sets}

    def effects(asked: list[tuple[str, ...]]) -> np.ndarray:
        return np.array([[0.0, float(effect[frozenset(s)])] for s in asked])

    found, minimal = find_witnesses(list(edges), effects, 0.5)
    assert all(effect[frozenset(s)] for s in minimal)
    assert set(found) == brute_force(effect, edges)
    assert all(effect[frozenset(w.edges)] and edge in w.edges for edge, w in found.items())


@pytest.mark.parametrize("seed", range(20))
def test_sufficient_sets_as_by_brute_force(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    edges = "abcde"
    everything = [frozenset(s) for n in range(6) for s in combinations(edges, n)]
    matters = {s: bool(rng.random() < 0.6) for s in everything} | {frozenset(): False}

    def moves(sets: list[tuple[str, ...]]) -> np.ndarray:
        return np.array([matters[frozenset(s)] for s in sets], dtype=bool)

    suffice = [s for s in everything if not matters[frozenset(edges) - s]]
    minimal = {s for s in suffice if not any(t < s for t in suffice)}
    found = sufficient_sets(list(edges), frozenset(edges), moves)
    assert (set(found.sets), found.found_by) == (minimal, "enumeration")
    monkeypatch.setattr(sufficient, "ENUMERATED", 0)
    found = sufficient_sets(list(edges), frozenset(edges), moves)
    assert found.found_by == "search"
    assert set(found.sets) == reachable(set(suffice), frozenset(edges))


def reachable(suffice: set[frozenset[str]], start: frozenset[str]) -> set[frozenset[str]]:
    """Ends of all walks that leave out one or two edges at a time and stay sufficient."""
    inside = [s for s in suffice if s < start and len(start - s) <= 2]
    return {start} if not inside else set().union(*(reachable(suffice, s) for s in inside))


def test_nodes_and_what_cancels() -> None:
    """A node that carries its change along two edges that cancel is no true node."""
    graph = case("sort").model.graph
    positives = frozenset({"embed->a0.h0.k", "a0.h0->m0", "m0->logits"})
    dead = frozenset(e for e in graph.edges if e.startswith("pos->"))
    edges = Classes(positives, dead, frozenset(graph.edges) - positives - dead)
    nodes, cancelling = node_classes(graph, edges, {w: w != "a0.h0" for w in graph.writers})
    assert (nodes.positives, nodes.negatives, cancelling) == ({"embed", "m0"}, {"pos"}, {"a0.h0"})
    assert nodes.positives | nodes.negatives | nodes.ignored == set(graph.writers)
    ports = port_classes(graph, edges)
    assert ports.positives == {"a0.h0.k"}
    assert "a0.h0.q" in ports.ignored


def test_pairs_vary_every_variable_and_spare_the_rest() -> None:
    model = compile(get("dyck2"))
    pairs = make_pairs(model)
    tags = " | ".join(pairs.tags)
    for variable in ("tokens", "depth", "opens", "closes", "opener"):
        assert f"{variable} differs" in tags
    assert "the output does not" in tags
    assert len(pairs) == 128
    lengths = model.real(pairs.clean).sum(1) != model.real(pairs.corrupted).sum(1)
    assert 0.1 < lengths.double().mean() < 0.9
    assert (pairs.positions <= model.real(pairs.clean) & model.real(pairs.corrupted)).all()
    assert (pairs.clean != pairs.corrupted).any(1).all()
    assert not any(torch.equal(a, b) for a, b in ((pairs.clean, make_pairs(model, seed=1).clean),))
    assert torch.equal(pairs.clean, make_pairs(model).clean)


def test_a_hash_names_recipe_weights_pairs_and_truth() -> None:
    first = case("hist/permute+pad#1")
    again = Case(first.recipe, first.program, first.model)
    assert first.hash == again.hash
    assert len({case(f"hist/permute+pad#{seed}").hash for seed in (1, 2)} | {case("hist").hash}) == 3


def test_ids() -> None:
    recipe = Recipe.parse("sort@v10n20/permute+pad#3")
    assert (recipe.program, recipe.size, recipe.variants, recipe.seed) == ("sort", (10, 20), ("permute", "pad"), 3)
    assert recipe.id == "sort@v10n20/permute+pad#3"
    c = case("sort@v10n20")
    assert (len(c.program.vocab), c.program.max_len) == (10, 20)
    assert resized(get("dyck2"), 8, 6).vocab[:5] == get("dyck2").vocab[:5]
    with pytest.raises(CaseError, match="the form is program"):
        case("sort#x")
    with pytest.raises(UnknownName, match="did you mean pad"):
        case("sort/padd")
    with pytest.raises(UnknownName, match="did you mean sort"):
        case("srot")
    with pytest.raises(CaseError, match="fixed vocabulary of 11 tokens"):
        case("add@v5n9")
    with pytest.raises(UnknownName, match="no ablation with known truth is named 'noise'"):
        case("sort").truth("noise")
    with pytest.raises(UnknownName, match="did you mean quick"):
        suite("quik")


def test_truth_belongs_to_the_data() -> None:
    """The same model on pairs that never differ in a token: nothing is exercised."""
    model = compile(get("hist"))
    pairs = make_pairs(model)
    same = type(pairs)(pairs.clean, pairs.clean, model.real(pairs.clean), pairs.tags, False, 0)
    assert label(model, same, "resample").positives == frozenset()
