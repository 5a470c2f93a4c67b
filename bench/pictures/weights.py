"""The compiled weights as small heat maps with the residual stream downwards, its dimensions named."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, final

import numpy as np
from jaxtyping import Float

from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.stages.assemble import Weights
from gaugeblock.compiled.variants.rotate import STREAM
from gaugeblock.pictures.circuit_layout import spread
from gaugeblock.pictures.svg import Canvas, Picture, text_width
from gaugeblock.programs.errors import UnknownName

MAX_CELLS_ACROSS: Final = 320
"""Rows or columns that are drawn one by one; of more, blocks are."""

MAX_SINGLE_CELLS: Final = 4_000
"""Cells that are drawn one by one; of more, neighbours of equal weight in a row are one shape."""

ROUNDING_SHARE: Final = 1e-12
"""Turned back, weights below this share of the largest are rounding, and nothing."""

SMALL_CELL, LARGE_CELL = 7.0, 14.0  # cells of the overview, and of a single part
MAX_WIDTH, ROW_NAMES, COLUMN_NAMES = 560.0, 130.0, 96.0  # of one matrix; room for names of rows and of columns
PAGE = 1250.0  # parts of the overview stand beside each other up to this width
NAME = 11.0  # height of a name


@final
@dataclass(frozen=True)
class Matrix:
    """One parameter, the residual stream downwards.

    Attributes:
        values: [residual dimension (and one more row for the bias, if there is one), column].
        columns: names; equal neighbours share one.
        turned: whether the parameter itself lies the other way.
    """

    name: str
    values: Float[np.ndarray, "rows columns"]
    columns: tuple[str, ...]
    turned: bool


@final
@dataclass(frozen=True)
class PartWeights:
    """Matrices beside each other; their rows are the same dimensions.

    Attributes:
        rows: name of each row.
    """

    name: str
    about: str
    rows: tuple[str, ...]
    matrices: tuple[Matrix, ...]


def weights(model: CompiledModel, part: str | None = None) -> Picture:
    """Draw the weights of a model, or of one part: `embed`, `a0.h1`, `m0` or `logits`.

    Rows are dimensions of the residual stream and columns tokens, positions, dimensions of a head, hidden units or
    outputs; what writes to the stream (W_E, W_pos, W_O, W_out) is shown transposed. Rows and columns of zeros are
    left out, where there are more than can be drawn a cell is the largest weight of a block, and the caption says
    so. A positive weight is a square, a negative one a bar; the larger, the stronger its colour.

    Raises UnknownName for a part that the model does not have.
    """
    turned = "" if model.provenance.basis is None else ", turned back into the basis of its provenance"
    title = f"Weights of {model.program.name}" + (f": {part}" if part else "") + turned
    canvas = Canvas()
    canvas.text(0, 0, title, size=14, bold=True)
    _legend(canvas, 22.0)
    x, y, lowest = 0.0, 48.0, 48.0
    names = []
    for one in parts(model):  # one at a time: large models are drawn without holding their weights twice
        names.append(one.name)
        if part not in (None, one.name):
            continue
        drawn = _Drawn(one, SMALL_CELL if part is None else LARGE_CELL, named_one_by_one=part is not None)
        if x and x + drawn.width > PAGE:
            x, y = 0.0, lowest
        drawn.draw(canvas, x, y)
        x, lowest = x + drawn.width + 36, max(lowest, y + drawn.height + 26)
    if part is not None and part not in names:
        raise UnknownName("part", part, names)
    return canvas.picture(title, "Squares are positive weights, bars negative ones.")


def parts(model: CompiledModel) -> Iterator[PartWeights]:
    """Embedding, heads and MLPs in order, and the unembedding; those that hold nothing but zeros are left out.

    Rows are named directions: those of a rotated model are turned back.
    """
    w, lowered = turned_back(model), model.lowered
    names = tuple(label or "(unused)" for label in model.provenance.directions)
    operation_at: dict[str, list[str]] = {}
    for operation, site in model.provenance.sites.items():
        operation_at.setdefault(site, []).append(operation)
    tokens = (*map(str, lowered.vocab), "BOS", "PAD")
    positions = ("BOS", *map(str, range(lowered.max_len)))
    embed = [Matrix("W_E", w["embed.W_E"].T, tokens, True)]
    if w["pos_embed.W_pos"].any():
        embed.append(Matrix("W_pos", w["pos_embed.W_pos"].T, positions, True))
    yield PartWeights("embed", "tokens and positions", names, tuple(embed))
    for layer in range(model.hooked.cfg.n_layers):
        for head in model.graph.heads(layer):
            site = f"a{layer}.h{head}"
            about = ", ".join(operation_at.get(site, ["padding"]))
            named = names if model.provenance.basis is None else ()
            yield PartWeights(site, about, (*names, "bias"), _head(w, f"blocks.{layer}.attn.", head, named))
        if f"m{layer}" in model.graph.writers:
            units = _unit_names(model, layer)
            at = f"blocks.{layer}.mlp."
            reads = np.vstack([w[at + "W_in"], w[at + "b_in"]])
            writes = np.vstack([w[at + "W_out"].T, np.zeros(len(units))])  # no row beside b_in
            order = sorted(range(len(units)), key=lambda unit: (units[unit] == "padding", units[unit]))
            columns = tuple(units[unit] for unit in order)
            matrices = (
                Matrix("W_in, b_in", reads[:, order], columns, False),
                Matrix("W_out", writes[:, order], columns, True),
            )
            used = dict.fromkeys(columns[place] for place in np.flatnonzero(matrices[1].values.any(0)))
            yield PartWeights(f"m{layer}", ", ".join(used), (*names, "bias"), matrices)
    outputs = tuple(str(column) for output in lowered.outputs for column in output.columns)
    yield PartWeights("logits", "output", names, (Matrix("W_U", w["unembed.W_U"], outputs, False),))


def turned_back(model: CompiledModel) -> Weights:
    """The weights of a model in the basis of the residual stream that its provenance names."""
    basis = model.provenance.basis
    if basis is None:
        return model.weights
    turned = dict(model.weights)
    for name, array in model.weights.items():
        if (axis := STREAM.get(name.rpartition(".")[2])) is not None:
            back = np.moveaxis(np.moveaxis(array, axis, -1) @ basis.T, -1, axis)
            turned[name] = np.where(np.abs(back) > ROUNDING_SHARE * np.abs(back).max(initial=0.0), back, 0.0)
    return turned


def _head(w: Weights, at: str, head: int, names: Sequence[str]) -> tuple[Matrix, ...]:
    """The matrices of a head: queries and keys by their common dimensions, the others by what is written."""
    matrices = []
    moved = w[at + "W_O"][head]
    written = tuple(map(str, range(len(moved))))
    if names:
        written = tuple(f"→ {names[int(np.abs(row).argmax())]}" if row.any() else "" for row in moved)
    for letter in "QKV":
        values = np.vstack([w[at + f"W_{letter}"][head], w[at + f"b_{letter}"][head]])
        columns = written if letter == "V" else tuple(map(str, range(values.shape[1])))
        matrices.append(Matrix(f"W_{letter}" + (f", b_{letter}" if values[-1].any() else ""), values, columns, False))
    matrices.append(Matrix("W_O", np.vstack([moved.T, np.zeros(len(moved))]), written, True))
    return tuple(matrices)


def _unit_names(model: CompiledModel, layer: int) -> list[str]:
    """The operation of each hidden unit."""
    names = ["padding"] * model.weights[f"blocks.{layer}.mlp.b_in"].size
    for operation, units in model.provenance.neurons.items():
        if model.provenance.sites[operation] == f"m{layer}":
            for unit in units:
                names[unit] = operation
    return names


# --- drawing ---------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class _Panel:
    """A matrix without its rows and columns of zeros, in blocks where it is large.

    Attributes:
        rows, columns: which of the matrix the cells begin with.
        column_names: of all columns of the matrix.
        names: of those drawn, each with its first and last cell; numbers are thinned out to what fits.
        room: the width of the panel with its names and its caption.
    """

    name: str
    values: Float[np.ndarray, "rows columns"]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    column_names: tuple[str, ...]
    names: tuple[tuple[str, int, int], ...]
    cell: tuple[float, float]
    caption: tuple[str, ...]
    room: float

    @staticmethod
    def of(matrix: Matrix, rows: np.ndarray, cell: float) -> "_Panel":
        columns = np.flatnonzero(matrix.values.any(0))
        by_row, by_column = -(-len(rows) // MAX_CELLS_ACROSS), max(1, -(-len(columns) // MAX_CELLS_ACROSS))
        values = _pooled(matrix.values[np.ix_(rows, columns)], by_row, by_column)
        wide = min(cell, MAX_WIDTH / max(values.shape[1], 1))
        height, width = matrix.values.shape
        caption = [matrix.name + (" transposed" if matrix.turned else ""), f"{height} × {width}"]
        if (by_row, by_column) != (1, 1):
            caption.append(f"blocks {by_row} × {by_column}")
        starts = tuple(rows[::by_row].tolist()), tuple(columns[::by_column].tolist())
        names = _groups([matrix.columns[column] for column in starts[1]])
        fit = MAX_WIDTH if not all(name.isdecimal() for name, _, _ in names) else max(values.shape[1] * wide, NAME)
        names = names[:: max(1, math.ceil(len(names) * NAME / fit))]
        room = max(values.shape[1] * wide, len(names) * NAME, *(text_width(line, 10) for line in caption))
        return _Panel(matrix.name, values, *starts, matrix.columns, tuple(names), (wide, cell), tuple(caption), room)


@final
class _Drawn:
    """A part with the sizes of its drawing."""

    def __init__(self, part: PartWeights, cell: float, named_one_by_one: bool) -> None:
        rows = np.flatnonzero(np.any([matrix.values.any(1) for matrix in part.matrices], axis=0))
        self.part = part
        self.panels = [_Panel.of(matrix, rows, cell) for matrix in part.matrices]
        self.cell, self.rows = cell, self.panels[0].rows
        names = [part.rows[row] for row in self.rows]
        self.groups = _groups(names if named_one_by_one else [name.partition("=")[0] for name in names])
        self.heading = f"{part.name} · {part.about}"
        above = [text_width(name, 10) for panel in self.panels for name, _, _ in panel.names]
        self.top = 46 + min(COLUMN_NAMES - 20, max(above, default=0.0))
        middles = [cell * (first + last + 1) / 2 for _, first, last in self.groups]
        self.names = spread(middles, [NAME + 1] * len(middles))
        self.lift = max(0.0, NAME - self.names[0]) if self.names else 0.0
        lowest = max([cell * len(self.rows), *(name + NAME for name in self.names)])
        self.width = ROW_NAMES + sum(panel.room + 22 for panel in self.panels)
        self.height = self.top + self.lift + lowest + 48

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Draw the part with its left upper corner at (x, y)."""
        canvas.text(x, y + 8, self.heading, bold=True, width=self.width)
        top = y + self.top + self.lift
        for (name, first, last), middle in zip(self.groups, self.names, strict=True):
            canvas.text(x + ROW_NAMES - 16, top + middle, name, size=10, anchor="end", width=ROW_NAMES - 20, row=first)
            at = top + self.cell * (first + last + 1) / 2
            left = x + ROW_NAMES - 5
            canvas.line([(left - 8, top + middle), (left - 1, at)], stroke="ignored", thickness=0.8)
            span = [(left, top + self.cell * first + 1), (left, top + self.cell * (last + 1) - 1)]
            canvas.line(span, stroke="soft", thickness=1.2)
        x += ROW_NAMES
        for panel in self.panels:
            self._panel(canvas, panel, x, top)
            x += panel.room + 22

    def _panel(self, canvas: Canvas, panel: _Panel, x: float, top: float) -> None:
        wide, high = panel.cell
        height, width = panel.values.shape
        canvas.rect(x, top, max(width * wide, 1), height * high, fill="tint", stroke="line", matrix=panel.name)
        _column_names(canvas, panel, x, top)
        _cells(canvas, panel, self.part, x, top)
        for i, line in enumerate(panel.caption):
            canvas.text(x, top + self.height - self.top - self.lift - 40 + 13 * i, line, size=10, colour="soft")


