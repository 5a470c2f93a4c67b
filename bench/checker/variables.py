"""The auditor's claim about variables: where the label file says a variable is, its value can be read off the stream.

Like `gaugeblock.checker`, it sees weights, tokens, the label data and the lowered program, nothing of how the model was
compiled.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

import numpy as np
from jaxtyping import Float

from gaugeblock.checker.claims import Claim, make_claim, named
from gaugeblock.checker.evidence import Evidence
from gaugeblock.checker.weights import TOLERANCE
from gaugeblock.compiled.lowered.operations import BOS, PRESENT, Lowered, Variable
from gaugeblock.compiled.lowered.semantics import UNKNOWN
from gaugeblock.compiled.lowered.tables import smallest_gap

EXACT = 1e-6
"""What is seen is what the program says to this: absolutely, and relative to numbers above 1."""

SUM_GAPS = 1 / 64
"""Sums written as one number are right to this fraction of the distance of neighbouring values."""

Stream = Float[np.ndarray, "pair pos d_model"]


class VariablePlace(TypedDict):
    """Label data of one variable.

    directions: orthonormal rows: one per value (one-hot), one (scalar), or two (ratio: sum / (1 + count), then
        1 / (1 + count), a row that the sums of one head share).
    written: the node that writes it. read: the last node that reads it, or "logits"; None if no output depends on it.
    """

    directions: list[list[float]]
    written: str
    read: str | None


def check_variables(
    evidence: Evidence,
    places: Mapping[str, VariablePlace],
    reads: Mapping[str, Sequence[Sequence[str]]],
    *,
    soft: bool = False,
) -> Claim:
    """The stream of the clean inputs, projected onto a variable's directions, decodes to the lowered program's value at
    every stage from where it is written to where it is last read, and holds nothing of it before; directions of
    different variables are orthogonal; who writes and who reads it last is what the edges' reads say. Looked at are
    positions that hold a token; for `present` and `bos`, which say which do, all. The direction of a value that never
    occurs is only known to be orthogonal to the others.

    Args:
        places: by name of the variable in the lowered program.
        reads: edge -> the [operation, port, variable] reads it carries, as in the label file.
        soft: numbers are noisy; each need only be nearer to its value than to any other.
    """
    variables = evidence.lowered.variables
    wrong = named("without a place", set(variables) - set(places))
    wrong += named("no variable of the program", set(places) - set(variables))
    wrong += [] if wrong else _malformed(evidence, places)
    if wrong:
        return make_claim("variables", None, 0, wrong, "")
    directions = {name: np.array(place["directions"], dtype=float) for name, place in places.items()}
    wrong += [*_crooked(evidence.lowered, directions), *_misplaced(evidence, places, reads)]
    real, worst, checked = evidence.real(evidence.clean).numpy(), 0.0, 0
    stages = {name: _life(evidence, place) for name, place in places.items()}
    for stage, stream in enumerate(_streams(evidence)):
        for name, (first, last) in stages.items():
            if stage > last:
                continue
            where = np.ones_like(real) if name in (PRESENT, BOS) else real
            variable, codes = variables[name], evidence.clean_codes[name][where]
            seen = stream[where] @ directions[name].T
            if stage < first:
                off = np.abs(seen).max(1) > TOLERANCE
                problem = "is there before it is written"
            else:
                known = codes != UNKNOWN
                error, allowed = _errors(evidence.lowered, variable, seen[known], codes[known], soft)
                checked, off = checked + len(error), error > allowed
                worst = max(worst, float(error.max(initial=0.0)))
                problem = "does not decode to its value"
            if off.any():
                wrong.append(
                    f"{name} {problem} at {int(off.sum())} of {len(off)} positions, {_before(evidence, stage)}"
                )
    passing = f"{len(variables)} variables decode to the program's values at {checked} places in the stream"
    passing += f", off by {worst:.0e} or less; their directions are orthogonal"
    return make_claim("variables", None, checked, wrong, passing)


# --- what must hold without a run ------------------------------------------------------------------------------------


def _malformed(evidence: Evidence, places: Mapping[str, VariablePlace]) -> Iterator[str]:
    d_model, nodes = evidence.weights["embed.W_E"].shape[1], {*evidence.model.writers, "logits"}
    for name, place in places.items():
        variable = evidence.lowered.variables[name]
        size = {"onehot": len(variable.values), "scalar": 1, "ratio": 2}[variable.encoding]
        shape = np.shape(place["directions"])
        if shape != (size, d_model):
            yield f"the directions of {name} have the shape {shape}, not {(size, d_model)}"
        for node in (place["written"], place["read"]):
            if node not in nodes and node is not None:
                yield f"{name} is at {node!r}, which is no node of the model"


def _crooked(lowered: Lowered, rows: Mapping[str, Float[np.ndarray, "direction d_model"]]) -> list[str]:
    """Directions that are not of length one, or not orthogonal to all others; ratios of one head share their second."""
    names = [name for name in rows for _ in rows[name]]
    every = np.concatenate(list(rows.values()))
    products = every @ every.T
    second = np.concatenate([np.arange(len(directions)) == 1 for directions in rows.values()])
    is_ratio = np.array([lowered.variables[name].encoding == "ratio" for name in names]) & second
    writers = np.array([lowered.variables[name].writer for name in names])
    shared = is_ratio[:, None] & is_ratio & (writers[:, None] == writers)
    meant = np.where(shared, 1.0, np.eye(len(names)))
    pairs = {tuple(sorted((names[i], names[j]))) for i, j in np.argwhere(np.abs(products - meant) > TOLERANCE)}
    return [f"the directions of {a} and {b} are not orthonormal" for a, b in sorted(pairs)]


def _misplaced(
    evidence: Evidence, places: Mapping[str, VariablePlace], reads: Mapping[str, Sequence[Sequence[str]]]
) -> Iterator[str]:
    """Variables that other nodes write, or read last, than the edges which carry them say."""
    carried = [(variable, *edge.split("->")) for edge, carries in reads.items() for _, _, variable in carries]
    for name, place in places.items():
        writers = {writer for variable, writer, _ in carried if variable == name}
        readers = {reader for variable, _, reader in carried if variable == name}
        if writers - {place["written"]}:
            yield f"{name} is written by {place['written']}, its edges say {', '.join(sorted(writers))}"
        last = max((_stage_before(evidence, reader) for reader in readers), default=None)
        said = None if place["read"] is None else _stage_before(evidence, place["read"])
        if last != said:
            yield f"{name} is last read by {place['read']}, its edges say otherwise"


# --- stages ----------------------------------------------------------------------------------------------------------


def _streams(evidence: Evidence) -> Iterator[Stream]:
    """The stream in front of each sublayer and of the unembedding: heads of layer l at 2l, its MLP at 2l + 1."""
    model, written = evidence.model, evidence.clean_run.written
    stream = written["embed"] + written["pos"]
    for layer, heads in enumerate(model.heads):
        yield stream.numpy()
        stream = sum((written[f"a{layer}.h{head}"] for head in heads), stream + model.attention(layer, "b_O"))
        yield stream.numpy()
        stream = stream + written[f"m{layer}"] if model.has_mlp(layer) else stream
    yield stream.numpy()


def _life(evidence: Evidence, place: VariablePlace) -> tuple[int, int]:
    """The first and the last stage at which a variable is needed; what is never read is looked at to the end."""
    written = place["written"]
    first = 0 if written in ("embed", "pos") else _stage_before(evidence, written) + 1
    return first, _stage_before(evidence, place["read"] or "logits")


def _stage_before(evidence: Evidence, node: str) -> int:
    """The stage that a head, an MLP or the unembedding reads."""
    if node == "logits":
        return 2 * evidence.model.n_layers
    layer, head, _ = node[1:].partition(".h")
    return 2 * int(layer) + (not head)


def _before(evidence: Evidence, stage: int) -> str:
    last = 2 * evidence.model.n_layers
    return "before the logits" if stage == last else f"before {'am'[stage % 2]}{stage // 2}"


# --- values ----------------------------------------------------------------------------------------------------------


def _errors(
    lowered: Lowered, variable: Variable, seen: Float[np.ndarray, "row direction"], codes: np.ndarray, soft: bool
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    """(distance of what is seen from what the codes say, what is allowed), per row."""
    here = np.maximum(codes, 0)
    if variable.encoding == "onehot":
        meant = np.eye(len(variable.values))[here] * (codes >= 0)[:, None]
        return np.abs(seen - meant).max(1, initial=0.0), np.full(len(codes), 0.5 if soft else EXACT)
    values = [float(value) for value in variable.values]
    meant, counts = np.where(codes >= 0, np.array(values)[here], 0.0), np.zeros(len(codes))
    if variable.encoding == "ratio":
        counts = 1 / np.where(seen[:, 1] > 0.5 / (1 + lowered.max_len), seen[:, 1], math.nan) - 1
    number = seen[:, 0] * (1 + counts)
    if soft:
        allowed = _halfway(np.sort(values), meant, number)
    else:
        is_sum = variable.encoding == "scalar" and variable.name in lowered.sums
        allowed = np.maximum(EXACT * np.maximum(1, np.abs(meant)), is_sum * SUM_GAPS * smallest_gap(sorted(values)))
    is_count = np.abs(counts - np.round(counts)) <= (0.5 if soft else EXACT * (1 + counts) ** 2)
    return np.where(is_count, np.abs(number - meant), math.inf), allowed


def _halfway(
    values: Float[np.ndarray, " values"], meant: Float[np.ndarray, " row"], number: Float[np.ndarray, " row"]
) -> Float[np.ndarray, " row"]:
    """Half the distance from the value that is meant to its neighbour on the side of the number; ascending values."""
    gaps = np.concatenate([[math.inf], np.diff(values), [math.inf]])
    at = np.searchsorted(values, meant)
    return np.where(number < meant, gaps[at], gaps[np.minimum(at + 1, len(values))]) / 2
