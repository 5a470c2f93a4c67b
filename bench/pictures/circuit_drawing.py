"""The drawing of a circuit, shared by the report's page and the picture: SVG elements with classes, not yet styled.

Knows names and no models, so that a report does not wait for torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from gaugeblock.pictures.circuit_layout import (
    HEIGHT,
    LABEL_HEIGHT,
    LABEL_SIZE,
    NODE,
    PORTS,
    Arrangement,
    Label,
    arrange,
    ends,
    is_head,
    line,
)
from gaugeblock.pictures.svg import MARGIN, shorten

MIN_SCALE = 0.75  # a page may shrink the drawing to this share of its size, then it scrolls
IMPLICIT_VARIABLES: Final = ("present", "bos")
MANY_EDGES = 48
"""In circuits of more edges than this, those that carry nothing but implicit variables share their lanes."""

_MEANING: Final = {
    "true": "in the circuit",
    "true hit": "in the circuit, found",
    "true miss": "in the circuit, missed",
    "alarm": "not in the circuit, false alarm",
    "ignored": "ignored, not scored",
}


def circuit_svg(
    positives: Sequence[str],
    ignored: Sequence[str],
    false_alarms: Iterable[str],
    *,
    writers: Sequence[str],
    variables: Mapping[str, Sequence[str]],
    title: str,
) -> str:
    """The drawing for a page that styles it and shows what matters to the moment, as an SVG element.

    Every edge is a `<path class="edge …" data-edge="writer->reader">` with a tooltip: "true" for positives,
    "ignored", and "alarm" for the rest.

    Args:
        writers: all writers of the model; rows that no drawn edge touches are left out.
        variables: what a true edge carries, by edge.
        title: for readers of the page who do not see it.
    """
    kinds = dict.fromkeys(sorted(false_alarms), "alarm")
    kinds |= dict.fromkeys(ignored, "ignored") | dict.fromkeys(positives, "true")
    picture, parts = drawing(kinds, writers, variables, {})
    return (
        f'<svg class="circuit" viewBox="0 0 {picture.width:g} {picture.height:g}" width="{picture.width:g}" '
        f'height="{picture.height:g}" style="min-width: {MIN_SCALE * picture.width:.0f}px" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def drawing(
    kinds: Mapping[str, str],
    writers: Sequence[str],
    variables: Mapping[str, Sequence[str]],
    operations: Mapping[str, Sequence[str]],
) -> tuple[Arrangement, list[str]]:
    """Rows, edges in the order of `kinds` with the true ones last, labels and nodes, as SVG elements."""
    true = [edge for edge, kind in kinds.items() if kind.startswith("true")]
    carried = {edge: ", ".join(dict.fromkeys(variables.get(edge, ()))) for edge in true}
    marks = {"true hit": "✓ ", "true miss": "○ "}
    shown = {edge: marks.get(kinds[edge], "") + text for edge, text in carried.items() if text}
    quiet = {edge for edge, text in carried.items() if _is_quiet(text)} if len(true) > MANY_EDGES else ()
    picture = arrange(true, list(kinds), writers, shown, quiet)
    parts = [_row_text(name, remark, y) for name, remark, y in picture.rows]
    for edge in sorted(kinds, key=lambda edge: kinds[edge].startswith("true")):
        kind = kinds[edge]
        tip = f"{edge.replace('->', ' → ')}: {_MEANING[kind]}"
        tip += f" · carries {carried[edge]}" if carried.get(edge) else ""
        parts.append(
            f'<path class="edge {kind}" data-edge="{escape(edge)}" d="{line(edge, picture)}">'
            f"<title>{escape(tip)}</title></path>"
        )
    parts += [_label(edge, label, carried[edge]) for edge, label in picture.labels.items()]
    inside = {node for edge in true for node in ends(edge)}
    parts += [_node(n, *point, n in inside, operations.get(n, ())) for n, point in picture.nodes.items()]
    return picture, parts


def _is_quiet(carried: str) -> bool:
    """Whether nothing but implicit variables is carried."""
    return set(carried.split(", ")) <= set(IMPLICIT_VARIABLES)


def _label(edge: str, label: Label, carried: str) -> str:
    """The text of what an edge carries, on a background that hides the lines behind it."""
    shown = shorten(label.text, label.width - 4, LABEL_SIZE)
    quiet = " quiet" if _is_quiet(carried) else ""
    left, top = label.x - label.width / 2, label.y - LABEL_HEIGHT / 2
    return (
        f'<g class="carried{quiet}" data-carried="{escape(edge)}">'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{label.width:.1f}" height="{LABEL_HEIGHT:g}" rx="3"/>'
        f'<text x="{label.x:.1f}" y="{label.y + 4:.1f}">{escape(shown)}<title>{escape(carried)}</title></text></g>'
    )


def _node(name: str, x: float, y: float, inside: bool, operations: Sequence[str]) -> str:
    left, top = x - NODE / 2, y - HEIGHT / 2
    about = f"<title>{escape(name)}: {escape(', '.join(operations))}</title>" if operations else ""
    ports = ""
    if is_head(name):
        ports = "".join(
            f'<text class="port" x="{x + (i - 1) * NODE / 3:.1f}" y="{y + HEIGHT / 2 - 4:.1f}">{port}</text>'
            for i, port in enumerate(PORTS)
        )
    return (
        f'<g class="node{" in-circuit" if inside else ""}" data-node="{escape(name)}">{about}'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{NODE:g}" height="{HEIGHT:g}" rx="7"/>'
        f'<text class="name" x="{x:.1f}" y="{y + (-2 if ports else 4):.1f}">{escape(name)}</text>{ports}</g>'
    )


def _row_text(name: str, remark: str, y: float) -> str:
    x = MARGIN / 2
    text = f'<text class="row" x="{x:g}" y="{y + (-2 if remark else 4):g}">{escape(name)}</text>'
    return text + (f'<text class="row remark" x="{x:g}" y="{y + 13:g}">{escape(remark)}</text>' if remark else "")
