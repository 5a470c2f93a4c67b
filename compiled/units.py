"""Part of stage 6: the hidden units of one MLP operation."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import final

import numpy as np

from gaugeblock.compiled.layout import Layout
from gaugeblock.compiled.lowered import PRESENT, Lowered, Table, Total, Variable


@final
@dataclass(frozen=True)
class Unit:
    """One hidden unit: relu(sum of reads + bias), added to the stream along `writes`."""

    reads: dict[int, float]
    bias: float
    writes: dict[int, float]


def _write(variable: Variable, where: Layout, code: int, factor: float) -> dict[int, float]:
    directions = where.directions[variable.name]
    if variable.encoding == "scalar":
        return {directions[0]: factor * float(variable.values[code])}
    return {directions[code]: factor}


def _added(*parts: dict[int, float]) -> dict[int, float]:
    total: dict[int, float] = {}
    for part in parts:
        for direction, value in part.items():
            total[direction] = total.get(direction, 0.0) + value
    return {d: v for d, v in total.items() if v}


def table_units(op: Table, lowered: Lowered, where: Layout) -> Iterator[Unit]:
    """Units for a table of one-hot variables and at most one staircase variable."""
    reads = [lowered.variables[name] for name in op.reads]
    staircase = next((i for i, v in enumerate(reads) if v.encoding != "onehot"), None)
    out = lowered.variables[op.out]
    table = op.table if staircase is None else np.moveaxis(op.table, staircase, -1)
    gates = [v for i, v in enumerate(reads) if i != staircase]
    if staircase is None:
        table = table[..., None]
    for gate, row in _gated_rows(table, gates, where):
        need = len(gates)
        if staircase is None:
            if row[0] >= 0:
                yield Unit(gate, 1.0 - need, _write(out, where, int(row[0]), 1.0))
            continue
        codes = row.tolist()
        first = next((c for c in codes if c >= 0), None)
        if first is None:
            continue
        codes = [first if c < 0 and i < codes.index(first) else c for i, c in enumerate(codes)]
        for i in range(1, len(codes)):  # entries that never occur continue the step before them
            if codes[i] < 0:
                codes[i] = codes[i - 1]
        yield Unit(gate, 1.0 - need, _write(out, where, codes[0], 1.0))
        for i in range(1, len(codes)):
            if codes[i] != codes[i - 1]:
                change = _added(_write(out, where, codes[i], 1.0), _write(out, where, codes[i - 1], -1.0))
                yield from _step(reads[staircase], lowered, where, i, change, gate, need)


def _gated_rows(
    table: np.ndarray, gates: list[Variable], where: Layout
) -> Iterator[tuple[dict[int, float], np.ndarray]]:
    """(one-hot directions of a conjunction of gate values, the table's row there).

    All but the last two gates are enumerated; the values of the last two are grouped by equal rows, since a sum of
    one-hot directions is the indicator of a group.
    """
    sizes = [len(v.values) for v in gates]
    order = np.argsort(sizes, kind="stable")  # enumerate the small ones, group the large ones
    table = table.transpose([*order, table.ndim - 1])
    gates = [gates[i] for i in order]
    for prefix in product(*[range(len(v.values)) for v in gates[:-2]]):
        fixed = {where.directions[v.name][c]: 1.0 for v, c in zip(gates, prefix, strict=False)}
        block = table[prefix]
        if len(gates) == 1:
            for members, row in _equal_rows(block):
                yield fixed | {where.directions[gates[0].name][c]: 1.0 for c in members}, row
            continue
        for outer, inner in _equal_rows(block):
            group = fixed | {where.directions[gates[-2].name][c]: 1.0 for c in outer}
            for members, row in _equal_rows(inner):
                yield group | {where.directions[gates[-1].name][c]: 1.0 for c in members}, row


def _equal_rows(block: np.ndarray) -> list[tuple[list[int], np.ndarray]]:
    groups: dict[bytes, tuple[list[int], np.ndarray]] = {}
    for i, row in enumerate(block):
        groups.setdefault(np.ascontiguousarray(row).tobytes(), ([], row))[0].append(i)
    return list(groups.values())


def total_units(op: Total, lowered: Lowered, where: Layout) -> Iterator[Unit]:
    """Units for a sum of functions of one variable each, written as one number, where `present`."""
    gate = {where.directions[PRESENT][0]: 1.0}
    target = where.directions[op.out][0]
    base = 0.0
    for name, amounts in zip(op.reads[1:], op.amounts, strict=True):
        variable = lowered.variables[name]
        if variable.encoding == "onehot":
            for code, amount in enumerate(amounts):
                if amount:
                    both = gate | {where.directions[name][code]: 1.0}
                    yield Unit(both, -1.0, {target: float(amount)})
            continue
        base += float(amounts[0])
        for i in range(1, len(amounts)):
            if amounts[i] != amounts[i - 1]:
                yield from _step(variable, lowered, where, i, {target: float(amounts[i] - amounts[i - 1])}, gate, 1)
    if base:
        yield Unit(gate, 0.0, {target: base})


@final
@dataclass(frozen=True)
class _Threshold:
    """A linear function u of the stream, positive at the i-th value of a staircase variable and above, negative
    below; `margin` <= |u| <= `reach` at all its values."""

    reads: dict[int, float]
    bias: float
    margin: float
    reach: float


def _threshold(variable: Variable, directions: tuple[int, ...], i: int, max_len: int) -> _Threshold:
    low, high = float(variable.values[i - 1]), float(variable.values[i])
    middle, span = (low + high) / 2, max(abs(float(variable.values[0])), abs(float(variable.values[-1])))
    if variable.encoding == "ratio":  # u = (sum - middle) / (1 + count), and a sum of `span` takes all keys
        reads = {directions[0]: 1.0, directions[1]: -middle}
        return _Threshold(reads, 0.0, (high - low) / 2 / (1 + max_len), span / max_len + abs(middle))
    return _Threshold({directions[0]: 1.0}, -middle, (high - low) / 2, span + abs(middle))


def relative_margin(variable: Variable, max_len: int) -> float:
    directions = (0, 1)
    thresholds = [_threshold(variable, directions, i, max_len) for i in range(1, len(variable.values))]
    return min((t.margin / t.reach for t in thresholds), default=1.0)


def _step(
    variable: Variable,
    lowered: Lowered,
    where: Layout,
    i: int,
    writes: dict[int, float],
    gate: dict[int, float],
    need: int,
) -> Iterator[Unit]:
    """Two units that add `writes` where the variable's value is at least its i-th, and the gate is open.

    The pair relu(g u + 1/2) - relu(g u - 1/2) is exactly 0 or 1 once g >= 1 / (2 margin); g is twice that or more,
    so that rounding does not matter, and a power of two.
    """
    t = _threshold(variable, where.directions[variable.name], i, lowered.max_len)
    g = 2.0 ** math.ceil(math.log2(1 / t.margin))
    closed = 2.0 ** math.ceil(math.log2(g * t.reach + 1))
    gated = {d: w * closed for d, w in gate.items()}
    for offset, sign in ((0.5, 1.0), (-0.5, -1.0)):
        reads = _added({d: w * g for d, w in t.reads.items()}, gated)
        yield Unit(reads, g * t.bias + offset - closed * need, {d: sign * w for d, w in writes.items()})
