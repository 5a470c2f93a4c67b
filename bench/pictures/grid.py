"""A matrix of queries and keys with what stands at them: keys above, queries left, values below, results right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from gaugeblock.pictures.run_trace import Row
from gaugeblock.pictures.svg import Canvas, Number, text_width
from gaugeblock.programs.printing import value_text

CELL: Final = 26.0
WIDEST: Final = 76.0  # of a cell, with a value in it
ROW: Final = 22.0
NAME: Final = 150.0  # room for the name of a row at most
PAD: Final = 8.0
SIZE: Final = 12

DrawCell = Callable[[int, int, float, float, float, float], None]
"""Draws the cell of a query and a key at x, y with its width and height."""


@final
@dataclass(frozen=True)
class Side:
    """Values along an edge of the matrix, and what they are: `role` is key, query, value or result."""

    role: str
    name: str
    formula: str
    values: tuple[Any, ...]
    strong: bool = False

    @property
    def title(self) -> str:
        return f"{self.role} {self.name}".strip()

    @staticmethod
    def of(role: str, row: Row, strong: bool = False, name: str | None = None) -> "Side":
        return Side(role, name or row.name, row.formula, row.values, strong)


@final
@dataclass(frozen=True)
class Labels:
    """The size of a matrix, and what stands around it."""

    queries: int
    keys: int
    above: Sequence[Side] = ()
    left: Sequence[Side] = ()
    below: Sequence[Side] = ()
    right: Sequence[Side] = ()

    def cell_width(self, least: Number = CELL) -> float:
        """Wide enough for the values above and below."""
        texts = [value_text(v) for side in (*self.above, *self.below) for v in side.values]
        return min(max([least, *(text_width(t, SIZE) + 6 for t in texts)]), WIDEST)

    def margin(self) -> float:
        """The room left of the cells."""
        names = [text_width(side.title, SIZE) + PAD for side in (*self.above, *self.below)]
        return max(min(max(names, default=0), NAME), sum(map(_column, self.left)))

    def width(self, least: Number = CELL) -> float:
        return self.margin() + self.keys * self.cell_width(least) + sum(map(_column, self.right)) + PAD

    def height(self, row: Number = ROW) -> float:
        return ROW * (len(self.above) + 1 + len(self.below)) + row * self.queries


def draw(
    canvas: Canvas, labels: Labels, cell: DrawCell, x: Number, y: Number, least: Number = CELL, row: Number = ROW
) -> None:
    """The labels and the cells, with the upper left corner at (x, y).

    Args:
        least, row: smallest width, and height, of the cells.
    """
    width, start = labels.cell_width(least), x + labels.margin()
    for side in labels.above:
        _across(canvas, side, start, y + ROW / 2, width, labels.margin())
        y += ROW
    at = start - sum(map(_column, labels.left))
    for side in labels.left:
        _down(canvas, side, at, y, row)
        at += _column(side)
    at = start + labels.keys * width + PAD
    for side in labels.right:
        _down(canvas, side, at, y, row)
        at += _column(side)
    y += ROW
    for query in range(labels.queries):
        for key in range(labels.keys):
            cell(query, key, start + key * width, y + query * row, width, row)
    y += labels.queries * row
    for side in labels.below:
        _across(canvas, side, start, y + ROW / 2, width, labels.margin())
        y += ROW


def _column(side: Side) -> float:
    """The width of a column of values beside the cells."""
    widest = max(text_width(value_text(v), SIZE, bold=side.strong) for v in side.values)
    return min(max(text_width(side.title, 11), widest), NAME) + 2 * PAD


def _across(canvas: Canvas, side: Side, x: float, y: float, width: float, margin: float) -> None:
    if side.title:
        room, about = margin - PAD, _about(side)
        canvas.text(x - PAD, y, side.title, anchor="end", colour="soft", width=room, tip=about, role="name")
    for i, value in enumerate(side.values):
        draw_value(canvas, x + (i + 0.5) * width, y, value, width - 4, strong=side.strong)


def _down(canvas: Canvas, side: Side, x: float, y: float, row: Number) -> None:
    width = _column(side)
    middle = x + width / 2
    canvas.text(
        middle,
        y + ROW / 2,
        side.title,
        size=11,
        anchor="middle",
        colour="soft",
        width=width - PAD,
        tip=_about(side),
        role="name",
    )
    for i, value in enumerate(side.values):
        draw_value(canvas, middle, y + ROW + (i + 0.5) * row, value, width - PAD, strong=side.strong)


def draw_value(
    canvas: Canvas, x: float, y: float, value: Any, width: float, *, strong: bool = False, size: Number = SIZE
) -> None:
    """A value in the middle of a cell; undefined ones are marked."""
    text, colour = value_text(value), "soft" if value is None else "ink"
    tip = "undefined" if value is None else None
    canvas.text(x, y, text, size=size, anchor="middle", colour=colour, bold=strong, width=width, tip=tip, role="value")


def _about(side: Side) -> str:
    return side.title if side.formula == side.name else f"{side.title} = {side.formula}"
