import itertools
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom, binomtest, chisquare

from gaugeblock.metrics.hypothesis_tests import equivalence_test, hsic, independence_test, minimality_test


@pytest.mark.parametrize(("n", "higher", "epsilon"), [(20, 14, 0.1), (20, 3, 0.1), (31, 31, 0.2), (8, 4, 0.05)])
def test_the_sign_test_sums_the_binomial_at_the_edge_of_the_null(n: int, higher: int, epsilon: float) -> None:
    model = np.arange(float(n))
    circuit = model + np.where(np.arange(n) < higher, 1.0, -3.0)
    test = equivalence_test(circuit, model, epsilon=epsilon)
    assert test is not None
    far = [k for k in range(n + 1) if abs(k / n - 0.5) >= abs(higher / n - 0.5) - 1e-12]
    assert test.p_value == pytest.approx(binom.pmf(far, n, 0.5 + epsilon).sum())
    assert (test.kind, test.statistic, test.n_tied) == ("sign", higher / n, 0)
    assert test.rejected == (test.p_value <= 0.05)


@pytest.mark.parametrize("differing", [0, 3, 9, 40])
def test_where_scores_tie_total_variation_decides(differing: int) -> None:
    model = np.linspace(0, 1, 40)
    circuit = model + np.where(np.arange(40) < differing, 0.5, 1e-7)
    distances = np.where(np.arange(40) < differing, 0.3, 0.01)
    test = equivalence_test(circuit, model, distances)
    assert test is not None
    if differing == 40:
        assert (test.kind, test.rejected) == ("sign", True)
        return
    assert test.kind == "total variation"
    assert test.p_value == pytest.approx(binomtest(differing, 40, 0.1, alternative="greater").pvalue)
    assert (test.statistic, test.rejected, test.n_tied) == (differing / 40, differing == 9, 40 - differing)
    assert equivalence_test(circuit, model) is None


def test_equivalence_keeps_its_level_at_the_edge_of_the_null() -> None:
    rng = np.random.default_rng(0)
    rejected = []
    for _ in range(400):
        sign = np.where(rng.random(50) < 0.6, 1.0, -1.0)
        test = equivalence_test(sign, np.zeros(50))
        assert test is not None
        rejected.append(test.rejected)
    assert 0.005 < np.mean(rejected) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def naive_hsic(x: np.ndarray, y: np.ndarray) -> float:
    n = len(x)
    kernels = []
    for values in (x, y):
        gaps = [abs(a - b) for a, b in itertools.combinations(values, 2)]
        width = np.median(gaps) or np.median([g for g in gaps if g > 0])
        kernels.append([[np.exp(-((a - b) ** 2) / (2 * width**2)) for b in values] for a in values])
    k, ell = np.array(kernels)
    h = np.eye(n) - 1 / n
    return float(np.trace(k @ h @ ell @ h) / (n - 1) ** 2)


def test_hsic_is_the_trace_of_its_definition() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=12)
    for y in (rng.normal(size=12), x**2 + 100, np.repeat([0.0, 1.0], [9, 3])):
        assert hsic(x, y) == pytest.approx(naive_hsic(x, y))
        assert hsic(5 * x - 3, 2 * y) == pytest.approx(hsic(x, y))
    assert hsic(x, np.ones(12)) == pytest.approx(0.0, abs=1e-15)


def test_independence_keeps_its_level_and_finds_what_correlation_misses() -> None:
    rng = np.random.default_rng(2)
    p_values, rejected = [], []
    for seed in range(300):
        x, y = rng.normal(size=(2, 25))
        p_values.append(independence_test(x, y, n_permutations=99, seed=seed).p_value)
        rejected.append(independence_test(np.abs(x) + 0.1 * y, x, n_permutations=99, seed=seed).rejected)
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 300))
    assert np.mean(rejected) > 0.8
    constant = independence_test(np.zeros(25), rng.normal(size=25))
    assert (constant.p_value, constant.rejected, constant.n) == (1.0, False, 25)
    model = rng.normal(size=25)
    rounding = independence_test(3.0 + 1e-9 * model, model)  # rounding that happens to follow the model's score
    assert (rounding.statistic, rounding.p_value) == (0.0, 1.0)
    same = independence_test(x, x, n_permutations=199)
    assert same.p_value == 1 / 200


