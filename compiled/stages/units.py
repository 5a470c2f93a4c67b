"""Part of stage 6: the hidden units of one MLP operation, as arrays, never one by one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

from gaugeblock.compiled.lowered.operations import PRESENT, Form, Lowered, RestoringTable, Table, Total, Variable
from gaugeblock.compiled.lowered.tables import line
from gaugeblock.compiled.stages.layout import Layout


@final
@dataclass(frozen=True)
class SparseMatrix:
    """A sparse matrix [unit, direction]; entries at one place add up."""

    unit: Int[np.ndarray, " entries"]
    direction: Int[np.ndarray, " entries"]
    weight: Float[np.ndarray, " entries"]


@final
@dataclass(frozen=True)
class Units:
    """relu(reads of the stream + bias), added to the stream along `writes`."""

    bias: Float[np.ndarray, " unit"]
    reads: SparseMatrix
    writes: SparseMatrix

    def __len__(self) -> int:
        return len(self.bias)


def joined(parts: Sequence[Units]) -> Units:
    """All units of several groups, in order."""
    starts = np.cumsum([0, *(len(part) for part in parts)])

    def entries(which: str) -> SparseMatrix:
        each = [getattr(part, which) for part in parts]
        return SparseMatrix(
            np.concatenate([np.zeros(0, int), *(e.unit + s for e, s in zip(each, starts, strict=False))]),
            np.concatenate([np.zeros(0, int), *(e.direction for e in each)]),
            np.concatenate([np.zeros(0), *(e.weight for e in each)]),
        )

    return Units(np.concatenate([np.zeros(0), *(part.bias for part in parts)]), entries("reads"), entries("writes"))


def table_units(op: Table, lowered: Lowered, where: Layout, *, soft: bool = False, soft_gates: bool = False) -> Units:
    """Units for a table of one-hot variables and at most one form; steps are steep or `soft`.

    A conjunction of gates is relu(2 (number of open gates - number of gates) + 1): 1 if all are open, else exactly 0
    as long as the gates are right to a half. With `soft_gates` it is relu(number of open gates - number of gates + 1),
    whose corner lies where one gate is missing. A RestoringTable has pairs of units, whose difference is 1 for
    gates that are right to a quarter. Over a form, each change of the table's row from one value to the next is a step:
    a pair of units.
    """
    gates = [lowered.variables[name] for name in op.gates]
    table = op.table if op.form is not None else op.table[..., None]
    conjunctions, rows = _conjunctions(table, gates, where)
    out = np.array(where.directions[op.out])
    used = np.flatnonzero((rows >= 0).any(1))
    conjunctions, rows = conjunctions.of(used), _filled(rows[used])
    n, gain = len(rows), 1 if soft_gates else 2
    if isinstance(op, RestoringTable):
        base = _restoring(conjunctions, n, len(gates), out[rows[:, 0]])
    else:
        base = Units(
            np.full(n, 1.0 - gain * len(gates)),
            SparseMatrix(conjunctions.unit, conjunctions.direction, gain * conjunctions.weight),
            SparseMatrix(np.arange(n), out[rows[:, 0]], np.ones(n)),
        )
    if op.form is None:
        return base
    row, at = np.nonzero(rows[:, 1:] != rows[:, :-1])
    before, after = rows[row, at], rows[row, at + 1]
    thresholds = _thresholds(op.form, lowered, where)
    steps = len(row)
    writes = SparseMatrix(
        np.concatenate([np.arange(steps)] * 2),
        np.concatenate([out[after], out[before]]),
        np.concatenate([np.ones(steps), -np.ones(steps)]),
    )
    return joined([base, _steps(thresholds, at, conjunctions.of(row), len(gates), writes, soft)])


def total_units(op: Total, lowered: Lowered, where: Layout, *, soft: bool = False) -> Units:
    """Units for a sum of functions of one variable each, written as one number, where `present`; steps are steep or
    `soft`."""
    present, target = where.directions[PRESENT][0], where.directions[op.out][0]
    parts, base = [], 0.0
    for name, amounts in zip(op.reads, op.amounts, strict=True):
        variable = lowered.variables[name]
        if variable.encoding == "onehot":
            parts.append(_one_hot_amounts(where.directions[name], amounts, present, target))
        elif variable.encoding == "scalar" and name not in lowered.sums and _is_linear(variable, amounts):
            slope, constant = line(variable.values, amounts)
            base += constant
            parts.append(_linear(where.directions[name][0], slope, variable, present, target))
        else:
            base += float(amounts[0])
            form = Form((name,), (np.array([float(v) for v in variable.values]),), variable.values)
            at = np.flatnonzero(np.diff(amounts))
            steps = np.arange(len(at))
            writes = SparseMatrix(steps, np.full(len(at), target), np.diff(amounts)[at])
            gate = SparseMatrix(steps, np.full(len(at), present), np.ones(len(at)))
            parts.append(_steps(_thresholds(form, lowered, where), at, _Gates.over(gate, len(at)), 1, writes, soft))
    one = np.zeros(1, int)
    parts.append(
        Units(
            np.zeros(1), SparseMatrix(one, one + present, np.ones(1)), SparseMatrix(one, one + target, np.full(1, base))
        )
    )
    return joined(parts)


# --- conjunctions of one-hot gates -----------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class _Gates:
    """The one-hot directions of the gates' values that open each unit; entries in order of units."""

    unit: Int[np.ndarray, " entries"]
    direction: Int[np.ndarray, " entries"]
    weight: Float[np.ndarray, " entries"]
    starts: Int[np.ndarray, " units_and_one"]

    @staticmethod
    def over(entries: SparseMatrix, n: int) -> "_Gates":
        order = np.argsort(entries.unit, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(entries.unit, minlength=n))])
        return _Gates(entries.unit[order], entries.direction[order], entries.weight[order], starts)

    def of(self, units: Int[np.ndarray, " some"]) -> "_Gates":
        """The gates of these units, which may repeat."""
        sizes = np.diff(self.starts)[units]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        picked = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.starts[units], sizes)
        unit = np.repeat(np.arange(len(units)), sizes)
        return _Gates(unit, self.direction[picked], self.weight[picked], starts)


