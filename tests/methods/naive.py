"""The reference: edge ablation with plain TransformerLens hooks, one run of the whole model per set of edges.

Shares no code with the engine. Every reader's input is split by the model's own flags, and a hook adds
degree · (ablated − current) for each ablated edge into it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

FLAGS = ("use_attn_result", "use_split_qkv_input", "use_hook_mlp_in")


def with_flags(function):
    """Run with split inputs and leave the model as it was."""

    def wrapped(model, *args, **kwargs):
        before = {flag: getattr(model.cfg, flag) for flag in FLAGS}
        try:
            for flag in FLAGS:
                if not (flag == "use_hook_mlp_in" and model.cfg.attn_only):
                    getattr(model, f"set_{flag}")(True)
            return function(model, *args, **kwargs)
        finally:
            model.reset_hooks()
            for flag, value in before.items():
                setattr(model.cfg, flag, value)

    return wrapped


def writer_hook(writer: str) -> tuple[str, int | None]:
    """Hook point at which a writer's value stands, and the head where it has one."""
    if writer in ("embed", "pos"):
        return {"embed": "hook_embed", "pos": "hook_pos_embed"}[writer], None
    if writer[0] == "m":
        return f"blocks.{writer[1:]}.hook_mlp_out", None
    layer, head = writer[1:].split(".h")
    return f"blocks.{layer}.attn.hook_result", int(head)


def reader_hook(model, reader: str) -> tuple[str, int | None]:
    """Hook point that holds a reader's own copy of the residual stream, and the head where it has one."""
    if reader == "logits":
        return f"blocks.{model.cfg.n_layers - 1}.hook_resid_post", None
    if reader[0] == "m":
        return f"blocks.{reader[1:]}.hook_mlp_in", None
    layer, head, port = reader[1:].replace(".h", ".").split(".")
    return f"blocks.{layer}.hook_{port}_input", int(head)


@with_flags
def written(model, tokens: Tensor, writers: list[str]) -> dict[str, Tensor]:
    """What each writer (other than `bias`) writes on these tokens."""
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
    hooks = {w: writer_hook(w) for w in writers if w != "bias"}
    return {w: cache[hook] if head is None else cache[hook][:, :, head] for w, (hook, head) in hooks.items()}


@with_flags
def patched(model, tokens: Tensor, ablated: Mapping[str, Tensor], degrees: Mapping[str, float | Tensor]) -> Tensor:
    """Logits with each edge in `degrees` ablated to its degree in [0, 1].

    `bias` is the same in every run, so an edge from it carries its own value when ablated.
    """
    current: dict[str, Tensor] = {}
    incoming: dict[str, list[tuple[str, int | None, float | Tensor]]] = {}
    for edge, degree in degrees.items():
        writer, reader = edge.split("->")
        if writer != "bias":
            hook, head = reader_hook(model, reader)
            incoming.setdefault(hook, []).append((writer, head, degree))

    def record(writer, head):
        def hook(value, hook):
            current[writer] = value if head is None else value[:, :, head]

        return hook

    def replace(changes):
        def hook(value, hook):
            value = value.clone()
            for writer, head, degree in changes:
                here = value if head is None else value[:, :, head]
                here += degree * (ablated[writer] - current[writer])
            return value

        return hook

    for writer in ablated:
        hook, head = writer_hook(writer)
        model.add_hook(hook, record(writer, head))
    for hook, changes in incoming.items():
        model.add_hook(hook, replace(changes))
    return model(tokens)
