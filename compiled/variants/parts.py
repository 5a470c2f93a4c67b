"""A model taken apart into heads and groups of neurons, to be moved, added to and put together again."""

from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from gaugeblock.compiled.model import CompiledModel, Provenance

HEAD = ("W_Q", "b_Q", "W_K", "b_K", "W_V", "b_V", "W_O")


@final
@dataclass(frozen=True)
class Head:
    """One attention head: its parameters, and the operation it carries out (None for padding)."""

    operation: str | None
    parameters: dict[str, np.ndarray]


@final
@dataclass(frozen=True)
class Neurons:
    """Hidden units of one operation (None for padding): W_in [d_model, n], b_in [n], W_out [n, d_model]."""

    operation: str | None
    W_in: np.ndarray
    b_in: np.ndarray
    W_out: np.ndarray


@final
@dataclass
class Layer:
    heads: list[Head] = field(default_factory=list)
    neurons: list[Neurons] = field(default_factory=list)


def take_apart(model: CompiledModel) -> list[Layer]:
    """The model's layers; empty slots are dropped."""
    weights, where = model.weights, model.provenance
    operation_at = {site: op for op, site in where.sites.items() if site.startswith("a")}
    layers = []
    for i in range(model.hooked.cfg.n_layers):
        at, layer = f"blocks.{i}.", Layer()
        for h in model.graph.heads(i):
            parameters = {name: weights[f"{at}attn.{name}"][h] for name in HEAD}
            layer.heads.append(Head(operation_at.get(f"a{i}.h{h}"), parameters))
        groups = {op: list(own) for op, own in where.neurons.items() if where.sites[op] == f"m{i}"}
        owned = {j for own in groups.values() for j in own}
        used = np.flatnonzero(np.abs(weights[at + "mlp.W_out"]).any(1)).tolist()
        for op, own in [*groups.items(), (None, [j for j in used if j not in owned])]:
            if own:
                W_in, b_in, W_out = (weights[at + f"mlp.{name}"] for name in ("W_in", "b_in", "W_out"))
                layer.neurons.append(Neurons(op, W_in[:, own], b_in[own], W_out[own]))
        layers.append(layer)
    return layers


def put_together(
    model: CompiledModel,
    layers: list[Layer],
    rng: np.random.Generator,
    *,
    n_heads: int = 0,
    d_mlp: int = 0,
    junk: int = 0,
) -> CompiledModel:
    """The model made of these layers, heads in random slots and neurons in random order.

    n_heads, d_mlp: at least that many; junk: residual dimensions to add behind the others.
    """
    d_head, old = model.hooked.cfg.d_head, model.weights["embed.W_E"].shape[1]
    d_model = old + junk
    n_heads = max([n_heads, 1, *(len(layer.heads) for layer in layers)])
    d_mlp = max([d_mlp, 1, *(sum(len(n.b_in) for n in layer.neurons) for layer in layers)])
    sites: dict[str, str] = {}
    neurons: dict[str, tuple[int, ...]] = {}

    def widened(array: np.ndarray, axis: int) -> np.ndarray:
        missing = d_model - array.shape[axis]
        return np.pad(array, [(0, missing if a == axis else 0) for a in range(array.ndim)])

    weights = {
        "embed.W_E": widened(model.weights["embed.W_E"], 1),
        "pos_embed.W_pos": widened(model.weights["pos_embed.W_pos"], 1),
        "unembed.W_U": widened(model.weights["unembed.W_U"], 0),
        "unembed.b_U": model.weights["unembed.b_U"],
    }
    for i, layer in enumerate(layers):
        at = f"blocks.{i}."
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("W_Q", "W_K", "W_V"), (n_heads, d_model, d_head))
        shapes |= dict.fromkeys(("b_Q", "b_K", "b_V"), (n_heads, d_head)) | {"W_O": (n_heads, d_head, d_model)}
        own = {name: np.zeros(shape) for name, shape in shapes.items()}
        for head, slot in zip(layer.heads, rng.permutation(n_heads), strict=False):
            for name, array in head.parameters.items():
                axis = {"W_O": 1}.get(name, 0)
                own[name][slot] = widened(array, axis) if array.ndim == 2 else array
            if head.operation is not None:
                sites[head.operation] = f"a{i}.h{slot}"
        weights |= {f"{at}attn.{name}": array for name, array in own.items()}
        weights[at + "attn.b_O"] = np.zeros(d_model)
        W_in, b_in, W_out = np.zeros((d_model, d_mlp)), np.zeros(d_mlp), np.zeros((d_mlp, d_model))
        places, start = rng.permutation(d_mlp), 0
        for group in layer.neurons:
            here = places[start : start + len(group.b_in)]
            start += len(here)
            W_in[:, here], b_in[here], W_out[here] = widened(group.W_in, 0), group.b_in, widened(group.W_out, 1)
            if group.operation is not None:
                sites[group.operation] = f"m{i}"
                neurons[group.operation] = tuple(int(j) for j in here)
        weights |= {
            at + "mlp.W_in": W_in, at + "mlp.b_in": b_in, at + "mlp.W_out": W_out, at + "mlp.b_out": np.zeros(d_model)
        }  # fmt: skip
    for op in model.lowered.operations:  # an operation without hidden units (a table that is never reached)
        sites.setdefault(op.name, model.provenance.sites[op.name])
    directions = model.provenance.directions + ("padding",) * junk
    return replace(model, weights=weights, provenance=Provenance(directions, sites, neurons))
