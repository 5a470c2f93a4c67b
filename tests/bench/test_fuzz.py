"""The fuzzer: nothing differs, a planted bug is found and made small, and refusals are shown."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import gaugeblock
from gaugeblock import fuzz as fuzz_module
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.fuzz import compare, fuzz, inputs_of
from gaugeblock.programs.coverage import operations
from gaugeblock.programs.errors import CompileError, FileError, GaugeblockError
from gaugeblock.programs.generator import built, generate
from gaugeblock.programs.program import Program


def test_sixty_programs_are_exact() -> None:
    report = fuzz(60, seed=11)
    assert report.ok, report.failures
    assert report.outcomes["ok"] >= 45
    assert sum(report.outcomes.values()) == 60
    assert report.inputs > 60 * 20
    assert report.coverage["key == query"] > 5


class Broken:
    """A model that gives every 2 as 3."""

    def __init__(self, model: CompiledModel) -> None:
        self.model = model

    def batch(self, inputs: list[Any]) -> list[list[Any]]:
        return [[3 if type(x) is int and x == 2 else x for x in row] for row in self.model.batch(inputs)]


def test_a_planted_bug_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compile_ = gaugeblock.compile
    monkeypatch.setattr(gaugeblock, "compile", lambda program, **options: Broken(compile_(program, **options)))
    report = fuzz(8, seed=3)
    assert not report.ok
    assert report.outcomes["mismatch"] == len(report.failures) > 0
    for failure in report.failures:
        assert failure.kind == "mismatch"
        assert operations(ast.parse(failure.source)) <= 2, failure.source
        small = built(failure.source)
        assert small(ast.literal_eval(str(failure.input))) == ast.literal_eval(str(failure.expected))
        assert "2" in str(failure.expected)
        assert "3" in str(failure.got)
    report.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["failures"][0]["source"] == report.failures[0].source


def test_crashes_and_refusals_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(program: Program, **options: Any) -> Any:
        raise CompileError(f"{program.name!r} needs 3 x 4 x 5 entries")

    monkeypatch.setattr(gaugeblock, "compile", refuse)
    report = fuzz(5, seed=1)
    assert report.ok
    assert report.outcomes == {"ok": 0, "refused": 5, "mismatch": 0, "crash": 0}
    assert report.refusals == {"… needs N x … x N entries": 5}

    def crash(program: Program, **options: Any) -> Any:
        raise IndexError("index 7 is out of bounds")

    monkeypatch.setattr(gaugeblock, "compile", crash)
    report = fuzz(2, seed=1)
    assert report.outcomes["crash"] == 2
    assert [f.message for f in report.failures] == ["compile raised IndexError: index 7 is out of bounds"] * 2


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        (1, True, False),
        (1, 1.0, True),
        (0.1, 0.1 + 1e-9, True),
        (0.1, 0.1001, False),
        (None, 0, False),
        ((1, None), (1, None), True),
        ((1, True), (1, 1), False),
        ("1", 1, False),
    ],
)
def test_what_counts_as_equal(want: Any, got: Any, same: bool) -> None:
    assert fuzz_module._equal([want], [got]) is same


def test_small_spaces_are_compared_in_full_and_large_ones_by_short_long_and_uniform_inputs() -> None:
    small, large = generate(3, vocab="ab", max_len=4), generate(3, vocab="abcdef", max_len=9)
    assert len(inputs_of(small)) == compare(small).inputs == 2 + 4 + 8 + 16
    inputs = inputs_of(large)
    assert ["c"] in inputs
    assert ["c"] * 9 in inputs
    assert 300 < len(inputs) < 400


def test_workers_find_the_same() -> None:
    one, two = fuzz(12, seed=4), fuzz(12, seed=4, workers=2)
    assert (one.outcomes, one.coverage, one.inputs) == (two.outcomes, two.coverage, two.inputs)


def test_impossible_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GaugeblockError, match="n=0"):
        fuzz(0)
    with pytest.raises(FileError, match="cannot write the report"):
        fuzz(1).save(tmp_path / "no" / "report.json")
