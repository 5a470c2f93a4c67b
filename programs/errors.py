"""Every error gaugeblock raises on purpose; the command line turns each into one message and exit code 2."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final

MAX_NAMES_LISTED: Final = 60
"""Up to so many known names are listed; of more, only the nearest."""

NEAREST_NAMES_LISTED: Final = 10


class GaugeblockError(Exception):
    """Base of all errors below."""


class ProgramError(GaugeblockError):
    """A program that is not well formed, or that has no value on some input."""


class InputError(GaugeblockError):
    """An input that a program or model does not take: empty, too long, a foreign token, out of domain."""


class CompileError(GaugeblockError):
    """A program that cannot be compiled as asked: too large, or with margins that are too small."""


class MethodError(GaugeblockError):
    """An interpretability method that failed or returned what the protocol does not allow."""


class FileError(GaugeblockError):
    """A file that is missing, damaged, truncated or of another kind."""


class WriteError(FileError, OSError):
    """A file that cannot be written: a full disk, a read-only folder, no permission. Made as an OSError is."""

    def __str__(self) -> str:
        return f"cannot write {self.filename}: {self.strerror}"


class UnknownName(GaugeblockError):
    """A name that nothing is registered under."""

    def __init__(self, kind: str, given: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = get_close_matches(given, names, n=3, cutoff=0.5)
        if close:
            hint = f"did you mean {' or '.join(close)}?"
        elif len(names) <= MAX_NAMES_LISTED:
            hint = f"known: {', '.join(names)}"
        else:
            nearest = get_close_matches(given, names, n=NEAREST_NAMES_LISTED, cutoff=0)
            hint = f"the nearest of the {len(names)} there are: {', '.join(nearest)}"
        super().__init__(f"no {kind} is named {given[:100]!r}; {hint}")

    def __reduce__(self) -> Any:  # between processes only the message travels
        return _unknown_name, (str(self),)


def _unknown_name(message: str) -> UnknownName:
    error = UnknownName.__new__(UnknownName)
    error.args = (message,)
    return error


def check_seed(seed: int) -> None:
    """Raise InputError for a negative seed.

    >>> check_seed(0)
    """
    if seed < 0:
        raise InputError(f"the seed {seed} is negative; seeds are 0, 1, 2, ...")
