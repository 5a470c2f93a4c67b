"""The variant `permute`: the same circuit in other places."""

import numpy as np

from gaugeblock.compiled.lowered.operations import Attention
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.parts import Layer, put_together, take_apart


def permute(model: CompiledModel, rng: np.random.Generator) -> CompiledModel:
    """Heads in random slots, neurons in random order, zero or one extra layer, and every operation in a random
    sublayer among those that come after what it reads and before what reads it.

    Effect on truth: none but the renaming of nodes.
    """
    layers = take_apart(model)
    depth = len(layers) + int(rng.integers(2))
    times = _random_times(model, depth, rng)
    moved = [Layer() for _ in range(depth)]
    for i, layer in enumerate(layers):
        for head in layer.heads:
            moved[i if head.operation is None else (times[head.operation] - 1) // 2].heads.append(head)
        for group in layer.neurons:
            moved[i if group.operation is None else (times[group.operation] - 1) // 2].neurons.append(group)
    return put_together(model, moved, rng)


def _random_times(model: CompiledModel, depth: int, rng: np.random.Generator) -> dict[str, int]:
    """A half layer for each operation (odd: attention, even: MLP), strictly after what it reads."""
    lowered = model.lowered
    reads: dict[str, list[str]] = {op.name: [] for op in lowered.operations}
    for operation, _, variable in lowered.flow:
        writer = lowered.variables[variable].writer
        if operation in reads and writer in reads:
            reads[operation].append(writer)
    parity = {op.name: int(isinstance(op, Attention)) for op in lowered.operations}
    latest = {name: 2 * depth - parity[name] for name in reads}
    for name in reversed(list(reads)):  # operations are in order of time, so readers come after writers
        for writer in reads[name]:
            bound = latest[name] - 1
            latest[writer] = min(latest[writer], bound - (bound % 2 != parity[writer]))
    times: dict[str, int] = {}
    for name, writers in reads.items():
        first = max((times[w] for w in writers), default=0) + 1
        first += first % 2 != parity[name]
        times[name] = int(rng.choice(np.arange(first, latest[name] + 1, 2)))
    return times
