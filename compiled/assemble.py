"""Stage 6: the weights, in float64, under HookedTransformer's parameter names."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import final

import numpy as np

from gaugeblock.compiled.layout import Layout
from gaugeblock.compiled.lowered import BOS, INDICES, PRESENT, TOKENS, Attention, Lowered, Table, Total, Variable
from gaugeblock.compiled.schedule import Schedule
from gaugeblock.compiled.tables import value_key
from gaugeblock.programs.errors import CompileError

GAP = 40.0
"""Smallest distance between two levels of attention scores; e^-40 is what leaks to the next level."""

LOGIT = 10.0
"""Logit of the right output; the others are 0."""

MAX_PARAMETERS = 50_000_000

Weights = dict[str, np.ndarray]


@final
@dataclass(frozen=True)
class Assembled:
    """Attributes:
    weights: HookedTransformer's parameters, float64.
    neurons: operation name -> indices of its hidden units in its MLP.
    margins: staircase variable -> the smallest distance of its values from a threshold, relative to their size.
    """

    weights: Weights
    neurons: dict[str, tuple[int, ...]]
    margins: dict[str, float]


@final
@dataclass(frozen=True)
class _Head:
    q: np.ndarray  # [d_model + 1, dims], last row: bias
    k: np.ndarray
    v: np.ndarray  # [d_model, dims]
    o: np.ndarray  # [dims, d_model]


@final
@dataclass(frozen=True)
class _Unit:
    """One hidden unit: relu(sum of reads + bias), added to the stream along `writes`."""

    reads: dict[int, float]
    bias: float
    writes: dict[int, float]


def assemble(lowered: Lowered, placed: Schedule, where: Layout) -> Assembled:
    """The weights of the transformer. Token ids: the vocabulary in order, then BOS, then PAD."""
    d_model = len(where.labels)
    heads = {op.name: _head(op, lowered, where) for op in lowered.operations if isinstance(op, Attention)}
    units = {
        op.name: list(_table_units(op, lowered, where) if isinstance(op, Table) else _total_units(op, lowered, where))
        for op in lowered.operations
        if not isinstance(op, Attention)
    }
    d_head = max([1] + [max(h.q.shape[1], h.v.shape[1]) for h in heads.values()])
    widths = [sum(len(u) for n, u in units.items() if placed.sites[n] == f"m{i}") for i in range(placed.n_layers)]
    d_mlp = max([1, *widths])
    _check_size(lowered, units, placed, d_model, d_head, d_mlp)

    weights: Weights = {}
    _embed(weights, lowered, where, d_model)
    neurons: dict[str, tuple[int, ...]] = {}
    for layer in range(placed.n_layers):
        at = f"blocks.{layer}."
        for name, shape in {
            "attn.W_Q": (placed.n_heads, d_model, d_head), "attn.b_Q": (placed.n_heads, d_head),
            "attn.W_K": (placed.n_heads, d_model, d_head), "attn.b_K": (placed.n_heads, d_head),
            "attn.W_V": (placed.n_heads, d_model, d_head), "attn.b_V": (placed.n_heads, d_head),
            "attn.W_O": (placed.n_heads, d_head, d_model), "attn.b_O": (d_model,),
            "mlp.W_in": (d_model, d_mlp), "mlp.b_in": (d_mlp,), "mlp.W_out": (d_mlp, d_model), "mlp.b_out": (d_model,),
        }.items():  # fmt: skip
            weights[at + name] = np.zeros(shape)
        for name, head in heads.items():
            site, _, slot = placed.sites[name].partition(".h")
            if site == f"a{layer}":
                _put_head(weights, at, int(slot), head, math.sqrt(d_head))
        free = 0
        for name, own in units.items():
            if placed.sites[name] == f"m{layer}":
                neurons[name] = tuple(range(free, free + len(own)))
                _put_units(weights, at, free, own)
                free += len(own)
    _unembed(weights, lowered, where, d_model)
    margins = {
        v.name: _relative_margin(v, lowered.max_len) for v in lowered.variables.values() if v.encoding != "onehot"
    }
    return Assembled(weights, neurons, margins)


def _embed(weights: Weights, lowered: Lowered, where: Layout, d_model: int) -> None:
    vocab, max_len = len(lowered.vocab), lowered.max_len
    embed, pos = np.zeros((vocab + 2, d_model)), np.zeros((max_len + 1, d_model))
    if TOKENS in where.directions:
        embed[np.arange(vocab), list(where.directions[TOKENS])] = 1
    for name, rows in ((PRESENT, slice(0, vocab)), (BOS, slice(vocab, vocab + 1))):
        embed[rows, where.directions[name][0]] = 1
    if INDICES in where.directions:
        pos[np.arange(1, max_len + 1), list(where.directions[INDICES])] = 1
    weights["embed.W_E"], weights["pos_embed.W_pos"] = embed, pos


def _unembed(weights: Weights, lowered: Lowered, where: Layout, d_model: int) -> None:
    unembed = np.zeros((d_model, len(lowered.columns)))
    directions = where.directions[lowered.output]
    if lowered.numeric:
        unembed[directions[0], 0] = 1
    else:
        index = {value_key(v): i for i, v in enumerate(lowered.columns)}
        for direction, value in zip(directions, lowered.outputs, strict=True):
            unembed[direction, index[value_key(value)]] = LOGIT
    weights["unembed.W_U"], weights["unembed.b_U"] = unembed, np.zeros(len(lowered.columns))


# --- attention ------------------------------------------------------------------------------------------------


def _head(op: Attention, lowered: Lowered, where: Layout) -> _Head:
    d_model = len(where.labels)
    levels = 0 if op.ranking is None else int(op.ranking.levels.max())
    step = GAP * (levels + 1) if op.counts_sink or op.ranking is not None else 2 * GAP
    if op.ranking is not None:
        step += GAP
    full = step * len(op.conditions)
    sink = full if op.counts_sink else full - (GAP if op.ranking is not None else step / 2)
    queries, keys = [], []  # columns of length d_model + 1

    def column(entries: dict[int, float], bias: float = 0.0) -> np.ndarray:
        result = np.zeros(d_model + 1)
        for direction, value in entries.items():
            result[direction] += value
        result[-1] = bias
        return result

    # BOS: at its level for real queries, above everything for BOS and PAD queries
    above = full + GAP * (levels + 1)
    queries.append(column({where.directions[PRESENT][0]: -above}, sink + above))
    keys.append(column({where.directions[BOS][0]: 1.0}))
    for condition in op.conditions:
        for key_codes, query_codes in _factors(condition.table):
            keys.append(column(_feature(lowered.variables[condition.key], where, key_codes)))
            if condition.query is None:
                queries.append(column({}, step))
            else:
                weights = dict.fromkeys(query_codes, step)
                queries.append(column(_feature(lowered.variables[condition.query], where, weights, is_query=True)))
    if op.ranking is not None:
        heights = {c: GAP * float(level) for c, level in enumerate(op.ranking.levels)}
        keys.append(column(_feature(lowered.variables[op.ranking.variable], where, heights)))
        queries.append(column({}, 1.0))
    v, o = _moves(op, lowered, where)
    return _Head(np.stack(queries, 1), np.stack(keys, 1), v, o)


def _factors(table: np.ndarray) -> Iterator[tuple[dict[int, float], list[int]]]:
    """Key features and query codes whose products sum to the table, with the fewer of the two kinds of classes."""
    rows = _classes(table)
    columns = _classes(table.T)
    if len(rows) <= len(columns):
        for row, members in rows:
            yield dict.fromkeys(members, 1.0), np.flatnonzero(row).tolist()
    else:
        for column, members in columns:
            yield dict.fromkeys(np.flatnonzero(column).tolist(), 1.0), members


def _classes(table: np.ndarray) -> list[tuple[np.ndarray, list[int]]]:
    """The distinct non-zero rows with the indices at which they stand."""
    found: dict[bytes, tuple[np.ndarray, list[int]]] = {}
    for i, row in enumerate(table):
        if row.any():
            found.setdefault(row.tobytes(), (row, []))[1].append(i)
    return list(found.values())


def _feature(variable: Variable, where: Layout, weights: dict[int, float], is_query: bool = False) -> dict[int, float]:
    """Weights on the variable's directions, and on BOS what cancels the value it holds in an empty row."""
    directions = where.directions[variable.name]
    entries = {directions[c]: w for c, w in weights.items()}
    if variable.empty is not None and not is_query and variable.empty in weights:
        entries[where.directions[BOS][0]] = -weights[variable.empty]
    return entries


