"""Three tests of the hypothesis that a circuit does what an ideal one would; a rejection speaks against the circuit.

Equivalence: the circuit does what the model does. Independence: what is left without the circuit says nothing about
the task. Minimality: no edge of the circuit is as good as a random one. Source: Shi et al. (2024), "Hypothesis testing
the circuit hypothesis in LLMs"; where we differ from the code published with it, the functions say so.

No rejection is no proof: with few pairs nothing is rejected.
"""

from dataclasses import dataclass
from math import lgamma
from typing import Literal, final

import numpy as np
from jaxtyping import Bool, Float, Int

from gaugeblock.metrics.faithfulness import Run, checked_values
from gaugeblock.metrics.ranking import round_to_noise


@final
@dataclass(frozen=True)
class EquivalenceTest:
    """The outcome of `equivalence_test`.

    Attributes:
        kind: "sign", or "total variation" where scores tie.
        statistic: share of pairs on which the circuit scores higher ("sign") or that differ ("total variation").
        p_value: of the null hypothesis that circuit and model are equivalent.
        rejected: p_value ≤ level, so they are not.
        n: number of pairs.
        n_tied: pairs on which circuit and model score the same.

    >>> equivalence_test(np.array([1.0, 1.0]), np.array([0.0, 2.0])).kind
    'sign'
    """

    kind: Literal["sign", "total variation"]
    statistic: float
    p_value: float
    rejected: bool
    n: int
    n_tied: int


@final
@dataclass(frozen=True)
class IndependenceTest:
    """The outcome of `independence_test`.

    Attributes:
        statistic: HSIC, from 0 (nothing found) up to 1.
        p_value: of the null hypothesis that the complement's and the model's scores are independent.
        rejected: p_value ≤ level, so the complement still knows about the task.
        n: number of pairs.
        n_permutations: behind the p-value.

    >>> independence_test(np.zeros(3), np.array([0.0, 1.0, 2.0]), n_permutations=9)
    IndependenceTest(statistic=0.0, p_value=1.0, rejected=False, n=3, n_permutations=9)
    """

    statistic: float
    p_value: float
    rejected: bool
    n: int
    n_permutations: int


@final
@dataclass(frozen=True, eq=False)
class MinimalityTest:
    """The outcome of `minimality_test`.

    Attributes:
        statistic: the least of `shares`.
        p_value: the least of `p_values`.
        rejected: p_value ≤ level, so some edge is insignificant and the circuit not minimal.
        n: number of random edges that each edge is compared with.
        edges: indices of the circuit's edges; the arrays below have one entry for each.
        changes: mean over pairs of the squared change of the score when the edge alone is knocked out of the circuit.
        shares: share of the random edges whose change is smaller.
        p_values: per edge, multiplied by the number of edges (Bonferroni) and cut at 1.
        random_changes: the changes by the random edges [n].

    >>> test = minimality_test(lambda masks: masks @ np.array([[0.0], [1.0]]), np.array([True, False]))
    >>> test.changes.tolist(), test.shares.tolist(), test.rejected  # the circuit's only edge does nothing
    ([0.0], [0.0], True)
    """

    statistic: float
    p_value: float
    rejected: bool
    n: int
    edges: Int[np.ndarray, " members"]
    changes: Float[np.ndarray, " members"]
    shares: Float[np.ndarray, " members"]
    p_values: Float[np.ndarray, " members"]
    random_changes: Float[np.ndarray, " random"]


