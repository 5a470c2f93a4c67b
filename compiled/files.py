"""Compiled models on disk: a folder with model.safetensors (weights) and model.json (everything else). No pickle."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from gaugeblock.compiled.inert import Inert
from gaugeblock.compiled.lowered import (
    Attention,
    Condition,
    Form,
    Lowered,
    Operation,
    Output,
    Ranking,
    Read,
    RestoringTable,
    Table,
    Total,
    Variable,
)
from gaugeblock.compiled.model import CompiledModel, Provenance
from gaugeblock.programs.domain import ALL_INPUTS
from gaugeblock.programs.errors import FileError, ProgramError, UnknownName
from gaugeblock.programs.operations import GraphNode
from gaugeblock.programs.program import Program
from gaugeblock.programs.registry import get

FORMAT = 4
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def content_hash(model: CompiledModel) -> str:
    """sha256 over the weights, by name and in float64, and what they are for.

    Without `error_bound`: it says how a machine computes, and where it was measured it varies with threads.
    """
    digest = hashlib.sha256()
    for name in sorted(model.weights):
        array = np.ascontiguousarray(model.weights[name], dtype="<f8")
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    record = {name: value for name, value in _record(model).items() if name != "error_bound"}
    digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()


def save(model: CompiledModel, path: Path) -> None:
    """Write the folder at once or not at all. FileError if something that is not a saved model stands there."""
    with staged(path, "model.json", "not a saved model") as folder:
        write_model(model, folder)


def write_model(model: CompiledModel, folder: Path) -> None:
    """Write the files of a saved model into a folder."""
    tensors = {k: np.ascontiguousarray(v) for k, v in model.weights.items()}
    (folder / "model.safetensors").write_bytes(save_tensors(tensors))
    record = {"format": FORMAT, "hash": content_hash(model), **_record(model)}
    (folder / "model.json").write_text(json.dumps(record, indent=1))


@contextmanager
def staged(path: Path, mark: str, otherwise: str) -> Iterator[Path]:
    """A new folder that takes the place of `path` when the block ends, and goes where the block fails.

    FileError where something stands that is no empty folder and holds no file `mark`: it "is {otherwise}".
    """
    if path.exists() and not (path.is_dir() and (path / mark).exists()) and not _is_empty(path):
        raise FileError(f"{path} exists and is {otherwise}; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield staging
        staging.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        os.replace(staging, path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def load(path: str | Path, device: str = "cpu") -> CompiledModel:
    """Read a saved model. FileError if it is missing, truncated, damaged, or of another kind."""
    path = Path(path)
    if not path.is_dir():
        raise FileError(f"there is no saved model at {path}: it is a folder with model.safetensors and model.json")
    try:
        record = json.loads((path / "model.json").read_text())
        weights = {k: v.astype(np.float64) for k, v in load_tensors((path / "model.safetensors").read_bytes()).items()}
    except FileNotFoundError as error:
        raise FileError(f"the saved model at {path} lacks {Path(error.filename).name}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise FileError(f"the saved model at {path} is damaged or truncated: {error}") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise FileError(f"the saved model at {path} has format {found!r}; this version reads format {FORMAT}")
    try:
        model = _restored(record, weights, device)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"model.json at {path} is not a complete description of a model: {error!r}") from None
    if content_hash(model) != record["hash"]:
        raise FileError(f"the saved model at {path} does not match its own hash: its files were changed or mixed up")
    return model


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _record(model: CompiledModel) -> dict[str, Any]:
    return {
        "program": {"name": model.program.name, "description": model.program.description},
        "dtype": str(model.dtype).removeprefix("torch."),
        "margins": model.margins,
        "error_bound": model.error_bound,
        "activation": model.activation,
        "sharpness": model.sharpness,
        "provenance": {
            "directions": list(model.provenance.directions),
            "sites": model.provenance.sites,
            "neurons": {k: list(v) for k, v in model.provenance.neurons.items()},
            "basis": None if model.provenance.basis is None else model.provenance.basis.tolist(),
            "inert": _plain(model.provenance.inert),
        },
        "lowered": _plain(model.lowered),
    }


def _restored(record: dict[str, Any], weights: dict[str, np.ndarray], device: str) -> CompiledModel:
    lowered = _lowered(record["lowered"])
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
            _revived(where["inert"]),
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


def _plain(x: Any) -> Any:
    """As JSON. Values are tagged where JSON has no such type."""
    match x:
        case None | bool() | int() | float() | str():
            return x
        case Fraction():
            return {"fraction": [x.numerator, x.denominator]}
        case frozenset():
            return {"set": sorted(map(_plain, x), key=repr)}
        case np.ndarray():
            return {"array": x.tolist(), "dtype": str(x.dtype)}
        case np.generic():
            return x.item()
        case dict():
            return {k: _plain(v) for k, v in x.items()}
        case tuple() | list():
            return [_plain(v) for v in x]
    if hasattr(x, "__dataclass_fields__"):
        return {"is": type(x).__name__} | {name: _plain(getattr(x, name)) for name in x.__dataclass_fields__}
    raise FileError(f"a value of type {type(x).__name__} cannot be written to a file: {x!r}")


_OPERATIONS = (Attention, Form, Table, RestoringTable, Total)
_KINDS = {k.__name__: k for k in (Lowered, Output, Variable, Condition, Ranking, Read, *_OPERATIONS, GraphNode, Inert)}


def _revived(x: Any) -> Any:
    if isinstance(x, list):
        return tuple(_revived(v) for v in x)
    if not isinstance(x, dict):
        return x
    if "fraction" in x:
        return Fraction(*x["fraction"])
    if "set" in x:
        return frozenset(map(_revived, x["set"]))
    if "array" in x:
        return np.array(x["array"], dtype=x["dtype"])
    if x.get("is") in _KINDS:
        return _KINDS[x["is"]](**{k: _revived(v) for k, v in x.items() if k != "is"})
    return {k: _revived(v) for k, v in x.items()}


def _lowered(record: Any) -> Lowered:
    lowered = _revived(record)
    if not isinstance(lowered, Lowered) or not all(isinstance(op, Operation) for op in lowered.operations):
        raise ValueError("no lowered program")
    return lowered
