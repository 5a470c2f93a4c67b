"""How much of a model's behaviour its top-scored edges carry.

A circuit C is a set of edges kept clean while all others are ablated; m(C) is the task metric per pair,
∅ the circuit without edges, N the whole graph. Faithfulness is

    f(C) = (m(C) − m(∅)) / (m(N) − m(∅)),

0 for the empty circuit and 1 for the full one by definition, unbounded in between. Sources: Wang et al.
(2023); Hanna et al. (2024); CPR and CMD: Mueller et al. (2025), the MIB benchmark.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from gaugeblock.metrics.ranking import checked_scores, tie_groups

MIB_SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The circuit sizes of the MIB benchmark, as shares of all edges."""

Run = Callable[[Bool[np.ndarray, "circuits edges"]], Float[np.ndarray, "circuits pairs"]]


@dataclass(frozen=True, eq=False)
class FaithfulnessCurve:
    """Faithfulness at growing circuit sizes; the first point is the empty circuit.

    Attributes:
        fractions: circuit sizes as shares of all edges, from 0.0 up.
        f: ratio of means over pairs; all NaN where the means of m(N) and m(∅) agree (nothing to explain).
        f_pairs: mean of per-pair ratios over the `n_pairs` pairs with m(N) ≠ m(∅); all NaN where n_pairs = 0.
        n_pairs: how many pairs `f_pairs` averages.
        values: m at each size, in the unit of the task metric; the first row is m(∅).
        full: m(N).

    >>> curve = faithfulness_curve(lambda masks: masks @ np.array([[3.0], [1.0]]), np.array([2.0, 1.0]), (0.5, 1.0))
    >>> curve.fractions.tolist(), curve.values.tolist(), curve.full.tolist(), curve.n_pairs
    ([0.0, 0.5, 1.0], [[0.0], [3.0], [4.0]], [4.0], 1)
    """

    fractions: Float[np.ndarray, " sizes"]
    f: Float[np.ndarray, " sizes"]
    f_pairs: Float[np.ndarray, " sizes"]
    n_pairs: int
    values: Float[np.ndarray, "sizes pairs"]
    full: Float[np.ndarray, " pairs"]


def faithfulness_curve(
    run: Run,
    scores: Float[np.ndarray, " edges"],
    sizes: Sequence[float] = MIB_SIZES,
    *,
    changed: Bool[np.ndarray, " pairs"] | None = None,
    eps: float = 1e-5,
) -> FaithfulnessCurve:
    """Faithfulness of the top-k edges for each size k.

    Circuits are made of whole tie groups of `scores`, from the highest down. At a size between two such
    circuits (inside a tie group, or between two whole numbers of edges) m is interpolated linearly, so no
    sort order decides; for an additive m that is the expectation over all orders. `run` is called once.

    Args:
        run: masks bool [circuits, edges] (True = kept clean) → m of each circuit and pair.
        scores: one per edge, higher = sooner in the circuit.
        sizes: shares of all edges in (0, 1], increasing. The empty circuit is always put in front.
        changed: the pairs that enter the ratio of means, i.e. those whose clean and corrupted outputs differ;
            all by default. Per-pair ratios use every pair.
        eps: |m(N) − m(∅)| ≤ eps · (1 + max|m|) counts as equal, for means and for single pairs.

    Raises:
        ValueError: NaN scores, no edges, impossible sizes, `changed` of the wrong length, or values from
            `run` of the wrong shape or not finite.

    >>> effects = np.array([[3.0], [1.0], [0.0], [0.0]])
    >>> scores = np.array([0.9, 0.5, 0.1, 0.1])
    >>> faithfulness_curve(lambda masks: masks @ effects, scores, sizes=(0.25, 0.5, 1.0)).f.tolist()
    [0.0, 0.75, 1.0, 1.0]
    """
    scores = checked_scores(scores)
    n_edges = len(scores)
    if n_edges == 0:
        raise ValueError("there are no scores; a curve needs at least one edge")
    fractions = np.array([0.0, *sizes])
    if len(fractions) < 2 or not (np.all(np.diff(fractions) > 0) and fractions[-1] <= 1):
        raise ValueError(f"sizes must be increasing shares of the edges in (0, 1], not {tuple(sizes)}")

    order, ends = tie_groups(scores)
    bounds = np.concatenate([[0], ends])
    wanted = fractions * n_edges
    nearest = np.rint(wanted)
    wanted = np.where(np.isclose(wanted, nearest, rtol=0, atol=1e-9), nearest, wanted)  # 3/7 · 7 is 3
    below = np.searchsorted(bounds, wanted, side="right") - 1
    above = np.searchsorted(bounds, wanted, side="left")
    needed = np.unique(np.concatenate([below, above, [0, len(bounds) - 1]]))
    masks = np.zeros((len(needed), n_edges), dtype=bool)
    for mask, bound in zip(masks, bounds[needed]):
        mask[order[:bound]] = True

    m = checked_values(run(masks), len(masks))
    upper = np.searchsorted(needed, above)
    lower = np.searchsorted(needed, below)
    width = np.maximum(bounds[above] - bounds[below], 1)
    share = ((wanted - bounds[below]) / width)[:, None]
    values = (1 - share) * m[lower] + share * m[upper]

    empty, full = m[0], m[-1]
    in_means = np.ones(len(full), dtype=bool) if changed is None else np.asarray(changed, dtype=bool)
    if in_means.shape != full.shape:
        raise ValueError(f"run gave {len(full)} pairs but changed has shape {in_means.shape}; give one bool per pair")
    tolerance = eps * (1 + np.abs(m).max())
    gained, span = values - empty, full - empty
    f = np.full(len(fractions), np.nan)
    if in_means.any() and abs(span[in_means].mean()) > tolerance:
        f = gained[:, in_means].mean(axis=1) / span[in_means].mean()
    differing = np.abs(span) > tolerance
    f_pairs = np.full(len(fractions), np.nan)
    if differing.any():
        f_pairs = (gained[:, differing] / span[differing]).mean(axis=1)
    return FaithfulnessCurve(fractions, f, f_pairs, int(differing.sum()), values, full)


