"""The grid of queries and keys with what stands at them: keys above, queries left, values below, results right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from gaugeblock.pictures.run_trace import Row
from gaugeblock.pictures.svg import Canvas, Number, text_width
from gaugeblock.programs.printing import value_text

CELL: Final = 26.0
MAX_CELL_WIDTH: Final = 76.0  # of a cell, with a value in it
ROW: Final = 22.0
MAX_NAME_WIDTH: Final = 150.0  # room for the name of a row at most
PAD: Final = 8.0
FONT_SIZE: Final = 12

DrawCell = Callable[[int, int, float, float, float, float], None]
"""Draws the cell of a query and a key at x, y with its width and height."""


@final
@dataclass(frozen=True)
class Strip:
    """Values along an edge of the grid, and what they are: `role` is key, query, value or result."""

    role: str
    name: str
    formula: str
    values: tuple[Any, ...]
    strong: bool = False

    @property
    def title(self) -> str:
        return f"{self.role} {self.name}".strip()

    @staticmethod
    def of(role: str, row: Row, strong: bool = False, name: str | None = None) -> "Strip":
        return Strip(role, name or row.name, row.formula, row.values, strong)


@final
@dataclass(frozen=True)
class Frame:
    """The size of a grid, and what stands around it."""

    queries: int
    keys: int
    above: Sequence[Strip] = ()
    left: Sequence[Strip] = ()
    below: Sequence[Strip] = ()
    right: Sequence[Strip] = ()

    def cell_width(self, least: Number = CELL) -> float:
        """The width of a cell: enough for the values above and below."""
        texts = [value_text(v) for strip in (*self.above, *self.below) for v in strip.values]
        return min(max([least, *(text_width(t, FONT_SIZE) + 6 for t in texts)]), MAX_CELL_WIDTH)

    def margin(self) -> float:
        """The room left of the cells."""
        names = [text_width(strip.title, FONT_SIZE) + PAD for strip in (*self.above, *self.below)]
        return max(min(max(names, default=0), MAX_NAME_WIDTH), sum(map(_column, self.left)))

    def width(self, least: Number = CELL) -> float:
        return self.margin() + self.keys * self.cell_width(least) + sum(map(_column, self.right)) + PAD

    def height(self, row: Number = ROW) -> float:
        return ROW * (len(self.above) + 1 + len(self.below)) + row * self.queries


def draw(
    canvas: Canvas, frame: Frame, cell: DrawCell, x: Number, y: Number, least: Number = CELL, row: Number = ROW
) -> None:
    """Draw the frame and the cells, with the upper left corner at (x, y).

    Args:
        least, row: smallest width, and height, of the cells.
    """
    width, start = frame.cell_width(least), x + frame.margin()
    for strip in frame.above:
        _across(canvas, strip, start, y + ROW / 2, width, frame.margin())
        y += ROW
    at = start - sum(map(_column, frame.left))
    for strip in frame.left:
        _down(canvas, strip, at, y, row)
        at += _column(strip)
    at = start + frame.keys * width + PAD
    for strip in frame.right:
        _down(canvas, strip, at, y, row)
        at += _column(strip)
    y += ROW
    for query in range(frame.queries):
        for key in range(frame.keys):
            cell(query, key, start + key * width, y + query * row, width, row)
    y += frame.queries * row
    for strip in frame.below:
        _across(canvas, strip, start, y + ROW / 2, width, frame.margin())
        y += ROW


def _column(strip: Strip) -> float:
    """The width of a column of values beside the cells."""
    widest = max(text_width(value_text(v), FONT_SIZE, bold=strip.strong) for v in strip.values)
    return min(max(text_width(strip.title, 11), widest), MAX_NAME_WIDTH) + 2 * PAD


def _across(canvas: Canvas, strip: Strip, x: float, y: float, width: float, margin: float) -> None:
    if strip.title:
        room, about = margin - PAD, _about(strip)
        canvas.text(x - PAD, y, strip.title, anchor="end", colour="soft", width=room, tip=about, role="name")
    for i, value in enumerate(strip.values):
        draw_value(canvas, x + (i + 0.5) * width, y, value, width - 4, strong=strip.strong)


def _down(canvas: Canvas, strip: Strip, x: float, y: float, row: Number) -> None:
    width = _column(strip)
    middle = x + width / 2
    canvas.text(
        middle,
        y + ROW / 2,
        strip.title,
        size=11,
        anchor="middle",
        colour="soft",
        width=width - PAD,
        tip=_about(strip),
        role="name",
    )
    for i, value in enumerate(strip.values):
        draw_value(canvas, middle, y + ROW + (i + 0.5) * row, value, width - PAD, strong=strip.strong)


def draw_value(
    canvas: Canvas, x: float, y: float, value: Any, width: float, *, strong: bool = False, size: Number = FONT_SIZE
) -> None:
    """Draw a value in the middle of a cell; undefined ones are marked."""
    text, colour = value_text(value), "soft" if value is None else "ink"
    tip = "undefined" if value is None else None
    canvas.text(x, y, text, size=size, anchor="middle", colour=colour, bold=strong, width=width, tip=tip, role="value")


def _about(strip: Strip) -> str:
    return strip.title if strip.formula == strip.name else f"{strip.title} = {strip.formula}"
