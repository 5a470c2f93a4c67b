"""The variant `rotate`: the same circuit in a basis in which no coordinate stands for anything.

The residual stream is turned by rounds of a random signed permutation and the reflection I - ½·11ᵀ of each group of
four coordinates. Heads get a new inner basis by unimodular integer matrices: W_Q·A and W_K·A^-T, W_V·B and B^-T on the
rows of W_O. Entries stay dyadic, so that nothing is rounded: every machine gets the same bits, what cancelled exactly
still does, and where a weight fitted float32 the turned one does. For that the heads are widened to a power of four,
which makes the √d_head of TransformerLens a power of two. What never was dyadic (the logarithm of a sink's weight, a
threshold between thirds) is rounded in float64 as before.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from gaugeblock.compiled.lowered.operations import Attention
from gaugeblock.compiled.lowered.tables import smallest_gap
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.stages.assemble import LOGIT, Weights
from gaugeblock.compiled.stages.layout import layout
from gaugeblock.compiled.stages.precision import ROUNDING, precision
from gaugeblock.programs.errors import CompileError

ROUNDS = 8
"""Of reflections; each takes a bit of every entry's mantissa, so models with long entries get fewer."""

SHEARS = 3
"""Rounds of adding one inner direction of a head to another."""

MAX_TRIES = 50

N_SAMPLED_INPUTS = 256
SAFE_SHARE = 1 / 8

DYADIC = 2.0**20
"""Scores that are multiples of 1 / DYADIC are recovered exactly from weights that √d_head was multiplied into."""

STREAM = {
    "W_E": 1, "W_pos": 1, "W_U": 0, "W_Q": 1, "W_K": 1, "W_V": 1, "W_O": 2, "b_O": 0, "W_in": 0, "W_out": 1, "b_out": 0,
}  # fmt: skip
"""Axis of each parameter that is the residual stream."""

Rows = Float[np.ndarray, "... d_model"]


def rotate(model: CompiledModel, rng: np.random.Generator) -> CompiledModel:
    """A random dyadic basis of the residual stream and of every head.

    Sums of many rounded products take the place of exact copies, so a model whose outputs or hidden units would come
    out wrong in float32 by a good part of their margin is to be run in float64.

    Effect on truth: none. Raises CompileError for a rotated model, and where the model's stream is too narrow or its
    weights too long to turn.
    """
    if model.provenance.basis is not None:
        raise CompileError(f"{model.program.name!r} is rotated already; rotate the model it was made from")
    before = _with_new_heads(model.weights, rng)
    d_model = before["embed.W_E"].shape[1]
    for _ in range(MAX_TRIES):
        weights, basis = before, np.eye(d_model)
        for _ in range(ROUNDS):
            turn = _Turn.draw(d_model, rng)
            turned = {name: _along_stream(name, array, turn) for name, array in weights.items()}
            if model.dtype is torch.float32 and not _fits(before, turned):
                break
            weights, basis = turned, turn(basis)
        if _is_mixed(basis):
            where = replace(model.provenance, basis=basis)
            rotated = replace(model, weights=weights, provenance=where)
            dtype = model.dtype if _holds(rotated) else torch.float64
            return replace(rotated, dtype=dtype, error_bound=_error_bound(model, before, dtype))
    raise CompileError(
        f"no rotation of {model.program.name!r} with {d_model} residual dimensions was found in {MAX_TRIES} tries: "
        f"it needs at least four dimensions, and weights that a reflection leaves within {model.dtype}"
    )


