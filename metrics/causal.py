"""Completeness and minimality of a chosen circuit: what it does when parts of it are taken out.

M is the whole graph that `run` knows, C ⊆ M the circuit, F(C) the task metric of C's run, mean over pairs. Both ask
about sets K ⊆ C of edges that are taken out. Source: Wang et al. (2023), section 4, on nodes of a circuit; here edges.
"""

from dataclasses import dataclass
from math import comb
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Int

from gaugeblock.metrics.faithfulness import Run, checked_values


@final
@dataclass(frozen=True, eq=False)
class Completeness:
    """|F(C∖K) − F(M∖K)| over sets K, in the unit of the task metric; lower is better, 0 best.

    Attributes:
        largest: over the sets that were run.
        mean: every size of K from 0 to |C| weighs the same, and within a size every set.
        worst: bool per edge: the K with the largest difference.
        span: |F(M) − F(∅)|; divide by it to compare with faithfulness, where it is not 0.
        n_sets: how many sets K were run.
        exact: every K ⊆ C was; else `mean` is an estimate and `largest` a lower bound.

    >>> complete = completeness(lambda masks: masks @ np.array([[3.0], [1.0]]), np.array([True, True]))
    >>> complete.largest, complete.span, complete.n_sets, complete.exact
    (0.0, 4.0, 4, True)
    """

    largest: float
    mean: float
    worst: Bool[np.ndarray, " edges"]
    span: float
    n_sets: int
    exact: bool


@final
@dataclass(frozen=True, eq=False)
class Minimality:
    """For each edge v of C, |F(C∖(K ∪ {v})) − F(C∖K)|, in the unit of the task metric; higher is better.

    Attributes:
        edges: indices of the edges of C; the other arrays have one entry for each.
        largest: over the sets K that were run; near 0 for an edge that C does not need.
        alone: with K = ∅.
        smallest: the least of `largest`; None for the empty circuit.
        n_sets: how many sets K were run for each edge.
        exact: every K ⊆ C∖{v} was; else `largest` is a lower bound.

    >>> needed = minimality(lambda masks: masks @ np.array([[3.0], [1.0]]), np.array([True, True]))
    >>> needed.edges.tolist(), needed.alone.tolist(), needed.smallest
    ([0, 1], [3.0, 1.0], 1.0)
    """

    edges: Int[np.ndarray, " members"]
    largest: Float[np.ndarray, " members"]
    alone: Float[np.ndarray, " members"]
    smallest: float | None
    n_sets: int
    exact: bool


