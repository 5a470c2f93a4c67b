"""The leaderboard: every result of a folder against every case in it, and the ranking that follows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gaugeblock.metrics.bootstrap import Interval, mean_interval, paired_interval
from gaugeblock.programs.errors import FileError
from gaugeblock.results import CaseRecord, Result, case_paths, read_case, read_result, result_paths

COLUMNS = ("auprc", "precision_at_size", "cpr", "cmd")
MATCHED = 0.5  # share of true edges with a comparator from which on a case counts: from a few, skill is luck


@dataclass(frozen=True)
class Cell:
    """A method on a case: its results, one per seed."""

    method: str
    case: CaseRecord
    results: tuple[Result, ...]

    @property
    def ok(self) -> tuple[Result, ...]:
        return tuple(r for r in self.results if r.status == "ok")

    @property
    def failed(self) -> tuple[Result, ...]:
        return tuple(r for r in self.results if r.status != "ok")

    @property
    def missing(self) -> str:
        """Why a score is missing; "" where none is."""
        if not self.results:
            return "not run"
        return "; ".join(dict.fromkeys(f"{r.status}: {r.error}" for r in self.failed))

    def score(self, name: str) -> float | None:
        """Mean over seeds; None where no seed has it."""
        values = [v for r in self.ok if (v := r.scores.get(name)) is not None]
        return fmean(values) if values else None

    @property
    def seconds(self) -> float | None:
        values = [r.seconds for r in self.ok if r.seconds is not None]
        return fmean(values) if values else None


@dataclass(frozen=True)
class Row:
    """A method's line: means over cases. Controls, and methods with missing cases, have no rank.

    `rank` is shared with the method above as long as the paired interval of their difference contains 0.
    """

    method: str
    cells: tuple[Cell, ...]
    skill: Interval | None
    rank: int | None = None

    def mean(self, name: str) -> float | None:
        values = [v for cell in self.cells if (v := cell.score(name)) is not None]
        return fmean(values) if values else None

    @property
    def seconds(self) -> float | None:
        values = [v for cell in self.cells if (v := cell.seconds) is not None]
        return fmean(values) if values else None

    @property
    def errors(self) -> int:
        return sum(len(cell.failed) for cell in self.cells)

    @property
    def done(self) -> int:
        return sum(bool(cell.ok) for cell in self.cells)

    @property
    def control(self) -> bool:
        return any(r.control for cell in self.cells for r in cell.results)

    @property
    def incomplete(self) -> bool:
        return any(cell.missing for cell in self.cells)


@dataclass(frozen=True)
class Leaderboard:
    """What a results folder says.

    Attributes:
        cases: in a fixed order; one per case and ablation.
        rows: complete methods by mean skill, then incomplete ones.
        notes: what was left out and why.
    """

    cases: tuple[CaseRecord, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @cached_property
    def unmatched(self) -> tuple[CaseRecord, ...]:
        """Cases in which too few true edges have a comparator; they are left out of the mean skill."""
        return tuple(c for c in self.cases if not is_matched(c))

    def title(self, case: CaseRecord) -> str:
        """The case's id, with its ablation where the folder has several."""
        return case.id if len({c.ablation for c in self.cases}) == 1 else f"{case.id} · {case.ablation}"

    @property
    def failed(self) -> tuple[Result, ...]:
        return tuple(r for row in self.rows for cell in row.cells for r in cell.failed)


def is_matched(case: CaseRecord) -> bool:
    """Whether enough true edges have a comparator for the case to count in the mean skill."""
    return case.comparators >= MATCHED


def read_leaderboard(folder: str | Path) -> Leaderboard:
    """The leaderboard of a results folder. Damaged files and results of other cases are left out with a note.

    Raises FileError where the folder holds no results at all.
    """
    notes: list[str] = []
    cases: list[CaseRecord] = []
    results: list[Result] = []
    for path in case_paths(folder):
        try:
            cases.append(read_case(path))
        except FileError as e:
            notes.append(f"left out: {e}")
    for path in result_paths(folder):
        try:
            results.append(read_result(path))
        except FileError as e:
            notes.append(f"left out: {e}")
    if not cases and not results:
        raise FileError(f"{folder} holds no results; `gaugeblock run --out {folder}` writes some")
    return leaderboard(cases, results, notes)


