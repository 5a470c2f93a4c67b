"""The files of a saved model: model.safetensors (weights) and model.json (everything else). No pickle."""

import hashlib
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from gaugeblock.compiled.edges.inert import Inert
from gaugeblock.compiled.lowered.operations import (
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
from gaugeblock.compiled.writing import staged
from gaugeblock.programs.errors import FileError
from gaugeblock.programs.language.operations import GraphNode

FORMAT = 4

Weights = Mapping[str, np.ndarray]


def content_hash(weights: Weights, record: Mapping[str, Any]) -> str:
    """sha256 over the weights, by name and in float64, and what they are for.

    Without `error_bound`: it says how a machine computes, and where it was measured it varies with threads.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name], dtype="<f8")
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    covered = {name: value for name, value in record.items() if name != "error_bound"}
    digest.update(json.dumps(covered, sort_keys=True).encode())
    return digest.hexdigest()


def save(weights: Weights, record: Mapping[str, Any], path: Path) -> None:
    """Write the folder at once or not at all. FileError if something that is not a saved model stands there."""
    with staged(path, "model.json", "not a saved model") as folder:
        write(weights, record, folder)


def write(weights: Weights, record: Mapping[str, Any], folder: Path) -> None:
    """Write the files of a saved model into a folder."""
    tensors = {k: np.ascontiguousarray(v) for k, v in weights.items()}
    (folder / "model.safetensors").write_bytes(save_tensors(tensors))
    whole = {"format": FORMAT, "hash": content_hash(weights, record), **record}
    (folder / "model.json").write_text(json.dumps(whole, indent=1))


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(weights, record) of a saved model. FileError if it is missing, truncated or of another format."""
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
        version = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise FileError(f"the saved model at {path} has format {version!r}; this version reads format {FORMAT}")
    return weights, record


def plain(x: Any) -> Any:
    """As JSON. Values are tagged where JSON has no such type."""
    match x:
        case None | bool() | int() | float() | str():
            return x
        case Fraction():
            return {"fraction": [x.numerator, x.denominator]}
        case frozenset():
            return {"set": sorted(map(plain, x), key=repr)}
        case np.ndarray():
            return {"array": x.tolist(), "dtype": str(x.dtype)}
        case np.generic():
            return x.item()
        case dict():
            return {k: plain(v) for k, v in x.items()}
        case tuple() | list():
            return [plain(v) for v in x]
    if hasattr(x, "__dataclass_fields__"):
        return {"is": type(x).__name__} | {name: plain(getattr(x, name)) for name in x.__dataclass_fields__}
    raise FileError(f"a value of type {type(x).__name__} cannot be written to a file: {x!r}")


_OPERATIONS = (Attention, Form, Table, RestoringTable, Total)
_KINDS = {k.__name__: k for k in (Lowered, Output, Variable, Condition, Ranking, Read, *_OPERATIONS, GraphNode, Inert)}


def revived(x: Any) -> Any:
    if isinstance(x, list):
        return tuple(revived(v) for v in x)
    if not isinstance(x, dict):
        return x
    if "fraction" in x:
        return Fraction(*x["fraction"])
    if "set" in x:
        return frozenset(map(revived, x["set"]))
    if "array" in x:
        return np.array(x["array"], dtype=x["dtype"])
    if x.get("is") in _KINDS:
        return _KINDS[x["is"]](**{k: revived(v) for k, v in x.items() if k != "is"})
    return {k: revived(v) for k, v in x.items()}


def lowered_from(record: Any) -> Lowered:
    lowered = revived(record)
    if not isinstance(lowered, Lowered) or not all(isinstance(op, Operation) for op in lowered.operations):
        raise ValueError("no lowered program")
    return lowered
