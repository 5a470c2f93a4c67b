"""Several numbers as one: a weighted sum that tells all combinations of their values apart."""

import math
from collections.abc import Sequence
from typing import Any

from gaugeblock.compiled.lowered.operations import MIN_RELATIVE_MARGIN
from gaugeblock.compiled.lowered.tables import smallest_gap


def radix_weights(sets: Sequence[Sequence[Any]]) -> tuple[float, ...] | None:
    """Powers of two w such that sum_i w[i] * x[i] ascends with (x[0], x[1], ...) in lexicographic order, all x[i] in
    their ascending sets; the last weight is 1. None if float32 could not keep neighbouring sums apart.
    """
    weights = [1.0]
    span, gap = _span(sets[-1]), smallest_gap(sets[-1], alone=math.inf)
    for values in reversed(sets[:-1]):
        if gap == math.inf:  # a single value takes no room
            gap = smallest_gap(values, alone=math.inf)
        step = (span + gap) / smallest_gap(values, alone=math.inf)
        weights.insert(0, 2.0 ** math.ceil(math.log2(step)) if math.isfinite(step) and step > 0 else 1.0)
        span += weights[0] * _span(values)
    largest = sum(w * max(abs(float(v)) for v in values) for w, values in zip(weights, sets, strict=True))
    return tuple(weights) if largest == 0 or gap / 2 / (2 * largest) >= MIN_RELATIVE_MARGIN else None


def _span(values: Sequence[Any]) -> float:
    return float(values[-1]) - float(values[0])
