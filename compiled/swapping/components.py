"""Components that replace a part of a model, and the names of parts (see `gaugeblock.compiled.swapping.swap`).

A component stands for what a part adds to the residual stream, and reads the stream in front of the part, before any
layer norm. Besides the classes below, a component may be a Python function, a selector or a tensor.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from jaxtyping import Int
from torch import Tensor

from gaugeblock.compiled.lowered.operations import Lowered
from gaugeblock.compiled.model import Subspace
from gaugeblock.programs.errors import GaugeblockError, UnknownName

if TYPE_CHECKING:
    from gaugeblock.compiled.stages.hooked import HookedTransformer

Kind = Literal["embed", "pos", "head", "pattern", "ov", "mlp", "neurons", "block"]
_HEAD = re.compile(r"a(\d+)\.h(\d+)(?:\.(pattern|ov))?")
_MLP = re.compile(r"m(\d+)(?:\.n(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*))?")
_BLOCK = re.compile(r"b(\d+)")


class SwapError(GaugeblockError):
    """A component that does not fit where it is put, or a model in which parts cannot be replaced."""


@final
@dataclass(frozen=True)
class Site:
    """A part of a model: `embed`, `pos`, `a{l}.h{h}`, `a{l}.h{h}.pattern`, `a{l}.h{h}.ov`, `m{l}`, `m{l}.n3,5-8`
    (neurons 3 and 5 to 8, after the activation) or `b{l}` (a block)."""

    name: str
    kind: Kind
    layer: int | None = None
    head: int | None = None
    neurons: tuple[int, ...] = ()

    @staticmethod
    def of(name: str, model: "HookedTransformer") -> "Site":
        """The part of a model that a name means. Raises UnknownName with the nearest names that there are."""
        cfg = model.cfg
        heads = [f"a{layer}.h{head}" for layer in range(cfg.n_layers) for head in range(cfg.n_heads)]
        mlps = [] if cfg.attn_only else [f"m{layer}" for layer in range(cfg.n_layers)]
        known = ["embed", *(["pos"] if hasattr(model, "pos_embed") else []), *heads, *mlps]
        known += [f"{head}.{part}" for head in heads for part in ("pattern", "ov")]
        known += [f"b{layer}" for layer in range(cfg.n_layers)]
        last = f"n0-{(cfg.d_mlp or 0) - 1}"
        if match := _MLP.fullmatch(name):
            layer, neurons = int(match[1]), tuple(sorted(set(_numbers(match[2] or ""))))
            if f"m{layer}" in mlps and bool(neurons) == bool(match[2]) and max(neurons, default=0) < (cfg.d_mlp or 0):
                return Site(name, "neurons" if neurons else "mlp", layer, None, neurons)
        elif name in known:
            if match := _HEAD.fullmatch(name):
                return Site(name, match[3] or "head", int(match[1]), int(match[2]))  # type: ignore[arg-type]
            if match := _BLOCK.fullmatch(name):
                return Site(name, "block", int(match[1]))
            return Site(name, name)  # type: ignore[arg-type]
        raise UnknownName("part of this model", name, [*known, *(f"{mlp}.{last}" for mlp in mlps)])

    @property
    def reads_tokens(self) -> bool:
        return self.kind in ("embed", "pos")

    def same(self, other: "Site") -> bool:
        """Whether it is the same part, by whatever name."""
        return (self.kind, self.layer, self.head, self.neurons) == (other.kind, other.layer, other.head, other.neurons)

    def overlaps(self, other: "Site") -> bool:
        """Whether a part of the model belongs to both."""
        if self.layer != other.layer or self.layer is None:
            return self.layer == other.layer and self.kind == other.kind
        kinds = {self.kind, other.kind}
        if "block" in kinds:
            return True
        if self.head is not None or other.head is not None:
            return self.head == other.head and (self.kind == other.kind or "head" in kinds)
        return "mlp" in kinds or bool(set(self.neurons) & set(other.neurons))


# --- what users write ------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Pattern:
    """An attention pattern, for `a{l}.h{h}` or `a{l}.h{h}.pattern`.

    Attributes:
        source: a selector of the language, evaluated on the tokens: each query attends to the keys it selects alike, to
            BOS where it selects none, and to no later key in a causal model. Or a tensor [query, key], of which shorter
            inputs take the beginning. Or a function of the token ids [batch, pos] -> [batch, query, key].
        ov: at `a{l}.h{h}`, the matrix [d_model, d_model] that is applied to what the head's values read (behind the
            layer norm); None for the head's own.
        sink: BOS weighs as much as so many selected keys, as in the counting heads of compiled models.
        vocab: what the token ids 0, 1, ... mean to the selector; ids beyond are no tokens of the input. A compiled
            model's own by default, else every id is its own value.
        bos: whether position 0 holds a start token, which the selector does not see. Without one, a query that selects
            nothing attends to nothing.
    """

    source: Any
    ov: Tensor | None = None
    sink: float = 0.0
    vocab: tuple[Any, ...] | None = None
    bos: bool = True


@final
@dataclass(frozen=True, eq=False)
class From:
    """The same kind of part of another model (HookedTransformer or CompiledModel), as it is now, on this stream."""

    model: Any
    site: str


# `Mean` is also the name of an expression of the language; users write both, in different files.
@final
@dataclass(frozen=True, eq=False)
class Mean:
    """The mean of what the part contributes over inputs, at each position, or over all positions too.

    Positions that hold `pad` are left out; of a compiled model, its PAD. Where all inputs hold `pad`, it is
    the mean over all positions.
    """

    tokens: Int[Tensor, "batch pos"]
    per_position: bool = True
    pad: int | None = None


@final
@dataclass(frozen=True)
class Zero:
    """The contribution zero."""


@final
@dataclass(frozen=True, eq=False)
class Linear:
    """The linear map, with intercept, from the stream to what the part contributes that fits best on these inputs.

    Least squares, or ridge regression where alpha > 0. Positions that hold `pad` are left out, as in `Mean`.
    """

    tokens: Int[Tensor, "batch pos"]
    alpha: float = 0.0
    pad: int | None = None


@final
@dataclass(frozen=True, eq=False)
class Values:
    """A function of decoded program variables, for a whole head or MLP of a compiled model; not differentiable.

    It is called with keyword arguments: at an MLP with one value per variable, position by position; at a head with a
    list per variable that holds a whole input (no BOS, no PAD). None is a value that is not there. It returns the value
    (or the list) of the variable that the part writes, or a dict of them where it writes several; what else the part
    may write, in a padded model, is gone. A plain function whose parameters are all variables of the program is taken
    as `Values(function)`.

    Attributes:
        reads: the variables; the function's parameters by default.
    """

    function: Callable[..., Any]
    reads: tuple[str, ...] | None = None


@final
@dataclass(frozen=True)
class Known:
    """The variables of a compiled model, and where they are."""

    lowered: Lowered
    subspaces: Mapping[str, Subspace]

    @property
    def pad(self) -> int:
        return len(self.lowered.vocab) + 1


def _numbers(text: str) -> list[int]:
    """The numbers of "3,5-8": 3, 5, 6, 7, 8; none where a range runs backwards."""
    numbers: list[int] = []
    for piece in filter(None, text.split(",")):
        first, _, last = piece.partition("-")
        if int(last or first) < int(first):
            return []
        numbers += range(int(first), int(last or first) + 1)
    return numbers
