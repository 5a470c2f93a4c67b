"""The ranking as text: for a terminal, for Markdown, and what a reader of it must know."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gaugeblock.evaluation.scores import scores_of
from gaugeblock.leaderboard.board import Leaderboard, is_matched
from gaugeblock.metrics.bootstrap import Interval


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
    for name in ("skill", "95 % interval", *(score.label for score in scores_of("edges")), "sec.", "cases"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in board.rows:
        table.add_row(
            "" if row.control else "–" if row.rank is None else str(row.rank),
            Text(row.method, style="italic" if row.control else ""),
            number(row.skill.estimate if row.skill else None),
            interval_text(row.skill),
            *(number(row.mean(score.name)) for score in scores_of("edges")),
            number(row.cost("seconds")),
            f"{row.averaged} of {len(row.cells)}",
        )
    table.caption = Text("\n".join(captions(board)))  # Text: nothing in it is markup
    return table


def captions(board: Leaderboard) -> list[str]:
    """What a reader of the ranking must know, line by line."""
    lines = [f"Skill: chance 0, best 1. {rests_on(board)}"]
    if len({c.program for c in board.cases if is_matched(c)}) < 2:
        lines[0] += " With one program there is no interval, and ranks may be luck."
    else:
        lines.append("Methods of one rank cannot be told apart (paired t-tests over programs, Holm's correction).")
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
        if row.lacks:
            rank = "" if row.control else "no rank; "
            cell, reason = row.lacks[0]
            more = f" (and {len(row.lacks) - 1} more)" if len(row.lacks) > 1 else ""
            lines.append(f"{row.method}: {rank}{board.title(cell.case)}: {reason}{more}")
    return [*lines, *board.notes]


def rests_on(board: Leaderboard) -> str:
    """What the mean skill of a method with all its results rests on: how many cases of how many programs."""
    programs = [case.program for case in board.cases if is_matched(case)]
    n = len(set(programs))
    return f"A mean rests on {len(programs)} of {len(board.cases)} cases, of {n} program{'' if n == 1 else 's'}."


def modes_table(board: Leaderboard) -> str:
    """Mean skill of each method on the cases of each failure mode, in Markdown."""
    titles = ("method", *(f"{mode} ({n})" for mode, n in board.modes.items()))
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for row in board.rows:
        lines.append("| " + " | ".join([f"`{row.method}`", *(number(row.on(mode)) for mode in board.modes)]) + " |")
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Two decimals with a true minus sign, "–" for none.

    >>> number(-0.5), number(None)
    ('−0.50', '–')
    """
    if value is None:
        return "–"
    text = f"{value:.2f}" if abs(value) < 1000 else f"{value:.0f}"
    return "0.00" if text == "-0.00" else text.replace("-", "−")


def interval_text(interval: Interval | None) -> str:
    """ "0.31 to 0.87", or "–" where one program leaves no spread to see."""
    if interval is None or interval.low is None or interval.high is None:
        return "–"
    return f"{number(interval.low)} to {number(interval.high)}"
