"""The leaderboard as one HTML file that opens from disk and fetches nothing."""

import base64
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gaugeblock.leaderboard import (
    COLUMNS,
    Cell,
    Leaderboard,
    Row,
    captions,
    interval_text,
    is_matched,
    number,
    read_leaderboard,
)
from gaugeblock.pictures.drawing import SMALLEST, circuit_svg
from gaugeblock.results import CasePicture, CaseRecord, picture_path, write_text
from gaugeblock.scoring import SCORES, Found, found

PAGE = "index.html"
PICTURES = {
    "flow": "How it works on one input",
    "attention": "Its attention beside its selectors",
    "stream": "What its residual stream holds",
}
_UNSEEN = re.compile(r' data-[\w-]+="[^"]*"|<title>[^<]*</title>')
"""Of a picture that is shown as an image: nobody can point at its parts."""

SHOWN = (
    *("skill", "auprc", "precision_at_size", "auroc", "auroc_low", "auroc_high", "node_skill", "port_skill"),
    *("cpr", "cmd", "log_cmd", "regret", "faithfulness_at_true_size"),
    *("circuit_size", "circuit_f1", "accuracy", "kl", "completeness", "minimality"),
)
"""Of the score tables; a result's file has all of SCORES."""


def write_page(folder: str | Path) -> Path:
    """Write the page of a results folder into it; returns its path. FileError where there are no results."""
    path = Path(folder) / PAGE
    write_text(path, render(read_leaderboard(folder), folder))
    return path


def render(board: Leaderboard, folder: str | Path | None = None) -> str:
    """The page of a leaderboard, as HTML, with the pictures of its cases that are in the results folder."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval_text}
    sections = [_section(board, case, f"case-{i}") | _pictures(case, folder) for i, case in enumerate(board.cases)]
    return environment.get_template("page.html").render(
        board=board,
        sections=sections,
        plots=_plots(board.rows),
        columns=[(name, SCORES[name]) for name in COLUMNS],
        captions=captions(board),
        failures=[(board.title(c.case), c) for row in board.rows for c in row.cells if c.missing],
        versions=_versions(board),
        data={section["anchor"]: section.pop("data") for section in sections},
    )


def _section(board: Leaderboard, case: CaseRecord, anchor: str) -> dict[str, Any]:
    cells = [next(c for c in row.cells if c.case is case) for row in board.rows]
    circuits = {cell.method: _found(cell, case) for cell in cells if cell.ok}
    alarms = {edge for circuit in circuits.values() for edge in circuit.false_alarms}
    program, _, variant = board.title(case).partition("/")
    return {
        "anchor": anchor,
        "case": case,
        "title": board.title(case),
        "program": program,
        "variant": variant,
        "matched": is_matched(case),
        "cells": cells,
        "methods": list(circuits),
        "scores": [(name, SCORES[name]) for name in SHOWN],
        "chance": next((c.score("auprc_chance") for c in cells if c.ok), None),
        "facts": _facts(case),
        "svg": circuit_svg(
            case.positives,
            case.ignored,
            alarms,
            writers=case.writers,
            variables=case.edge_variables,
            title=f"Circuit of {case.id}: {len(case.positives)} true edges",
        ),
        "data": {
            "methods": {method: asdict(circuit) for method, circuit in circuits.items()},
            "carries": {edge: ", ".join(names) for edge, names in case.edge_variables.items()},
        },
    }


def _pictures(case: CaseRecord, folder: str | Path | None) -> dict[str, list[dict[str, Any]]]:
    """Title, caption and image of each picture; an image that is not there is "", and the caption says why."""
    return {"pictures": [_picture(case, p, folder) for p in case.pictures if p.kind in PICTURES]}


def _picture(case: CaseRecord, picture: CasePicture, folder: str | Path | None) -> dict[str, Any]:
    caption, image = picture.missing or picture.caption, ""
    if picture.missing is None:
        try:
            svg = picture_path(folder or "no folder", case.id, picture.kind).read_text(encoding="utf-8")
        except (OSError, ValueError):
            caption = "The picture is not among the results."
        else:  # as an image, because it may be another's: nothing in it runs, and its style stays inside
            image = "data:image/svg+xml;base64," + base64.b64encode(_UNSEEN.sub("", svg).encode()).decode()
    return {
        "kind": picture.kind,
        "title": PICTURES[picture.kind],
        "caption": caption,
        "image": image,
        "least": round(SMALLEST * picture.width),
    }


def _found(cell: Cell, case: CaseRecord) -> Found:
    """The circuit of the method's first seed."""
    result = cell.ok[0]
    return found(result.edge_scores, case.positives, case.negatives, signed=result.signed, noise=result.noise)


def _facts(case: CaseRecord) -> list[tuple[str, str]]:
    heads = " + ".join(map(str, case.heads)) if len(set(case.heads)) > 1 else str((case.heads or [0])[0])
    return [
        ("Layers", str(case.layers)),
        ("Heads per layer", heads),
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


def _plots(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Where dot and ends of each method's interval, chance and ceiling stand, in percent of the width."""
    skills = [row.skill for row in rows if row.skill is not None]
    lowest = min([-0.1, *(v for s in skills for v in (s.estimate, s.low) if v is not None)])
    low, high = lowest - 0.05, 1.05

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    return {
        row.method: {
            "dot": at(row.skill.estimate),
            "low": at(row.skill.estimate if row.skill.low is None else row.skill.low),
            "high": at(row.skill.estimate if row.skill.high is None else row.skill.high),
            "chance": at(0.0),
            "best": at(1.0),
        }
        for row in rows
        if row.skill is not None
    }


def _versions(board: Leaderboard) -> str:
    """The versions behind the results, every one of them where they are mixed."""
    seen: dict[str, dict[str, None]] = {}
    for row in board.rows:
        for result in (r for cell in row.cells for r in cell.results):
            for name, version in result.versions.items():
                seen.setdefault(name, {})[version] = None
            if result.commit:
                seen.setdefault("commit", {})[result.commit[:10] + ("+changes" if result.dirty else "")] = None
    return " · ".join(f"{re.sub('_', ' ', name)} {' and '.join(found)}" for name, found in seen.items())
