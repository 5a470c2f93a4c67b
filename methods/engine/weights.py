"""The parameters of a HookedTransformer, arranged for the engine.

Supported: `normalization_type` None, "LN", "LNPre", "RMS", "RMSPre"; `act_fn` "relu", "gelu", "gelu_new";
`attention_dir` "causal" or "bidirectional"; `attn_only`; any `attn_scale`; an output vocabulary of its own;
float32 and float64; CPU and CUDA. Everything else is refused by name, since a silent difference from the
model would make every number wrong.

Normalisation gains and biases are folded into the maps that follow them, and the attention scale into the
query map. Empty slots (see `Graph.of`) and neurons that write exactly nothing are left out.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gaugeblock.compiled.edges.graph import Graph
from gaugeblock.programs.errors import MethodError

Norm = Literal["none", "layer", "rms"]

_NORMS: dict[str | None, Norm] = {
    None: "none",
    "LN": "layer",
    "LNPre": "layer",
    "RMS": "rms",
    "RMSPre": "rms",
}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "gelu_new": lambda x: nn.functional.gelu(x, approximate="tanh"),
}
# Settings that change the function, each with the value that leaves it alone.
_PLAIN: dict[str, Any] = {
    "positional_embedding_type": "standard",
    "n_key_value_heads": None,
    "gated_mlp": False,
    "num_experts": None,
    "parallel_attn_mlp": False,
    "use_normalization_before_and_after": False,
    "post_embedding_ln": False,
    "use_qk_norm": False,
    "use_local_attn": False,
    "use_attention_sinks": False,
    "use_logn_attn": False,
    "scale_attn_by_inverse_layer_idx": False,
    "clip_qkv": None,
    "load_in_4bit": False,
    "final_rms": False,
}


@dataclass(frozen=True, eq=False)
class AttentionWeights:
    """One layer's attention: `heads` names the slots that are kept; q, k and v of all of them are one map."""

    heads: tuple[int, ...]
    W_qkv: Float[Tensor, "d_model qkv_heads_d_head"]
    b_qkv: Float[Tensor, " qkv_heads_d_head"]
    W_O: Float[Tensor, "heads d_head d_model"]
    b_O: Float[Tensor, " d_model"]

    @property
    def maps(self) -> Float[Tensor, "d_model 3 heads d_head"]:
        """`W_qkv`, taken apart by port and head."""
        return self.W_qkv.view(len(self.W_qkv), 3, len(self.heads), self.W_O.shape[1])


@dataclass(frozen=True, eq=False)
class MlpWeights:
    """One layer's MLP, over the neurons that write something."""

    W_in: Float[Tensor, "d_model neuron"]
    b_in: Float[Tensor, " neuron"]
    W_out: Float[Tensor, "neuron d_model"]
    b_out: Float[Tensor, " d_model"]


@dataclass(frozen=True, eq=False)
class Weights:
    """A transformer as the engine runs it. `W_pos` is None where the graph has no `pos`."""

    graph: Graph
    W_E: Float[Tensor, "d_vocab d_model"]
    W_pos: Float[Tensor, "n_ctx d_model"] | None
    attention: tuple[AttentionWeights, ...]
    mlp: tuple[MlpWeights | None, ...]
    W_U: Float[Tensor, "d_model d_vocab_out"]
    b_U: Float[Tensor, " d_vocab_out"]
    norm: Norm
    eps: float
    activation: Callable[[Tensor], Tensor]
    causal: bool

    @property
    def n_layers(self) -> int:
        return len(self.attention)

    @property
    def stages(self) -> int:
        """Reading places along the stream: layer l's attention is 2l, its MLP 2l + 1, the logits the last."""
        return 2 * self.n_layers + 1

    @staticmethod
    def of(model: nn.Module) -> "Weights":
        """Take a model's parameters (detached, not copied where they can be shared).

        Raises MethodError where the configuration has something the engine does not reproduce.
        """
        hooked: Any = model
        cfg = hooked.cfg
        _refuse_unsupported(cfg, {parameter.dtype for parameter in model.parameters()})
        if any(parameter.is_inference() for parameter in model.parameters()):
            hooked = copy.deepcopy(model)  # made in inference mode, and so without gradients
        graph = Graph.of(model)
        norm = _NORMS[cfg.normalization_type]
        scale = math.sqrt(cfg.d_head) if cfg.attn_scale < 0 else cfg.attn_scale
        scale = scale if cfg.use_attn_scale else 1.0
        blocks = list(hooked.blocks)
        gain, shift = _affine(getattr(hooked, "ln_final", None))
        return Weights(
            graph=graph,
            W_E=hooked.embed.W_E.detach(),
            W_pos=hooked.pos_embed.W_pos.detach() if "pos" in graph.writer_index else None,
            attention=tuple(_attention(b, graph.heads(i), scale) for i, b in enumerate(blocks)),
            mlp=tuple(_mlp(b) if f"m{i}" in graph.reader_index else None for i, b in enumerate(blocks)),
            W_U=_folded(hooked.unembed.W_U, gain),
            b_U=_shifted(hooked.unembed.b_U, hooked.unembed.W_U, shift),
            norm=norm,
            eps=float(cfg.eps),
            activation=_ACTIVATIONS.get(cfg.act_fn, torch.relu),  # attn_only models may name none
            causal=cfg.attention_dir == "causal",
        )


