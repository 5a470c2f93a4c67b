"""The leaderboard: every method against every case of some folders of results, and the ranking that follows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import final

import numpy as np
from jaxtyping import Float

from gaugeblock.compiled.edges.graph import parse_edge
from gaugeblock.evaluation.ranking import node_stratum
from gaugeblock.evaluation.scores import SCORES, ScoreTable
from gaugeblock.leaderboard.entries import PLACE, Entries, Entry
from gaugeblock.leaderboard.folders import Contents, Source, read_folders
from gaugeblock.leaderboard.merging import merge
from gaugeblock.leaderboard.standings import rank_intervals, told_apart
from gaugeblock.metrics.bootstrap import Interval, mean_interval
from gaugeblock.results.records import CaseRecord, Result
from gaugeblock.submissions.verification import Verification

BOUNDS = (-1.0, 1.0)  # of skill
MATCHED = 0.5  # share of true edges with a comparator from which on a case counts: from a few, skill is luck


@final
@dataclass(frozen=True)
class Track:
    """What methods are ranked by. `score` is one of `gaugeblock.evaluation.scores.SCORES`; chance is 0, the best 1."""

    name: ScoreTable
    title: str
    score: str
    about: str


TRACKS = (
    Track("edges", "Edges", "skill", "Which edges carry the computation: each true edge against false ones beside it."),
    Track("nodes", "Nodes", "node_skill", "Which heads and MLPs do: an edge method's scores are pooled to nodes."),
)
"""The tracks in the order of the page; a further granularity of truth is one line more."""


@final
@dataclass(frozen=True)
class Cell:
    """A method on a case: its results, one per seed."""

    method: str
    case: CaseRecord
    results: tuple[Entry, ...]

    @cached_property
    def ok(self) -> tuple[Entry, ...]:
        return tuple(r for r in self.results if r.ok)

    @cached_property
    def failed(self) -> tuple[Entry, ...]:
        return tuple(r for r in self.results if not r.ok)

    @property
    def missing(self) -> str:
        """Why a score is missing; "" where none is."""
        if not self.results:
            return "not run"
        return "; ".join(dict.fromkeys(f"{r.status}: {r.error}" for r in self.failed))

    @cached_property
    def values(self) -> Float[np.ndarray, " scores"]:
        """Means over seeds, in the order of `SCORES`; NaN where no seed has the score."""
        if len(self.ok) == 1:
            return self.ok[0].values
        return _column_means(np.array([r.values for r in self.ok]).reshape(len(self.ok), len(SCORES)))

    def score(self, name: str) -> float | None:
        """Mean over seeds; None where no seed has it."""
        value = float(self.values[PLACE[name]])
        return None if np.isnan(value) else value

    def cost(self, name: str) -> float | None:
        """ "seconds", "forwards", "backwards", "passes" or "memory": mean over seeds."""
        return mean([getattr(r, name) for r in self.ok])


@final
@dataclass(frozen=True)
class Standing:
    """A method's line on a track: means over cases. Controls, and methods with missing cases, have no rank.

    Attributes:
        counts: for each cell whether its case counts in the mean skill.
        skill: the mean of the track's score; None where there is none.
        rank: shared with the leader of a group as long as the two cannot be told apart, see
            `gaugeblock.leaderboard.standings.told_apart`.
        ranks: 95 % interval of the rank, see `gaugeblock.leaderboard.standings.rank_intervals`; None with one program.
    """

    track: Track
    method: str
    cells: tuple[Cell, ...]
    counts: tuple[bool, ...]
    skill: Interval | None
    rank: int | None = None
    ranks: tuple[int, int] | None = None

    def mean(self, name: str) -> float | None:
        """Mean of a score over all cases that have it; None where none has."""
        value = float(self._means[PLACE[name]])
        return None if np.isnan(value) else value

    @cached_property
    def _means(self) -> Float[np.ndarray, " scores"]:
        return _column_means(np.array([cell.values for cell in self.cells]).reshape(len(self.cells), len(SCORES)))

    def cost(self, name: str) -> float | None:
        """Mean of a cost over cases; see `Cell.cost`."""
        return mean([cell.cost(name) for cell in self.cells])

    def on(self, mode: str) -> float | None:
        """Mean skill on the cases of a failure mode, of those that count."""
        cells = zip(self.cells, self.counts)
        return mean([c.score(self.track.score) for c, counts in cells if counts and mode in c.case.modes])

    @cached_property
    def values(self) -> Float[np.ndarray, " cases"]:
        """The track's score on each case, NaN where there is none."""
        return np.array([cell.values[PLACE[self.track.score]] for cell in self.cells])

    @property
    def averaged(self) -> int:
        """In how many of the cases that count the method has the track's score: those its mean skill rests on."""
        return int((np.isfinite(self.values) & np.array(self.counts, dtype=bool)).sum())

    @property
    def errors(self) -> int:
        return sum(len(cell.failed) for cell in self.cells)

    @property
    def done(self) -> int:
        return sum(bool(cell.ok) for cell in self.cells)

    @cached_property
    def control(self) -> bool:
        return any(r.control for cell in self.cells for r in cell.results)

    @cached_property
    def lacks(self) -> tuple[tuple[Cell, str], ...]:
        """Cells that keep the method from a rank, and why."""
        score = self.track.score
        reasons = [
            (c, c.missing or ("" if not counts or c.score(score) is not None else f"its result has no {score}"))
            for c, counts in zip(self.cells, self.counts)
        ]
        return tuple((cell, reason) for cell, reason in reasons if reason)

    @property
    def incomplete(self) -> bool:
        return bool(self.lacks)