def _column_names(canvas: Canvas, panel: _Panel, x: float, top: float) -> None:
    wide = panel.cell[0]
    middles = [wide * (first + last + 1) / 2 for _, first, last in panel.names]
    places = spread(middles, [NAME] * len(middles))
    shift = max(0.0, NAME / 2 - places[0]) if places else 0.0
    for (name, first, last), middle, place in zip(panel.names, middles, places, strict=True):
        left = x + place + shift
        canvas.text(left, top - 16, name, size=10, upward=True, width=COLUMN_NAMES - 20, column=first)
        canvas.line([(left, top - 13), (x + middle, top - 5)], stroke="ignored", thickness=0.8)
        if last > first:
            canvas.line([(x + wide * first + 0.5, top - 4), (x + wide * (last + 1) - 0.5, top - 4)], stroke="soft")


def _cells(canvas: Canvas, panel: _Panel, part: PartWeights, x: float, top: float) -> None:
    """Draw the weights that are not zero: one by one where cells are large, else all that look the same at once."""
    wide, high = panel.cell
    largest = float(np.abs(panel.values).max(initial=0))
    one_by_one = high == LARGE_CELL and np.count_nonzero(panel.values) <= MAX_SINGLE_CELLS
    alike: dict[tuple[bool, float], list[str]] = {}
    for row, column in zip(*(axis.tolist() for axis in np.nonzero(panel.values)), strict=True):
        value = float(panel.values[row, column])
        strength = round(0.3 + 0.7 * abs(value) / largest, 1)
        part_of = 1.0 if value > 0 else 0.4
        left, upper = x + wide * column, top + high * (row + (1 - part_of) / 2)
        gap = 0.8 if wide > 4 else 0.0
        width, height = wide - gap, high * part_of - (0.8 if value > 0 else 0.0)
        if one_by_one:
            names = part.rows[panel.rows[row]], panel.column_names[panel.columns[column]]
            canvas.rect(
                left,
                upper,
                width,
                height,
                fill="accent" if value > 0 else "alarm",
                opacity=strength,
                tip=f"{names[0]}, {names[1] or panel.columns[column]}: {value:.6g}",
                row=panel.rows[row],
                column=panel.columns[column],
                value=repr(value),
                of=panel.name,
            )
        else:
            box = f"M{left:.1f} {upper:.1f}L{left + width:.1f} {upper:.1f}L{left + width:.1f} {upper + height:.1f}"
            alike.setdefault((value > 0, strength), []).append(f"{box}L{left:.1f} {upper + height:.1f}Z")
    for (positive, strength), boxes in alike.items():
        fill = "accent" if positive else "alarm"
        canvas.path("".join(boxes), fill=fill, opacity=strength, of=panel.name, cells=len(boxes))


def _legend(canvas: Canvas, y: float) -> None:
    canvas.rect(0, y - 5, 10, 10, fill="accent")
    canvas.text(16, y, "positive", size=11, colour="soft")
    canvas.rect(86, y - 2, 10, 4, fill="alarm")
    canvas.text(
        102, y, "negative; the stronger the colour, the larger. Rows: the residual stream", size=11, colour="soft"
    )


def _pooled(values: np.ndarray, by_row: int, by_column: int) -> np.ndarray:
    """The weight of the largest size in each block."""
    height, width = values.shape
    padded = np.pad(values, [(0, -height % by_row), (0, -width % by_column)])
    blocks = padded.reshape(len(padded) // by_row, by_row, padded.shape[1] // by_column, by_column)
    flat = blocks.transpose(0, 2, 1, 3).reshape(len(blocks), blocks.shape[2], by_row * by_column)
    return np.take_along_axis(flat, np.abs(flat).argmax(-1)[..., None], -1)[..., 0]


def _groups(names: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of equal names with their first and last place."""
    runs = [(name, [i for i, _ in members]) for name, members in groupby(enumerate(names), key=lambda pair: pair[1])]
    return [(name, places[0], places[-1]) for name, places in runs]
