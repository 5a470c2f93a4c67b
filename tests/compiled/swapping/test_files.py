"""Swapped models on disk."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gaugeblock.compiled.swapping.components import From, Linear, Mean, Pattern, SwapError, Zero
from gaugeblock.compiled.swapping.files import load_swapped, save_swapped
from gaugeblock.compiled.swapping.swap import swap
from gaugeblock.programs.errors import FileError
from gaugeblock.programs.language.functions import local
from support.tasks import RANDOM, random_model

TOKENS = torch.tensor(np.random.default_rng(0).integers(0, 9, size=(5, 7)))


@pytest.mark.parametrize("name", RANDOM)
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model, other = (random_model(RANDOM[name], torch.float64, seed) for seed in (0, 1))
    parts: dict[str, Any] = {
        "a0.h0": From(other, "a2.h1"), "a0.h1": Linear(TOKENS), "a1.h0": Pattern(torch.eye(7), ov=torch.eye(12)),
        "b2": From(other, "b0"), "embed": From(other, "embed"), "pos": Mean(TOKENS, per_position=False),
    }  # fmt: skip
    swapped = swap(model, parts | ({} if model.cfg.attn_only else {"m1.n2,4": Zero(), "m0": Mean(TOKENS)}))
    save_swapped(swapped, tmp_path / "there")
    assert torch.allclose(load_swapped(tmp_path / "there")(TOKENS), swapped(TOKENS), atol=1e-12)
    for source in (torch.tanh, local(1)):
        with pytest.raises(SwapError, match=r"what stands at a1.h0 is Python code"):
            save_swapped(swap(swapped, {"a1.h0": source}), tmp_path / "there")
    assert torch.allclose(load_swapped(tmp_path / "there")(TOKENS), swapped(TOKENS), atol=1e-12)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no saved swapped model"):
        load_swapped(tmp_path / "nowhere")
    with pytest.raises(SwapError, match="not made by `swap`"):
        save_swapped(random_model({}, torch.float32), tmp_path / "there")
    save_swapped(swap(random_model({}, torch.float32), {"m1": Zero()}), tmp_path / "there")
    for name, content in {"swapped.json": '{"format": 1}', "swapped.safetensors": "no"}.items():
        kept = (tmp_path / "there" / name).read_bytes()
        (tmp_path / "there" / name).write_text(content)
        with pytest.raises(FileError, match="is damaged"):
            load_swapped(tmp_path / "there")
        (tmp_path / "there" / name).write_bytes(kept)
