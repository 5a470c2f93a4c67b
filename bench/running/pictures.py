"""The pictures that a results folder keeps of a case: how it works on one input, its attention, its residual stream."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gaugeblock.cases.case import Case
from gaugeblock.compiled.writing import write_text
from gaugeblock.pictures.attention import attention
from gaugeblock.pictures.flow import flow
from gaugeblock.pictures.stream import residual_stream
from gaugeblock.pictures.svg import Picture
from gaugeblock.programs.errors import GaugeblockError
from gaugeblock.programs.printing import value_text
from gaugeblock.results.files import picture_path
from gaugeblock.results.records import CasePicture

MAX_PICTURE_CHARACTERS: Final = 400_000
"""Characters of the largest picture that a report still shows."""

MAX_INPUT_LENGTH: Final = 5
"""Tokens of the input that is shown, where the pairs have one so short."""


def write_pictures(case: Case, out: str | Path) -> list[CasePicture]:
    """Draw the pictures of a case's model into a results folder; what is too large is left out, and the record says so.

    The input is one of the case's own clean ones.
    """
    xs = shown_input(case)
    words = " ".join(map(value_text, xs))
    pictures = []
    for kind, caption, draw in _kinds(case, xs):
        try:
            picture = draw()
        except GaugeblockError as e:
            pictures.append(CasePicture(kind=kind, caption=caption.format(words), missing=str(e)))
            continue
        missing = None
        if len(picture.svg) > MAX_PICTURE_CHARACTERS:
            command = f"gaugeblock show {case.id} --picture {kind} -o {kind}.svg"
            missing = f"With {len(picture.svg) // 1000:,} kB it is too large to be shown here; `{command}` draws it."
        else:
            write_text(picture_path(out, case.id, kind), picture.svg)
        pictures.append(CasePicture(kind=kind, caption=caption.format(words), missing=missing, width=picture.width))
    return pictures


def _kinds(case: Case, xs: list[Any]) -> list[tuple[str, str, Callable[[], Picture]]]:
    """Kind, caption with a place for the input, and how to draw it."""
    return [
        (
            "flow",
            "The program on {}, from top to bottom: every head has its keys and values above, its queries and results "
            "below, and a line from each key to each query that selects it.",
            lambda: flow(case.program, xs),
        ),
        (
            "attention",
            "The model on {}: for each head of the circuit the selector of the program, the attention of this model, "
            "and attention minus selector. A row is a query; BOS is the start token, to which a head attends that "
            "selects nothing.",
            lambda: attention(case.model, xs),
        ),
        (
            "stream",
            "Each variable of the program, the dimensions of the residual stream that hold it, and a bar from the "
            "sublayer that writes it (●) to the last that reads it (○).",
            lambda: residual_stream(case.model),
        ),
    ]


def shown_input(case: Case) -> list[Any]:
    """A clean input of the pairs that is short enough to be drawn and has many values in its output."""
    tokens, model = case.pairs.clean, case.model
    vocab = model.lowered.vocab
    inputs = [[vocab[i] for i in row[row < model.bos].tolist()] for row in tokens]
    longest = max(min(map(len, inputs)), MAX_INPUT_LENGTH)
    inputs = [xs for xs in inputs if len(xs) <= longest]
    outputs = case.program.batch(inputs)
    varied = [(len(set(ys)), len(set(xs)), len(xs)) for xs, ys in zip(inputs, outputs, strict=True)]
    return inputs[max(range(len(inputs)), key=varied.__getitem__)]