def completeness(run: Run, circuit: Bool[np.ndarray, " edges"], *, budget: int = 2048, seed: int = 0) -> Completeness:
    """Does the circuit hold all that matters? Then C and M lose the same when K is taken out of both.

    A backup that C misses shows only here: with K the part it backs up, M still works and C does not.

    All K ⊆ C are run where that takes at most `budget` circuits, 2 for each K. Otherwise K = ∅ and K = C are run, and
    `budget` // 2 − 2 more (at least one), drawn independently: first a size uniformly from 0 to |C|, then a set of that
    size uniformly. The sets drawn estimate `mean`; ∅ and C only enter `largest`. `run` is called once.

    Args:
        run: masks bool [circuits, edges] (True = kept clean) → m of each circuit and pair.
        circuit: bool per edge.
        budget: how many circuits may be run.
        seed: of the draw.

    Raises:
        ValueError: a circuit that is not one bool per edge, or values from `run` of the wrong shape or not finite.

    >>> def run(masks):  # edge 1 backs up edge 0
    ...     return masks.any(axis=1, keepdims=True).astype(float)
    >>> completeness(run, np.array([True, False])).largest
    1.0
    """
    members = _members(circuit)
    removed, weights = _subsets(len(members), budget // 2, seed)
    taken = np.zeros((len(removed), len(circuit)), dtype=bool)
    taken[:, members] = removed
    masks = np.concatenate([circuit & ~taken, ~taken])
    f = checked_values(run(masks), len(masks)).mean(axis=1)
    of_circuit, of_model = f[: len(taken)], f[len(taken) :]
    gaps = np.abs(of_circuit - of_model)
    # The first set is ∅ and the last is C, so F(M) and F(∅) have been run.
    return Completeness(
        largest=float(gaps.max()),
        mean=float(weights @ gaps),
        worst=taken[int(gaps.argmax())],
        span=abs(float(of_model[0] - of_circuit[-1])),
        n_sets=len(taken),
        exact=bool((weights > 0).all()),
    )


def minimality(
    run: Run,
    circuit: Bool[np.ndarray, " edges"],
    sets: Bool[np.ndarray, "sets edges"] | None = None,
    *,
    budget: int = 2048,
    seed: int = 0,
) -> Minimality:
    """Does every edge of the circuit matter? For each there should be a K after whose removal it changes F.

    K = ∅ alone misses edges that back each other up, so further sets are tried: those in `sets`, or all K where that
    takes at most `budget` circuits (2^|C|), or sets drawn as in `completeness`, as many as `budget` allows. Wang et al.
    look for a K by hand for each node. An edge v is never in its own K: it is taken out of it first. Circuits that
    occur several times are run once, in one call.

    Args:
        run, circuit, seed: as for `completeness`.
        sets: the K to try besides ∅, bool per set and edge; edges outside of C are left out of them.
        budget: how many circuits may be run, 2 · |C| for each K that is drawn; ∅, C and one drawn K are always run.

    Raises:
        ValueError: as for `completeness`, or `sets` that are not one bool per set and edge.

    >>> def run(masks):  # either edge is enough
    ...     return masks.any(axis=1, keepdims=True).astype(float)
    >>> both = minimality(run, np.array([True, True]))
    >>> both.alone.tolist(), both.largest.tolist()
    ([0.0, 0.0], [1.0, 1.0])
    """
    members = _members(circuit)
    size = len(members)
    if size == 0:
        nothing = np.zeros(0)
        return Minimality(members, nothing, nothing, None, 0, True)
    if sets is None:
        exact = 2**size <= budget
        removed, _ = _subsets(size, 2**size if exact else budget // (2 * size), seed)
    else:
        if sets.ndim != 2 or sets.shape[1] != len(circuit):
            raise ValueError(f"sets have shape {sets.shape}; give one bool per set and edge, [sets, {len(circuit)}]")
        exact = False
        removed = np.concatenate([np.zeros((1, size), dtype=bool), np.asarray(sets, dtype=bool)[:, members]])

    without, including = np.repeat(removed[None], size, axis=0), np.repeat(removed[None], size, axis=0)
    each = np.arange(size)
    without[each, :, each], including[each, :, each] = False, True
    distinct, places = np.unique(np.concatenate([without, including]).reshape(-1, size), axis=0, return_inverse=True)
    masks = np.zeros((len(distinct), len(circuit)), dtype=bool)
    masks[:, members] = ~distinct
    f = checked_values(run(masks), len(masks)).mean(axis=1)[places.reshape(2, size, len(removed))]
    changes = np.abs(f[1] - f[0])
    return Minimality(
        edges=members,
        largest=changes.max(axis=1),
        alone=changes[:, 0],
        smallest=float(changes.max(axis=1).min()),
        n_sets=len(removed),
        exact=exact,
    )


def _members(circuit: np.ndarray) -> Int[np.ndarray, " members"]:
    if circuit.ndim != 1 or circuit.dtype != bool:
        raise ValueError(f"a circuit is one bool per edge, not {circuit.dtype} of shape {circuit.shape}")
    return np.flatnonzero(circuit)


def _subsets(size: int, n_sets: int, seed: int) -> tuple[Bool[np.ndarray, "sets size"], Float[np.ndarray, " sets"]]:
    """All subsets of `size` things where they are at most `n_sets`, else some; the first is ∅, the last is full.

    They come with the weights by which a mean over the sets gives each size the same weight, and each set of a size.
    """
    if size < 63 and 2**size <= n_sets:
        every = (np.arange(2**size)[:, None] >> np.arange(size)) & 1 == 1
        of_size = np.array([1 / ((size + 1) * comb(size, k)) for k in range(size + 1)])
        return every, of_size[every.sum(axis=1)]
    rng = np.random.default_rng(seed)
    n_drawn = max(n_sets - 2, 1)
    sizes = rng.integers(size + 1, size=n_drawn)
    ranks = rng.random((n_drawn, size)).argsort(axis=1).argsort(axis=1)
    drawn = ranks < sizes[:, None]
    empty, full = np.zeros((1, size), dtype=bool), np.ones((1, size), dtype=bool)
    weights = np.concatenate([[0.0], np.full(n_drawn, 1 / n_drawn), [0.0]])
    return np.concatenate([empty, drawn, full]), weights
