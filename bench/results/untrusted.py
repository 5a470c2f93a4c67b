"""Reading a folder that somebody else has written: nothing is followed, unpacked, unpickled or run, and nothing is read
before its size is known."""

import json
import math
import os
import stat
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from gaugeblock.programs.errors import FileError
from gaugeblock.submissions.manifest import inert_text

MAX_FILES = 100_000
MAX_FILE = 64 * 2**20  # bytes
MAX_FOLDER = 4 * 2**30  # bytes
MAX_LEVELS = 3  # of folders, the outer one counted
MAX_NESTING = 16  # of lists and objects in JSON
MAX_KEY = 1_000  # characters
MAX_STRING = 20_000  # characters
MAX_DIGITS = 20  # of an integer

NOT_OURS = (".git", ".gitattributes", ".cache")
"""What git and the Hugging Face hub put beside a submission; it is never read."""

Record = TypeVar("Record", bound=BaseModel)


def shown(value: object) -> str:
    """A value as it can be repeated in a message: escaped, and short."""
    text = repr(value[:200] if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def file_sizes(folder: Path) -> dict[str, int]:
    """Path in the folder -> size in bytes, of all files.

    FileError where anything is no plain file or folder, and where there is too much of anything.
    """
    found: dict[str, int] = {}
    open_folders = [(folder, "", 1)]
    while open_folders:
        here, prefix, level = open_folders.pop()
        entries = _entries(here)
        if level > 1 and not entries:
            raise FileError(f"{shown(prefix)} is an empty folder, which belongs to no submission")
        for name, status in entries:
            path = prefix + name
            if stat.S_ISLNK(status.st_mode):
                raise FileError(f"{shown(path)} is a symbolic link; a submission holds plain files only")
            if level == 1 and name in NOT_OURS:
                continue
            if stat.S_ISDIR(status.st_mode):
                if level >= MAX_LEVELS:
                    raise FileError(f"{shown(path)} is nested too deeply: files stand at most {MAX_LEVELS} levels deep")
                open_folders.append((here / name, f"{path}/", level + 1))
            elif not stat.S_ISREG(status.st_mode):
                raise FileError(f"{shown(path)} is neither a plain file nor a folder")
            elif status.st_size > MAX_FILE:
                raise FileError(f"{shown(path)} has {status.st_size} bytes; at most {MAX_FILE} are read")
            else:
                found[path] = status.st_size
        if max(len(found), len(entries)) > MAX_FILES or sum(found.values()) > MAX_FOLDER:
            raise FileError(f"the folder holds more than {MAX_FILES} files, or more than {MAX_FOLDER} bytes")
    return found


def _entries(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Name and status of what stands in a folder, no links followed; one more than may be, where there is too much."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in islice(entries, MAX_FILES + 1)]
    except OSError as e:
        raise FileError(f"cannot read the folder {shown(str(folder))}: {e.strerror or e}") from e
    return sorted(found, key=lambda entry: entry[0])


def read_bytes(folder: Path, path: str) -> bytes:
    """The content of a file of the folder. FileError where it is missing, a link, no plain file, or too large."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(folder / path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileError(f"{shown(path)} is not a plain file")
            data = file.read(MAX_FILE + 1)
    except OSError as e:
        raise FileError(f"cannot read {shown(path)}: {e.strerror or e}") from e
    except ValueError as e:
        raise FileError(f"cannot read {shown(path)}: {e}") from e
    if len(data) > MAX_FILE:
        raise FileError(f"{shown(path)} has more than {MAX_FILE} bytes")
    return data


def strict_json(data: bytes, where: str, max_string: int = MAX_STRING) -> Any:
    """The value of a JSON text; `where` names it in messages.

    FileError for anything but one UTF-8 JSON text with finite numbers of usual length, every key once per object,
    texts of possible length without control characters, and little nesting.
    """
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_each_once,
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_integer,
        )
    except UnicodeDecodeError:
        raise FileError(f"{where} is not JSON: it is no UTF-8 text; pickles and archives are never opened") from None
    except json.JSONDecodeError as e:
        raise FileError(f"{where} is not JSON, or is cut off: {e}") from None
    except RecursionError:
        raise FileError(f"{where} is nested too deeply") from None
    except ValueError as e:
        raise FileError(f"{where} is refused: {e}") from None
    try:
        _check_texts(value, max_string)
    except ValueError as e:
        raise FileError(f"{where} is refused: {e}") from None
    return value


def read_record(data: bytes, where: str, model: type[Record]) -> Record:
    """A record from strict JSON, with nothing converted. FileError with the first thing that is wrong."""
    value = strict_json(data, where)
    kind, version = model.model_fields["kind"].default, model.model_fields["schema_version"].default
    if not isinstance(value, dict) or value.get("kind") != kind:
        raise FileError(f"{where} is no {kind} record of gaugeblock")
    if value.get("schema_version") != version:
        given = shown(value.get("schema_version"))
        raise FileError(f"{where} has schema version {given}; this gaugeblock reads version {version}")
    try:
        return model.model_validate_json(data, strict=True)
    except ValidationError as e:
        first = e.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise FileError(f"{where} is no valid {kind} record: {shown(place)}: {first['msg']}") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {shown(text)} is infinite")
    return value


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the integer {shown(text)} has {len(text)} digits; at most {MAX_DIGITS} are possible")
    return int(text)


def _check_texts(value: Any, max_string: int) -> None:
    """ValueError where a text is too long or not inert, or the nesting too deep."""
    waiting = [(value, 1)]
    while waiting:
        item, level = waiting.pop()
        if isinstance(item, str):
            if len(item) > max_string:
                raise ValueError(
                    f"the text {shown(item)} has {len(item)} characters; at most {max_string} are possible"
                )
            inert_text(item)
        elif isinstance(item, dict | list):
            if level > MAX_NESTING:
                raise ValueError(f"it is nested more than {MAX_NESTING} levels deep")
            if isinstance(item, dict):
                for key in item:
                    if len(key) > MAX_KEY:
                        raise ValueError(
                            f"the key {shown(key)} has {len(key)} characters; at most {MAX_KEY} are possible"
                        )
                    inert_text(key)
            waiting += [(part, level + 1) for part in (item.values() if isinstance(item, dict) else item)]
