"""Stage 6: the weights, in float64, under HookedTransformer's parameter names."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from gaugeblock.compiled.lowered.operations import BOS, INDICES, PRESENT, Attention, Lowered, Table
from gaugeblock.compiled.stages.heads import HeadWeights, head_weights
from gaugeblock.compiled.stages.layout import Layout
from gaugeblock.compiled.stages.schedule import Schedule
from gaugeblock.compiled.stages.units import Units, joined, table_units, total_units
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.language.operations import value_key

LOGIT = 10.0
"""Logit of the right output; the others are 0."""

MAX_PARAMETERS = 50_000_000

Weights = dict[str, np.ndarray]


@final
@dataclass(frozen=True)
class Sizes:
    """The sizes of the transformer, known before any weight is made."""

    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    n_tokens: int
    n_positions: int
    n_logits: int

    @property
    def parameters(self) -> int:
        """All weights and biases."""
        head = 4 * self.d_model * self.d_head + 3 * self.d_head
        mlp = 2 * self.d_model * self.d_mlp + self.d_mlp + self.d_model
        layer = self.n_heads * head + self.d_model + mlp
        embedding = (self.n_tokens + self.n_positions) * self.d_model
        return embedding + self.n_layers * layer + (self.d_model + 1) * self.n_logits


@final
@dataclass(frozen=True)
class Parts:
    """The weights of each operation, and the sizes of the transformer they go into."""

    heads: dict[str, HeadWeights]
    units: dict[str, Units]
    sizes: Sizes


@final
@dataclass(frozen=True)
class Assembled:
    """The weights of a model.

    Attributes:
        weights: HookedTransformer's parameters, float64.
        neurons: operation name -> indices of its hidden units in its MLP.
    """

    weights: Weights
    neurons: dict[str, tuple[int, ...]]


def make_parts(lowered: Lowered, placed: Schedule, where: Layout) -> Parts:
    """Heads and hidden units, each on its own."""
    heads = {op.name: head_weights(op, lowered, where) for op in lowered.operations if isinstance(op, Attention)}
    units = {
        op.name: table_units(op, lowered, where) if isinstance(op, Table) else total_units(op, lowered, where)
        for op in lowered.operations
        if not isinstance(op, Attention)
    }
    widths = [sum(len(u) for n, u in units.items() if placed.sites[n] == f"m{i}") for i in range(placed.n_layers)]
    sizes = Sizes(
        n_layers=placed.n_layers,
        n_heads=placed.n_heads,
        d_model=len(where.labels),
        d_head=max([1, *(max(h.q.shape[1], h.v.shape[1]) for h in heads.values())]),
        d_mlp=max([1, *widths]),
        n_tokens=len(lowered.vocab) + 2,
        n_positions=lowered.max_len + 1,
        n_logits=sum(len(output.columns) for output in lowered.outputs),
    )
    return Parts(heads, units, sizes)


def check_size(parts: Parts, lowered: Lowered, limit: int) -> None:
    """Raise CompileError, naming what takes the most room, where there would be more than `limit` parameters."""
    sizes, units = parts.sizes, parts.units
    if sizes.parameters <= limit:
        return
    widest = max(lowered.variables.values(), key=lambda v: len(v.values))
    busiest = max(units, key=lambda n: len(units[n]), default="")
    neurons = f", or {busiest!r} with {len(units[busiest])} hidden units" if busiest else ""
    raise CompileError(
        f"the model would have {sizes.parameters:,} parameters (at most {limit:,}; max_parameters=... changes that): "
        f"d_model {sizes.d_model}, d_head {sizes.d_head}, d_mlp {sizes.d_mlp}; the variable to blame is "
        f"{widest.name!r} with {len(widest.values)} values{neurons}"
    )


def assemble(lowered: Lowered, placed: Schedule, where: Layout, parts: Parts) -> Assembled:
    """The weights of the transformer. Token ids: the vocabulary in order, then BOS, then PAD."""
    heads, units = parts.heads, parts.units
    d_model, d_head, d_mlp = parts.sizes.d_model, parts.sizes.d_head, parts.sizes.d_mlp
    weights: Weights = {}
    _embed(weights, lowered, where, d_model)
    neurons: dict[str, tuple[int, ...]] = {}
    for layer in range(placed.n_layers):
        at = f"blocks.{layer}."
        for name, shape in {
            "attn.W_Q": (placed.n_heads, d_model, d_head), "attn.b_Q": (placed.n_heads, d_head),
            "attn.W_K": (placed.n_heads, d_model, d_head), "attn.b_K": (placed.n_heads, d_head),
            "attn.W_V": (placed.n_heads, d_model, d_head), "attn.b_V": (placed.n_heads, d_head),
            "attn.W_O": (placed.n_heads, d_head, d_model), "attn.b_O": (d_model,),
            "mlp.W_in": (d_model, d_mlp), "mlp.b_in": (d_mlp,), "mlp.W_out": (d_mlp, d_model), "mlp.b_out": (d_model,),
        }.items():  # fmt: skip
            weights[at + name] = np.zeros(shape)
        for name, head in heads.items():
            site, _, slot = placed.sites[name].partition(".h")
            if site == f"a{layer}":
                _put_head(weights, at, int(slot), head, math.sqrt(d_head))
        here = [name for name in units if placed.sites[name] == f"m{layer}"]
        _put_units(weights, at, joined([units[name] for name in here]))
        free = 0
        for name in here:
            neurons[name] = tuple(range(free, free + len(units[name])))
            free += len(units[name])
    _unembed(weights, lowered, where, d_model)
    return Assembled(weights, neurons)


def _embed(weights: Weights, lowered: Lowered, where: Layout, d_model: int) -> None:
    vocab, max_len = len(lowered.vocab), lowered.max_len
    embed, pos = np.zeros((vocab + 2, d_model)), np.zeros((max_len + 1, d_model))
    for variable in lowered.variables.values():
        if variable.of_token is not None:
            embed[np.arange(vocab), np.array(where.directions[variable.name])[variable.of_token]] = 1
    for name, rows in ((PRESENT, slice(0, vocab)), (BOS, slice(vocab, vocab + 1))):
        embed[rows, where.directions[name][0]] = 1
    if INDICES in where.directions:
        pos[np.arange(1, max_len + 1), list(where.directions[INDICES])] = 1
    weights["embed.W_E"], weights["pos_embed.W_pos"] = embed, pos


def _unembed(weights: Weights, lowered: Lowered, where: Layout, d_model: int) -> None:
    blocks = []
    for output in lowered.outputs:
        block = np.zeros((d_model, len(output.columns)))
        directions = where.directions[output.variable]
        if output.numeric:
            block[directions[0], 0] = 1
        else:
            index = {value_key(v): i for i, v in enumerate(output.columns)}
            for direction, value in zip(directions, output.values, strict=True):
                block[direction, index[value_key(value)]] = LOGIT
        blocks.append(block)
    unembed = np.concatenate(blocks, axis=1)
    weights["unembed.W_U"], weights["unembed.b_U"] = unembed, np.zeros(unembed.shape[1])


def _put_head(weights: Weights, at: str, slot: int, head: HeadWeights, scale: float) -> None:
    # TransformerLens divides scores by sqrt(d_head)
    qk, ov = head.q.shape[1], head.v.shape[1]
    weights[at + "attn.W_Q"][slot, :, :qk] = head.q[:-1] * scale
    weights[at + "attn.b_Q"][slot, :qk] = head.q[-1] * scale
    weights[at + "attn.W_K"][slot, :, :qk] = head.k[:-1]
    weights[at + "attn.b_K"][slot, :qk] = head.k[-1]
    weights[at + "attn.W_V"][slot, :, :ov] = head.v
    weights[at + "attn.W_O"][slot, :ov] = head.o


def _put_units(weights: Weights, at: str, units: Units) -> None:
    np.add.at(weights[at + "mlp.W_in"], (units.reads.direction, units.reads.unit), units.reads.weight)
    np.add.at(weights[at + "mlp.W_out"], (units.writes.unit, units.writes.direction), units.writes.weight)
    weights[at + "mlp.b_in"][: len(units)] = units.bias
