"""Programs in the RASP text language of Weiss, Goldberg and Yahav, "Thinking Like Transformers" (2021).

Read as by the language's interactive loop, with these things to know:

- `tokens` is `tokens_str`: text. Numbers are read with `tokens = tokens_int;` (or tokens_float, tokens_bool).
- A sequence holds numbers, booleans or text; which one is known before anything runs. `aggregate` takes the mean of
  numbers and copies booleans and text, of which at most one may be selected (several that agree are accepted). The
  program assumes that where it cannot be proved. Where no key is selected, it gives the default or, without one, 0 for
  numbers and False for booleans; for text that is an error, as sequences do not mix text and numbers.
- Means, quotients and decimals such as 0.1 are exact fractions, so `balance == 0` never fails by rounding.
- `selector_width` counts exactly; `selector_width(sel, True)` leaves out position 0, which then marks the beginning.
- Comparing text with numbers is an error, not False.
- Operators bind and group as in the language's own grammar, which is not Python's (see `rasp_grammar`).
- Added to the language: `!=` between s-ops, default values and names for arguments, a dict indexed by an s-op,
  the functions str, int, float, bool and abs.
- The library (`rasp_library`) is there from the start; `load` takes what is built in. `draw(...)`, inputs given to
  s-ops, and commands such as `set example` are skipped.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gaugeblock.programs.domain import ALL_INPUTS, Domain
from gaugeblock.programs.errors import FileError, ProgramError
from gaugeblock.programs.language.expression import Tokens
from gaugeblock.programs.language.operations import plain
from gaugeblock.programs.program import Program
from gaugeblock.programs.readers.rasp_evaluation import Reading
from gaugeblock.programs.readers.rasp_grammar import leading_comment, parse


def from_rasp(
    text: str | Path,
    vocab: Iterable[Any],
    max_len: int,
    *,
    name: str | None = None,
    output: str | Sequence[str] | None = None,
    domain: Domain = ALL_INPUTS,
    reference: Callable[[list[Any]], list[Any]] | None = None,
    tags: Iterable[str] = (),
) -> Program:
    """The program that a RASP text, or the file of a path, describes.

    Args:
        text: statements; a comment at the beginning becomes the description.
        vocab: the tokens; the text decides whether they are read as text or as numbers.
        output: the name of the s-op that the program computes, or several names for a program with several outputs;
            by default the s-op of the last statement that gives one.
        name: by default the name of the output.
        domain, reference, tags: as for `program`.

    Raises ProgramError with the line, for a text that is not well formed, a name that is unknown, or values that do
    not fit together; FileError for a file that cannot be read.

    >>> hist = from_rasp("hist = selector_width(select(tokens, tokens, ==));", vocab="abc", max_len=4)
    >>> hist.name, hist(["a", "b", "a"])
    ('hist', [2, 1, 2])
    """
    file, source = _source(text)
    try:
        tokens = tuple(plain(token) for token in vocab)
    except TypeError:
        raise ProgramError(f"the vocabulary of {file} is {vocab!r}, not hashable tokens") from None
    if not tokens:
        raise ProgramError(f"the vocabulary of {file} is empty")
    outputs = (output,) if isinstance(output, str) else tuple(output or ())
    try:
        reading = Reading(parse(source), source, file, tokens, max_len, outputs)
        by_name = reading.outputs_on(Tokens())
    except ProgramError as error:
        raise ProgramError(f"{file}: {error}") from error
    return Program(
        name=name or ", ".join(by_name),
        build=reading,
        vocab=tokens,
        max_len=max_len,
        description=leading_comment(source),
        reference=reference,
        domain=domain,
        tags=tuple(tags),
        source=source,
    )


def _source(text: str | Path) -> tuple[str, str]:
    """What to call a text, and the text itself."""
    if isinstance(text, str):
        return "<rasp text>", text
    try:
        return text.name, text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{text} cannot be read: {error}") from None
