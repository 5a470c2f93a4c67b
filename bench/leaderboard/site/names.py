"""Names of others as names of files, as anchors and as something to read."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

LONGEST: Final = 80  # characters of a name that are shown
_LONGEST_FILE: Final = 90
_RESERVED: Final = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}


def short(name: str, longest: int = LONGEST) -> str:
    """The name, its middle left out where it is too long to be shown.

    >>> short("a_very_long_name", 9)
    'a_ver…ame'
    """
    if len(name) <= longest:
        return name
    end = longest // 3
    return f"{name[: longest - end - 1]}…{name[-end:]}"


def slugs(names: Iterable[str]) -> Mapping[str, str]:
    """A file name for each name, the same on every board that has no other name like it.

    Letters, digits and ".", "_", "+", "@" of ASCII stay, all else becomes "-". Where two names would meet, also on a
    file system that knows no capitals, each gets a part of its hash.
    """
    names = list(dict.fromkeys(names))
    plain = {name: _slug(name) for name in names}
    count = Counter(slug.lower() for slug in plain.values())
    return {
        name: slug if count[slug.lower()] == 1 and slug.lower() not in _RESERVED else f"{slug}-{_digest(name)}"
        for name, slug in plain.items()
    }


def _slug(name: str) -> str:
    slug = re.sub(r"[^A-Za-z0-9._+@]+", "-", name).strip(".-") or _digest(name)
    return slug if len(slug) <= _LONGEST_FILE else f"{slug[:_LONGEST_FILE]}-{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:10]
