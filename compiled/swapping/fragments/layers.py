"""A fragment as it runs in the place of a part of a model: readers, a small residual stream with layers, writers."""

import math
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gaugeblock.compiled.swapping.components import SwapError
from gaugeblock.compiled.swapping.modules import seen

STACKED = ("attn.W_Q", "attn.b_Q", "attn.W_K", "attn.b_K", "attn.W_V", "attn.W_O", "mlp.W_in", "mlp.b_in", "mlp.W_out")
"""Weights of compiled layers that are not zero, kept under the last part of their names, all layers in one."""


@final
class FragmentLayers(nn.Module):
    """A compiled fragment (see `fragment.py`) on the stream [batch, pos, d_model] of a model.

    Its own stream has a start token in front, which its heads look at where they select nothing, whether the model has
    one or not. Weights keep at least the precision that the program needs when the model is converted.

    Args:
        tensors: `read{i}_directions` [value, d_model], `read{i}_bias` [value] and `read{i}_at`, the own directions
            that the values go to; of a number instead of a bias `read{i}_steps`, the limits between its values;
            `marks`, the own directions of `present` and of the start token; `indices`, those of the positions; the
            STACKED weights; `writes` [own direction, d_model], `base` [d_model], and `elsewhere` [d_model], which is
            written where there is no token of the input.
        settings: `above`, for each read the score that some value has to exceed, or None; `bos`, whether the model
            has a start token at position 0; `absent`, ids of tokens that are none of the input; `longest` input, or
            None; whether the model is `causal`; `dtype`, the least precision.
    """

    marks: Tensor
    indices: Tensor
    writes: Tensor
    base: Tensor
    elsewhere: Tensor
    W_Q: Tensor
    b_Q: Tensor
    W_K: Tensor
    b_K: Tensor
    W_V: Tensor
    W_O: Tensor
    W_in: Tensor
    b_in: Tensor
    W_out: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = dict(settings)
        reads = {f"read{i}_{what}" for i in range(len(self.settings["above"])) for what in ("directions", "at")}
        if lacking := (set(FragmentLayers.__annotations__) | reads) - set(tensors):
            raise ValueError(f"tensors that are missing: {sorted(lacking)}")
        least = getattr(torch, self.settings["dtype"])
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                precise = tensor.detach().to(torch.promote_types(tensor.dtype, least))
                self.register_parameter(name, nn.Parameter(precise.clone()))
            else:
                self.register_buffer(name, tensor.clone())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FragmentLayers":
        least = getattr(torch, self.settings["dtype"])

        def kept(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if not tensor.is_floating_point():
                return moved
            dtype = torch.promote_types(moved.dtype, least)
            return moved if dtype is moved.dtype else tensor.to(moved.device, dtype)

        super()._apply(kept, recurse)
        return self

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """Return what the fragment adds to the stream x."""
        x = x.to(self.writes.dtype)
        real = self._real(x, tokens)
        stream = self._start(x, real)
        for layer in range(len(self.W_Q)):
            stream = stream + self._attention(layer, stream)
            hidden = torch.relu(stream @ self.W_in[layer] + self.b_in[layer])
            stream = stream + hidden @ self.W_out[layer]
        there = real[..., None].to(x)
        return there * (stream[:, 1:] @ self.writes + self.base) + (1 - there) * self.elsewhere

    def _real(self, x: Tensor, tokens: Tensor | None) -> Bool[Tensor, "batch pos"]:
        """The positions that hold a token of the input."""
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if self.settings["bos"]:
            real[:, 0] = False
        if self.settings["absent"]:
            real &= ~torch.isin(seen(tokens), torch.tensor(self.settings["absent"], device=x.device))
        longest, n = self.settings["longest"], int(real.sum(1).max()) if real.numel() else 0
        if longest is not None and n > longest:
            raise SwapError(f"the fragment was compiled for inputs of up to {longest} tokens, and there are {n}")
        return real

    def _start(self, x: Tensor, real: Bool[Tensor, "batch pos"]) -> Float[Tensor, "batch pos_and_one own"]:
        """The fragment's stream before its layers: what is read, the positions, and the start token in front."""
        tensors: Any = self
        there = real[..., None].to(x)
        present, bos = self.marks
        stream = x.new_zeros(*x.shape[:2], len(self.writes))
        stream = stream.index_add(2, present[None], there)
        if len(self.indices):
            position = (real.cumsum(1) - 1).clamp(min=0)
            stream = stream.index_add(2, self.indices, _one_hot(position, len(self.indices), x) * there)
        for i, above in enumerate(self.settings["above"]):
            along = x @ getattr(tensors, f"read{i}_directions").mT
            if hasattr(tensors, f"read{i}_steps"):
                read = _rounded(along, getattr(tensors, f"read{i}_steps"))
            else:
                read = _highest(along + getattr(tensors, f"read{i}_bias"), above)
            stream = stream.index_add(2, getattr(tensors, f"read{i}_at"), read * there)
        first = torch.zeros_like(stream[:, :1]).index_fill(2, bos[None], 1.0)
        return torch.cat([first, stream], 1)

    def _attention(self, layer: int, stream: Tensor) -> Tensor:
        each = stream[:, None]
        q = each @ self.W_Q[layer] + self.b_Q[layer][:, None]
        k = each @ self.W_K[layer] + self.b_K[layer][:, None]
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if self.settings["causal"]:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        return (scores.softmax(-1) @ (each @ self.W_V[layer]) @ self.W_O[layer]).sum(1)


def _highest(scores: Float[Tensor, "batch pos value"], above: float | None) -> Float[Tensor, "batch pos value"]:
    """1 for the value with the highest score; gradients pass as if the scores themselves were returned."""
    chosen = _one_hot(scores.argmax(-1), scores.shape[-1], scores)
    if above is not None:
        chosen = chosen * (scores.amax(-1, keepdim=True) > above)
    return chosen + (scores - scores.detach())


def _rounded(
    numbers: Float[Tensor, "batch pos one_or_two"], steps: Float[Tensor, " step"]
) -> Float[Tensor, "batch pos value"]:
    """1 for the value between whose limits the number is, or the ratio of two numbers. Steps have no gradient."""
    number = numbers[..., 0] if numbers.shape[-1] == 1 else numbers[..., 0] / numbers[..., 1]
    return _one_hot(torch.bucketize(number.detach().contiguous(), steps), len(steps) + 1, numbers)


def _one_hot(codes: Tensor, n: int, like: Tensor) -> Tensor:
    return nn.functional.one_hot(codes, n).to(like)
