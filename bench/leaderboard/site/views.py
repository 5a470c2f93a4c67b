"""What the pages of the site show, as plain data for its templates."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any, Final, final
from urllib.parse import quote

import numpy as np
from jaxtyping import Float

from gaugeblock.evaluation.scores import scores_of
from gaugeblock.leaderboard.board import Cell, Leaderboard, Standing, is_matched, mean
from gaugeblock.leaderboard.folders import Source
from gaugeblock.leaderboard.site.names import short, slugs
from gaugeblock.leaderboard.site.plots import Scale, cost_plot
from gaugeblock.leaderboard.tables import rests_on
from gaugeblock.results.records import CaseRecord

LARGEST_MATRIX: Final = 5000
"""Cells of the table of all methods and cases; with more, a column is a program."""
MOST_NOTES: Final = 50
MOST_NEIGHBOURS: Final = 4


@final
@dataclass(frozen=True)
class Links:
    """Where the pages of methods and cases are, from the root of the site; the same part is the anchor of their row."""

    methods: Mapping[str, str]
    cases: Mapping[tuple[str, str], str]

    @staticmethod
    def of(board: Leaderboard) -> "Links":
        names = {(c.id, c.ablation): f"{c.id}.{c.ablation}" for c in board.cases}
        files = slugs(names.values())
        return Links(slugs(row.method for row in board.rows), {key: files[name] for key, name in names.items()})

    def method(self, method: str) -> str:
        return f"methods/{self.methods[method]}.html"

    def case(self, case: CaseRecord, method: str | None = None) -> str:
        """The page of a case, with what a method found in it if one is given."""
        page = f"cases/{self.cases[case.id, case.ablation]}.html"
        return page if method is None else f"{page}#circuit={quote(method, safe='')}"

    @staticmethod
    def compare(first: str, second: str, track: str) -> str:
        return f"compare.html#a={quote(first, safe='')}&b={quote(second, safe='')}&track={track}"


def index(board: Leaderboard, links: Links) -> dict[str, Any]:
    """Return what the entry shows: the ranking of each track, costs, failure modes, all cases."""
    hrefs = {row.method: links.method(row.method) for row in board.rows}
    ordered = _controls_first(board.rows)
    return {
        "tracks": [_ranking(rows, links) for rows in board.tracks.values()],
        "plots": [
            plot
            for cost, axis in (("seconds", "seconds"), ("passes", "forward + 2 × backward passes"))
            if (plot := cost_plot(board.rows, cost, axis, hrefs)) is not None
        ],
        "modes": {
            "titles": board.modes,
            "groups": [[(_named(row, links), [heat(row.on(m)) for m in board.modes]) for row in g] for g in ordered],
        },
        "matrix": _matrix(board, links, ordered),
        "cases": [_case_line(board, links, i, case) for i, case in enumerate(board.cases)],
        "lacking": [
            {"method": row.method, "href": links.method(row.method), "n": len(row.lacks), "control": row.control}
            | {"first": f"{board.title(row.lacks[0][0].case)}: {row.lacks[0][1]}"}
            for row in board.rows
            if row.lacks
        ],
        "notes": board.notes[:MOST_NOTES],
        "more_notes": max(0, len(board.notes) - MOST_NOTES),
        "submissions": [s for s in board.sources if s.submission is not None],
        "submitted": {row.method: sources for row in board.rows if (sources := _submitted(board, row))},
        "unmatched": len(board.unmatched),
        "rests_on": rests_on(board),
        "uncertified": [board.title(c) for c in board.cases if not c.certified],
        "one_program": len({c.program for c in board.cases if is_matched(c)}) < 2,
    }


def _submitted(board: Leaderboard, row: Standing) -> list[Source]:
    """The submissions that the results of a method are from."""
    folders = {entry.folder for cell in row.cells for entry in cell.results}
    return [source for source in board.sources if source.submission is not None and source.name in folders]


def _named(row: Standing, links: Links) -> dict[str, Any]:
    return {
        "name": row.method,
        "short": short(row.method),
        "slug": links.methods[row.method],
        "href": links.method(row.method),
        "control": row.control,
    }


def _controls_first(rows: Sequence[Standing]) -> list[list[Standing]]:
    """Two groups: floors and ceilings, which stay in view above, and the rest."""
    return [group for control in (True, False) if (group := [row for row in rows if row.control == control])]


def _ranking(rows: Sequence[Standing], links: Links) -> dict[str, Any]:
    scale = Scale.of([row.skill for row in rows])
    lines, last = [], None
    for row in rows:
        lines.append(
            _named(row, links)
            | {
                "row": row,
                "plot": None if row.skill is None else scale.interval(row.skill),
                "new_rank": row.rank is not None and last is not None and row.rank != last,
                "reason": f"{row.lacks[0][0].case.id}: {row.lacks[0][1]}" if row.lacks else "",
                "columns": [row.mean(score.name) for score in scores_of(row.track.name)],
            }
        )
        last = row.rank if row.rank is not None else last
    track = rows[0].track if rows else None
    return {
        "track": track,
        "columns": scores_of(track.name) if track else [],
        "lines": lines,
        "scale": scale_marks(scale, rows),
    }


def scale_marks(scale: Scale, rows: Iterable[Standing]) -> dict[str, Any]:
    """Chance, the best, and every control, on the line of all intervals."""
    floors = [(row.method, row.skill.estimate) for row in rows if row.control and row.skill is not None]
    return {
        "chance": scale.at(0.0),
        "best": scale.at(1.0),
        "floors": [{"at": scale.at(v), "name": short(name, 24), "value": v} for name, v in floors],
    }


def in_two(board: Leaderboard, case: CaseRecord) -> tuple[str, str]:
    """The title of a case: its program, and the rest."""
    program, _, variant = board.title(case).partition("/")
    return short(program), short(variant)


def heat(value: float | None, reason: str = "", mark: str = "") -> dict[str, Any]:
    """A number with a colour, or a reason why there is none."""
    depth = 0.0 if value is None else round(min(abs(value), 1.0), 2)
    return {"value": value, "depth": depth, "below": (value or 0) < 0, "reason": reason, "mark": mark}


def _matrix(board: Leaderboard, links: Links, ordered: Sequence[Sequence[Standing]]) -> dict[str, Any]:
    """Skill of every method on every case, or on every program where there are too many cases."""
    by_program = len(board.rows) * len(board.cases) > LARGEST_MATRIX
    key = (lambda i: board.cases[i].program) if by_program else (lambda i: i)
    columns = [list(group) for _, group in groupby(sorted(range(len(board.cases)), key=key), key=key)]
    titles: list[dict[str, Any]] = []
    for column in columns:
        case = board.cases[column[0]]
        program, variant = in_two(board, case)
        titles.append(
            {"program": short(case.program), "variant": f"{len(column)} cases", "href": None}
            if by_program
            else {"program": program, "variant": variant or "plain", "href": links.case(case)}
        )
        titles[-1]["matched"] = any(is_matched(board.cases[i]) for i in column)
    groups = [
        [(_named(row, links), [_matrix_cell([row.cells[i] for i in column]) for column in columns]) for row in group]
        for group in ordered
    ]
    return {"titles": titles, "groups": groups, "by_program": by_program}


def _matrix_cell(cells: Sequence[Cell]) -> dict[str, Any]:
    value = mean([cell.score("skill") for cell in cells])
    reasons = [cell.missing for cell in cells if cell.missing]
    word = next((cell.failed[0].status for cell in cells if cell.failed), "not run" if reasons else "undefined")
    return heat(value, short(reasons[0], 300) if reasons else "", "*" if reasons and value is not None else "") | {
        "word": word
    }


def _case_line(board: Leaderboard, links: Links, index: int, case: CaseRecord) -> dict[str, Any]:
    cells = [row.cells[index] for row in board.rows if not row.control]
    skills = [v for cell in cells if (v := cell.score("skill")) is not None]
    return {
        "title": short(board.title(case)),
        "slug": links.cases[case.id, case.ablation],
        "href": links.case(case),
        "case": case,
        "matched": is_matched(case),
        "best": heat(max(skills, default=None)),
        "median": heat(median(skills) if skills else None),
        "missing": sum(bool(cell.missing) for cell in cells),
    }


def method(board: Leaderboard, links: Links, name: str) -> dict[str, Any]:
    """Return what a method's page shows: where it stands, its costs, and each case beside what others do there."""
    on_tracks = [row for rows in board.tracks.values() for row in rows if row.method == name]
    row = next(r for r in on_tracks if r.track.name == "edges")
    others = [r for r in board.rows if not r.control and r.method != name]
    rivals = np.array([r.values for r in others]).reshape(len(others), len(board.cases))
    scale = Scale.of([r.skill for r in board.rows])
    entries = [entry for cell in row.cells for entry in cell.ok]
    identity = json.loads(entries[0].identity) if entries else [None, {}]
    return _named(row, links) | {
        "row": row,
        "tracks": [(r, scale.interval(r.skill) if r.skill else None) for r in on_tracks],
        "scale": scale_marks(scale, board.rows),
        "params": [(k, short(json.dumps(v, ensure_ascii=False), 120)) for k, v in identity[1].items()],
        "source": identity[0],
        "submitted": _submitted(board, row),
        "folders": list(dict.fromkeys(entry.folder for entry in entries)),
        "modes": [(mode, n, heat(row.on(mode))) for mode, n in board.modes.items()],
        "columns": scores_of("method"),
        "cases": [_on_case(board, links, i, row, rivals[:, i]) for i in range(len(board.cases))],
        "neighbours": [(short(r.method), links.compare(name, r.method, "edges")) for r in _neighbours(row, others)],
        "versions": versions(board, entries),
    }


