"""The residual stream as a map: which variable is in which dimensions, from where it is written to its last reader."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from gaugeblock.compiled.edges.graph import Place
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.stages.layout import layout
from gaugeblock.pictures.svg import Canvas, Picture, text_width

COLUMN, MIN_ROW, PER_DIMENSION, MAX_ROW = 108.0, 26.0, 1.5, 96.0  # width of a sublayer; heights of rows
NAMES, SIZES, ROW_GAP = 150.0, 118.0, 5.0  # widths of the columns of names and dimensions; space between rows


@final
@dataclass(frozen=True)
class Stay:
    """A variable in the residual stream.

    Attributes:
        dimensions: where it is; of a model with a `provenance.basis`, rows of that.
        start, end: sublayers (0 is the embedding, 2l + 1 the heads of layer l, 2l + 2 its MLP, and one more the
            output) that write it, and that read it last; `end` is None where no output depends on it.
        writer: node that writes it.
        readers: sublayer -> what reads it there: `h0.q`, `mlp`, `logits`.
    """

    name: str
    encoding: str
    dimensions: tuple[int, ...]
    start: int
    end: int | None
    writer: str
    readers: Mapping[int, tuple[str, ...]]


def stays(model: CompiledModel) -> tuple[Stay, ...]:
    """The stay of each variable, those written first on top."""
    lowered, sites = model.lowered, model.provenance.sites
    where = layout(lowered).directions
    last = 2 * model.hooked.cfg.n_layers + 1

    def sublayer(node: str) -> int:
        place = Place.of(node)
        if place.kind == "logits":
            return last
        return 0 if place.layer is None else 2 * place.layer + (1 if place.kind == "head" else 2)

    readers: dict[str, dict[int, list[str]]] = {name: {} for name in lowered.variables}
    for operation, port, name in lowered.flow:
        node = sites.get(operation, operation)
        label = f"{node.partition('.')[2]}.{port}" if port in "qkv" else port
        labels = readers[name].setdefault(sublayer(node), [])
        if label not in labels:
            labels.append(label)
    result = []
    for variable in lowered.variables.values():
        read_at = {at: tuple(labels) for at, labels in sorted(readers[variable.name].items())}
        writer = sites.get(variable.writer, variable.writer)
        stay = Stay(
            name=variable.name,
            encoding=variable.encoding,
            dimensions=where[variable.name],
            start=sublayer(writer),
            end=max(read_at, default=None),
            writer=writer,
            readers=read_at,
        )
        result.append(stay)
    return tuple(sorted(result, key=lambda stay: stay.start))


def residual_stream(model: CompiledModel) -> Picture:
    """Draw a map of the residual stream: a row for each variable, as high as it has dimensions (within limits).

    Columns are sublayers. A bar leads from the sublayer that writes a variable to the last that reads it, with who
    reads it where. Below is how many dimensions hold something that is still to be read.
    """
    variables, n_layers = stays(model), model.hooked.cfg.n_layers
    columns = ["embedding", *(f"{part} {i}" for i in range(n_layers) for part in ("heads", "MLP")), "output"]
    canvas = Canvas()
    labels = model.provenance.directions
    title = f"Residual stream of {model.program.name}: {len(labels)} dimensions"
    rotated = "" if model.provenance.basis is None else "    dimension i is along row i of provenance.basis"
    canvas.text(0, 0, title, size=14, bold=True)
    legend = f"● written    ○ and who reads it    · · · still there, read no more{rotated}"
    canvas.text(0, 22, legend, size=11, colour="soft")
    left, y = NAMES + SIZES, 50.0
    canvas.text(0, y, "variable", size=11, colour="soft")
    canvas.text(NAMES, y, "dimensions", size=11, colour="soft")
    for i, name in enumerate(columns):
        canvas.text(left + (i + 0.5) * COLUMN, y, name, size=11, anchor="middle", colour="soft")
    y += 16
    heights = [max(MIN_ROW, min(PER_DIMENSION * len(stay.dimensions), MAX_ROW)) for stay in variables]
    held = {d for stay in variables for d in stay.dimensions}
    others: dict[str, list[int]] = {}
    for d in sorted(set(range(len(labels))) - held):
        others.setdefault(labels[d] or "unused", []).append(d)
    bottom = y + sum(heights) + ROW_GAP * len(variables) + (MIN_ROW + ROW_GAP) * len(others)
    for i in range(len(columns) + 1):
        canvas.line([(left + i * COLUMN, y), (left + i * COLUMN, bottom)], opacity=0.7)
    for stay, height in zip(variables, heights, strict=True):
        _row(canvas, stay, y, height, left, len(columns))
        y += height + ROW_GAP
    for name, dimensions in others.items():
        canvas.text(0, y + MIN_ROW / 2, name, colour="soft", width=NAMES - 10)
        _size(canvas, dimensions, "", y + MIN_ROW / 2)
        canvas.text(left + 8, y + MIN_ROW / 2, "no variable of the program", size=11, colour="soft")
        y += MIN_ROW + ROW_GAP
    _in_use(canvas, variables, bottom, left, len(columns), len(labels))
    return canvas.picture(title, "; ".join(map(_sentence, variables)))


def _row(canvas: Canvas, stay: Stay, y: float, height: float, left: float, columns: int) -> None:
    middle = y + height / 2
    canvas.text(0, middle, stay.name, width=NAMES - 10)
    _size(canvas, stay.dimensions, stay.encoding, middle)
    end = stay.start if stay.end is None else stay.end
    x0, x1 = left + (stay.start + 0.5) * COLUMN, left + (end + 1) * COLUMN - 3
    canvas.rect(
        x0,
        y,
        x1 - x0,
        height,
        fill="pale",
        stroke="accent",
        radius=4,
        tip=_sentence(stay),
        variable=stay.name,
        start=stay.start,
        end="" if stay.end is None else stay.end,
        dimensions=" ".join(map(str, stay.dimensions)),
    )
    if x1 + 3 < left + columns * COLUMN:
        canvas.line([(x1 + 3, middle), (left + columns * COLUMN, middle)], stroke="ignored", dashes="2 4")
    canvas.circle(x0, middle, 4.5, fill="accent", tip=f"written by {stay.writer}")
    if stay.end is None:
        canvas.text(x0 + 9, middle, "not read", size=10, width=COLUMN / 2 - 14)
    for at, labels in stay.readers.items():
        x = left + at * COLUMN + 9
        canvas.circle(x, middle, 3.5, fill="paper", stroke="accent", thickness=1.5)
        canvas.text(
            x + 7,
            middle,
            _grouped(labels),
            size=11,
            width=COLUMN - 22,
            tip=f"{stay.name} is read by {', '.join(labels)}",
            reader=at,
            variable=stay.name,
            ports=" ".join(labels),
        )


def _size(canvas: Canvas, dimensions: Iterable[int], encoding: str, y: float) -> None:
    spans = ranges(dimensions)
    text = f"{spans} {encoding}".rstrip()
    if text_width(text, 11) <= SIZES - 10:
        canvas.text(NAMES, y, text, size=11, colour="soft")
    else:
        canvas.text(NAMES, y, spans, size=11, colour="soft", width=SIZES - 10)


def _in_use(canvas: Canvas, variables: Iterable[Stay], y: float, left: float, columns: int, total: int) -> None:
    """Draw for each sublayer how many dimensions are written up to it and read at or after it."""
    canvas.text(0, y + 18, "in use", bold=True)
    canvas.text(NAMES, y + 18, f"of {total}", size=11, colour="soft")
    for i in range(columns):
        held = {
            d for stay in variables if stay.end is not None and stay.start <= i <= stay.end for d in stay.dimensions
        }
        x = left + i * COLUMN
        canvas.rect(x + 8, y + 30, COLUMN - 16, 7, fill="tint", stroke="line")
        canvas.rect(x + 8, y + 30, (COLUMN - 16) * len(held) / total, 7, fill="accent", sublayer=i, held=len(held))
        canvas.text(x + COLUMN / 2, y + 18, str(len(held)), size=11, anchor="middle")


def _grouped(labels: Iterable[str]) -> str:
    """The labels with the ports of a head together: h0.q and h0.k are "h0.qk"."""
    ports: dict[str, str] = {}
    for label in sorted(labels, key=lambda label: "qkv".find(label[-1])):
        head, dot, port = label.partition(".")
        ports[head + dot] = ports.get(head + dot, "") + port
    return " ".join(head + letters for head, letters in ports.items())


def _sentence(stay: Stay) -> str:
    read = ", ".join(label for labels in stay.readers.values() for label in labels)
    return f"{stay.name}: dimensions {ranges(stay.dimensions)}, written by {stay.writer}, read by {read or 'nothing'}"


def ranges(numbers: Iterable[int]) -> str:
    """The numbers as ranges: 3, 4, 5, 8 as "3–5, 8".

    >>> ranges([3, 8, 4, 5])
    '3–5, 8'
    """
    ordered = sorted(numbers)
    starts = [ordered[0], *(b for a, b in pairwise(ordered) if b != a + 1)]
    stops = [*(a for a, b in pairwise(ordered) if b != a + 1), ordered[-1]]
    return ", ".join(f"{a}–{b}" if b > a else str(a) for a, b in zip(starts, stops, strict=True))
