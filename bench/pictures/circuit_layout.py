"""The layout of a circuit: places for its nodes, sublayers from bottom to top, and for what its edges carry.

Every true edge has a label in the gap below its reader, and a lane past each sublayer between its ends: its own, or
that of all bundled edges of its writer. Slots of a row are ordered so that few edges cross, and none stands on another.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

from gaugeblock.pictures.svg import MARGIN, text_width

ROW, LANE, NODE, HEIGHT = 104.0, 30.0, 78.0, 30.0  # row distance, width of a lane, size of a node
GAP_LANE = 14.0  # width of a lane past the labels
LABEL_SIZE, LABEL_HEIGHT, MAX_LABEL = 11.0, 16.0, 132.0
ROW_NAMES = 128.0  # room for the names of the rows
PORTS = ("q", "k", "v")
_HEAD = re.compile(r"a(\d+)\.h\d+")
_MLP = re.compile(r"m(\d+)")

Point = tuple[float, float]


@final
@dataclass(frozen=True)
class Label:
    """The text of what an edge carries: where its middle is, and how wide it may be."""

    text: str
    x: float
    y: float
    width: float


@final
@dataclass(frozen=True)
class Arrangement:
    """The layout of a circuit.

    Attributes:
        rows: name, remark and height of each sublayer.
        nodes: their centres.
        polylines: the points that the line of an edge passes between its ends, from bottom to top.
        labels: of the edges that carry something.
    """

    width: float
    height: float
    rows: tuple[tuple[str, str, float], ...]
    nodes: Mapping[str, Point]
    polylines: Mapping[str, tuple[Point, ...]]
    labels: Mapping[str, Label]


@dataclass
class _Slot:
    """A node, a label, or a lane; `near` are the slots it is joined to, each with where its line ends there."""

    row: int
    width: float
    x: float = 0.0
    near: list[tuple["_Slot", float]] = field(default_factory=list)


def arrange(
    positives: Sequence[str],
    edges: Sequence[str],
    writers: Sequence[str],
    carried: Mapping[str, str],
    bundled: Collection[str] = (),
) -> Arrangement:
    """Places for the nodes of `edges`, with labels and lanes for the positives.

    Args:
        writers: all writers of the model, so that a row can say how many of its nodes it leaves out.
        carried: the label of an edge.
        bundled: edges that share the lanes of their writer, up to the gap below their reader.
    """
    nodes = {node for edge in edges for node in ends(edge)} | {"embed", "logits"}
    levels = sorted({_level(node) for node in nodes})
    row_of = {level: 2 * i for i, level in enumerate(levels)}  # odd rows are the gaps, where labels stand
    slots = {node: _Slot(row_of[_level(node)], NODE + 22) for node in sorted(nodes, key=_order)}
    rows: list[list[_Slot]] = [[] for _ in range(2 * len(levels) - 1)]
    for slot in slots.values():
        rows[slot.row].append(slot)
    between: dict[str, list[_Slot]] = {}
    trunks: dict[tuple[str, int], _Slot] = {}
    for edge in positives:
        source, target = (slots[node] for node in ends(edge))
        passed = [_Slot(row, GAP_LANE if row % 2 else LANE) for row in range(source.row + 1, target.row)]
        if carried.get(edge):
            passed[-1].width = min(text_width(carried[edge], LABEL_SIZE) + 8, MAX_LABEL) + 8
        if edge in bundled:
            passed[:-1] = [trunks.setdefault((ends(edge)[0], slot.row), slot) for slot in passed[:-1]]
        for slot in passed:
            if all(slot is not other for other in rows[slot.row]):
                rows[slot.row].append(slot)
        for before, after in pairwise([source, *passed, target]):
            before.near.append((after, _port_offset(edge) if after is target else 0.0))
            after.near.append((before, 0.0))
        between[edge] = passed
    for row in rows:
        place(row, [float(i) for i in range(len(row))])
    for _ in range(12):  # up and down: each slot toward the mean of what it is joined to
        for row in (*rows, *reversed(rows)):
            place(row, [_wanted(slot) for slot in row])
    left = min(slot.x - slot.width / 2 for row in rows for slot in row)
    right = max(slot.x + slot.width / 2 for row in rows for slot in row)

    def point(slot: _Slot) -> Point:
        top = MARGIN + HEIGHT / 2 + (2 * len(levels) - 2 - slot.row) * ROW / 2
        return slot.x - left + ROW_NAMES, top

    names = []
    for level in levels:
        at_level = [node for node in nodes if _level(node) == level]
        name = _row_name(level, len(at_level), sum(_level(writer) == level for writer in writers))
        names.append((*name, point(slots[at_level[0]])[1]))
    labels = {
        edge: Label(carried[edge], *point(passed[-1]), passed[-1].width - 8)
        for edge, passed in between.items()
        if carried.get(edge)
    }
    return Arrangement(
        width=right - left + ROW_NAMES + MARGIN,
        height=2 * MARGIN + HEIGHT + (len(levels) - 1) * ROW,
        rows=tuple(names),
        nodes={name: point(slot) for name, slot in slots.items()},
        polylines={edge: tuple(point(slot) for slot in passed) for edge, passed in between.items()},
        labels=labels,
    )


def place(row: list[_Slot], wanted: Sequence[float]) -> None:
    """Order a row by the wanted places, and put its slots as near to them as their widths allow."""
    pairs = sorted(zip(wanted, range(len(row)), row, strict=True), key=lambda pair: pair[:2])
    row[:] = [slot for _, _, slot in pairs]
    for slot, x in zip(row, spread([want for want, _, _ in pairs], [slot.width for slot in row]), strict=True):
        slot.x = x


def spread(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Middles of intervals of these widths, in this order, none on another, as near to the wanted ones as can be."""
    # Blocks of touching intervals: middle, number, width; neighbours that overlap are merged.
    blocks: list[tuple[float, int, float]] = []
    for want, width in zip(wanted, widths, strict=True):
        blocks.append((want, 1, width))
        while len(blocks) > 1 and blocks[-2][0] + blocks[-2][2] / 2 > blocks[-1][0] - blocks[-1][2] / 2:
            (c1, n1, w1), (c2, n2, w2) = blocks[-2:]
            # the middle, where each part would have it, weighted by the intervals in it
            middle = (n1 * (c1 + w2 / 2) + n2 * (c2 - w1 / 2)) / (n1 + n2)
            blocks[-2:] = [(middle, n1 + n2, w1 + w2)]
    middles: list[float] = []
    for middle, number, width in blocks:
        x = middle - width / 2
        for one in widths[len(middles) : len(middles) + number]:
            middles.append(x + one / 2)
            x += one
    return middles


