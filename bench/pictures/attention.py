"""A compiled head's attention beside the selector it carries out."""

import re
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float

from gaugeblock.compiled.edges.graph import hook_of
from gaugeblock.compiled.lowered.operations import BOS, INDICES, PRESENT, Attention
from gaugeblock.compiled.lowered.semantics import pattern, run
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.pictures.grid import PAD, ROW, DrawCell, Frame, Strip, draw
from gaugeblock.pictures.svg import Canvas, Picture
from gaugeblock.programs.errors import ProgramError

GAP_BETWEEN_HEADS: Final = 30.0
CELL: Final = 31.0
NEGLIGIBLE_WEIGHT: Final = 5e-4
"""Weights and differences below this are drawn as nothing."""


def attention(model: CompiledModel, xs: Any, which: str | None = None) -> Picture:
    """Draw for each head the selector as weights, the attention pattern of the model, and pattern minus selector.

    The first key is the start token, to which a head attends that selects nothing. A head that sums attends to it
    beside the selected keys; where it is so heavy that the rest could not be seen, the pattern is shown without it,
    scaled to 1, and the caption says so.

    Args:
        xs: one input.
        which: a head (`a0.h1`), a variable it writes, or its operation in the lowered program; all heads, one below
            the other, if not given.

    Raises InputError for what the program refuses, and ProgramError for a head that is not there.
    """
    heads = _chosen(model, which)
    tokens = model.encode([model.program.check(xs, model.lowered.max_len)])
    codes = run(model.lowered, tokens.cpu().numpy())
    hooks = {site: hook_of(f"{site}.pattern", model.hooked.cfg.n_layers) for site, _ in heads}
    with torch.no_grad():
        _, cache = model.hooked.run_with_cache(tokens, names_filter=[hook.point for hook in hooks.values()])
    canvas, y, words = Canvas(), 0.0, []
    for site, op in heads:
        seen = cache[hooks[site].point][0, hooks[site].head, 1:].double().cpu().numpy()
        selector, _ = pattern(op, codes, model.real(tokens).cpu().numpy())
        compared = _compare(model, {name: row[0] for name, row in codes.items()}, site, op, selector[0, 1:], seen)
        words.append(f"{compared.title}: {compared.caption}")
        y = _draw(canvas, compared, y) + GAP_BETWEEN_HEADS
    return canvas.picture(f"Selectors and attention of {model.program.name}", "; ".join(words))


@final
@dataclass(frozen=True)
class _Compared:
    """A selector and a pattern, [query, key] with the start token as the first key."""

    site: str
    title: str
    caption: str
    expected: Float[np.ndarray, "query key"]
    pattern: Float[np.ndarray, "query key"]
    without_sink: bool
    keys: tuple[Strip, ...]
    queries: tuple[Strip, ...]


def _chosen(model: CompiledModel, which: str | None) -> list[tuple[str, Attention]]:
    sites = model.provenance.sites
    heads = [(sites[op.name], op) for op in model.lowered.operations if isinstance(op, Attention)]
    heads = sorted(heads, key=lambda head: [int(number) for number in re.findall(r"\d+", head[0])])
    chosen = [(site, op) for site, op in heads if which is None or which in (site, op.name, *op.outs)]
    if not chosen:
        program = model.program.name
        if not heads:
            raise ProgramError(f"program {program!r} compiles to no heads: it works on each position by itself")
        known = ", ".join(f"{site} ({', '.join(op.outs)})" for site, op in heads)
        raise ProgramError(f"the model of {program!r} has no head {which!r}; it has {known}")
    return chosen


