"""Claims: lines of a certificate, and how their sentences are put."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

LOGIT = 10.0
"""Logit of the right output of a categorical model; all others are 0."""

EXACT = 1e-6
"""Logits equal what the program says to this: absolutely, and relative to numeric outputs above 1."""


@final
@dataclass(frozen=True)
class Claim:
    """One line of a certificate.

    Attributes:
        claim: its name.
        ablation: None where it does not depend on one.
        checked: how many things were compared.
        detail: one sentence: numbers where it holds, what contradicts it where it does not.
    """

    claim: str
    ablation: str | None
    ok: bool
    checked: int
    detail: str


def make_claim(name: str, ablation: str | None, checked: int, wrong: Sequence[str], passing: str) -> Claim:
    """Return a claim that holds if nothing is wrong; `passing` is what is said then."""
    failing = "; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more" if len(wrong) > 4 else "")
    return Claim(name, ablation, not wrong, checked, failing or passing)


def named(what: str, names: Iterable[str]) -> list[str]:
    """Return one complaint that names some of what it is about; none where there is nothing."""
    ordered = sorted(names)
    return [f"{what}: {some(ordered)}"] if ordered else []


def some(items: Sequence[Any], limit: int = 5) -> str:
    """Return the first few, and how many more there are."""
    shown = ", ".join(map(str, items[:limit])) or "none"
    return shown + (f" and {len(items) - limit} more" if len(items) > limit else "")