def leaderboard(cases: Iterable[CaseRecord], results: Iterable[Result], notes: Sequence[str] = ()) -> Leaderboard:
    """The leaderboard of these records."""
    notes = list(notes)
    cases = sorted(cases, key=lambda c: (c.ablation, c.program, len(c.id), c.id))
    by_key = {(c.id, c.ablation): c for c in cases}
    cells: dict[tuple[str, str, str], list[Result]] = {}
    orphans: dict[str, list[Result]] = {}
    for result in results:
        case = by_key.get((result.case, result.ablation))
        where = f"{result.method} on {result.case} ({result.ablation}, seed {result.seed})"
        if case is None:
            reason = result.error or "it has no record in this folder"
            orphans.setdefault(f"left out: case {result.case} ({result.ablation}): {reason}", []).append(result)
        elif result.status == "ok" and result.case_hash != case.hash:
            notes.append(f"left out: {where}: it is of another version of the case ({result.case_hash})")
        else:
            cells.setdefault((result.method, result.case, result.ablation), []).append(result)
    notes += [f"{note} ({len(left_out)} results)" for note, left_out in orphans.items()]

    rows = []
    for method in dict.fromkeys(key[0] for key in cells):
        row = [Cell(method, c, tuple(cells.get((method, c.id, c.ablation), ()))) for c in cases]
        rows.append(Row(method, tuple(row), _mean_skill(row)))
    rows.sort(key=lambda r: (r.incomplete, -(r.skill.estimate if r.skill else -2.0), r.method))
    return Leaderboard(tuple(cases), tuple(_ranked(rows)), tuple(notes))


def _skills(cells: Iterable[Cell]) -> tuple[list[float], list[str]]:
    """Skills on the cases that count, and the program of each."""
    found = [(v, c.case.program) for c in cells if is_matched(c.case) and (v := c.score("skill")) is not None]
    return [v for v, _ in found], [p for _, p in found]


def _mean_skill(cells: Sequence[Cell]) -> Interval | None:
    values, programs = _skills(cells)
    return mean_interval(np.array(values), programs) if values else None


def _ranked(rows: Sequence[Row]) -> list[Row]:
    """Ranks in place of None; a method shares the rank of the leader of a group it cannot be told from."""
    ranked: list[Row] = []
    leader: Row | None = None
    place = 0
    for row in rows:
        if row.skill is None or row.incomplete or row.control:
            ranked.append(row)
            continue
        place += 1
        if leader is None or _differ(leader, row):
            leader = replace(row, rank=place)
        ranked.append(replace(row, rank=leader.rank))
    return ranked


def _differ(first: Row, second: Row) -> bool:
    (a, programs), (b, _) = _skills(first.cells), _skills(second.cells)
    if len(a) != len(b):
        return True
    difference = paired_interval(np.array(a), np.array(b), programs)
    return difference.estimate != 0 and (difference.low is None or difference.low > 0)


def terminal_table(board: Leaderboard) -> Table:
    """The ranking for a terminal of 100 columns. What was left out stands below it."""
    table = Table(
        title="gaugeblock leaderboard",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),  # all columns fit a terminal of 100
        title_justify="left",
        title_style="bold",
        caption_justify="left",
    )
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("method", overflow="ellipsis", no_wrap=True, max_width=26)
    for name in ("skill", "95 % interval", "AUPRC", "prec.", "CPR", "CMD", "sec.", "cases"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in board.rows:
        table.add_row(
            "" if row.control else "–" if row.rank is None else str(row.rank),
            Text(row.method, style="italic" if row.control else ""),
            number(row.skill.estimate if row.skill else None),
            interval_text(row.skill),
            *(number(row.mean(name)) for name in COLUMNS),
            number(row.seconds),
            f"{row.done}/{len(row.cells)}",
        )
    table.caption = Text("\n".join(captions(board)))  # Text: nothing in it is markup
    return table


def captions(board: Leaderboard) -> list[str]:
    """What a reader of the ranking must know, line by line."""
    lines = ["Skill: chance 0, best 1. Methods of one rank cannot be told apart (paired 95 % intervals)."]
    if len({c.program for c in board.cases if is_matched(c)}) < 2:
        lines = ["Skill: chance 0, best 1. With one program there is no interval, and ranks may be luck."]
    if controls := [row.method for row in board.rows if row.control]:
        lines.append(f"Controls, for comparison, have no rank: {', '.join(controls)}.")
    if board.unmatched:
        lines.append(
            f"The mean skill leaves out {len(board.unmatched)} of {len(board.cases)} cases, in which most true edges "
            "have no false edge in the same place."
        )
    uncertified = [board.title(c) for c in board.cases if not c.certified]
    if uncertified:
        lines.append(f"NOT CERTIFIED: {', '.join(uncertified)}")
    elif board.cases:
        lines.append(f"Certified: all {len(board.cases)} cases.")
    for row in board.rows:
        if row.incomplete:
            rank = "" if row.control else "no rank; "
            reasons = [f"{board.title(cell.case)}: {cell.missing}" for cell in row.cells if cell.missing]
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            lines.append(f"{row.method}: {rank}{reasons[0]}{more}")
    return [*lines, *board.notes]


def number(value: float | None) -> str:
    """Two decimals with a true minus sign, "–" for none."""
    if value is None:
        return "–"
    text = f"{value:.2f}" if abs(value) < 1000 else f"{value:.0f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def interval_text(interval: Interval | None) -> str:
    """ "0.31 to 0.87", or "–" where one program leaves no spread to see."""
    if interval is None or interval.low is None or interval.high is None:
        return "–"
    return f"{number(interval.low)} to {number(interval.high)}"
