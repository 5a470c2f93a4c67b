"""What a submission says of itself: who ran what, on which cases, what it was tuned on, and the hash of every file."""

import hashlib
import json
from collections.abc import Sequence
from datetime import date
from pathlib import PurePath, PurePosixPath
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gaugeblock.results.files import case_path, result_path
from gaugeblock.results.untrusted import inert_text, look_alike, quoted, skeleton

SCHEMA_VERSION: Literal[1] = 1
MANIFEST, CARD, TABLE, CODE = "manifest.json", "README.md", "scores.jsonl", "method.py"
MAX_JOBS = 30_000
IMPORTED = "imported"
"""The `method_source` of results whose scores were read from a file of another tool."""


def _one_line(text: str) -> str:
    if "\n" in text or "\t" in text:
        raise ValueError("a name is one line")
    return inert_text(text)


def _web_address(text: str) -> str:
    if text and not text.startswith(("https://", "http://")):
        raise ValueError("a web address starts with https:// or http://")
    return text


def _day(text: str) -> str:
    date.fromisoformat(text)
    return text


AnyPath = TypeVar("AnyPath", bound=PurePath)
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Line = Annotated[str, Field(max_length=500), AfterValidator(_one_line)]
Text = Annotated[str, Field(max_length=10_000), AfterValidator(inert_text)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_day)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Disclosure(_Record):
    """What a reader of the results should know, in the submitter's own words; nothing of it can be checked.

    Attributes:
        tuned_on: suites and case ids that the method, or its parameters, were chosen on; empty: no public ones.
        notes, authors, contact, url: free text.
    """

    tuned_on: Annotated[tuple[Name, ...], Field(max_length=1000)] = ()
    notes: Text = ""
    authors: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    contact: Line = ""
    url: Annotated[Line, AfterValidator(_web_address)] = ""


class FileRecord(_Record):
    """A file of the submission: hash, and size in bytes."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Manifest(_Record):
    """The first file of a submission.

    Attributes:
        name: title of the submission.
        method: as it stands in every result.
        function: the function of `method.py` that is the method; None where the method is no file's.
        suite, cases: what was asked for, and the case ids that follow.
        ablations, seeds, resamples: as for `gaugeblock.run`.
        scores: where edge and node scores stand: in the results themselves, or in safetensors files beside them.
        metrics_version, gaugeblock: what the scores were made with.
        created: day, in UTC.
        files: path in the folder -> hash and size, of all files but the manifest.
        digest: sha256 of all of the above; names the submission.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["submission"] = "submission"
    name: Name
    method: Name
    function: Name | None
    suite: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)]
    cases: Annotated[tuple[Name, ...], Field(min_length=1, max_length=10_000)]
    ablations: Annotated[tuple[Literal["resample", "donor", "mean", "zero"], ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**63)], ...], Field(min_length=1, max_length=10_000)]
    resamples: Annotated[int, Field(ge=0)]
    scores: Literal["json", "safetensors"]
    metrics_version: int
    gaugeblock: Name
    created: Day
    disclosure: Disclosure
    files: Annotated[dict[str, FileRecord], Field(max_length=100_000)] = {}
    digest: Sha256 | Literal[""] = ""

    @model_validator(mode="after")
    def _not_too_many(self) -> "Manifest":
        n = len(self.cases) * len(self.ablations) * len(self.seeds)
        if n > MAX_JOBS:
            raise ValueError(f"{n} jobs; a submission holds at most {MAX_JOBS}")
        return self

    @property
    def jobs(self) -> list[tuple[str, str, int]]:
        """(case, ablation, seed) of every result, case by case."""
        return [(case, ablation, seed) for case in self.cases for ablation in self.ablations for seed in self.seeds]

    def expected_files(self) -> set[str]:
        """The paths of all files that belong into the folder, the manifest aside: these and no others."""
        paths = {CARD, TABLE} | ({CODE} if self.function is not None else set())
        paths |= {case_file(case, ablation) for case in self.cases for ablation in self.ablations}
        for job in self.jobs:
            paths.add(result_file(self.method, *job))
            if self.scores == "safetensors":
                paths.add(tensor_file(self.method, *job))
        return paths

    def right_digest(self) -> str:
        """What `digest` has to be."""
        text = json.dumps(self.model_dump(mode="json", exclude={"digest"}), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def misleading_names(manifest: Manifest, taken: Sequence[str]) -> list[str]:
    """Why the method or the title of a submission passes for one of the methods `taken`; empty where neither does."""
    problems = []
    if not skeleton(manifest.method):
        problems.append(f"the method's name {quoted(manifest.method)} has no letter or digit")
    if manifest.method not in taken and (other := look_alike(manifest.method, taken)):
        problems.append(
            f"the method's name {quoted(manifest.method)} looks like {quoted(other)}, which is another method"
        )
    shown = skeleton(manifest.name)
    other = next((name for name in taken if skeleton(name) == shown), None)
    if other and shown != skeleton(manifest.method):
        problems.append(f"the title {quoted(manifest.name)} looks like {quoted(other)}, which is another method")
    return problems


def case_file(case: str, ablation: str) -> str:
    """Path of a case's record in the folder."""
    return case_path("", case, ablation).as_posix()


def result_file(method: str, case: str, ablation: str, seed: int) -> str:
    """Path of a result in the folder."""
    return result_path("", method, case, ablation, seed).as_posix()


def tensor_file(method: str, case: str, ablation: str, seed: int) -> str:
    """Path of a result's edge and node scores in the folder, where they stand in a file of their own."""
    return tensors_beside(PurePosixPath(result_file(method, case, ablation, seed))).as_posix()


def tensors_beside(result: AnyPath) -> AnyPath:
    """The file of edge and node scores that belongs to the file of a result."""
    return result.parents[2] / "edge_scores" / result.parent.name / f"{result.stem}.safetensors"
