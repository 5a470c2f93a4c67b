"""The reference leaderboard, from a folder of results: docs/leaderboard/NAME.md and NAME.csv.

    gaugeblock run --suite core --out results/core
    python docs/make_leaderboard.py results/core --name core --machine "…"

The CSV has every score of every result; the edge scores themselves stay in the results folder.
"""

import argparse
import csv
import datetime
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from gaugeblock.leaderboard import Leaderboard, Row, interval_text, is_matched, number, read_leaderboard
from gaugeblock.results import Result, write_text
from gaugeblock.scoring import SCORES

DOCS = Path(__file__).parent
ABOUT = ("method", "control", "case", "case_hash", "ablation", "seed", "seconds", "forwards", "backwards", "memory")
COLUMNS = ("auprc", "precision_at_size", "node_skill", "port_skill", "cpr", "cmd", "circuit_f1")

HEAD = """# Reference leaderboard: {name}

{done} of {cases} cases, {methods} methods and controls, ablation {ablations}. Skill: chance 0, best 1; intervals are
95 % bootstraps clustered by program; methods of one rank cannot be told apart. What each column means:
[metrics.md](../metrics.md); each method: [methods.md](../methods.md). Every score of every result:
[{name}.csv]({name}.csv). Seconds and passes are means per case; passes are in units of one pass over all
pairs, and count only what is recomputed.
"""


def table(board: Leaderboard) -> str:
    """The ranking."""
    titles = ("rank", "method", "skill", "95 %", *(SCORES[c].label for c in COLUMNS), "seconds", "forward", "backward")
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for row in board.rows:
        cells = ["" if row.control else "–" if row.rank is None else str(row.rank), f"`{row.method}`"]
        cells += [number(row.skill.estimate if row.skill else None), interval_text(row.skill)]
        cells += [number(row.mean(column)) for column in COLUMNS]
        cells += [number(_mean([getattr(r, cost) for r in _ok(row)])) for cost in ("seconds", "forwards", "backwards")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def modes_table(board: Leaderboard) -> str:
    """Mean skill of each method on the cases of each failure mode."""
    modes = sorted({mode for case in board.cases for mode in case.modes})
    count = {mode: sum(mode in case.modes and is_matched(case) for case in board.cases) for mode in modes}
    titles = ("method", *(f"{mode} ({count[mode]})" for mode in modes))
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for row in board.rows:
        cells = [
            _mean([c.score("skill") for c in row.cells if mode in c.case.modes and is_matched(c.case)])
            for mode in modes
        ]
        lines.append("| " + " | ".join([f"`{row.method}`", *map(number, cells)]) + " |")
    return "\n".join(lines)


def as_csv(board: Leaderboard) -> str:
    """One line per result that is done."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*ABOUT, *SCORES])
    for row in board.rows:
        for result in _ok(row):
            scores = [result.scores.get(name) for name in SCORES]
            writer.writerow(
                [*(getattr(result, name) for name in ABOUT), *("" if v is None else f"{v:.6g}" for v in scores)]
            )
    return out.getvalue()


def _ok(row: Row) -> list[Result]:
    return [result for cell in row.cells for result in cell.ok]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return fmean(known) if known else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--name", default="core")
    parser.add_argument("--cases", type=int, help="cases of the suite, where not all were run")
    parser.add_argument("--machine", required=True)
    parser.add_argument("--note", default="", help="a sentence on what is missing")
    given = parser.parse_args()
    board = read_leaderboard(given.folder)
    head = HEAD.format(
        name=given.name,
        done=len(board.cases),
        cases=given.cases or len(board.cases),
        methods=len(board.rows),
        ablations=", ".join(sorted({case.ablation for case in board.cases})),
    )
    results = [r for row in board.rows for r in _ok(row)]
    versions = sorted({f"{k} {v}" for r in results for k, v in r.versions.items() if k != "code"})
    commits = sorted({r.commit[:10] for r in results if r.commit})
    foot = f"{given.machine}; {datetime.date.today()}; commit {', '.join(commits)}; {', '.join(versions)}. "
    foot += f"{sum(r.seconds or 0 for r in results):,.0f} seconds of methods in all. {given.note}"
    parts = (
        head,
        table(board),
        "## By failure mode",
        "Mean skill; the number of cases in brackets.",
        modes_table(board),
        foot,
    )
    write_text(DOCS / "leaderboard" / f"{given.name}.md", "\n\n".join(part.strip() for part in parts) + "\n")
    write_text(DOCS / "leaderboard" / f"{given.name}.csv", as_csv(board))


if __name__ == "__main__":
    main()