def equivalence_test(
    circuit: Float[np.ndarray, " pairs"],
    model: Float[np.ndarray, " pairs"],
    distances: Float[np.ndarray, " pairs"] | None = None,
    *,
    epsilon: float = 0.1,
    tolerance: float = 0.01,
    level: float = 0.05,
    eps: float = 1e-5,
) -> EquivalenceTest | None:
    """Null hypothesis: circuit and model are equally good on the task.

    Without ties, the test of Shi et al.: Δ = s(circuit) − s(model) per pair, H₀: |P(Δ > 0) − ½| < ε, and with k pairs
    of n at Δ > 0

        p = P(|K/n − ½| ≥ |k/n − ½|) for K ~ Bin(n, ½ + ε).

    It asks which of the two scores higher, never by how much. (The published code puts the mean of Δ where this
    formula has k/n.)

    The test is not defined where Δ = 0, and a circuit that is exactly right has Δ = 0 everywhere. So with any tie,
    H₀ is: at most a share ε of pairs *differ*, where a pair differs if the total variation distance between the
    outputs of circuit and model exceeds `tolerance`. With k such pairs, p = P(K ≥ k) for K ~ Bin(n, ε).

    Args:
        circuit, model: scores per pair, in the same unit.
        distances: total variation per pair, e.g. from `gaugeblock.metrics.agreement.pair_total_variation`.
        epsilon: ε, above 0 and below ½.
        tolerance: the largest total variation at which outputs count as the same.
        level: of the test.
        eps: |Δ| ≤ eps · (1 + max|s|) is a tie.

    Returns:
        The test, or None where scores tie and no distances are given.

    Raises:
        ValueError: no pairs, lengths that differ, NaN, distances outside [0, 1], or an impossible ε.

    >>> scores = np.array([1.0, 1.0])  # the same, though the outputs differ: p = 0.1²
    >>> test = equivalence_test(scores, scores, distances=np.array([0.5, 1.0]))
    >>> test.statistic, round(test.p_value, 6), test.rejected
    (1.0, 0.01, True)
    """
    circuit, model = _checked(circuit, "circuit"), _checked(model, "model")
    n = _same_length(circuit, model)
    if not 0 < epsilon < 0.5:
        raise ValueError(f"epsilon must lie between 0 and 0.5, not {epsilon}")
    difference = circuit - model
    n_tied = int((np.abs(difference) <= eps * (1 + max(np.abs(circuit).max(), np.abs(model).max()))).sum())
    if n_tied == 0:
        higher = int((difference > 0).sum())
        far = np.abs(2 * np.arange(n + 1) - n) >= abs(2 * higher - n)
        p_value = min(1.0, float(_binomial(n, 0.5 + epsilon)[far].sum()))
        return EquivalenceTest("sign", higher / n, p_value, p_value <= level, n, n_tied)
    if distances is None:
        return None
    distances = _checked(distances, "distances")
    _same_length(distances, model)
    if (distances < 0).any() or (distances > 1 + 1e-9).any():
        raise ValueError(f"total variation lies in [0, 1], not from {distances.min():.3g} to {distances.max():.3g}")
    differing = int((distances > tolerance).sum())
    p_value = min(1.0, float(_binomial(n, epsilon)[differing:].sum()))
    return EquivalenceTest("total variation", differing / n, p_value, p_value <= level, n, n_tied)


