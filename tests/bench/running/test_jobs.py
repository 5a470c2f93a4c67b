"""Whether a job's result is there: the ends of its file say what all of it says, and no case is built to know."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugeblock.cases.recipe import Recipe
from gaugeblock.programs.errors import FileError
from gaugeblock.programs.program import program
from gaugeblock.programs.registry import get
from gaugeblock.results.files import read_result, result_fields, result_path, write_json
from gaugeblock.results.records import Result
from gaugeblock.running import jobs, runner
from gaugeblock.running.jobs import Job, described, is_done, is_ours, pending, started

texts = st.text(max_size=30) | st.sampled_from(
    ['\n "scores": {', '\n "resamples": 1,', '"\n}\n', ' "scores":', "\\", '"', "\x00", "\u2028", "\n}\n"]
)
plain = st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner, max_size=3))


def job_in(out: Path, method: str = "eap", seed: int = 0) -> Job:
    return Job.of(method, method, "hist", "resample", seed, str(out))


def result_of(job: Job, **changes) -> Result:
    fields = described(job.method) | {
        "status": "ok",
        "case": job.case,
        "case_hash": "h",
        "ablation": job.ablation,
        "seed": job.seed,
        "scores": {"skill": 1.0},
        "edge_scores": {f"a0.h{i}->m0": i / 7 for i in range(600)},
        "versions": jobs.versions(),
    }
    return Result(**(fields | changes))


def write(job: Job, **changes) -> None:
    write_json(job.file, result_of(job, **changes))


@settings(max_examples=60)
@given(
    st.dictionaries(texts, plain, max_size=4),
    st.dictionaries(texts, st.floats(-1, 1), max_size=200),
    texts,
    texts,
    st.sampled_from(["ok", "error", "started"]),
)
def test_the_ends_of_a_file_say_what_all_of_it_says(tmp_path_factory, params, scores, text, case, status):
    job = job_in(tmp_path_factory.mktemp("out"))
    changes = {"params": params, "edge_scores": scores, "versions": {text: text}, "error": text or None, "case": case}
    write(job, status=status, **changes)
    names = ["status", "params", "case", "case_hash", "seed", "resamples", "versions", "error"]
    whole = read_result(job.file).model_dump(mode="json", include=set(names))
    assert result_fields(job.file, names) == whole
    assert started(job) == (whole["error"] or "None" if status == "started" else None)


def test_a_result_is_done_until_anything_about_it_changes(tmp_path):
    job = job_in(tmp_path)
    assert not is_done(job, "h")
    write(job)
    assert is_done(job, "h")
    assert not is_done(job, "other")
    assert not is_done(job, None)
    for change in (
        {"status": "error"},
        {"params": {"steps": 5}},
        {"method_source": "edited"},
        {"case_hash": "other"},
        {"resamples": 3},
        {"versions": {**jobs.versions(), "code": "other"}},
        {"seed": 1},
    ):
        write(job, **change)
        assert not is_done(job, "h"), change


def test_a_file_that_was_cut_off_anywhere_is_not_done(tmp_path):
    job = job_in(tmp_path)
    write(job)
    whole = Path(job.file).read_bytes()
    assert len(whole) > 10_000
    for end in [*range(0, len(whole) - 1, 1009), *range(len(whole) - 40, len(whole) - 1, 3)]:
        Path(job.file).write_bytes(whole[:end])
        assert not is_done(job, "h"), end
    Path(job.file).write_bytes(whole[:-1])  # all but the last line break: whole JSON
    assert is_done(job, "h")


def test_only_cases_of_our_own_programs_are_known_without_being_built(tmp_path):
    @program(vocab=range(3), max_len=4)
    def mine(tokens, indices):
        """Somebody else's."""
        return tokens

    assert is_ours("sort/permute+pad#1")
    assert is_ours("kth_largest(k=3)")
    assert not is_ours("no_such_program")
    assert mine.build.__module__ != get(Recipe.parse("sort").program).build.__module__
    assert not (mine.build.__module__ or "").startswith("gaugeblock")


def test_a_run_with_nothing_left_builds_no_case(stand_ins, tmp_path, monkeypatch):
    first = runner.run(["steady", "score"], ["alpha", "beta"], tmp_path, seeds=(0, 1), workers=1)

    def build(name):
        raise AssertionError(f"{name} was built")

    monkeypatch.setattr(sys.modules["gaugeblock.cases.case"], "case", build)
    again = runner.run(["steady", "score"], ["alpha", "beta"], tmp_path, seeds=(0, 1), workers=1)
    assert list(again) == list(first)
    # one result is lost, and one certificate: what hangs on them is to do, and nothing else
    Path(again._jobs[0].file).unlink()
    (tmp_path / "certificates" / "beta.resample.json").unlink()
    assert pending(again._jobs) == [again._jobs[0], *again._jobs[4:]]


def test_results_are_read_when_they_are_asked_for(stand_ins, tmp_path):
    results = runner.run(["steady"], ["alpha", "beta"], tmp_path, seeds=(0, 1), workers=1)
    assert len(results) == 4
    assert [(r.case, r.seed) for r in results] == [("alpha", 0), ("alpha", 1), ("beta", 0), ("beta", 1)]
    assert results[-1].case == "beta"
    assert [r.seed for r in results[1:3]] == [1, 0]
    assert repr(results) == f"<4 results in {tmp_path}>"
    with pytest.raises(IndexError):
        results[4]
    result_path(tmp_path, "steady", "alpha", "resample", 0).unlink()
    with pytest.raises(FileError, match="alpha"):
        results[0]
