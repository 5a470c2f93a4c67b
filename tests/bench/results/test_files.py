"""Records on disk: exact round trips, no NaN, never half a file, clear words about broken ones."""

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gaugeblock.compiled.writing import write_text
from gaugeblock.programs.errors import FileError
from gaugeblock.results import files
from gaugeblock.results.files import (
    case_hash,
    case_paths,
    read_case,
    read_result,
    result_fields,
    result_path,
    result_paths,
    write_json,
)
from gaugeblock.results.records import Result

OLD = Path(__file__).parents[2] / "data" / "results-0.1"
"""Results as version 0.1.0 has written them."""

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


def test_what_says_that_a_job_is_done_stands_at_the_ends_of_its_file(make, tmp_path, monkeypatch):
    """The order of the record's fields: scores and curves are between these, and need not be read."""
    case, result = make.case(), make.result(make.case())
    write_json(tmp_path / "case.json", case)
    write_json(tmp_path / "result.json", result)
    names = ["status", "method", "method_source", "params", "case", "case_hash", "ablation", "seed"]
    names += ["resamples", "versions", "error"]
    monkeypatch.setattr(files, "_read", lambda *_: pytest.fail("all of the file was read"))
    assert result_fields(tmp_path / "result.json", names) == result.model_dump(mode="json", include=set(names))
    assert case_hash(tmp_path / "case.json") == case.hash


def test_results_of_an_older_version_still_load():
    assert [read_case(path).id for path in case_paths(OLD)] == ["frac_prevs"]
    results = [read_result(path) for path in result_paths(OLD)]
    assert [(r.method, r.control, r.scores["skill"], r.versions["gaugeblock"]) for r in results] == [
        ("eap", False, 1.0, "0.1.0"),
        ("oracle", True, 1.0, "0.1.0"),
    ]
    assert results[0].edge_scores
    assert case_hash(next(case_paths(OLD))) == results[0].case_hash
