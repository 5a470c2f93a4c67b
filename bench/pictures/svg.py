"""Drawing SVG in plain Python: a canvas that grows with what is put on it, measured text, colours by role.

Colours are names of `COLOURS`, written as classes with a light and a dark version, so that a picture follows its
reader's preference and needs neither scripts nor CSS variables, which many SVG viewers do not know.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final, Literal, final

from gaugeblock.compiled.writing import write_text

Anchor = Literal["start", "middle", "end"]
Number = int | float

COLOURS: Final = {
    "paper": ("#ffffff", "#181c20"),
    "ink": ("#1d2126", "#e7e9ec"),
    "soft": ("#5d646d", "#9da5af"),
    "line": ("#d9dbd6", "#363d45"),
    "tint": ("#f2f3ef", "#1f242a"),
    "accent": ("#0b7a6d", "#4fc9b5"),
    "pale": ("#d3ebe7", "#1c3f3b"),
    "miss": ("#b45f06", "#f2ab55"),
    "alarm": ("#c0264b", "#ff7f98"),
    "ignored": ("#8a919b", "#7a838e"),
}
"""Role: colour on a light and on a dark background. The report's page uses the same ones.

`paper` is the background, `ink` and `soft` are for text, `line` for rules, `tint` for areas, `accent` for what is
selected or right, `pale` for an area behind ink that belongs to it, `miss` and `alarm` for what is wrong.
"""

SANS: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
MONO: Final = 'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace'
MARGIN: Final = 16.0

# Widths in em of the wider of the usual sans-serif fonts (DejaVu Sans, Verdana); of other ASCII characters, and of
# what is no ASCII.
_WIDTHS: Final = {
    char: width
    for chars, width in (
        ("ijl|'", 0.35),
        (" .,:;/\\I!", 0.41),
        ('()[]frt-`"J', 0.5),
        ("szckvxy?", 0.6),
        ("ABXZ", 0.7),
        ("<>=+~#&CDGHNOQRUVw^", 0.84),
        ("mMW@%…—→", 1.02),
    )
    for char in chars
}
_OTHER, _NOT_ASCII = 0.66, 0.9


@final
@dataclass(frozen=True)
class Picture:
    """An SVG image. Notebooks show it; `save` writes it; `str` is its text.

    Attributes:
        width, height: in pixels at full size.
        title: what it shows, in one line.
    """

    svg: str
    width: Number
    height: Number
    title: str

    def __str__(self) -> str:
        return self.svg

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x: auto">{self.svg}</div>'

    def save(self, path: str | Path) -> None:
        """Write the SVG file, whole or not at all."""
        write_text(path, self.svg)


@final
class Canvas:
    """Shapes and texts in the order they are drawn; `picture` puts a frame around all of them.

    Every shape takes a `tip`, shown on hovering and read by screen readers, and keywords that are written as its
    `data-…` attributes.
    """

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.left = self.top = float("inf")
        self.right = self.bottom = float("-inf")

    def rect(
        self,
        x: Number,
        y: Number,
        width: Number,
        height: Number,
        *,
        fill: str | None = None,
        stroke: str | None = None,
        thickness: Number = 1,
        dashes: str | None = None,
        opacity: Number = 1,
        radius: Number = 0,
        tip: str | None = None,
        **data: Any,
    ) -> None:
        """A rectangle; `opacity` (0 to 1) is that of its filling."""
        self._cover(x, y, x + width, y + height)
        look = _look(fill, stroke, thickness, dashes, opacity) + (f' rx="{_n(radius)}"' if radius else "")
        self._add(f'rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"{look}', tip, data)

    def circle(
        self,
        x: Number,
        y: Number,
        radius: Number,
        *,
        fill: str | None = None,
        stroke: str | None = None,
        thickness: Number = 1,
        opacity: Number = 1,
        tip: str | None = None,
        **data: Any,
    ) -> None:
        """A circle around (x, y)."""
        self._cover(x - radius, y - radius, x + radius, y + radius)
        look = _look(fill, stroke, thickness, None, opacity)
        self._add(f'circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"{look}', tip, data)

    def path(
        self,
        d: str,
        *,
        fill: str | None = None,
        stroke: str | None = None,
        thickness: Number = 1,
        dashes: str | None = None,
        opacity: Number = 1,
        tip: str | None = None,
        **data: Any,
    ) -> None:
        """A path of absolute commands with pairs of coordinates (M, L, C, Q, Z)."""
        numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", d)]
        self._cover(min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))
        self._add(f'path d="{d}"{_look(fill, stroke, thickness, dashes, opacity)}', tip, data)

    def line(self, points: Sequence[tuple[Number, Number]], *, stroke: str = "line", **look: Any) -> None:
        """Straight lines from point to point."""
        self.path("M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points), stroke=stroke, **look)

    def curve(
        self, start: tuple[Number, Number], end: tuple[Number, Number], *, stroke: str = "soft", **look: Any
    ) -> None:
        """A smooth line that leaves and arrives vertically."""
        (x0, y0), (x1, y1) = start, end
        bend = (y0 + y1) / 2
        self.path(
            f"M{_n(x0)} {_n(y0)}C{_n(x0)} {_n(bend)} {_n(x1)} {_n(bend)} {_n(x1)} {_n(y1)}", stroke=stroke, **look
        )

    def text(
        self,
        x: Number,
        y: Number,
        text: str,
        *,
        size: Number = 12,
        anchor: Anchor = "start",
        colour: str = "ink",
        bold: bool = False,
        mono: bool = False,
        width: Number | None = None,
        upward: bool = False,
        tip: str | None = None,
        **data: Any,
    ) -> None:
        """One line of text, its middle at the height y.

        Args:
            width: the text is shortened to it, and is then its own tip.
            upward: read from bottom to top; `x` is then the middle of the line, and `anchor` is along it.
        """
        fitting = text if width is None else shorten(text, width, size, bold=bold, mono=mono)
        if tip is None and fitting != text:
            tip = text
        long = text_width(fitting, size, bold=bold, mono=mono)
        before = {"start": 0.0, "middle": long / 2, "end": long}[anchor]
        if upward:
            self._cover(x - 0.6 * size, y - long + before, x + 0.6 * size, y + before)
        else:
            self._cover(x - before, y - 0.6 * size, x - before + long, y + 0.6 * size)
        turn = f' transform="rotate(-90 {_n(x)} {_n(y)})"' if upward else ""
        kind = f"f-{colour}{' bold' if bold else ''}{' mono' if mono else ''}"
        tag = f'text x="{_n(x)}" y="{_n(y)}" dy="0.35em" font-size="{_n(size)}" text-anchor="{anchor}" class="{kind}"'
        self._add(tag + turn, tip, data, escape(_visible(fitting), quote=False))

    def picture(self, title: str, description: str = "") -> Picture:
        """The picture of what is on the canvas.

        Args:
            title, description: for readers who do not see it; neither is drawn.
        """
        left, top = self.left - MARGIN, self.top - MARGIN
        width, height = self.right + MARGIN - left, self.bottom + MARGIN - top
        box = f"{_n(left)} {_n(top)} {_n(width)} {_n(height)}"
        about = f"<title>{_escaped(title)}</title>"
        about += f"<desc>{_escaped(description)}</desc>" if description else ""
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gb-picture" viewBox="{box}" width="{_n(width)}" '
            f'height="{_n(height)}" role="img" aria-label="{_escaped(title)}">{about}<style>{_STYLE}</style>'
            f'<rect class="f-paper" x="{_n(left)}" y="{_n(top)}" width="{_n(width)}" height="{_n(height)}" rx="8"/>'
            f"{''.join(self.parts)}</svg>"
        )
        return Picture(svg, float(_n(width)), float(_n(height)), title)

    def _cover(self, left: Number, top: Number, right: Number, bottom: Number) -> None:
        self.left, self.top = min(self.left, left), min(self.top, top)
        self.right, self.bottom = max(self.right, right), max(self.bottom, bottom)

    def _add(self, tag: str, tip: str | None, data: dict[str, Any], content: str = "") -> None:
        name = tag.partition(" ")[0]
        attributes = "".join(f' data-{k.replace("_", "-")}="{_escaped(str(v))}"' for k, v in data.items())
        content += f"<title>{_escaped(tip)}</title>" if tip else ""
        self.parts.append(f"<{tag}{attributes}>{content}</{name}>" if content else f"<{tag}{attributes}/>")


def text_width(text: str, size: Number = 12, *, bold: bool = False, mono: bool = False) -> float:
    """About how wide a text is at most, in pixels, whichever font the reader has."""

    def of(char: str) -> float:
        if unicodedata.east_asian_width(char) in "WF":
            return 1.2 if mono else 1.05
        return 0.62 if mono else _WIDTHS.get(char, _OTHER if char.isascii() else _NOT_ASCII)

    return float(sum(map(of, text)) * size * (1.13 if bold and not mono else 1))


def shorten(text: str, width: Number, size: Number = 12, *, bold: bool = False, mono: bool = False) -> str:
    """The text, or as much of its beginning as fits the width, and "…"."""
    if text_width(text, size, bold=bold, mono=mono) <= width:
        return text
    while text and text_width(text + "…", size, bold=bold, mono=mono) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _look(fill: str | None, stroke: str | None, thickness: Number, dashes: str | None, opacity: Number) -> str:
    kind = f"f-{fill}" if fill else "f-none"
    look = f' class="{kind}{f" s-{stroke}" if stroke else ""}"'
    if fill and opacity != 1:
        look += f' fill-opacity="{_n(opacity)}"'
    elif opacity != 1:
        look += f' stroke-opacity="{_n(opacity)}"'
    if stroke and thickness != 1:
        look += f' stroke-width="{_n(thickness)}"'
    return look + (f' stroke-dasharray="{dashes}"' if dashes else "")


def _escaped(text: str) -> str:
    return escape(_visible(text))


def _visible(text: str) -> str:
    """The text without characters that XML cannot hold."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _n(number: Number) -> str:
    """A number as short as it can be written to a hundredth."""
    return f"{number:.2f}".rstrip("0").rstrip(".") if number % 1 else str(int(number))


def _style() -> str:
    def rules(version: int) -> str:
        return "".join(
            f".gb-picture .f-{role}{{fill:{colours[version]}}}.gb-picture .s-{role}{{stroke:{colours[version]}}}"
            for role, colours in COLOURS.items()
        )

    return (
        f".gb-picture text{{font-family:{SANS};white-space:pre}}.gb-picture .mono{{font-family:{MONO}}}"
        ".gb-picture .bold{font-weight:600}.gb-picture .f-none{fill:none}"
        f"{rules(0)}@media (prefers-color-scheme:dark){{{rules(1)}}}"
    )


_STYLE: Final = _style()
