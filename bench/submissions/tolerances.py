"""Whether two results say the same, up to what another machine may do to the last digits."""

from collections.abc import Sequence

from gaugeblock.evaluation.scores import BEHAVIOUR, PAIRS, RANKS, SCORES, Tolerance
from gaugeblock.results.records import Result
from gaugeblock.results.untrusted import quoted

RERUN = 1e-3
"""Largest difference between edge scores of two runs of a method, as a share of its largest |score|."""
RERUN_SCORES = Tolerance(0.05, 0.0)
"""How far the headline scores of two runs may lie apart: a few ties that fall otherwise."""


def differences(submitted: Result, recomputed: Result) -> list[str]:
    """What the first result says otherwise than the second, one clause each; the method's own scores aside."""
    wrong: list[str] = []
    allowed = {name: score.tolerance for name, score in SCORES.items()}
    for name in sorted({*submitted.scores, *recomputed.scores}):
        if (tolerance := allowed.get(name, RANKS)) is None:
            continue
        if name not in recomputed.scores or name not in submitted.scores:
            wrong.append(f"the score {quoted(name)} is {'not one' if name in submitted.scores else 'missing'}")
        elif not tolerance.agree(submitted.scores[name], recomputed.scores[name]):
            wrong.append(f"{name} is {submitted.scores[name]} and should be {recomputed.scores[name]}")
    if set(submitted.pair_scores) != set(recomputed.pair_scores):
        wrong.append(f"scores per pair are of {quoted(sorted(submitted.pair_scores))}")
    else:
        for name, values in recomputed.pair_scores.items():
            wrong += _numbers(f"{name} per pair", submitted.pair_scores[name], values, PAIRS)
    for name, tolerance in (("curve", BEHAVIOUR), ("pair_curve", PAIRS)):
        ours, theirs = getattr(recomputed, name), getattr(submitted, name)
        wrong += _numbers(f"{name}, sizes", [size for size, _ in theirs], [size for size, _ in ours], RANKS)
        wrong += _numbers(f"{name}, faithfulness", [f for _, f in theirs], [f for _, f in ours], tolerance)
    if submitted.circuit != recomputed.circuit:
        wrong.append(
            f"the chosen circuit has {len(submitted.circuit)} edges and should have {len(recomputed.circuit)}"
            if len(submitted.circuit) != len(recomputed.circuit)
            else "the chosen circuit has other edges than it should"
        )
    if not RANKS.agree(submitted.noise, recomputed.noise):
        wrong.append(f"noise is {submitted.noise} and should be {recomputed.noise}")
    return wrong


def largest_difference(submitted: dict[str, float], again: dict[str, float]) -> float:
    """Largest difference between the scores of the same edges, as a share of the largest |score| of either."""
    largest = max((abs(score) for scores in (submitted, again) for score in scores.values()), default=0.0)
    if not largest:
        return 0.0
    return max(abs(again[edge] - score) for edge, score in submitted.items()) / largest


def _numbers(
    what: str, submitted: Sequence[float | None], right: Sequence[float | None], allowed: Tolerance
) -> list[str]:
    if len(submitted) != len(right):
        return [f"{what}: {len(submitted)} numbers and should be {len(right)}"]
    off = [i for i, (a, b) in enumerate(zip(submitted, right)) if not allowed.agree(a, b)]
    return [f"{what}: number {off[0]} is {submitted[off[0]]} and should be {right[off[0]]}"] if off else []
