"""The checker: its forward against plain TransformerLens hooks, its search against brute force, and mutations of
labels and weights, all of which it must catch by itself."""

import ast
import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gaugeblock import checker
from gaugeblock.cases import certificate
from gaugeblock.cases.certificate import Certificate, certify
from gaugeblock.cases.classes import Classes, node_classes, port_classes, variable_classes
from gaugeblock.checker import check_labels, check_model
from gaugeblock.checker.evidence import ClassLists, Evidence, Experiment, Labels, Witness
from gaugeblock.checker.models import check_assumptions, check_data, check_equivalence
from gaugeblock.checker.weights import WeightsModel
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.edges.live import live_edges
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.stages.hooked import hooked
from gaugeblock.compiled.variants.pad import pad
from gaugeblock.methods.engine.ablation import ABLATIONS
from gaugeblock.programs.errors import FileError
from gaugeblock.programs.language.functions import key
from gaugeblock.programs.library.arithmetic import add
from gaugeblock.programs.library.counting import frac_prevs
from gaugeblock.programs.library.formal_languages import dyck1
from gaugeblock.programs.library.order import reverse, sort
from gaugeblock.programs.program import program

PAIRS = 40
CLASSES = ("positives", "negatives", "ignored")


@dataclass(frozen=True, eq=False)
class Sample:
    """A small model with pairs and, per ablation, measurements and the labels that follow from them."""

    model: CompiledModel
    evidence: Evidence
    experiments: dict[str, Experiment]
    labels: dict[str, Labels]

    def check(self, labels: Labels) -> Iterator[checker.Claim]:
        return check_labels(self.evidence, labels, experiment=self.experiments[labels["ablation"]])


@cache
def sample(name: str) -> Sample:
    programs = {
        "frac_prevs": frac_prevs.with_size("()a", 5),
        "sort": sort.with_size(range(4), 5),
        "reverse": reverse.with_size("abc", 5),
        "dyck1": dyck1.with_size(max_len=5),
    }
    name, _, padded = name.partition("/")
    model = compile(programs[name])
    if padded:
        model = pad(model, np.random.default_rng(0))
    inputs = model.program.sample(np.random.default_rng(1), 2 * PAIRS)
    tokens = model.encode(inputs)
    clean, corrupted = tokens[:PAIRS], tokens[PAIRS:]
    positions = model.real(clean) & model.real(corrupted)
    evidence = Evidence(model.weights, model.lowered, model.program, clean, corrupted, positions)
    places = model.real(corrupted).nonzero()
    drawn = places[torch.as_tensor(np.random.default_rng(2).integers(len(places), size=tuple(clean.shape)))]
    donors = dict.fromkeys(ABLATIONS) | {"donor": {"pair": drawn[..., 0].tolist(), "pos": drawn[..., 1].tolist()}}
    experiments = {ablation: Experiment(evidence, ablation, donor) for ablation, donor in donors.items()}
    labels = {ablation: labels_of(model, experiments[ablation], donors[ablation]) for ablation in donors}
    return Sample(model, evidence, experiments, labels)


def labels_of(model: CompiledModel, found: Experiment, donor: Any) -> Labels:
    """The label file that the checker's own measurements imply."""
    edges, live = found.evidence.model.edges, found.evidence.model.live
    positives = [e for e in edges if e in found.exercised and e in model.edge_reads]
    classes = Classes(frozenset(positives), frozenset(edges) - live, live - set(positives))
    whole = {writer: found.matters(model.graph.outgoing(writer)) for writer in model.graph.writers}
    nodes, cancelling = node_classes(model.graph, classes, whole)
    minimal = smallest(found, frozenset(positives))
    return {
        "ablation": found.ablation,
        "numeric": model.lowered.output.numeric,
        "positives": positives,
        "negatives": [e for e in edges if e not in live],
        "ignored": [e for e in edges if e in live and e not in positives],
        "nodes": ClassLists(**nodes.to_dict()),
        "ports": ClassLists(**port_classes(model.graph, classes).to_dict()),
        "variables": ClassLists(**variable_classes(model.edge_reads, classes).to_dict()),
        "cancelling": sorted(cancelling),
        "inert": [],
        "joint": [sorted(edges) for edges in found.minimal_sets if len(edges) > 1],
        "sufficient": {"sets": [sorted(minimal)], "found_by": "part of a search", "tried": 0},
        "reads": {edge: [list(read) for read in reads] for edge, reads in model.edge_reads.items()},
        "witnesses": {e: witness(found, next(s for s in found.minimal_sets if e in s)) for e in positives},
        "donor": donor,
    }


