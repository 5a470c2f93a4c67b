"""Grids of what each selector of a program selects on one input."""

from typing import Any, Final

from gaugeblock.pictures.grid import PAD, ROW, Frame, Strip, draw
from gaugeblock.pictures.run_trace import Head, RunTrace, trace
from gaugeblock.pictures.svg import Canvas, Picture, text_width
from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.printing import value_text
from gaugeblock.programs.program import Program

GAP_BETWEEN_GRIDS: Final = 34.0
MIN_HEADING_WIDTH: Final = 420.0  # room for headings at least


def selector_grid(program: Program, xs: Any, which: str | None = None) -> Picture:
    """Draw keys above, queries left, values below, results right, and a cell for each pair: filled where selected.

    Args:
        xs: one input.
        which: the name of a selector, or of what is read over it; all of them, one below the other, if not given.

    Raises InputError and ProgramError as the program does, and ProgramError for a name that is not in it.
    """
    traced = trace(program, xs)
    canvas, y = Canvas(), 0.0
    heads = chosen(traced, which)
    for head in heads:
        y = _grid(canvas, traced, head, y) + GAP_BETWEEN_GRIDS
    _legend(canvas, y - GAP_BETWEEN_GRIDS + PAD, any(head.score is not None for head in heads))
    words = " ".join(map(value_text, traced.tokens.values))
    title = f"What {program.name} selects on {words}"
    return canvas.picture(title, "; ".join(_in_words(head) for head in heads))


def chosen(traced: RunTrace, which: str | None) -> tuple[Head, ...]:
    """The heads whose selector or reductions have this name. Raises ProgramError if there are none."""
    names = list(dict.fromkeys(name for head in traced.heads for name in _names(head)))
    heads = tuple(head for head in traced.heads if which is None or which in _names(head))
    if not heads:
        program = traced.program.name
        if not names:
            raise ProgramError(f"program {program!r} selects nothing: it works on each position by itself")
        raise ProgramError(f"program {program!r} has no selector or reduction {which!r}; it has {', '.join(names)}")
    return heads


def _names(head: Head) -> list[str]:
    return [*([head.selector] if head.selector else []), *(reduction.name for reduction in head.reductions)]


def _grid(canvas: Canvas, traced: RunTrace, head: Head, y: float) -> float:
    """Draw one grid with its heading; return the height where it ends."""
    keys = head.keys or (traced.tokens,)
    queries = head.queries or (traced.tokens,)
    above = [Strip.of("key", row) for row in keys]
    if head.score is not None:
        above.append(Strip.of("score", head.score))
    frame = Frame(
        traced.length,
        traced.length,
        above=above,
        left=[Strip.of("query", row) for row in queries],
        below=[Strip.of("value", reduction.value) for reduction in head.reductions],
        right=[Strip.of("result", r.result, strong=True, name=r.name) for r in head.reductions],
    )
    room = max(frame.width(), MIN_HEADING_WIDTH)
    for formula in [f"{r.name} = {r.result.formula}" for r in head.reductions]:
        canvas.text(0, y + ROW / 2, formula, size=13, bold=True, width=room, tip=formula, role="heading")
        y += ROW
    if head.selector is not None and head.selector != head.formula:
        canvas.text(0, y + ROW / 2 - 2, f"{head.selector} = {head.formula}", colour="soft", width=room, role="heading")
        y += ROW

    def cell(query: int, key: int, x: float, y: float, width: float, height: float) -> None:
        selected, candidate = bool(head.selected[query, key]), bool(head.candidates[query, key])
        verb = "selected" if selected else "selected, but not the best" if candidate else "not selected"
        canvas.rect(
            x + 1.5,
            y + 1.5,
            width - 3,
            height - 3,
            fill="accent" if selected else "tint",
            stroke="accent" if candidate else "line",
            dashes=None if selected or not candidate else "3 2",
            radius=3,
            tip=f"key {key} is {verb} at query {query}",
            head=head.name,
            query=query,
            key=key,
            selected=int(selected),
            candidate=int(candidate),
        )
        if selected:
            canvas.circle(x + width / 2, y + height / 2, 3, fill="paper")

    draw(canvas, frame, cell, 0, y)
    return y + frame.height()


def _legend(canvas: Canvas, y: float, ranked: bool) -> None:
    entries: list[tuple[str, str | None, str]] = [("accent", None, "selected"), ("tint", None, "not selected")]
    if ranked:
        entries.insert(1, ("tint", "3 2", "selected, but not the best"))
    x = 0.0
    for fill, dashes, text in entries:
        stroke = "accent" if dashes or fill == "accent" else "line"
        canvas.rect(x, y + 4, 18, 14, fill=fill, stroke=stroke, dashes=dashes, radius=3)
        if fill == "accent":
            canvas.circle(x + 9, y + 11, 2.5, fill="paper")
        canvas.text(x + 25, y + 11, text, size=11, colour="soft")
        x += 25 + text_width(text, 11) + 18


def _in_words(head: Head) -> str:
    pairs = [
        f"query {q}: " + (" ".join(str(k) for k, chosen in enumerate(row) if chosen) or "none")
        for q, row in enumerate(head.selected.tolist())
    ]
    return f"{head.name} selects keys at " + ", ".join(pairs)
