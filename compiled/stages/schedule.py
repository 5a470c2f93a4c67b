"""Stage 4: which operation stands where: in the fewest layers, and in these with the fewest heads per layer.

Half layers count from 1: 2l + 1 is the attention of layer l, 2l + 2 its MLP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import final

from gaugeblock.compiled.lowered.operations import Attention, Lowered, Operation


@final
@dataclass(frozen=True)
class Schedule:
    """The place of each operation in the transformer.

    Attributes:
        sites: operation name -> `a{layer}.h{head}` or `m{layer}`; several operations may share an MLP.
        n_layers, n_heads: of the transformer.
    """

    sites: dict[str, str]
    n_layers: int
    n_heads: int


def schedule(lowered: Lowered) -> Schedule:
    """Place every operation; heads of one layer are numbered in order of appearance."""
    operations = lowered.operations
    depth = max(earliest(operations).values(), default=1)
    deadlines = latest(operations, depth)
    attention = sum(isinstance(op, Attention) for op in operations)
    widths = range(-(-attention // ((depth + 1) // 2)), attention + 1)
    placements = (_placed(operations, deadlines, depth, width) for width in widths)
    times = next(placement for placement in placements if placement is not None)
    sites: dict[str, str] = {}
    heads: dict[int, int] = {}
    for op in operations:
        layer = (times[op.name] - 1) // 2
        if isinstance(op, Attention):
            sites[op.name] = f"a{layer}.h{heads.setdefault(layer, 0)}"
            heads[layer] += 1
        else:
            sites[op.name] = f"m{layer}"
    return Schedule(sites, (depth + 1) // 2, max(heads.values(), default=1))


def in_order(operations: Sequence[Operation]) -> list[Operation]:
    """Readers after writers. Raises graphlib.CycleError where that cannot be."""
    named = {op.name: op for op in operations}
    rank = {op.name: i for i, op in enumerate(operations)}
    writer = {out: op.name for op in operations for out in op.outs}
    sorter = TopologicalSorter({op.name: {writer[name] for name in op.inputs if name in writer} for op in operations})
    sorter.prepare()
    result: list[Operation] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=rank.__getitem__)
        result += [named[name] for name in ready]
        sorter.done(*ready)
    return result


def earliest(operations: Sequence[Operation]) -> dict[str, int]:
    """The first half layer in which each operation can stand, where heads are unlimited."""
    written: dict[str, int] = {}
    times: dict[str, int] = {}
    for op in in_order(operations):
        after = max((written.get(name, 0) for name in op.inputs), default=0) + 1
        times[op.name] = after + (after % 2 != _parity(op))
        written |= dict.fromkeys(op.outs, times[op.name])
    return times


def latest(operations: Sequence[Operation], depth: int) -> dict[str, int]:
    """The last half layer in which each operation can stand in a model of `depth` half layers."""
    needed: dict[str, int] = {}
    times: dict[str, int] = {}
    for op in reversed(in_order(operations)):
        before = min((needed.get(name, depth + 1) for name in op.outs), default=depth + 1) - 1
        times[op.name] = before - (before % 2 != _parity(op))
        for name in op.inputs:
            needed[name] = min(needed.get(name, depth + 1), times[op.name])
    return times


def _placed(
    operations: Sequence[Operation], deadlines: dict[str, int], depth: int, width: int
) -> dict[str, int] | None:
    """A half layer for each operation with at most `width` heads in a layer; most urgent first. None if that fails."""
    available: dict[str, int] = {}
    waiting = list(in_order(operations))
    produced = {name for op in operations for name in op.outs}
    times: dict[str, int] = {}
    for time in range(1, depth + 1):
        ready = [
            op
            for op in waiting
            if _parity(op) == time % 2 and all(available.get(n, depth + 1) < time for n in op.inputs if n in produced)
        ]
        if time % 2:
            ready = sorted(ready, key=lambda op: deadlines[op.name])[:width]
        for op in ready:
            times[op.name] = time
            available |= dict.fromkeys(op.outs, time)
        placed = {op.name for op in ready}
        waiting = [op for op in waiting if op.name not in placed]
        if any(deadlines[op.name] <= time for op in waiting):
            return None
    return times


def _parity(op: Operation) -> int:
    return int(isinstance(op, Attention))