def line(edge: str, picture: Arrangement) -> str:
    """A smooth curve from the top of the writer to the reader's port, as the data of an SVG path."""
    source, target = ends(edge)
    (x0, y0), (x1, y1) = picture.nodes[source], picture.nodes[target]
    passed = picture.polylines.get(edge, ())
    points = [(x0, y0 - HEIGHT / 2), *passed, (x1 + _port_offset(edge), y1 + HEIGHT / 2)]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (xa, ya), (xb, yb) in pairwise(points):
        bend = (ya - yb) * 0.5
        path += f"C{xa:.1f} {ya - bend:.1f} {xb:.1f} {yb + bend:.1f} {xb:.1f} {yb:.1f}"
    return path


def is_head(node: str) -> bool:
    """Whether a node has the ports q, k and v."""
    return _HEAD.fullmatch(node) is not None


def ends(edge: str) -> tuple[str, str]:
    """Writer and the node that reads."""
    writer, _, reader = edge.partition("->")
    return writer, re.sub(r"\.[qkv]$", "", reader)


def _wanted(slot: _Slot) -> float:
    if not slot.near:
        return slot.x
    return sum(other.x + offset for other, offset in slot.near) / len(slot.near)


def _port_offset(edge: str) -> float:
    port = edge.rpartition(".")[2]
    return (PORTS.index(port) - 1) * NODE / 3 if port in PORTS else 0.0


def _level(node: str) -> float:
    """The row of a node: the sources below everything, heads of a layer below its MLP, logits on top."""
    if match := _HEAD.fullmatch(node):
        return 2.0 * int(match[1])
    if match := _MLP.fullmatch(node):
        return 2.0 * int(match[1]) + 1
    return float("inf") if node == "logits" else -1.0


def _order(node: str) -> tuple[float, list[int], str]:
    return _level(node), [int(n) for n in re.findall(r"\d+", node)], node


def _row_name(level: float, drawn: int, present: int) -> tuple[str, str]:
    """The name of a row, and how many of its nodes are drawn where that is not all of them."""
    if level == -1:
        return "input", ""
    if level == float("inf"):
        return "output", ""
    layer, is_mlp = divmod(int(level), 2)
    if is_mlp:
        return f"layer {layer} MLP", ""
    return f"layer {layer} heads", "" if drawn >= present else f"{drawn} of {present} drawn"