def _restoring(gates: _Gates, n: int, need: int, targets: Int[np.ndarray, " unit"]) -> Units:
    """relu(v) - relu(v - 1) for v = 4 (number of open gates - `need`) + 2: at least 2 if all are open, else at most
    -2, so that a gate may be wrong by a quarter."""
    unit = np.arange(n)
    parts = [
        Units(
            np.full(n, 2.0 - 4 * need - below),
            SparseMatrix(gates.unit, gates.direction, 4 * gates.weight),
            SparseMatrix(unit, targets, np.full(n, sign)),
        )
        for below, sign in ((0.0, 1.0), (1.0, -1.0))
    ]
    return joined(parts)


def _conjunctions(
    table: Int[np.ndarray, "..."], gates: list[Variable], where: Layout
) -> tuple[_Gates, Int[np.ndarray, "conjunction value"]]:
    """Conjunctions of gate values that partition their product, and the table's row on each.

    Values of the last two gates are grouped by equal rows, since a sum of one-hot directions is the indicator of a
    group; the other gates, which are the smaller ones, are enumerated.
    """
    sizes = [len(v.values) for v in gates]
    order = np.argsort(sizes, kind="stable")
    sizes = [sizes[i] for i in order]
    directions = [np.array(where.directions[gates[i].name]) for i in order]
    rows, row_of = np.unique(
        table.transpose([*order, len(gates)]).reshape(-1, table.shape[-1]), axis=0, return_inverse=True
    )
    inner_size = sizes[-1]
    outer_size = sizes[-2] if len(sizes) > 1 else 1
    row_of = row_of.reshape(-1, outer_size, inner_size)
    n_prefixes = len(row_of)

    # values of the outer gate with equal rows for all values of the inner one, within a prefix
    prefix = np.repeat(np.arange(n_prefixes), outer_size)
    keyed = np.column_stack([prefix, row_of.reshape(-1, inner_size)])
    groups, group_of = np.unique(keyed, axis=0, return_inverse=True)
    # within each of these groups, values of the inner gate with equal rows
    flat = np.column_stack([np.repeat(np.arange(len(groups)), inner_size), groups[:, 1:].reshape(-1)])
    units, unit_of = np.unique(flat, axis=0, return_inverse=True)
    unit_group, unit_row = units[:, 0], units[:, 1]

    parts = [(unit_of.ravel(), np.tile(directions[-1], len(groups)))]
    if len(sizes) > 1:
        by_group = np.argsort(group_of.ravel(), kind="stable")
        members = np.bincount(group_of.ravel(), minlength=len(groups))
        first = np.concatenate([[0], np.cumsum(members)])
        count = members[unit_group]
        offsets = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        value = by_group[np.repeat(first[unit_group], count) + offsets] % outer_size
        parts.append((np.repeat(np.arange(len(units)), count), directions[-2][value]))
    if len(sizes) > 2:
        for axis, codes in enumerate(np.unravel_index(groups[unit_group, 0], sizes[:-2])):
            parts.append((np.arange(len(units)), directions[axis][codes]))
    unit, direction = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return _Gates.over(SparseMatrix(unit, direction, np.ones(len(unit))), len(units)), rows[unit_row]


