"""Stage 4: which operation stands where. Each as early as its reads allow, which gives the fewest layers."""

from dataclasses import dataclass
from typing import final

from gaugeblock.compiled.lowered import Attention, Lowered


@final
@dataclass(frozen=True)
class Schedule:
    """Attributes:
    sites: operation name -> `a{layer}.h{head}` or `m{layer}`; several operations may share an MLP.
    n_layers, n_heads: of the transformer.
    """

    sites: dict[str, str]
    n_layers: int
    n_heads: int


def schedule(lowered: Lowered) -> Schedule:
    """Place every operation at its own time; heads of one layer are numbered in order of appearance."""
    sites: dict[str, str] = {}
    heads: dict[int, int] = {}
    n_layers = 1
    for op in lowered.operations:
        layer = (op.time - 1) // 2
        n_layers = max(n_layers, layer + 1)
        if isinstance(op, Attention):
            sites[op.name] = f"a{layer}.h{heads.setdefault(layer, 0)}"
            heads[layer] += 1
        else:
            sites[op.name] = f"m{layer}"
    return Schedule(sites, n_layers, max(heads.values(), default=1))
