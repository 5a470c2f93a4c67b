"""Runs methods on cases: every (method, case, seed) is a job that writes one file as soon as it is done.

The same command again does what is missing and nothing else, after a kill at any moment too.
"""

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from gaugeblock.environment import checkout, versions
from gaugeblock.programs.errors import FileError, GaugeblockError, UnknownName
from gaugeblock.results import (
    Result,
    case_path,
    certificate_path,
    read_case,
    read_result,
    remove_leftovers,
    result_path,
    write_json,
)

Given = str | Callable[..., dict[str, float]]


@dataclass(frozen=True)
class Job:
    """A method (a registered name, "file.py:function" or a function) on a case with a seed."""

    method: Given
    name: str
    case: str
    ablation: str
    seed: int
    out: str
    time_limit: float | int | None
    resamples: int

    @property
    def path(self) -> Path:
        return result_path(self.out, self.name, self.case, self.ablation, self.seed)


class JobTimeout(BaseException):
    """The time of a job is over. Not an Exception, so that no handler of the method's own holds it up."""


def run(
    methods: Sequence[Given],
    suite: str | Sequence[str],
    out: str | Path,
    ablation: str = "resample",
    seeds: Sequence[int] = (0,),
    workers: int | None = None,
    time_limit: float | int | None = None,
    resamples: int = 0,
    backend: str = "loky",
) -> list[Result]:
    """Run every method on every case of a suite and write the results to a folder.

    Jobs whose result is there already, of the same case, parameters, seed and code, are not run again. A job
    that fails is recorded as failed and harms no other, not even when it takes its process down.

    Args:
        methods: registered names, "file.py:function", or functions.
        suite: a suite or a case id, or several of them.
        out: folder of the results; made if missing.
        ablation: what an ablated edge carries: "resample", "donor", "mean" or "zero".
        seeds: for methods and ablations that draw at random.
        workers: processes; by default one per CPU core. 1 runs everything in this process.
        time_limit: seconds per job, after which its status is "timeout". Unix only.
        resamples: of the pairs, to measure how stable each method is; see `gaugeblock.evaluate`.
        backend: of joblib: "loky" for processes on this machine, or one that is registered with joblib.

    Returns:
        One result per job, case by case.

    Raises:
        GaugeblockError: something is impossible about the run as a whole; nothing has run then.
    """
    jobs = _plan(methods, suite, out, ablation, seeds, time_limit, resamples)
    workers = workers if workers is not None else os.cpu_count() or 1
    if workers < 1:
        raise GaugeblockError(f"{workers} workers cannot run anything; give at least 1")
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        remove_leftovers(out)
        _run_all(jobs, workers, backend)
    except OSError as e:
        raise FileError(f"cannot write results to {out}: {e}") from e
    return [read_result(job.path) for job in jobs]


def _plan(
    methods: Sequence[Given],
    suite: str | Sequence[str],
    out: str | Path,
    ablation: str,
    seeds: Sequence[int],
    time_limit: float | int | None,
    resamples: int,
) -> list[Job]:
    """All jobs, case by case. What can be known to be wrong is refused here, before anything runs."""
    from gaugeblock.entrants import entrant
    from gaugeblock.truth import ABLATIONS

    if ablation not in ABLATIONS:
        raise UnknownName("ablation", ablation, ABLATIONS)
    if time_limit is not None and not (time_limit > 0 and hasattr(signal, "setitimer")):
        raise GaugeblockError(f"a time limit of {time_limit} s is impossible: positive, and on a Unix system only")
    if resamples < 0 or resamples == 1:
        raise GaugeblockError(f"{resamples} resamples cannot be compared; give 0, or at least 2")
    methods = [methods] if isinstance(methods, str) else methods
    ids = case_ids([suite] if isinstance(suite, str) else suite)
    if not (methods and ids and seeds):
        raise GaugeblockError(f"nothing to run: {len(methods)} methods, {len(ids)} cases, {len(seeds)} seeds given")
    named = {entrant(m).name: m for m in methods}
    if len(named) < len(methods):
        raise GaugeblockError(f"two of the methods have the same name; they are {', '.join(sorted(named))}")
    jobs = [
        Job(method, name, case, ablation, seed, str(out), time_limit, resamples)
        for case in ids
        for name, method in named.items()
        for seed in dict.fromkeys(seeds)
    ]
    if len({job.path for job in jobs}) < len(jobs):
        raise GaugeblockError(
            f"two of these methods would write the same files; rename one: {', '.join(sorted(named))}"
        )
    return jobs


def case_ids(given: Sequence[str]) -> list[str]:
    """The case ids behind names of suites and ids of cases, each once. Raises UnknownName or CaseError."""
    from gaugeblock.cases import Recipe
    from gaugeblock.programs.registry import get, names
    from gaugeblock.suites import SUITES

    ids: list[str] = []
    for name in given:
        if name in SUITES:
            ids += SUITES[name]
            continue
        recipe = Recipe.parse(name)
        try:
            get(recipe.program)
        except UnknownName:
            raise UnknownName("suite or program", recipe.program, [*SUITES, *names()]) from None
        ids.append(recipe.id)
    return list(dict.fromkeys(ids))


