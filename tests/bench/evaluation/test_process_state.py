"""What a method changes in its process is put back: no later job and no relative path sees it."""

import gc
import json
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gaugeblock.evaluation.entrants import entrant
from gaugeblock.evaluation.evaluate import evaluate
from gaugeblock.evaluation.process_state import kept_state
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError
from gaugeblock.results.files import result_path
from gaugeblock.running import runner

CHANGES: dict[str, Callable[[], object]] = {
    "directory": lambda: os.chdir("/"),
    "a new variable": lambda: os.environ.update(GAUGEBLOCK_TEST="1"),
    "a changed variable": lambda: os.environ.update(PATH="/nowhere"),
    "a lost variable": lambda: os.environ.pop("PATH"),
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "device": lambda: torch.set_default_device("meta"),
    "gradients": lambda: torch.set_grad_enabled(False),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "cudnn": lambda: setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "floating-point errors": lambda: np.seterr(all="raise"),
    "warnings": lambda: warnings.simplefilter("always"),
    "collector": gc.disable,
    "recursion": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 100),
    "seed of random": lambda: random.seed(1),
    "seed of numpy": lambda: np.random.seed(1),
    "seed of torch": lambda: torch.manual_seed(1),
    "drawing": lambda: (random.random(), np.random.rand(), torch.rand(1)),
}


def state() -> list[Any]:
    """Everything above, read by other words than the code does where there are any."""
    return [
        str(Path.cwd()),
        dict(os.environ),
        torch.zeros(1).dtype,
        str(torch.zeros(1).device),
        torch.zeros(1, requires_grad=True).exp().requires_grad,
        torch.get_num_threads(),
        torch.get_deterministic_debug_mode(),
        torch.backends.cudnn.benchmark,
        torch.is_anomaly_enabled(),
        torch.get_float32_matmul_precision(),
        np.geterr(),
        list(warnings.filters),
        gc.isenabled(),
        sys.getrecursionlimit(),
        np.random.get_state()[1].tolist(),
        np.random.get_state()[2],
        torch.get_rng_state().tolist(),
    ]


def state_with_random() -> list[Any]:
    """The same with the generator of `random`, from which beartype draws in tests, wherever arrays are checked."""
    return [*state(), random.getstate()]


def ones(task: Task) -> dict[str, float]:
    return dict.fromkeys(task.graph.edges, 1.0)


@pytest.fixture(autouse=True, scope="module")
def libraries() -> None:
    """Libraries that set variables of their own when they are first used have done so."""
    evaluate(ones, "hist@v2n3")


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_what_a_method_changes_is_put_back(what: str, ends: str) -> None:
    seen = []

    def method(task: Task) -> dict[str, float]:
        before = state_with_random()
        CHANGES[what]()
        seen.append(state_with_random() != before if what != "device" else True)
        if ends == "with an error":
            raise RuntimeError("it broke")
        if what == "device":
            torch.set_default_device("cpu")
        return ones(task)

    before = state()
    if ends == "well":
        assert evaluate(method, "hist@v2n3").status == "ok"
    else:
        with pytest.raises(MethodError, match="it broke"):
            evaluate(method, "hist@v2n3")
    assert seen == [True]
    assert state() == before


@pytest.mark.parametrize("what", CHANGES)
def test_what_the_file_of_a_method_changes_is_put_back(what: str) -> None:
    before = state_with_random()
    with kept_state():
        with kept_state():  # the inner one leaves it to the outer one
            CHANGES[what]()
        if what == "dtype":
            assert torch.zeros(1).dtype == torch.float64
    assert state_with_random() == before


def test_a_file_changes_the_process_for_its_own_method_only(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import os, torch\n"
        "torch.set_default_dtype(torch.float64)\n"
        "os.chdir('/')\n"
        "def mine(task):\n"
        "    assert torch.zeros(1).dtype == torch.float64 and os.getcwd() == '/'\n"
        "    return {edge: 1.0 for edge in task.graph.edges}\n"
    )
    before = state()
    entrant(f"{file}:mine")
    assert state() == before
    assert evaluate(f"{file}:mine", "hist@v2n3", resamples=0).status == "ok"
    assert state() == before


def test_a_relative_folder_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import os\nos.chdir('/')\n"
        "def mine(task):\n    os.chdir('/')\n    return dict.fromkeys(task.graph.edges, 1.0)\n"
    )
    results = runner.run(["mine.py:mine", "all"], ["hist@v2n3"], "out", workers=1)
    assert [r.status for r in results] == ["ok", "ok"]
    assert Path.cwd() == tmp_path
    path = result_path(tmp_path / "out", "mine", "hist@v2n3", "resample", 0)
    assert json.loads(path.read_text())["status"] == "ok"


def test_global_draws_depend_on_case_and_seed_and_on_nothing_before() -> None:
    def draws(task: Task) -> dict[str, float]:
        drawn.append((random.random(), float(np.random.rand()), float(torch.rand(1))))
        return ones(task)

    drawn: list[tuple[float, ...]] = []
    for case, seed in [("hist@v2n3", 0), ("hist@v2n3", 1), ("hist@v3n3", 0), ("hist@v2n3", 0)]:
        evaluate(draws, case, seed=seed)
        random.random(), np.random.rand(), torch.rand(1)
    assert drawn[0] == drawn[3]
    assert all(len(set(column)) == 3 for column in zip(*drawn, strict=True))
    evaluate(draws, "hist@v2n3", resamples=3)
    assert drawn[4] == drawn[0]
    assert len(set(drawn[4:])) == 4


def test_jobs_in_threads_leave_what_was_before_the_first() -> None:
    inside, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with kept_state(1):
            os.chdir("/")
            torch.set_default_dtype(torch.float64)
            inside.set()
            assert may_end.wait(10)

    before = state()
    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with kept_state(2):  # begins with what the first has changed
        os.environ["GAUGEBLOCK_TEST"] = "1"
        may_end.set()
        thread.join()
        assert torch.zeros(1).dtype == torch.float32
    assert state() == before


def test_a_directory_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    with kept_state():
        os.chdir(gone)
        gone.rmdir()
    assert Path.cwd() == tmp_path
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    with kept_state():
        pass
