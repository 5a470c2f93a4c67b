"""What the leaderboard keeps of a result: its scores and costs, and which edges its method put on top.

Edge scores, per-pair scores and the like stay in the files, so that a board of 100 000 results fits into memory.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from gaugeblock.evaluation.ranking import TopEdges, top_edges
from gaugeblock.evaluation.scores import SCORES
from gaugeblock.results.records import CaseRecord, Result
from gaugeblock.results.untrusted import printable

LONGEST_ERROR = 2000  # characters
LARGEST_NUMBER = 1e100
"""Numbers from here on are nonsense, and their sums no numbers at all: they count as undefined."""
PLACE = {name: i for i, name in enumerate(SCORES)}
"""Where a score stands among an entry's values."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One result, without what is large.

    Attributes:
        method, case, ablation, seed, status, control, error, seconds, forwards, backwards, memory, case_hash,
            metrics_version, versions, commit, dirty: as in `gaugeblock.results.records.Result`.
        folder: the name of the run or submission that it is from.
        identity: of the method's code and parameters; "" where the result does not say.
        values: its scores in the order of `SCORES`, NaN where undefined.
        points: of its faithfulness curve, NaN where undefined.
        taken: places, among positives then negatives of the case, of the edges that the method puts on top.
        open_places, tied: see `gaugeblock.evaluation.ranking.TopEdges`.
    """

    method: str
    case: str
    ablation: str
    seed: int
    status: str
    control: bool
    folder: str
    identity: str
    values: Float[np.ndarray, "scores"]
    points: Float[np.ndarray, "points 2"]
    taken: tuple[int, ...] | None
    open_places: int
    tied: int
    case_hash: str | None
    metrics_version: int | None
    seconds: float | None
    forwards: float | None
    backwards: float | None
    memory: float | None
    versions: Mapping[str, str]
    commit: str | None
    dirty: bool | None
    error: str | None

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def passes(self) -> float | None:
        """Forward and backward passes, a backward one counted as two."""
        return None if self.forwards is None else self.forwards + 2 * (self.backwards or 0)

    def score(self, name: str) -> float | None:
        """One of `SCORES`; None where it is undefined."""
        value = float(self.values[PLACE[name]])
        return None if np.isnan(value) else value

    @property
    def scores(self) -> dict[str, float | None]:
        return {name: self.score(name) for name in SCORES}

    @property
    def curve(self) -> list[tuple[float, float | None]]:
        """(share of edges in the circuit, faithfulness)."""
        return [(x, None if np.isnan(f) else f) for x, f in self.points.tolist()]

    def top_edges(self, case: CaseRecord) -> TopEdges | None:
        """Hits, misses and false alarms; None where the result holds no scores of this case's edges."""
        if self.taken is None:
            return None
        taken, size = set(self.taken), len(case.positives)
        return TopEdges(
            hits=tuple(e for i, e in enumerate(case.positives) if i in taken),
            misses=tuple(e for i, e in enumerate(case.positives) if i not in taken),
            false_alarms=tuple(e for i, e in enumerate(case.negatives, size) if i in taken),
            places=self.open_places,
            tied=self.tied,
        )


class Entries:
    """Makes entries; texts that many results share are kept once."""

    def __init__(self, cases: Iterable[CaseRecord]) -> None:
        """`cases`: all records there are, of every version; which edges a method puts on top is read off them."""
        self._cases = {(c.id, c.ablation, c.hash): _scored(c) for c in reversed(list(cases))}
        self._shared: dict[str, Mapping[str, str]] = {}

    def of(self, result: Result, folder: str = "") -> Entry:
        """The entry of a result from the folder of this name."""
        top = self._top(result) if result.status == "ok" else None
        versions = {name: printable(version) for name, version in result.versions.items()}
        return Entry(
            method=_text(result.method) or "",
            case=_text(result.case) or "",
            ablation=_text(result.ablation) or "",
            seed=result.seed,
            status=result.status,
            control=result.control,
            folder=folder,
            identity=sys.intern(_identity(result)),
            values=_numbers([result.scores.get(name) for name in SCORES]),
            points=_numbers([v for point in result.curve for v in point]).reshape(-1, 2),
            taken=None if top is None else top[0],
            open_places=0 if top is None else top[1].places,
            tied=0 if top is None else top[1].tied,
            case_hash=_text(result.case_hash),
            metrics_version=result.metrics_version,
            seconds=_cost(result.seconds),
            forwards=_cost(result.forwards),
            backwards=_cost(result.backwards),
            memory=_cost(result.memory),
            versions=self._shared.setdefault(json.dumps(versions), versions),
            commit=_text(result.commit),
            dirty=result.dirty,
            error=None if result.error is None else printable(result.error, LONGEST_ERROR),
        )

    def _top(self, result: Result) -> tuple[tuple[int, ...], TopEdges] | None:
        case, places = self._cases.get((result.case, result.ablation, result.case_hash or ""), (None, {}))
        if case is None or not places.keys() <= result.edge_scores.keys() or not 0 <= result.noise < LARGEST_NUMBER:
            return None
        top = top_edges(result.edge_scores, case.positives, case.negatives, signed=result.signed, noise=result.noise)
        return tuple(places[edge] for edge in (*top.hits, *top.false_alarms)), top


def _scored(case: CaseRecord) -> tuple[CaseRecord, dict[str, int]]:
    """A case, and where each of its scored edges stands in it."""
    return case, {edge: i for i, edge in enumerate([*case.positives, *case.negatives])}


def _text(text: str | None) -> str | None:
    return None if text is None else sys.intern(printable(text))


def _numbers(values: Sequence[float | None]) -> Float[np.ndarray, " values"]:
    numbers = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    return np.where(np.abs(numbers) < LARGEST_NUMBER, numbers, np.nan)


def _cost(value: float | None) -> float | None:
    return value if value is not None and 0 <= value < LARGEST_NUMBER else None


def _identity(result: Result) -> str:
    """Results of one method share it; a failed job does not say what it ran."""
    return json.dumps([result.method_source, result.params], sort_keys=True) if result.status == "ok" else ""