def _run_all(jobs: list[Job], workers: int, backend: str) -> None:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        _run_tasks(_split(jobs, workers), workers, backend)
    except TerminatedWorkerError:
        # A job took its process down, and all others with it. What is left runs one case at a time, so that
        # the culprit shows: the first job of a case that was started and not done.
        for task in _split(jobs, workers=1):
            while task:
                try:
                    _run_tasks([task], 2, backend)  # with one worker joblib would stay in this process
                    break
                except TerminatedWorkerError:
                    culprit = next((i for i, job in enumerate(task) if _status(job) == "started"), None)
                    lost = task if culprit is None else [task[culprit]]
                    for job in lost:
                        _record(job, "error", "its process died: killed by the system, or out of memory")
                    task = [] if culprit is None else task[:culprit] + task[culprit + 1 :]


def _run_tasks(tasks: list[list[Job]], workers: int, backend: str) -> None:
    from joblib import Parallel, delayed
    from tqdm import tqdm

    parallel = Parallel(n_jobs=workers, backend=backend, batch_size=1, return_as="generator_unordered")
    with tqdm(total=sum(map(len, tasks)), unit="job", desc="running", disable=None) as bar, warnings.catch_warnings():
        # loky replaces a worker that has grown large, which loses nothing and is no news
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        for done in parallel(delayed(_run_case)(task) for task in tasks):
            bar.update(done)


def _split(jobs: list[Job], workers: int) -> list[list[Job]]:
    """One task per case, so that its model is built once; more only where workers would have nothing to do."""
    cases = [list(group) for _, group in groupby(jobs, key=lambda job: job.case)]
    parts = -(-workers // max(1, len(cases)))
    return [part for case in cases for i in range(parts) if (part := case[i::parts])]


def _run_case(jobs: list[Job]) -> int:
    """In a worker: the jobs of one case, one after the other. Returns how many."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        try:
            case, case_hash = _case(jobs[0])
        except Exception as e:
            for job in jobs:
                _record(job, "error", f"the case could not be built: {_message(e)}")
            return len(jobs)
        for job in jobs:
            if not _is_done(job, case_hash):
                _record(job, "started", "its process ended before it was done")
                write_json(job.path, _result(job, case, case_hash))
        return len(jobs)
    finally:
        torch.set_num_threads(threads)


def _case(job: Job) -> tuple[Any, str]:
    """The case of a job, with its record, certificate and pictures written, unless the same one is there."""
    from gaugeblock.cases import case as load_case
    from gaugeblock.certificate import certify
    from gaugeblock.evaluation import case_record
    from gaugeblock.pictures.of_case import write_pictures

    case = load_case(job.case)
    path = case_path(job.out, job.case, job.ablation)
    proof = certificate_path(job.out, job.case, [job.ablation])
    try:
        known = read_case(path).hash == case.hash and proof.exists()
    except FileError:
        known = False
    if not known:
        certificate = certify(case, [job.ablation])
        certificate.write(proof)
        pictures = write_pictures(case, job.out)
        write_json(path, case_record(case, job.ablation, certificate).model_copy(update={"pictures": pictures}))
    return case, case.hash


def _result(job: Job, case: Any, case_hash: str) -> Result:
    from gaugeblock.evaluation import evaluate

    try:
        with time_limit(job.time_limit):
            return evaluate(job.method, case, ablation=job.ablation, seed=job.seed, resamples=job.resamples)
    except JobTimeout:
        return _failed(job, "timeout", f"not done after {job.time_limit:g} s", case_hash)
    except Exception as e:
        return _failed(job, "error", _message(e), case_hash)


def _is_done(job: Job, case_hash: str) -> bool:
    """Whether a result is there that running the job again would give again."""
    from gaugeblock.entrants import entrant

    try:
        old = read_result(job.path)
    except FileError:
        return False
    method = entrant(job.method)
    same_method = (old.method, old.params, old.method_source) == (method.name, method.params({}), method.source)
    same_job = (old.case, old.ablation, old.seed, old.resamples, old.case_hash) == (
        job.case,
        job.ablation,
        job.seed,
        job.resamples,
        case_hash,
    )
    return old.status == "ok" and same_method and same_job and old.versions == versions()


def _record(job: Job, status: Any, error: str) -> None:
    write_json(job.path, _failed(job, status, error, None))


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


def _status(job: Job) -> str | None:
    try:
        return read_result(job.path).status
    except FileError:
        return None


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, GaugeblockError) else f"{type(error).__name__}: {error}"


@contextmanager
def time_limit(seconds: float | int | None) -> Iterator[None]:
    if seconds is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise GaugeblockError("a time limit needs processes as workers, not threads; leave it out or use 'loky'")

    def stop(*_: object) -> None:
        raise JobTimeout

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # again, should an exception get lost in a callback
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