def _moves(op: Attention, lowered: Lowered, where: Layout) -> tuple[np.ndarray, np.ndarray]:
    d_model = len(where.labels)
    values, writes = [], []
    bos = where.directions[BOS][0]

    def move(entries: dict[int, float], target: int) -> None:
        v, o = np.zeros(d_model), np.zeros(d_model)
        for direction, value in entries.items():
            v[direction] += value
        o[target] = 1
        values.append(v)
        writes.append(o)

    for read in op.reads:
        source = lowered.variables[read.source]
        target = where.directions[read.out]
        if read.kind == "get":
            for code in sorted({int(c) for c in read.mapping if c >= 0} | {read.default} - {None}):
                own = {c: 1.0 for c, out in enumerate(read.mapping) if out == code}
                entries = _feature(source, where, own)
                if read.default == code:
                    entries[bos] = entries.get(bos, 0.0) + 1.0
                move(entries, target[code])
        else:
            entries = _feature(source, where, {c: float(a) for c, a in enumerate(read.mapping) if a})
            if read.default is not None:
                entries[bos] = entries.get(bos, 0.0) + float(read.default)
            move(entries, target[0])
    if op.counts_sink:
        move({bos: 1.0}, where.directions[op.reads[0].out][1])
    return np.stack(values, 1), np.stack(writes, 0)


