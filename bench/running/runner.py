"""Running methods on cases: every (method, case, seed) is a job that writes one file as soon as it is done.

The same command again does what is missing and nothing else, after a kill at any moment too.
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, final, overload
from uuid import uuid4

from gaugeblock.compiled.writing import write_text
from gaugeblock.evaluation.scores import check_resamples
from gaugeblock.programs.errors import FileError, GaugeblockError, WriteError, check_seed
from gaugeblock.results.failures import failures_text
from gaugeblock.results.files import check_folders, read_result, remove_leftovers, result_fields
from gaugeblock.results.records import Result
from gaugeblock.running.backends import CLUSTERS, Pool, checked, opened
from gaugeblock.running.devices import chosen_device
from gaugeblock.running.jobs import Job, pending, started
from gaugeblock.running.progress import progress
from gaugeblock.running.workers import BUILDING, WorkPlace, record, run_case
from gaugeblock.suites.suites import case_ids

if TYPE_CHECKING:
    from gaugeblock.evaluation.entrants import MethodLike

DIED = "its process died: killed by the system, or out of memory"
SIGN_FILE = ".run.{}.sign"
Update = Callable[[int], object]


@final
class Results(Sequence[Result]):
    """The results of a run, case by case. Each is read from its file when it is asked for, so that any number fits."""

    def __init__(self, jobs: Sequence[Job], failed: Sequence[Result] = ()) -> None:
        """`failed`: those that are no scores but a reason."""
        self._jobs = jobs
        self.failed = failed

    def __len__(self) -> int:
        return len(self._jobs)

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> "Results": ...

    def __getitem__(self, index: int | slice) -> "Result | Results":
        """Read one result, or take several. FileError where a file has gone since."""
        return Results(self._jobs[index]) if isinstance(index, slice) else read_result(self._jobs[index].file)

    def __repr__(self) -> str:
        return f"<{len(self)} results in {self._jobs[0].out if self._jobs else 'no folder'}>"


def run(
    methods: Sequence["MethodLike"],
    suite: str | Sequence[str],
    out: str | Path,
    ablation: str = "resample",
    seeds: Sequence[int] = (0,),
    workers: int | None = None,
    time_limit: float | int | None = None,
    resamples: int = 0,
    backend: str = "loky",
    address: str | None = None,
    device: str = "cpu",
) -> Results:
    """Run every method on every case of a suite and write the results to a folder.

    Jobs whose result is there already, of the same case, parameters, seed and code, are not run again. A job
    that fails is recorded as failed and harms no other, not even when it takes its process down.

    Args:
        methods: registered names, "file.py:function", or functions.
        suite: a suite or a case id, or several of them.
        out: folder of the results; made if missing. On a cluster, one that all machines share.
        ablation: what an ablated edge carries: "resample", "donor", "mean" or "zero".
        seeds: for methods and ablations that draw at random.
        workers: processes or threads; by default one per CPU core, or per CUDA device. 1 runs everything in this
            process. A cluster with an address has its own number.
        time_limit: seconds per job, after which its status is "timeout". Unix only.
        resamples: of the pairs, to measure how stable each method is; see `gaugeblock.evaluate`.
        backend: "loky" (processes of this machine), "threading", "dask" or "ray".
        address: of a Dask scheduler or a Ray cluster; without one, a cluster of this machine is started.
        device: where models run: "cpu", "cuda" (all CUDA devices, one job at a time on each), "cuda:1", or "auto".

    Returns:
        One result per job, case by case; each is read when it is asked for.

    Raises:
        GaugeblockError: something is impossible about the run as a whole; nothing has run then. Or its cluster or
            a shared folder was lost, or its disk is full; what is done is kept.

    >>> results = gb.run(methods=["eap", "acdc"], suite="quick", out="results")  # doctest: +SKIP
    >>> [(result.case, result.scores["skill"]) for result in results]  # doctest: +SKIP
    """
    for seed in seeds:
        check_seed(seed)
    checked(backend, address)
    if backend == "threading" and time_limit is not None:
        raise GaugeblockError("a time limit needs processes as workers, not threads; leave it out, or use 'loky'")
    jobs = _plan(methods, suite, out, ablation, seeds, time_limit, resamples)
    device = chosen_device(device, here=address is None)
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 1:
        raise GaugeblockError(f"{workers} workers cannot run anything; give at least 1")
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        remove_leftovers(out)
        if todo := pending(jobs):
            for job in todo:
                if started(job) is not None:  # by a run that was killed: it says nothing about this one
                    Path(job.file).unlink()
            with opened(backend, workers, address, device) as pool, _sign(jobs[0].out, backend) as sign:
                lost = _run_all(todo, pool, WorkPlace(device, sign), split=backend != "threading")
            for job in lost:  # again: a cluster may have had one more worker at it than it knew
                if started(job) is not None:
                    record(job, "error", DIED)
            remove_leftovers(out)  # of workers that died while they wrote
    except WriteError as e:
        raise FileError(f"{e}; what is done is kept, and the same command again does the rest") from e
    except OSError as e:
        raise FileError(f"cannot write results to {e.filename or out}: {e.strerror or e}") from e
    results = Results(jobs, _failed(todo))
    if results.failed:
        where = f"`gaugeblock report {out}` shows them all"
        print(f"gaugeblock: {failures_text(results.failed, where)}", file=sys.stderr)
    return results


def _failed(jobs: Sequence[Job]) -> list[Result]:
    """The records of those jobs that have one and failed."""
    ends = ((job, result_fields(job.file, ["status"])) for job in jobs)
    return [read_result(job.file) for job, fields in ends if fields is not None and fields["status"] != "ok"]


def _plan(
    methods: Sequence["MethodLike"],
    suite: str | Sequence[str],
    out: str | Path,
    ablation: str,
    seeds: Sequence[int],
    time_limit: float | int | None,
    resamples: int,
) -> list[Job]:
    """All jobs, case by case. What can be known to be wrong is refused here, before anything runs."""
    from gaugeblock.evaluation.entrants import entrant
    from gaugeblock.methods.engine.ablation import check_ablation

    check_ablation(ablation)
    if time_limit is not None and not (time_limit > 0 and hasattr(signal, "setitimer")):
        raise GaugeblockError(f"a time limit of {time_limit} s is impossible: positive, and on a Unix system only")
    check_resamples(resamples)
    methods = [methods] if isinstance(methods, str) else methods
    ids = case_ids([suite] if isinstance(suite, str) else suite)
    if not (methods and ids and seeds):
        raise GaugeblockError(f"nothing to run: {len(methods)} methods, {len(ids)} cases, {len(seeds)} seeds given")
    named = {entrant(m).name: _anywhere(m) for m in methods}
    if len(named) < len(methods):
        raise GaugeblockError(f"two of the methods have the same name; they are {', '.join(sorted(named))}")
    folder = str(Path(out).absolute())
    check_folders(folder, named)
    jobs = [
        Job.of(method, name, case, ablation, seed, folder, time_limit, resamples)
        for case in ids
        for name, method in named.items()
        for seed in dict.fromkeys(seeds)
    ]
    if len({job.file.casefold() for job in jobs}) < len(jobs):
        raise GaugeblockError(f"two of these cases would write the same files: {', '.join(sorted(ids))[:1000]}")
    return jobs


def _anywhere(method: "MethodLike") -> "MethodLike":
    """A "file.py:function" that means the same in a worker, which need not be in this folder."""
    if not isinstance(method, str):
        return method
    file, colon, function = method.rpartition(":")
    return f"{Path(file).absolute()}:{function}" if colon and file.endswith(".py") else method


@contextmanager
def _sign(out: str, backend: str) -> Iterator[str | None]:
    """A file in the results folder that the workers of a cluster have to see."""
    if backend not in CLUSTERS:
        yield None
        return
    for left in Path(out).glob(SIGN_FILE.format("*")):
        left.unlink(missing_ok=True)
    path = Path(out) / SIGN_FILE.format(uuid4().hex)
    write_text(path, "A run is writing to this folder; its workers look for this file.\n")
    try:
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def _run_all(jobs: list[Job], pool: Pool, place: WorkPlace, split: bool) -> list[Job]:
    """Run jobs; returns those that took their process down."""
    import torch

    died: list[Job] = []
    threads = torch.get_num_threads()
    tasks = _split(jobs, pool.workers if split else 1)
    try:
        cases = len({job.case for job in jobs})
        with progress(f"building {cases} case{'s' * (cases != 1)}, running", len(jobs), "job") as update:
            while tasks:
                left = _run_tasks(tasks, pool, place, update)
                # A job took its process down, and maybe others with it. Whatever was under way then runs alone, so
                # that the culprit shows; the rest runs side by side again.
                begun = [any(map(started, task)) for task in left]
                suspects = [task for task, has in zip(left, begun) if has or not any(begun)]
                tasks = [task for task, has in zip(left, begun) if any(begun) and not has]
                for task in suspects:
                    died += _run_alone(task, pool, place, update)
    finally:
        torch.set_num_threads(threads)  # jobs in this process have set it to 1
    return died


def _run_tasks(tasks: list[list[Job]], pool: Pool, place: WorkPlace, update: Update) -> list[list[Job]]:
    """Run tasks; returns those that a worker's death has left without an end."""
    left = dict(enumerate(tasks))
    with warnings.catch_warnings():
        # loky replaces a worker that has grown large, which loses nothing and is no news
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        for done in pool.run([partial(run_case, task, place) for task in tasks]):
            update(len(left.pop(done)))
    if left and not pool.alive():
        raise GaugeblockError("the cluster is gone; what is done is kept, and the same command again does the rest")
    return list(left.values())


def _run_alone(task: list[Job], pool: Pool, place: WorkPlace, update: Update) -> list[Job]:
    """Run the jobs of one case. Where its process dies, the job that was under way is recorded, and the rest goes on.

    Returns those that took their process down.
    """
    died: list[Job] = []
    while task and _run_tasks([task], pool, place, update):
        at = next((i for i, job in enumerate(task) if started(job) is not None), None)
        lost = task if at is None or started(task[at]) == BUILDING else [task[at]]
        for job in lost:
            record(job, "error", DIED)
        task = [job for job in task if job not in lost]
        update(len(lost))
        died += lost
    return died


def _split(jobs: list[Job], workers: int) -> list[list[Job]]:
    """One task per case, so that its model is built once; more only where workers would have nothing to do."""
    cases = [list(group) for _, group in groupby(jobs, key=lambda job: job.case)]
    parts = -(-workers // max(1, len(cases)))
    return [part for case in cases for i in range(parts) if (part := case[i::parts])]