@final
@dataclass(frozen=True)
class Leaderboard:
    """What some folders of results say.

    Attributes:
        cases: in a fixed order; one per case and ablation.
        tracks: by the name of each track that has results: complete methods by mean skill, then incomplete ones.
        notes: what was left out and why.
        sources: the folders it was read from.
        failed: all jobs in them that failed, also those of a case that has no record.
    """

    cases: tuple[CaseRecord, ...]
    tracks: Mapping[str, tuple[Standing, ...]]
    notes: tuple[str, ...]
    sources: tuple[Source, ...]
    failed: tuple[Entry, ...]

    @property
    def rows(self) -> tuple[Standing, ...]:
        """The track of edges."""
        return self.tracks["edges"]

    @cached_property
    def unmatched(self) -> tuple[CaseRecord, ...]:
        """Cases in which too few true edges have a comparator; they are left out of the mean skill."""
        return tuple(c for c in self.cases if not is_matched(c))

    @cached_property
    def modes(self) -> dict[str, int]:
        """Failure modes and in how many cases that count they occur."""
        modes = sorted({mode for case in self.cases for mode in case.modes})
        return {mode: sum(mode in case.modes and is_matched(case) for case in self.cases) for mode in modes}

    @cached_property
    def several_ablations(self) -> bool:
        return len({c.ablation for c in self.cases}) > 1

    def title(self, case: CaseRecord) -> str:
        """The case's id, with its ablation where there are several."""
        return f"{case.id} · {case.ablation}" if self.several_ablations else case.id


def is_matched(case: CaseRecord, track: str = "edges") -> bool:
    """Whether enough true edges, or nodes, have a comparator for the case to count in the mean skill."""
    return (case.comparators if track == "edges" else node_comparators(case)) >= MATCHED


def node_comparators(case: CaseRecord) -> float:
    """Share of the nodes behind true edges with an unused node of their kind and layer."""
    true = {parse_edge(edge)[0] for edge in case.positives}
    unused = {parse_edge(edge)[0] for edge in case.negatives} - true - {parse_edge(e)[0] for e in case.ignored}
    places = {node_stratum(node) for node in unused}
    return sum(node_stratum(node) in places for node in true) / len(true) if true else 0.0


