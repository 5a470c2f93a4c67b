"""Truth, pairs and cases on real models, against brute force and what is known of the programs."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from gaugeblock.cases import sufficient
from gaugeblock.cases.case import Case, case, resized
from gaugeblock.cases.classes import Classes, node_classes, port_classes
from gaugeblock.cases.pairs import make_pairs
from gaugeblock.cases.recipe import CaseError, Recipe
from gaugeblock.cases.sufficient import Sufficient, sufficient_sets
from gaugeblock.cases.truth import ABLATIONS, Alternative, Truth, find_witnesses, label
from gaugeblock.checker.inert import reduced
from gaugeblock.checker.weights import WeightsModel
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.edges.inert import CONSTRUCTIONS
from gaugeblock.evaluation.evaluate import evaluate
from gaugeblock.programs.errors import UnknownName
from gaugeblock.programs.registry import get
from gaugeblock.suites.suites import suite
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
    members: set[str] = set()
    for size in (1, 2, 3):
        for chosen in combinations(edges, size):
            smaller = [frozenset(s) for k in range(1, size) for s in combinations(chosen, k)]
            if effect[frozenset(chosen)] and not any(effect[s] for s in smaller):
                members |= set(chosen)
    return members


@pytest.mark.parametrize("seed", range(30))
def test_minimal_sets_as_by_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = "abcdef"
    sets = [frozenset(s) for k in (1, 2, 3) for s in combinations(edges, k)]
    effect = {s: bool(rng.random() < 0.15) for s in sets}

    def effects(asked: list[tuple[str, ...]]) -> np.ndarray:
        return np.array([[0.0, float(effect[frozenset(s)])] for s in asked])

    witnesses, minimal = find_witnesses(list(edges), effects, 0.5)
    assert all(effect[frozenset(s)] for s in minimal)
    assert set(witnesses) == brute_force(effect, edges)
    assert all(effect[frozenset(w.edges)] and edge in w.edges for edge, w in witnesses.items())


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
    sufficient_ones = sufficient_sets(list(edges), frozenset(edges), moves)
    assert (set(sufficient_ones.sets), sufficient_ones.found_by) == (minimal, "enumeration")
    monkeypatch.setattr(sufficient, "MAX_EDGES_ENUMERATED", 0)
    sufficient_ones = sufficient_sets(list(edges), frozenset(edges), moves)
    assert sufficient_ones.found_by == "search"
    assert set(sufficient_ones.sets) == reachable(set(suffice), frozenset(edges))


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
    with pytest.raises(UnknownName, match="no ablation is named 'noise'"):
        case("sort").truth("noise")
    with pytest.raises(UnknownName, match="did you mean quick"):
        suite("quik")


def test_truth_belongs_to_the_data() -> None:
    """The same model on pairs that never differ in a token: nothing is exercised."""
    model = compile(get("hist"))
    pairs = make_pairs(model)
    same = type(pairs)(pairs.clean, pairs.clean, model.real(pairs.clean), pairs.tags, False, 0)
    assert label(model, same, "resample").positives == frozenset()


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_camouflage_is_negative_wherever_its_proof_holds(ablation: str) -> None:
    """The checker, which shares no code with the labels, finds the same edges live."""
    c = case("hist@v3n4/pad+camouflage#1")
    truth = c.truth(ablation)
    parts = truth.to_dict()["inert"]
    assert {part["construction"] for part in parts} == set(CONSTRUCTIONS)
    model = WeightsModel(reduced(c.model.weights, parts, ablation))
    assert truth.negatives == set(c.model.graph.edges) - model.live
    looks_live = set(c.model.graph.edges) & WeightsModel(c.model.weights).live
    assert truth.positives < looks_live
    assert len(truth.negatives & looks_live) > len(truth.positives)


def test_what_zeros_wake_is_ignored() -> None:
    """A head that is parked while nothing is zeroed wakes under zero ablation, where its edges count for nothing."""
    c = case("hist@v3n4/pad+camouflage#1")
    truths = {ablation: c.truth(ablation) for ablation in ABLATIONS}
    parked = {f"a{p.layer}.h{p.head}" for p in c.model.provenance.inert if p.construction == "parked head"}
    woken = truths["mean"].negatives - truths["zero"].negatives
    assert parked & {edge.partition("->")[0] for edge in woken}
    assert woken <= truths["zero"].ignored
    for ablation in ("resample", "donor"):
        assert woken <= truths[ablation].negatives
    # they could not be called negative: without their keys logits move, by TransformerLens' own hooks
    model = c.model.to(dtype=torch.float64).hooked
    zeros = {writer: torch.zeros_like(rows) for writer, rows in writers(model, c.pairs.clean).items()}
    keys = [edge for edge in sorted(woken) if edge.startswith("embed->") and edge.endswith(".k")]
    with torch.no_grad():
        change = (patched(model, c.pairs.clean, zeros, keys) - model(c.pairs.clean)).abs()
    assert float((change * c.pairs.positions[..., None]).max()) > 1


EDGES = ("embed->a0.h0.v", "a0.h0->logits", "embed->a0.h1.v", "a0.h1->logits", "pos->a0.h1.k", "pos->a0.h0.k")


def named(letters: str) -> frozenset[str]:
    return frozenset(EDGES["abcdef".index(letter)] for letter in letters)


def truth_of(positives: str, sets: tuple[str, ...]) -> Truth:
    """Edges a to f, of which f is negative; the sets suffice."""
    classes = Classes(named(positives), named("f"), named("abcde") - named(positives))
    nodes = Classes(frozenset({"embed", "a0.h0", "a0.h1"}), frozenset({"m0"}), frozenset({"pos"}))
    ports = Classes(frozenset({"a0.h0.v", "a0.h1.v"}), frozenset({"a0.h0.k"}), frozenset({"a0.h1.k"}))
    sufficient = Sufficient(tuple(map(named, sets)), "enumeration", 32)
    none = Classes(frozenset(), frozenset(), frozenset())
    return Truth("resample", classes, nodes, ports, none, frozenset(), (), sufficient, {}, {}, False)


def test_where_several_sets_suffice_each_is_a_reading_of_the_truth() -> None:
    truth = truth_of("abcd", ("ab", "acd"))
    one, other = truth.alternatives
    assert one.edges == Classes(named("ab"), named("f"), named("cde"))
    assert other.edges == Classes(named("acd"), named("f"), named("be"))
    # a node or port that only the other set touches is ignored with its edges
    assert one.nodes == Classes(frozenset({"embed", "a0.h0"}), frozenset({"m0"}), frozenset({"pos", "a0.h1"}))
    assert one.ports == Classes(frozenset({"a0.h0.v"}), frozenset({"a0.h0.k"}), frozenset({"a0.h1.k", "a0.h1.v"}))
    assert other.nodes == Classes(frozenset({"embed", "a0.h1"}), frozenset({"m0"}), frozenset({"pos", "a0.h0"}))
    assert other.ports == truth.ports
    # d, which matters and which no set needs, is true in each; e, which only a set holds, stays ignored
    truth = truth_of("abcd", ("ab", "ace"))
    assert [a.edges.positives for a in truth.alternatives] == [named("abd"), named("acd")]
    assert all(a.edges.negatives == named("f") and named("e") <= a.edges.ignored for a in truth.alternatives)
    for sets in ((), ("ab",), ("abcd",)):
        truth = truth_of("abcd", sets)
        assert truth.alternatives == (Alternative(truth.edges, truth.nodes, truth.ports),)


def test_the_best_matching_reading_counts() -> None:
    """Either of two sets suffices: who finds all of one has missed nothing, who finds part of both has."""
    c = case("hist@v3n4/permute+pad#1")
    known = c.truth("resample")
    one, other, *_ = sorted(known.positives)
    sets = tuple(known.positives - {edge} for edge in (one, other))
    again = Case(c.recipe, c.program, c.model)
    again._truths["resample"] = replace(known, sufficient=Sufficient(sets, "enumeration", 2))

    def skills(scored: frozenset[str]) -> list[float]:
        scores = evaluate(lambda task: {edge: float(edge in scored) for edge in task.graph.edges}, again).scores
        return [scores[name] for name in ("skill", "node_skill", "port_skill")]

    assert skills(sets[0]) == skills(sets[1]) == [1.0, 1.0, 1.0]
    assert skills(sets[0] & sets[1])[0] < 1.0