@final
@dataclass(frozen=True)
class _Turn:
    """One round: a signed permutation, then the reflection of each group of four; the rest is only permuted."""

    order: Int[np.ndarray, " d_model"]
    sign: Float[np.ndarray, " d_model"]

    @staticmethod
    def draw(d_model: int, rng: np.random.Generator) -> "_Turn":
        return _Turn(rng.permutation(d_model), rng.choice([-1.0, 1.0], d_model))

    def __call__(self, rows: Rows) -> Rows:
        """The rows in the new basis; adds in a fixed order and multiplies by ½, so exact where mantissas are short."""
        turned = rows[..., self.order] * self.sign
        whole = len(self.order) // 4 * 4
        group = turned[..., :whole].reshape(*rows.shape[:-1], whole // 4, 4)
        half = (((group[..., 0] + group[..., 1]) + group[..., 2]) + group[..., 3]) / 2
        turned[..., :whole] = (group - half[..., None]).reshape(*rows.shape[:-1], whole)
        return turned + 0.0  # no negative zeros


def _along_stream(name: str, array: np.ndarray, change: Callable[[Rows], Rows]) -> np.ndarray:
    """The parameter with the rows that lie in the residual stream changed."""
    axis = STREAM.get(name.rpartition(".")[2])
    if axis is None:
        return array
    return np.ascontiguousarray(np.moveaxis(change(np.moveaxis(array, axis, -1)), -1, axis))


def _fits(before: Weights, after: Weights) -> bool:
    """Whether each vector in the stream whose entries float32 holds exactly still is one."""

    def is_short(array: np.ndarray) -> Bool[np.ndarray, "..."]:
        return array.astype(np.float32).astype(np.float64) == array

    for name, array in before.items():
        if (axis := STREAM.get(name.rpartition(".")[2])) is not None:
            if (is_short(array).all(axis) & ~is_short(after[name]).all(axis)).any():
                return False
    return True


def _is_mixed(basis: Float[np.ndarray, "d_model d_model"]) -> bool:
    """Whether no old direction is a new one."""
    return bool((np.abs(basis).max(1) < 1).all())


# --- rounding --------------------------------------------------------------------------------------------------------


def _holds(model: CompiledModel) -> bool:
    """Whether, on sampled inputs, the model's precision moves no hidden unit of the program by more than SAFE_SHARE,
    steps being right to a half, and no logit by more than SAFE_SHARE of what separates outputs."""
    inputs = model.program.sample(np.random.default_rng(0), N_SAMPLED_INPUTS)
    runs: list[Any] = []
    for dtype in (model.dtype, torch.float64):
        copy = model.to("cpu", dtype)
        with torch.no_grad():
            runs.append(copy.hooked.run_with_cache(copy.encode(inputs), names_filter=lambda name: "hook_pre" in name))
    (logits, near), (exact_logits, exact) = runs
    apart = [smallest_gap(sorted(map(float, o.values))) if o.numeric else LOGIT for o in model.lowered.outputs]
    if (logits - exact_logits).abs().max() > SAFE_SHARE * min(apart):
        return False
    where = model.provenance
    layers = {op: f"blocks.{where.sites[op][1:]}.mlp.hook_pre" for op in where.neurons}
    errors = [(near[at] - exact[at])[..., list(where.neurons[op])].abs() for op, at in layers.items()]
    return all(float(error.max()) <= SAFE_SHARE for error in errors if error.numel())


def _error_bound(model: CompiledModel, turned: Weights, dtype: torch.dtype) -> float:
    """A bound on how far rounding in `dtype` moves a logit of the rotated model; `turned`: the weights with new heads.

    Each read, the sum of a few numbers before, is now a product of d_model terms, or of d_head for a score: its error
    is as many times the unit of rounding times the lengths of both sides. These are the length of the stream, and that
    of the inner vectors of a head relative to what it was. Padding and decoys are taken to be no longer than the
    program's own variables. Also, what was exactly zero is so no more, which a heavy sink multiplies.
    """
    lowered, name = model.lowered, str(dtype).removeprefix("torch.")
    bound = model.error_bound
    if dtype != model.dtype:
        errors = precision(lowered, layout(lowered), name).errors
        bound = max(errors[o.variable] * (1.0 if o.numeric else LOGIT) for o in lowered.outputs)
    heaviest = max((op.sink for op in lowered.operations if isinstance(op, Attention)), default=1.0)
    lengths = [1.0]
    for variable in lowered.variables.values():
        is_number = variable.encoding != "onehot"
        lengths += [1.0, *(abs(float(v)) for v in (variable.values[0], variable.values[-1]) if is_number)]
    longer = [1.0]
    for at in _attention(turned):
        for pair in (("W_Q", "W_K"), ("W_V", "W_O")):
            for head in range(len(turned[at + "W_Q"])):
                before, after = (math.prod(_length(w[at + x][head]) for x in pair) for w in (model.weights, turned))
                longer.append(after / before if before else 1.0)
    d_head, d_model = turned["blocks.0.attn.W_O"].shape[1:]
    growth = (d_model + d_head) * math.hypot(*lengths) * max(longer)
    return growth * (bound + ROUNDING[name] * LOGIT * heaviest)


def _length(array: np.ndarray) -> float:
    return math.sqrt(math.fsum((array**2).ravel()))


# --- the inner basis of heads ----------------------------------------------------------------------------------------


def _with_new_heads(weights: Weights, rng: np.random.Generator) -> Weights:
    """The weights with d_head the next power of four, and each head in a random inner basis."""
    d_head = weights["blocks.0.attn.W_Q"].shape[2]
    wide = 1
    while wide < d_head:
        wide *= 4
    result = dict(weights)
    for at in _attention(weights):
        widened = {x: _widened(weights[at + x], -1, wide) for x in ("W_Q", "b_Q", "W_K", "b_K", "W_V", "b_V")}
        widened["W_O"] = _widened(weights[at + "W_O"], 1, wide)
        for name in ("W_Q", "b_Q"):
            widened[name] = _unscaled(widened[name], np.sqrt(d_head)) * np.sqrt(wide)
        for head in range(len(widened["W_O"])):
            queries, keys = ([widened[f"{part}_{x}"][head] for part in "Wb"] for x in "QK")
            _mix(queries, keys, wide, rng)
            _mix([widened["W_V"][head], widened["b_V"][head]], [widened["W_O"][head].T], wide, rng)
        result |= {at + name: array for name, array in widened.items()}
    return result


def _attention(weights: Weights) -> list[str]:
    """The beginning of the names of each layer's attention parameters."""
    return sorted(name.removesuffix("W_Q") for name in weights if name.endswith("attn.W_Q"))


def _widened(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    """A copy with zeros behind."""
    missing = [(0, 0)] * array.ndim
    missing[axis] = (0, size - array.shape[axis])
    return np.pad(array, missing)


def _unscaled(array: np.ndarray, scale: float) -> np.ndarray:
    """The array that was multiplied by `scale`: the multiple of 1 / DYADIC of which that is true, else the quotient."""
    quotient = array / scale
    near = np.round(quotient * DYADIC) / DYADIC
    return np.where(np.abs(near - quotient) <= 2.0**-50 * np.abs(quotient), near, quotient)


def _mix(left: list[np.ndarray], right: list[np.ndarray], size: int, rng: np.random.Generator) -> None:
    """Change the last axis of `left` by a random unimodular A and that of `right` by A^-T, in place, so that products
    of the two over that axis stay."""
    order, sign = rng.permutation(size), rng.choice([-1.0, 1.0], size)
    for array in (*left, *right):
        array[...] = array[..., order] * sign + 0.0
    for to, source, factor in _shears(size, rng):
        for array in left:
            array[..., to] += array[..., source] * factor
        for array in right:
            array[..., source] -= array[..., to] * factor


def _shears(size: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rounds of (directions, the disjoint ones that are added to them, 1 or -1)."""
    for _ in range(SHEARS):
        order = rng.permutation(size)
        half = size // 2
        yield order[:half], order[half : 2 * half], rng.choice([-1.0, 1.0], half)
