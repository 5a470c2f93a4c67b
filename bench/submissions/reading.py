"""A submission read from its folder, as far as that goes without building a case: files, hashes, records."""

import hashlib
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import final

from gaugeblock.programs.errors import FileError
from gaugeblock.results.records import CaseRecord, Result
from gaugeblock.results.untrusted import file_sizes, quoted, read_bytes, read_record
from gaugeblock.submissions.manifest import CARD, CODE, MANIFEST, TABLE, Manifest, case_file, result_file, tensor_file
from gaugeblock.submissions.readme import readme, table
from gaugeblock.submissions.tensors import read_scores


@final
@dataclass(frozen=True)
class Submission:
    """A submission in memory.

    Attributes:
        results, cases: in the order of `manifest.jobs`; results with their edge and node scores, wherever those stood.
        code: the method's file, which is only ever read here.
        table, card: what `scores.jsonl` and the README say.
    """

    folder: Path
    manifest: Manifest
    results: tuple[Result, ...]
    cases: tuple[CaseRecord, ...]
    code: bytes | None
    table: bytes
    card: bytes


def read_submission(folder: str | Path) -> Submission:
    """Read a submission whose files are what its manifest says. Nothing in it is run, followed or unpickled.

    FileError with the first thing that is wrong.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    return read_records(folder, manifest)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest. FileError where it is none, or not what its own digest says."""
    if not folder.is_dir():
        raise FileError(f"there is no folder {quoted(str(folder))}")
    if MANIFEST not in file_sizes(folder):
        raise FileError(f"{quoted(str(folder))} is no submission: it holds no {MANIFEST}")
    manifest = read_record(read_bytes(folder / MANIFEST, MANIFEST), MANIFEST, Manifest)
    if manifest.digest != manifest.right_digest():
        raise FileError(f"{MANIFEST} is not what its digest says: it was changed after it was written")
    for what, names in (("case", manifest.cases), ("ablation", manifest.ablations), ("seed", manifest.seeds)):
        if len(set(names)) < len(names):
            raise FileError(f"{MANIFEST} names a {what} twice")
    return manifest


def check_files(folder: Path, manifest: Manifest) -> int:
    """The number of files. FileError where they are not exactly those of the manifest, and those it must have."""
    sizes = file_sizes(folder)
    sizes.pop(MANIFEST, None)
    expected = manifest.expected_files()
    for path in sorted({*sizes, *manifest.files} - expected):
        raise FileError(f"{quoted(path)} belongs to no submission of this method, suite, ablations and seeds")
    for path in sorted(expected - {*sizes}):
        raise FileError(f"{quoted(path)} is missing")
    for path in sorted(expected - {*manifest.files}):
        raise FileError(f"{MANIFEST} does not list {quoted(path)}")
    for path, size in sizes.items():
        if size != manifest.files[path].size:
            raise FileError(f"{quoted(path)} has {size} bytes; {MANIFEST} says {manifest.files[path].size}")
    return len(sizes) + 1


def read_records(folder: Path, manifest: Manifest) -> Submission:
    """Read all files of the manifest. FileError where one has another hash, or is not what it should be."""
    results = [_result(folder, manifest, job) for job in manifest.jobs]
    cases = [_case(folder, manifest, case, ablation) for case in manifest.cases for ablation in manifest.ablations]
    return Submission(
        folder,
        manifest,
        tuple(results),
        tuple(cases),
        read_listed(folder, manifest, CODE) if manifest.function is not None else None,
        read_listed(folder, manifest, TABLE),
        read_listed(folder, manifest, CARD),
    )


def check_shown(submission: Submission) -> None:
    """FileError where `scores.jsonl` or the README is not what would be written of these results."""
    manifest, results = submission.manifest, submission.results
    for name, said, right in (
        (TABLE, submission.table, table(results, submission.cases)),
        (CARD, submission.card, readme(manifest, results)),
    ):
        lines, expected = said.split(b"\n"), right.encode().split(b"\n")
        for number, (line, wanted) in enumerate(zip_longest(lines, expected), 1):
            if line != wanted:
                here, there = _apart(line, wanted)
                problem = f"line {number} of {name} is not what the results say"
                raise FileError(f"{problem}: it has {here} and should have {there}")


def _apart(line: bytes | None, wanted: bytes | None) -> tuple[str, str]:
    """Two lines from a little before their first difference on, as a message can repeat them."""
    texts = ["" if data is None else data.decode("utf-8", "replace") for data in (line, wanted)]
    same = next((i for i, (a, b) in enumerate(zip(*texts)) if a != b), min(map(len, texts)))
    shown = [quoted(text[max(0, same - 20) :]) for text in texts]
    return "no such line" if line is None else shown[0], "no such line" if wanted is None else shown[1]


def read_listed(folder: Path, manifest: Manifest, path: str) -> bytes:
    """The content of a file that the manifest lists. FileError where it has another hash."""
    data = read_bytes(folder / path, path)
    if hashlib.sha256(data).hexdigest() != manifest.files[path].sha256:
        raise FileError(f"{quoted(path)} has another sha256 than {MANIFEST} says: it was changed or mixed up")
    return data


def _result(folder: Path, manifest: Manifest, job: tuple[str, str, int]) -> Result:
    path = result_file(manifest.method, *job)
    result = read_record(read_listed(folder, manifest, path), quoted(path), Result)
    if (result.method, result.case, result.ablation, result.seed) != (manifest.method, *job):
        said = f"{result.method} on {result.case} ({result.ablation}, seed {result.seed})"
        raise FileError(f"{quoted(path)} is the result of {quoted(said)}: another job than its name says, or one twice")
    if manifest.scores == "json":
        return result
    if result.edge_scores or result.node_scores:
        raise FileError(f"{quoted(path)} holds scores of edges, which {MANIFEST} says stand in files of their own")
    path = tensor_file(manifest.method, *job)
    edges, nodes = read_scores(read_listed(folder, manifest, path), quoted(path))
    return result.model_copy(update={"edge_scores": edges, "node_scores": nodes})


def _case(folder: Path, manifest: Manifest, case: str, ablation: str) -> CaseRecord:
    path = case_file(case, ablation)
    record = read_record(read_listed(folder, manifest, path), quoted(path), CaseRecord)
    if (record.id, record.ablation) != (case, ablation):
        raise FileError(f"{quoted(path)} is the record of another case than its name says: {quoted(record.id)}")
    return record
