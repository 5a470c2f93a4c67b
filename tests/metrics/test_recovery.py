"""Oracles: scikit-learn, and enumeration of every order."""

import itertools
import math
import re
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from gaugeblock.metrics.recovery import (
    auprc,
    auprc_chance,
    auroc,
    auroc_bounds,
    matched_auroc,
    precision_at_size,
    skill,
    stratum,
)

Ranking = tuple[np.ndarray, np.ndarray]


@st.composite
def rankings(draw: st.DrawFn, max_size: int = 40) -> Ranking:
    """Scores with many ties and labels of both classes."""
    n = draw(st.integers(2, max_size))
    scores = draw(st.lists(st.integers(-3, 3) | st.floats(-1e6, 1e6), min_size=n, max_size=n))
    labels = draw(st.permutations([True, False, *draw(st.lists(st.booleans(), min_size=n - 2, max_size=n - 2))]))
    return np.array(scores, dtype=float), np.array(labels)


def orders_within_ties(scores: np.ndarray) -> Iterator[np.ndarray]:
    """Every order of the edges, highest score first, that the scores allow."""
    groups = [np.flatnonzero(scores == s).tolist() for s in sorted(set(scores.tolist()), reverse=True)]
    for parts in itertools.product(*map(itertools.permutations, groups)):
        yield np.array(list(itertools.chain(*parts)))


