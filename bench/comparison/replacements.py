"""Components as the command line names them: `a1.h0=prev_token`, `m0=zero`, `m1=my.py:function`."""

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gaugeblock.compiled.swapping.components import Mean, Zero
from gaugeblock.programs.errors import InputError, UnknownName
from gaugeblock.programs.language.expression import Indices, Tokens
from gaugeblock.programs.language.functions import causal, everything, key, local, query, same_block, strided
from gaugeblock.programs.language.selector import Selector
from gaugeblock.programs.loading import function_in

_CALL = re.compile(r"(\w+)(?:\((\d+)\))?")


def _prev_token() -> Selector:
    return key(Indices()) == query(Indices() - 1)


def _same_token() -> Selector:
    return key(Tokens()) == query(Tokens())


def _first() -> Selector:
    return key(Indices() == 0).selector()


def _induction() -> Selector:
    followed = _prev_token().get(Tokens(), default=None)
    return (key(followed) == query(Tokens())) & (key(Indices()) <= query(Indices()))


SELECTORS: Mapping[str, Callable[..., Selector]] = {
    "prev_token": _prev_token,
    "same_token": _same_token,
    "induction": _induction,
    "first": _first,
    "causal": lambda: causal,
    "everything": lambda: everything,
    "local": local,
    "strided": strided,
    "same_block": same_block,
}
"""Attention patterns by name; the last three take a number: `local(5)`."""


def parse_replacement(text: str, tokens: Tensor) -> tuple[str, Any]:
    """(site, component) of "site=component". `tokens` are the data that a mean is taken over.

    A component is `zero`, `mean`, the name of a selector (SELECTORS), or "file.py:function".

    Raises InputError where the text has another form, UnknownName for a component there is none of.
    """
    site, equals, what = (part.strip() for part in text.partition("="))
    if not (site and equals and what):
        raise InputError(f"{text!r} is no replacement; write SITE=COMPONENT, such as a1.h0=prev_token or m0=zero")
    if what in ("zero", "mean"):
        return site, Zero() if what == "zero" else Mean(tokens)
    file, colon, function = what.rpartition(":")
    if colon and file.endswith(".py"):
        return site, function_in(Path(file), function, InputError)
    match = _CALL.fullmatch(what)
    if match is None or match[1] not in SELECTORS:
        raise UnknownName("component", what, ["zero", "mean", *SELECTORS, "file.py:function"])
    make = SELECTORS[match[1]]
    takes_number = bool(inspect.signature(make).parameters)
    if takes_number != (match[2] is not None):
        raise InputError(f"{what!r} is not possible; write {match[1]}{'(5)' if takes_number else ''}")
    return site, make(int(match[2])) if takes_number else make()