def _refuse_unsupported(cfg: Any, dtypes: set[torch.dtype]) -> None:
    given = {name: getattr(cfg, name, plain) for name, plain in _PLAIN.items()}
    wrong = [f"{name}={value!r}" for name, value in given.items() if (value or None) != (_PLAIN[name] or None)]
    if cfg.normalization_type not in _NORMS:
        wrong.append(f"normalization_type={cfg.normalization_type!r}")
    if not cfg.attn_only and cfg.act_fn not in _ACTIVATIONS:
        wrong.append(f"act_fn={cfg.act_fn!r} (one of {', '.join(_ACTIVATIONS)})")
    for cap in ("attn_scores_soft_cap", "output_logits_soft_cap"):
        if (value := getattr(cfg, cap, None)) is not None and value > 0:
            wrong.append(f"{cap}={value!r}")
    if str(getattr(cfg, "original_architecture", None)).lower().startswith("olmo"):
        wrong.append(f"original_architecture={cfg.original_architecture!r}")
    if cfg.dtype not in (torch.float32, torch.float64):
        wrong.append(f"dtype={cfg.dtype} (float32 or float64)")
    elif len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        held = " and ".join(sorted(str(dtype) for dtype in dtypes))
        wrong.append(f"weights in {held} (float32 or float64, all in one; model.float() makes them so)")
    if wrong:
        raise MethodError(f"the engine does not support models with {', '.join(wrong)}")


def _affine(norm: Any) -> tuple[Tensor | None, Tensor | None]:
    """Gain and bias of a normalisation module, None where it has none."""
    gain, shift = getattr(norm, "w", None), getattr(norm, "b", None)
    return (None if gain is None else gain.detach()), (None if shift is None else shift.detach())


def _folded(W: Tensor, gain: Tensor | None) -> Tensor:
    """norm(x)·gain @ W as norm(x) @ W'; the input dimension is the last but one."""
    return W.detach() if gain is None else gain[:, None] * W.detach()


def _shifted(b: Tensor, W: Tensor, shift: Tensor | None) -> Tensor:
    return b.detach() if shift is None else b.detach() + shift @ W.detach()


def _attention(block: Any, heads: tuple[int, ...], scale: float) -> AttentionWeights:
    attn, keep = block.attn, list(heads)
    gain, shift = _affine(block.ln1)
    maps = [(getattr(attn, f"W_{port}")[keep], getattr(attn, f"b_{port}")[keep]) for port in "QKV"]
    W = torch.stack([_folded(W, gain) for W, _ in maps])
    b = torch.stack([_shifted(b, W, shift) for W, b in maps])
    W[0] /= scale
    b[0] /= scale
    W_qkv = W.permute(2, 0, 1, 3).flatten(1).contiguous()  # [port, head, d_model, d_head] -> one map
    return AttentionWeights(heads, W_qkv, b.flatten(), attn.W_O.detach()[keep], attn.b_O.detach())


def _mlp(block: Any) -> MlpWeights:
    mlp = block.mlp
    gain, shift = _affine(block.ln2)
    writes = mlp.W_out.detach().any(-1)
    W_in = _folded(mlp.W_in, gain)[:, writes].contiguous()
    b_in = _shifted(mlp.b_in, mlp.W_in, shift)[writes]
    return MlpWeights(W_in, b_in, mlp.W_out.detach()[writes], mlp.b_out.detach())
