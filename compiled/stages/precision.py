"""Whether float32 can hold a compiled model: margins, and a bound on the error of every variable.

Errors are absolute, of whatever direction of a variable is worst, and follow from two facts: a float32 operation is
wrong by at most 2^-24 of its size, and a step saturates, so that what arrives wrong by less than a threshold's margin
leaves it as 0 or 1 up to the rounding of two large numbers whose difference that is.
"""

import math
from dataclasses import dataclass, replace
from typing import final

from gaugeblock.compiled.lowered.operations import Attention, Lowered, Read, RestoringTable, Table, Total
from gaugeblock.compiled.lowered.tables import line, smallest_gap
from gaugeblock.compiled.stages.heads import SCORE_GAP, step_of
from gaugeblock.compiled.stages.layout import Layout
from gaugeblock.compiled.stages.sharing import SUM_ACCURACY
from gaugeblock.compiled.stages.units import thresholds_of

ROUNDING = {"float32": 2.0**-24, "float64": 2.0**-53}

LARGE_ERROR = 2.0**-10
"""Error of a one-hot result that is worth a second hidden unit for each."""


@final
@dataclass(frozen=True)
class Precision:
    """Bounds on what rounding does to a model.

    Attributes:
        margins: operation -> smallest distance of a number it reads from a threshold, relative to the numbers' size.
        errors: variable -> bound on its error.
        culprit: the first operation that may go wrong; None if none may.
        reason: what may go wrong there.
    """

    margins: dict[str, float]
    errors: dict[str, float]
    culprit: str | None
    reason: str


def precision(lowered: Lowered, where: Layout, dtype: str) -> Precision:
    """Bounds for a model computed in `dtype`, "float32" or "float64"."""
    unit = ROUNDING[dtype]
    margins: dict[str, float] = {}
    errors = dict.fromkeys(lowered.variables, 0.0)
    culprit, reason = None, ""
    for op in lowered.operations:
        if isinstance(op, Attention):
            worst = _scores(op, lowered, errors, unit)
            if worst > SCORE_GAP / 4:
                problem = f"its scores may be wrong by {worst:.1e}, its levels are {SCORE_GAP:g} apart"
            else:
                problem = ""
                for read in op.reads:
                    errors[read.out] = _moved(op, read, lowered, errors, worst, unit)
        else:
            margins[op.name], wrong, errors[op.out] = _computed(op, lowered, where, errors, unit)
            problem = f"neighbouring values may be mixed up ({wrong:.1e} of their distance)" if wrong > 0.45 else ""
            if not problem and errors[op.out] > 0.1 and lowered.variables[op.out].encoding == "onehot":
                problem = f"its result may be wrong by {errors[op.out]:.1e}"
        if problem and culprit is None:
            culprit, reason = op.name, problem
    return Precision({k: v for k, v in margins.items() if v < 1}, errors, culprit, reason)


def restoring(lowered: Lowered, where: Layout, dtype: str) -> Lowered:
    """The model in which tables that would pass on a large error restore their results instead.

    Through a chain of tables errors grow by a factor each time: where a program repeats a step, one table in a few.
    """
    while True:
        errors = precision(lowered, where, dtype).errors
        large = (op for op in lowered.operations if type(op) is Table and errors[op.out] > LARGE_ERROR)
        first = next((op for op in large if lowered.variables[op.out].encoding == "onehot"), None)
        if first is None:
            return lowered
        better = RestoringTable(first.name, first.gates, first.form, first.table, first.out)
        lowered = replace(lowered, operations=tuple(better if op is first else op for op in lowered.operations))


def _scores(op: Attention, lowered: Lowered, errors: dict[str, float], unit: float) -> float:
    levels = 0 if op.ranking is None else int(op.ranking.levels.max())
    step = step_of(op)
    size = step * len(op.conditions) + SCORE_GAP * (levels + 2) + math.log(op.sink)
    wrong = sum(errors[c.key] + (errors[c.query] if c.query else 0) for c in op.conditions) * step
    if op.ranking is not None:
        wrong += errors[op.ranking.variable] * SCORE_GAP * levels
    return wrong + size * unit * 4


def _moved(op: Attention, read: Read, lowered: Lowered, errors: dict[str, float], scores: float, unit: float) -> float:
    n, out = lowered.max_len, lowered.variables[read.out]
    source = lowered.variables[read.source]
    leak = n * math.exp(-SCORE_GAP / 2)
    if out.encoding == "onehot":
        return errors[source.name] + leak + 4 * unit
    amounts = [abs(float(a)) for a in (read.mapping if read.kind != "get" else map(float, out.values))]
    largest = max(amounts, default=0.0)
    # where the sink outweighs all keys, errors of their scores do not reach the sum of weights
    relative = scores * (2 if op.sink == 1 else 1) + 8 * unit + leak
    each = largest * (relative + errors[source.name])
    if read.kind != "sum":
        return each
    if out.encoding == "ratio":
        return each  # of sum / (1 + count)
    return n * each + min(smallest_gap(out.values) / SUM_ACCURACY, largest * n * n / op.sink)


def _computed(
    op: Table | Total, lowered: Lowered, where: Layout, errors: dict[str, float], unit: float
) -> tuple[float, float, float]:
    """(relative margin, how far thresholds may be off in units of the margin, error of the result)."""
    gates = sum(errors[name] for name in (op.gates if isinstance(op, Table) else op.reads))
    margin, wrong, result = 1.0, 0.0, 2 * gates + unit
    if isinstance(op, RestoringTable):
        # right while the gates are off by less than a quarter; each half of a pair is a sum of len(op.gates) + 1 terms
        wrong, result = 2 * gates, 2 * unit * (len(op.gates) + 1) * (4 * len(op.gates) + 2)
    for t in thresholds_of(op, lowered, where):
        if not len(t.margin):
            continue
        arrived = _arrived(op, lowered, errors)
        g = t.slope
        margin = min(margin, float((t.margin / t.reach).min()))
        rounding = 2 * unit * g * t.reach  # of a product by a power of two, a gate and a bias
        # g u is at least 1 in size, and a step is saturated from 1/2 on
        wrong = max(wrong, float((g * arrived + 2 * g * t.reach * gates + rounding).max()))
        result += float(4 * rounding.max())
    if isinstance(op, Total):
        largest = max((abs(float(v)) for v in lowered.variables[op.out].values), default=1.0)
        result = result * largest + sum(errors[name] for name in op.reads)
    return margin, wrong, result


def _arrived(op: Table | Total, lowered: Lowered, errors: dict[str, float]) -> float:
    """Error of the number that is compared with thresholds, from what it is made of."""
    if isinstance(op, Total):
        return max((errors[name] for name in op.reads), default=0.0)
    assert op.form is not None
    total = 0.0
    for name, amounts in zip(op.form.reads, op.form.amounts, strict=True):
        variable = lowered.variables[name]
        slope = float(abs(amounts).max())
        if variable.encoding != "onehot":
            slope = abs(line(variable.values, amounts)[0])
            if variable.encoding == "ratio":
                # of 1 / (1 + count), times a threshold
                slope = max((abs(float(v)) for v in variable.values), default=0.0) + 1
        total += slope * errors[name]
    return total