def smallest(found: Experiment, positives: frozenset[str]) -> frozenset[str]:
    """A sufficient set from which no edge can be left out."""
    edges = frozenset(found.evidence.model.edges)
    for edge in sorted(positives):
        if not found.matters((edges - positives) | {edge}):
            return smallest(found, positives - {edge})
    return positives


def witness(found: Experiment, edges: Iterable[str]) -> Witness:
    effect = found.effect(edges)
    pair = int(effect.argmax())
    return {"pair": pair, "set": sorted(edges), "effect": float(effect[pair]), "kappa": found.kappa(edges)}


# --- the forward ---------------------------------------------------------------------------------------------------


def random_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Two dense layers, all biases included; one head that writes nothing."""
    d, heads, d_head, neurons, vocab, width = 7, 3, 4, 6, 5, 6
    shapes: dict[str, tuple[int, ...]] = {
        "embed.W_E": (vocab + 2, d), "pos_embed.W_pos": (width, d), "unembed.W_U": (d, 3), "unembed.b_U": (3,)
    }  # fmt: skip
    for layer in range(2):
        at = f"blocks.{layer}."
        for x in "QKV":
            shapes |= {f"{at}attn.W_{x}": (heads, d, d_head), f"{at}attn.b_{x}": (heads, d_head)}
        shapes |= {f"{at}attn.W_O": (heads, d_head, d), f"{at}attn.b_O": (d,), f"{at}mlp.W_in": (d, neurons)}
        shapes |= {f"{at}mlp.b_in": (neurons,), f"{at}mlp.W_out": (neurons, d), f"{at}mlp.b_out": (d,)}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    weights["blocks.1.attn.W_O"][2] = 0
    return weights


def random_case() -> tuple[dict[str, np.ndarray], torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    tokens = torch.as_tensor(rng.integers(7, size=(2, 8, 6)))
    return random_weights(rng), tokens[0], tokens[1]


def hooked_logits(model: Any, clean: torch.Tensor, sources: dict[str, torch.Tensor], edges: list[str]) -> torch.Tensor:
    """Logits with the edges ablated, by plain hooks: what a reader sees, plus source minus current value per edge."""
    current: dict[str, torch.Tensor] = {}
    incoming: dict[str, list[str]] = {}
    for edge in edges:
        writer, _, reader = edge.partition("->")
        incoming.setdefault(reader, []).append(writer)

    def keep(writer: str | None) -> Callable[..., None]:
        def hook(value: torch.Tensor, hook: Any) -> None:
            if writer is not None:
                current[writer] = value
            else:
                layer = hook.layer()
                current.update({f"a{layer}.h{h}": value[:, :, h] for h in range(value.shape[2])})

        return hook

    def seen(value: torch.Tensor, reader: str) -> torch.Tensor:
        for writer in incoming.get(reader, []):
            if writer != "bias":  # the same in every run
                value = value + sources[writer] - current[writer]
        return value

    def port(value: torch.Tensor, hook: Any) -> torch.Tensor:
        name = hook.name.split("hook_")[1][0]
        heads = [seen(value[:, :, h], f"a{hook.layer()}.h{h}.{name}") for h in range(value.shape[2])]
        return torch.stack(heads, 2)

    hooks: list[tuple[str, Callable[..., Any]]] = [("hook_embed", keep("embed")), ("hook_pos_embed", keep("pos"))]
    last = model.cfg.n_layers - 1
    for layer in range(last + 1):
        at = f"blocks.{layer}."
        hooks += [(f"{at}hook_{x}_input", port) for x in "qkv"]
        hooks += [(f"{at}attn.hook_result", keep(None)), (f"{at}hook_mlp_out", keep(f"m{layer}"))]
        hooks += [(f"{at}hook_mlp_in", lambda value, hook: seen(value, f"m{hook.layer()}"))]
    hooks += [(f"blocks.{last}.hook_resid_post", lambda value, hook: seen(value, "logits"))]
    return model.run_with_hooks(clean, fwd_hooks=hooks)


@pytest.mark.parametrize("which", ["random", "sort/pad", "frac_prevs", "dyck1"])
def test_forward_equals_plain_hooks(which: str) -> None:
    if which == "random":
        weights, clean, corrupted = random_case()
    else:
        evidence = sample(which).evidence
        weights, clean, corrupted = dict(evidence.weights), evidence.clean, evidence.corrupted
    ours, theirs = WeightsModel(weights), hooked(weights, "test", "cpu", torch.float64)
    theirs.set_use_split_qkv_input(True)
    theirs.set_use_attn_result(True)
    theirs.set_use_hook_mlp_in(True)
    run, source = ours.run(clean), ours.run(corrupted).written
    difference = {writer: source[writer] - run.written[writer] for writer in run.written}
    with torch.no_grad():
        torch.testing.assert_close(run.logits, theirs(clean), rtol=1e-9, atol=1e-9)
        rng = np.random.default_rng(0)
        for density in (0.02, 0.1, 0.3, 0.6, 1.0, *rng.random(5)):
            edges = [edge for edge in ours.edges if rng.random() < density]
            patched = run.logits + ours.patched(run, difference, edges)
            torch.testing.assert_close(patched, hooked_logits(theirs, clean, source, edges), rtol=1e-9, atol=1e-9)


def test_patching_some_pairs_is_a_part_of_patching_all() -> None:
    weights, clean, corrupted = random_case()
    model = WeightsModel(weights)
    run, source = model.run(clean), model.run(corrupted).written
    difference = {writer: source[writer] - run.written[writer] for writer in run.written}
    some = torch.tensor([5, 0, 3])
    part = model.patched(run.on(some), {w: rows[some] for w, rows in difference.items()}, model.edges[::3])
    torch.testing.assert_close(part, model.patched(run, difference, model.edges[::3])[some])


# --- edges and liveness --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["frac_prevs", "sort", "reverse", "dyck1", "sort/pad", "dyck1/pad"])
def test_edges_and_liveness_agree_with_the_labelling(name: str) -> None:
    found = sample(name)
    assert set(found.evidence.model.edges) == set(found.model.graph.edges)
    assert found.evidence.model.live == live_edges(found.model.weights, found.model.graph)


def test_liveness_does_not_depend_on_the_basis() -> None:
    weights = dict(sample("sort/pad").evidence.weights)
    d_model = weights["embed.W_E"].shape[1]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(d_model, d_model)))[0]
    for name, array in weights.items():
        reads = name.endswith(("W_Q", "W_K", "W_V", "W_in", "W_U"))
        writes = name.endswith(("W_E", "W_pos", "W_O", "W_out", "b_O", "b_out"))
        if writes:
            weights[name] = array @ turn
        elif reads:
            weights[name] = np.einsum("ij,...jk->...ik", turn.T, array)
    assert WeightsModel(weights).live == sample("sort/pad").evidence.model.live


def test_edges_that_are_not_live_are_inert_under_any_content() -> None:
    found = sample("dyck1/pad").evidence
    rng = np.random.default_rng(0)
    dead = sorted(set(found.model.edges) - found.model.live)
    rows = {w: v[torch.as_tensor(rng.permutation(PAIRS))] * 3 for w, v in found.clean_run.written.items()}
    for _ in range(10):
        edges = [edge for edge in dead if rng.random() < 0.5]
        assert float(found.model.patched(found.clean_run, rows, edges).abs().max()) <= found.tolerance


# --- exercised edges -----------------------------------------------------------------------------------------------


def redundant() -> Evidence:
    """Two MLPs copy a token, a third computes whether either copy is there: ablations must break both."""
    model = compile(frac_prevs.with_size("()", 3))
    tok, one, other, out = 0, 1, 2, 3
    weights: dict[str, np.ndarray] = {
        "embed.W_E": np.zeros((4, 4)), "pos_embed.W_pos": np.zeros((4, 4)),
        "unembed.W_U": np.eye(4)[:, [out]], "unembed.b_U": np.zeros(1),
    }  # fmt: skip
    weights["embed.W_E"][1, tok] = 1
    for layer, (reads, bias, writes) in enumerate(
        [
            ([tok], [0.0], [(one, 1.0)]),
            ([tok], [0.0], [(other, 1.0)]),
            ([one, other], [0.0, -1.0], [(out, 1), (out, -1)]),
        ]
    ):
        at, n = f"blocks.{layer}.", len(bias)
        for x in "QKV":
            weights |= {f"{at}attn.W_{x}": np.zeros((1, 4, 1)), f"{at}attn.b_{x}": np.zeros((1, 1))}
        weights |= {f"{at}attn.W_O": np.zeros((1, 1, 4)), f"{at}attn.b_O": np.zeros(4), f"{at}mlp.b_out": np.zeros(4)}
        weights |= {f"{at}mlp.W_in": np.zeros((4, n)), f"{at}mlp.b_in": np.array(bias)}
        weights[f"{at}mlp.W_in"][reads] = 1
        weights[f"{at}mlp.W_out"] = np.zeros((n, 4))
        for neuron, (direction, value) in enumerate(writes):
            weights[f"{at}mlp.W_out"][neuron, direction] = value
    clean, corrupted = model.encode([[")", ")", ")"], [")", "("]]), model.encode([["("] * 3, ["(", "("]])
    return Evidence(weights, model.lowered, model.program, clean, corrupted, model.real(clean))


@pytest.mark.parametrize("which", ["redundant", "frac_prevs", "reverse"])
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_minimal_sets_are_those_of_the_definition(which: str, ablation: str) -> None:
    if which == "redundant":
        found = Experiment(redundant(), "resample", None)
    else:
        found = sample(which).experiments[ablation]
    live = sorted(found.evidence.model.live)
    mattering = {
        frozenset(edges)
        for size in (1, 2, 3)
        for edges in combinations(live, size)
        if float(found.graded(found.change(edges)).max()) > found.evidence.tolerance
    }
    minimal = {s for s in mattering if not any(t < s for t in mattering)}
    assert set(found.minimal_sets) == minimal
    assert found.exercised == {e: min(len(s) for s in minimal if e in s) for e in set().union(*minimal)}
    if which == "redundant":
        assert frozenset({"m0->m2", "m1->m2"}) in minimal


# --- green ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["frac_prevs", "sort", "reverse", "dyck1", "sort/pad"])
def test_true_labels_pass(name: str) -> None:
    found = sample(name)
    claims = list(check_model(found.evidence, found.model.dtype, n_samples=300))
    for labels in found.labels.values():
        claims += found.check(labels)
    assert {claim.claim for claim in claims if not claim.ok} == set(), [claim for claim in claims if not claim.ok]
    assert all(claim.checked for claim in claims)


# --- mutated labels ------------------------------------------------------------------------------------------------

MUTATED = [
    ("sort/pad", "resample"),
    ("sort/pad", "donor"),
    ("frac_prevs", "donor"),
    ("dyck1", "resample"),
    ("reverse", "mean"),
    ("sort", "zero"),
]


def fails(found: Sample, labels: Labels) -> bool:
    return not all(claim.ok for claim in found.check(labels))


def some_of(edges: Iterable[str], n: int = 3) -> list[str]:
    """A few of them, spread over the list."""
    edges = sorted(edges)
    return edges[:: max(1, len(edges) // n)][:n]


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
@pytest.mark.parametrize("origin", CLASSES)
def test_a_deleted_or_doubled_label_is_caught(name: str, ablation: str, origin: str) -> None:
    found = sample(name)
    for edge in some_of(found.labels[ablation][origin]):  # type: ignore[literal-required]
        labels: Any = copy.deepcopy(found.labels[ablation])
        labels[origin].remove(edge)
        labels["witnesses"].pop(edge, None)
        assert fails(found, labels)
        for target in CLASSES:
            doubled: Any = copy.deepcopy(found.labels[ablation])
            doubled[target].append(edge)
            assert fails(found, doubled)


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
@pytest.mark.parametrize("target", CLASSES)
@pytest.mark.parametrize("unknown", ["a9.h9->logits", "logits->embed", "m0->a0.h0.q"])
def test_an_added_label_is_caught(name: str, ablation: str, target: str, unknown: str) -> None:
    found = sample(name)
    labels: Any = copy.deepcopy(found.labels[ablation])
    labels[target].append(unknown)
    if target == "positives":
        first = labels["positives"][0]
        labels["witnesses"][unknown] = labels["witnesses"][first]
        labels["reads"][unknown] = labels["reads"][first]
    assert fails(found, labels)


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
@pytest.mark.parametrize(("origin", "target"), [(a, b) for a in CLASSES for b in CLASSES if a != b])
def test_a_moved_label_is_caught(name: str, ablation: str, origin: str, target: str) -> None:
    found = sample(name)
    experiment = found.experiments[ablation]
    for edge in some_of(found.labels[ablation][origin]):  # type: ignore[literal-required]
        for forged in (False, True):
            labels: Any = copy.deepcopy(found.labels[ablation])
            labels[origin].remove(edge)
            labels[target].append(edge)
            labels["witnesses"].pop(edge, None)
            if target == "positives":  # with a witness that is true, or as good as can be
                first = labels["positives"][0]
                labels["witnesses"][edge] = witness(experiment, {edge, first} if forged else {edge})
                if forged and not labels["reads"].get(edge):
                    labels["reads"][edge] = copy.deepcopy(labels["reads"][first])
            elif forged:  # no program edge any more
                labels["reads"].pop(edge, None)
            assert fails(found, labels), (edge, forged)


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
def test_a_retargeted_port_is_caught(name: str, ablation: str) -> None:
    found = sample(name)
    edges = [edge for edge in found.labels[ablation]["positives"] if edge[-2:] in (".q", ".k", ".v")]
    for edge in some_of(edges, 4):
        for port in set("qkv") - {edge[-1]}:
            other = edge[:-1] + port
            text = repr(found.labels[ablation])
            renamed = ast.literal_eval(text.replace(f"'{edge}'", f"'{other}'"))
            assert fails(found, renamed)
            swapped = text.replace(f"'{edge}'", "'*'").replace(f"'{other}'", f"'{edge}'").replace("'*'", f"'{other}'")
            assert fails(found, ast.literal_eval(swapped))


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
def test_wrong_witnesses_are_caught(name: str, ablation: str) -> None:
    found = sample(name)
    for edge in some_of(found.labels[ablation]["positives"], 2):
        true = found.labels[ablation]["witnesses"][edge]
        other = next(e for e in found.labels[ablation]["positives"] if e != edge)
        for change in (
            {"kappa": true["kappa"] + 1 / PAIRS},
            {"effect": true["effect"] * 1.01},
            {"pair": PAIRS},
            {"set": [*true["set"], other]},
            {"set": [other]},
            {"set": []},
            {"pair": int(found.experiments[ablation].effect(true["set"]).argmin())}
            if true["kappa"] < 1
            else {"pair": -1},
        ):
            labels: Any = copy.deepcopy(found.labels[ablation])
            labels["witnesses"][edge] = {**true, **change}
            assert fails(found, labels), change


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
def test_wrong_reads_are_caught(name: str, ablation: str) -> None:
    found = sample(name)
    for edge in some_of(found.labels[ablation]["reads"], 4):
        for change in (lambda reads: reads.pop(), lambda reads: reads.append(reads[0])):
            labels: Any = copy.deepcopy(found.labels[ablation])
            change(labels["reads"][edge])
            assert fails(found, labels)
    heads = sorted({edge.partition("->")[2][:-2] for edge in found.evidence.model.edges if edge.endswith(".q")})
    for one, other in combinations(heads, 2):  # the program is said to stand elsewhere
        text = repr(found.labels[ablation]["reads"])
        moved = text.replace(one + ".", "*").replace(other + ".", one + ".").replace("*", other + ".")
        moved = moved.replace(one + "-", "*").replace(other + "-", one + "-").replace("*", other + "-")
        if moved != text:
            assert fails(found, {**found.labels[ablation], "reads": ast.literal_eval(moved)})


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
@pytest.mark.parametrize("level", ["nodes", "ports", "variables"])
def test_wrong_classes_of_nodes_ports_and_variables_are_caught(name: str, ablation: str, level: str) -> None:
    found = sample(name)
    for origin, target in ((a, b) for a in CLASSES for b in (*CLASSES, None) if a != b):
        for which in some_of(found.labels[ablation][level][origin], 2):  # type: ignore[literal-required]
            labels: Any = copy.deepcopy(found.labels[ablation])
            labels[level][origin].remove(which)
            if target:
                labels[level][target].append(which)
            assert fails(found, labels), (which, origin, target)
    labels = copy.deepcopy(found.labels[ablation])
    labels["cancelling"].append("embed")
    assert fails(found, labels)


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
def test_wrong_sufficient_and_joint_sets_are_caught(name: str, ablation: str) -> None:
    found = sample(name)
    (true,) = found.labels[ablation]["sufficient"]["sets"]
    more = next(edge for edge in found.labels[ablation]["negatives"])
    for sets in ([true[1:]], [[*true, more]], [true, ["m0->embed"]], [[]]):
        labels: Any = copy.deepcopy(found.labels[ablation])
        labels["sufficient"]["sets"] = sets
        assert fails(found, labels), sets
    labels = copy.deepcopy(found.labels[ablation])
    labels["joint"].append(true[:2])
    assert fails(found, labels)


def test_wrong_donors_are_caught() -> None:
    found = sample("frac_prevs")
    true: Any = found.labels["donor"]
    for side, value in (("pos", 0), ("pos", 99), ("pair", PAIRS)):
        labels = copy.deepcopy(true)
        labels["donor"][side][0][1] = value
        assert fails(found, labels)
    assert fails(found, {**true, "donor": None})
    assert fails(found, {**true, "donor": {"pair": [[0]], "pos": [[1]]}})
    assert fails(found, {**true, "ablation": "resample"})


# --- mutated weights, programs and data ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["frac_prevs", "sort"])
def test_weights_that_move_a_graded_logit_are_caught(name: str) -> None:
    found = sample(name)
    graded = found.evidence.clean_run.logits[found.evidence.positions]
    rng, caught = np.random.default_rng(0), 0
    entries = [(key, tuple(i)) for key, array in found.evidence.weights.items() for i in np.argwhere(array)]
    for at in rng.permutation(len(entries)):
        key, index = entries[at]
        weights = {name: array.copy() for name, array in found.evidence.weights.items()}
        weights[key][index] *= rng.choice([1 + 1e-6, 1.01, 0, -1])
        evidence = replace(found.evidence, weights=weights)
        if float((evidence.clean_run.logits[evidence.positions] - graded).abs().max()) <= 1.01e-6:
            continue
        claims = check_labels(evidence, found.labels["resample"])
        assert not all(claim.ok for claim in claims), (key, index)
        caught += 1
        if caught == 8:
            break
    assert caught == 8


def test_a_wrong_reference_and_a_wrong_model_are_caught() -> None:
    found = sample("sort").evidence
    backwards = replace(found.program, reference=lambda xs: sorted(xs, reverse=True))
    assert not check_equivalence(replace(found, program=backwards), torch.float32, 100, 0).ok
    weights = {**found.weights, "unembed.W_U": np.roll(found.weights["unembed.W_U"], 1, axis=1)}
    claim = check_equivalence(replace(found, weights=weights), torch.float32, 100, 0)
    assert not claim.ok
    assert "the model says" in claim.detail


def test_assumptions_are_listed_and_a_broken_one_is_caught() -> None:
    found = sample("sort").evidence
    claim = check_assumptions(replace(found, program=add), 300, 0)
    assert claim is not None
    assert claim.ok
    assert "'plus'" in claim.detail

    @program(vocab="ab", max_len=4)
    def wrong(tokens: Any, indices: Any) -> Any:
        """Claims that there is one a."""
        the_a = key(tokens == "a").get(indices, default=0, unique=True)
        return the_a == indices

    claim = check_assumptions(replace(found, program=wrong), 50, 0)
    assert claim is not None
    assert not claim.ok
    assert "'the_a' (" in claim.detail
    assert "selects the keys 0 and 1" in claim.detail
    assert check_assumptions(found, 50, 0) is None


def test_small_domains_are_checked_whole() -> None:
    found = sample("sort").evidence
    claim = check_equivalence(found, torch.float32, 10, 0)
    assert claim.ok
    assert claim.checked == sum(4**n for n in range(1, 6))


def test_wrong_data_are_caught() -> None:
    found = sample("sort").evidence
    assert check_data(found).ok
    bos = found.positions.clone()
    bos[0, 0] = True
    assert not check_data(replace(found, positions=bos)).ok
    hole = found.clean.clone()
    hole[0, 1] = 5  # PAD before the input
    assert not check_data(replace(found, clean=hole)).ok
    broken = {**found.weights, "unembed.b_U": np.full(4, np.nan)}
    assert not check_data(replace(found, weights=broken)).ok


# --- the certificate -----------------------------------------------------------------------------------------------


def test_a_certificate_survives_json(tmp_path: Any) -> None:
    import json

    given = sample("frac_prevs")
    places = {name: subspace.to_dict() for name, subspace in given.model.subspaces.items()}
    reads = {edge: [list(read) for read in carried] for edge, carried in given.model.edge_reads.items()}
    dtype = given.model.dtype
    found = certify("frac_prevs", "abc", given.evidence, dtype, given.labels, places, reads, n_samples=100)
    assert found.ok
    assert {claim.ablation for claim in found.claims} == {None, *ABLATIONS}
    found.write(tmp_path / "certificate.json")
    assert Certificate.from_dict(json.loads((tmp_path / "certificate.json").read_text())) == found
    for damage in ({"ok": False}, {"claims": [{"claim": "x"}]}, {"claims": None}):
        with pytest.raises(FileError, match="no certificate"):
            Certificate.from_dict({**found.to_dict(), **damage})
    with pytest.raises(FileError, match="no certificate"):
        Certificate.from_dict({"case": "x"})


def test_the_checker_shares_no_code_with_the_labelling() -> None:
    allowed = {
        "programs": {
            "errors",
            "interpreter",
            "program",
            "language.expression",
            "language.operations",
            "language.selector",
            "proofs.uniqueness",
        },
        "compiled": {"lowered.operations", "lowered.semantics", "lowered.tables"},
    }
    known = {f"gaugeblock.{part}.{name}" for part, names in allowed.items() for name in names}
    sources = [path.read_text() for path in Path(checker.__file__).parent.glob("*.py")]
    assert len(sources) > 8
    seen: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                whole = (f"{node.module}.{alias.name}" for alias in node.names)
                seen |= {name if name in known else str(node.module) for name in whole}
            elif isinstance(node, ast.Import):
                seen |= {alias.name for alias in node.names}
    ours = {name for name in seen if name.split(".")[0] == "gaugeblock"}
    assert {name for name in ours if not name.startswith("gaugeblock.checker.")} == known
    assert "provenance" not in "".join([*sources, inspect.getsource(certificate)])