def _compare(
    model: CompiledModel,
    codes: dict[str, np.ndarray],
    site: str,
    op: Attention,
    expected: np.ndarray,
    pattern: np.ndarray,
) -> _Compared:
    worst = float(np.abs(pattern - expected).max())
    without_sink = op.counts_sink and op.sink > 1
    if without_sink:
        expected, pattern = _without_sink(expected, op.sink), _without_sink(pattern, op.sink)
        worst = max(worst, float(np.abs(pattern - expected).max()))
    caption = f"largest difference {worst:.0e}" if worst else "no difference"
    if without_sink:
        caption += f"; shown without the start token, which weighs as much as {op.sink:,.0f} keys"
    conditions = [c for c in op.conditions if c.key not in (PRESENT, BOS)]
    keys = list(dict.fromkeys([*(c.key for c in conditions), *([op.ranking.variable] if op.ranking else [])]))
    queries = list(dict.fromkeys(c.query for c in conditions if c.query is not None))

    def strip(role: str, name: str, first: tuple[Any, ...]) -> Strip:
        if name == INDICES:  # also where no variable holds them
            return Strip(role, name, name, (*first, *range(len(pattern))))
        values = model.lowered.variables[name].values
        return Strip(role, name, name, (*first, *(values[c] if c >= 0 else None for c in codes[name][1:].tolist())))

    return _Compared(
        site=site,
        title=f"{site} writes {', '.join(op.outs)}",
        caption=caption,
        expected=expected,
        pattern=pattern,
        without_sink=without_sink,
        keys=tuple(strip("key", name, ("BOS",)) for name in keys or [INDICES]),
        queries=tuple(strip("query", name, ()) for name in queries or [INDICES]),
    )


def _without_sink(weights: np.ndarray, sink: float) -> Float[np.ndarray, "query key"]:
    """The weights of the other keys, scaled to 1; 0 where they weigh less together than half of one selected key."""
    rest = weights.copy()
    rest[:, 0] = 0
    total = rest.sum(-1, keepdims=True)
    is_some = total > 0.5 / (1 + sink)
    return np.where(is_some, rest / np.where(is_some, total, 1), 0.0)


def _draw(canvas: Canvas, compared: _Compared, y: float) -> float:
    """Three matrices beside each other; the height where they end."""
    canvas.text(0, y + ROW / 2, compared.title, size=13, bold=True, role="heading")
    canvas.text(0, y + 1.4 * ROW, compared.caption, size=11, colour="soft", role="caption")
    y += 2.2 * ROW
    queries, keys = compared.pattern.shape
    difference = compared.pattern - compared.expected
    x = 0.0
    for kind, weights in (("selector", compared.expected), ("attention", compared.pattern), ("difference", difference)):
        if kind == "selector":
            frame = Frame(queries, keys, above=compared.keys, left=compared.queries)
        else:  # the same names again would only take room
            frame = Frame(queries, keys, above=[replace(strip, role="", name="") for strip in compared.keys])
        middle = x + frame.margin() + keys * frame.cell_width(CELL) / 2
        canvas.text(middle, y + ROW / 2, kind, bold=True, anchor="middle", colour="accent")
        draw(canvas, frame, _cell(canvas, compared, kind, weights), x, y + ROW, CELL)
        x += frame.width(CELL) + PAD
    return y + ROW + frame.height()


def _cell(canvas: Canvas, compared: _Compared, kind: str, weights: np.ndarray) -> DrawCell:
    def cell(query: int, key: int, x: float, y: float, width: float, height: float) -> None:
        weight = float(weights[query, key])
        name = "the start token" if key == 0 else f"key {key - 1}"
        about = f"{kind} at query {query}, {name}: {weight:.4g}"
        box = (x + 1.5, y + 1.5, width - 3, height - 3)
        place: dict[str, Any] = {
            "head": compared.site,
            "part": kind,
            "query": query,
            "key": key - 1,
            "weight": f"{weight:.6g}",
        }
        middle, half = x + width / 2, y + height / 2
        if key == 0 and compared.without_sink:
            canvas.rect(*box, stroke="line", dashes="2 2", radius=3, tip=f"{name}: left out", **place)
            return
        canvas.rect(*box, fill="tint", stroke="line", radius=3, tip=about, **place)
        if abs(weight) < NEGLIGIBLE_WEIGHT:
            return
        strong = min(abs(weight), 1.0)
        canvas.rect(*box, fill="alarm" if kind == "difference" else "accent", opacity=strong, radius=3)
        colour = "paper" if strong > 0.6 else "ink"
        canvas.text(middle, half, _number(weight), size=10, anchor="middle", colour=colour, role="weight", tip=about)

    return cell


def _number(weight: float) -> str:
    """Two digits behind the point, and no zero before it."""
    text = f"{round(weight, 4):.2f}".replace("0.", ".")  # so that 0.125 is the same with and without an error
    return text.removesuffix(".00") or text
