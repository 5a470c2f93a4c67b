"""Labels that follow from what the checker measures pass; tampered ones it catches by itself."""

import ast
import copy
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import pytest

from gaugeblock.checker import check_model
from gaugeblock.checker.evidence import Labels
from support.audits import CLASSES, PAIRS, Sample, sample, witness

MUTATED = [
    ("sort/pad", "resample"),
    ("sort/pad", "donor"),
    ("frac_prevs", "donor"),
    ("dyck1", "resample"),
    ("reverse", "mean"),
    ("sort", "zero"),
]


def fails(small: Sample, labels: Labels) -> bool:
    return not all(claim.ok for claim in small.check(labels))


def some_of(edges: Iterable[str], n: int = 3) -> list[str]:
    """A few of them, spread over the list."""
    edges = sorted(edges)
    return edges[:: max(1, len(edges) // n)][:n]


@pytest.mark.parametrize("name", ["frac_prevs", "sort", "reverse", "dyck1", "sort/pad"])
def test_true_labels_pass(name: str) -> None:
    small = sample(name)
    claims = list(check_model(small.evidence, small.model.dtype, n_samples=300))
    for labels in small.labels.values():
        claims += small.check(labels)
    assert {claim.claim for claim in claims if not claim.ok} == set(), [claim for claim in claims if not claim.ok]
    assert all(claim.checked for claim in claims)


# --- mutated labels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
@pytest.mark.parametrize("origin", CLASSES)
def test_a_deleted_or_doubled_label_is_caught(name: str, ablation: str, origin: str) -> None:
    small = sample(name)
    for edge in some_of(small.labels[ablation][origin]):  # type: ignore[literal-required]
        labels: Any = copy.deepcopy(small.labels[ablation])
        labels[origin].remove(edge)
        labels["witnesses"].pop(edge, None)
        assert fails(small, labels)
        for target in CLASSES:
            doubled: Any = copy.deepcopy(small.labels[ablation])
            doubled[target].append(edge)
            assert fails(small, doubled)


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
@pytest.mark.parametrize("target", CLASSES)
@pytest.mark.parametrize("unknown", ["a9.h9->logits", "logits->embed", "m0->a0.h0.q"])
def test_an_added_label_is_caught(name: str, ablation: str, target: str, unknown: str) -> None:
    small = sample(name)
    labels: Any = copy.deepcopy(small.labels[ablation])
    labels[target].append(unknown)
    if target == "positives":
        first = labels["positives"][0]
        labels["witnesses"][unknown] = labels["witnesses"][first]
        labels["reads"][unknown] = labels["reads"][first]
    assert fails(small, labels)


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
@pytest.mark.parametrize(("origin", "target"), [(a, b) for a in CLASSES for b in CLASSES if a != b])
def test_a_moved_label_is_caught(name: str, ablation: str, origin: str, target: str) -> None:
    small = sample(name)
    experiment = small.experiments[ablation]
    for edge in some_of(small.labels[ablation][origin]):  # type: ignore[literal-required]
        for forged in (False, True):
            labels: Any = copy.deepcopy(small.labels[ablation])
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
            assert fails(small, labels), (edge, forged)


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
def test_a_retargeted_port_is_caught(name: str, ablation: str) -> None:
    small = sample(name)
    edges = [edge for edge in small.labels[ablation]["positives"] if edge[-2:] in (".q", ".k", ".v")]
    for edge in some_of(edges, 4):
        for port in set("qkv") - {edge[-1]}:
            other = edge[:-1] + port
            text = repr(small.labels[ablation])
            renamed = ast.literal_eval(text.replace(f"'{edge}'", f"'{other}'"))
            assert fails(small, renamed)
            swapped = text.replace(f"'{edge}'", "'*'").replace(f"'{other}'", f"'{edge}'").replace("'*'", f"'{other}'")
            assert fails(small, ast.literal_eval(swapped))


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
def test_wrong_witnesses_are_caught(name: str, ablation: str) -> None:
    small = sample(name)
    for edge in some_of(small.labels[ablation]["positives"], 2):
        true = small.labels[ablation]["witnesses"][edge]
        other = next(e for e in small.labels[ablation]["positives"] if e != edge)
        for change in (
            {"kappa": true["kappa"] + 1 / PAIRS},
            {"effect": true["effect"] * 1.01},
            {"pair": PAIRS},
            {"set": [*true["set"], other]},
            {"set": [other]},
            {"set": []},
            {"pair": int(small.experiments[ablation].effect(true["set"]).argmin())}
            if true["kappa"] < 1
            else {"pair": -1},
        ):
            labels: Any = copy.deepcopy(small.labels[ablation])
            labels["witnesses"][edge] = {**true, **change}
            assert fails(small, labels), change


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
def test_wrong_reads_are_caught(name: str, ablation: str) -> None:
    small = sample(name)
    for edge in some_of(small.labels[ablation]["reads"], 4):
        for change in (lambda reads: reads.pop(), lambda reads: reads.append(reads[0])):
            labels: Any = copy.deepcopy(small.labels[ablation])
            change(labels["reads"][edge])
            assert fails(small, labels)
    heads = sorted({edge.partition("->")[2][:-2] for edge in small.evidence.model.edges if edge.endswith(".q")})
    for one, other in combinations(heads, 2):  # the program is said to stand elsewhere
        text = repr(small.labels[ablation]["reads"])
        moved = text.replace(one + ".", "*").replace(other + ".", one + ".").replace("*", other + ".")
        moved = moved.replace(one + "-", "*").replace(other + "-", one + "-").replace("*", other + "-")
        if moved != text:
            assert fails(small, {**small.labels[ablation], "reads": ast.literal_eval(moved)})


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
@pytest.mark.parametrize("level", ["nodes", "ports", "variables"])
def test_wrong_classes_of_nodes_ports_and_variables_are_caught(name: str, ablation: str, level: str) -> None:
    small = sample(name)
    for origin, target in ((a, b) for a in CLASSES for b in (*CLASSES, None) if a != b):
        for which in some_of(small.labels[ablation][level][origin], 2):  # type: ignore[literal-required]
            labels: Any = copy.deepcopy(small.labels[ablation])
            labels[level][origin].remove(which)
            if target:
                labels[level][target].append(which)
            assert fails(small, labels), (which, origin, target)
    labels = copy.deepcopy(small.labels[ablation])
    labels["cancelling"].append("embed")
    assert fails(small, labels)


@pytest.mark.parametrize(("name", "ablation"), MUTATED)
def test_wrong_sufficient_and_joint_sets_are_caught(name: str, ablation: str) -> None:
    small = sample(name)
    (true,) = small.labels[ablation]["sufficient"]["sets"]
    more = next(edge for edge in small.labels[ablation]["negatives"])
    for sets in ([true[1:]], [[*true, more]], [true, ["m0->embed"]], [[]]):
        labels: Any = copy.deepcopy(small.labels[ablation])
        labels["sufficient"]["sets"] = sets
        assert fails(small, labels), sets
    labels = copy.deepcopy(small.labels[ablation])
    labels["joint"].append(true[:2])
    assert fails(small, labels)


def test_wrong_donors_are_caught() -> None:
    small = sample("frac_prevs")
    true: Any = small.labels["donor"]
    for side, value in (("pos", 0), ("pos", 99), ("pair", PAIRS)):
        labels = copy.deepcopy(true)
        labels["donor"][side][0][1] = value
        assert fails(small, labels)
    assert fails(small, {**true, "donor": None})
    assert fails(small, {**true, "donor": {"pair": [[0]], "pos": [[1]]}})
    assert fails(small, {**true, "ablation": "resample"})
