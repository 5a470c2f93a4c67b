"""Tables: the values that some s-ops take together at each position, and whether they tell positions apart."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from gaugeblock.programs.language.operations import value_signature

MAX_PAIRS_COMPARED: Final = 100_000
"""Positions are not told apart where more pairs of rows would have to be compared."""


@final
@dataclass(frozen=True)
class TableRow:
    """One line of a table: at `position`, when the variables have certain values, the s-ops have `values`.

    Attributes:
        shared: values of those variables that are the same at all positions of an input.
        ranks: values of those variables that differ between any two positions of an input.
    """

    position: int
    shared: tuple[Any, ...]
    ranks: tuple[Any, ...]
    values: tuple[Any, ...]


@final
class ValueTable:
    """Rows for each input length, listed when they are first asked for: most questions are answered by short inputs."""

    def __init__(self, lengths: range, rows: Callable[[int], Iterable[TableRow]]) -> None:
        self.lengths = lengths
        self._list = rows
        self._rows: dict[int, list[TableRow]] = {}

    def __getitem__(self, n: int) -> list[TableRow]:
        if n not in self._rows:
            self._rows[n] = list(self._list(n))
        return self._rows[n]


def separate(
    table: ValueTable,
    by: Callable[[TableRow], Any],
    what: Callable[[TableRow], Any],
    may_be_first: Callable[[int, TableRow], bool] = lambda n, row: True,
    may_be_second: Callable[[int, TableRow], bool] = lambda n, row: True,
) -> bool:
    """Whether any two positions of an input that are equal in `by` are certain to be equal in `what`.

    Only pairs of a position that may be first and one that may be second count.
    """
    for n in table.lengths:
        groups: dict[Any, tuple[list[TableRow], list[TableRow]]] = {}
        for row in table[n]:
            first, second = groups.setdefault((row.shared, by(row)), ([], []))
            if may_be_first(n, row):
                first.append(row)
            if may_be_second(n, row):
                second.append(row)
        for first, second in groups.values():
            if not first or not second or _one_value(map(what, first + second)) or _one_position(first + second):
                continue
            if len(first) * len(second) > MAX_PAIRS_COMPARED:
                return False
            if any(_conflict(a, b, what) for a, b in itertools.product(first, second)):
                return False
    return True


def certain_values(rows: list[TableRow]) -> set[Any]:
    """The values that an s-op is certain to have somewhere in every input, given its rows for one length."""
    groups: dict[Any, dict[Any, set[Any]]] = {}  # by what is the same everywhere, then by rank
    for row in rows:
        if len(row.ranks) != 1:
            return set()
        groups.setdefault(row.shared, {}).setdefault(row.ranks, set()).update(row.values)
    certain = [{v for values in by_rank.values() if len(values) == 1 for v in values} for by_rank in groups.values()]
    return set.intersection(*certain) if certain else set()


def _conflict(a: TableRow, b: TableRow, what: Callable[[TableRow], Any]) -> bool:
    if a.position == b.position or any(r == s for r, s in zip(a.ranks, b.ranks, strict=True)):
        return False
    return not _one_value((what(a), what(b)))


def _one_value(values: Iterable[Any]) -> bool:
    """Whether all are equal; what nan is part of is not."""
    different = set(values)
    return len(different) == 1 and not any(map(_has_nan, different))


def _one_position(rows: list[TableRow]) -> bool:
    """Whether all rows are of one position, because of its number or a rank that they share."""
    keys = zip(*((row.position, *row.ranks) for row in rows), strict=True)
    return any(len(set(values)) == 1 for values in keys)


def identical(values: Sequence[Any]) -> bool:
    """Whether all are one value, also to functions that look at types."""
    return _one_value(values) and len(set(map(value_signature, values))) == 1


def one_nan(value: Any) -> Any:
    """The value with the same object for every nan, so that scores that tie are equal."""
    if not _has_nan(value):
        return value
    return tuple(map(one_nan, value)) if isinstance(value, tuple) else math.nan


def _has_nan(value: Any) -> bool:
    return any(map(_has_nan, value)) if isinstance(value, tuple) else value != value