def _neighbours(row: Standing, others: Sequence[Standing]) -> list[Standing]:
    """The other methods that are nearest in skill."""
    here = row.skill.estimate if row.skill else 0.0
    return sorted((r for r in others if r.skill), key=lambda r: abs((r.skill.estimate if r.skill else 0.0) - here))[
        :MOST_NEIGHBOURS
    ]


def _on_case(
    board: Leaderboard, links: Links, index: int, row: Standing, rivals: Float[np.ndarray, " others"]
) -> dict[str, Any]:
    cell, case = row.cells[index], board.cases[index]
    rivals = rivals[np.isfinite(rivals)]
    scale, value = Scale(-1.05, 1.05), cell.score("skill")
    program, variant = in_two(board, case)
    return {
        "program": program,
        "variant": variant,
        "href": links.case(case, row.method),
        "matched": is_matched(case),
        "cell": cell,
        "value": heat(value),
        "dot": None if value is None else scale.at(value),
        "range": [scale.at(float(of(rivals))) for of in (np.min, np.max, np.median)] if len(rivals) else None,
        "chance": scale.at(0.0),
        "columns": [cell.score(score.name) for score in scores_of("method")],
        "reason": short(cell.missing, 300),
    }


def versions(board: Leaderboard, entries: Iterable[Any] | None = None) -> str:
    """The versions behind the results, every one of them where they are mixed."""
    if entries is None:
        entries = (entry for row in board.rows for cell in row.cells for entry in cell.results)
    seen: dict[str, dict[str, None]] = {}
    for entry in entries:
        for name, version in entry.versions.items():
            seen.setdefault(name, {})[version] = None
        if entry.metrics_version is not None:
            seen.setdefault("metrics", {})[str(entry.metrics_version)] = None
        if entry.commit:
            seen.setdefault("commit", {})[entry.commit[:10] + ("+changes" if entry.dirty else "")] = None
    return " · ".join(
        short(f"{name.replace('_', ' ')} {' and '.join(those)}", 300) for name, those in list(seen.items())[:30]
    )
