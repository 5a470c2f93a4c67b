"""A circuit as a layered picture: sublayers from bottom to top, one SVG with a class on every edge.

Drawn are the true edges, the ignored ones and false alarms; a page shows those that matter to the moment.
Long true edges get a lane of their own past each sublayer; heads of a sublayer are ordered so that few cross.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

ROW, LANE, NODE, HEIGHT = 84.0, 40.0, 74.0, 30.0  # row distance, width of a lane, size of a node
LEFT, MARGIN = 128.0, 26.0  # room for the names of the rows, and around everything
SMALLEST = 0.75  # a page may shrink the picture to this share of its size, then it scrolls
PORTS = ("q", "k", "v")
_HEAD = re.compile(r"a(\d+)\.h\d+")
_MLP = re.compile(r"m(\d+)")


@dataclass
class _Slot:
    """A node, or the lane of a long edge past a row."""

    row: int
    width: float
    node: str | None = None
    x: float = 0.0
    near: list["_Slot"] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """Rows (name, remark, y), centres of nodes, and the points that the lane of an edge passes."""

    width: float
    height: float
    rows: tuple[tuple[str, str, float], ...]
    nodes: Mapping[str, tuple[float, float]]
    lanes: Mapping[str, tuple[tuple[float, float], ...]]


def circuit_svg(
    positives: Sequence[str],
    ignored: Sequence[str],
    false_alarms: Iterable[str],
    *,
    writers: Sequence[str],
    variables: Mapping[str, Sequence[str]],
    title: str,
) -> str:
    """The picture as an SVG element.

    Every edge is a `<path class="edge …" data-edge="writer->reader">` with a tooltip: "true" for positives,
    "ignored", and "alarm" for the rest, which is `hidden` by its class alone.

    Args:
        writers: all writers of the model; rows that no drawn edge touches are left out.
        variables: what a true edge carries, by edge.
        title: for readers of the page who do not see it.
    """
    alarms = sorted(set(false_alarms) - set(positives) - set(ignored))
    edges = [*positives, *ignored, *alarms]
    picture = arrange(positives, edges, writers)
    parts = [
        f'<svg class="circuit" viewBox="0 0 {picture.width:g} {picture.height:g}" width="{picture.width:g}" '
        f'height="{picture.height:g}" style="min-width: {SMALLEST * picture.width:.0f}px" role="img" '
        f'aria-label="{escape(title)}">',
        *(_row_text(name, remark, y) for name, remark, y in picture.rows),
    ]
    kinds = [("ignored", ignored), ("alarm", alarms), ("true", positives)]
    for kind, members in kinds:
        for edge in members:
            carried = f" · carries {', '.join(variables[edge])}" if variables.get(edge) else ""
            about = {"true": "in the circuit", "ignored": "ignored", "alarm": "not in the circuit"}[kind]
            parts.append(
                f'<path class="edge {kind}" data-edge="{escape(edge)}" d="{_path(edge, picture)}">'
                f"<title>{escape(edge.replace('->', ' → '))}: {about}{escape(carried)}</title></path>"
            )
    in_circuit = {node for edge in positives for node in _ends(edge)}
    parts += [_node(name, x, y, name in in_circuit) for name, (x, y) in picture.nodes.items()]
    return "".join([*parts, "</svg>"])


def arrange(positives: Sequence[str], edges: Sequence[str], writers: Sequence[str]) -> Picture:
    """Places for the nodes of `edges`, with lanes for the positives that pass over a row."""
    nodes = {node for edge in edges for node in _ends(edge)} | {"embed", "logits"}
    levels = sorted({_level(node) for node in nodes})
    row_of = {level: i for i, level in enumerate(levels)}
    slots = {node: _Slot(row_of[_level(node)], NODE + 22, node) for node in sorted(nodes, key=_order)}
    rows: list[list[_Slot]] = [[] for _ in levels]
    for slot in slots.values():
        rows[slot.row].append(slot)
    lanes: dict[str, list[_Slot]] = {}
    for edge in positives:
        source, target = (slots[node] for node in _ends(edge))
        passed = [_Slot(row, LANE) for row in range(source.row + 1, target.row)]
        chain = [source, *passed, target]
        for slot in passed:
            rows[slot.row].append(slot)
        for before, after in pairwise(chain):
            before.near.append(after)
            after.near.append(before)
        lanes[edge] = passed
    for row in rows:
        _place(row, [float(i) for i in range(len(row))])
    for _ in range(12):  # down and up: each slot toward the mean of its neighbours, none on top of another
        for row in (*rows, *reversed(rows)):
            _place(row, [sum(s.x for s in slot.near) / len(slot.near) if slot.near else slot.x for slot in row])
    left = min(slot.x - slot.width / 2 for row in rows for slot in row)
    right = max(slot.x + slot.width / 2 for row in rows for slot in row)

    def point(slot: _Slot) -> tuple[float, float]:
        return slot.x - left + LEFT, MARGIN + HEIGHT / 2 + (len(rows) - 1 - slot.row) * ROW

    names = []
    for level, row in zip(levels, rows):
        shown = sum(slot.node is not None for slot in row)
        names.append((*_row_name(level, shown, sum(_level(w) == level for w in writers)), point(row[0])[1]))
    return Picture(
        width=right - left + LEFT + MARGIN,
        height=2 * MARGIN + HEIGHT + (len(rows) - 1) * ROW,
        rows=tuple(names),
        nodes={name: point(slot) for name, slot in slots.items()},
        lanes={edge: tuple(point(slot) for slot in passed) for edge, passed in lanes.items()},
    )


def _place(row: list[_Slot], wanted: list[float]) -> None:
    """Order a row by the wanted positions, and put its slots as near to them as their widths allow."""
    pairs = sorted(zip(wanted, range(len(row)), row))
    row[:] = [slot for _, _, slot in pairs]
    # Blocks of touching slots: [mean wanted offset, number, width]; neighbours that overlap are merged.
    blocks: list[list[float]] = []
    for want, _, slot in pairs:
        blocks.append([want, 1, slot.width])
        while len(blocks) > 1 and blocks[-2][0] + blocks[-2][2] / 2 > blocks[-1][0] - blocks[-1][2] / 2:
            (c1, n1, w1), (c2, n2, w2) = blocks[-2:]
            # the block's centre, where each part would have it, weighted by the slots in it
            centre = (n1 * (c1 + w2 / 2) + n2 * (c2 - w1 / 2)) / (n1 + n2)
            blocks[-2:] = [[centre, n1 + n2, w1 + w2]]
    slots = iter(row)
    for centre, number, width in blocks:
        x = centre - width / 2
        for _ in range(int(number)):
            slot = next(slots)
            slot.x = x + slot.width / 2
            x += slot.width


def _path(edge: str, picture: Picture) -> str:
    """A smooth curve from the top of the writer to the reader's port."""
    source, target = _ends(edge)
    (x0, y0), (x1, y1) = picture.nodes[source], picture.nodes[target]
    port = edge.rpartition(".")[2]
    x1 += (PORTS.index(port) - 1) * NODE / 3 if port in PORTS else 0.0
    points = [(x0, y0 - HEIGHT / 2), *picture.lanes.get(edge, ()), (x1, y1 + HEIGHT / 2)]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (xa, ya), (xb, yb) in pairwise(points):
        bend = (ya - yb) * 0.5
        path += f"C{xa:.1f} {ya - bend:.1f} {xb:.1f} {yb + bend:.1f} {xb:.1f} {yb:.1f}"
    return path


