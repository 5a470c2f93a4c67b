"""Which results of several folders meet: versions, double jobs, methods of one name, damaged and forged files."""

import hashlib
import json

import pytest

from gaugeblock.evaluation.ranking import top_edges
from gaugeblock.leaderboard.board import leaderboard, read_leaderboard
from gaugeblock.leaderboard.site.build import write_site
from gaugeblock.programs.errors import FileError
from gaugeblock.results.files import case_path, result_path, write_json
from gaugeblock.submissions.manifest import Disclosure, FileRecord, Manifest, tensor_file
from gaugeblock.submissions.tensors import write_scores


@pytest.fixture
def cases(make):
    return [make.case(f"{p}/pad") for p in ("add", "sort", "dyck")]


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / name for name in ("first", "second")]
    for folder in made:
        folder.mkdir()
    return made


def test_results_of_two_folders_meet(make, cases, folders):
    first, second = folders
    make.write(first, *cases, *[make.result(c, "mine", 0.5) for c in cases[:2]])
    make.write(second, *cases, make.result(cases[2], "mine", 0.5), *[make.result(c, "other", 1.0) for c in cases])
    board = read_leaderboard(first, second)
    assert [(r.method, r.done, r.rank) for r in board.rows] == [("other", 3, 1), ("mine", 3, 1)]
    assert [s.name for s in board.sources] == ["first", "second"]
    assert board.notes == ()


def test_a_job_that_is_in_both_folders_counts_once(make, cases, folders):
    for i, folder in enumerate(folders):
        make.write(folder, *cases, *[make.result(c, "mine", scores={"skill": 0.5 - i}) for c in cases])
    board = read_leaderboard(*folders)
    assert [(r.method, r.skill.estimate) for r in board.rows] == [("mine", 0.5)]
    (note,) = board.notes
    assert "3 results of mine in second" in note
    assert "first has the same jobs" in note


def test_metrics_versions_never_meet(make, cases, folders):
    first, second = folders
    make.write(first, *cases, *[make.result(c, "old", 1.0, metrics_version=1) for c in cases[:2]])
    make.write(second, *cases, *[make.result(c, "new", 0.5, metrics_version=2) for c in cases])
    make.write(second, make.failure(cases[0], "bad"))  # has no version, and is shown
    board = read_leaderboard(first, second)
    assert [r.method for r in board.rows] == ["new", "bad"]
    assert "2 results in first: metrics of version 1; this board shows version 2" in board.notes[0]
    equal = leaderboard(cases[:1], [make.result(cases[0], f"v{v}", metrics_version=v) for v in (2, 3, None)])
    assert [r.method for r in equal.rows] == ["v3"]  # among equals the newest
    assert len(equal.notes) == 2


def test_case_versions_never_meet(make, cases, folders):
    first, second = folders
    old = cases[0].model_copy(update={"hash": "old", "description": "The older one."})
    make.write(first, old, make.result(old, "early"))
    make.write(second, cases[0], make.result(cases[0], "late"), make.result(cases[0], "later"))
    board = read_leaderboard(first, second)
    assert [c.hash for c in board.cases] == [cases[0].hash]
    assert {r.method for r in board.rows} == {"late", "later"}
    assert "2 versions" in board.notes[0]
    assert "1 result on add/pad" in board.notes[1]
    assert "another version of the case (old)" in board.notes[1]


def test_other_code_or_parameters_are_another_method(make, cases, folders):
    for folder, params, source in zip(folders, ({"steps": 5}, {"steps": 50}), ("abc", "abc")):
        results = [make.result(c, "mine", 0.5, params=params, method_source=source) for c in cases[:2]]
        make.write(folder, *cases, *results, make.failure(cases[2], "mine", f"of {folder.name}"))
    board = read_leaderboard(*folders)
    assert {r.method for r in board.rows} == {"mine", "mine · second"}
    assert all(r.done == 2 for r in board.rows)
    reasons = {r.method: cell.missing for r in board.rows for cell in r.cells if cell.missing}
    assert reasons == {"mine": "error: of first", "mine · second": "error: of second"}
    assert any("of other code or other parameters" in note for note in board.notes)


