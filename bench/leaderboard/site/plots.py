"""Plots of the site, as SVG elements that its style sheet colours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, final

from gaugeblock.leaderboard.board import Standing
from gaugeblock.leaderboard.site.names import short
from gaugeblock.leaderboard.standings import frontier
from gaugeblock.leaderboard.tables import number
from gaugeblock.metrics.bootstrap import Interval
from gaugeblock.pictures.svg import shorten, text_width

WIDTH, HEIGHT = 560.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 92.0, 14.0, 46.0  # room around the area of a cost plot
FONT_SIZE: Final = 12.0
MAX_FLOORS: Final = 8
MAX_DECADES: Final = 12
"""A cost plot shows no more than these below the largest cost."""

Box = tuple[float, float, float, float]


@final
@dataclass(frozen=True)
class Scale:
    """Where values from `low` to `high` stand on a line, in percent of its length."""

    low: float
    high: float

    @staticmethod
    def of(intervals: Sequence[Interval | None]) -> "Scale":
        """The scale from below chance to just above the best."""
        ends = [v for i in intervals if i is not None for v in (i.estimate, i.low) if v is not None]
        return Scale(min([-0.1, *ends]) - 0.05, 1.05)

    def at(self, value: float) -> float:
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 2)

    def interval(self, interval: Interval) -> dict[str, float]:
        """The places of the estimate and of both ends."""
        low = interval.estimate if interval.low is None else interval.low
        high = interval.estimate if interval.high is None else interval.high
        return {"dot": self.at(interval.estimate), "low": self.at(low), "high": self.at(high)}


def cost_plot(rows: Sequence[Standing], cost: str, axis: str, hrefs: Mapping[str, str]) -> str | None:
    """Plot the mean skill of complete methods against the logarithm of a mean cost, with the frontier: none is cheaper
    and as good. Controls, whose cost means nothing, are lines. None where no method has a cost.

    A cost of 0 stands on a line of its own, left of the logarithmic axis.
    """
    placed = [
        (row, c, row.skill.estimate)
        for row in rows
        if row.rank is not None and row.skill is not None and (c := row.cost(cost)) is not None
    ]
    if not placed:
        return None
    floors = [(row.method, row.skill.estimate) for row in rows if row.control and row.skill is not None][:MAX_FLOORS]
    best = [placed[i] for i in frontier([(c, v) for _, c, v in placed])]
    return _Plot(placed, best, floors, axis, hrefs).svg()


class _Plot:
    """One cost plot; the area is put together in the order in which it is drawn."""

    def __init__(
        self,
        placed: Sequence[tuple[Standing, float, float]],
        best: Sequence[tuple[Standing, float, float]],
        floors: Sequence[tuple[str, float]],
        axis: str,
        hrefs: Mapping[str, str],
    ) -> None:
        self.placed, self.best, self.floors, self.axis, self.hrefs = placed, best, floors, axis, hrefs
        costs = [c for _, c, _ in placed if c > 0] or [1.0]
        last = math.ceil(math.log10(max(costs)) - 1e-9)
        self.decades = range(max(math.floor(math.log10(min(costs)) + 1e-9), last - MAX_DECADES), last + 1)
        if len(self.decades) == 1:
            self.decades = range(last - 1, last + 1)
        self.zero = LEFT if min(c for _, c, _ in placed) <= 0 else None
        self.left = LEFT if self.zero is None else LEFT + 44
        self.bottom = math.floor(10 * min([0.0, *(v for _, _, v in placed), *(v for _, v in floors)])) / 10
        self.taken: list[Box] = []

    def x(self, cost: float) -> float:
        first, last = self.decades[0], self.decades[-1]
        if cost <= 0 and self.zero is not None:
            return self.zero
        return self.left + min(max((math.log10(cost) - first) / (last - first), 0.0), 1.0) * (WIDTH - self.left - RIGHT)

    def y(self, skill: float) -> float:
        return TOP + (1 - (min(skill, 1.0) - self.bottom) / (1 - self.bottom)) * (HEIGHT - TOP - BOTTOM)

    def svg(self) -> str:
        points = "; ".join(f"{short(row.method)} ({number(v)} at {_plain(c)})" for row, c, v in self.best)
        about = escape(f"Mean skill against {self.axis}, per case. Best for their cost, cheapest first: {points}")
        parts = [*self._axes(), *self._floors(), self._frontier(), *self._points()]
        box = f"0 0 {WIDTH:g} {HEIGHT:g}"
        return f'<svg class="plot" viewBox="{box}" role="img" aria-label="{about}">{"".join(parts)}</svg>'

    def _axes(self) -> list[str]:
        right, low = WIDTH - RIGHT, HEIGHT - BOTTOM
        step = 0.2 if self.bottom > -0.5 else 0.5
        ticks = [step * i for i in range(math.ceil(self.bottom / step - 1e-9), round(1 / step) + 1)]
        lines = [f'<path class="grid" d="M{LEFT:g} {self.y(t):.1f}H{right:g}"/>' for t in ticks]
        lines += [_text(LEFT - 8, self.y(t), f"{t:.1f}".replace("-", "−"), "end", "soft") for t in ticks]
        for cost in ([0.0] if self.zero is not None else []) + [10.0**decade for decade in self.decades]:
            x = self.x(cost)
            lines.append(f'<path class="grid" d="M{x:.1f} {TOP:g}V{low:g}"/>')
            lines.append(_text(x, low + 15, _plain(cost), "middle", "soft"))
        lines.append(_text((LEFT + right) / 2, HEIGHT - 10, f"{self.axis}, logarithmic", "middle", "soft"))
        return lines

    def _floors(self) -> list[str]:
        parts, last = [], -math.inf
        for name, value in sorted(self.floors, key=lambda floor: -floor[1]):
            y, right = self.y(value), WIDTH - RIGHT
            label = max(y, last + 13)
            last = label
            parts.append(f'<path class="floor" d="M{LEFT:g} {y:.1f}H{right:g}"/>')
            text = shorten(name, RIGHT - 8, FONT_SIZE)
            parts.append(_text(right + 6, label, text, "start", "soft", f"{name}: {number(value)}"))
        return parts

    def _frontier(self) -> str:
        d, last = "", 0.0
        for _, cost, value in self.best:
            x, y = self.x(cost), self.y(value)
            d += f"H{x:.1f}V{y:.1f}" if d else f"M{x:.1f} {y:.1f}"
            last = max(last, x)
        return f'<path class="frontier" d="{d}H{WIDTH - RIGHT:g}"/>'

    def _points(self) -> list[str]:
        self.taken = [(self.x(c) - 5, self.y(v) - 5, self.x(c) + 5, self.y(v) + 5) for _, c, v in self.placed]
        best = {row.method for row, _, _ in self.best}
        parts = []
        for row, cost, value in sorted(self.placed, key=lambda p: p[0].method in best):
            x, y = self.x(cost), self.y(value)
            tip = escape(f"{short(row.method)}: skill {number(value)}, {_plain(cost)} {self.axis}")
            kind = "point best" if row.method in best else "point"
            circle = f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{tip}</title></circle>'
            parts.append(f'<a href="{escape(self.hrefs[row.method])}" tabindex="-1">{circle}</a>')
        for row, cost, value in sorted(self.placed, key=lambda p: p[0].method not in best):
            parts += self._label(row.method, self.x(cost), self.y(value), row.method in best)
        return parts

    def _label(self, name: str, x: float, y: float, best: bool) -> list[str]:
        """The name beside its point where there is room, else nothing: the point has a tip."""
        text = shorten(name, 150, FONT_SIZE)
        wide = text_width(text, FONT_SIZE)
        for dx, dy, anchor in (
            (9, 0, "start"),
            (-9, 0, "end"),
            (0, -13, "middle"),
            (0, 14, "middle"),
            (8, 13, "start"),
            (-8, 13, "end"),
            (8, -12, "start"),
            (-8, -12, "end"),
        ):
            left = x + dx - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
            box = (left, y + dy - 6, left + wide, y + dy + 6)
            inside = box[0] >= LEFT and box[2] <= WIDTH - RIGHT + 4 and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM
            if inside and not any(_meet(box, other) for other in self.taken if not _around(other, x, y)):
                self.taken.append(box)
                return [_text(x + dx, y + dy, text, anchor, "ink" if best else "soft")]
        return []


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _around(box: Box, x: float, y: float) -> bool:
    return box == (x - 5, y - 5, x + 5, y + 5)


def _text(x: float, y: float, text: str, anchor: str, kind: str, tip: str = "") -> str:
    title = f"<title>{escape(tip)}</title>" if tip else ""
    at = f'x="{x:.1f}" y="{y:.1f}" dy="0.35em" text-anchor="{anchor}"'
    return f'<text class="{kind}" {at}>{escape(text)}{title}</text>'


def _plain(cost: float) -> str:
    """A cost with three digits, without an exponent where that is short."""
    if abs(cost) >= 100:
        return f"{cost:,.0f}" if abs(cost) < 1e7 else f"{cost:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{cost:.3g}" if cost == 0 or abs(cost) >= 1e-4 else f"{cost:.0e}".replace("e-0", "e-").replace("e-", "e−")
