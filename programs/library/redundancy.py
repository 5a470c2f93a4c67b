"""Programs in which parts stand in for each other or check each other.

They show what ablating one part at a time misses.
"""

from typing import Any

from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import everything, key, map_n, query, where
from gaugeblock.programs.program import program

TAGS = ("redundancy", "lookup", "causal")


def _first_reference(xs: list[str]) -> list[str]:
    return [xs[0]] * len(xs)


def _majority(a: str, b: str, c: str) -> str:
    """What two of three agree on; "?" if no two do."""
    return a if a in (b, c) else b if b == c else "?"


@program("abc", max_len=6, reference=_first_reference, tags=TAGS)
def two_of_three(tokens: SOp, indices: SOp) -> SOp:
    """The first token, fetched by three heads that look for it in three ways, and then voted on.

    No head matters alone; any two together do.
    """
    by_position = (key(indices) == 0).get(tokens)
    smallest = everything.best(indices, largest=False).get(tokens)
    farthest = (key(indices) <= query(indices)).best(-indices).get(tokens)
    return map_n(_majority, by_position, smallest, farthest)


def _itself(xs: list[str]) -> list[str]:
    return list(xs)


@program("abc", max_len=6, reference=_itself, tags=TAGS)
def self_check(tokens: SOp, indices: SOp) -> SOp:
    """The tokens; "?" if the first token, fetched by one head, is not what a second head finds that the first wrote.

    Both ways out of the first head matter, but not the head: ablated as a whole, it is wrong twice alike.
    """
    first = (key(indices) == 0).get(tokens)
    again = (key(indices) == query(indices)).get(first)
    return where(first == again, tokens, "?")


PROGRAMS = (two_of_three, self_check)
COLLECTED: dict[str, Any] = {}
