"""A saved model, read back."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gaugeblock.compiled.files import content_hash, lowered_from, read, revived
from gaugeblock.compiled.lowered.operations import Lowered
from gaugeblock.compiled.model import CompiledModel, Provenance
from gaugeblock.programs.domain import ALL_INPUTS
from gaugeblock.programs.errors import FileError, ProgramError, UnknownName
from gaugeblock.programs.program import Program
from gaugeblock.programs.registry import get

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def load(path: str | Path, device: str = "cpu") -> CompiledModel:
    """Read a saved model. Raises FileError if it is missing, truncated, damaged, or of another kind.

    >>> import tempfile
    >>> import gaugeblock as gb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gb.compile(gb.programs.get("hist")).save(f"{folder}/hist")
    ...     model = gb.load(f"{folder}/hist")
    >>> model("abca")
    [2, 1, 1, 2]
    """
    path = Path(path)
    weights, record = read(path)
    try:
        model = _restored(record, weights, device)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"model.json at {path} is not a complete description of a model: {error!r}") from None
    if content_hash(weights, model.record) != record["hash"]:
        raise FileError(f"the saved model at {path} does not match its own hash: its files were changed or mixed up")
    return model


def _restored(record: dict[str, Any], weights: dict[str, np.ndarray], device: str) -> CompiledModel:
    lowered = lowered_from(record["lowered"])
    where = record["provenance"]
    return CompiledModel(
        program=_program(record["program"], lowered),
        lowered=lowered,
        weights=weights,
        provenance=Provenance(
            tuple(where["directions"]),
            where["sites"],
            {k: tuple(v) for k, v in where["neurons"].items()},
            None if where["basis"] is None else np.array(where["basis"]),
            revived(where["inert"]),
        ),
        margins=record["margins"],
        error_bound=record["error_bound"],
        activation=record["activation"],
        sharpness=record["sharpness"],
        device=device,
        dtype=DTYPES[record["dtype"]],
    )


def _program(record: dict[str, str], lowered: Lowered) -> Program:
    try:
        return get(record["name"]).with_size(lowered.vocab, lowered.max_len)
    except UnknownName:  # a program of the user's: the model runs, its source is not here
        return Program(
            record["name"], _no_source, lowered.vocab, lowered.max_len, record["description"], domain=ALL_INPUTS
        )


def _no_source(tokens: Any, indices: Any) -> Any:
    raise ProgramError("this program was loaded with a compiled model; its source is not part of the file")
