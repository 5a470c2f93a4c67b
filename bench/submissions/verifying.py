"""Is a submission what it says? Its numbers are never taken on trust: cases are built and scores computed anew."""

import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from gaugeblock.cases.recipe import Recipe
from gaugeblock.evaluation.entrants import entrant, entrant_names
from gaugeblock.programs.errors import FileError, GaugeblockError
from gaugeblock.results.records import Result
from gaugeblock.results.untrusted import printable, quoted
from gaugeblock.submissions.manifest import CARD, CODE, IMPORTED, TABLE, Manifest, misleading_names
from gaugeblock.submissions.reading import Submission, check_files, check_shown, read_manifest, read_records
from gaugeblock.submissions.recheck import Findings, case_checks, check_case
from gaugeblock.submissions.verification import Check, Verification
from gaugeblock.suites.seasons import parse_season
from gaugeblock.suites.suites import case_ids, is_suite
from gaugeblock.suites.suites import suite as suite_cases

MAX_PROBLEMS = 3  # of a check that are told one by one
SHOWN = f"{TABLE} and {CARD}"
UNVERIFIED = (
    "what the method cost (seconds, forwards, backwards, memory): only that it is possible",
    "what the submitter says: name, authors, notes, what the method was tuned on",
    "versions, commit and device the results were made with",
    "certificates of the cases: `gaugeblock certify` makes them anew",
)


