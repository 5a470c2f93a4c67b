"""Models and tasks to patch: random ones of every supported kind, and compiled ones."""

import warnings
from typing import Any

import numpy as np
import torch

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.edges.graph import Graph
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.methods.task import Task
from gaugeblock.programs.registry import get

RANDOM = {
    "plain": {},
    "causal gelu": {"attention_dir": "causal", "act_fn": "gelu"},
    "layer norm": {"normalization_type": "LN", "attention_dir": "causal", "act_fn": "gelu_new"},
    "folded layer norm": {"normalization_type": "LNPre"},
    "rms norm": {"normalization_type": "RMS", "act_fn": "gelu"},
    "attention only": {"attn_only": True, "normalization_type": "LN"},
}
COMPILED = {"sort": (), "dyck2": ("permute", "pad"), "frac_prevs": ("pad",)}


def random_model(settings: dict[str, Any], dtype: torch.dtype, seed: int = 0) -> Any:
    """A HookedTransformer with random weights and biases; one head and one MLP are empty."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        defaults = {"attention_dir": "bidirectional", "act_fn": "relu", "normalization_type": None}
        config = HookedTransformerConfig(
            n_layers=3, d_model=12, n_ctx=7, n_heads=3, d_head=4, d_mlp=10, d_vocab=9, d_vocab_out=5,
            init_weights=False, device="cpu", dtype=dtype, **(defaults | settings),
        )  # fmt: skip
        model = HookedTransformer(config, move_to_device=False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype) * 0.3
    model.blocks[1].attn.W_O.data[2] = 0
    if not model.cfg.attn_only:
        model.blocks[0].mlp.W_out.data.zero_()
        model.blocks[0].mlp.b_out.data.zero_()
    return model.eval()


def random_task(settings: dict[str, Any], dtype: torch.dtype = torch.float64, ablation: str = "resample") -> Task:
    return task_of(random_model(settings, dtype), ablation)


def task_of(model: Any, ablation: str = "resample") -> Task:
    """Six pairs of random tokens for a random model."""
    rng = np.random.default_rng(0)
    clean, corrupted = (torch.tensor(rng.integers(1, 9, size=(6, 7))) for _ in range(2))
    positions = torch.ones_like(clean, dtype=torch.bool)
    positions[:, 0] = False
    return Task.build(model, Graph.of(model), clean, corrupted, positions, ablation, seed=3)


def compiled_task(name: str, dtype: torch.dtype = torch.float64, ablation: str = "resample", n: int = 10) -> Task:
    model = apply_variants(compile(get(name)), COMPILED[name], seed=2).to(dtype=dtype)
    tokens = model.encode(model.program.sample(np.random.default_rng(0), 2 * n))
    clean, corrupted = tokens[:n], tokens[n:]
    return Task.build(
        model.hooked, model.graph, clean, corrupted, model.real(clean) & model.real(corrupted), ablation,
        numeric=model.lowered.output.numeric, pad_token=model.pad, seed=3,
    )  # fmt: skip
