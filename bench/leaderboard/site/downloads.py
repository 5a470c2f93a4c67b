"""The leaderboard in forms that other programs read. Texts and bytes are made here; nothing is written."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from gaugeblock.evaluation.scores import SCORES
from gaugeblock.leaderboard.board import Leaderboard, Standing
from gaugeblock.leaderboard.tables import interval_text, number

MEANS: Final = tuple(name for name in SCORES if name not in ("skill", "node_skill"))
COSTS: Final = ("seconds", "forwards", "backwards", "memory")
_RESULT: Final = ("method", "control", "folder", "case", "case_hash", "metrics_version", "ablation", "seed", *COSTS)
_LATEX: Final = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}


def ranking(board: Leaderboard) -> list[dict[str, Any]]:
    """One flat line per track and method: its place, its mean skill and what else is averaged."""
    return [_line(row) for rows in board.tracks.values() for row in rows]


def _line(row: Standing) -> dict[str, Any]:
    low, high = row.ranks or (None, None)
    return {
        "track": row.track.name,
        "method": row.method,
        "control": row.control,
        "rank": row.rank,
        "rank_low": low,
        "rank_high": high,
        "skill": row.skill.estimate if row.skill else None,
        "skill_low": row.skill.low if row.skill else None,
        "skill_high": row.skill.high if row.skill else None,
        "programs": row.skill.n_clusters if row.skill else 0,
        "cases": len(row.cells),
        "cases_done": row.done,
        "cases_averaged": row.averaged,
        **{f"mean_{name}": row.mean(name) for name in MEANS},
        **{f"mean_{name}": row.cost(name) for name in COSTS},
    }


def results(board: Leaderboard) -> Iterator[dict[str, Any]]:
    """One flat line per result that is done, with all its scores."""
    for row in board.rows:
        for cell in row.cells:
            for result in cell.ok:
                yield {name: getattr(result, name) for name in _RESULT} | result.scores


def as_csv(lines: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The lines as CSV, piece by piece. A text that a spreadsheet would take for a formula gets a "'" before it."""
    titles: list[str] | None = None
    for line in lines:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        if titles is None:
            titles = list(line)
            writer.writerow(titles)
        writer.writerow([_plain(line[title]) for title in titles])
        yield out.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else repr(value) if isinstance(value, float) else value


def as_json(board: Leaderboard) -> str:
    """The whole board: ranking, failure modes, each method on each case, and what was left out."""
    record = {
        "kind": "leaderboard",
        "schema_version": 1,
        "ranking": ranking(board),
        "modes": {row.method: {mode: row.on(mode) for mode in board.modes} for row in board.rows},
        "cases": [
            {"id": c.id, "ablation": c.ablation, "hash": c.hash, "program": c.program, "modes": c.modes}
            | {"certified": c.certified, "comparators": c.comparators}
            for c in board.cases
        ],
        "skill": {
            name: {row.method: [c.score(row.track.score) for c in row.cells] for row in rows}
            for name, rows in board.tracks.items()
        },
        "missing": [
            {"method": row.method, "case": cell.case.id, "ablation": cell.case.ablation, "reason": cell.missing}
            for row in board.rows
            for cell in row.cells
            if cell.missing
        ],
        "sources": [
            {"name": source.name, "submission": source.submission, "verified": source.state} for source in board.sources
        ],
        "notes": list(board.notes),
    }
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def as_latex(board: Leaderboard) -> str:
    """A table per track for `\\usepackage{booktabs}`."""
    return "\n".join(_latex_table(rows) for rows in board.tracks.values())


def _latex_table(rows: tuple[Standing, ...]) -> str:
    titles = (
        "Rank",
        "95\\,\\%",
        "Method",
        "Skill",
        "95\\,\\% interval",
        "AUPRC",
        "CPR",
        "CMD",
        "Seconds",
        "Cases",
        "Programs",
    )
    lines = [f"% {rows[0].track.title}" if rows else "%", r"\begin{tabular}{rrlrlrrrrrr}", r"\toprule"]
    lines += [" & ".join(titles) + r" \\", r"\midrule"]
    for row in rows:
        cells = [
            "" if row.rank is None else str(row.rank),
            "" if row.ranks is None else f"{row.ranks[0]}--{row.ranks[1]}",
            f"\\emph{{{latex(row.method)}}}" if row.control else latex(row.method),
            number(row.skill.estimate if row.skill else None),
            interval_text(row.skill),
            number(row.mean("auprc" if row.track.name == "edges" else "node_auprc")),
            *(number(row.mean(name)) for name in ("cpr", "cmd")),
            number(row.cost("seconds")),
            f"{row.averaged} of {len(row.cells)}",
            str(row.skill.n_clusters if row.skill else 0),
        ]
        lines.append(" & ".join([*cells[:2], cells[2], *map(latex, cells[3:])]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def latex(text: str) -> str:
    """The text with what LaTeX would take for a command made harmless, on one line."""
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))


def as_parquet(lines: Iterable[dict[str, Any]]) -> bytes | None:
    """The lines as a Parquet file, numbers in float64; None where pyarrow is not installed or there are no lines."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        return None
    out, writer = pa.BufferOutputStream(), None
    lines = iter(lines)
    while some := list(islice(lines, 10_000)):
        if writer is None:
            schema = pa.schema([(title, getattr(pa, KINDS.get(title, "float64"))()) for title in some[0]])
            writer = parquet.ParquetWriter(out, schema)
        writer.write_table(pa.Table.from_pylist(some, schema))
    if writer is None:
        return None
    writer.close()
    return out.getvalue().to_pybytes()


KINDS: Final = {
    **dict.fromkeys(("track", "method", "folder", "case", "case_hash", "ablation"), "string"),
    **dict.fromkeys(
        ("rank", "rank_low", "rank_high", "programs", "cases", "cases_done", "cases_averaged", "seed"), "int64"
    ),
    "metrics_version": "int64",
    "control": "bool_",
}


def downloads(board: Leaderboard) -> dict[str, Callable[[], Iterator[bytes] | None]]:
    """What makes each file, piece by piece, by its name; it gives None where the file cannot be made here."""

    def text(pieces: Iterator[str]) -> Iterator[bytes]:
        return (piece.encode("utf-8", "replace") for piece in pieces)

    def table(lines: Iterable[dict[str, Any]]) -> Iterator[bytes] | None:
        data = as_parquet(lines)
        return None if data is None else iter([data])

    return {
        "leaderboard.csv": lambda: text(as_csv(ranking(board))),
        "leaderboard.json": lambda: text(iter([as_json(board)])),
        "leaderboard.tex": lambda: text(iter([as_latex(board)])),
        "leaderboard.parquet": lambda: table(ranking(board)),
        "results.csv": lambda: text(as_csv(results(board))),
        "results.parquet": lambda: table(results(board)),
    }
