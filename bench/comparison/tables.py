"""A comparison of a model with a swapped one, as a picture and as tables for a terminal."""

from collections.abc import Sequence
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from gaugeblock.comparison.compare import MEAN, ZERO, Found
from gaugeblock.comparison.figures import DUST, Comparison, Example, Part
from gaugeblock.metrics.bootstrap import Interval
from gaugeblock.pictures.grid import value_text
from gaugeblock.pictures.svg import Canvas, Picture, text_width
from gaugeblock.programs.printing import shown

ROWS: Final = 12
"""Rows of a table at most: those that diverge most."""

WIDTH: Final = 24
"""Positions of an example that are shown: around the one that diverges most."""

LINE: Final = 88
"""Columns of a terminal's line that an example's tokens have."""

LEFT, PLOT, BAR, NARROWEST, WIDEST = 64.0, 700.0, 74.0, 4.0, 44.0  # names, bars: width of all, height, width of one
ROW, CELL, LONGEST = 22.0, 26.0, 76.0  # of the examples


def comparison(of: Comparison) -> Picture:
    """Bars of accuracy and divergence for each position, with intervals, and the examples that diverge most.

    What the swapped model says otherwise than the model is marked.
    """
    canvas = Canvas()
    canvas.text(0, 0, "Swapped against model", size=14, bold=True)
    summary = "    ".join(f"{name} {figure(interval)}" for name, interval in figures(of))
    canvas.text(0, 22, summary, size=11, colour="soft", role="summary")
    top = max(part.divergence.high or part.divergence.estimate for part in of.by_position)
    y = 62.0
    y = _bars(canvas, of.by_position, "accuracy", [part.accuracy for part in of.by_position], 1.0, "accent", y)
    y = _bars(canvas, of.by_position, measure(of), [part.divergence for part in of.by_position], top, "alarm", y)
    _places(canvas, of.by_position, y)
    y += 14
    if of.worst:
        canvas.text(0, y, "Examples that diverge most", size=13, bold=True)
        y += 8
    for example in of.worst:
        y = _example(canvas, of, example, y + 16)
    return canvas.picture(
        "Swapped against model", f"{summary}. Accuracy and {measure(of)} by position, worst examples."
    )


def tables(of: Comparison) -> Group:
    """The figures, by position, by output, and the worst examples."""
    n_examples, n = of.accuracy.n_clusters, len(of.examples)
    head = _table(f"swapped against model: {_count(n_examples, 'example')}, {_count(n, 'position')}")
    head.add_column("", justify="left")
    for name in ("mean", "95 % interval"):
        head.add_column(name, justify="right")
    for name, interval in figures(of):
        head.add_row(name, figure(interval), _range(interval))
    blocks: list[Any] = [head]
    for name, parts in (("position", of.by_position), ("model's answer", of.by_output)):
        blocks += [_parts(of, name, parts)] if parts else []
    if of.worst:
        blocks.append(Text("examples that diverge most", style="bold"))
        blocks += [_lines(of, example) for example in of.worst]
    else:
        blocks.append(Text("no example diverges"))
    return Group(*blocks)


def found_table(found: Sequence[Found]) -> Table:
    """What `swap_search` found, for a terminal; below, what does not fit, and sites that this data does not need."""
    numeric = any(f.comparison is not None and f.comparison.numeric for f in found)
    table = _table("swapped one by one")
    for name in ("site", "by"):
        table.add_column(name)
    for name in ("sq. diff." if numeric else "KL, nats", "accuracy", "95 % interval", "loss recovered"):
        table.add_column(name, justify="right", no_wrap=True)
    spare = _spare(found)
    site = ""
    for f in found:
        if f.comparison is None or f.site in spare:
            continue
        c = f.comparison
        recovered = "–" if c.loss_recovered is None else figure(c.loss_recovered)
        row = (figure(c.divergence), figure(c.accuracy), _range(c.accuracy), recovered)
        table.add_row(Text(f.site if f.site != site else ""), Text(f.name), *row)
        site = f.site
    skipped = [f"{f.site} by {f.name} does not fit: {f.reason}" for f in found if f.comparison is None]
    if spare:
        skipped.insert(0, f"On this data neither mean nor zero loses anything at {', '.join(spare)}.")
    table.caption = Text("\n".join(skipped))
    return table


