"""The variant `soft`: the same decoded outputs from attention and staircases that are not saturated.

In a compiled model attention is one-hot to 1e-16 and a staircase is flat at its values, so that gradients vanish
behind them. Here levels of attention scores lie `sharpness` apart instead of 40, as little as every output bears; and
hidden units are GELUs of a gain k, gelu(k x) / k, whose steps have their corners at the values that arrive: there a
step is right to 3e-5 or better, while half its slope is left for the gradient.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int

from gaugeblock.compiled.lowered import semantics
from gaugeblock.compiled.lowered.operations import Attention, Lowered, Output, Table
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.stages.assemble import LOGIT, Weights
from gaugeblock.compiled.stages.heads import SCORE_GAP, HeadWeights, head_weights
from gaugeblock.compiled.stages.layout import layout
from gaugeblock.compiled.stages.precision import ROUNDING
from gaugeblock.compiled.stages.units import Units, table_units, total_units
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.language.operations import value_key

SHARPNESSES = (4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 32.0)
"""Gaps between score levels, the softest first."""

GAINS = (4.0, 8.0, 16.0, 32.0)
"""Of the GELUs, the softest first. All four are tried at each sharpness, with soft gates and without."""

OUTPUT_SLACK = 0.25
"""How clear an output has to be. The right logit leads by this times LOGIT, and it is as far, relative to them, from
the thresholds between something and nothing; a number is off by at most this times the distance to its neighbour."""

MAX_INPUTS_ENUMERATED = 100_000
"""Domains up to this size are tried on every input."""

N_SAMPLED_INPUTS = 4_096
"""Inputs drawn from larger domains; where tokens can be replaced, as many again with one token replaced."""

SINK_FACTORS = (1.0, 64.0)
"""By how much heavier the sinks of linear sums are, where what is summed is exact: a sum comes short by its square over
the sink, which steps without a flat part pass on. The others would amplify what leaks to BOS; a heavy one amplifies
rounding, so that it is tried last."""

N_FIRST_INPUTS = 256
"""Inputs on which most sharpnesses are ruled out."""

BATCH_SIZE = 1024


def soft(model: CompiledModel, rng: np.random.Generator) -> CompiledModel:
    """The model at the smallest sharpness at which every output is clear, there with soft gates if it can be, and at
    the smallest gain: on the whole domain, or on many inputs of a large one. Nothing is drawn from `rng`.

    All heads and hidden units are softened, those of padding too. In float32 where the outputs are clear then.

    Effect on truth: none on what is live. What is exercised grows: an edge of the program that mattered to no pair may
    do so through leakage.
    Raises CompileError where no sharpness does, after `rotate`, and together with `camouflage`.
    """
    _check_order(model)
    trial = _Trial.of(model)
    best = -math.inf
    for sharpness, heavier, soft_gates, gain in itertools.product(SHARPNESSES, SINK_FACTORS, (True, False), GAINS):
        candidate = softened(model, sharpness, gain, soft_gates=soft_gates, heavier=heavier)
        clearness = trial.clearness(candidate.to(dtype=torch.float64), N_FIRST_INPUTS)
        if clearness >= 0:
            clearness = trial.clearness(candidate.to(dtype=torch.float64))
        if clearness >= 0:
            return _rounded(candidate, trial)
        best = max(best, clearness)
    raise CompileError(
        f"{model.program.name!r} has no soft model: at every sharpness from {SHARPNESSES[0]:g} to {SHARPNESSES[-1]:g} "
        f"some output is unclear, at best by {-best:.2g} of the distance between outputs"
    )


def softened(
    model: CompiledModel, sharpness: float, gain: float, *, soft_gates: bool = True, heavier: float = 1.0
) -> CompiledModel:
    """The model with score levels `sharpness` apart and GELUs of a gain, whatever becomes of its outputs.

    Args:
        soft_gates: let also units that one gate keeps closed stand at their corner.
        heavier: factor of the sinks of linear sums over what is exact.
    """
    lowered, where, sites = _heavier(model.lowered, heavier), layout(model.lowered), model.provenance.sites
    weights = {name: array.copy() for name, array in model.weights.items()}
    for name in weights:
        if name.endswith(("W_Q", "b_Q")):
            weights[name] *= sharpness / SCORE_GAP
    for op in lowered.operations:
        site = sites[op.name]
        if isinstance(op, Attention):
            _replace_head(weights, site, head_weights(op, lowered, where, sharpness))
            continue
        if isinstance(op, Table):
            units = table_units(op, lowered, where, soft=True, soft_gates=soft_gates)
        else:
            units = total_units(op, lowered, where, soft=True)
        _replace_units(weights, site, model.provenance.neurons.get(op.name, ()), units)
    for name in weights:
        if name.endswith(("W_in", "b_in")):
            weights[name] *= gain
        elif name.endswith("W_out"):
            weights[name] /= gain
    return replace(model, lowered=lowered, weights=weights, activation="gelu", sharpness=sharpness)


def _check_order(model: CompiledModel) -> None:
    where = model.provenance
    named = where.directions[: len(layout(model.lowered).labels)] == layout(model.lowered).labels
    if where.basis is not None or not named:
        raise CompileError("the variant soft finds directions by place; write it before rotate")
    if where.inert:
        raise CompileError(
            "soft and camouflage exclude each other: what camouflage adds is proved inert for ReLU neurons"
        )
    if model.sharpness is not None:
        raise CompileError(f"the model is soft already, of sharpness {model.sharpness:g}")


def _heavier(lowered: Lowered, factor: float) -> Lowered:
    def is_exact(op: Attention) -> bool:
        return all(lowered.variables[read.source].writer in ("embed", "pos") for read in op.reads)

    operations = (
        replace(op, sink=op.sink * factor) if isinstance(op, Attention) and op.sink > 1 and is_exact(op) else op
        for op in lowered.operations
    )
    return replace(lowered, operations=tuple(operations))


def _replace_head(weights: Weights, site: str, head: HeadWeights) -> None:
    """Queries, keys and output over the program's own directions, which come first."""
    layer, _, slot = site[1:].partition(".h")
    W_O = weights[f"blocks.{layer}.attn.W_O"][int(slot)]
    W_O[:] = 0
    W_O[: head.o.shape[0], : head.o.shape[1]] = head.o
    for port, rows in (("Q", head.q), ("K", head.k)):  # the bias is their last row
        W, b = (weights[f"blocks.{layer}.attn.{name}_{port}"][int(slot)] for name in "Wb")
        scale = math.sqrt(W.shape[1]) if port == "Q" else 1.0  # TransformerLens divides scores by sqrt(d_head)
        W[:], b[:] = 0, 0
        W[: len(rows) - 1, : rows.shape[1]] = rows[:-1] * scale
        b[: rows.shape[1]] = rows[-1] * scale


