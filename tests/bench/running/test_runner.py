"""The runner: what happens to jobs that fail, hang or kill their process, and to runs that are killed."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gaugeblock.cases.case import Case
from gaugeblock.cases.certificate import Certificate
from gaugeblock.programs.errors import FileError, GaugeblockError, UnknownName
from gaugeblock.results.files import case_path, certificate_path, read_case, read_result, result_paths
from gaugeblock.running import jobs, runner

EDGES = ["embed->a0.h0.q", "embed->a0.h0.k", "embed->a0.h0.v", "a0.h0->logits", "embed->logits"]
SUPPORT = Path(__file__).resolve().parents[2] / "support"


@pytest.fixture
def run(stand_ins, tmp_path):
    """`run(methods, cases, **options)` in this process; results by (method, case, seed)."""

    def run(methods, cases=("alpha", "beta"), **options):
        results = runner.run(methods, list(cases), tmp_path / "out", workers=1, **options)
        return {(r.method, r.case, r.seed): r for r in results}

    return run


def in_processes(out: Path, methods: list[str], cases: list[str], seeds: int = 1, **environment: str) -> dict[str, Any]:
    """The command that runs stand-ins on two worker processes, and its environment."""
    code = (
        "import stand_ins; from gaugeblock.running.runner import run; "
        f"run([stand_ins.METHODS[m] for m in {methods}], {cases}, {str(out)!r}, seeds=range({seeds}), workers=2)"
    )
    paths = {"PYTHONPATH": str(SUPPORT), "STAND_INS": "1", "OMP_NUM_THREADS": "1"}
    return {"args": [sys.executable, "-c", code], "env": os.environ | paths | environment}


def contents(out: Path) -> dict[str, dict]:
    """All records of a results folder without what differs from run to run."""
    records = {}
    for path in sorted(out.rglob("*.json")):
        data = json.loads(path.read_text())
        kept = {k: v for k, v in data.items() if k not in ("seconds", "memory", "dirty")}
        records[str(path.relative_to(out))] = kept
    return records


def test_every_job_leaves_a_result_and_every_case_a_record(run, tmp_path):
    results = run(["score", "steady"], seeds=(0, 1))
    assert len(results) == 8
    assert {r.status for r in results.values()} == {"ok"}
    assert len(list(result_paths(tmp_path / "out"))) == 8
    assert read_case(tmp_path / "out" / "cases" / "alpha.resample.json").id == "alpha"
    assert (tmp_path / "out" / "certificates" / "alpha.resample.json").exists()


def test_a_case_is_certified_once_for_its_record_and_its_certificate(tmp_path, monkeypatch):
    checked = []

    def check(case, ablations):
        checked.append((case.id, *ablations))
        return certify(case, ablations, n_samples=50)

    certify = Case.certify
    monkeypatch.setattr(Case, "certify", check)
    for _ in range(2):
        runner.run(["oracle"], ["hist@v2n3", "frac_prevs@v2n3"], tmp_path, "mean", workers=1)
    assert checked == [("hist@v2n3", "mean"), ("frac_prevs@v2n3", "mean")]
    path = certificate_path(tmp_path, "hist@v2n3", ["mean"])
    certificate = Certificate.from_dict(json.loads(path.read_text()))
    record = read_case(case_path(tmp_path, "hist@v2n3", "mean"))
    assert (certificate.case, certificate.hash, certificate.ablations) == (record.id, record.hash, ("mean",))
    assert certificate.ok
    assert record.certified
    assert [asdict(claim) for claim in certificate.claims] == [claim.model_dump() for claim in record.claims]
    # what a write that was cut off has left goes, and a certificate that was lost comes back
    path.rename(path.with_name(f".{path.name}.0.part"))
    runner.run(["oracle"], ["hist@v2n3"], tmp_path, "mean", workers=1)
    assert Certificate.from_dict(json.loads(path.read_text())) == certificate
    assert not list(tmp_path.rglob(".*.part"))


def test_failing_jobs_are_recorded_and_harm_no_other(run):
    results = run(["raises", "wrong", "steady"])
    assert results["steady", "beta", 0].status == "ok"
    assert results["raises", "alpha", 0].status == "error"
    assert results["raises", "alpha", 0].error == "ValueError: what is [bold]this[/]?"
    assert results["wrong", "alpha", 0].error == "method 'wrong' gave NaN for 1 edge: 'embed->logits'"
    assert results["wrong", "alpha", 0].edge_scores == {}


@pytest.mark.parametrize(
    ("methods", "cases", "said"),
    [
        (["steady"], ["alpha"], None),
        (["raises"], ["alpha"], "1 job failed: raises on alpha (resample, seed 0): error: ValueError: what is "),
        (["steady", "wrong"], ["alpha", "beta"], "2 jobs failed; the first: wrong on alpha (resample, seed 0): error"),
        (["steady"], ["unbuildable", "alpha"], "1 job failed: steady on unbuildable (resample, seed 0): error: the "),
        (["steady", "hangs"], ["alpha"], "1 job failed: hangs on alpha (resample, seed 0): timeout: not done after 0"),
    ],
)
def test_failures_are_said_on_the_terminal(run, tmp_path, capsys, methods, cases, said):
    for _ in range(2):  # each time anew
        run(methods, cases, time_limit=0.2)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gaugeblock: ")]
        assert len(lines) == (said is not None)
        assert all(line.startswith(f"gaugeblock: {said}") for line in lines)
        assert all(line.endswith(f"; `gaugeblock report {tmp_path / 'out'}` shows them all") for line in lines)


def test_a_case_that_cannot_be_built_fails_its_jobs_only(run):
    results = run(["steady"], ["unbuildable", "alpha"])
    assert results["steady", "unbuildable", 0].error == "the case could not be built: RuntimeError: no such luck"
    assert results["steady", "alpha", 0].status == "ok"


def test_a_job_over_its_time_is_a_timeout(run):
    results = run(["hangs", "steady"], time_limit=0.2)
    assert results["hangs", "alpha", 0].status == "timeout"
    assert results["hangs", "alpha", 0].error == "not done after 0.2 s"
    assert results["steady", "beta", 0].status == "ok"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_same_command_again_runs_what_is_missing_or_failed(run, tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setenv("LOG", str(log))
    first = run(["score", "raises"])
    assert len(log.read_text().splitlines()) == 2
    (torn, _) = sorted((tmp_path / "out" / "results" / "score").iterdir())
    torn.write_text(torn.read_text()[:50])
    assert run(["score", "raises"])["score", "alpha", 0].edge_scores == first["score", "alpha", 0].edge_scores
    assert log.read_text().splitlines() == ["alpha 0", "beta 0", "alpha 0"]


@pytest.mark.parametrize("what", ["CASE_VERSION", "METHOD_VERSION"])
def test_what_has_changed_runs_again(run, tmp_path, monkeypatch, what):
    monkeypatch.setattr(jobs, "is_ours", lambda case: False)
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    run(["score"])
    monkeypatch.setenv(what, "2")
    results = run(["score"])
    assert len((tmp_path / "log").read_text().splitlines()) == 4
    assert {r.case_hash or "" for r in results.values()} == {
        f"{c} {2 if what == 'CASE_VERSION' else 1}" for c in ("alpha", "beta")
    }


def test_other_code_runs_again(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    run(["score"])
    monkeypatch.setattr(jobs, "versions", lambda: {"gaugeblock": "9"})
    run(["score"])
    assert len((tmp_path / "log").read_text().splitlines()) == 4


def test_impossible_runs_are_refused_before_anything_happens(stand_ins, tmp_path):
    for error, words, options in [
        (UnknownName, "steady", {"methods": ["steadi"]}),
        (UnknownName, "resample", {"ablation": "resampel"}),
        (GaugeblockError, "at least 1", {"workers": 0}),
        (GaugeblockError, "time limit", {"time_limit": -1}),
        (GaugeblockError, "needs processes", {"time_limit": 1, "backend": "threading"}),
        (GaugeblockError, "nothing to run", {"methods": []}),
        (GaugeblockError, "same name", {"methods": ["steady", stand_ins.steady]}),
    ]:
        with pytest.raises(error, match=words):
            runner.run(**({"methods": ["steady"], "suite": ["alpha"], "out": tmp_path / "out"} | options))
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file"):
        runner.run(["steady"], ["alpha"], tmp_path / "file", workers=1)


def named(name: str) -> Callable[..., dict[str, float]]:
    """A stand-in of this name."""

    def method(task: Any) -> dict[str, float]:
        return dict.fromkeys(EDGES, 1.0)

    method.__name__ = name
    return method


SHARED = [("mine", "Mine"), ("mine", "MINE"), ("a b", "a/b"), ("a:b", "A-b"), ("straße", "STRASSE"), (".x", "x")]
SHARED += [("\N{LATIN SMALL LIGATURE FI}t", "fit"), ("\N{KELVIN SIGN}", "k")]


@pytest.mark.parametrize(("one", "other"), SHARED)
def test_methods_that_would_share_a_folder_are_refused(run, tmp_path, one, other):
    words = "would share a folder of results; rename one"
    with pytest.raises(GaugeblockError, match=words) as refused:
        run([named("apart"), named(one), named(other)])
    assert repr(one) in str(refused.value)
    assert repr(other) in str(refused.value)
    assert not (tmp_path / "out").exists()
    # and from run to run, though this file system may tell them apart
    assert {r.status for r in run([named(one)]).values()} == {"ok"}
    before = contents(tmp_path / "out")
    with pytest.raises(GaugeblockError, match=r"would share the folder .*/out/results/"):
        run([named("apart"), named(other)])
    assert contents(tmp_path / "out") == before
    assert {r.status for r in run([named(one), named("apart")]).values()} == {"ok"}


def test_suites_and_case_ids_mix():
    assert runner.case_ids(["sort#0", "quick", "sort"])[:2] == ["sort", "frac_prevs"]
    for name, words in [("quik", "quick"), ("srot/pad", "sort"), ("sort/padd", "pad"), ("@/", "not a case id")]:
        with pytest.raises(GaugeblockError, match=words):
            runner.case_ids([name])


@pytest.mark.parametrize(
    ("methods", "cases", "lost"),
    [
        (["steady", "dies_on_beta", "score"], ["alpha", "beta", "gamma"], {("dies_on_beta", "beta")}),
        (["steady", "score"], ["alpha", "deadly"], {("steady", "deadly"), ("score", "deadly")}),
    ],
)
def test_a_job_that_kills_its_process_harms_no_other(tmp_path, methods, cases, lost):
    done = subprocess.run(**in_processes(tmp_path, methods, cases), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = {(r.method, r.case): r for r in map(read_result, result_paths(tmp_path))}
    assert len(results) == len(methods) * len(cases)
    assert {key for key, r in results.items() if r.status != "ok"} == lost
    assert all("process died" in results[key].error for key in lost)


@pytest.mark.parametrize("half", ["results/dies_writing/.a.json.0.part", "cases/.a.svg.0.part"])
def test_what_a_killed_worker_has_half_written_goes_with_the_run(tmp_path, half):
    """At its end, not only when the same command runs again."""
    command = in_processes(tmp_path, ["steady", "dies_writing"], ["alpha", "beta"], HALF=str(tmp_path / half))
    (tmp_path / half).parent.mkdir(parents=True)
    done = subprocess.run(**command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 jobs failed; the first: dies_writing on alpha (resample, seed 0): error: its process died" in done.stderr
    assert not list(tmp_path.rglob("*.part"))


def check_kills(folder: Path, kills: int, seed: int) -> None:
    """Kills runs at random moments until it has done so `kills` times. Started again as often as it takes, each comes
    to the results of a run that nobody disturbed; no file is ever torn.
    """
    job = {"methods": ["score", "steady"], "cases": ["alpha", "beta", "gamma"], "seeds": 4}
    subprocess.run(**in_processes(folder / "whole", **job), capture_output=True, check=True)
    moments, whole = random.Random(seed), contents(folder / "whole")
    assert len(whole) == 24 + 3 + 3
    n = runs = 0
    while n < kills:
        out = folder / str(runs)
        process = subprocess.Popen(
            **in_processes(out, **job, PACE="0.1"), start_new_session=True, stderr=subprocess.DEVNULL
        )
        before = len(list(result_paths(out)))
        while process.poll() is None and len(list(result_paths(out))) == before:
            time.sleep(0.01)  # not while it is still importing
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, 0.5))
        ended = process.poll() is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        n += not ended
        contents(out)  # reads every file
        if ended or n == kills:
            subprocess.run(**in_processes(out, **job), capture_output=True, check=True)
            assert contents(out) == whole
            assert not list(out.rglob("*.part"))
            runs += 1


def test_killed_and_started_again_it_gives_the_same_results(tmp_path):
    check_kills(tmp_path, kills=2, seed=0)


@pytest.mark.slow
def test_killed_at_fifty_random_moments_it_gives_the_same_results(tmp_path):
    check_kills(tmp_path, kills=50, seed=1)