def _spare(found: Sequence[Found]) -> list[str]:
    """The sites where the baselines lose nothing."""
    beside: dict[str, list[float]] = {}
    for f in found:
        if f.name in (MEAN, ZERO) and f.comparison is not None:
            beside.setdefault(f.site, []).append(f.comparison.divergence.estimate)
    return [site for site, divergences in beside.items() if max(divergences) <= DUST]


def measure(of: Comparison) -> str:
    """What the divergence is."""
    return "squared difference" if of.numeric else "KL, nats"


def figures(of: Comparison) -> list[tuple[str, Interval]]:
    """The figures of the whole comparison that are defined, by name."""
    all_of_them = [
        ("accuracy", of.accuracy),
        (measure(of), of.divergence),
        ("loss of the model", of.loss),
        ("loss of the swapped", of.swapped_loss),
        ("loss of the baseline", of.baseline_loss),
        ("loss recovered", of.loss_recovered),
    ]
    return [(name, interval) for name, interval in all_of_them if interval is not None]


def figure(interval: Interval) -> str:
    """The estimate, with three digits."""
    return _number(interval.estimate)


def _number(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3f}".replace("-", "−") if abs(value) < 10 else f"{value:.1f}".replace("-", "−")
    return f"{value:.1e}".replace("-", "−")


