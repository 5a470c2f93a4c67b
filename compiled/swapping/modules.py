"""The modules that replace parts of a model.

Each is called with what the part reads, [batch, pos, d_model] (token ids for the embeddings), and the token ids.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gaugeblock.compiled.lowered.operations import Attention, Variable
from gaugeblock.compiled.swapping.components import Known, Pattern, Site, SwapError
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.functions import indices
from gaugeblock.programs.language.operations import surface

if TYPE_CHECKING:
    from gaugeblock.compiled.stages.hooked import HookedTransformer

PRESENT_FROM = 0.5
"""A value is there where the stream holds more than this of its direction."""


@final
class UserFunction(nn.Module):
    """A user's function of the stream, or of the token ids."""

    def __init__(self, function: Callable[[Tensor], Any], of_tokens: bool = False) -> None:
        super().__init__()
        self.function, self.of_tokens = function, of_tokens

    def forward(self, x: Tensor, tokens: Tensor | None) -> Any:
        return self.function(seen(tokens) if self.of_tokens else x)


@final
class ConstantValue(nn.Module):
    """One value [1, d] everywhere, one for each position [pos, d], or a pattern [query, key] (`square`)."""

    def __init__(self, value: Float[Tensor, "pos d"], square: bool = False) -> None:
        super().__init__()
        self.value: Tensor
        self.register_buffer("value", value)
        self.square = square

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        batch, pos = x.shape[:2]
        known = len(self.value)
        if pos > known and (known > 1 or self.square):
            raise SwapError(f"it is known at {known} positions, and the input has {pos}")
        value = self.value[:pos, :pos] if self.square else self.value[:pos]
        return value.expand(batch, pos, value.shape[-1])


