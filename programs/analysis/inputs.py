"""The inputs that a program is looked at on: all of its domain where they are few, else samples."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from gaugeblock.programs.program import Program

MAX_INPUTS_ENUMERATED: Final = 100_000
"""Inputs that are gone through, if the domain has no more."""

INPUTS_SAMPLED: Final = 2_000
"""Inputs that are sampled where the domain has more."""

INPUTS_AT_ONCE: Final = 5_000
"""Inputs evaluated at a time."""


def domain_inputs(program: Program, limit: int) -> tuple[list[list[Any]], bool]:
    """Every input of the domain, or samples; and whether it is every one."""
    everything = program.domain.enumerate(program.vocab, program.max_len, limit)
    if everything is not None:
        return list(everything), True
    return program.sample(np.random.default_rng(0), INPUTS_SAMPLED), False


def chunks(inputs: Sequence[list[Any]]) -> Iterator[Sequence[list[Any]]]:
    """The inputs in parts that are evaluated one after the other."""
    for start in range(0, len(inputs), INPUTS_AT_ONCE):
        yield inputs[start : start + INPUTS_AT_ONCE]
