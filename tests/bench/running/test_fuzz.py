"""The fuzzer: nothing differs, a planted bug is found and made small, and refusals are shown."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from gaugeblock.compiled import compiler
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.programs.errors import CompileError, FileError, GaugeblockError
from gaugeblock.programs.generation.coverage import operations
from gaugeblock.programs.generation.generator import built, generate
from gaugeblock.programs.program import Program
from gaugeblock.running import fuzz as fuzz_module
from gaugeblock.running.fuzz import Report, compare, fuzz, inputs_of, report_text


@pytest.fixture(scope="module")
def sixty() -> Report:
    return fuzz(60, seed=12, workers=2)


def test_sixty_programs_are_exact(sixty: Report) -> None:
    assert sixty.ok, sixty.failures
    assert sixty.outcomes["ok"] >= 45
    assert sum(sixty.outcomes.values()) == 60
    assert sixty.inputs > 60 * 20
    assert sixty.coverage["key == query"] > 5


def test_one_process_finds_what_several_find(sixty: Report) -> None:
    """Of the first programs; the run of one process is short, since checks of types slow it down here."""
    one = fuzz(3, seed=12)
    assert [one.outcomes["ok"], one.n, one.seed] == [3, 3, 12]
    assert all(sixty.coverage[name] >= one.coverage[name] for name in one.coverage)


class Broken:
    """A model that gives every True as False."""

    def __init__(self, model: CompiledModel) -> None:
        self.model, self.dtype = model, model.dtype

    def batch(self, inputs: list[Any]) -> list[list[Any]]:
        return [list(map(self._spoilt, row)) for row in self.model.batch(inputs)]

    def _spoilt(self, x: Any) -> Any:
        return tuple(map(self._spoilt, x)) if isinstance(x, tuple) else False if x is True else x


def test_a_planted_bug_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compile_ = compiler.compile
    monkeypatch.setattr(compiler, "compile", lambda program, **options: Broken(compile_(program, **options)))
    source = """from gaugeblock.programs import program, causal, key, query

@program(['a', 'b'], max_len=3, name='planted')
def generated(tokens, indices):
    before = causal & (key(tokens) == query(tokens))
    return (before.count() + 1, ((2 * before.count() > 3) & (tokens != 'a')))
"""
    monkeypatch.setattr(fuzz_module, "generate", lambda seed, **options: built(source))
    report = fuzz(1, seed=3)
    assert report.outcomes["mismatch"] == 1
    (failure,) = report.failures
    assert failure.kind == "mismatch"
    assert operations(ast.parse(failure.source)) <= 2, failure.source  # of 9
    assert built(failure.source)(ast.literal_eval(str(failure.input))) == ast.literal_eval(str(failure.expected))
    assert ("True" in str(failure.expected), "True" in str(failure.got)) == (True, False)
    text = report_text(report)
    assert failure.source in text
    assert f"expected  {failure.expected}\ngot       {failure.got}" in text
    report.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["failures"][0]["source"] == failure.source


def test_crashes_and_refusals_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(program: Program, **options: Any) -> Any:
        raise CompileError(f"{program.name!r} needs 3 x 4 x 5 entries")

    monkeypatch.setattr(compiler, "compile", refuse)
    report = fuzz(2, seed=1)
    assert report.ok
    assert report.outcomes == {"ok": 0, "float64": 0, "refused": 2, "mismatch": 0, "crash": 0}
    assert report.refusals == {"… needs N x … x N entries": 2}

    def crash(program: Program, **options: Any) -> Any:
        raise IndexError("index 7 is out of bounds")

    monkeypatch.setattr(compiler, "compile", crash)
    report = fuzz(1, seed=1)
    assert report.outcomes["crash"] == 1
    assert [f.message for f in report.failures] == ["compile raised IndexError: index 7 is out of bounds"]
    assert operations(ast.parse(report.failures[0].source)) == 0


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
    small = generate(3, vocab="ab", max_len=4, without=["graph"])
    large = generate(3, vocab="abcdef", max_len=9, without=["graph"])
    assert len(inputs_of(small)) == compare(small).inputs == 2 + 4 + 8 + 16
    inputs = inputs_of(large)
    assert ["c"] in inputs
    assert ["c"] * 9 in inputs
    assert 300 < len(inputs) < 400


def test_impossible_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GaugeblockError, match="n=0"):
        fuzz(0)
    (tmp_path / "no").touch()
    with pytest.raises(FileError, match="cannot write the report"):
        fuzz(1).save(tmp_path / "no" / "report.json")
