"""Minimal sufficient sets of edges: everything else ablated, no graded logit changes, and no edge can be spared.

Effects are not monotone: an edge that matters alone may be spared once others are ablated with it, so positives need
not be minimal, and there may be several minimal sets.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Bool

MAX_EDGES_ENUMERATED = 10
"""Up to so many edges that could matter, all sets of them are tried."""

MAX_SETS_TRIED = 2_000
"""Where there are more edges, the search stops once so many sets were tried."""

SETS_PER_RUN = 256

Moves = Callable[[Sequence[tuple[str, ...]]], Bool[np.ndarray, " sets"]]
"""Whether ablating each set of edges changes a graded logit of some pair."""

FoundBy = Literal["enumeration", "search", "part of a search"]


@final
@dataclass(frozen=True)
class Sufficient:
    """Minimal sufficient sets of edges, and how they were looked for.

    Attributes:
        sets: smallest first.
        found_by: "enumeration": these are all there are. "search": those that can be reached from the positives by
            leaving out one or two edges at a time; no one and no two edges of any of them can be left out. "part of a
            search": the search was cut short, and there may be more of that kind.
        tried: how many sets were ablated.
    """

    sets: tuple[frozenset[str], ...]
    found_by: FoundBy
    tried: int

    def to_dict(self) -> dict[str, Any]:
        """Return sorted lists, for JSON."""
        return {"sets": [sorted(s) for s in self.sets], "found_by": self.found_by, "tried": self.tried}


def sufficient_sets(candidates: Sequence[str], positives: frozenset[str], moves: Moves) -> Sufficient:
    """Return minimal sufficient sets among the edges that could matter (`candidates`), of which some are positive.

    >>> either = lambda sets: np.array([{"a", "b"} <= set(ablated) for ablated in sets])
    >>> [sorted(edges) for edges in sufficient_sets(["a", "b"], frozenset(), either).sets]
    [['a'], ['b']]
    """
    search = _Search(candidates, moves)
    if len(candidates) <= MAX_EDGES_ENUMERATED:
        return Sufficient(tuple(search.everywhere()), "enumeration", search.tried)
    sets, whole = search.below(positives)
    return Sufficient(tuple(sets), "search" if whole else "part of a search", search.tried)


@final
class _Search:
    def __init__(self, candidates: Sequence[str], moves: Moves) -> None:
        self.candidates, self.moves, self.tried = candidates, moves, 0

    def everywhere(self) -> list[frozenset[str]]:
        minimal: list[frozenset[str]] = []
        for size in range(len(self.candidates) + 1):
            sets = [frozenset(s) for s in combinations(self.candidates, size)]
            sets = [s for s in sets if not any(smaller <= s for smaller in minimal)]
            minimal += self._sufficient(sets)
        return minimal

    def below(self, start: frozenset[str]) -> tuple[list[frozenset[str]], bool]:
        """Walk from sufficient sets to sufficient sets inside them; say whether all of them were seen."""
        minimal, seen, waiting = [], {start}, self._sufficient([start])
        while waiting and self.tried <= MAX_SETS_TRIED:
            current = waiting.pop()
            smaller = [current - frozenset(out) for n in (1, 2) for out in combinations(sorted(current), n)]
            inside = self._sufficient(smaller)
            waiting += [s for s in inside if s not in seen]
            seen.update(inside)
            if not inside:
                minimal.append(current)
        return sorted(minimal, key=lambda s: (len(s), sorted(s))), not waiting

    def _sufficient(self, sets: Sequence[frozenset[str]]) -> list[frozenset[str]]:
        """Return the sets of which nothing outside changes a graded logit."""
        sufficient: list[frozenset[str]] = []
        for start in range(0, len(sets), SETS_PER_RUN):
            some = sets[start : start + SETS_PER_RUN]
            moved = self.moves([self._rest(s) for s in some])
            sufficient += [s for s, m in zip(some, moved, strict=True) if not m]
        self.tried += len(sets)
        return sufficient

    def _rest(self, kept: Iterable[str]) -> tuple[str, ...]:
        inside = set(kept)
        return tuple(edge for edge in self.candidates if edge not in inside)
