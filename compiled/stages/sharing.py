"""Part of stage 3: heads that serve several reductions, and how heavy the sink of a head that sums has to be."""

import math
from graphlib import CycleError
from typing import Any

from gaugeblock.compiled.lowered.operations import MIN_RELATIVE_MARGIN, Attention, Operation, Table, Variable
from gaugeblock.compiled.lowered.tables import line, smallest_gap
from gaugeblock.compiled.stages.schedule import earliest, in_order

SUM_ACCURACY = 128
"""A heavy sink leaves a sum wrong by at most the distance of its neighbours over this."""


def share_heads(operations: list[Operation]) -> list[Operation]:
    """Merge heads with equal conditions, ranking and kind of sink where that makes nothing deeper; in order."""
    groups: dict[Any, list[Attention]] = {}
    for op in operations:
        if isinstance(op, Attention):
            conditions = frozenset((c.key, c.query, c.table.shape, c.table.tobytes()) for c in op.conditions)
            ranking = op.ranking and (op.ranking.variable, op.ranking.levels.tobytes())
            groups.setdefault((conditions, ranking, op.counts_sink), []).append(op)
    current = list(operations)
    depth = max(earliest(current).values(), default=0)
    for group in groups.values():
        shared = group[0]
        for other in group[1:]:
            joint = Attention(shared.name, shared.conditions, shared.ranking, (*shared.reads, *other.reads))
            merged = [joint if op is shared else op for op in current if op is not other]
            try:
                if max(earliest(merged).values(), default=0) <= depth:
                    current, shared = merged, joint
            except CycleError:  # one reads what the other says
                continue
    return in_order(current)


def heavy_sinks(
    operations: list[Operation], variables: dict[str, Variable], max_len: int, sharp: bool
) -> dict[str, float]:
    """The heads whose sums are read as numbers, and how heavy their sinks are: where a sum is read together with
    other numbers; where it is so large that s / (1 + count) would leave float32 too little; if `sharp`, everywhere.
    """
    head_of = {read.out: op for op in operations if isinstance(op, Attention) and op.counts_sink for read in op.reads}
    sinks: dict[str, float] = {}

    def want(name: str, weight: float, gap: float, among: int) -> None:
        head = head_of[name]
        for read in head.reads:
            largest = max(abs(float(a)) for a in read.mapping)
            error = weight * largest * max_len**2  # times 1 / sink
            sink = 2.0 ** math.ceil(math.log2(max(1.0, SUM_ACCURACY * among * error / gap)))
            sinks[head.name] = max(sinks.get(head.name, 1.0), sink)

    for op in operations:
        form = op.form if isinstance(op, Table) else None
        if form is None:
            continue
        several = len(form.reads) > 1
        for name, amounts in zip(form.reads, form.amounts, strict=True):
            if name in head_of and (
                several or sharp or _ratio_margin(variables[name], max_len) < 8 * MIN_RELATIVE_MARGIN
            ):
                slope = abs(line(variables[name].values, amounts)[0]) or 1.0
                want(name, max(slope, 1e-9), smallest_gap(form.values), len(form.reads))
    return sinks


def _ratio_margin(variable: Variable, max_len: int) -> float:
    gap = smallest_gap(variable.values)
    largest = max(abs(float(v)) for v in variable.values)
    return gap / 2 / (1 + max_len) / max(largest / max_len + largest, 1.0)
