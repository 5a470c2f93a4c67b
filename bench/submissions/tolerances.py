"""Whether two results say the same, up to what another machine may do to the last digits.

What compares edge scores with the truth is a matter of ranks: the same on every machine, and asked for to 1e-9
(`RANKS`). What runs circuits goes through float32 sums, whose order differs between processors: `BEHAVIOUR`. On 14
results of `quick` and `core`, kernels without vector instructions moved these by at most 9e-7, and float64 by 5e-6; but
float64 moved completeness and the independence statistic far in one whose attention is tied in all but the last digits.
Faithfulness per pair divides by what ablation does to that one pair, which may be little: it moved by up to 0.7 %
(`PAIRS`). p-values count permutations, and may differ by the few that are tied (`P_VALUES`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from gaugeblock.results.records import Result
from gaugeblock.results.untrusted import shown


class Tolerance(NamedTuple):
    """Two numbers agree if they differ by at most `absolute` + `relative` × the larger one."""

    absolute: float
    relative: float

    def agree(self, a: float | None, b: float | None) -> bool:
        if a is None or b is None:
            return a is b
        return abs(a - b) <= self.absolute + self.relative * max(abs(a), abs(b))


RANKS = Tolerance(1e-9, 1e-9)
BEHAVIOUR = Tolerance(1e-4, 1e-4)
PAIRS = Tolerance(1e-3, 0.02)
P_VALUES = Tolerance(0.02, 0.0)
RERUN = 1e-3
"""Largest difference between edge scores of two runs of a method, as a share of its largest |score|."""

EXACT = [
    "skill",
    "comparators",
    "matched_auroc",
    "auroc",
    "auroc_low",
    "auroc_high",
    "auprc",
    "auprc_chance",
    "precision_at_size",
    "best_f1",
    "node_skill",
    "node_auprc",
    "port_skill",
    "port_auprc",
    "circuit_size",
    "circuit_precision",
    "circuit_recall",
    "circuit_f1",
    "circuit_shd",
]
NOT_RECOMPUTED = ("stability",)


def tolerance(score: str) -> Tolerance:
    """How far a score of `gaugeblock.evaluation.scores.SCORES` may be off."""
    if score in EXACT:
        return RANKS
    if score.startswith("pair_"):
        return PAIRS
    return P_VALUES if score.endswith("_p") else BEHAVIOUR


def differences(submitted: Result, recomputed: Result) -> list[str]:
    """What the first result says otherwise than the second, one clause each; the method's own scores aside."""
    found: list[str] = []
    for name in sorted({*submitted.scores, *recomputed.scores} - {*NOT_RECOMPUTED}):
        if name not in recomputed.scores or name not in submitted.scores:
            found.append(f"the score {shown(name)} is {'not one' if name in submitted.scores else 'missing'}")
        elif not tolerance(name).agree(submitted.scores[name], recomputed.scores[name]):
            found.append(f"{name} is {submitted.scores[name]} and should be {recomputed.scores[name]}")
    if set(submitted.pair_scores) != set(recomputed.pair_scores):
        found.append(f"scores per pair are of {shown(sorted(submitted.pair_scores))}")
    else:
        for name, values in recomputed.pair_scores.items():
            found += _numbers(f"{name} per pair", submitted.pair_scores[name], values, PAIRS)
    for name in ("curve", "pair_curve"):
        ours, theirs = getattr(recomputed, name), getattr(submitted, name)
        found += _numbers(f"{name}, sizes", [size for size, _ in theirs], [size for size, _ in ours], RANKS)
        found += _numbers(f"{name}, faithfulness", [f for _, f in theirs], [f for _, f in ours], tolerance(name))
    if submitted.circuit != recomputed.circuit:
        found.append(
            f"the chosen circuit has {len(submitted.circuit)} edges and should have {len(recomputed.circuit)}"
            if len(submitted.circuit) != len(recomputed.circuit)
            else "the chosen circuit has other edges than it should"
        )
    if not RANKS.agree(submitted.noise, recomputed.noise):
        found.append(f"noise is {submitted.noise} and should be {recomputed.noise}")
    return found


def largest_difference(submitted: dict[str, float], again: dict[str, float]) -> float:
    """Largest difference between the scores of the same edges, as a share of the largest |score| of either."""
    largest = max((abs(score) for scores in (submitted, again) for score in scores.values()), default=0.0)
    if not largest:
        return 0.0
    return max(abs(again[edge] - score) for edge, score in submitted.items()) / largest


def _numbers(what: str, given: Sequence[float | None], right: Sequence[float | None], allowed: Tolerance) -> list[str]:
    if len(given) != len(right):
        return [f"{what}: {len(given)} numbers and should be {len(right)}"]
    wrong = [i for i, (a, b) in enumerate(zip(given, right)) if not allowed.agree(a, b)]
    return [f"{what}: number {wrong[0]} is {given[wrong[0]]} and should be {right[wrong[0]]}"] if wrong else []