def test_records_of_no_transformer_are_left_out(make, cases, folders):
    first, _ = folders
    strange = cases[1].model_copy(update={"positives": ["embed-><script>"]})
    outside = cases[2].model_copy(update={"writers": ["embed"]})
    make.write(first, cases[0], strange, outside, make.result(cases[0], "mine"))
    make.write(first, make.result(cases[0], "x" * 200), make.result(cases[0], "big", seed=2**70))
    record = json.loads(result_path(first, "mine", cases[0].id, "resample", 0).read_text())
    long = first / "results" / "long" / "r.json"
    long.parent.mkdir()
    long.write_text(json.dumps(record | {"method": "y" * 10**6}))
    board = read_leaderboard(first)
    assert [c.id for c in board.cases] == [cases[0].id]
    assert [r.method for r in board.rows] == ["mine", "x" * 200]
    text = "\n".join(board.notes)
    assert "is no part of a transformer" in text
    assert "not among its writers" in text
    assert "1,000,000 characters" in text
    assert "64 bits" in text
    assert len(text) < 2000


def test_links_and_nests_are_left_out(make, cases, folders):
    first, second = folders
    make.write(first, cases[0], make.result(cases[0], "mine"))
    make.write(second, *cases)
    case_path(first, "link", "resample").symlink_to(case_path(second, cases[1].id, "resample"))
    deep = first / "results" / "deep" / "r.json"
    deep.parent.mkdir()
    deep.write_text('{"kind": "result", "params": ' + "[" * 100_000 + "]" * 100_000 + "}")
    board = read_leaderboard(first)
    assert [c.id for c in board.cases] == [cases[0].id]
    assert any("no plain file" in note for note in board.notes)
    assert any("nested too deeply" in note for note in board.notes)


def test_a_changed_submission_is_left_out_as_a_whole(make, cases, folders):
    first, second = folders
    for folder in folders:
        make.write(folder, *cases, make.result(cases[0], f"of_{folder.name}"))
    (second / "manifest.json").write_text("{}")
    board = read_leaderboard(first, second)
    assert [r.method for r in board.rows] == ["of_first"]
    assert "the submission in" in board.notes[0]
    with pytest.raises(FileError, match="the submission in"):
        read_leaderboard(second)


def test_characters_that_no_file_holds_are_replaced(make, cases):
    result = make.result(cases[0]).model_copy(update={"method": "a\x1b[31m\ud800b"})
    board = leaderboard(cases, [result])
    assert [r.method for r in board.rows] == ["a�[31m�b"]


@pytest.fixture
def submission(make, cases, folders):
    """A submission as `gaugeblock submit` packs it, with its edge scores in files of their own."""
    folder = folders[1]
    results = [make.result(c, "mine", 0.3) for c in cases]
    for case, result in zip(cases, results):
        path = folder / tensor_file("mine", case.id, "resample", 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(write_scores(result.edge_scores, {"m0": 1.0}))
        make.write(folder, case, result.model_copy(update={"edge_scores": {}}))
    (folder / "README.md").write_text("A card.")
    (folder / "scores.jsonl").write_text("{}\n")
    files = {
        path.relative_to(folder).as_posix(): FileRecord(
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size=path.stat().st_size
        )
        for path in folder.rglob("*")
        if path.is_file()
    }
    manifest = Manifest(
        name="A careful try",
        method="mine",
        function=None,
        suite=("quick",),
        cases=tuple(c.id for c in cases),
        ablations=("resample",),
        seeds=(0,),
        resamples=0,
        scores="safetensors",
        metrics_version=1,
        gaugeblock="0.1.0",
        created="2026-11-21",
        disclosure=Disclosure(tuned_on=("core", "<b>sort</b>"), authors=("Ada",)),
        files=files,
    )
    write_json(folder / "manifest.json", manifest.model_copy(update={"digest": manifest.right_digest()}))
    return folder, results


def test_a_submission_says_what_it_was_tuned_on(submission, tmp_path):
    folder, results = submission
    board = read_leaderboard(folder)
    assert board.notes == ("mine, submitted as 'A careful try': not verified here",)
    (source,) = board.sources
    assert (source.name, source.submission["tuned on"]) == ("A careful try", "core, <b>sort</b>")
    page = write_site(board, tmp_path / "site").read_text()
    assert "core, &lt;b&gt;sort&lt;/b&gt;" in page
    assert "A careful try" in page
    for cell, result in zip(board.rows[0].cells, sorted(results, key=lambda r: r.case)):
        expected = top_edges(result.edge_scores, cell.case.positives, cell.case.negatives, signed=False, noise=0.0)
        assert cell.ok[0].top_edges(cell.case) == expected


def test_a_file_changed_after_it_was_submitted(submission):
    folder, _ = submission
    path = next(folder.glob("results/*/*.json"))
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(FileError, match="another sha256"):
        read_leaderboard(folder)
