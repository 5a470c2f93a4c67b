"""Do metrics that need no ground truth rank methods as the truth does? Asked of the results of a run.

On a trained model only such metrics can be had. Here the truth is known, so each can be correlated with true recovery
over methods and cases, and the answer split by what makes a case hard.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gaugeblock.evaluation.scores import SCORES, Score
from gaugeblock.leaderboard.board import Leaderboard, is_matched, read_leaderboard
from gaugeblock.leaderboard.entries import Entry
from gaugeblock.leaderboard.tables import interval_text, number
from gaugeblock.metrics.bootstrap import Interval
from gaugeblock.metrics.validity import Validity, rank_validity
from gaugeblock.programs.errors import FileError, UnknownName
from gaugeblock.results.records import CaseRecord

SIGNS_ARE_TURNED = (
    "Signs are turned where lower is better: 1 if the metric ranks as the truth does, −1 if the other way round."
)
FIXED_SIZES = (0.01, 0.02, 0.05, 0.1)  # shares of edges at which faithfulness is read off the curve


@final
@dataclass(frozen=True)
class Metric:
    """A metric that needs no ground truth. `value` is larger where the metric says that a method is better."""

    name: str
    label: str
    value: Callable[[Entry], float | None]


@final
@dataclass(frozen=True)
class Finding:
    """One metric on one group of cases: see `gaugeblock.metrics.validity.Validity`."""

    metric: Metric
    group: str
    validity: Validity | None


def _of_score(score: Score) -> Metric:
    lower = score.better == "lower"

    def value(result: Entry) -> float | None:
        number = result.score(score.name)
        return -number if lower and number is not None else number

    return Metric(score.name, f"{score.label} (lower is better)" if lower else score.label, value)


def _at(share: float) -> Metric:
    def value(result: Entry) -> float | None:
        points = [(x, f) for x, f in result.curve if f is not None]
        return float(np.interp(share, [x for x, _ in points], [f for _, f in points])) if points else None

    return Metric(f"faithfulness_{share:g}", f"Faithfulness at {share:.0%} of edges", value)


METRICS = (
    *(_at(share) for share in FIXED_SIZES),
    *(_of_score(score) for score in SCORES.values() if not score.needs_truth),
)


def study(folder: str | Path, recovery: str = "skill") -> list[Finding]:
    """Every metric on all cases of a results folder, and on the cases of each failure mode.

    Rows are results of methods, without controls, of cases in which true edges have comparators.

    Raises UnknownName for another recovery than "skill" and "auprc", FileError for a folder without such results.
    """
    if recovery not in ("skill", "auprc"):
        raise UnknownName("measure of recovery", recovery, ("skill", "auprc"))
    board = read_leaderboard(folder)
    rows = _rows(board)
    if not rows:
        raise FileError(f"{folder} holds no results of methods on cases that count; `gaugeblock run` writes some")
    modes = list(dict.fromkeys(mode for case, _ in rows for mode in case.modes))
    groups = [("all", rows)] + [(mode, [r for r in rows if mode in r[0].modes]) for mode in sorted(modes)]
    return [Finding(m, name, _validity(m, group, recovery)) for name, group in groups for m in METRICS]


def _rows(board: Leaderboard) -> list[tuple[CaseRecord, Entry]]:
    cells = (cell for row in board.rows if not row.control for cell in row.cells if is_matched(cell.case))
    return [(cell.case, result) for cell in cells for result in cell.ok]


def _validity(metric: Metric, rows: Sequence[tuple[CaseRecord, Entry]], recovery: str) -> Validity | None:
    measured = [(metric.value(r), r.score(recovery), (c.id, c.ablation), c.program) for c, r in rows]
    defined = [(x, y, case, program) for x, y, case, program in measured if x is not None and y is not None]
    if len(defined) < 3:
        return None
    values, truth, cases, programs = zip(*defined, strict=True)
    return rank_validity(np.array(values), np.array(truth), cases, programs)


def table(findings: Sequence[Finding], recovery: str) -> Table:
    """The study of all cases, for a terminal."""
    shown = Table(box=SIMPLE_HEAD, title=f"Spearman correlation with {recovery}", title_justify="left", pad_edge=False)
    shown.caption, shown.caption_justify = SIGNS_ARE_TURNED, "left"
    shown.add_column("metric")
    for name in ("within cases", "95 % interval", "over all rows", "95 % interval", "rows"):
        shown.add_column(name, justify="right", no_wrap=True)
    for finding in findings:
        if finding.group == "all":
            v = finding.validity
            within, overall = (None, None) if v is None else (v.within, v.overall)
            shown.add_row(
                finding.metric.label,
                *(number(None if within is None else within.estimate), interval_text(within)),
                *(number(None if overall is None else overall.estimate), interval_text(overall)),
                "0" if v is None else str(v.n_rows),
            )
    return shown


def markdown(findings: Sequence[Finding], recovery: str) -> str:
    """Two tables: all cases with intervals, and the correlation within cases by failure mode, where cases have any."""
    lines = [
        f"Spearman correlation with {recovery}. {SIGNS_ARE_TURNED}\n",
        f"| metric | within cases | 95 % interval | over all rows | 95 % interval | rows |\n|{'---|' * 6}",
    ]
    for finding in (f for f in findings if f.group == "all"):
        v = finding.validity
        cells = [finding.metric.label]
        for interval in (None, None) if v is None else (v.within, v.overall):
            cells += [number(None if interval is None else interval.estimate), interval_text(interval)]
        lines.append("| " + " | ".join([*cells, "0" if v is None else str(v.n_rows)]) + " |")
    groups = [g for g in dict.fromkeys(f.group for f in findings) if g != "all"]
    if not groups:
        return "\n".join(lines) + "\n"
    by_metric = {(f.metric.name, f.group): f.validity for f in findings}
    counts = {g: max((v.n_cases for (_, group), v in by_metric.items() if group == g and v), default=0) for g in groups}
    lines += ["", f"Within cases, {recovery}, by failure mode (number of cases):", ""]
    lines.append(
        "| metric | " + " | ".join(f"{g} ({counts[g]})" for g in groups) + f" |\n|{'---|' * (len(groups) + 1)}"
    )
    for metric in METRICS:
        values = [by_metric[metric.name, g] for g in groups]
        texts = [number(v.within.estimate if v is not None and v.within is not None else None) for v in values]
        lines.append("| " + " | ".join([metric.label, *texts]) + " |")
    return "\n".join(lines) + "\n"


def record(findings: Sequence[Finding], recovery: str) -> dict[str, Any]:
    """The study as plain data, for JSON."""

    def plain(interval: Interval | None) -> dict[str, float | None] | None:
        return None if interval is None else {k: getattr(interval, k) for k in ("estimate", "low", "high")}

    return {
        "recovery": recovery,
        "findings": [
            {
                "metric": f.metric.name,
                "group": f.group,
                "within": None if f.validity is None else plain(f.validity.within),
                "overall": None if f.validity is None else plain(f.validity.overall),
                "rows": 0 if f.validity is None else f.validity.n_rows,
                "cases": 0 if f.validity is None else f.validity.n_cases,
            }
            for f in findings
        ],
    }
