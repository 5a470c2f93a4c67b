"""Run a method and pack what came out into one folder that others can check: `manifest.json` names what is in it."""

import hashlib
import inspect
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from gaugeblock.compiled.writing import staged
from gaugeblock.evaluation.entrants import Entrant, MethodLike, entrant, entrant_names
from gaugeblock.evaluation.scores import METRICS_VERSION
from gaugeblock.methods.engine.ablation import check_ablation
from gaugeblock.programs.errors import FileError, GaugeblockError, InputError, MethodError
from gaugeblock.results.files import case_path, first_problem, read_case, read_result, result_path
from gaugeblock.results.records import CaseRecord, Result
from gaugeblock.results.untrusted import printable
from gaugeblock.running import runner
from gaugeblock.submissions.manifest import (
    CARD,
    CODE,
    IMPORTED,
    MANIFEST,
    TABLE,
    Disclosure,
    FileRecord,
    Manifest,
    case_file,
    misleading_names,
    result_file,
    tensor_file,
)
from gaugeblock.submissions.readme import readme, table
from gaugeblock.submissions.tensors import write_scores
from gaugeblock.suites.suites import case_ids

Scores = Literal["json", "safetensors"]

RUN_FOLDERS = ("results", "cases", "certificates")
MAX_ERROR = 2000  # characters of what a failed job said

_ASKED = ("method", "suite", "cases", "ablations", "seeds", "resamples")
"""What a submission is of: with any of these another, it is another one."""


def submit(
    method: MethodLike,
    suite: str | Sequence[str],
    out: str | Path,
    *,
    ablation: str | Sequence[str] = "resample",
    seeds: Sequence[int] = (0,),
    resamples: int = 0,
    name: str | None = None,
    disclosure: Disclosure | None = None,
    scores: Scores = "json",
    work: str | Path | None = None,
    **options: Any,
) -> Path:
    """Run a method on a suite and pack the results into the new folder `out`.

    The run writes to a folder beside `out` and the same call again resumes it; the folder goes once `out` stands.

    Args:
        method: a registered name, "file.py:function", or a function. Its file is copied into the submission.
        suite: a suite or a case id, or several of them.
        ablation, seeds, resamples: as for `gaugeblock.run`; several ablations are possible.
        name: title of the submission; the method's name by default.
        disclosure: what the method was tuned on, and what else readers should know.
        scores: where edge and node scores go: "json" into the results, "safetensors" into files of their own.
        work: folder of the run, which then stays; a folder of `gaugeblock run` will do.
        options: how to run, as for `gaugeblock.run`: workers, time_limit, backend and so on.

    Returns:
        `out`.

    Raises:
        GaugeblockError: something about the run or the submission is impossible, or every job failed.

    >>> submit("mine.py:my_method", "core", "my-submission", workers=2)  # doctest: +SKIP
    """
    out = Path(out)
    ablations = [ablation] if isinstance(ablation, str) else list(dict.fromkeys(ablation))
    known = _entrant(method)
    draft = _draft(known.name, None, suite, ablations, seeds, resamples, name, disclosure, scores)
    _refuse_taken(out, draft)
    folder = Path(work) if work is not None else out.with_name(f"{out.name}.run")
    for one in ablations:
        runner.run([method], suite, folder, one, seeds, resamples=resamples, **options)
    pack(
        folder,
        known.name,
        suite,
        out,
        ablation=ablations,
        seeds=seeds,
        resamples=resamples,
        code=_source(method, known),
        name=name,
        disclosure=disclosure,
        scores=scores,
    )
    if work is None:
        _remove_run(folder)
    return out


def pack(
    results: str | Path,
    method: str,
    suite: str | Sequence[str],
    out: str | Path,
    *,
    ablation: str | Sequence[str] = "resample",
    seeds: Sequence[int] = (0,),
    resamples: int = 0,
    code: tuple[Path, str] | None = None,
    name: str | None = None,
    disclosure: Disclosure | None = None,
    scores: Scores = "json",
) -> Path:
    """Pack a method's results, which are there already, into the new folder `out`.

    Args:
        results: a results folder, of a run or of imported scores.
        method: the method's name in it.
        code: the file of the method and the function in it; None where the method is no file's.

    Raises:
        FileError: a result is missing or damaged, or something else stands at `out`.
        GaugeblockError: as for `submit`.
    """
    out = Path(out)
    ablations = [ablation] if isinstance(ablation, str) else list(dict.fromkeys(ablation))
    function = None if code is None else code[1]
    manifest = _draft(method, function, suite, ablations, seeds, resamples, name, disclosure, scores)
    _refuse_taken(out, manifest)
    packed = [_result(results, manifest, job) for job in manifest.jobs]
    if not any(result.status == "ok" for result in packed):
        raise GaugeblockError(
            f"all {len(packed)} jobs failed, so there is nothing to submit; the first: {packed[0].error}"
        )
    cases = [_case(results, case, ablation, packed) for case in manifest.cases for ablation in manifest.ablations]
    contents = _contents(manifest, packed, cases)
    if code is not None:
        contents[CODE] = _code(code[0], packed)
    files = {
        path: FileRecord(sha256=hashlib.sha256(data).hexdigest(), size=len(data)) for path, data in contents.items()
    }
    manifest = manifest.model_copy(update={"files": files})
    manifest = manifest.model_copy(update={"digest": manifest.right_digest()})
    contents[MANIFEST] = _json(manifest)
    try:
        with staged(out, MANIFEST, "no submission") as folder:
            for path, data in contents.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
    except OSError as e:
        raise FileError(f"cannot write a submission to {out}: {e.strerror or e}") from e
    return out


