"""The reference leaderboard, from a folder of results: docs/leaderboard/NAME.md and NAME.csv.

    gaugeblock run --suite core --out results/core
    python docs/scripts/make_leaderboard.py results/core --name core --machine "…"

The CSV has every score of every result; the edge scores themselves stay in the results folder.
"""

import argparse
import datetime
from pathlib import Path
from typing import Any

from gaugeblock.compiled.writing import write_text
from gaugeblock.evaluation.scores import scores_of
from gaugeblock.leaderboard.board import Leaderboard, read_leaderboard
from gaugeblock.leaderboard.site.downloads import as_csv, results
from gaugeblock.leaderboard.tables import interval_text, modes_table, number, rests_on

DOCS = Path(__file__).parents[1]

HEAD = """# Reference leaderboard: {name}

{done} of {cases} cases, {methods} methods and controls, ablation {ablations}. Skill: chance 0, best 1. {rests_on}
Intervals are of 95 %, over programs; methods of one rank cannot be told apart. What each column means:
[metrics.md](../methods/metrics.md); each method: [methods.md](../methods/methods.md). Every score of every result:
[{name}.csv]({name}.csv). Seconds and passes are means per case; passes are in units of one pass over all
pairs, and count only what is recomputed.
"""


def table(board: Leaderboard) -> str:
    """The ranking."""
    titles = (
        "rank",
        "method",
        "skill",
        "95 %",
        "cases",
        "programs",
        *(score.label for score in scores_of("reference")),
        "seconds",
        "forward",
        "backward",
    )
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for row in board.rows:
        cells = ["" if row.control else "–" if row.rank is None else str(row.rank), f"`{row.method}`"]
        cells += [number(row.skill.estimate if row.skill else None), interval_text(row.skill)]
        cells += [f"{row.averaged} of {len(row.cells)}", str(row.skill.n_clusters if row.skill else 0)]
        cells += [number(row.mean(score.name)) for score in scores_of("reference")]
        cells += [number(row.cost(cost)) for cost in ("seconds", "forwards", "backwards")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rounded(line: dict[str, Any]) -> dict[str, Any]:
    """With six digits: the exact numbers are in the results."""
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in line.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--name", default="core")
    parser.add_argument("--cases", type=int, help="cases of the suite, where not all were run")
    parser.add_argument("--machine", required=True)
    parser.add_argument("--note", default="", help="a sentence on what is missing")
    options = parser.parse_args()
    board = read_leaderboard(options.folder)
    head = HEAD.format(
        name=options.name,
        done=len(board.cases),
        cases=options.cases or len(board.cases),
        methods=len(board.rows),
        rests_on=rests_on(board),
        ablations=", ".join(sorted({case.ablation for case in board.cases})),
    )
    done = [r for row in board.rows for cell in row.cells for r in cell.ok]
    versions = sorted({f"{k} {v}" for r in done for k, v in r.versions.items() if k != "code"})
    commits = sorted({r.commit[:10] for r in done if r.commit})
    foot = f"{options.machine}; {datetime.date.today()}; commit {', '.join(commits)}; {', '.join(versions)}. "
    foot += f"{sum(r.seconds or 0 for r in done):,.0f} seconds of methods in all. {options.note}"
    parts = (
        head,
        table(board),
        "## By failure mode",
        "Mean skill; the number of cases in brackets.",
        modes_table(board),
        foot,
    )
    write_text(DOCS / "leaderboard" / f"{options.name}.md", "\n\n".join(part.strip() for part in parts) + "\n")
    write_text(DOCS / "leaderboard" / f"{options.name}.csv", "".join(as_csv(map(rounded, results(board)))))


if __name__ == "__main__":
    main()