def independence_test(
    complement: Float[np.ndarray, " pairs"],
    model: Float[np.ndarray, " pairs"],
    *,
    n_permutations: int = 1000,
    level: float = 0.05,
    eps: float = 1e-6,
    seed: int = 0,
) -> IndependenceTest:
    """Null hypothesis: the scores of the complement (everything but the circuit) and of the model are independent.

    `hsic` of the two, against its values after permuting the pairs of one:

        p = (1 + #{permuted ≥ observed}) / (1 + n_permutations),

    which keeps the level with any number of pairs. If one of the two is constant nothing depends on it, and p = 1.
    Both scores are of the same pairs, so what makes a pair easy for either (a short input, a corrupted side that keeps
    the answer) makes them dependent too, without any edge at work. Run the test with the empty circuit's scores in the
    complement's place as well: where that is rejected, a rejection says nothing about the circuit.
    The published code takes one bandwidth for both, the median distance of a complement's from a model's score, which
    changes with the offset of either, and leaves out the two ones, so that its p-value can be 0.

    Args:
        complement, model: scores per pair.
        n_permutations: at least 1; 1 / (1 + n_permutations) is the smallest possible p-value.
        level: of the test.
        eps: scores s that differ by less than eps · (1 + max|s|) are the same first, since the kernels know no scale
            and would find structure in the rounding of a constant.
        seed: of the permutations.

    Raises:
        ValueError: fewer than 2 pairs, lengths that differ, or NaN.

    >>> independence_test(np.zeros(4), np.array([0.0, 1.0, 2.0, 3.0]), n_permutations=9).p_value
    1.0
    """
    complement, model = _checked(complement, "complement"), _checked(model, "model")
    n = _same_length(complement, model)
    if n < 2 or n_permutations < 1:
        raise ValueError(f"{n} pairs and {n_permutations} permutations; give at least 2 pairs and 1 permutation")
    first, second = (
        _centred(_kernel(round_to_noise(s, eps * (1 + float(np.abs(s).max()))))) for s in (complement, model)
    )
    observed = float(np.sum(first * second)) / (n - 1) ** 2
    rng = np.random.default_rng(seed)
    reached = 0
    for _ in range(n_permutations):
        order = rng.permutation(n)
        permuted = float(np.sum(first * second[np.ix_(order, order)])) / (n - 1) ** 2
        reached += permuted >= observed - 1e-12  # equal but for rounding: counts as reached
    p_value = (1 + reached) / (1 + n_permutations)
    return IndependenceTest(observed, p_value, p_value <= level, n, n_permutations)


def hsic(x: Float[np.ndarray, " pairs"], y: Float[np.ndarray, " pairs"]) -> float:
    """Hilbert–Schmidt independence criterion, tr(KHLH) / (n − 1)², with Gaussian kernels K of x and L of y.

    K_ij = exp(−(x_i − x_j)² / 2σ²), H = I − 11ᵀ/n; σ is the median of |x_i − x_j| over i < j (where that is 0, over the
    unequal pairs), for x and y on their own. Range 0 to 1, 0 for constants; in expectation above 0 also under
    independence, hence the permutations. Source: Gretton et al. (2005, 2007).

    >>> round(hsic(np.array([0.0, 1.0]), np.array([0.0, 1.0])), 3)  # (1 − exp(−½))²
    0.155
    """
    x, y = _checked(x, "x"), _checked(y, "y")
    n = _same_length(x, y)
    return float(np.sum(_centred(_kernel(x)) * _centred(_kernel(y)))) / (n - 1) ** 2