def _replace_units(weights: Weights, site: str, neurons: tuple[int, ...], units: Units) -> None:
    """Other hidden units in the same places."""
    at, places = f"blocks.{site[1:]}.mlp.", np.array(neurons, dtype=int)
    W_in, b_in, W_out = (weights[at + name] for name in ("W_in", "b_in", "W_out"))
    W_in[:, places], b_in[places], W_out[places] = 0, units.bias, 0
    np.add.at(W_in, (units.reads.direction, places[units.reads.unit]), units.reads.weight)
    np.add.at(W_out, (places[units.writes.unit], units.writes.direction), units.writes.weight)


# --- is every output clear? ------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class _Trial:
    """Inputs, and what the program says on each. `codes`: per output, by input and position."""

    tokens: Int[np.ndarray, "input pos"]
    codes: tuple[Int[np.ndarray, "input pos"], ...]

    @staticmethod
    def of(model: CompiledModel) -> "_Trial":
        tokens = model.encode(_inputs(model)).cpu().numpy()
        parts = [semantics.run(model.lowered, tokens[i : i + BATCH_SIZE]) for i in range(0, len(tokens), BATCH_SIZE)]
        outputs = [output.variable for output in model.lowered.outputs]
        return _Trial(tokens, tuple(np.concatenate([part[name] for part in parts]) for name in outputs))

    def clearness(self, model: CompiledModel, few: int | None = None) -> float:
        """The amount by which the least clear output is clearer than it has to be; below 0 where one is too unclear.

        few: to look at about so many of the inputs, evenly spread.
        """
        step, worst = 1 if few is None else -(-len(self.tokens) // few), math.inf
        tokens, codes = self.tokens[::step], [c[::step] for c in self.codes]
        for start, logits in _logits(model, tokens):
            real, first = tokens[start : start + BATCH_SIZE] < model.bos, 0
            for output, meant in zip(model.lowered.outputs, codes, strict=True):
                columns = logits[real][:, first : first + len(output.columns)]
                first += len(output.columns)
                worst = min(worst, _clearness(output, columns, meant[start : start + BATCH_SIZE][real]))
            if worst < 0:
                break
        return worst


def _inputs(model: CompiledModel) -> list[list[Any]]:
    """The domain where it is small, else many inputs of it, always the same ones."""
    program, rng = model.program, np.random.default_rng(0)
    domain = program.domain.enumerate(model.lowered.vocab, model.lowered.max_len, MAX_INPUTS_ENUMERATED)
    if domain is not None:
        return list(domain)
    drawn = program.sample(rng, N_SAMPLED_INPUTS)
    if program.graph:
        return drawn
    edited = []
    for xs in drawn:
        at, token = int(rng.integers(len(xs))), model.lowered.vocab[rng.integers(len(model.lowered.vocab))]
        edited.append([*xs[:at], token, *xs[at + 1 :]])
    return drawn + [xs for xs in edited if program.domain.contains(xs)]


def _logits(model: CompiledModel, tokens: Int[np.ndarray, "input pos"]) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(tokens), BATCH_SIZE):
        with torch.no_grad():
            yield start, model.hooked(torch.as_tensor(tokens[start : start + BATCH_SIZE])).double().numpy()


