"""Stage 5: which direction of the residual stream holds what."""

from dataclasses import dataclass
from typing import final

from gaugeblock.compiled.lowered.operations import Attention, Lowered


@final
@dataclass(frozen=True)
class Layout:
    """The place of each variable in the residual stream.

    Attributes:
        directions: variable -> its residual dimensions: one per value (one-hot), one (scalar), or two (ratio:
            the sum over 1 + count, then 1 over 1 + count, which sums of one head share).
        labels: what each residual dimension holds, e.g. "tokens=3".
    """

    directions: dict[str, tuple[int, ...]]
    labels: tuple[str, ...]


def layout(lowered: Lowered) -> Layout:
    """Give every variable directions of its own, in order of writing."""
    directions: dict[str, tuple[int, ...]] = {}
    labels: list[str] = []
    head_of = {r.out: op for op in lowered.operations if isinstance(op, Attention) for r in op.reads}
    shared: dict[str, int] = {}

    def add(label: str) -> int:
        labels.append(label)
        return len(labels) - 1

    for variable in lowered.variables.values():
        name = variable.name
        if variable.encoding == "onehot":
            directions[name] = tuple(add(f"{name}={value}") for value in variable.values)
        elif variable.encoding == "scalar":
            directions[name] = (add(name),)
        else:
            head = head_of[name].name
            if head not in shared:
                shared[head] = add(f"1/(1+count) of {head}")
            directions[name] = (add(f"{name}/(1+count)"), shared[head])
    return Layout(directions, tuple(labels))