def _filled(rows: Int[np.ndarray, "row value"]) -> Int[np.ndarray, "row value"]:
    """Rows in which entries that nothing leads to (-1) continue the entry before them, or the first one there is."""
    known = rows >= 0
    last = np.maximum.accumulate(np.where(known, np.arange(rows.shape[1]), -1), axis=1)
    first = known.argmax(1)[:, None]
    return np.take_along_axis(rows, np.where(last < 0, first, last), axis=1)


def _one_hot_amounts(
    directions: tuple[int, ...], amounts: Float[np.ndarray, " codes"], present: int, target: int
) -> Units:
    codes = np.flatnonzero(amounts)
    read, n = np.array(directions)[codes], len(codes)
    reads = SparseMatrix(
        np.concatenate([np.arange(n)] * 2), np.concatenate([np.full(n, present), read]), np.full(2 * n, 2.0)
    )
    return Units(np.full(n, -3.0), reads, SparseMatrix(np.arange(n), np.full(n, target), amounts[codes]))


# --- thresholds ------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Thresholds:
    """A linear function u_i of the stream for each i, positive at the form's values after the i-th and negative at
    the others; margin_i <= |u_i| <= reach_i.

    Attributes:
        directions: read with `weights[i]`.
    """

    directions: Int[np.ndarray, " directions"]
    weights: Float[np.ndarray, "threshold directions"]
    bias: Float[np.ndarray, " threshold"]
    margin: Float[np.ndarray, " threshold"]
    reach: Float[np.ndarray, " threshold"]

    @property
    def slope(self) -> Float[np.ndarray, " threshold"]:
        """g such that relu(g u + 1/2) - relu(g u - 1/2) is 0 or 1 with room for rounding: a power of two."""
        return np.exp2(np.ceil(np.log2(1 / self.margin)))

    @property
    def soft_slope(self) -> Float[np.ndarray, " threshold"]:
        """g such that the step is 0 or 1 at the margin already, where both corners lie: a smooth activation has its
        value and half its slope there."""
        return 1 / (2 * self.margin)


