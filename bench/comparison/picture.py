"""The picture of a comparison: accuracy and divergence by position, and the examples that diverge most."""

from collections.abc import Sequence
from typing import Any

from gaugeblock.comparison.figures import Example, Figures, PositionGroup
from gaugeblock.comparison.texts import (
    count_text,
    estimate_text,
    example_rows,
    headline,
    number_text,
    range_text,
    window,
)
from gaugeblock.metrics.bootstrap import Interval
from gaugeblock.pictures.grid import draw_value
from gaugeblock.pictures.svg import Canvas, Picture, text_width

NAMES, PLOT, BAR, MIN_BAR, MAX_BAR = 64.0, 700.0, 74.0, 4.0, 44.0  # widths of names, all bars; height, width of one
ROW, MIN_CELL, MAX_CELL = 22.0, 26.0, 76.0  # of the examples


def draw_comparison(figures: Figures) -> Picture:
    """Draw bars of accuracy and divergence for each position, with intervals, and the examples that diverge most.

    What the swapped model says otherwise than the model is marked.
    """
    canvas = Canvas()
    canvas.text(0, 0, "Swapped against model", size=14, bold=True)
    summary = "    ".join(f"{name} {estimate_text(interval)}" for name, interval in figures.by_name())
    canvas.text(0, 22, summary, size=11, colour="soft", role="summary")
    groups, y = figures.by_position, 62.0
    top = max(group.divergence.high or group.divergence.estimate for group in groups)
    y = _bars(canvas, groups, "accuracy", [group.accuracy for group in groups], 1.0, "accent", y)
    y = _bars(canvas, groups, figures.measure, [group.divergence for group in groups], top, "alarm", y)
    _places(canvas, groups, y)
    y += 14
    if figures.worst:
        canvas.text(0, y, "Examples that diverge most", size=13, bold=True)
        y += 8
    for example in figures.worst:
        y = _example(canvas, figures, example, y + 16)
    return canvas.picture(
        "Swapped against model", f"{summary}. Accuracy and {figures.measure} by position, worst examples."
    )


def _bar_width(n: int) -> float:
    return min(max(PLOT / n, MIN_BAR), MAX_BAR)


def _bars(
    canvas: Canvas,
    groups: Sequence[PositionGroup],
    name: str,
    values: Sequence[Interval],
    top: float,
    colour: str,
    y: float,
) -> float:
    """Draw bars from 0 to `top` beside each other; return the height where they end."""
    wide, bottom = _bar_width(len(groups)), y + BAR
    right = NAMES + wide * len(groups)
    canvas.text(0, y - 14, name, size=11)
    for height, text in ((y, f"{top:.3g}"), (bottom, "0")):
        canvas.line([(NAMES, height), (right, height)])
        if height == bottom or top > 0:
            canvas.text(NAMES - 6, height, text, size=10, anchor="end", colour="soft")
    scale = BAR / top if top > 0 else 0.0
    for i, (group, value) in enumerate(zip(groups, values, strict=True)):
        x, high = NAMES + i * wide, value.estimate * scale
        tip = f"position {group.label}: {name} {number_text(value.estimate)}, {range_text(value)}; "
        tip += count_text(group.n, "example")
        box = (x + wide / 8, bottom - high, wide * 3 / 4, high)
        data: dict[str, Any] = {"position": group.label, "measure": name, "value": f"{value.estimate:.6g}"}
        canvas.rect(*box, fill=colour, opacity=0.75, tip=tip, **data)
        if value.low is not None and value.high is not None and value.high > value.low:
            middle = x + wide / 2
            line = [(middle, bottom - value.low * scale), (middle, bottom - min(value.high, top) * scale)]
            canvas.line(line, stroke="ink", tip=tip)
    return bottom + 36


def _places(canvas: Canvas, groups: Sequence[PositionGroup], y: float) -> None:
    """Draw the numbers of the positions below the bars, as many as there is room for."""
    wide = _bar_width(len(groups))
    every = max(1, round(24 / wide + 0.5))
    for i, group in enumerate(groups[::every]):
        canvas.text(NAMES + (i * every + 0.5) * wide, y - 24, str(group.label), size=10, anchor="middle", colour="soft")
    canvas.text(0, y - 24, "position", size=11, colour="soft")


def _example(canvas: Canvas, figures: Figures, example: Example, y: float) -> float:
    """Draw tokens and answers below each other; return the height where they end."""
    rows, places = example_rows(example), window(example)
    canvas.text(0, y, headline(figures, example, places), size=11, colour="soft", role="example", example=example.index)
    longest = max(text_width(t, 12) for _, texts, _ in rows for t in texts)
    wide = min(max(MIN_CELL, longest + 8), MAX_CELL)
    y += 8
    for name, _, marks in rows:
        middle = y + ROW / 2
        canvas.text(NAMES - 6, middle, name, anchor="end", colour="soft", size=11)
        for i, (place, marked) in enumerate(zip(places, marks, strict=True)):
            x = NAMES + i * wide
            compared = place in example.answers
            if name == "tokens" or compared:
                fill = "tint" if name == "tokens" else "pale" if not marked else "alarm"
                box = (x + 1, y + 1, wide - 2, ROW - 2)
                opacity = 0.35 if marked else 1
                data: dict[str, Any] = {"place": place, "row": name, "differs": marked}
                canvas.rect(*box, fill=fill, stroke="line", opacity=opacity, radius=3, **data)
                draw_value(canvas, x + wide / 2, middle, _value(example, name, place), wide - 4, strong=marked)
        y += ROW
    return y


def _value(example: Example, row: str, place: int) -> Any:
    return example.tokens[place] if row == "tokens" else example.answers[place][row == "swapped"]
