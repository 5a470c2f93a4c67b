"""Records on disk: exact round trips, no NaN, never half a file, clear words about broken ones."""

import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gaugeblock.compiled.writing import write_text
from gaugeblock.programs.errors import FileError
from gaugeblock.results.files import read_case, read_result, result_path, write_json
from gaugeblock.results.records import Result

BARE = {"status": "ok", "method": "m", "case": "sort", "ablation": "resample", "seed": 0}


def test_records_come_back_as_they_were(make, tmp_path):
    case = make.case()
    result = make.result(case, quality=0.3)
    write_json(tmp_path / "case.json", case)
    write_json(tmp_path / "result.json", result)
    assert read_case(tmp_path / "case.json") == case
    assert read_result(tmp_path / "result.json") == result


@given(score=st.floats(), listed=st.lists(st.floats(), max_size=4))
def test_json_holds_finite_numbers_only(tmp_path_factory, score, listed):
    path = tmp_path_factory.mktemp("r") / "r.json"
    write_json(path, Result(**BARE, scores={"s": score}, pair_scores={"p": listed}))

    def refuse(text):
        raise AssertionError(f"{text} in JSON")

    data = json.loads(path.read_text(), parse_constant=refuse)
    assert data["scores"]["s"] == (score if math.isfinite(score) else None)
    assert data["pair_scores"]["p"] == [v if math.isfinite(v) else None for v in listed]


def test_records_take_no_unknown_field_and_no_infinite_edge_score():
    with pytest.raises(ValidationError, match="surprise"):
        Result(**BARE, surprise=1)
    with pytest.raises(ValidationError, match="finite"):
        Result(**BARE, edge_scores={"embed->m0": math.inf})


def damaged(text: str) -> dict[str, str]:
    data = json.loads(text)
    return {
        "truncated": text[: len(text) // 2],
        "empty": "",
        "another kind": json.dumps(data | {"kind": "case"}),
        "no object": "[1, 2]",
        "another version": json.dumps(data | {"schema_version": 99}),
        "wrong type": json.dumps(data | {"seed": "many"}),
    }


@pytest.mark.parametrize("damage", ["truncated", "empty", "another kind", "no object", "another version", "wrong type"])
def test_damaged_files_are_named(make, tmp_path, damage):
    path = tmp_path / "r.json"
    write_json(path, make.result(make.case()))
    path.write_text(damaged(path.read_text())[damage])
    with pytest.raises(FileError, match=r"r\.json") as error:
        read_result(path)
    assert "\n" not in str(error.value)


def test_binary_and_missing_files_are_named(tmp_path):
    (tmp_path / "r.json").write_bytes(b"\xff\xfe\x00")
    for name in ("r.json", "none.json"):
        with pytest.raises(FileError, match=name):
            read_result(tmp_path / name)


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    write_text(path, "old")

    def full_disk(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.json"]


def test_result_files_stay_inside_the_folder(tmp_path):
    for name in ("../../evil", "/etc/passwd", "a/b.py:f", "..", ""):
        path = result_path(tmp_path, name, name, "resample", 0)
        assert path.resolve().is_relative_to(tmp_path.resolve() / "results")
        assert len(path.relative_to(tmp_path).parts) == 3
