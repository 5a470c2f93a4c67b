"""A model taken apart into heads and groups of neurons, to be moved, added to and put together again."""

import math
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from gaugeblock.compiled.edges.inert import Inert
from gaugeblock.compiled.model import CompiledModel, Provenance

HEAD_PARAMETERS = ("W_Q", "b_Q", "W_K", "b_K", "W_V", "b_V", "W_O")


@final
@dataclass(frozen=True)
class HeadSlot:
    """One attention head: its parameters, the operation it carries out (None for padding), and the constructions
    of inert parts that it, or a term of its query map, is made by."""

    operation: str | None
    parameters: dict[str, np.ndarray]
    inert: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Neurons:
    """Hidden units of one operation (None for padding): W_in [d_model, n], b_in [n], W_out [n, d_model]; and the
    construction that makes them inert, if they are."""

    operation: str | None
    W_in: np.ndarray
    b_in: np.ndarray
    W_out: np.ndarray
    inert: str | None = None


@final
@dataclass
class Layer:
    heads: list[HeadSlot] = field(default_factory=list)
    neurons: list[Neurons] = field(default_factory=list)


def take_apart(model: CompiledModel) -> list[Layer]:
    """The model's layers; empty slots are dropped."""
    weights, where = model.weights, model.provenance
    operation_at = {site: op for op, site in where.sites.items() if site.startswith("a")}
    inert_at: dict[tuple[int, int | None], list[Inert]] = {}
    for part in where.inert:
        inert_at.setdefault((part.layer, part.head), []).append(part)
    layers = []
    for i in range(model.hooked.cfg.n_layers):
        at, layer = f"blocks.{i}.", Layer()
        for h in model.graph.heads(i):
            parameters = {name: weights[f"{at}attn.{name}"][h] for name in HEAD_PARAMETERS}
            constructions = tuple(part.construction for part in inert_at.get((i, h), ()))
            layer.heads.append(HeadSlot(operation_at.get(f"a{i}.h{h}"), parameters, constructions))
        groups: list[tuple[str | None, str | None, list[int]]]
        groups = [(op, None, list(units)) for op, units in where.neurons.items() if where.sites[op] == f"m{i}"]
        groups += [(None, part.construction, list(part.neurons)) for part in inert_at.get((i, None), ())]
        owned = {j for _, _, units in groups for j in units}
        used = np.flatnonzero(np.abs(weights[at + "mlp.W_out"]).any(1)).tolist()
        for op, construction, units in [*groups, (None, None, [j for j in used if j not in owned])]:
            if units:
                W_in, b_in, W_out = (weights[at + f"mlp.{name}"] for name in ("W_in", "b_in", "W_out"))
                layer.neurons.append(Neurons(op, W_in[:, units], b_in[units], W_out[units], construction))
        layers.append(layer)
    return layers


def put_together(
    model: CompiledModel,
    layers: list[Layer],
    rng: np.random.Generator,
    *,
    n_heads: int = 0,
    d_mlp: int = 0,
    padding: int = 0,
) -> CompiledModel:
    """The model made of these layers, heads in random slots and neurons in random order.

    n_heads, d_mlp: at least that many; padding: residual dimensions to add behind the others.
    """
    d_head = next((head.parameters["W_O"].shape[0] for layer in layers for head in layer.heads), 1)
    old = model.weights["embed.W_E"].shape[1]
    d_model = old + padding
    n_heads = max([n_heads, 1, *(len(layer.heads) for layer in layers)])
    d_mlp = max([d_mlp, 1, *(sum(len(n.b_in) for n in layer.neurons) for layer in layers)])
    sites: dict[str, str] = {}
    neurons: dict[str, tuple[int, ...]] = {}
    inert: list[Inert] = []

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
        attention = {name: np.zeros(shape) for name, shape in shapes.items()}
        for head, slot in zip(layer.heads, rng.permutation(n_heads), strict=False):
            for name, array in head.parameters.items():
                axis = {"W_O": 1}.get(name, 0)
                attention[name][slot] = widened(array, axis) if array.ndim == 2 else array
            inert += [Inert(construction, i, int(slot)) for construction in head.inert]
            if head.operation is not None:
                sites[head.operation] = f"a{i}.h{slot}"
        weights |= {f"{at}attn.{name}": array for name, array in attention.items()}
        weights[at + "attn.b_O"] = np.zeros(d_model)
        W_in, b_in, W_out = np.zeros((d_model, d_mlp)), np.zeros(d_mlp), np.zeros((d_mlp, d_model))
        places, start = rng.permutation(d_mlp), 0
        for group in layer.neurons:
            here = places[start : start + len(group.b_in)]
            start += len(here)
            W_in[:, here], b_in[here], W_out[here] = widened(group.W_in, 0), group.b_in, widened(group.W_out, 1)
            if group.inert is not None:
                inert.append(Inert(group.inert, i, neurons=tuple(int(j) for j in here)))
            if group.operation is not None:
                sites[group.operation] = f"m{i}"
                neurons[group.operation] = tuple(int(j) for j in here)
        weights |= {
            at + "mlp.W_in": W_in, at + "mlp.b_in": b_in, at + "mlp.W_out": W_out, at + "mlp.b_out": np.zeros(d_model)
        }  # fmt: skip
    for op in model.lowered.operations:  # an operation without hidden units (a table that is never reached)
        sites.setdefault(op.name, model.provenance.sites[op.name])
    directions = model.provenance.directions + ("padding",) * padding
    return replace(model, weights=weights, provenance=Provenance(directions, sites, neurons, inert=tuple(inert)))


def wider(head: HeadSlot, d_head: int) -> HeadSlot:
    """The same head with more dimensions; queries grow as scores are divided by sqrt(d_head)."""
    old = head.parameters["W_O"].shape[0]
    parameters = {}
    for name, array in head.parameters.items():
        axis = 0 if name == "W_O" else array.ndim - 1
        scale = math.sqrt(d_head / old) if name in ("W_Q", "b_Q") else 1.0
        parameters[name] = np.pad(array, [(0, d_head - old if a == axis else 0) for a in range(array.ndim)]) * scale
    return replace(head, parameters=parameters)