def _thresholds(form: Form, lowered: Lowered, where: Layout) -> Thresholds:
    values = np.array([float(v) for v in form.values])
    middle, gap = (values[1:] + values[:-1]) / 2, np.diff(values)
    largest = np.abs(values).max(initial=0.0)
    first = lowered.variables[form.reads[0]]
    if first.encoding == "ratio":  # u = (sum - middle) / (1 + count), and the largest sum takes all keys
        directions = np.array(where.directions[first.name])
        weights = np.column_stack([np.ones(len(middle)), -middle])
        reach = largest / lowered.max_len + np.abs(middle)
        return Thresholds(directions, weights, np.zeros(len(middle)), gap / 2 / (1 + lowered.max_len), reach)
    reads: list[tuple[int, float]] = []
    constant = 0.0
    for name, amounts in zip(form.reads, form.amounts, strict=True):
        variable = lowered.variables[name]
        if variable.encoding == "onehot":
            reads += [(d, float(a)) for d, a in zip(where.directions[name], amounts, strict=True) if a]
        else:
            slope, offset = line(variable.values, amounts)
            constant += offset
            reads.append((where.directions[name][0], slope))
    directions = np.array([d for d, _ in reads], dtype=int)
    weights = np.tile(np.array([w for _, w in reads]), (len(middle), 1))
    return Thresholds(directions, weights, constant - middle, gap / 2, largest + np.abs(middle))


def thresholds_of(op: Table | Total, lowered: Lowered, where: Layout) -> list[Thresholds]:
    """The thresholds that an operation lays over numbers of the stream."""
    if isinstance(op, Table):
        return [] if op.form is None else [_thresholds(op.form, lowered, where)]
    stairs = [v for v in map(lowered.variables.__getitem__, op.reads) if v.encoding != "onehot"]
    forms = [Form((v.name,), (np.array([float(x) for x in v.values]),), v.values) for v in stairs]
    return [_thresholds(form, lowered, where) for form in forms]


def _steps(
    thresholds: Thresholds, at: Int[np.ndarray, " step"], gates: _Gates, need: int, writes: SparseMatrix, soft: bool
) -> Units:
    """Two units for each step: they add the step's `writes` above the at-th threshold where its gates are open."""
    g, n = (thresholds.soft_slope if soft else thresholds.slope)[at], len(at)
    room = 2 if soft else 1  # a smooth unit is not yet zero at its corner
    closed = np.exp2(np.ceil(np.log2(g * thresholds.reach[at] + room)))
    width = len(thresholds.directions)
    parts = []
    for offset, sign in ((0.5, 1.0), (-0.5, -1.0)):
        reads = SparseMatrix(
            np.concatenate([np.repeat(np.arange(n), width), gates.unit]),
            np.concatenate([np.tile(thresholds.directions, n), gates.direction]),
            np.concatenate([(thresholds.weights[at] * g[:, None]).ravel(), gates.weight * closed[gates.unit]]),
        )
        bias = g * thresholds.bias[at] + offset - closed * need
        parts.append(Units(bias, reads, SparseMatrix(writes.unit, writes.direction, sign * writes.weight)))
    return joined(parts)


def _is_linear(variable: Variable, amounts: Float[np.ndarray, " codes"]) -> bool:
    slope, constant = line(variable.values, amounts)
    values = np.array([float(v) for v in variable.values])
    return bool(np.allclose(slope * values + constant, amounts, rtol=1e-12, atol=1e-12))


def _linear(direction: int, slope: float, variable: Variable, present: int, target: int) -> Units:
    """slope * x where `present`, else 0, for a scalar x: its positive part less its negative part."""
    largest = max(abs(float(v)) for v in variable.values)
    closed = 2.0 ** math.ceil(math.log2(largest + 1))
    reads = SparseMatrix(
        np.array([0, 0, 1, 1]), np.array([direction, present] * 2), np.array([1.0, closed, -1.0, closed])
    )
    return Units(np.full(2, -closed), reads, SparseMatrix(np.arange(2), np.full(2, target), np.array([slope, -slope])))
