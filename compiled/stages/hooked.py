"""Stage 7: the weights in a TransformerLens HookedTransformer. The one file here that knows TransformerLens."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch

from gaugeblock.compiled.stages.assemble import Weights

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

Activation = Literal["relu", "gelu"]


def config(weights: Weights, name: str, activation: Activation = "relu") -> dict[str, Any]:
    """The arguments of a HookedTransformerConfig: no LayerNorm, bidirectional attention."""
    return {
        "n_layers": sum(key.endswith("attn.W_Q") for key in weights),
        "d_model": weights["embed.W_E"].shape[1],
        "n_ctx": weights["pos_embed.W_pos"].shape[0],
        "n_heads": weights["blocks.0.attn.W_Q"].shape[0],
        "d_head": weights["blocks.0.attn.W_Q"].shape[2],
        "d_mlp": weights["blocks.0.mlp.W_in"].shape[1],
        "d_vocab": weights["embed.W_E"].shape[0],
        "d_vocab_out": weights["unembed.W_U"].shape[1],
        "act_fn": activation,
        "normalization_type": None,
        "attention_dir": "bidirectional",
        "init_weights": False,
        "model_name": name,
    }


def hooked(
    weights: Weights, name: str, device: str | torch.device, dtype: torch.dtype, activation: Activation = "relu"
) -> "HookedTransformer":
    """A HookedTransformer that holds these weights."""
    model = _constructed(config(weights, name, activation) | {"device": str(device), "dtype": dtype})
    state: dict[str, Any] = {key: torch.as_tensor(value, dtype=dtype) for key, value in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    parameters = {key for key, _ in model.named_parameters()}
    if unexpected or parameters & set(missing):
        raise AssertionError(
            f"weights do not fit: missing {sorted(parameters & set(missing))}, unexpected {unexpected}"
        )
    return model.to(device, print_details=False).eval()


def blank(settings: dict[str, Any]) -> "HookedTransformer":
    """A model of this configuration, with arbitrary weights, on the CPU."""
    dtype = getattr(torch, str(settings["dtype"]).removeprefix("torch."))
    return _constructed(settings | {"dtype": dtype, "device": "cpu", "init_weights": False}).eval()


def _constructed(settings: dict[str, Any]) -> "HookedTransformer":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the import and the constructor both announce HookedTransformer's retirement
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        return HookedTransformer(HookedTransformerConfig(**settings), move_to_device=False)


@contextmanager
def split_inputs(model: "HookedTransformer") -> Iterator[None]:
    """Give every reader an input of its own, and every head an output, for as long as the block lasts.

    While it does, the model has all hook points that `Graph.hook` names; a forward pass is several times slower.
    """
    names = ["attn_result", "split_qkv_input", *([] if model.cfg.attn_only else ["hook_mlp_in"])]
    before = {name: getattr(model.cfg, f"use_{name}") for name in names}
    try:
        for name in names:
            getattr(model, f"set_use_{name}")(True)
        yield
    finally:
        for name, value in before.items():
            getattr(model, f"set_use_{name}")(value)
