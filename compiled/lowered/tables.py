"""Tables over finite value sets, built once per distinct combination of values, never once per entry."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from numbers import Rational
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float, Int

from gaugeblock.compiled.lowered.selectors import Predicate, grid
from gaugeblock.programs.language.operations import apply, plain, value_key

UNREACHABLE = -1
"""Code of a table entry at which the function has no value (it raised): no input leads there."""


@final
@dataclass(frozen=True)
class Column:
    """Values over some grid: `values[codes]`, with code UNREACHABLE where there is none."""

    codes: Int[np.ndarray, "..."]
    values: tuple[Any, ...]


def ordered(values: Iterable[Any]) -> tuple[Any, ...]:
    """Distinct values: booleans, numbers ascending, then the rest by text, None last."""
    distinct = list({value_key(v): v for v in values}.values())

    def rank(v: Any) -> tuple[int, Any]:
        if isinstance(v, bool):
            return 0, int(v)
        if isinstance(v, (int, float, Fraction)):
            return 1, v
        return (3, "") if v is None else (2, f"{type(v).__name__}:{v!r}")

    return tuple(sorted(distinct, key=rank))


def elementwise(f: Callable[..., Any], columns: Sequence[Column]) -> Column:
    """f of the columns (broadcast together), called once per distinct combination of values."""
    codes = np.broadcast_arrays(*[c.codes for c in columns])
    flat = np.zeros(codes[0].shape, dtype=np.int64)
    reachable = np.ones(codes[0].shape, dtype=bool)
    for code, column in zip(codes, columns, strict=True):
        flat = flat * len(column.values) + np.maximum(code, 0)
        reachable &= code >= 0
    combinations, inverse = np.unique(flat, return_inverse=True)
    indices = np.unravel_index(combinations, [len(c.values) for c in columns])
    results = []
    for combination in zip(*indices, strict=True):
        try:
            operands = tuple(c.values[i] for c, i in zip(columns, combination, strict=True))
            results.append((True, apply(f, operands)))
        except Exception:  # not defined here: sound supersets of value sets hold combinations that never occur
            results.append((False, None))
    values = ordered(v for ok, v in results if ok)
    index = {value_key(v): i for i, v in enumerate(values)}
    lookup = np.array([index[value_key(v)] if ok else UNREACHABLE for ok, v in results], dtype=np.int64)
    return Column(np.where(reachable, lookup[inverse].reshape(flat.shape), UNREACHABLE), values)


def predicate_table(predicate: Predicate, keys: Column, queries: Column) -> Bool[np.ndarray, "key query"]:
    """Whether each key value is selected by each query value, for columns over their variables' codes."""
    table = grid(predicate, keys.values, queries.values)
    return table[keys.codes][:, queries.codes] & (keys.codes >= 0)[:, None] & (queries.codes >= 0)[None, :]


def smallest_gap(values: Sequence[Any], alone: float = 1.0) -> float:
    """The smallest distance of neighbours among ascending numbers; `alone` where there is only one."""
    return min((float(b) - float(a) for a, b in pairwise(values)), default=alone)


def line(values: Sequence[Any], amounts: Float[np.ndarray, " values"]) -> tuple[float, float]:
    """Slope and constant of amounts that are linear in ascending values; a slope of 0 where there is only one."""
    first, last = float(values[0]), float(values[-1])
    slope = float(amounts[-1] - amounts[0]) / (last - first) if last > first else 0.0
    return slope, float(amounts[0]) - slope * first


def sums(values: Sequence[Any], n: int, limit: int) -> list[Any] | None:
    """The sums of at most n of the values (with repetition), ascending; None if there may be more than `limit`."""
    scaled = _sums_by_size(values, n, limit)
    if scaled is None:
        return None
    scale, by_size = scaled
    return [plain(Fraction(s, scale)) for s in sorted(set().union({0}, *by_size))]


def means(values: Sequence[Any], n: int, limit: int) -> list[Any] | None:
    """The means of one to n of the values (with repetition), ascending; None if there may be more than `limit`."""
    scaled = _sums_by_size(values, n, limit)
    if scaled is None:
        return None
    scale, by_size = scaled
    distinct = {plain(Fraction(s, scale * m)) for m, reached in enumerate(by_size, start=1) for s in reached}
    return sorted(distinct) if len(distinct) <= limit else None


def _sums_by_size(values: Sequence[Any], n: int, limit: int) -> tuple[int, list[set[int]]] | None:
    """(scale, for m = 1..n the sums of exactly m values, times scale)."""
    exact = [Fraction(v) for v in values]
    scale = math.lcm(*(f.denominator for f in exact))
    integers = [int(f * scale) for f in exact]
    by_size = [set(integers)]
    while len(by_size) < n:
        by_size.append({a + b for a in by_size[-1] for b in integers})
        if len(by_size[-1]) > limit:
            return None
    return scale, by_size


def is_number(value: Any) -> bool:
    """Whether a sum or mean of such values makes sense."""
    return isinstance(value, (bool, Rational, float)) and value == value


def is_plain_number(value: Any) -> bool:
    """Whether it is a number other than True and False, which stay apart from 1 and 0."""
    return is_number(value) and not isinstance(value, bool)