def cpr(fractions: Float[np.ndarray, " sizes"], f: Float[np.ndarray, " sizes"]) -> float | None:
    """Circuit performance ratio: ∫₀¹ f dk, k the share of edges in the circuit.

    f is taken as linear between the given points (trapezoids, linear k). Unbounded, higher is better in
    MIB's reading; f above 1 (circuits that do *more* than the model) pays, so 1 is no ceiling. MIB starts
    at k = 0.1 %; here the integral starts at k = 0, where f = 0, and the first trapezoid is all that differs.
    None where f is undefined (NaN). Source: MIB (Mueller et al. 2025).

    Raises:
        ValueError: the points differ in number, or `fractions` does not increase from 0 to 1.

    >>> cpr(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]))
    0.75
    """
    _check_points(fractions, f)
    return _area(fractions, f)


def cmd(fractions: Float[np.ndarray, " sizes"], f: Float[np.ndarray, " sizes"]) -> float | None:
    """Circuit-model distance: ∫₀¹ |1 − f| dk, k the share of edges in the circuit.

    f is taken as linear between the given points, and |1 − f| is integrated exactly where it crosses
    1 (trapezoids on |1 − f| would overstate those stretches). Range above 0 and unbounded, lower is better;
    0 is out of reach because f = 0 at k = 0. None where f is undefined (NaN).
    Source: MIB (Mueller et al. 2025).

    Raises:
        ValueError: the points differ in number, or `fractions` does not increase from 0 to 1.

    >>> cmd(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]))
    0.25
    """
    _check_points(fractions, f)
    return _area_from_one(fractions, f)


def log_cpr(
    fractions: Float[np.ndarray, " sizes"], f: Float[np.ndarray, " sizes"], start: float = MIB_SIZES[0]
) -> float | None:
    """CPR on a logarithmic axis: the mean of f over log₁₀ k, for k from `start` to 1.

        ∫ f d(log₁₀ k) / −log₁₀(start)

    Small circuits count as much as large ones, which linear k hardly sees: half of its area lies at k > 0.5.
    f is taken as linear in log k between the given points from `start` on (trapezoids, as MIB with its option
    for logarithms; the division, which gives a perfect circuit 1, is ours). Unbounded, higher is better in MIB's
    reading. None where f is undefined (NaN).

    Where `start` is less than one edge (fewer than 1000 edges at 0.1 %) the curve of `faithfulness_curve` is
    still defined: f grows linearly from the empty circuit to the first tie group. MIB rounds the number of edges
    down instead, so that f is 0 there. Either way such sizes pull a small graph's value towards 0, whatever the
    method, so compare values of one graph only.

    Raises:
        ValueError: as `cpr`, or `start` outside (0, 1).

    >>> log_cpr(np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.5, 1.0]), start=0.1)
    0.75
    """
    return _area(*_on_log_axis(fractions, f, start))