def _range(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "–"
    return f"{_number(interval.low)} to {_number(interval.high)}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


# --- for a terminal --------------------------------------------------------------------------------------------------


def _table(title: str, caption: str = "") -> Table:
    return Table(
        title=title or None,
        caption=caption or None,
        box=SIMPLE_HEAD,
        pad_edge=False,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
    )


def _parts(of: Comparison, name: str, parts: Sequence[Part]) -> Table:
    worst = sorted(range(len(parts)), key=lambda i: -parts[i].divergence.estimate)[:ROWS]
    left_out = f"{len(parts) - ROWS} more, which diverge less" if len(parts) > ROWS else ""
    table = _table("", left_out)
    for title in (name, "n", "accuracy", "95 % interval", measure(of), "95 % interval"):
        table.add_column(title, justify="right")
    for part in (parts[i] for i in sorted(worst)):
        intervals = (part.accuracy, part.divergence)
        cells = [text for interval in intervals for text in (figure(interval), _range(interval))]
        table.add_row(Text(shown(part.label)), f"{part.n:,}", *cells)
    return table


def _lines(of: Comparison, example: Example) -> Text:
    """Tokens and answers below each other, for a line of 100 columns; what is answered otherwise in brackets."""
    rows = _rows(example)
    columns = []
    for i in range(len(rows[0][1])):
        columns.append([f"[{texts[i]}]" if marks[i] else f" {texts[i]} " for _, texts, marks in rows])
    wide = [max(map(len, column)) for column in columns]
    places = _window(example)
    fitting = _fitting(wide, example.worst - places.start)
    texts = [f"  {name:<9}" for name, _, _ in rows]
    for i in fitting:
        texts = [text + cell.rjust(wide[i]) for text, cell in zip(texts, columns[i], strict=True)]
    return Text("\n".join([_headline(of, example, places[fitting.start : fitting.stop]), *texts]), no_wrap=True)


def _fitting(widths: Sequence[int], worst: int) -> range:
    """The columns that fit a line: the worst one, as many as possible before it, then after it."""
    first, last, room = worst, worst + 1, LINE - widths[worst]
    while first > 0 and widths[first - 1] <= room:
        first -= 1
        room -= widths[first]
    while last < len(widths) and widths[last] <= room:
        room -= widths[last]
        last += 1
    return range(first, last)


def _headline(of: Comparison, example: Example, places: range) -> str:
    unit = "" if of.numeric else " nats"
    text = f"example {example.index}: {measure(of).removesuffix(', nats')} {_number(example.divergence)}{unit}"
    if len(places) < len(example.tokens):
        text += f"; positions {places.start} to {places.stop - 1} of {len(example.tokens)}"
    return text


def _rows(example: Example) -> list[tuple[str, list[str], list[bool]]]:
    """(name, texts, whether to mark each) of the tokens, the model's answers and the swapped model's, in a window."""
    places = _window(example)
    compared = [p in example.answers for p in places]
    own = [shown(example.answers[p][0]) if c else "" for p, c in zip(places, compared, strict=True)]
    other = [shown(example.answers[p][1]) if c else "" for p, c in zip(places, compared, strict=True)]
    differs = [c and not example.agreed[p] for p, c in zip(places, compared, strict=True)]
    none = [False] * len(places)
    tokens = [shown(example.tokens[p]) for p in places]
    return [("tokens", tokens, none), ("model", own, none), ("swapped", other, differs)]


def _window(example: Example) -> range:
    first = max(0, min(example.worst - WIDTH // 2, len(example.tokens) - WIDTH))
    return range(first, min(first + WIDTH, len(example.tokens)))


# --- as a picture ----------------------------------------------------------------------------------------------------


def _bar_width(n: int) -> float:
    return min(max(PLOT / n, NARROWEST), WIDEST)


def _bars(
    canvas: Canvas,
    parts: Sequence[Part],
    name: str,
    values: Sequence[Interval],
    top: float,
    colour: str,
    y: float,
) -> float:
    """Bars from 0 to `top` beside each other; the height where they end."""
    wide, bottom = _bar_width(len(parts)), y + BAR
    right = LEFT + wide * len(parts)
    canvas.text(0, y - 14, name, size=11)
    for height, text in ((y, f"{top:.3g}"), (bottom, "0")):
        canvas.line([(LEFT, height), (right, height)])
        if height == bottom or top > 0:
            canvas.text(LEFT - 6, height, text, size=10, anchor="end", colour="soft")
    scale = BAR / top if top > 0 else 0.0
    for i, (part, value) in enumerate(zip(parts, values, strict=True)):
        x, high = LEFT + i * wide, value.estimate * scale
        tip = f"position {part.label}: {name} {_number(value.estimate)}, {_range(value)}; {_count(part.n, 'example')}"
        box = (x + wide / 8, bottom - high, wide * 3 / 4, high)
        data: dict[str, Any] = {"position": part.label, "measure": name, "value": f"{value.estimate:.6g}"}
        canvas.rect(*box, fill=colour, opacity=0.75, tip=tip, **data)
        if value.low is not None and value.high is not None and value.high > value.low:
            middle = x + wide / 2
            line = [(middle, bottom - value.low * scale), (middle, bottom - min(value.high, top) * scale)]
            canvas.line(line, stroke="ink", tip=tip)
    return bottom + 36


def _places(canvas: Canvas, parts: Sequence[Part], y: float) -> None:
    """The numbers of the positions below the bars, as many as there is room for."""
    wide = _bar_width(len(parts))
    every = max(1, round(24 / wide + 0.5))
    for i, part in enumerate(parts[::every]):
        canvas.text(LEFT + (i * every + 0.5) * wide, y - 24, str(part.label), size=10, anchor="middle", colour="soft")
    canvas.text(0, y - 24, "position", size=11, colour="soft")


def _example(canvas: Canvas, of: Comparison, example: Example, y: float) -> float:
    """Tokens and answers below each other; the height where they end."""
    rows, places = _rows(example), _window(example)
    canvas.text(0, y, _headline(of, example, places), size=11, colour="soft", role="example", example=example.index)
    longest = max(text_width(t, 12) for _, texts, _ in rows for t in texts)
    wide = min(max(CELL, longest + 8), LONGEST)
    y += 8
    for name, _, marks in rows:
        middle = y + ROW / 2
        canvas.text(LEFT - 6, middle, name, anchor="end", colour="soft", size=11)
        for i, (place, marked) in enumerate(zip(places, marks, strict=True)):
            x = LEFT + i * wide
            compared = place in example.answers
            if name == "tokens" or compared:
                fill = "tint" if name == "tokens" else "pale" if not marked else "alarm"
                box = (x + 1, y + 1, wide - 2, ROW - 2)
                opacity = 0.35 if marked else 1
                data: dict[str, Any] = {"place": place, "row": name, "differs": marked}
                canvas.rect(*box, fill=fill, stroke="line", opacity=opacity, radius=3, **data)
                value_text(canvas, x + wide / 2, middle, _value(example, name, place), wide - 4, strong=marked)
        y += ROW
    return y


def _value(example: Example, row: str, place: int) -> Any:
    return example.tokens[place] if row == "tokens" else example.answers[place][row == "swapped"]