def read_leaderboard(*folders: str | Path, verifications: Sequence[Verification] = ()) -> Leaderboard:
    """Read the leaderboard of some folders of results. What cannot be read, or is of other cases, is left out with a
    note, and so are submissions that one of your `verifications` refuses; all others say what these have established.

    `gaugeblock.leaderboard.merging` says which results meet. Raises FileError where the folders hold no results at all.

    >>> from tempfile import TemporaryDirectory
    >>> from gaugeblock.results import Result, result_path, write_json
    >>> with TemporaryDirectory() as out:
    ...     failed = Result(status="error", method="mine", case="sort", ablation="resample", seed=0, error="no luck")
    ...     write_json(result_path(out, "mine", "sort", "resample", 0), failed)
    ...     read_leaderboard(out).notes
    ('left out: case sort (resample): no luck (1 result)',)
    """
    return _leaderboard(read_folders(folders, verifications))


def leaderboard(cases: Iterable[CaseRecord], results: Iterable[Result], notes: Sequence[str] = ()) -> Leaderboard:
    """Make the leaderboard of records in memory."""
    cases = tuple(cases)
    make = Entries(cases)
    return _leaderboard(Contents((), cases, tuple(make.of(result) for result in results), tuple(notes)))


def _leaderboard(contents: Contents) -> Leaderboard:
    merged = merge(contents.cases, contents.entries, contents.notes)
    methods = dict.fromkeys(key[0] for key in merged.entries)
    lines = {
        method: tuple(Cell(method, c, merged.entries.get((method, c.id, c.ablation), ())) for c in merged.cases)
        for method in methods
    }
    tracks: dict[str, tuple[Standing, ...]] = {track.name: _rows(track, lines) for track in TRACKS}
    used = {name: rows for name, rows in tracks.items() if name == "edges" or any(row.skill for row in rows)}
    failed = tuple(entry for entry in contents.entries if not entry.ok)
    return Leaderboard(merged.cases, used, merged.notes, contents.sources, failed)


def _rows(track: Track, lines: Mapping[str, tuple[Cell, ...]]) -> tuple[Standing, ...]:
    """Complete methods by mean skill, with their ranks, then incomplete ones."""
    columns = zip(*lines.values())
    counts = tuple(
        is_matched(column[0].case, track.name) and any(cell.score(track.score) is not None for cell in column)
        for column in columns
    )
    rows = []
    for method, cells in lines.items():
        known = [
            (v, c.case.program)
            for c, counted in zip(cells, counts)
            if counted and (v := c.score(track.score)) is not None
        ]
        skill = mean_interval(np.array([v for v, _ in known]), [p for _, p in known], bounds=BOUNDS) if known else None
        rows.append(Standing(track, method, cells, counts, skill))
    rows.sort(key=lambda r: (r.incomplete, -(r.skill.estimate if r.skill else -2.0), r.method))
    return tuple(_ranked(rows))


def _ranked(rows: Sequence[Standing]) -> list[Standing]:
    """The same lines with ranks; a method shares the rank of the leader of a group it cannot be told from."""
    entered = [row for row in rows if row.skill is not None and not row.incomplete and not row.control]
    if not entered:
        return list(rows)
    counts = np.array(entered[0].counts)
    programs = [c.case.program for c, counted in zip(entered[0].cells, counts) if counted]
    values = np.array([row.values for row in entered])[:, counts]
    ranked: dict[str, Standing] = {}
    apart, leader = told_apart(values, programs), 0
    for i, (row, ranks) in enumerate(zip(entered, rank_intervals(values, programs))):
        leader = i if apart[leader, i] else leader
        ranked[row.method] = replace(row, rank=leader + 1, ranks=ranks)
    return [ranked.get(row.method, row) for row in rows]


def _column_means(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " columns"]:
    """Means of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known; None where none is.

    >>> mean([1.0, None, 2.0])
    1.5
    """
    known = [v for v in values if v is not None]
    return fmean(known) if known else None