def _remove_run(folder: Path) -> None:
    """Remove what a run has written to a folder, and the folder too if nothing else is in it."""
    for part in RUN_FOLDERS:
        shutil.rmtree(folder / part, ignore_errors=True)
    with suppress(OSError):
        folder.rmdir()


def _refuse_taken(out: Path, draft: Manifest) -> None:
    """FileError, before anything runs, where `out` is something that must not be replaced: only the same again may."""
    if not (out / MANIFEST).is_file():
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise FileError(f"{out} exists and is no submission; choose another folder")
        return
    asked = draft.model_dump(mode="json", include=set(_ASKED))
    try:
        there = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        other = [name for name in _ASKED if there[name] != asked[name]]
    except (ValueError, KeyError, TypeError):
        raise FileError(f"{out} holds a submission that is damaged; remove it, or choose another folder") from None
    if other:
        raise FileError(
            f"{out} holds another submission, of method {there['method']!r}, with other {', '.join(other)}; "
            "choose another folder"
        )


def _entrant(method: MethodLike) -> Entrant:
    """The method. MethodError where it is a user's own under the name of another."""
    known, names = entrant(method), entrant_names()
    if method not in names and known.name in names and entrant(known.name).function is not known.function:
        raise MethodError(f"a method named {known.name!r} is there already; give yours another name")
    return known


def _source(method: MethodLike, known: Entrant) -> tuple[Path, str] | None:
    """The file of a user's method and the function in it; None for our own methods, and where there is no file."""
    file = inspect.getsourcefile(known.function)
    if known.source is None or file is None or not Path(file).is_file():
        return None
    return Path(file), method.rpartition(":")[2] if isinstance(method, str) else known.function.__name__


def _draft(
    method: str,
    function: str | None,
    suite: str | Sequence[str],
    ablations: Sequence[str],
    seeds: Sequence[int],
    resamples: int,
    name: str | None,
    disclosure: Disclosure | None,
    scores: str,
) -> Manifest:
    """The manifest without files.

    InputError where a text in it is not possible, UnknownName for another case, MethodError where a name misleads.
    """
    for ablation in ablations:
        check_ablation(ablation)
    suites = [suite] if isinstance(suite, str) else list(suite)
    try:
        draft = Manifest(
            name=name or method,
            method=method,
            function=function,
            suite=tuple(suites),
            cases=tuple(case_ids(suites)),
            ablations=tuple(ablations),  # type: ignore[arg-type]
            seeds=tuple(dict.fromkeys(seeds)),
            resamples=resamples,
            scores=scores,  # type: ignore[arg-type]
            metrics_version=METRICS_VERSION,
            gaugeblock=version("gaugeblock"),
            created=datetime.now(tz=UTC).date().isoformat(),
            disclosure=disclosure or Disclosure(),
        )
    except ValidationError as e:
        raise InputError(f"a submission cannot say so: {first_problem(e)}") from None
    if problems := misleading_names(draft, entrant_names()):
        raise MethodError(f"{problems[0]}; choose another")
    return draft


def _result(results: str | Path, manifest: Manifest, job: tuple[str, str, int]) -> Result:
    result = read_result(result_path(results, manifest.method, *job))
    if (result.method, result.case, result.ablation, result.seed) != (manifest.method, *job):
        raise FileError(
            f"{result_path(results, manifest.method, *job)} is the result of another job than its name says"
        )
    if result.status == "started":
        raise FileError(f"{manifest.method} on {job[0]} ({job[1]}, seed {job[2]}) was not run to its end; run it again")
    error = None if result.error is None else printable(result.error, MAX_ERROR, kept="\n\t")
    return result.model_copy(update={"error": error})


def _case(results: str | Path, case: str, ablation: str, packed: Sequence[Result]) -> CaseRecord:
    """The record of a case, without its pictures: anyone can draw those anew."""
    path = case_path(results, case, ablation)
    if not path.exists():
        error = next(
            (r.error for r in packed if r.case == case and r.ablation == ablation and r.error), "it has no record"
        )
        raise FileError(f"case {case} ({ablation}) cannot be submitted: {error}")
    return read_case(path).model_copy(update={"pictures": []})


def _contents(manifest: Manifest, results: Sequence[Result], cases: Sequence[CaseRecord]) -> dict[str, bytes]:
    """Path -> content, of all files but the manifest and the code."""
    contents = {TABLE: table(results, cases).encode(), CARD: readme(manifest, results).encode()}
    contents |= {case_file(case.id, case.ablation): _json(case) for case in cases}
    for result in results:
        job = result.case, result.ablation, result.seed
        if manifest.scores == "safetensors":
            contents[tensor_file(manifest.method, *job)] = write_scores(result.edge_scores, result.node_scores)
            result = result.model_copy(update={"edge_scores": {}, "node_scores": {}})
        contents[result_file(manifest.method, *job)] = _json(result)
    return contents


def _code(file: Path, results: Sequence[Result]) -> bytes:
    """The method's file. FileError where it is not what the results were made with."""
    data = file.read_bytes()
    if any(r.method_source not in (None, IMPORTED, hashlib.sha256(data).hexdigest()[:16]) for r in results):
        raise FileError(f"{file} is not the code that the results were made with; run it again")
    return data


def _json(record: CaseRecord | Result | Manifest) -> bytes:
    text = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=1)
    return (text + "\n").encode()
