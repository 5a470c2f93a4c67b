"""Edge and node scores as safetensors: one float64 vector each, their names in the file's metadata."""

import json
import struct

import numpy as np

from gaugeblock.programs.errors import FileError
from gaugeblock.results.untrusted import quoted, strict_json

PARTS = ("edge_scores", "node_scores")
MAX_HEADER = 8 * 2**20  # bytes

Scores = tuple[dict[str, float], dict[str, float]]


def write_scores(edges: dict[str, float], nodes: dict[str, float]) -> bytes:
    """A safetensors file of the scores of edges and nodes, exactly as they are."""
    from safetensors.numpy import save

    parts = dict(zip(PARTS, (edges, nodes)))
    tensors = {name: np.array(list(scores.values()), dtype=np.float64) for name, scores in parts.items()}
    return save(tensors, {name: json.dumps(list(scores), ensure_ascii=False) for name, scores in parts.items()})


def read_scores(data: bytes, where: str) -> Scores:
    """The inverse of `write_scores`. FileError where the file is anything else.

    The header is checked against the length of the file before any number is read.
    """
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else -1
    if not 0 < length <= min(MAX_HEADER, len(data) - 8):
        raise FileError(f"{where} is no safetensors file, or is cut off: its header does not fit into it")
    header = strict_json(data[8 : 8 + length], f"the header of {where}", max_string=MAX_HEADER)
    body = data[8 + length :]
    if not isinstance(header, dict) or set(header) != {*PARTS, "__metadata__"}:
        raise FileError(f"{where} does not hold the tensors {' and '.join(PARTS)} and their names")
    parts: list[dict[str, float]] = []
    taken: list[tuple[int, int]] = []
    for part in PARTS:
        names = _names(header["__metadata__"], part, where)
        tensor = header[part]
        fields = {"dtype", "shape", "data_offsets"}
        if not isinstance(tensor, dict) or set(tensor) != fields or tensor["dtype"] != "F64":
            raise FileError(f"{where} holds {part} in another form than a float64 vector")
        if tensor["shape"] != [len(names)]:
            shape = quoted(tensor["shape"])
            raise FileError(f"{where} names {len(names)} {part}, and its tensor has the shape {shape}")
        offsets = tensor["data_offsets"]
        if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(o) is int for o in offsets)):
            raise FileError(f"{where} does not say where {part} stand")
        start, end = offsets
        if not 0 <= start <= end <= len(body) or end - start != 8 * len(names):
            raise FileError(f"{where} places {part} at bytes {start} to {end} of {len(body)}, which cannot be")
        values = np.frombuffer(body[start:end], dtype="<f8")
        if not np.isfinite(values).all():
            raise FileError(f"{where} holds NaN or infinity among its {part}")
        taken.append((start, end))
        parts.append(dict(zip(names, values.tolist())))
    first, second = sorted(taken)
    if (first[0], first[1], second[1]) != (0, second[0], len(body)):
        raise FileError(f"{where} holds bytes that belong to no tensor, or to two")
    return parts[0], parts[1]


def _names(metadata: object, part: str, where: str) -> list[str]:
    text = metadata.get(part) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise FileError(f"{where} does not name its {part}")
    names = strict_json(text.encode("utf-8", "replace"), f"the list of {part} in {where}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FileError(f"{where} does not name its {part} as a list of texts")
    if len(set(names)) < len(names):
        raise FileError(f"{where} names one of its {part} twice")
    return names