def minimality_test(
    run: Run,
    circuit: Bool[np.ndarray, " edges"],
    paths: Bool[np.ndarray, "paths edges"] | None = None,
    *,
    quantile: float = 0.9,
    n_random: int = 100,
    level: float = 0.05,
    eps: float = 1e-9,
    seed: int = 0,
) -> MinimalityTest | None:
    """Null hypothesis, for each edge e of the circuit C: knocking e out changes more than knocking out a random edge.

    δ(e, C) = mean over pairs of (s(C) − s(C∖{e}))². A random edge is drawn uniformly from those that a random path adds
    to C, and knocked out of this inflated circuit: δ(e_r, C ∪ path). H₀ of edge e: P(δ(e, C) > δ(e_r, C ∪ path)) ≥ q*;
    with k of n random edges below, p = P(K ≤ k) for K ~ Bin(n, q*), times the number of edges (Bonferroni, which the
    published code leaves to do). Equal changes do not count as below, so an edge that does nothing is insignificant
    also where the random ones do nothing. `run` is called once, with each circuit once.

    Args:
        run: masks bool [circuits, edges] (True = kept clean) → score of each circuit and pair.
        circuit: bool per edge.
        paths: what an inflated circuit may add, e.g. from `random_paths`; drawn uniformly, and only paths that add
            something. By default single edges outside the circuit; most of those hang loose and change nothing, which
            makes the test lenient.
        quantile: q*, above 0 and below 1.
        n_random: how many inflated circuits are drawn.
        level: of the whole test.
        eps: changes that differ by at most eps · max|s|² count as equal.
        seed: of the draws.

    Returns:
        The test, or None where the circuit is empty or no path adds anything.

    Raises:
        ValueError: a circuit or paths of the wrong shape, an impossible quantile, or values from `run` of the wrong
            shape or not finite.

    >>> test = minimality_test(lambda masks: masks @ np.array([[2.0], [1.0]]), np.array([True, False]))
    >>> test.changes.tolist(), test.shares.tolist(), test.rejected
    ([4.0], [1.0], False)
    """
    if circuit.ndim != 1 or (paths is not None and (paths.ndim != 2 or paths.shape[1] != len(circuit))):
        shapes = f"{circuit.shape}" if paths is None else f"{circuit.shape} and {paths.shape}"
        raise ValueError(f"circuit and paths have shape {shapes}; give one bool per edge, and per path and edge")
    if not 0 < quantile < 1 or n_random < 1:
        raise ValueError(f"quantile {quantile} and {n_random} draws; give a quantile in (0, 1) and at least one draw")
    members = np.flatnonzero(circuit)
    added = (np.eye(len(circuit), dtype=bool) if paths is None else paths) & ~circuit
    added = added[added.any(axis=1)]
    if len(members) == 0 or len(added) == 0:
        return None

    rng = np.random.default_rng(seed)
    drawn = added[rng.integers(len(added), size=n_random)]
    removed = np.array([rng.choice(np.flatnonzero(edges)) for edges in drawn])
    inflated = circuit | drawn
    whole = np.concatenate([np.repeat(circuit[None], len(members), axis=0), inflated])
    knocked_out = whole.copy()
    knocked_out[np.arange(len(whole)), np.concatenate([members, removed])] = False
    distinct, places = np.unique(np.concatenate([whole, knocked_out]), axis=0, return_inverse=True)
    values = checked_values(run(distinct), len(distinct))
    before, after = values[places.reshape(2, len(whole))]
    changes = np.mean((before - after) ** 2, axis=1)
    of_members, random = changes[: len(members)], changes[len(members) :]

    below = (of_members[:, None] > random + eps * np.abs(values).max() ** 2).sum(axis=1)
    tails = np.cumsum(_binomial(n_random, quantile))[below]
    p_values = np.minimum(1.0, tails * len(members))
    p_value = float(p_values.min())
    shares = below / n_random
    return MinimalityTest(
        float(shares.min()), p_value, p_value <= level, n_random, members, of_members, shares, p_values, random
    )


def _checked(values: np.ndarray, name: str) -> Float[np.ndarray, " pairs"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one number per pair, not an array of shape {array.shape}")
    if bad := int((~np.isfinite(array)).sum()):
        raise ValueError(f"{bad} of the {len(array)} values of {name} are NaN or infinite")
    return array


def _same_length(first: np.ndarray, second: np.ndarray) -> int:
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"{len(first)} and {len(second)} values; give one of each per pair, and at least one pair")
    return len(first)


def _binomial(n: int, p: float) -> Float[np.ndarray, " counts"]:
    """P(K = k) for K ~ Bin(n, p), k from 0 to n."""
    k = np.arange(n + 1)
    factorials = np.array([lgamma(i + 1) for i in range(n + 1)])
    return np.exp(factorials[n] - factorials - factorials[::-1] + k * np.log(p) + (n - k) * np.log1p(-p))


def _kernel(x: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, "pairs pairs"]:
    distances = np.abs(x[:, None] - x)
    between = distances[np.triu_indices(len(x), k=1)]
    if not between.any():
        return np.ones_like(distances)
    width = np.median(between) or np.median(between[between > 0])
    return np.exp(-((distances / width) ** 2) / 2)


def _centred(kernel: Float[np.ndarray, "pairs pairs"]) -> Float[np.ndarray, "pairs pairs"]:
    rows = kernel.mean(axis=0)
    return kernel - rows - rows[:, None] + rows.mean()
