"""What the page of a case shows: its program, its circuit with every method's hits and misses, its certificate."""

import base64
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from gaugeblock.evaluation.ranking import TopEdges
from gaugeblock.evaluation.scores import scores_of
from gaugeblock.leaderboard.board import Leaderboard, Standing, is_matched
from gaugeblock.leaderboard.site.names import short
from gaugeblock.leaderboard.site.views import Links, in_two
from gaugeblock.pictures.circuit_drawing import MIN_SCALE, circuit_svg
from gaugeblock.programs.errors import FileError
from gaugeblock.results.files import picture_path
from gaugeblock.results.records import CasePicture, CaseRecord
from gaugeblock.results.untrusted import read_bytes

PICTURES: Final = {
    "flow": "How it works on one input",
    "attention": "Its attention beside its selectors",
    "stream": "What its residual stream holds",
}

MOST_CIRCUITS: Final = 60
"""Methods whose circuits a page holds; the first of the ranking."""

LARGEST_PICTURE: Final = 2_000_000  # bytes
LONGEST_TEXT: Final = 20_000  # characters of a program or a description
_UNSEEN = re.compile(r' data-[\w-]+="[^"]*"|<title>[^<]*</title>')
"""Left out of a picture that is shown as an image: nobody can point at its parts."""


def case_view(board: Leaderboard, links: Links, index: int, folders: Sequence[Path]) -> dict[str, Any]:
    """Return what the page of `board.cases[index]` shows; pictures are looked for in the folders."""
    case = board.cases[index]
    circuits = _circuits(board.rows, index)
    alarms = {edge for circuit in circuits.values() for edge in circuit.false_alarms}
    program, variant = in_two(board, case)
    return {
        "case": case,
        "title": short(board.title(case)),
        "program": program,
        "variant": variant,
        "description": case.description[:LONGEST_TEXT],
        "source": case.source[:LONGEST_TEXT] or "The source is not at hand.",
        "matched": is_matched(case),
        "lines": [
            {"name": row.method, "short": short(row.method), "href": links.method(row.method)}
            | {"control": row.control, "cell": row.cells[index], "reason": short(row.cells[index].missing, 300)}
            | {
                "scores": [row.cells[index].score(score.name) for score in scores_of("case")],
                "slug": links.methods[row.method],
            }
            for row in board.rows
        ],
        "methods": [(method, short(method)) for method in circuits],
        "left_out": max(0, sum(bool(row.cells[index].ok) for row in board.rows) - len(circuits)),
        "scores": scores_of("case"),
        "chance": next((v for row in board.rows if (v := row.cells[index].score("auprc_chance")) is not None), None),
        "facts": _facts(case),
        "svg": circuit_svg(
            case.positives,
            case.ignored,
            alarms,
            writers=case.writers,
            variables=case.edge_variables,
            title=f"Circuit of {short(case.id)}: {len(case.positives)} true edges",
        ),
        "pictures": [_picture(case, picture, folders) for picture in case.pictures if picture.kind in PICTURES],
        "before": _neighbour(board, links, index - 1),
        "after": _neighbour(board, links, index + 1),
        "data": {
            "methods": {method: asdict(circuit) for method, circuit in circuits.items()},
            "carries": {edge: ", ".join(names) for edge, names in case.edge_variables.items()},
        },
    }


def _circuits(rows: Sequence[Standing], index: int) -> dict[str, TopEdges]:
    """What each method puts on top with its first seed."""
    circuits: dict[str, TopEdges] = {}
    for row in rows:
        cell = row.cells[index]
        circuit = cell.ok[0].top_edges(cell.case) if cell.ok and len(circuits) < MOST_CIRCUITS else None
        if circuit is not None:
            circuits[row.method] = circuit
    return circuits


def _neighbour(board: Leaderboard, links: Links, index: int) -> tuple[str, str] | None:
    if not 0 <= index < len(board.cases):
        return None
    case = board.cases[index]
    return short(board.title(case), 40), links.case(case)


def _picture(case: CaseRecord, picture: CasePicture, folders: Sequence[Path]) -> dict[str, Any]:
    """Title, caption and image; an image that is not there is "", and the caption says why."""
    caption, image = picture.missing or picture.caption, ""
    if picture.missing is None:
        svg = next(filter(None, (_svg(picture_path(folder, case.id, picture.kind)) for folder in folders)), "")
        caption = caption if svg else "The picture is not among the results."
        if svg:  # as an image, because it may be another's: nothing in it runs, and its style stays inside
            image = "data:image/svg+xml;base64," + base64.b64encode(_UNSEEN.sub("", svg).encode()).decode()
    return {
        "kind": picture.kind,
        "title": PICTURES[picture.kind],
        "caption": short(caption, 2000),
        "image": image,
        "least": round(MIN_SCALE * min(max(picture.width, 0.0), 10_000.0)),
    }


def _svg(path: Path) -> str:
    try:
        return read_bytes(path, largest=LARGEST_PICTURE).decode("utf-8")
    except (FileError, ValueError):
        return ""


def _facts(case: CaseRecord) -> list[tuple[str, str]]:
    heads = " + ".join(map(str, case.heads)) if len(set(case.heads)) > 1 else str((case.heads or [0])[0])
    return [
        ("Layers", str(case.layers)),
        ("Heads per layer", short(heads, 40)),
        ("Residual stream", f"{case.d_model:,}"),
        ("MLP neurons", f"{case.d_mlp:,}"),
        ("Parameters", f"{case.parameters:,}"),
        ("Vocabulary", f"{case.vocab_size:,} tokens"),
        ("Longest input", f"{case.max_len:,} tokens"),
        ("Pairs", f"{case.pairs:,}"),
        ("All edges", f"{case.edges:,}"),
        ("True edges", f"{len(case.positives):,}"),
        ("False edges", f"{len(case.negatives):,}"),
        ("Ignored edges", f"{len(case.ignored):,}"),
    ]
