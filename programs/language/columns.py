"""Columns of values: an integer code for each input and position, and the distinct values that the codes stand for."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Int

from gaugeblock.programs.language.operations import Value, plain, value_signature


@final
@dataclass(frozen=True)
class CodedValues:
    """One value per input and position: `values[codes[i, p]]`; the code past the end of an input is -1.

    `values` are distinct (True is not 1) and all of them occur.
    """

    codes: Int[np.ndarray, "batch pos"]
    values: tuple[Value, ...]


class Gathered:
    """A column put together from blocks."""

    def __init__(self, batch: int, length: int) -> None:
        self.codes = np.full((batch, length), -1)
        self.distinct = _DistinctValues()

    def add(self, rows: list[int], column: CodedValues) -> None:
        new = list(map(self.distinct.code, column.values))
        self.codes[rows, : column.codes.shape[1]] = np.array(new)[column.codes]

    def column(self) -> CodedValues:
        return CodedValues(self.codes, tuple(self.distinct.values))


class _DistinctValues:
    """Values in the order in which they came, each once, and their codes."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._codes: dict[Any, int] = {}

    def code(self, value: Value) -> int:
        code = self._codes.setdefault(value_signature(value), len(self.values))
        if code == len(self.values):
            self.values.append(value)
        return code


def combinations(codes: list[np.ndarray], sizes: list[int]) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """The distinct combinations of codes that occur, and which of them stands where."""
    shape = np.broadcast_shapes(*(c.shape for c in codes))
    size = math.prod(sizes)
    if size >= 2**62 or len(sizes) > 64:  # more than numpy can count in one number, or has axes for
        flat = np.stack([np.broadcast_to(c, shape).ravel() for c in codes], axis=1)
        rows, ids = np.unique(flat, axis=0, return_inverse=True)
        return [tuple(row) for row in rows.tolist()], ids.reshape(shape)
    mixed = np.zeros(shape, dtype=np.int64)
    for c, s in zip(codes, sizes, strict=True):
        mixed = mixed * s + c
    if size <= max(4096, 2 * mixed.size):  # a table is faster than sorting
        occurs = np.zeros(size, dtype=bool)
        occurs[mixed] = True
        occurring, ids = np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[mixed]
    else:
        occurring, ids = np.unique(mixed, return_inverse=True)
        ids = ids.reshape(shape)
    return list(zip(*(a.tolist() for a in np.unravel_index(occurring, sizes)), strict=True)), ids


def coded(rows: Iterable[Sequence[Any]]) -> CodedValues:
    """Rows of values of one length as a column."""
    distinct = _DistinctValues()
    codes = [[distinct.code(plain(v)) for v in row] for row in rows]
    return CodedValues(np.array(codes), tuple(distinct.values))


def looked_up(ids: np.ndarray, values: Sequence[Any]) -> CodedValues:
    """values[ids], where values may repeat and need not all occur."""
    distinct = _DistinctValues()
    codes = np.array(list(map(distinct.code, values)))
    occurring, ids = combinations([codes[ids]], [len(distinct.values)])
    return CodedValues(ids, tuple(distinct.values[i] for (i,) in occurring))