def _node(name: str, x: float, y: float, in_circuit: bool) -> str:
    left, top = x - NODE / 2, y - HEIGHT / 2
    ports = ""
    if _HEAD.fullmatch(name):
        ports = "".join(
            f'<text class="port" x="{x + (i - 1) * NODE / 3:.1f}" y="{y + HEIGHT / 2 - 4:.1f}">{port}</text>'
            for i, port in enumerate(PORTS)
        )
    return (
        f'<g class="node{" in-circuit" if in_circuit else ""}" data-node="{escape(name)}">'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{NODE:g}" height="{HEIGHT:g}" rx="7"/>'
        f'<text class="name" x="{x:.1f}" y="{y + (-2 if ports else 4):.1f}">{escape(name)}</text>{ports}</g>'
    )


def _ends(edge: str) -> tuple[str, str]:
    """Writer and the node that reads."""
    writer, _, reader = edge.partition("->")
    return writer, re.sub(r"\.[qkv]$", "", reader)


def _level(node: str) -> float:
    """The row of a node: the sources below everything, heads of a layer below its MLP, logits on top."""
    if match := _HEAD.fullmatch(node):
        return 2.0 * int(match[1])
    if match := _MLP.fullmatch(node):
        return 2.0 * int(match[1]) + 1
    return float("inf") if node == "logits" else -1.0


def _order(node: str) -> tuple[float, list[int], str]:
    return _level(node), [int(n) for n in re.findall(r"\d+", node)], node


def _row_name(level: float, shown: int, present: int) -> tuple[str, str]:
    """What the row is, and how many of its nodes are drawn where that is not all of them."""
    if level == -1:
        return "input", ""
    if level == float("inf"):
        return "output", ""
    layer, is_mlp = divmod(int(level), 2)
    if is_mlp:
        return f"layer {layer} MLP", ""
    return f"layer {layer} heads", "" if shown >= present else f"{shown} of {present} drawn"


def _row_text(name: str, remark: str, y: float) -> str:
    x = MARGIN / 2
    text = f'<text class="row" x="{x:g}" y="{y + (-2 if remark else 4):g}">{escape(name)}</text>'
    return text + (f'<text class="row remark" x="{x:g}" y="{y + 13:g}">{escape(remark)}</text>' if remark else "")
