"""The files of a results folder: where each record stands, written whole or not at all."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gaugeblock.compiled.writing import write_text
from gaugeblock.programs.errors import FileError
from gaugeblock.results.records import SCHEMA_VERSION, CaseRecord, Result

AnyRecord = TypeVar("AnyRecord", CaseRecord, Result)


def write_json(path: str | Path, record: BaseModel) -> None:
    """Write a record. Whenever the process dies, `path` holds all of it, or what it held before."""
    text = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    write_text(path, text)


def read_result(path: str | Path) -> Result:
    """Raises FileError where the file is missing, damaged, truncated or something else."""
    return _read(Path(path), Result)


def read_case(path: str | Path) -> CaseRecord:
    """Raises FileError where the file is missing, damaged, truncated or something else."""
    return _read(Path(path), CaseRecord)


def holds_case(path: str | Path, case_hash: str) -> bool:
    """Whether the record of this version of a case is there."""
    try:
        return read_case(path).hash == case_hash
    except FileError:
        return False


def case_path(out: str | Path, case: str, ablation: str) -> Path:
    """Where a run writes the record of a case."""
    return Path(out) / "cases" / f"{_slug(case)}.{ablation}.json"


def picture_path(out: str | Path, case: str, kind: str) -> Path:
    """Where a run writes a picture of a case; the same under every ablation."""
    return Path(out) / "cases" / f"{_slug(case)}.{kind}.svg"


def certificate_path(out: str | Path, case: str, ablations: Sequence[str]) -> Path:
    """Where the certificate of a case under some ablations stands."""
    return Path(out) / "certificates" / f"{_slug(case)}.{'+'.join(ablations)}.json"


def result_path(out: str | Path, method: str, case: str, ablation: str, seed: int) -> Path:
    """Where a run writes the result of a job. Names are never parsed: the record says what it is of."""
    return Path(out) / "results" / _slug(method) / f"{_slug(case)}.{ablation}.s{seed}.json"


def case_paths(out: str | Path) -> Iterator[Path]:
    """All case records of a results folder, in a fixed order."""
    yield from sorted(Path(out).glob("cases/*.json"))


def result_paths(out: str | Path) -> Iterator[Path]:
    """All results of a results folder, in a fixed order."""
    yield from sorted(Path(out).glob("results/*/*.json"))


def remove_leftovers(out: str | Path) -> None:
    """Remove what writes that were cut off have left in a results folder. Not while another run writes to it."""
    for pattern in (
        "site/.*.part",
        "site/*/.*.part",
        "cases/.*.part",
        "certificates/.*.part",
        "results/*/.*.json.*.part",
    ):
        for path in Path(out).glob(pattern):
            path.unlink(missing_ok=True)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._+@" else "-" for c in name).strip(".") or "-"


def _read(path: Path, model: type[AnyRecord]) -> AnyRecord:
    kind = model.model_fields["kind"].default
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise FileError(f"cannot read {path}: {e.strerror or e}") from e
    except ValueError as e:
        raise FileError(f"{path} is damaged or truncated, no whole JSON file: {e}") from e
    if not isinstance(data, dict) or data.get("kind") != kind:
        raise FileError(f"{path} is no {kind} record of gaugeblock")
    if data.get("schema_version") != SCHEMA_VERSION:
        version = data.get("schema_version")
        raise FileError(f"{path} has schema version {version!r}; this gaugeblock reads version {SCHEMA_VERSION}")
    try:
        return model.model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FileError(f"{path} is no valid {kind} record: {where}: {first['msg']}") from e
