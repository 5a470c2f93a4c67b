"""What happens in a worker: the jobs of one case, one after the other, each of which leaves a file."""

import dataclasses
import errno
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from gaugeblock.programs.errors import GaugeblockError, WriteError
from gaugeblock.results.files import case_path, certificate_path, holds_case, write_json
from gaugeblock.results.provenance import stamp
from gaugeblock.results.records import Result
from gaugeblock.running.devices import held_device
from gaugeblock.running.jobs import Job, is_done, recorded_hash
from gaugeblock.running.threads import JobTimeout, time_limit

BUILDING = "its process ended while its case was built"
RUNNING = "its process ended before it was done"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


@final
@dataclass(frozen=True)
class WorkPlace:
    """Where jobs run.

    Attributes:
        device: "cpu", "cuda" for any free CUDA device of the worker's machine, or "cuda:1" for that one.
        sign: a file that a worker must see, as proof that it has the results folder; None where it surely has.
    """

    device: str = "cpu"
    sign: str | None = None


def run_case(jobs: list[Job], place: WorkPlace) -> None:
    """Run the jobs of one case. Those that are done are left alone, so that a task can go to another worker.

    Raises GaugeblockError where this machine lacks the results folder or the device, and OSError where nothing can be
    written.
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
        if isinstance(e, OSError) and (isinstance(e, WriteError) or e.errno in FULL):
            raise  # no record could be written either, and the case is all right
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
    from gaugeblock.cases.case import case as load_case
    from gaugeblock.evaluation.case_record import case_record
    from gaugeblock.running.pictures import write_pictures

    case = load_case(job.case)
    path = case_path(job.out, job.case, job.ablation)
    proof = certificate_path(job.out, job.case, [job.ablation])
    if not (holds_case(path, case.hash) and proof.exists()):
        certificate = case.certify([job.ablation])
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
    from gaugeblock.evaluation.evaluate import evaluate

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
    from gaugeblock.evaluation.entrants import entrant

    return Result(
        status=status,
        method=job.name,
        control=entrant(job.method).control,
        case=job.case,
        case_hash=case_hash,
        ablation=job.ablation,
        seed=job.seed,
        **stamp(),
        error=error,
    )


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, GaugeblockError) else f"{type(error).__name__}: {error}"
