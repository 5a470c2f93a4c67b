"""Every error gaugeblock raises on purpose; the command line turns each into one message and exit code 2."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


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


class UnknownName(GaugeblockError):
    """A name that nothing is registered under."""

    def __init__(self, kind: str, given: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = get_close_matches(given, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}"
        super().__init__(f"no {kind} is named {given[:100]!r}; {hint}")

    def __reduce__(self) -> Any:  # between processes only the message travels
        return _unknown_name, (str(self),)


def _unknown_name(message: str) -> UnknownName:
    error = UnknownName.__new__(UnknownName)
    error.args = (message,)
    return error