EFFECTS = np.array([3.0, 2.0, 0.0, 0.5, 0.1, 0.0, 1.0, 0.2])


def additive(masks: np.ndarray) -> np.ndarray:
    return np.outer(masks @ EFFECTS, [1.0, 2.0])


def test_minimality_compares_each_edge_with_random_ones() -> None:
    circuit = np.arange(8) < 4
    test = minimality_test(additive, circuit, n_random=200, seed=1)
    assert test is not None
    squares = 2.5 * EFFECTS**2  # of an edge, mean over both pairs
    assert test.changes == pytest.approx(squares[:4])
    drawn = Counter(np.round(test.random_changes, 9).tolist())
    assert set(drawn) == set(np.round(squares[4:], 9).tolist())
    assert chisquare(list(drawn.values())).pvalue > 0.001
    for i, change in enumerate(squares[:4]):
        below = sum(count for value, count in drawn.items() if change > value + 1e-6)
        p_value = binomtest(below, 200, 0.9, alternative="less").pvalue
        assert test.shares[i] == below / 200
        assert test.p_values[i] == pytest.approx(min(1.0, 4 * p_value))
    assert test.p_values[0] == test.p_values[1] == 1.0
    assert test.shares[2] == 0.0  # does nothing, and some random edges do nothing either
    assert test.rejected
    minimal = minimality_test(additive, np.arange(8) < 2, n_random=200)
    assert minimal is not None
    assert (minimal.rejected, minimal.statistic) == (False, 1.0)


def test_an_inflated_circuit_loses_an_edge_that_its_path_added() -> None:
    seen = []

    def run(masks: np.ndarray) -> np.ndarray:
        seen.append(masks)
        return additive(masks)

    circuit = np.arange(8) < 2
    path = np.array([[e in edges for e in range(8)] for edges in ((0, 6, 7), (0, 1))])
    test = minimality_test(run, circuit, path, n_random=50)
    assert test is not None
    assert set(np.round(test.random_changes, 9)) == {2.5, 0.1}
    (masks,) = seen
    assert len(masks) == 6  # C, C without either edge; C and path, that without either new edge
    assert np.all(masks.sum(axis=1) >= 1)
    assert minimality_test(run, np.zeros(8, dtype=bool)) is None
    assert minimality_test(run, circuit, path[1:]) is None
    assert len(seen) == 1


@pytest.mark.parametrize("n_edges", [1, 5])
def test_minimality_keeps_its_level_at_the_edge_of_the_null(n_edges: int) -> None:
    # Each edge of the circuit changes more than exactly 90 of the 100 others.
    effects = np.concatenate([np.full(n_edges, 89.5), np.arange(100.0)])
    circuit = np.arange(n_edges + 100) < n_edges
    rejected = []
    for seed in range(300):
        test = minimality_test(lambda masks: np.outer(masks @ effects, [1.0]), circuit, seed=seed)
        assert test is not None
        rejected.append(test.rejected)
    assert np.mean(rejected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(rejected) > (0.005 if n_edges == 1 else 0.0)


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_named() -> None:
    x = np.arange(4.0)
    with pytest.raises(ValueError, match="1 of the 4 values of circuit"):
        equivalence_test(np.array([0, 1, 2, np.nan]), x)
    with pytest.raises(ValueError, match="4 and 3 values"):
        equivalence_test(x, x[:3])
    with pytest.raises(ValueError, match=r"epsilon .* not 0\.5"):
        equivalence_test(x, x + 1, epsilon=0.5)
    with pytest.raises(ValueError, match="from 0 to 3"):
        equivalence_test(x, x, x)
    with pytest.raises(ValueError, match="at least 2 pairs"):
        independence_test(x[:1], x[:1])
    with pytest.raises(ValueError, match=r"shape \(8,\) and \(1, 7\)"):
        minimality_test(additive, np.ones(8, dtype=bool), np.ones((1, 7), dtype=bool))
    with pytest.raises(ValueError, match=r"quantile 1\.0"):
        minimality_test(additive, np.ones(8, dtype=bool), quantile=1.0)
