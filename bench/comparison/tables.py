"""The tables of a comparison, for a terminal."""

from collections.abc import Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gaugeblock.comparison.figures import Example, Figures, PositionGroup
from gaugeblock.comparison.texts import count_text, estimate_text, example_rows, headline, range_text, window
from gaugeblock.programs.printing import value_text

MAX_ROWS: Final = 12
"""Rows of a table at most: those that diverge most."""

LINE_WIDTH: Final = 88
"""Columns of a terminal's line that an example's tokens have."""


def tables(figures: Figures) -> Group:
    """One group of all tables: the figures, by position, by output, and the worst examples."""
    n_examples, n = figures.accuracy.n_clusters, len(figures.examples)
    head = plain_table(f"swapped against model: {count_text(n_examples, 'example')}, {count_text(n, 'position')}")
    head.add_column("", justify="left")
    for name in ("mean", "95 % interval"):
        head.add_column(name, justify="right")
    for name, interval in figures.by_name():
        head.add_row(name, estimate_text(interval), range_text(interval))
    blocks: list[Any] = [head]
    for name, groups in (("position", figures.by_position), ("model's answer", figures.by_output)):
        blocks += [_group_table(figures, name, groups)] if groups else []
    if figures.worst:
        blocks.append(Text("examples that diverge most", style="bold"))
        blocks += [_lines(figures, example) for example in figures.worst]
    else:
        blocks.append(Text("no example diverges"))
    return Group(*blocks)


def plain_table(title: str, caption: str = "") -> Table:
    """A table without columns yet, as all of these look."""
    return Table(
        title=title or None,
        caption=caption or None,
        box=SIMPLE_HEAD,
        pad_edge=False,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
    )


def _group_table(figures: Figures, name: str, groups: Sequence[PositionGroup]) -> Table:
    worst = sorted(range(len(groups)), key=lambda i: -groups[i].divergence.estimate)[:MAX_ROWS]
    left_out = f"{len(groups) - MAX_ROWS} more, which diverge less" if len(groups) > MAX_ROWS else ""
    table = plain_table("", left_out)
    for title in (name, "n", "accuracy", "95 % interval", figures.measure, "95 % interval"):
        table.add_column(title, justify="right")
    for group in (groups[i] for i in sorted(worst)):
        intervals = (group.accuracy, group.divergence)
        cells = [text for interval in intervals for text in (estimate_text(interval), range_text(interval))]
        table.add_row(Text(value_text(group.label)), f"{group.n:,}", *cells)
    return table


def _lines(figures: Figures, example: Example) -> Text:
    """Tokens and answers below each other, for a line of 100 columns; what is answered otherwise in brackets."""
    rows = example_rows(example)
    columns = []
    for i in range(len(rows[0][1])):
        columns.append([f"[{texts[i]}]" if marks[i] else f" {texts[i]} " for _, texts, marks in rows])
    wide = [max(map(len, column)) for column in columns]
    places = window(example)
    fitting = _fitting(wide, example.worst - places.start)
    texts = [f"  {name:<9}" for name, _, _ in rows]
    for i in fitting:
        texts = [text + cell.rjust(wide[i]) for text, cell in zip(texts, columns[i], strict=True)]
    return Text("\n".join([headline(figures, example, places[fitting.start : fitting.stop]), *texts]), no_wrap=True)


def _fitting(widths: Sequence[int], worst: int) -> range:
    """The columns that fit a line: the worst one, as many as possible before it, then after it."""
    first, last, room = worst, worst + 1, LINE_WIDTH - widths[worst]
    while first > 0 and widths[first - 1] <= room:
        first -= 1
        room -= widths[first]
    while last < len(widths) and widths[last] <= room:
        room -= widths[last]
        last += 1
    return range(first, last)
