"""The variant `decoy`: a second program in the same stream, for nobody graded.

The decoy is a library program over token ids, compiled on its own and put beside the model. The two share no residual
direction, not even those of the embeddings, and the unembedding reads the model's alone.
"""

from dataclasses import dataclass, replace
from itertools import islice
from typing import final

import numpy as np

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.edges.graph import Place
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.parts import HeadSlot, Layer, Neurons, put_together, take_apart, wider
from gaugeblock.programs.errors import CompileError, ProgramError
from gaugeblock.programs.registry import get

DECOYS = (
    "hist", "length", "count_seen", "rank", "double_hist", "num_runs", "majority_token", "has_prev", "next_same",
    "induction", "running_min", "sorted_so_far", "sort", "distinct",
)  # fmt: skip
"""Programs of one to three layers that have a meaning over any integers."""

MAX_GROWTH = 3.0
"""A decoy is passed over if the model would have more than this times its parameters."""

MAX_DECOYS_DRAWN = 4
"""Decoys drawn; where each would grow the model too much, as of a tiny one, the smallest of them is taken."""


def decoy(model: CompiledModel, rng: np.random.Generator) -> CompiledModel:
    """Compile another program, drawn from DECOYS, into directions, heads and neurons of its own.

    There are as many layers as the deeper of the two needs; the layers of each stand at random among them, in order.

    Effect on truth: the decoy adds edges, all of them not live; it computes an output of its own that nothing reads.
    Raises CompileError if no decoy compiles at the model's size.
    """
    size = parameters(model)
    smallest: CompiledModel | None = None
    compiled = filter(None, (_compiled(DECOYS[i], model) for i in rng.permutation(len(DECOYS))))
    for other in islice(compiled, MAX_DECOYS_DRAWN):
        both = _side_by_side(model, other, rng)
        if parameters(both) <= MAX_GROWTH * size:
            return both
        if smallest is None or parameters(both) < parameters(smallest):
            smallest = both
    if smallest is None:
        raise CompileError(
            f"no decoy for {model.program.name!r} compiles over {len(model.lowered.vocab)} tokens and inputs of up to "
            f"{model.lowered.max_len}; tried: {', '.join(DECOYS)}"
        )
    return smallest


def parameters(model: CompiledModel) -> int:
    """All weights and biases."""
    return sum(array.size for array in model.weights.values())


def _compiled(name: str, model: CompiledModel) -> CompiledModel | None:
    """The decoy over the model's token ids; None if it does not compile there, or if it is the model's own program."""
    if name == model.program.name:
        return None
    try:
        return compile(get(name).with_size(vocab=range(len(model.lowered.vocab)), max_len=model.lowered.max_len))
    except (CompileError, ProgramError):
        return None


def _side_by_side(model: CompiledModel, other: CompiledModel, rng: np.random.Generator) -> CompiledModel:
    ours, theirs = take_apart(model), take_apart(other)
    depth = max(len(ours), len(theirs))
    our_places, places = (sorted(rng.permutation(depth)[: len(layers)].tolist()) for layers in (ours, theirs))
    frame = _Frame(model, other)
    layers = [Layer() for _ in range(depth)]
    for place, layer in zip(our_places, ours, strict=True):
        layers[place].heads += [frame.head(head, head.operation, first=True) for head in layer.heads]
        layers[place].neurons += [frame.neurons(group, group.operation, first=True) for group in layer.neurons]
    for place, layer in zip(places, theirs, strict=True):
        layers[place].heads += [frame.head(head, None, first=False) for head in layer.heads]
        layers[place].neurons += [frame.neurons(group, None, first=False) for group in layer.neurons]
    return put_together(frame.stream(our_places), layers, rng)


@final
@dataclass(frozen=True)
class _Frame:
    """The stream of both, the model's dimensions before the decoy's. `first`: whether a part is the model's."""

    model: CompiledModel
    other: CompiledModel

    def stream(self, places: list[int]) -> CompiledModel:
        """The model with the embeddings of both and its layers renamed to `places`; its layers' weights are stale."""
        ours, theirs = self.model.weights, self.other.weights
        weights = {name: np.hstack([ours[name], theirs[name]]) for name in ("embed.W_E", "pos_embed.W_pos")}
        weights["unembed.W_U"] = self._wide(ours["unembed.W_U"], 0, first=True)
        where, more = self.model.provenance, theirs["embed.W_E"].shape[1]
        directions = where.directions + ("decoy",) * more
        sites = {operation: _moved(site, places) for operation, site in where.sites.items()}
        provenance = replace(where, directions=directions, sites=sites)
        return replace(self.model, weights=ours | weights, provenance=provenance)

    def head(self, head: HeadSlot, operation: str | None, *, first: bool) -> HeadSlot:
        """The head over both streams, as wide as the widest head of the two."""
        widest = max(m.weights["blocks.0.attn.W_Q"].shape[2] for m in (self.model, self.other))
        parameters = wider(head, widest).parameters
        for name, axis in (("W_Q", 0), ("W_K", 0), ("W_V", 0), ("W_O", 1)):
            parameters[name] = self._wide(parameters[name], axis, first=first)
        return replace(head, operation=operation, parameters=parameters)

    def neurons(self, group: Neurons, operation: str | None, *, first: bool) -> Neurons:
        """The hidden units over both streams."""
        W_in, W_out = self._wide(group.W_in, 0, first=first), self._wide(group.W_out, 1, first=first)
        return replace(group, operation=operation, W_in=W_in, W_out=W_out)

    def _wide(self, array: np.ndarray, axis: int, *, first: bool) -> np.ndarray:
        """The array with zeros along `axis` for the dimensions of the other of the two."""
        missing = (self.other if first else self.model).weights["embed.W_E"].shape[1]
        width = (0, missing) if first else (missing, 0)
        return np.pad(array, [width if a == axis else (0, 0) for a in range(array.ndim)])


def _moved(site: str, places: list[int]) -> str:
    """The site's name with its layer moved to where it stands now."""
    place = Place.of(site)
    layer = places[place.layer or 0]
    return f"m{layer}" if place.kind == "mlp" else f"a{layer}.h{place.head}"