def _clearness(output: Output, logits: Float[np.ndarray, "row column"], codes: Int[np.ndarray, " row"]) -> float:
    """The smallest amount by which an output is clearer than OUTPUT_SLACK asks."""
    if not len(codes):
        return math.inf
    if output.numeric:
        values = np.sort(np.array([float(v) for v in output.values]))
        meant = np.array([float(v) for v in output.values])[codes]
        ends = np.concatenate([[-np.inf], values, [np.inf]])
        at = np.searchsorted(values, meant)
        apart = np.minimum(meant - ends[at], ends[at + 2] - meant)
        return float((OUTPUT_SLACK - np.abs(logits[:, 0] - meant) / apart).min())
    silent = codes < 0
    clear = [(1 - logits[silent].max(1) / (LOGIT / 4)).min()] if silent.any() else []
    if not silent.all():
        column = {value_key(v): i for i, v in enumerate(output.columns)}
        meant = np.array([column[value_key(v)] for v in output.values])[codes[~silent]]
        others, rows = logits[~silent], np.arange(len(meant))
        right = others[rows, meant]
        others[rows, meant] = -np.inf
        clear += [(right / (LOGIT / 2) - 1).min(), ((right - others.max(1)) / LOGIT).min()]
    return float(min(clear)) - OUTPUT_SLACK


def _rounded(model: CompiledModel, trial: _Trial) -> CompiledModel:
    """The model in float32 if its outputs are clear there, else in float64, with twice the rounding that was seen."""
    some = trial.tokens[:: -(-len(trial.tokens) // N_FIRST_INPUTS)]
    single, double = (
        np.concatenate([logits for _, logits in _logits(model.to(dtype=dtype), some)])
        for dtype in (torch.float32, torch.float64)
    )
    seen = 2 * float(np.abs(single - double)[some < model.bos].max(initial=0.0))
    fits = (
        model.dtype is torch.float32
        and trial.clearness(model.to(dtype=torch.float32), 32 * N_FIRST_INPUTS) >= -OUTPUT_SLACK / 4
    )
    if fits:
        return replace(model, dtype=torch.float32, error_bound=seen)
    share = ROUNDING["float64"] / ROUNDING["float32"]
    return replace(model, dtype=torch.float64, error_bound=seen * share)
