"""The files of a results folder: where each record stands, written whole or not at all."""

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gaugeblock.compiled.writing import write_text
from gaugeblock.programs.errors import FileError, InputError
from gaugeblock.results.records import SCHEMA_VERSION, CaseRecord, Result

AnyRecord = TypeVar("AnyRecord", CaseRecord, Result)

_HEAD, _TAIL = 4096, 2048
"""Bytes at the ends of a file, in which the short fields of a record stand; see `_fields_at_the_ends`."""


def write_json(path: str | Path, record: BaseModel) -> None:
    """Write a record, whole or not at all."""
    text = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    write_text(path, text)


def read_result(path: str | Path) -> Result:
    """Read the result of a job. FileError where the file is missing, damaged, truncated or something else.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as out:
    ...     path = result_path(out, "mine", "sort", "resample", seed=0)
    ...     write_json(path, Result(status="ok", method="mine", case="sort", ablation="resample", seed=0))
    ...     read_result(path).method
    'mine'
    """
    return _read(Path(path), Result)


def read_case(path: str | Path) -> CaseRecord:
    """Read the record of a case. FileError where the file is missing, damaged, truncated or something else."""
    return _read(Path(path), CaseRecord)


def result_fields(path: str | Path, names: Sequence[str]) -> dict[str, Any] | None:
    """Some fields of a result as plain data; None where there is no whole result. Fields outside scores are fast."""
    fields = _fields_at_the_ends(path, b'\n "scores":', b'\n "resamples":')
    if fields is not None and set(names) <= set(fields):
        known = fields.get("kind") == "result" and fields.get("schema_version") == SCHEMA_VERSION
        return {name: fields[name] for name in names} if known else None
    try:
        return read_result(path).model_dump(mode="json", include=set(names))
    except FileError:
        return None


def case_hash(path: str | Path) -> str | None:
    """The hash in the record of a case; None where there is no whole record."""
    fields = _fields_at_the_ends(path, b'\n "weights_hash":', None)
    if fields is not None and isinstance(fields.get("hash"), str):
        return str(fields["hash"])
    try:
        return read_case(path).hash
    except FileError:
        return None


def _fields_at_the_ends(path: str | Path, until: bytes, since: bytes | None) -> dict[str, Any] | None:
    """The fields of a record before the line `until` and from the line `since` on, as far as both stand near an end.

    The order of fields is that of the record's class. Lines of a record begin with one space at its top level and with
    more inside, and a string holds no line break, so these lines are what they look like. None where that does not
    work: then read all of it.
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
        fields = json.loads(first.rstrip(b",") + b"}")
        if since is not None:
            _, marker, last = tail.rpartition(since)
            if not marker:
                return None
            fields |= json.loads(b"{" + since + last)
    except ValueError:
        return None
    return dict(fields)


def holds_case(path: str | Path, case_hash: str) -> bool:
    """Whether the record of this version of a case is there."""
    try:
        return read_case(path).hash == case_hash
    except FileError:
        return False


def case_path(out: str | Path, case: str, ablation: str) -> Path:
    """Where a run writes the record of a case.

    >>> print(case_path("out", "sort/permute+pad#1", "donor"))
    out/cases/sort-permute+pad-1.donor.json
    """
    return Path(out) / "cases" / f"{_slug(case)}.{ablation}.json"


def picture_path(out: str | Path, case: str, kind: str) -> Path:
    """Where a run writes a picture of a case; the same under every ablation."""
    return Path(out) / "cases" / f"{_slug(case)}.{kind}.svg"


def certificate_path(out: str | Path, case: str, ablations: Sequence[str]) -> Path:
    """Where the certificate of a case under some ablations stands."""
    return Path(out) / "certificates" / f"{_slug(case)}.{'+'.join(ablations)}.json"


def result_path(out: str | Path, method: str, case: str, ablation: str, seed: int) -> Path:
    """Where a run writes the result of a job. Names are never parsed: the record says what it is of.

    >>> print(result_path("out", "eap_ig", "sort@v10n20/permute+pad#3", "resample", seed=0))
    out/results/eap_ig/sort@v10n20-permute+pad-3.resample.s0.json
    """
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


def check_folders(out: str | Path, methods: Iterable[str]) -> None:
    """Raise InputError where two methods would share a folder of results, here or on a system that ignores case.

    Methods whose results are in `out` already count too.
    """
    owners: dict[str, str] = {}
    for name in methods:
        if (other := owners.setdefault(_folded(name), name)) != name:
            raise InputError(_share(name, other, "a folder of results"))
    for folder in sorted(Path(out).glob("results/*/")):
        asked, path = owners.get(_folded(folder.name)), next(folder.glob("*.json"), None)
        there = None if asked is None or path is None else result_fields(path, ["method"])
        if asked is not None and there is not None and there["method"] != asked:
            raise InputError(_share(asked, str(there["method"])[:200], f"the folder {folder}"))


def _share(name: str, other: str, what: str) -> str:
    return f"the methods {name!r} and {other!r} would share {what}; rename one, in more than case or punctuation"


def _folded(name: str) -> str:
    """Equal for names that make one folder on some file system."""
    return unicodedata.normalize("NFKC", _slug(name)).casefold()


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._+@" else "-" for c in name).strip(".") or "-"


def _read(path: Path, model: type[AnyRecord]) -> AnyRecord:
    try:
        return parse_record(path.read_bytes(), str(path), model)
    except OSError as e:
        raise FileError(f"cannot read {path}: {e.strerror or e}") from e


def parse_record(data: bytes, where: str, model: type[AnyRecord]) -> AnyRecord:
    """The record in the content of a file, which messages call `where`. FileError where it is damaged or another."""
    try:
        fields = json.loads(data.decode("utf-8"))
    except ValueError as e:
        raise FileError(f"{where} is damaged or truncated, no whole JSON file: {e}") from e
    check_kind(fields, where, model)
    try:
        return model.model_validate(fields)
    except ValidationError as e:
        kind = model.model_fields["kind"].default
        raise FileError(f"{where} is no valid {kind} record: {first_problem(e)}") from e


def check_kind(data: Any, where: str, model: type[BaseModel]) -> None:
    """FileError where the data are no record of this kind, or one that another gaugeblock reads."""
    kind, ours = model.model_fields["kind"].default, model.model_fields["schema_version"].default
    if not isinstance(data, dict) or data.get("kind") != kind:
        raise FileError(f"{where} is no {kind} record of gaugeblock")
    if (version := data.get("schema_version")) != ours:
        raise FileError(f"{where} has schema version {repr(version)[:80]}; this gaugeblock reads version {ours}")


def first_problem(error: ValidationError, written: Callable[[str], str] = str) -> str:
    """The first thing that is wrong with a record, as one clause; `written` is how the place is put."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{written('.'.join(map(str, first['loc'])))}: {first['msg']}"
