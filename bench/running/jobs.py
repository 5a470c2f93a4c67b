"""A job, and whether its result is there: what a run that is started again need not do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from pydantic import TypeAdapter

from gaugeblock.programs.errors import GaugeblockError
from gaugeblock.programs.registry import get
from gaugeblock.results.files import case_hash, case_path, certificate_path, result_fields, result_path
from gaugeblock.results.provenance import versions

if TYPE_CHECKING:
    from gaugeblock.evaluation.entrants import MethodLike

_PARAMS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@final
@dataclass(frozen=True, slots=True)
class Job:
    """A method on a case with a seed.

    `file` is where its result goes; a run may have 10⁵ jobs, and making a path takes longer than reading a file.
    """

    method: "MethodLike"
    name: str
    case: str
    ablation: str
    seed: int
    out: str
    file: str
    time_limit: float | int | None
    resamples: int

    @staticmethod
    def of(
        method: "MethodLike",
        name: str,
        case: str,
        ablation: str,
        seed: int,
        out: str,
        time_limit: float | int | None = None,
        resamples: int = 0,
    ) -> "Job":
        """A job, and the file of its result in the folder `out`."""
        file = str(result_path(out, name, case, ablation, seed))
        return Job(method, name, case, ablation, seed, out, file, time_limit, resamples)


def is_done(job: Job, case_hash: str | None, method: dict[str, Any] | None = None) -> bool:
    """Whether a whole result is there that running the job again would give again: of this case, method and code.

    Reads the two ends of the file, not the scores between them. The device may be another one.

    Args:
        case_hash: of the case as it is now; None where that is not known, and then the job is not done.
        method: `described` of the job's method, where many jobs share it.
    """
    if case_hash is None:
        return False
    wanted = {
        "status": "ok",
        **(method if method is not None else described(job.method)),
        "case": job.case,
        "case_hash": case_hash,
        "ablation": job.ablation,
        "seed": job.seed,
        "resamples": job.resamples,
        "versions": versions(),
    }
    return result_fields(job.file, list(wanted)) == wanted


def started(job: Job) -> str | None:
    """How far the job has come where it has begun and not ended; else None."""
    fields = result_fields(job.file, ["status", "error"])
    return str(fields["error"]) if fields is not None and fields["status"] == "started" else None


def recorded_hash(job: Job) -> str | None:
    """The hash of the case as its record in the results folder says it; None where it or a certificate is missing."""
    if not certificate_path(job.out, job.case, [job.ablation]).exists():
        return None
    return case_hash(case_path(job.out, job.case, job.ablation))


def pending(jobs: Iterable[Job]) -> list[Job]:
    """The jobs that are not done, in their order. Builds no case.

    Our own programs are part of the code whose fingerprint is in a result's versions, so a result of the code that
    runs now is of the case that this code would build. The cases of other programs are built anew by a worker, which
    then sees what is done.
    """
    hashes: dict[str, str | None] = {}
    methods: dict[str, dict[str, Any]] = {}
    todo = []
    for job in jobs:
        if job.case not in hashes:
            hashes[job.case] = recorded_hash(job) if is_ours(job.case) else None
        if job.name not in methods:
            methods[job.name] = described(job.method)
        if not is_done(job, hashes[job.case], methods[job.name]):
            todo.append(job)
    return todo


def is_ours(case: str) -> bool:
    """Whether the program of a case is made by our own code."""
    from gaugeblock.cases.recipe import Recipe

    try:
        module = getattr(get(Recipe.parse(case).program).build, "__module__", None) or ""
    except GaugeblockError:
        return False
    return module.partition(".")[0] == "gaugeblock"


def described(method: "MethodLike") -> dict[str, Any]:
    """What a result says of the method that made it."""
    from gaugeblock.evaluation.entrants import entrant

    known = entrant(method)
    params = _PARAMS.dump_python(known.params({}), mode="json")
    return {"method": known.name, "params": params, "method_source": known.source}
