"""Saved models: what was written is read again, and anything else is refused with its reason."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.loading import load
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.errors import FileError, ProgramError
from gaugeblock.programs.language.functions import causal
from gaugeblock.programs.program import program
from gaugeblock.programs.registry import get


@pytest.mark.parametrize("name", ["frac_prevs", "sort", "dyck1", "add"])
def test_round_trip(name: str, tmp_path: Path) -> None:
    model = apply_variants(compile(get(name)), ("pad",), 1)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    inputs = model.program.sample(np.random.default_rng(0), 50)
    assert again.batch(inputs) == model.batch(inputs)
    assert again.program_edges == model.program_edges
    assert again.hash == model.hash == replace(model, error_bound=1.0).hash
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["model.json", "model.safetensors"]


def test_a_program_of_ones_own_runs_without_its_source(tmp_path: Path) -> None:
    @program(vocab=[Fraction(1, 3), 2, "x"], max_len=3)
    def mine(tokens: Any, indices: Any) -> Any:
        """Whether an x came before."""
        return causal.any(tokens == "x")

    compile(mine, dtype=torch.float64).save(tmp_path / "mine")
    again = load(tmp_path / "mine")
    assert again([2, "x", Fraction(1, 3)]) == [False, True, True]
    assert again.dtype == torch.float64
    with pytest.raises(ProgramError, match="source is not part of the file"):
        again.program([2])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    compile(get("hist")).save(tmp_path / "hist")
    return tmp_path / "hist"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_weight(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 0x10
    path.write_bytes(bytes(data))


def rename_a_variable(path: Path) -> None:
    record = json.loads(path.read_text())
    record["lowered"]["output"] = "nonsense"
    path.write_text(json.dumps(record))


def drop_a_field(path: Path) -> None:
    record = json.loads(path.read_text())
    del record["provenance"]
    path.write_text(json.dumps(record))


def foreign(path: Path) -> None:
    path.write_text("[1, 2]")


@pytest.mark.parametrize(
    ("file", "damage", "says"),
    [
        ("model.safetensors", truncate, "damaged or truncated"),
        ("model.json", truncate, "damaged or truncated"),
        ("model.safetensors", flip_a_weight, "does not match its own hash"),
        ("model.json", rename_a_variable, "not match its own hash|not a complete description"),
        ("model.json", drop_a_field, "not a complete description"),
        ("model.json", foreign, "this version reads format 4"),
        ("model.json", Path.unlink, r"lacks model\.json"),
    ],
)
def test_damage_is_named(saved: Path, file: str, damage: Any, says: str) -> None:
    damage(saved / file)
    with pytest.raises(FileError, match=says):
        load(saved)


def test_what_is_not_a_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("important")
    with pytest.raises(FileError, match="is not a saved model; choose another folder"):
        compile(get("hist")).save(tmp_path / "work")
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["thesis.tex"]
    with pytest.raises(FileError, match="no saved model at"):
        load(tmp_path / "nothing")