def verify(
    folder: str | Path,
    *,
    suite: str | Sequence[str] | None = None,
    rerun: Any = None,
    rerun_own: bool = False,
    sample: int = 3,
    seed: int | None = None,
    beside: Sequence[str | Path] = (),
    workers: int = 1,
    progress: bool = False,
) -> Verification:
    """Check a submission.

    Nothing of the folder is run, unless `rerun_own` asks for it. A method of gaugeblock itself is always run again.

    Args:
        suite: the suite or cases it has to be of. Give it where anyone may submit: else the submitter decides what is
            built here, and how large.
        rerun: the method, as "file.py:function" or a function, to run a sample of jobs again with.
        rerun_own: take `method.py` of the folder for that. It is a stranger's code: look at it first.
        sample: how many jobs are run again.
        seed: of their draw; by default nobody knows it before.
        beside: other submissions of the same board, whose names it may not pass for.
        workers: processes.
        progress: show a bar.

    Raises:
        FileError: there is no such folder.
        GaugeblockError: something about the call is impossible.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     [(check.claim, check.ok) for check in verify(folder).checks]
    [('manifest', False)]
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"there is no folder {folder}")
    if workers < 1 or sample < 0:
        raise GaugeblockError(f"{workers} workers and a sample of {sample} are impossible")
    if rerun is not None and rerun_own:
        raise GaugeblockError("give either a method to run again with, or ask for the submission's own; not both")
    seed = secrets.randbelow(2**32) if seed is None else seed
    checks: list[Check] = []
    manifest = None
    try:
        manifest = read_manifest(folder)
        checks.append(Check("manifest", True, "complete, and unchanged since it was written"))
        checks.append(
            Check("files", True, f"{check_files(folder, manifest)} files, all expected and of the right size")
        )
        submission = read_records(folder, manifest)
        checks.append(Check("hashes and records", True, f"{len(manifest.files)} files are what the manifest says"))
        check_shown(submission)
        checks.append(Check(SHOWN, True, f"both say what the {len(submission.results)} results say"))
    except FileError as error:
        claim = ("manifest", "files", "hashes and records", SHOWN)[len(checks)]
        checks.append(Check(claim, False, _told(str(error))))
        return _verification(folder, manifest, checks, (), seed)
    checks.append(_names(submission.manifest, beside))
    wanted = submission.manifest.suite if suite is None else (suite,) if isinstance(suite, str) else tuple(suite)
    checks += [_names(submission.manifest, beside), _possible(submission), _complete(submission, wanted)]
    if not all(check.ok for check in checks):
        return _verification(folder, manifest, checks, (), seed)
    method, note = _method(submission, rerun, rerun_own, checks)
    if not all(check.ok for check in checks):
        return _verification(folder, manifest, checks, (note,) if note else (), seed)
    findings, left = _recompute(submission, method, sample if method is not None else 0, seed, workers, progress)
    checks += _recomputed(findings)
    done = [result for result in submission.results if result.status == "ok"]
    again = 0 if findings.problems["re-run"] else findings.counts["re-run"]
    notes = [f"{left} further cases, after one with something wrong"] if left else []
    if again < len(done):
        notes.append(note or f"that the method gives these scores in {len(done) - again} of {len(done)} jobs")
        notes.append("edge scores that no score depends on, as of ignored edges, in jobs that were not run again")
    if manifest.resamples:
        notes.append("stability, which needs the method to run on resamples")
    if all(check.ok for check in checks) and any(map(is_season, wanted)):
        checks.append(_seasons(manifest, wanted))
    whole = len(done) == len(submission.results) and all(map(is_suite, wanted)) and checks[-1].ok
    return replace(
        _verification(folder, manifest, checks, notes, seed),
        recomputed=not left and not any(findings.problems[claim] for claim in ("cases", "versions", "scores")),
        run_again=again,
        jobs=len(done),
        complete=", ".join(wanted) if whole else "",
    )


def _verification(
    folder: Path, manifest: Manifest | None, checks: Sequence[Check], notes: Sequence[str], seed: int
) -> Verification:
    method, digest = ("", "") if manifest is None else (manifest.method, manifest.digest)
    return Verification(str(folder), method, digest, tuple(checks), (*notes, *UNVERIFIED), seed)


def _names(manifest: Manifest, beside: Sequence[str | Path]) -> Check:
    """Check that names pass neither for those of our methods, nor for those of other submissions."""
    others = [read_manifest(Path(folder)) for folder in beside]
    taken = [*entrant_names(), *(other.method for other in others if other.digest != manifest.digest)]
    text = f"the method is called {quoted(manifest.method)}, and nothing else here looks like that"
    return _check("names", misleading_names(manifest, taken), text)


def is_season(name: str) -> bool:
    """Whether a suite is a season, whose cases take minutes to find."""
    return name.startswith("season:")


def _complete(submission: Submission, suite: Sequence[str]) -> Check:
    """Check that every job of the suite has a result. Nothing is built: of a season only what its name says."""
    manifest, results = submission.manifest, submission.results
    sizes: dict[int, int] = {}
    listed: list[str] = []
    try:
        for name in suite:
            if is_season(name):
                number, n = parse_season(name)
                sizes[number] = max(n, sizes.get(number, 0))
            else:
                listed += suite_cases(name) if is_suite(name) else [Recipe.parse(name).id]
    except GaugeblockError as error:
        return Check("complete", False, _told(f"this gaugeblock does not know the suite: {error}"))
    named, there = (Counter(_season_of(case) for case in dict.fromkeys(cases)) for cases in (listed, manifest.cases))
    for number, n in sizes.items():
        if not n <= there[number] <= n + named[number]:
            text = f"the season {number} has {n} cases; the manifest names {there[number]} of it"
            return Check("complete", False, _told(text))
    expected = [case for case in dict.fromkeys(listed) if _season_of(case) not in sizes]
    others = [case for case in manifest.cases if _season_of(case) not in sizes]
    if others != expected:
        odd = sorted({*expected} ^ {*others})[:MAX_PROBLEMS]
        text = f"the cases of {', '.join(suite)} are others here: {', '.join(odd) or 'their order differs'}"
        return Check("complete", False, _told(text))
    failed = [result for result in results if result.status != "ok"]
    if len(failed) == len(results):
        return Check("complete", False, "every job failed")
    text = f"{len(results)} results of {len(manifest.cases)} cases"
    return Check("complete", True, f"{text}, {len(failed)} of them failures" if failed else text)


def _season_of(case: str) -> int | None:
    """The seed of the season that a case is of; None where it is of none."""
    match = re.match(r"season\(seed=(\d{1,200}),index=\d+\)", case)
    return int(match[1]) if match else None


def _seasons(manifest: Manifest, suite: Sequence[str]) -> Check:
    """Check the cases of seasons, which are found anew: minutes, and so the last of all checks."""
    try:
        expected = case_ids(suite)
    except GaugeblockError as error:
        return Check("season", False, _told(f"this gaugeblock cannot make it: {error}"))
    odd = sorted({*expected} ^ {*manifest.cases})[:MAX_PROBLEMS]
    wrong = [f"its cases are others here: {', '.join(odd) or 'their order differs'}"]
    return _check("season", wrong if expected != list(manifest.cases) else [], "found anew, and has these cases")


def _possible(submission: Submission) -> Check:
    """Check that what cannot be recomputed is at least possible, and that results agree about what they share."""
    wrong = [problem for result in submission.results for problem in _impossible(result, submission)]
    done = [result for result in submission.results if result.status == "ok"] or submission.results[:1]
    for name in ("params", "signed", "method_level", "method_source", "control"):
        if any(getattr(result, name) != getattr(done[0], name) for result in done):
            wrong.append(f"results differ in {name}")
    manifest = submission.manifest
    if manifest.metrics_version != done[0].metrics_version:
        here = f"version of the metrics is {quoted(done[0].metrics_version)} in results"
        wrong.append(f"{here}, and {manifest.metrics_version} in the manifest")
    if manifest.function is not None and manifest.function.strip("<>").encode() not in (submission.code or b""):
        wrong.append(f"{CODE} names no {quoted(manifest.function)}")
    return _check("possible", wrong, f"costs and versions of {len(submission.results)} results")


def _impossible(result: Result, submission: Submission) -> Iterator[str]:
    where = f"{result.case} ({result.ablation}, seed {result.seed})"
    for name in ("seconds", "forwards", "backwards", "memory"):
        value = getattr(result, name)
        if value is not None and value < 0:
            yield f"{where}: {name} is {value}"
    if result.status == "started":
        yield f"{where}: it was never run to its end"
    elif result.status != "ok":
        said = (result.scores, result.pair_scores, result.edge_scores, result.node_scores, result.curve, result.circuit)
        if not result.error or any(said):
            yield f"{where}: a failure says why, and has no scores"
    else:
        if result.error is not None:
            yield f"{where}: it is done, and has an error"
        if (result.seconds is None and result.method_source != IMPORTED) or "gaugeblock" not in result.versions:
            yield f"{where}: it does not say how long it took, or what it was made with"
        if result.resamples != submission.manifest.resamples:
            yield f"{where}: made with {result.resamples} resamples; the manifest says {submission.manifest.resamples}"
        stability = result.scores.get("stability")
        if stability is not None and not (result.resamples and 0 <= stability <= 1):
            yield f"{where}: a stability of {stability} from {result.resamples} resamples"


def _method(submission: Submission, rerun: Any, rerun_own: bool, checks: list[Check]) -> tuple[Any, str]:
    """What to run again with, and a note where that is nothing. Adds a check of whose code it is."""
    manifest = submission.manifest
    source = next((r.method_source for r in submission.results if r.status == "ok"), None)
    ours = manifest.method in entrant_names() and entrant(manifest.method).source is None
    text, wrong = "", []
    if source is None:
        text = "a method of gaugeblock itself"
        if not ours:
            wrong.append(f"{manifest.method!r} is no method of gaugeblock, and its results do not say whose code it is")
    elif ours:
        wrong.append(f"it calls itself {manifest.method!r}, which is a method of gaugeblock, and is another")
    elif source == IMPORTED:
        text = "scores were imported from another tool"
    elif submission.code is None:
        text = f"code with hash {source}, which is not in the folder"
    else:
        text = f"{CODE} is what the results were made with"
    if submission.code is not None and hashlib.sha256(submission.code).hexdigest()[:16] != source:
        wrong.append(f"{CODE} is not the code that the results were made with")
    if rerun_own and submission.code is None:
        raise FileError(f"{submission.folder} holds no {CODE} to run")
    chosen = f"{submission.folder / CODE}:{manifest.function}" if rerun_own else rerun
    if chosen is not None:
        try:
            known = entrant(chosen)
        except GaugeblockError as error:
            checks.append(_check("code", [*wrong, f"the code at hand cannot be used: {error}"], text))
            return None, "that the method gives these scores: its code could not be run again"
        if (known.name, known.source) != (manifest.method, source):
            here = f"the code at hand is {known.name!r} with hash {known.source}"
            wrong.append(f"{here}; submitted was {manifest.method!r} with {source}")
            chosen = None
    elif source is None and ours:
        chosen = manifest.method
    checks.append(_check("code", wrong, text))
    return chosen, "" if chosen is not None else "that the method gives these scores: its code was not run again"


def _recompute(
    submission: Submission, method: Any, sample: int, seed: int, workers: int, progress: bool
) -> tuple[Findings, int]:
    """What is wrong, up to the first case with anything wrong, and how many cases were left after it."""
    done = [i for i, result in enumerate(submission.results) if result.status == "ok"]
    drawn = np.random.default_rng(seed).permutation(len(done))[:sample]
    tasks = case_checks(submission.cases, submission.results, {done[i] for i in drawn}, method)
    total = Findings()
    parallel = Parallel(n_jobs=workers, batch_size=1, return_as="generator")
    with tqdm(total=len(tasks), unit="case", desc="checking", disable=None if progress else True) as bar:
        for findings in parallel(delayed(check_case)(task) for task in tasks):
            total.add(findings)
            bar.update()
            if any(total.problems.values()):
                break
    return total, len(tasks) - total.seen


def _recomputed(findings: Findings) -> list[Check]:
    counts, problems = findings.counts, findings.problems
    checks = [
        _check("cases are ours", problems["cases"], f"{counts['cases']} records agree with cases built anew"),
        _check(
            "versions", problems["versions"], f"{counts['versions']} results are of these cases, and of these metrics"
        ),
        _check("scores", problems["scores"], f"all scores of {counts['scores']} results recomputed from edge scores"),
    ]
    if counts["re-run"]:
        text = f"{counts['re-run']} jobs give the same edge scores, within {findings.furthest:.1e} of the largest"
        checks.append(_check("run again", problems["re-run"], text))
    return checks


def _check(claim: str, wrong: Sequence[str], text: str) -> Check:
    if not wrong:
        return Check(claim, True, text)
    more = [f"and {len(wrong) - MAX_PROBLEMS} more"] if len(wrong) > MAX_PROBLEMS else []
    return Check(claim, False, _told("; ".join([*wrong[:MAX_PROBLEMS], *more])))


def _told(text: str) -> str:
    """Text on one line, and not longer than anyone reads."""
    return printable(text, 1000, kept="")
