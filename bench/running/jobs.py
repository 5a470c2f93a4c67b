"""A job, and whether its result is there: what a run that is started again need not do."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

from pydantic import TypeAdapter

from gaugeblock.programs.errors import FileError, GaugeblockError
from gaugeblock.results.files import case_path, certificate_path, read_case, read_result, result_path
from gaugeblock.results.provenance import versions
from gaugeblock.results.records import SCHEMA_VERSION

Given = str | Callable[..., dict[str, float]]

_HEAD, _TAIL = 4096, 2048
_PARAMS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


@final
@dataclass(frozen=True, slots=True)
class Job:
    """A method (a registered name, "file.py:function" or a function) on a case with a seed.

    `file` is where its result goes; a run may have 10⁵ jobs, and making a path takes longer than reading a file.
    """

    method: Given
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
        method: Given,
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
    return _fields(job.file, list(wanted)) == wanted


def started(job: Job) -> str | None:
    """Where the job has begun and not ended: how far it has come. Else None."""
    found = _fields(job.file, ["status", "error"])
    return str(found["error"]) if found is not None and found["status"] == "started" else None


def recorded_hash(job: Job) -> str | None:
    """The hash of the case as its record in the results folder says it; None where it or a certificate is missing."""
    path = case_path(job.out, job.case, job.ablation)
    if not certificate_path(job.out, job.case, [job.ablation]).exists():
        return None
    if (found := _ends(str(path), b'\n "weights_hash":', None)) is not None and isinstance(found.get("hash"), str):
        return str(found["hash"])
    try:
        return read_case(path).hash
    except FileError:
        return None


def pending(jobs: Iterable[Job]) -> list[Job]:
    """The jobs that are not done, in their order. Builds no case.

    Our own programs are part of the code whose fingerprint is in a result's versions, so a result of the code that
    runs now is of the case that this code would build. The cases of other programs are built anew by a worker, which
    then sees what is done.
    """
    hashes: dict[str, str | None] = {}
    methods: dict[str, dict[str, Any]] = {}
    found = []
    for job in jobs:
        if job.case not in hashes:
            hashes[job.case] = recorded_hash(job) if is_ours(job.case) else None
        if job.name not in methods:
            methods[job.name] = described(job.method)
        if not is_done(job, hashes[job.case], methods[job.name]):
            found.append(job)
    return found


def is_ours(case: str) -> bool:
    """Whether the program of a case is made by our own code."""
    from gaugeblock.cases.recipe import Recipe
    from gaugeblock.programs.registry import get

    try:
        module = getattr(get(Recipe.parse(case).program).build, "__module__", None) or ""
    except GaugeblockError:
        return False
    return module.partition(".")[0] == "gaugeblock"


def described(given: Given) -> dict[str, Any]:
    """What a result says of the method that made it."""
    from gaugeblock.evaluation.entrants import entrant

    method = entrant(given)
    params = _PARAMS.dump_python(method.params({}), mode="json")
    return {"method": method.name, "params": params, "method_source": method.source}


def _fields(path: str, names: Sequence[str]) -> dict[str, Any] | None:
    """Some fields of a result, none of them its scores. None where there is no whole result."""
    found = _ends(path, b'\n "scores":', b'\n "resamples":')
    if found is not None and set(names) <= set(found):
        known = found.get("kind") == "result" and found.get("schema_version") == SCHEMA_VERSION
        return {name: found[name] for name in names} if known else None
    try:
        return read_result(path).model_dump(mode="json", include=set(names))
    except FileError:
        return None


def _ends(path: str, until: bytes, since: bytes | None) -> dict[str, Any] | None:
    """The fields of a record before the line `until` and from the line `since` on, as far as both stand near an end.

    Lines of a record begin with one space at its top level and with more inside, and a string holds no line break,
    so these lines are what they look like. None where that does not work: then read all of it.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD)
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            tail = file.read(_TAIL)
    except OSError:
        return None
    first, marker, _ = head.partition(until)
    if not marker or not tail.endswith(b"\n}\n"):
        return None
    try:
        found = json.loads(first.rstrip(b",") + b"}")
        if since is not None:
            _, marker, last = tail.rpartition(since)
            if not marker:
                return None
            found |= json.loads(b"{" + since + last)
    except ValueError:
        return None
    return dict(found)