def _put_head(weights: Weights, at: str, slot: int, head: _Head, scale: float) -> None:
    # TransformerLens divides scores by sqrt(d_head)
    qk, ov = head.q.shape[1], head.v.shape[1]
    weights[at + "attn.W_Q"][slot, :, :qk] = head.q[:-1] * scale
    weights[at + "attn.b_Q"][slot, :qk] = head.q[-1] * scale
    weights[at + "attn.W_K"][slot, :, :qk] = head.k[:-1]
    weights[at + "attn.b_K"][slot, :qk] = head.k[-1]
    weights[at + "attn.W_V"][slot, :, :ov] = head.v
    weights[at + "attn.W_O"][slot, :ov] = head.o


# --- MLPs -----------------------------------------------------------------------------------------------------


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


def _table_units(op: Table, lowered: Lowered, where: Layout) -> Iterator[_Unit]:
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
                yield _Unit(gate, 1.0 - need, _write(out, where, int(row[0]), 1.0))
            continue
        codes = row.tolist()
        first = next((c for c in codes if c >= 0), None)
        if first is None:
            continue
        codes = [first if c < 0 and i < codes.index(first) else c for i, c in enumerate(codes)]
        for i in range(1, len(codes)):  # entries that never occur continue the step before them
            if codes[i] < 0:
                codes[i] = codes[i - 1]
        yield _Unit(gate, 1.0 - need, _write(out, where, codes[0], 1.0))
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


def _total_units(op: Total, lowered: Lowered, where: Layout) -> Iterator[_Unit]:
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
                    yield _Unit(both, -1.0, {target: float(amount)})
            continue
        base += float(amounts[0])
        for i in range(1, len(amounts)):
            if amounts[i] != amounts[i - 1]:
                yield from _step(variable, lowered, where, i, {target: float(amounts[i] - amounts[i - 1])}, gate, 1)
    if base:
        yield _Unit(gate, 0.0, {target: base})


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


def _relative_margin(variable: Variable, max_len: int) -> float:
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
) -> Iterator[_Unit]:
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
        yield _Unit(reads, g * t.bias + offset - closed * need, {d: sign * w for d, w in writes.items()})


def _put_units(weights: Weights, at: str, first: int, units: list[_Unit]) -> None:
    for i, unit in enumerate(units, start=first):
        for direction, weight in unit.reads.items():
            weights[at + "mlp.W_in"][direction, i] = weight
        weights[at + "mlp.b_in"][i] = unit.bias
        for direction, weight in unit.writes.items():
            weights[at + "mlp.W_out"][i, direction] = weight


def _check_size(
    lowered: Lowered, units: dict[str, list[_Unit]], placed: Schedule, d_model: int, d_head: int, d_mlp: int
) -> None:
    per_layer = 4 * placed.n_heads * d_model * d_head + 2 * d_model * d_mlp
    if (total := placed.n_layers * per_layer) <= MAX_PARAMETERS:
        return
    widest = max(lowered.variables.values(), key=lambda v: len(v.values))
    busiest = max(units, key=lambda n: len(units[n]), default="")
    raise CompileError(
        f"the model would have {total:,} parameters (at most {MAX_PARAMETERS:,}): d_model {d_model}, d_head {d_head}, "
        f"d_mlp {d_mlp}; the variable to blame is {widest.name!r} with {len(widest.values)} values"
        + (f", or {busiest!r} with {len(units[busiest])} hidden units" if busiest else "")
    )
