"""What happens in a worker: the jobs of one case, one after the other, each of which leaves a file."""

import ctypes
import dataclasses
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from gaugeblock.environment import checkout, versions
from gaugeblock.programs.errors import GaugeblockError
from gaugeblock.results import Result, case_path, certificate_path, holds_case, write_json
from gaugeblock.running.devices import held_device
from gaugeblock.running.jobs import Job, is_done, recorded_hash

BUILDING = "its process ended while its case was built"
RUNNING = "its process ended before it was done"


class JobTimeout(BaseException):
    """The time of a job is over. Not an Exception, so that no handler of the method's own holds it up."""


@final
@dataclass(frozen=True)
class Place:
    """Where jobs run.

    Attributes:
        device: "cpu", "cuda" for any free CUDA device of the worker's machine, or "cuda:1" for that one.
        sign: a file that a worker must see, as proof that it has the results folder; None where it surely has.
    """

    device: str = "cpu"
    sign: str | None = None


def run_case(jobs: list[Job], place: Place) -> None:
    """The jobs of one case. Those that are done are left alone, so that a task can be given to another worker.

    Raises GaugeblockError where this machine lacks the results folder or the device.
    """
    import torch

    torch.set_num_threads(1)
    if place.sign is not None and not Path(place.sign).exists():
        folder = Path(place.sign).parent
        raise GaugeblockError(
            f"a worker on {socket.gethostname()} does not see the results folder {folder}: workers write the results, "
            "so a cluster needs a folder that all its machines share, under one path"
        )
    known = recorded_hash(jobs[0])
    todo = [job for job in jobs if not is_done(job, known)]
    if todo:
        record(todo[0], "started", BUILDING)
    try:
        case, case_hash = _case(jobs[0])
    except Exception as e:
        for job in todo:
            record(job, "error", f"the case could not be built: {_message(e)}")
        return
    with held_device(place.device) as device:
        case = _moved(case, device)
        for job in jobs:
            if not is_done(job, case_hash):
                record(job, "started", RUNNING)
                write_json(job.file, _result(job, case, case_hash))


def _case(job: Job) -> tuple[Any, str]:
    """The case of a job, with its record, certificate and pictures written, unless the same one is there."""
    from gaugeblock.cases import case as load_case
    from gaugeblock.certificate import certify
    from gaugeblock.evaluation import case_record
    from gaugeblock.pictures.of_case import write_pictures

    case = load_case(job.case)
    path = case_path(job.out, job.case, job.ablation)
    proof = certificate_path(job.out, job.case, [job.ablation])
    if not (holds_case(path, case.hash) and proof.exists()):
        certificate = certify(case, [job.ablation])
        certificate.write(proof)
        pictures = write_pictures(case, job.out)
        write_json(path, case_record(case, job.ablation, certificate).model_copy(update={"pictures": pictures}))
    return case, case.hash


def _moved(case: Any, device: str) -> Any:
    """The case with its model on a device. What is known of the case was computed on the CPU and comes along."""
    if device == "cpu":
        return case
    moved = dataclasses.replace(case, model=dataclasses.replace(case.model, device=device))
    vars(moved).update({name: known for name, known in vars(case).items() if name not in vars(moved)})
    return moved


def _result(job: Job, case: Any, case_hash: str) -> Result:
    from gaugeblock.evaluation import evaluate

    try:
        with time_limit(job.time_limit):
            return evaluate(job.method, case, ablation=job.ablation, seed=job.seed, resamples=job.resamples)
    except JobTimeout:
        return _failed(job, "timeout", f"not done after {job.time_limit:g} s", case_hash)
    except Exception as e:
        return _failed(job, "error", _message(e), case_hash)


def record(job: Job, status: Any, error: str) -> None:
    """Write a job's result that says how it ended, or that it has begun."""
    write_json(job.file, _failed(job, status, error, None))


def _failed(job: Job, status: Any, error: str, case_hash: str | None) -> Result:
    from gaugeblock.entrants import entrant

    commit, dirty = checkout()
    return Result(
        status=status,
        method=job.name,
        control=entrant(job.method).control,
        case=job.case,
        case_hash=case_hash,
        ablation=job.ablation,
        seed=job.seed,
        versions=versions(),
        commit=commit,
        dirty=dirty,
        error=error,
    )


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, GaugeblockError) else f"{type(error).__name__}: {error}"


@contextmanager
def time_limit(seconds: float | int | None) -> Iterator[None]:
    """Raises JobTimeout in the body when its time is over, and again every second, should the first get lost.

    In the main thread by a signal, which also wakes a sleep. In another thread between two steps of Python: what is
    inside a library then is stopped when it returns.
    """
    if seconds is None:
        yield
    elif threading.current_thread() is threading.main_thread():
        with _alarm(seconds):
            yield
    else:
        with _watch(seconds):
            yield


@contextmanager
def _alarm(seconds: float | int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise JobTimeout

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextmanager
def _watch(seconds: float | int) -> Iterator[None]:
    worker = ctypes.c_ulong(threading.get_ident())
    raise_there = ctypes.pythonapi.PyThreadState_SetAsyncExc
    over, one_at_a_time = threading.Event(), threading.Lock()

    def stop() -> None:
        wait = float(seconds)
        while not over.wait(wait):
            with one_at_a_time:
                if not over.is_set():
                    raise_there(worker, ctypes.py_object(JobTimeout))
            wait = 1.0

    threading.Thread(target=stop, daemon=True).start()
    try:
        yield
    finally:
        while not over.is_set():
            with suppress(JobTimeout), one_at_a_time:
                over.set()
        # One may still be on its way. CPython cannot take it back: it would go on looking for it, and a thread with a
        # profiler would hang. So another takes its place, and arrives here.
        with suppress(JobTimeout):
            raise_there(worker, ctypes.py_object(JobTimeout))
            while True:
                time.sleep(0)
