"""The programs of a season: candidates drawn one after the other from one number, the seed of the season."""

import hashlib
import re
from dataclasses import replace
from typing import Final

import numpy as np

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.generation.generator import generate
from gaugeblock.programs.program import Program

SEASON_VERSION: Final = 1
"""The version of how candidates are drawn and chosen; raised when the same seed gives another season."""

SEED_BITS: Final = 512
"""The bits that a seed has at most."""

CONSTRUCTS_LEFT_OUT: Final = ("several outputs", "unique", "graph", "edges")
"""Constructs left out: a case has one output, and what is asserted needs no proof; inputs are lists of tokens."""

_NAME: Final = re.compile(r"season\(seed=(?P<seed>0|[1-9]\d{0,199}),index=(?P<index>0|[1-9]\d{0,8})\)")


def season_name(seed: int, index: int) -> str:
    """The name of candidate `index`; the only way to write it, so that a case has one id."""
    return f"season(seed={seed},index={index})"


def season_program(name: str) -> Program:
    """The program behind a name like "season(seed=7,index=3)".

    The same in every process. Raises ProgramError for another form, and where the number gives no program.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ProgramError(
            f"{name[:200]!r} is no program of a season; write season(seed=7,index=3), with numbers and no spaces"
        )
    seed, index = int(match["seed"]), int(match["index"])
    check_seed(seed)
    drawn = derived(seed, index, "program")
    rng = np.random.default_rng(drawn)
    program = generate(
        drawn,
        size=int(rng.integers(4, 13)),
        depth=int(rng.choice([2, 3, 4], p=[0.5, 0.35, 0.15])),
        max_len=int(rng.integers(5, 9)),
        without=CONSTRUCTS_LEFT_OUT,
    )
    return replace(
        program,
        name=name,
        description=f"Generated: candidate {index} of season {seed}.",
        source=program.source.replace(repr(program.name), repr(name)),
    )


def derived(seed: int, index: int, purpose: str) -> int:
    """A number of 63 bits that nobody can guess who does not know the seed."""
    digest = hashlib.sha256(f"gaugeblock season/{SEASON_VERSION}/{purpose}/{seed}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def check_seed(seed: int) -> None:
    """Raises ProgramError for a negative seed, or one of more than SEED_BITS bits."""
    if seed < 0 or seed.bit_length() > SEED_BITS:
        raise ProgramError(f"the seed of a season is a whole number from 0 to 2**{SEED_BITS} - 1")
