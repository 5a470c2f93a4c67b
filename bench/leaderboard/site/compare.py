"""What the page that compares any two methods needs: their scores, and the interval of every difference."""

from typing import Any, Final

import numpy as np

from gaugeblock.leaderboard.board import Leaderboard, Standing
from gaugeblock.leaderboard.site.names import short
from gaugeblock.leaderboard.site.views import Links, in_two
from gaugeblock.leaderboard.standings import pair_intervals

DIGITS: Final = 4
MOST_METHODS: Final = 300
"""The page compares the first of the ranking where there are more: pairs grow with the square."""


def compare_data(board: Leaderboard, links: Links) -> dict[str, Any]:
    """Methods in the order of the edges' ranking, cases in the board's; `pairs` holds [estimate, low, high] by i, j.

    `pairs[i][j - i - 1]` is of method i − method j, null without common cases; low and high are null with one program.
    """
    methods = [row.method for row in board.rows[:MOST_METHODS]]
    return {
        "methods": [
            {"name": row.method, "short": short(row.method), "href": links.method(row.method), "control": row.control}
            for row in board.rows[:MOST_METHODS]
        ],
        "cases": [
            dict(zip(("program", "variant"), in_two(board, case))) | {"href": links.case(case)} for case in board.cases
        ],
        "tracks": {name: _track(rows, methods) for name, rows in board.tracks.items()},
        "left_out": len(board.rows) - len(methods),
    }


def _track(rows: tuple[Standing, ...], methods: list[str]) -> dict[str, Any]:
    by_name = {row.method: row for row in rows}
    ordered = [by_name[method] for method in methods]
    counts = np.array(ordered[0].counts if ordered else [], dtype=bool)
    values = np.array([row.values for row in ordered]).reshape(len(ordered), len(counts))
    programs = [cell.case.program for cell in ordered[0].cells] if ordered else []
    intervals = pair_intervals(values, counts, programs)
    return {
        "title": rows[0].track.title if rows else "",
        "about": rows[0].track.about if rows else "",
        "counts": counts.tolist(),
        "ranks": [row.rank for row in ordered],
        "values": [[_number(v) for v in line] for line in values.tolist()],
        "pairs": [
            [
                [_number(v) for v in (pair.estimate, pair.low, pair.high)] if (pair := intervals.get((i, j))) else None
                for j in range(i + 1, len(ordered))
            ]
            for i in range(len(ordered) - 1)
        ],
    }


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(value, DIGITS)