def log_cmd(
    fractions: Float[np.ndarray, " sizes"], f: Float[np.ndarray, " sizes"], start: float = MIB_SIZES[0]
) -> float | None:
    """CMD on a logarithmic axis: the mean of |1 − f| over log₁₀ k, for k from `start` to 1.

    Lower is better, 0 best; |1 − f| is integrated exactly where f crosses 1. Everything else as in `log_cpr`.

    >>> log_cmd(np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.5, 1.0]), start=0.1)
    0.25
    """
    return _area_from_one(*_on_log_axis(fractions, f, start))


def regret(f_truth: float, f_found: float) -> float | None:
    """f(truth) − f(found): the faithfulness lost by taking the found circuit of equal size for the true one.

    Unbounded, lower is better; 0 where the found circuit does as much, negative where it does more. For k
    true edges of n, `f_found` is `faithfulness_curve(run, scores, [k / n]).f[1]`, and `f_truth` the same with
    the truth's own 0/1 scores. None where either is undefined (NaN).

    >>> regret(f_truth=1.0, f_found=0.75)
    0.25
    """
    value = float(f_truth - f_found)
    return None if np.isnan(value) else value


def checked_values(values: np.ndarray, n_circuits: int) -> Float[np.ndarray, "circuits pairs"]:
    """What `run` gave for `n_circuits` masks, as float64; `ValueError` for another shape, NaN or infinities."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != n_circuits or array.shape[1] == 0:
        raise ValueError(f"run got {n_circuits} masks and gave shape {array.shape}; it must give [masks, pairs]")
    if bad := int((~np.isfinite(array)).sum()):
        raise ValueError(f"{bad} of the {array.size} values that run gave are NaN or infinite")
    return array


def _area(x: Float[np.ndarray, " sizes"], f: Float[np.ndarray, " sizes"]) -> float | None:
    return None if np.isnan(f).any() else float(np.sum(np.diff(x) * (f[:-1] + f[1:]) / 2))


def _area_from_one(x: Float[np.ndarray, " sizes"], f: Float[np.ndarray, " sizes"]) -> float | None:
    if np.isnan(f).any():
        return None
    a, b = 1 - f[:-1], 1 - f[1:]
    heights = (np.abs(a) + np.abs(b)) / 2
    crosses = a * b < 0
    # Two triangles that meet at the crossing: (a² + b²) / (2 (|a| + |b|)).
    heights[crosses] = (a[crosses] ** 2 + b[crosses] ** 2) / (4 * heights[crosses])
    return float(np.sum(np.diff(x) * heights))


def _on_log_axis(
    fractions: Float[np.ndarray, " sizes"], f: Float[np.ndarray, " sizes"], start: float
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """The points from `start` on, on an axis that runs from 0 to 1."""
    _check_points(fractions, f)
    if not 0 < start < 1:
        raise ValueError(f"a logarithmic axis must start at a share of the edges in (0, 1), not {start}")
    later = fractions > start
    x = 1 - np.log10([start, *fractions[later]]) / np.log10(start)
    return x, np.array([np.interp(start, fractions, f), *f[later]])


def _check_points(fractions: np.ndarray, f: np.ndarray) -> None:
    if fractions.ndim != 1 or fractions.shape != f.shape:
        raise ValueError(f"{fractions.shape} sizes but {f.shape} values of f; each size needs one value")
    if len(fractions) < 2 or fractions[0] != 0 or fractions[-1] != 1 or np.any(np.diff(fractions) <= 0):
        raise ValueError(f"the sizes must increase from 0 to 1, not {fractions.tolist()}")
