"""Backends: the same results from threads, from a Dask cluster that loses a worker, and from Ray."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gaugeblock.programs.errors import GaugeblockError, UnknownName
from gaugeblock.results.files import read_result, result_paths
from gaugeblock.running import backends, runner, workers
from gaugeblock.running.threads import JobTimeout, time_limit
from gaugeblock.running.workers import WorkPlace

SUPPORT = Path(__file__).resolve().parents[2] / "support"
CASES = ["alpha", "beta", "gamma"]
LOCAL = """
import stand_ins
from pathlib import Path
from gaugeblock.running.runner import run
if __name__ == "__main__":
    {before}
    run([stand_ins.METHODS[m] for m in {methods}], {cases}, "out", seeds=range({seeds}), {options})
    {after}
"""
CLUSTER = """from distributed import Client, LocalCluster
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    Path("workers").write_text(" ".join(str(worker.pid) for worker in cluster.workers.values()))"""
needs_dask = pytest.mark.skipif(not importlib.util.find_spec("distributed"), reason="Dask is not installed: [dask]")
needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed: [ray]")


def start(
    folder: Path, methods=("score",), cases=CASES, seeds=1, before="pass", after="pass", options="", **environment
):
    """A run of stand-ins in a process of its own, which writes to folder/out."""
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(
        LOCAL.format(methods=list(methods), cases=list(cases), seeds=seeds, before=before, after=after, options=options)
    )
    paths = {"PYTHONPATH": str(SUPPORT), "STAND_INS": "1", "OMP_NUM_THREADS": "1", "LOG": str(folder / "log")}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script)],
        cwd=folder,
        env=os.environ | paths | environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 300) -> str:
    """Waits for the end of a process and all it has started; returns what it said beside how far it was."""
    try:
        said = process.communicate(timeout=seconds)[1]
        return "".join(line for line in said.splitlines(keepends=True) if not line.startswith("building "))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def outcomes(folder: Path) -> dict[tuple[str, str, int], tuple[str, dict[str, float]]]:
    results = [read_result(path) for path in result_paths(folder / "out")]
    return {(r.method, r.case, r.seed): (r.status, r.edge_scores) for r in results}


@needs_dask
def test_a_dask_worker_that_is_killed_loses_nothing_and_doubles_nothing(tmp_path):
    undisturbed = start(tmp_path / "whole", ("score", "steady"), seeds=4, options="workers=1")
    process = start(
        tmp_path / "killed",
        ("score", "steady"),
        seeds=4,
        before=CLUSTER,
        options="backend='dask', address=cluster.scheduler_address",
        PACE="0.3",
    )
    out, killed = tmp_path / "killed" / "out", 0
    while process.poll() is None and not killed:
        time.sleep(0.02)
        if len(list(result_paths(out))) >= 3:
            killed = int((tmp_path / "killed" / "workers").read_text().split()[0])
            os.kill(killed, signal.SIGKILL)
    said = finish(process)
    assert killed, said
    assert process.returncode == 0, said
    assert finish(undisturbed) == ""
    assert outcomes(tmp_path / "killed") == outcomes(tmp_path / "whole")
    assert len(outcomes(tmp_path / "killed")) == 24
    ran = (tmp_path / "killed" / "log").read_text().splitlines()
    assert len(set(ran)) == 12
    assert len(ran) <= 13  # the one job that was cut off ran twice, at most
    assert not [path for path in out.rglob(".*") if path.suffix in (".part", ".sign")]


@needs_dask
@pytest.mark.slow
def test_a_job_that_kills_every_dask_worker_it_gets_harms_no_other(tmp_path):
    process = start(
        tmp_path, ("steady", "dies_on_beta", "score"), [*CASES, "deadly"], options="backend='dask', workers=2"
    )
    said = finish(process)
    assert process.returncode == 0, said
    outcome_of = outcomes(tmp_path)
    assert len(outcome_of) == 12
    lost = {key[:2] for key, (status, _) in outcome_of.items() if status != "ok"}
    assert lost == {("dies_on_beta", "beta"), *((m, "deadly") for m in ("steady", "dies_on_beta", "score"))}


@needs_dask
def test_a_dask_worker_without_the_folder_says_so(tmp_path):
    missing = "; ".join(["import os, gaugeblock.running.runner as r", "r.write_text = lambda path, text: None"])
    process = start(tmp_path, options="backend='dask', workers=1", before=missing)
    said = finish(process)
    assert process.returncode != 0
    assert "does not see the results folder" in said
    assert "share" in said
    assert outcomes(tmp_path) == {}


@needs_ray
def test_ray_gives_the_same_results(tmp_path):
    undisturbed = start(tmp_path / "whole", seeds=2, options="workers=1")
    process = start(tmp_path / "ray", seeds=2, options="backend='ray', workers=2")
    said = finish(process)
    assert process.returncode == 0, said
    assert finish(undisturbed) == ""
    assert outcomes(tmp_path / "ray") == outcomes(tmp_path / "whole")
    assert len(outcomes(tmp_path / "ray")) == 6


def test_threads_give_the_same_results_and_keep_a_case_to_one_thread(tmp_path):
    undisturbed = start(tmp_path / "whole", seeds=4, options="workers=1")
    process = start(tmp_path / "threads", seeds=4, options="workers=8, backend='threading'")
    assert finish(process) == ""
    assert finish(undisturbed) == ""
    assert outcomes(tmp_path / "threads") == outcomes(tmp_path / "whole")


def test_what_a_backend_cannot_do_is_said_before_anything_runs(tmp_path, monkeypatch):
    def run(**options):
        return runner.run(["oracle"], ["hist"], tmp_path / "out", **options)

    with pytest.raises(UnknownName, match="loky"):
        run(backend="lokey")
    with pytest.raises(GaugeblockError, match="'loky' has no address, 'tcp://here:1' was given"):
        run(address="tcp://here:1")
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    for backend, package in (("dask", "distributed"), ("ray", "ray")):
        with pytest.raises(GaugeblockError, match=rf"needs {package}, which is not .* 'gaugeblock\[{backend}\]'"):
            run(backend=backend)
    assert not (tmp_path / "out").exists()


@needs_dask
def test_a_scheduler_that_does_not_answer_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "SECONDS_FOR_SCHEDULER", 1)
    with pytest.raises(GaugeblockError, match=r"no Dask scheduler can be reached at tcp://127\.0\.0\.1:9"):
        runner.run(["oracle"], ["hist"], tmp_path / "out", backend="dask", address="tcp://127.0.0.1:9")


def test_a_worker_without_the_folder_does_not_write(tmp_path):
    with pytest.raises(GaugeblockError, match=f"does not see the results folder {tmp_path}"):
        workers.run_case([], WorkPlace(sign=str(tmp_path / "sign")))


def test_a_time_limit_holds_in_a_thread_too():
    import threading

    said = []

    def work(seconds: float) -> None:
        try:
            with time_limit(seconds):
                for _ in range(400):
                    try:
                        time.sleep(0.005)
                    except Exception:
                        continue
            said.append("done")
        except JobTimeout:
            said.append("timeout")

    for seconds in (0.1, 60.0):
        thread = threading.Thread(target=work, args=(seconds,))
        thread.start()
        thread.join(30)
    assert said == ["timeout", "done"]


def test_a_time_limit_in_a_thread_leaves_nothing_behind():
    """An exception that CPython still looks for would hang whoever has a profiler, as tracing a program has."""
    code = """
import sys, threading, time
from gaugeblock.running.workers import JobTimeout, time_limit
def work(seconds):
    try:
        with time_limit(seconds):
            time.sleep(0.3)
    except JobTimeout:
        pass
for seconds in (0.1, 9):
    thread = threading.Thread(target=work, args=(seconds,))
    thread.start()
    thread.join()
sys.setprofile(lambda *event: None)
(lambda: None)()
sys.setprofile(None)
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "alive\n", done.stderr
