"""CUDA devices: which are meant, and one job at a time on each. The devices are made up, but for the last test."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from gaugeblock.cases.case import case
from gaugeblock.programs.errors import GaugeblockError
from gaugeblock.running import devices, runner
from gaugeblock.running.backends import opened
from gaugeblock.running.devices import chosen_device, devices_of, held_device
from gaugeblock.running.workers import _moved


@pytest.fixture
def two(monkeypatch, tmp_path):
    """A machine with two devices, and locks of its own."""
    monkeypatch.setattr(devices, "visible_devices", lambda: ("cuda:0", "cuda:1"))
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_what_a_choice_stands_for(two):
    assert chosen_device("auto") == "cuda"
    assert devices_of("cuda") == ("cuda:0", "cuda:1")
    assert devices_of(chosen_device("cuda:1")) == ("cuda:1",)
    assert devices_of("cpu") == ("cpu",)
    assert chosen_device("cuda:7", here=False) == "cuda:7"  # a worker elsewhere may have it
    with pytest.raises(GaugeblockError, match=r"'cuda:2' is not on this machine: its CUDA devices are cuda:0, cuda:1"):
        chosen_device("cuda:2")
    for wrong in ("gpu", "cuda:", "cuda:-1", "mps"):
        with pytest.raises(GaugeblockError, match="is not possible; give cpu, cuda"):
            chosen_device(wrong)


def test_a_machine_without_devices_says_so_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "visible_devices", lambda: ())
    assert chosen_device("auto") == "cpu"
    with pytest.raises(GaugeblockError, match="it has no CUDA device"):
        runner.run(["oracle"], ["hist"], tmp_path / "out", device="cuda")
    assert not (tmp_path / "out").exists()


def test_there_are_no_more_workers_than_devices(two):
    for device, expected in (("cuda", 2), ("cuda:0", 1), ("cpu", 8)):
        with opened("loky", 8, device=device) as pool:
            assert pool.workers == expected


def test_one_job_at_a_time_on_each_device(two):
    held, most, used, guard = {"cuda:0": 0, "cuda:1": 0}, [], set(), threading.Lock()

    def job() -> None:
        with held_device("cuda") as device:
            with guard:
                held[device] += 1
                used.add(device)
                most.append(max(held.values()))
            time.sleep(0.02)
            with guard:
                held[device] -= 1

    threads = [threading.Thread(target=job) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 10
    assert set(most) == {1}
    assert used == {"cuda:0", "cuda:1"}


def test_a_device_is_free_again_when_its_process_is_killed(two, tmp_path):
    code = (
        "import time; from gaugeblock.running import devices; devices.visible_devices = lambda: ('cuda:0',)\n"
        "with devices.held_device('cuda') as device: print(device, flush=True); time.sleep(600)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "cuda:0\n"
        with held_device("cuda") as other:
            assert other == "cuda:1"
        os.kill(process.pid, signal.SIGKILL)
    with held_device("cuda:0") as device:
        assert device == "cuda:0"


def test_locks_are_of_hardware_and_not_of_how_a_process_counts_it(two, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8932f937")
    assert [devices._lock_file(d).name for d in ("cuda:0", "cuda:1")] == ["3.lock", "GPU-8932f937.lock"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices._lock_file("cuda:3").name == "3.lock"


def test_a_case_that_moves_keeps_what_was_computed_on_the_cpu():
    here = case("first_token@v2n2")
    pairs, truth, digest = here.pairs, here.truth("mean"), here.weights_hash
    moved = _moved(here, "meta")
    assert vars(moved).keys() == vars(here).keys()
    assert (moved.id, moved.weights_hash) == (here.id, digest)
    assert moved.pairs is pairs
    assert moved.truth("mean") is truth
    assert (moved.model.device, here.model.device) == ("meta", "cpu")
    assert _moved(here, "cpu") is here


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_scores_of_a_device_are_those_of_the_cpu(tmp_path):
    methods, cases = ["oracle", "weights", "eap", "edge_patching", "random"], ["hist", "frac_prevs/permute+pad+soft#1"]
    there = runner.run(methods, cases, tmp_path / "cuda", device="cuda", workers=1)
    here = runner.run(methods, cases, tmp_path / "cpu", workers=1)
    for a, b in zip(there, here, strict=True):
        assert (a.status, b.status) == ("ok", "ok"), a.error or b.error
        assert a.device.startswith("cuda:")
        assert a.case_hash == b.case_hash
        assert a.edge_scores == pytest.approx(b.edge_scores, abs=max(a.noise, b.noise) * 10, rel=1e-3)