@final
class Affine(nn.Module):
    """stream @ matrix + bias, behind a layer norm if there is one."""

    def __init__(self, matrix: Float[Tensor, "d e"], bias: Float[Tensor, " e"], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.matrix, self.bias = nn.Parameter(matrix.detach().clone()), nn.Parameter(bias.detach().clone())
        self.norm = None if norm is None else bare(norm)

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        return (x if self.norm is None else self.norm(x)) @ self.matrix + self.bias


@final
class PartCopy(nn.Module):
    """A copy of a part of a model, applied to a stream (to tokens, for the embeddings)."""

    def __init__(self, model: "HookedTransformer", site: Site) -> None:
        super().__init__()
        self.site = site
        self.config = deepcopy(model.cfg)
        whole: Any = model
        embeddings = {"embed": "embed", "pos": "pos_embed"}
        source = getattr(whole, embeddings[site.kind]) if site.reads_tokens else whole.blocks[site.layer]
        self.module: Any = bare(source)
        for flag in ("use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in"):
            if site.layer is not None:
                setattr(self.module.cfg, flag, False)

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        block, head = self.module, self.site.head or 0
        if self.site.reads_tokens:
            return block(x)
        match self.site.kind:
            case "block":
                return block(x) - x
            case "mlp":
                return block.mlp(block.ln2(x))
            case "neurons":
                return _kept(block.mlp.hook_post, block.mlp, block.ln2(x))[..., self.site.neurons]
        attn, normal = block.attn, block.ln1(x)
        if self.site.kind == "pattern":
            return _kept(attn.hook_pattern, attn, normal, normal, normal)[:, head]
        z = _kept(attn.hook_v if self.site.kind == "ov" else attn.hook_z, attn, normal, normal, normal)
        return z[:, :, head * z.shape[2] // attn.cfg.n_heads] @ attn.W_O[head]  # values may be shared by a group


@final
class Attend(nn.Module):
    """The pattern of a selector."""

    def __init__(self, pattern: Pattern, causal: bool) -> None:
        super().__init__()
        self.pattern, self.causal = pattern, causal

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        ids, vocab, first = seen(tokens).cpu().numpy(), self.pattern.vocab, int(self.pattern.bos)
        real = np.ones_like(ids, dtype=bool) if vocab is None else ids < len(vocab)
        real[:, :first] = False
        inputs = [
            [i if vocab is None else vocab[i] for i in row[mask].tolist()] for row, mask in zip(ids, real, strict=True)
        ]
        weights = np.zeros((*ids.shape, ids.shape[1]))
        rows = [row for row, xs in enumerate(inputs) if xs]
        keys = [self.pattern.source.any(indices == k) for k in range(max(map(len, inputs), default=0))]
        columns = evaluate(keys, [inputs[row] for row in rows])
        for key, column in enumerate(columns):
            selected = np.array([value is True for value in column.values] + [False])[column.codes]
            for row, queries in zip(rows, selected, strict=True):
                at = np.flatnonzero(real[row])
                if key < len(at):
                    weights[row, at, at[key]] = queries[: len(at)]
        if self.causal:
            weights = np.tril(weights)
        if self.pattern.bos:
            weights[:, :, 0] = np.where(weights.any(2), self.pattern.sink, 1.0)
        total = weights.sum(2, keepdims=True)
        return torch.from_numpy(weights / np.where(total > 0, total, 1)).to(x)


@final
class Coded(nn.Module):
    """A function of decoded variables; what it returns is written as the compiled model writes it."""

    def __init__(self, function: Callable[..., Any], reads: tuple[str, ...], site: Site, known: Known) -> None:
        super().__init__()
        self.function, self.reads, self.known = function, reads, known
        self.by_position = site.kind == "mlp"
        self.writes = tuple(name for name, place in known.subspaces.items() if place.written == site.name)
        reads_of = [r for op in known.lowered.operations if isinstance(op, Attention) for r in op.reads]
        self.largest = {read.out: float(np.abs(read.mapping).max()) for read in reads_of if read.kind == "sum"}

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        real = (seen(tokens) < len(self.known.lowered.vocab)).cpu().numpy()
        stream = x.detach().double().cpu().numpy()
        decoded = {name: self._decoded(name, stream) for name in self.reads}
        variables = [self.known.lowered.variables[name] for name in self.writes]
        held = {v.name: None if v.empty is None else v.values[v.empty] for v in variables}  # at BOS and PAD
        out = np.broadcast_to(self._encoded(held), stream.shape).copy()
        for row, mask in enumerate(real):
            at = np.flatnonzero(mask)
            lists = {name: [values[row][p] for p in at] for name, values in decoded.items()}
            said = self._called(lists, len(at))
            for i, p in enumerate(at):
                out[row, p] = self._encoded({name: values[i] for name, values in said.items()})
        return torch.from_numpy(out).to(x)

    def _called(self, lists: dict[str, list[Any]], n: int) -> dict[str, list[Any]]:
        """Call the function on one input: variable -> value at each of its n positions."""
        if self.by_position:
            said = [self._named(self.function(**{k: v[p] for k, v in lists.items()})) for p in range(n)]
            return {name: [each[name] for each in said] for name in self.writes}
        result = self._named(self.function(**lists))
        for name, values in result.items():
            if not isinstance(values, (list, tuple)) or len(values) != n:
                returned = f"{len(values)} values" if isinstance(values, (list, tuple)) else repr(values)
                raise SwapError(
                    f"the function returned {returned} for {name!r}; it must be a list of {n}, as its input"
                )
        return result

    def _named(self, result: Any) -> dict[str, Any]:
        if len(self.writes) == 1 and not isinstance(result, dict):
            return {self.writes[0]: result}
        if not isinstance(result, dict) or set(result) != set(self.writes):
            raise SwapError(f"the function returned {result!r}; it must be a dict of {', '.join(self.writes)}")
        return result

    def _decoded(self, name: str, stream: Float[np.ndarray, "batch pos d"]) -> list[list[Any]]:
        variable, projected = self.known.lowered.variables[name], stream @ self.known.subspaces[name].directions.T
        if variable.encoding == "onehot":
            codes = np.where(projected.max(-1) > PRESENT_FROM, projected.argmax(-1), -1)
        else:
            numbers = projected[..., 0]
            if variable.encoding == "ratio":
                numbers = numbers / np.where(projected[..., 1] > 0, projected[..., 1], np.inf)
            codes = np.abs(numbers[..., None] - [float(v) for v in variable.values]).argmin(-1)
        shown = [*map(surface, variable.values), None]
        return [[shown[code] for code in row] for row in codes.tolist()]

    def _encoded(self, values: dict[str, Any]) -> Float[np.ndarray, " d"]:
        """The vector that the part writes for one value of each of its variables.

        Sums that are written as (sum, 1) / (1 + count) get the smallest count of keys with which they can be.
        """
        total, count = np.zeros(self.known.subspaces[self.writes[0]].directions.shape[1]), 0
        ratios = []
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise SwapError(f"the function returned {value} for {name!r}; it must be finite")
            variable, directions = self.known.lowered.variables[name], self.known.subspaces[name].directions
            if variable.encoding == "onehot":
                total += _one_hot(variable, value) @ directions
            elif variable.encoding == "scalar":
                total += _number(variable, value) * directions[0]
            else:
                number = _number(variable, value)
                count = max(count, math.ceil(abs(number) / (self.largest[name] or 1)))
                ratios.append((number, directions))
        for number, directions in ratios:
            total += number / (1 + count) * directions[0]
        return total + (ratios[0][1][1] / (1 + count) if ratios else 0.0)


def _one_hot(variable: Variable, value: Any) -> Float[np.ndarray, " values"]:
    known = [surface(each) for each in variable.values]
    if value is not None and surface(value) not in known:
        raise SwapError(f"the function returned {value!r}; {variable.name!r} can be {', '.join(map(repr, known))}")
    return np.array([value is not None and surface(value) == each for each in known], dtype=float)


def _number(variable: Variable, value: Any) -> float:
    try:
        return 0.0 if value is None else float(value)
    except (TypeError, ValueError):
        raise SwapError(f"the function returned {value!r}; {variable.name!r} is a number") from None


def seen(tokens: Tensor | None) -> Tensor:
    """The tokens, if the model was run on any."""
    if tokens is None:
        raise SwapError("it needs the tokens, and the model was run from a later layer")
    return tokens


def bare(module: nn.Module) -> nn.Module:
    """A copy without hooks."""
    copy = deepcopy(module)
    untapped(copy)
    points: list[Any] = [point for point in copy.modules() if hasattr(point, "remove_hooks")]
    for point in points:
        point.remove_hooks("both", including_permanent=True)
    return copy


def untapped(module: nn.Module) -> None:
    """Make the hook points of a swapped model (`gaugeblock.compiled.swapping.swap`) ordinary ones again, in place."""
    for point in module.modules():
        if "tapped" in vars(point):
            del point.tapped
            point.__class__ = type(point).__mro__[1]


def _kept(point: nn.Module, module: nn.Module, *args: Tensor) -> Tensor:
    """The value at a hook point when the module is run."""
    shown: list[Tensor] = []
    handle = point.register_forward_hook(lambda _, __, output: shown.append(output))
    try:
        module(*args)
    finally:
        handle.remove()
    return shown[0]