@given(rankings())
def test_auroc_and_auprc_are_scikit_learns(ranking: Ranking) -> None:
    scores, labels = ranking
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert auprc(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


@given(rankings(max_size=6))
def test_ties_are_all_their_orders(ranking: Ranking) -> None:
    scores, labels = ranking
    n_positive = int(labels.sum())
    areas, precisions = [], []
    for order in orders_within_ties(scores):
        ordered = labels[order]
        areas.append(np.cumsum(ordered)[~ordered].mean() / n_positive)  # positives above each negative
        precisions.append(ordered[:n_positive].mean())
    assert auroc_bounds(scores, labels) == pytest.approx((min(areas), max(areas)))
    assert auroc(scores, labels) == pytest.approx(np.mean(areas))
    assert precision_at_size(scores, labels) == pytest.approx(np.mean(precisions))


def test_a_method_that_finds_half_and_ties_the_rest() -> None:
    labels = np.arange(100) < 10
    scores = (np.arange(100) < 5).astype(float)
    assert auroc_bounds(scores, labels) == (0.5, 1.0)
    assert auroc(scores, labels) == 0.75
    assert precision_at_size(scores, labels) == pytest.approx((5 + 5 * 5 / 95) / 10)
    assert auprc(np.zeros(100), labels) == pytest.approx(0.1)


@pytest.mark.parametrize(("n_positive", "n"), [(p, n) for n in range(1, 8) for p in range(1, n + 1)] + [(2, 30)])
def test_chance_average_precision_is_the_mean_over_all_orders(n_positive: int, n: int) -> None:
    total = Fraction(0)
    for ranks in itertools.combinations(range(1, n + 1), n_positive):
        for above, rank in enumerate(ranks):
            total += Fraction(above + 1, rank * n_positive)
    assert auprc_chance(n_positive, n) == pytest.approx(float(total / math.comb(n, n_positive)), abs=1e-14)


def test_chance_average_precision_refuses_impossible_counts() -> None:
    assert auprc_chance(0, 5) is None
    with pytest.raises(ValueError, match="6 positives among 5"):
        auprc_chance(6, 5)


@given(rankings(), st.data())
def test_matched_auroc_is_the_mean_over_positives(ranking: Ranking, data: st.DataObject) -> None:
    scores, labels = ranking
    n = len(scores)
    strata = data.draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    wins = []
    for i in np.flatnonzero(labels):
        rivals = [scores[j] for j in range(n) if not labels[j] and strata[j] == strata[i]]
        if rivals:
            wins.append(np.mean([(scores[i] > r) + 0.5 * (scores[i] == r) for r in rivals]))
    value, share = matched_auroc(scores, labels, strata)
    assert share == pytest.approx(len(wins) / labels.sum())
    assert value == (pytest.approx(np.mean(wins)) if wins else None)
    if value is not None:
        assert skill(scores, labels, strata) == (2 * value - 1, share)
    assert matched_auroc(scores, labels, ["one"] * n) == (pytest.approx(auroc(scores, labels)), 1.0)


def test_the_truth_itself_has_skill_exactly_one() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(301) < 0.1
    strata = rng.integers(7, size=301).tolist()
    assert skill(labels.astype(float), labels, strata)[0] == 1.0


def test_skill_falls_back_to_all_negatives_and_says_so() -> None:
    scores, labels = np.array([3.0, 2.0, 1.0]), np.array([True, False, True])
    assert skill(scores, labels, ["a", "b", "c"]) == (0.0, 0.0)
    assert matched_auroc(scores, labels, ["a", "b", "c"]) == (None, 0.0)


@pytest.mark.parametrize("labels", [[], [True, True], [False, False]])
def test_undefined_is_none(labels: list[bool]) -> None:
    truth, scores = np.array(labels, dtype=bool), np.arange(float(len(labels)))
    assert auroc(scores, truth) is None
    assert auroc_bounds(scores, truth) is None
    assert skill(scores, truth, labels) == (None, 0.0)
    expected = 1.0 if truth.any() else None
    assert auprc(scores, truth) == expected
    assert precision_at_size(scores, truth) == expected


# A small graph: in each layer 3 heads, one of which is used. Labels move with the heads.
N_HEADS = 3
CIRCUIT = {
    "embed->a0.h0.v",
    "a0.h0->a1.h0.q",
    "a0.h0->a1.h0.k",
    "embed->a1.h0.v",
    "a0.h0->m1",
    "a1.h0->m1",
    "m1->logits",
}
IGNORED = {"pos->a0.h0.v", "a0.h1->a1.h0.k", "pos->m1"}


def small_graph() -> list[str]:
    heads = range(N_HEADS)
    edges = ["m1->logits", "embed->logits"]
    for early in ("embed", "pos"):
        edges += [f"{early}->a{layer}.h{h}.{port}" for layer in (0, 1) for h in heads for port in "qkv"]
        edges.append(f"{early}->m1")
    edges += [f"a0.h{i}->a1.h{j}.{port}" for i in heads for j in heads for port in "qkv"]
    edges += [f"a{layer}.h{h}->{reader}" for layer in (0, 1) for h in heads for reader in ("m1", "logits")]
    return edges


def with_heads(edge: str, places: tuple[tuple[int, ...], ...]) -> str:
    for layer, place in enumerate(places):
        for old in range(N_HEADS):
            edge = edge.replace(f"a{layer}.h{old}", f"A{layer}.h{place[old]}")
    return edge.replace("A", "a")


def by_place(edge: str) -> float:
    """What often is in a circuit, low heads first: knows all about circuits, nothing about this model."""
    often = 10 * ("m1" in edge) + 5 * edge.startswith("embed")
    return float(often - sum(int(h) for h in re.findall(r"h(\d)", edge)))


def by_hash(edge: str) -> float:
    return float(zlib.crc32(edge.encode()) % 17)


@pytest.mark.parametrize("rule", [by_place, by_hash])
def test_a_model_blind_rule_has_matched_auroc_one_half(rule: Callable[[str], float]) -> None:
    edges = small_graph()
    assert set(edges) >= CIRCUIT | IGNORED
    matched, plain, shares = [], [], set()
    for places in itertools.product(itertools.permutations(range(N_HEADS)), repeat=2):
        circuit = {with_heads(e, places) for e in CIRCUIT}
        ignored = {with_heads(e, places) for e in IGNORED}
        kept = [e for e in edges if e not in ignored]
        scores, labels = np.array([rule(e) for e in kept]), np.array([e in circuit for e in kept])
        value, share = matched_auroc(scores, labels, [stratum(e) for e in kept])
        overall = auroc(scores, labels)
        assert value is not None
        assert overall is not None
        matched.append(value)
        plain.append(overall)
        shares.add(share)
    assert np.mean(matched) == pytest.approx(0.5, abs=1e-14)
    assert np.ptp(matched) > 0.1  # single layouts do differ
    assert shares == {6 / 7}  # m1->logits has none
    if rule is by_place:
        assert np.mean(plain) > 0.65  # unmatched, the same rule looks good


@pytest.mark.parametrize(
    ("edge", "place"),
    [
        ("a0.h1->a2.h0.k", ("head", 0, "head", 2, "k")),
        ("a10.h11->m12", ("head", 10, "mlp", 12, "")),
        ("m3->logits", ("mlp", 3, "logits", -1, "")),
        ("embed->a0.h7.q", ("embed", -1, "head", 0, "q")),
        ("pos->m0", ("pos", -1, "mlp", 0, "")),
        ("bias->a1.h0.v", ("bias", -1, "head", 1, "v")),
    ],
)
def test_stratum(edge: str, place: tuple) -> None:
    assert stratum(edge) == place


@pytest.mark.parametrize(
    "name", ["", "a0.h1", "a0.h1->a2.h0", "logits->m0", "a0.h1->a2.h0.k\n", "embed -> m0", "m0->m1->m2"]
)
def test_stratum_refuses_what_is_no_edge(name: str) -> None:
    with pytest.raises(ValueError) as error:
        stratum(name)
    assert repr(name) in str(error.value)


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_named() -> None:
    scores, labels = np.array([1.0, 2.0, np.nan]), np.array([True, False, True])
    for metric in (auroc, auroc_bounds, auprc, precision_at_size):
        with pytest.raises(ValueError, match="1 of 3 scores are NaN"):
            metric(scores, labels)
        with pytest.raises(ValueError, match=r"2 scores but labels of shape \(3,\)"):
            metric(scores[:2], labels)
    with pytest.raises(ValueError, match="2 scores but 3 strata"):
        skill(scores[:2], labels[:2], "abc")
