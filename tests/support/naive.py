"""Patching the slow and obvious way, with TransformerLens's own hooks on split inputs. Nothing of the engine."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gaugeblock.compiled import split_inputs
from gaugeblock.compiled.edges.graph import hook_of


def writers(model: Any, tokens: Tensor) -> dict[str, Tensor]:
    """What every writer writes on a plain run, by slot, whether it is in the graph or not."""
    cfg = model.cfg
    names = [f"a{layer}.h{head}" for layer in range(cfg.n_layers) for head in range(cfg.n_heads)]
    names += [] if cfg.attn_only else [f"m{layer}" for layer in range(cfg.n_layers)]
    hooks = {name: hook_of(name, cfg.n_layers) for name in ("embed", "pos", *names)}
    with split_inputs(model), torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=[point for point, _ in hooks.values()])
    shown = {name: cache[point] if head is None else cache[point][:, :, head] for name, (point, head) in hooks.items()}
    return {name: value.expand_as(shown["embed"]) for name, value in shown.items()}


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
        point, head = hook_of(writer, model.cfg.n_layers)
        hooks.append((point, partial(store, writer=writer, head=head)))
    for edge in names:
        writer, reader = edge.split("->")
        if writer != "bias":  # replaced by itself
            point, head = hook_of(reader, model.cfg.n_layers, reads=True)
            hooks.append((point, partial(replace, writer=writer, head=head)))
    with split_inputs(model), torch.no_grad():
        return model.run_with_hooks(clean, fwd_hooks=hooks)


def node_patched(model: Any, clean: Tensor, ablated: dict[str, Tensor], writer: str) -> Tensor:
    """Logits on `clean` with what one writer writes replaced for everybody."""
    point, head = hook_of(writer, model.cfg.n_layers)

    def overwrite(value: Tensor, hook: Any) -> Tensor:
        if head is None:
            return ablated[writer]
        value = value.clone()
        value[:, :, head] = ablated[writer]
        return value

    with split_inputs(model), torch.no_grad():
        return model.run_with_hooks(clean, fwd_hooks=[(point, overwrite)])
