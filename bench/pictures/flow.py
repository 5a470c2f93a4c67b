"""How a program computes its output on one input, layer by layer, as RASP's `draw` shows it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, final

from gaugeblock.pictures.grid import draw_value
from gaugeblock.pictures.run_trace import Head, Row, RunTrace, trace
from gaugeblock.pictures.svg import Canvas, Picture, text_width
from gaugeblock.programs.printing import value_text
from gaugeblock.programs.program import Program

PAGE: Final = 1200.0  # panels stand beside each other as far as they fit into it
MIN_PANEL: Final = 290.0  # of panels, for the sake of what is written above them
FORMULA: Final = 260.0  # room for what is written behind a row
NAMES: Final = 118.0  # room for the names of rows
LINE, ROW, LINKS = 20.0, 25.0, 58.0  # heights of a line of text, a row of values, and the lines between
PAD: Final = 12.0
MANY_LINES: Final = 24
"""More lines than this in one head are drawn thin."""


def flow(program: Program, xs: Any) -> Picture:
    """Draw layers and heads on one input, from top to bottom.

    Every head has its keys and values above, its queries and results below, and a line from each selected key to the
    query that selects it. Elementwise results stand between the layers.

    Raises InputError and ProgramError as the program does.
    """
    traced = trace(program, xs)
    canvas, grid = Canvas(), _Grid.of(traced)
    y = _strips(canvas, grid, 0.0, "input", [traced.tokens, *traced.inputs])
    y = _strips(canvas, grid, y, "position by position", traced.between[0])
    for layer in range(1, len(traced.between)):
        heads = [head for head in traced.heads if head.layer == layer]
        title = f"layer {layer}: {len(heads)} head{'' if len(heads) == 1 else 's'}"
        room = (grid.panel if len(heads) > 1 else grid.width) - 2 * PAD
        y = _layer(canvas, grid, y, title, [_head(canvas, grid, traced, head, room) for head in heads])
        y = _strips(canvas, grid, y, "position by position", traced.between[layer])
    _strips(canvas, grid, y, "output", traced.outputs, output=True)
    words, result = (" ".join(map(value_text, row.values)) for row in (traced.tokens, traced.outputs[0]))
    return canvas.picture(f"How {program.name} works on {words}", f"The first output is {result}")


@final
@dataclass(frozen=True)
class _Grid:
    """The places of panels and their columns.

    Attributes:
        cell: the width of a column.
        panel: the width of a panel.
        beside: how many panels stand beside each other at most.
        width: of everything.
    """

    cell: float
    panel: float
    beside: int
    width: float

    @staticmethod
    def of(traced: RunTrace) -> "_Grid":
        rows = [traced.tokens, *traced.inputs, *traced.outputs, *(row for rows in traced.between for row in rows)]
        for head in traced.heads:
            rows += [row for rows in _rows(traced, head) for _, row, _ in rows]
        widest = max(text_width(value_text(value), 12) for row in rows for value in row.values)
        cell = min(max(26.0, widest + 10), 76.0)
        panel = max(NAMES + traced.length * cell + 2 * PAD, MIN_PANEL)
        most = max(Counter(head.layer for head in traced.heads).values(), default=1)
        beside = min(max(1, int(PAGE // panel)), most)
        return _Grid(cell, panel, beside, max(panel + FORMULA, beside * panel))

    def column(self, x: float, i: int) -> float:
        """The middle of the i-th position in a panel at x."""
        return x + NAMES + (i + 0.5) * self.cell


@final
@dataclass(frozen=True)
class _Panel:
    height: float
    draw: Callable[[float, float], None]


def _layer(canvas: Canvas, grid: _Grid, y: float, title: str, panels: Sequence[_Panel]) -> float:
    """Draw the heads of a layer beside and below each other; return the height where they end."""
    shelves, rest = [], iter(panels)
    while shelf := list(islice(rest, grid.beside)):
        shelves.append(shelf)
    height = LINE + sum(max(panel.height for panel in shelf) + PAD for shelf in shelves)
    canvas.rect(-PAD, y, grid.width + 2 * PAD, height + PAD / 2, fill="tint", radius=8)
    y += PAD / 2
    canvas.text(0, y + LINE / 2, title, bold=True, colour="accent")
    y += LINE
    for shelf in shelves:
        for i, panel in enumerate(shelf):
            panel.draw(i * grid.panel, y)
        y += max(panel.height for panel in shelf) + PAD
    return y + PAD


def _strip(canvas: Canvas, grid: _Grid, y: float, row: Row, *, output: bool = False) -> float:
    """Draw a row of values, with its formula behind it; return the height where it ends."""
    name = "output" if output and row.name == row.formula else row.name
    _values(canvas, grid, 0.0, y, row, "", boxed=True, strong=output, name=name)
    if row.formula != name:
        text = f"= {row.formula}"
        canvas.text(grid.panel - PAD, y + ROW / 2, text, size=11, colour="soft", width=FORMULA)
    return y + ROW


def _strips(canvas: Canvas, grid: _Grid, y: float, title: str, rows: Sequence[Row], output: bool = False) -> float:
    """Draw rows below each other under a title, if there are any; return the height where they end."""
    if not rows:
        return y
    canvas.text(0, y + LINE / 2, title, bold=True, colour="accent")
    y += LINE
    for row in rows:
        y = _strip(canvas, grid, y, row, output=output)
    return y + PAD


_Rows = list[tuple[str, Row, bool]]


def _rows(traced: RunTrace, head: Head) -> tuple[_Rows, _Rows]:
    """(role, row, whether it is what the head reads or gives) above and below the lines of a head."""
    values = {r.value.name: r.value for r in head.reductions if not r.value.constant}
    above = [("key", row, False) for row in head.keys if row.name not in values]
    if head.score is not None and head.score.name not in values and head.score not in head.keys:
        above.append(("score", head.score, False))
    above += [("value", row, True) for row in values.values()]
    below = [("query", row, False) for row in head.queries]
    below += [("result", r.result, True) for r in head.reductions]
    return above or [("key", traced.tokens, False)], below


def _head(canvas: Canvas, grid: _Grid, traced: RunTrace, head: Head, room: float) -> _Panel:
    """The panel of a head, with so much room for what is written above it."""
    above, below = _rows(traced, head)
    formulas = [f"{r.name} = {r.result.formula}" for r in head.reductions]
    named = head.selector is not None and head.selector != head.formula
    height = LINE * (len(formulas) + named) + ROW * (len(above) + len(below)) + LINKS

    def draw(x: float, y: float) -> None:
        for formula in formulas:
            canvas.text(x, y + LINE / 2, formula, size=12, width=room)
            y += LINE
        if named:
            text = f"{head.selector} = {head.formula}"
            canvas.text(x, y + LINE / 2 - 2, text, size=11, colour="soft", width=room)
            y += LINE
        for role, row, boxed in above:
            _values(canvas, grid, x, y, row, role, boxed=boxed)
            y += ROW
        pairs = [(q, k) for q, chosen in enumerate(head.selected.tolist()) for k in range(len(chosen)) if chosen[k]]
        thickness, opacity = (1, 0.55) if len(pairs) > MANY_LINES else (1.8, 0.85)
        for query, key in pairs:
            canvas.curve(
                (grid.column(x, key), y + 2),
                (grid.column(x, query), y + LINKS - 5),
                stroke="accent",
                thickness=thickness,
                opacity=opacity,
                tip=f"query {query} selects key {key}",
                head=head.name,
                query=query,
                key=key,
            )
        for query in {query for query, _ in pairs}:
            canvas.circle(grid.column(x, query), y + LINKS - 4, 2.5, fill="accent")
        y += LINKS
        for role, row, boxed in below:
            _values(canvas, grid, x, y, row, role, boxed=boxed, strong=boxed)
            y += ROW

    return _Panel(height, draw)


def _values(
    canvas: Canvas,
    grid: _Grid,
    x: float,
    y: float,
    row: Row,
    role: str,
    *,
    boxed: bool = False,
    strong: bool = False,
    name: str | None = None,
) -> None:
    title = f"{role} {name or row.name}".strip()
    tip = title if row.formula == (name or row.name) else f"{title} = {row.formula}"
    canvas.text(x + NAMES - 8, y + ROW / 2, title, anchor="end", colour="soft", width=NAMES - 10, tip=tip)
    for i, value in enumerate(row.values):
        left = grid.column(x, i) - grid.cell / 2
        if boxed:
            canvas.rect(left + 1.5, y + 1.5, grid.cell - 3, ROW - 3, fill="paper", stroke="line", radius=4)
        draw_value(canvas, grid.column(x, i), y + ROW / 2, value, grid.cell - 5, strong=strong)
