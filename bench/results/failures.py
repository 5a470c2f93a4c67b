"""What is said of jobs that failed, by a run when it ends and by a report of its folder."""

from collections.abc import Sequence
from typing import Protocol

from gaugeblock.results.untrusted import printable

LONGEST_REASON = 300  # characters


class Failure(Protocol):
    """A job that failed: a result, or an entry of the leaderboard."""

    @property
    def method(self) -> str: ...
    @property
    def case(self) -> str: ...
    @property
    def ablation(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def error(self) -> str | None: ...


def failures_text(failed: Sequence[Failure], where: str) -> str:
    """One line: how many jobs failed, the first of them with its reason, and where to look for the rest.

    >>> from gaugeblock.results import Result
    >>> lost = Result(status="timeout", method="eap", case="sort", ablation="mean", seed=1, error="not done after 5 s")
    >>> failures_text([lost], "out/results says more")
    '1 job failed: eap on sort (mean, seed 1): timeout: not done after 5 s; out/results says more'
    """
    first = failed[0]
    number = "1 job failed" if len(failed) == 1 else f"{len(failed)} jobs failed; the first"
    reason = " ".join((first.error or "no reason is given").split())[:LONGEST_REASON]
    job = f"{first.method} on {first.case} ({first.ablation}, seed {first.seed}): {first.status}"
    return printable(f"{number}: {job}: {reason}; {where}")
