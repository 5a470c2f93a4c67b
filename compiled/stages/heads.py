"""Part of stage 6: the weights of one attention head."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from gaugeblock.compiled.lowered.operations import BOS, PRESENT, Attention, Lowered, Read, Variable
from gaugeblock.compiled.stages.layout import Layout

SCORE_GAP = 40.0
"""Smallest distance between two levels of attention scores; e^-40 is what leaks to the next level."""


@final
@dataclass(frozen=True)
class HeadWeights:
    """Queries and keys over the stream and a constant one (the bias, last row); values, and where they go."""

    q: Float[np.ndarray, "d_model_and_one dims"]
    k: Float[np.ndarray, "d_model_and_one dims"]
    v: Float[np.ndarray, "d_model moved"]
    o: Float[np.ndarray, "moved d_model"]


def step_of(op: Attention, gap: float = SCORE_GAP) -> float:
    """The amount that a condition adds to a score where it is met."""
    if op.ranking is not None:
        return gap * (int(op.ranking.levels.max()) + 2)
    return gap if op.counts_sink else 2 * gap


def head_weights(op: Attention, lowered: Lowered, where: Layout, gap: float = SCORE_GAP) -> HeadWeights:
    """The head of an operation, its levels of scores `gap` apart; scores are meant undivided by sqrt(d_head)."""
    d_model = len(where.labels)
    levels = 0 if op.ranking is None else int(op.ranking.levels.max())
    step = step_of(op, gap)
    full = step * len(op.conditions)
    if op.counts_sink:
        sink = full + math.log(op.sink)
    else:
        sink = full - (gap if op.ranking is not None else step / 2)
    queries, keys = [], []  # columns of length d_model + 1

    def column(entries: dict[int, float], bias: float = 0.0) -> np.ndarray:
        result = np.zeros(d_model + 1)
        for direction, value in entries.items():
            result[direction] += value
        result[-1] = bias
        return result

    # BOS: at its level for real queries, above everything for BOS and PAD queries
    above = sink + gap * (levels + 2)
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
        heights = {c: gap * float(level) for c, level in enumerate(op.ranking.levels)}
        keys.append(column(_feature(lowered.variables[op.ranking.variable], where, heights)))
        queries.append(column({}, 1.0))
    v, o = _moves(op, lowered, where)
    return HeadWeights(np.stack(queries, 1), np.stack(keys, 1), v, o)


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
    classes: dict[bytes, tuple[np.ndarray, list[int]]] = {}
    for i, row in enumerate(table):
        if row.any():
            classes.setdefault(row.tobytes(), (row, []))[1].append(i)
    return list(classes.values())


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

    def move(entries: dict[int, float], target: int, factor: float = 1.0) -> None:
        v, o = np.zeros(d_model), np.zeros(d_model)
        for direction, value in entries.items():
            v[direction] += value
        o[target] = factor
        values.append(v)
        writes.append(o)

    for read in op.reads:
        source, target = lowered.variables[read.source], where.directions[read.out]
        out = lowered.variables[read.out]
        if out.encoding == "onehot":
            for code in sorted({int(c) for c in read.mapping if c >= 0} | {read.default} - {None}):
                moves_to_code = {c: 1.0 for c, moved in enumerate(read.mapping) if moved == code}
                entries = _feature(source, where, moves_to_code)
                if read.default == code:
                    entries[bos] = entries.get(bos, 0.0) + 1.0
                move(entries, target[code])
            continue
        entries = _number(source, where, read)
        default = out.values[read.default] if read.kind == "get" and read.default is not None else read.default
        if default is not None:
            entries[bos] = entries.get(bos, 0.0) + float(default)
        move(entries, target[0], op.sink if op.counts_sink else 1.0)
    if op.counts_sink and lowered.variables[op.reads[0].out].encoding == "ratio":
        move({bos: 1.0}, where.directions[op.reads[0].out][1])
    return np.stack(values, 1), np.stack(writes, 0)


def _number(source: Variable, where: Layout, read: Read) -> dict[int, float]:
    """The number that is moved of a source, 0 in empty rows."""
    if source.encoding == "onehot":
        return _feature(source, where, {c: float(a) for c, a in enumerate(read.mapping) if a})
    entries = {where.directions[source.name][0]: 1.0}
    if source.empty is not None:
        entries[where.directions[BOS][0]] = -float(source.values[source.empty])
    return entries
