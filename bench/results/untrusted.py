"""Reading what somebody else has written: nothing is followed, unpacked, unpickled or run, nothing is read before its
size is known, and no text drives a terminal or breaks a page."""

import errno
import json
import math
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from gaugeblock.programs.errors import FileError
from gaugeblock.results.files import check_kind, first_problem

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

_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of writing."""

_LOOKS = {
    ord(character): letter
    for letter, characters in {
        "a": "аАΑαɑᴀ", "b": "ВвЬьΒβ", "c": "сСϲϹᴄ", "d": "ԁɗᴅ", "e": "еЕΕεɛᴇҽ", "f": "ƒғ", "g": "ɡɢԌցք", "h": "һНнΗհʜ",
        "i": "іІΙιıɩɪӀӏӀLlI1|ǀ∣", "j": "јЈȷᴊ", "k": "кКΚκᴋ", "m": "мМΜᴍ", "n": "ηΝոռɴп", "o": "оОΟοσօᴏ0", "p": "рРΡρᴘ",
        "q": "ԛզ", "r": "гʀ", "s": "ѕЅꜱʂ", "t": "тТΤτᴛ", "u": "υսᴜ", "v": "νѵᴠ", "w": "ԝωᴡ", "x": "хХΧχ", "y": "уУүҮΥγ",
        "z": "ΖᴢƵ", "oe": "œŒ", "ae": "æÆ",
    }.items()
    for character in characters
}  # fmt: skip
"""Characters that pass for others; one and l and i are one."""
_EMPTY = frozenset("\u115f\u1160\u3164\uffa0")
"""Letters that show nothing."""


def quoted(value: object) -> str:
    """The value as a message can repeat it: escaped, and short.

    >>> quoted("two\\nlines")
    "'two\\\\nlines'"
    """
    text = repr(value[:200] if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def printable(text: str, longest: int | None = None, kept: str = "\n") -> str:
    """The text with what no terminal, page or file can hold made visible; `kept` are control characters that stay.

    >>> printable("red: \\x1b[31m")
    'red: \N{REPLACEMENT CHARACTER}[31m'
    """
    text = text[:longest]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else "\N{REPLACEMENT CHARACTER}" for c in text)


def inert_text(text: str) -> str:
    """The text itself. ValueError where it holds characters that drive a terminal or turn the direction of writing."""
    for character in text:
        if character in _TURNS or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t"):
            raise ValueError(f"the character U+{ord(character):04X} is not possible in a text")
    return text


def skeleton(name: str) -> str:
    """The name as it looks to somebody who reads fast: names of one skeleton pass for one another.

    Without case, accents, punctuation, space and what is invisible; letters and digits that look alike are one.

    >>> skeleton("EAP-IG") == skeleton("eap_ig ") == skeleton("еар.1g")
    True
    """
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name.translate(_LOOKS)).casefold())
    text = "".join(c for c in text.translate(_LOOKS) if unicodedata.category(c)[0] in "LN" and c not in _EMPTY)
    for several, one in (("rn", "m"), ("vv", "w"), ("cl", "d")):
        text = text.replace(several, one)
    return text


def look_alike(name: str, names: Iterable[str]) -> str | None:
    """The first of the names that is another one than `name`, and looks like it; None where none does."""
    seen = skeleton(name)
    return next((other for other in names if other != name and skeleton(other) == seen), None)


def file_sizes(folder: Path) -> dict[str, int]:
    """Path in the folder -> size in bytes, of all files.

    FileError where anything is no plain file or folder, and where there is too much of anything.
    """
    sizes: dict[str, int] = {}
    open_folders = [(folder, "", 1)]
    while open_folders:
        here, prefix, level = open_folders.pop()
        entries = _entries(here)
        if level > 1 and not entries:
            raise FileError(f"{quoted(prefix)} is an empty folder, which belongs to no submission")
        for name, status in entries:
            path = prefix + name
            if stat.S_ISLNK(status.st_mode):
                raise FileError(f"{quoted(path)} is a symbolic link; a submission holds plain files only")
            if level == 1 and name in NOT_OURS:
                continue
            if stat.S_ISDIR(status.st_mode):
                if level >= MAX_LEVELS:
                    raise FileError(f"{quoted(path)} is nested too deeply: files stand at most {MAX_LEVELS} deep")
                open_folders.append((here / name, f"{path}/", level + 1))
            elif not stat.S_ISREG(status.st_mode):
                raise FileError(f"{quoted(path)} is neither a plain file nor a folder")
            elif status.st_size > MAX_FILE:
                raise FileError(f"{quoted(path)} has {status.st_size} bytes; at most {MAX_FILE} are read")
            else:
                sizes[path] = status.st_size
        if max(len(sizes), len(entries)) > MAX_FILES or sum(sizes.values()) > MAX_FOLDER:
            raise FileError(f"the folder holds more than {MAX_FILES} files, or more than {MAX_FOLDER} bytes")
    return sizes


def _entries(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Name and status of what stands in a folder, no links followed; one more than may be, where there is too much."""
    try:
        with os.scandir(folder) as entries:
            some = [(entry.name, entry.stat(follow_symlinks=False)) for entry in islice(entries, MAX_FILES + 1)]
    except OSError as e:
        raise FileError(f"cannot read the folder {quoted(str(folder))}: {e.strerror or e}") from e
    return sorted(some, key=lambda entry: entry[0])


def read_bytes(path: Path, name: str | None = None, largest: int = MAX_FILE) -> bytes:
    """The content of a plain file, called `name` in messages. FileError where it is missing, a link, or too large."""
    name = quoted(str(path) if name is None else name)
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileError(f"{name} is no plain file")
            data = file.read(largest + 1)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise FileError(f"{name} is no plain file: it is a symbolic link") from e
        raise FileError(f"cannot read {name}: {e.strerror or e}") from e
    except ValueError as e:
        raise FileError(f"cannot read {name}: {e}") from e
    if len(data) > largest:
        raise FileError(f"{name} has more than {largest:,} bytes")
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
    check_kind(value, where, model)
    try:
        return model.model_validate_json(data, strict=True)
    except ValidationError as e:
        kind = model.model_fields["kind"].default
        raise FileError(f"{where} is no valid {kind} record: {first_problem(e, quoted)}") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    once = dict(pairs)
    if len(once) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {quoted(twice)} stands twice in one object")
    return once


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {quoted(text)} is infinite")
    return value


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the integer {quoted(text)} has {len(text)} digits; at most {MAX_DIGITS} are possible")
    return int(text)


def _check_texts(value: Any, max_string: int) -> None:
    """ValueError where a text is too long or not inert, or the nesting too deep."""
    waiting = [(value, 1)]
    while waiting:
        item, level = waiting.pop()
        if isinstance(item, str):
            if len(item) > max_string:
                raise ValueError(
                    f"the text {quoted(item)} has {len(item)} characters; at most {max_string} are possible"
                )
            inert_text(item)
        elif isinstance(item, dict | list):
            if level > MAX_NESTING:
                raise ValueError(f"it is nested more than {MAX_NESTING} levels deep")
            if isinstance(item, dict):
                for key in item:
                    if len(key) > MAX_KEY:
                        raise ValueError(
                            f"the key {quoted(key)} has {len(key)} characters; at most {MAX_KEY} are possible"
                        )
                    inert_text(key)
            waiting += [(part, level + 1) for part in (item.values() if isinstance(item, dict) else item)]
