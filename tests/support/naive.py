"""Patching the slow and obvious way, with TransformerLens's own hooks on split inputs. Nothing of the engine."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor


def hook_point(writer: str) -> tuple[str, int | None]:
    if writer == "embed":
        return "hook_embed", None
    if writer == "pos":
        return "hook_pos_embed", None
    if writer.startswith("m"):
        return f"blocks.{writer[1:]}.hook_mlp_out", None
    layer, _, head = writer[1:].partition(".h")
    return f"blocks.{layer}.attn.hook_result", int(head)


def read_point(reader: str, n_layers: int) -> tuple[str, int | None]:
    if reader == "logits":
        return f"blocks.{n_layers - 1}.hook_resid_post", None
    if reader.startswith("m"):
        return f"blocks.{reader[1:]}.hook_mlp_in", None
    node, _, port = reader.partition(".h")
    head, port = port.split(".")
    return f"blocks.{node[1:]}.hook_{port}_input", int(head)


def writers(model: Any, tokens: Tensor) -> dict[str, Tensor]:
    """What every writer writes on a plain run."""
    model.set_use_attn_result(True)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
    model.set_use_attn_result(False)
    found = {"embed": cache["hook_embed"], "pos": cache["hook_pos_embed"].expand_as(cache["hook_embed"])}
    for layer in range(model.cfg.n_layers):
        for head in range(model.cfg.n_heads):
            found[f"a{layer}.h{head}"] = cache[f"blocks.{layer}.attn.hook_result"][:, :, head]
        if not model.cfg.attn_only:
            found[f"m{layer}"] = cache[f"blocks.{layer}.hook_mlp_out"]
    return found


def patched(model: Any, clean: Tensor, ablated: dict[str, Tensor], edges: Iterable[str]) -> Tensor:
    """Logits on `clean` with these edges carrying `ablated` values."""
    current: dict[str, Tensor] = {}
    hooks = []

    def store(value: Tensor, hook: Any, writer: str, head: int | None) -> None:
        current[writer] = value if head is None else value[:, :, head]

    def replace(value: Tensor, hook: Any, writer: str, head: int | None) -> Tensor:
        change = ablated[writer] - current[writer]
        if head is None:
            return value + change
        value = value.clone()
        value[:, :, head] += change
        return value

    names = list(edges)
    for writer in {edge.split("->")[0] for edge in names} - {"bias"}:
        point, head = hook_point(writer)
        hooks.append((point, partial(store, writer=writer, head=head)))
    for edge in names:
        writer, reader = edge.split("->")
        if writer != "bias":  # replaced by itself
            point, head = read_point(reader, model.cfg.n_layers)
            hooks.append((point, partial(replace, writer=writer, head=head)))
    with split(model), torch.no_grad():
        return model.run_with_hooks(clean, fwd_hooks=hooks)


def node_patched(model: Any, clean: Tensor, ablated: dict[str, Tensor], writer: str) -> Tensor:
    """Logits on `clean` with what one writer writes replaced for everybody."""
    point, head = hook_point(writer)

    def overwrite(value: Tensor, hook: Any) -> Tensor:
        if head is None:
            return ablated[writer]
        value = value.clone()
        value[:, :, head] = ablated[writer]
        return value

    with split(model), torch.no_grad():
        return model.run_with_hooks(clean, fwd_hooks=[(point, overwrite)])


class split:
    """TransformerLens's split inputs, for as long as the block lasts."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def _set(self, on: bool) -> None:
        self.model.set_use_attn_result(on)
        self.model.set_use_split_qkv_input(on)
        if not self.model.cfg.attn_only:
            self.model.set_use_hook_mlp_in(on)

    def __enter__(self) -> None:
        self._set(True)

    def __exit__(self, *_: object) -> None:
        self._set(False)
