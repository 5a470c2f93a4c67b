import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from gaugeblock.metrics.faithfulness import (
    MIB_SIZES,
    FaithfulnessCurve,
    Run,
    cmd,
    cpr,
    faithfulness_curve,
    log_cmd,
    log_cpr,
    regret,
)


def additive(weights: np.ndarray, offset: float = 0.0) -> Run:
    """A model whose task metric is a sum over the kept edges; weights [edges, pairs]."""
    return lambda masks: masks.astype(float) @ weights + offset


def top_k_by_every_order(run: Run, scores: np.ndarray, k: int) -> np.ndarray:
    """Mean m over every order that the scores allow, of circuits with exactly k edges."""
    values = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            mask = np.zeros((1, len(scores)), dtype=bool)
            mask[0, list(order[:k])] = True
            values.append(run(mask)[0])
    return np.mean(values, axis=0)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_a_curve_of_an_additive_model_is_the_mean_over_all_orders(levels: list[int], seed: int) -> None:
    n = len(levels)
    weights = np.random.default_rng(seed).uniform(0.5, 2.0, size=(n, 3))
    run, scores = additive(weights, offset=-4.0), np.array(levels, dtype=float)
    curve = faithfulness_curve(run, scores, [k / n for k in range(1, n + 1)])
    m = np.array([top_k_by_every_order(run, scores, k) for k in range(n + 1)])
    assert np.allclose(curve.values, m)
    assert np.allclose(curve.f, (m.mean(1) - m[0].mean()) / (m[-1].mean() - m[0].mean()))
    assert np.allclose(curve.f_pairs, ((m - m[0]) / (m[-1] - m[0])).mean(1))
    assert np.allclose(curve.full, m[-1])


def interacting(masks: np.ndarray) -> np.ndarray:
    """Not additive: two edges that need each other, one that spoils, on two pairs of different size."""
    a, b, c, d = masks.astype(float).T
    return np.stack([5 * a * b - c, 1 + a * b * d], axis=1)


