"""Models and tasks for the tests of the engine and the methods."""

import importlib.util
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from gaugeblock.compiled.graph import Graph
from gaugeblock.methods.task import Task

PAD = 6


def random_model(seed: int = 0, scale: float = 0.5, **config: Any):
    """A small HookedTransformer with every weight and bias random, and an empty slot of each kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        settings = {
            "n_layers": 3, "n_heads": 3, "d_model": 12, "d_head": 4, "d_mlp": 10, "n_ctx": 7, "d_vocab": 7,
            "d_vocab_out": 5, "act_fn": "relu", "normalization_type": None, "attention_dir": "bidirectional",
            "init_weights": False, "dtype": torch.float64, "device": "cpu",
        }  # fmt: skip
        model = HookedTransformer(HookedTransformerConfig(**(settings | config)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale
            parameter.copy_(1 + value / 2 if name.endswith(".w") else value)
        model.blocks[1].attn.W_O[2] = 0
        if not model.cfg.attn_only:
            model.blocks[1].mlp.W_out.zero_()
            model.blocks[1].mlp.b_out.zero_()
            model.blocks[0].mlp.W_out[3:5] = 0
    return model.eval()


# name -> model in float64; a compiled model can be added as one more entry
MODELS: dict[str, Callable[[], Any]] = {
    "relu": random_model,
    "causal gelu": lambda: random_model(1, act_fn="gelu", attention_dir="causal"),
    "LN": lambda: random_model(2, normalization_type="LN", act_fn="gelu_new"),
    "causal LNPre": lambda: random_model(3, normalization_type="LNPre", attention_dir="causal"),
    "RMS": lambda: random_model(4, normalization_type="RMS", act_fn="gelu"),
    "attention only": lambda: random_model(5, attn_only=True, normalization_type="LNPre", attention_dir="causal"),
}


@lru_cache
def build(name: str) -> Any:
    return MODELS[name]()


def random_tokens(model, pairs: int, seed: int):
    """Tokens with BOS (0) first and inputs of mixed lengths, the rest PAD."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, PAD, (pairs, model.cfg.n_ctx), generator=generator)
    lengths = torch.randint(3, model.cfg.n_ctx + 1, (pairs, 1), generator=generator)
    tokens[torch.arange(model.cfg.n_ctx) >= lengths] = PAD
    tokens[:, 0] = 0
    return tokens


def random_task(model, ablation: str = "resample", pairs: int = 6, seed: int = 0, **options: Any) -> Task:
    """Random pairs; one has equal sides, and one keeps its corrupted input's first half."""
    clean, corrupted = random_tokens(model, pairs, 2 * seed), random_tokens(model, pairs, 2 * seed + 1)
    corrupted[0] = clean[0]
    corrupted[1, :4] = clean[1, :4]
    graded = (clean != PAD) & (corrupted != PAD)
    graded[:, 0] = False
    return Task.build(model, Graph.of(model), clean, corrupted, graded, ablation, pad_token=PAD, **options)


@pytest.fixture(scope="session")
def naive() -> ModuleType:
    """The reference implementation, naive.py."""
    spec = importlib.util.spec_from_file_location("naive", Path(__file__).with_name("naive.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=MODELS)
def model(request):
    """Each of MODELS in turn."""
    return build(request.param)


@pytest.fixture
def relu_model():
    return build("relu")


@pytest.fixture
def make_model():
    """The builder of random models, for a test that wants a special one."""
    return random_model


@pytest.fixture
def make_task():
    """The builder of random tasks."""
    return random_task