@given(st.permutations(range(4)), st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_no_sort_order_decides(edge_order: list[int], levels: list[int]) -> None:
    scores = np.array(levels, dtype=float)
    curve = faithfulness_curve(interacting, scores)

    def reordered(masks: np.ndarray) -> np.ndarray:
        original = np.empty_like(masks)
        original[:, edge_order] = masks
        return interacting(original)

    again = faithfulness_curve(reordered, scores[edge_order])
    assert np.array_equal(curve.values, again.values)
    assert np.array_equal(curve.f, again.f)


def test_only_whole_tie_groups_run_and_each_once() -> None:
    seen = []

    def run(masks: np.ndarray) -> np.ndarray:
        seen.append(masks)
        return additive(np.ones((10, 2)))(masks)

    scores = np.array([3.0] * 2 + [1.0] * 5 + [0.0] * 3)
    curve = faithfulness_curve(run, scores, [0.1, 0.2, 0.3, 0.65, 1.0])
    (masks,) = seen
    assert masks.sum(axis=1).tolist() == [0, 2, 7, 10]
    assert np.allclose(curve.f, curve.fractions)


def test_sizes_between_whole_edges_are_interpolated() -> None:
    curve = faithfulness_curve(additive(np.array([[3.0], [1.0]])), np.array([2.0, 1.0]))
    assert curve.fractions.tolist() == [0.0, *MIB_SIZES]
    assert np.allclose(curve.f, np.interp(curve.fractions, [0, 0.5, 1], [0, 0.75, 1]))


def test_means_and_pairs_weigh_differently_and_pairs_without_effect_drop_out() -> None:
    # The first edge carries pair 0, the second pair 1; nothing moves pair 2; pair 3 keeps its output.
    weights = np.array([[9.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    run, scores = additive(weights), np.array([2.0, 1.0])
    curve = faithfulness_curve(run, scores, [0.5, 1.0], changed=np.array([True, True, True, False]))
    assert curve.f == pytest.approx([0.0, 0.9, 1.0])
    assert curve.f_pairs == pytest.approx([0.0, 0.5, 1.0])
    assert curve.n_pairs == 3


@pytest.mark.parametrize(
    ("weights", "changed", "f_undefined", "n_pairs"),
    [
        ([[1.0, -1.0]], [True, True], True, 2),  # the means agree, the pairs do not
        ([[0.0, 1e-12]], [True, True], True, 0),  # float dust
        ([[1.0, 1.0]], [False, False], True, 2),  # no pair changes its output
        ([[1.0, -1.0]], [True, False], False, 2),
    ],
)
def test_nothing_to_explain_is_nan_and_none(
    weights: list, changed: list[bool], f_undefined: bool, n_pairs: int
) -> None:
    run = additive(np.array(weights), offset=1.0)
    curve = faithfulness_curve(run, np.array([1.0]), changed=np.array(changed))
    assert np.isnan(curve.f).all() == f_undefined
    assert curve.n_pairs == n_pairs
    assert np.isnan(curve.f_pairs).all() == (n_pairs == 0)
    assert (cpr(curve.fractions, curve.f) is None) == f_undefined
    assert (cmd(curve.fractions, curve.f) is None) == f_undefined
    assert (regret(1.0, float(curve.f[1])) is None) == f_undefined


@given(st.lists(st.floats(-3, 4), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
def test_cpr_and_cmd_are_the_integrals_of_the_piecewise_linear_f(f: list[float], seed: int) -> None:
    inner = np.sort(np.random.default_rng(seed).uniform(0.01, 0.99, size=len(f) - 2))
    k, values = np.array([0.0, *inner, 1.0]), np.array(f)

    fine = np.concatenate([np.linspace(a, b, 10_001) for a, b in itertools.pairwise(k)])
    y = np.interp(fine, k, values)
    assert cpr(k, values) == pytest.approx(trapezoid(y, fine), abs=1e-7)
    assert cmd(k, values) == pytest.approx(trapezoid(np.abs(1 - y), fine), abs=1e-7)


def test_a_circuit_found_at_once_nears_the_ideal_areas() -> None:
    def run(masks: np.ndarray) -> np.ndarray:
        return masks[:, :5].all(axis=1, keepdims=True).astype(float)

    curve = faithfulness_curve(run, np.arange(1000.0)[::-1].copy())
    # f is 0 up to 0.2 % and 1 from 0.5 % on, a straight line between.
    assert cpr(curve.fractions, curve.f) == pytest.approx(1 - 0.0035)
    assert cmd(curve.fractions, curve.f) == pytest.approx(0.0035)


@given(st.lists(st.floats(-3, 4), min_size=4, max_size=4))
def test_on_a_log_axis_they_are_means_over_log_k(f: list[float]) -> None:
    k, values = np.array([0.0, 0.001, 0.01, 0.2, 1.0]), np.array([0.0, *f])
    fine = np.concatenate([np.linspace(a, b, 10_001) for a, b in itertools.pairwise(np.log10(k[1:]))])
    y = np.interp(fine, np.log10(k[1:]), values[1:])
    assert log_cpr(k, values) == pytest.approx(trapezoid(y, fine) / 3, abs=1e-7)
    assert log_cmd(k, values) == pytest.approx(trapezoid(np.abs(1 - y), fine) / 3, abs=1e-7)
    # Without a point at the start f there is what the curve says, linear in k.
    later, rest = np.delete(k, 1), np.delete(values, 1)
    moved = values.copy()
    moved[1] = values[2] / 10
    assert log_cpr(later, rest) == pytest.approx(log_cpr(k, moved))


def test_the_ends_of_the_log_axis() -> None:
    k = np.array([0.0, *MIB_SIZES])
    perfect, nothing = np.array([0.0] + [1.0] * 10), np.array([0.0] * 10 + [1.0])
    assert (log_cpr(k, perfect), log_cmd(k, perfect)) == (pytest.approx(1.0), pytest.approx(0.0))
    assert log_cpr(k, nothing) == pytest.approx(np.log10(2) / 6)
    assert log_cpr(k, np.full(11, np.nan)) is None
    assert log_cmd(k, np.full(11, np.nan)) is None
    with pytest.raises(ValueError, match=r"in \(0, 1\), not 0"):
        log_cpr(k, perfect, start=0.0)


def test_regret_at_the_true_size() -> None:
    run, truth = additive(np.array([[4.0], [4.0], [1.0], [1.0]])), np.array([1.0, 1.0, 0.0, 0.0])

    def f_at_two(scores: np.ndarray) -> float:
        curve: FaithfulnessCurve = faithfulness_curve(run, scores, [2 / 4])
        return float(curve.f[1])

    assert regret(f_at_two(truth), f_at_two(truth)) == 0.0
    assert regret(f_at_two(truth), f_at_two(1 - truth)) == pytest.approx(0.8 - 0.2)
    assert regret(f_at_two(truth), f_at_two(np.zeros(4))) == pytest.approx(0.8 - 0.5)


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_named() -> None:
    run, scores = additive(np.ones((2, 3))), np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        faithfulness_curve(run, np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="no scores"):
        faithfulness_curve(run, np.array([]))
    for sizes in ([], [0.0, 1.0], [0.5, 0.5], [0.5, 1.5], [float("nan")]):
        with pytest.raises(ValueError, match="increasing shares"):
            faithfulness_curve(run, scores, sizes)
    with pytest.raises(ValueError, match=r"got 3 masks and gave shape \(1, 3\)"):
        faithfulness_curve(lambda masks: run(masks)[:1], scores, [0.5, 1.0])
    with pytest.raises(ValueError, match="9 of the 9 values"):
        faithfulness_curve(lambda masks: run(masks) * np.nan, scores, [0.5, 1.0])
    with pytest.raises(ValueError, match=r"3 pairs but changed has shape \(2,\)"):
        faithfulness_curve(run, scores, changed=np.array([True, False]))
    with pytest.raises(ValueError, match=r"\(2,\) sizes but \(3,\) values"):
        cpr(np.array([0.0, 1.0]), np.zeros(3))
    with pytest.raises(ValueError, match="from 0 to 1"):
        cmd(np.array([0.0, 0.5]), np.zeros(2))
