"""The numbers and lines of text that the tables and the picture of a comparison share."""

from typing import Final

from gaugeblock.comparison.figures import Example, Figures
from gaugeblock.metrics.bootstrap import Interval
from gaugeblock.programs.printing import value_text

MAX_POSITIONS_SHOWN: Final = 24
"""Positions of an example that are shown: around the one that diverges most."""


def estimate_text(interval: Interval) -> str:
    """The estimate, with three digits."""
    return number_text(interval.estimate)


def number_text(value: float) -> str:
    """A number with three digits, or three behind the point where it is below 10."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3f}".replace("-", "−") if abs(value) < 10 else f"{value:.1f}".replace("-", "−")
    return f"{value:.1e}".replace("-", "−")


def range_text(interval: Interval) -> str:
    """Both ends, or a dash where there are none."""
    if interval.low is None or interval.high is None:
        return "–"
    return f"{number_text(interval.low)} to {number_text(interval.high)}"


def count_text(n: int, noun: str) -> str:
    """A number of things: "1 example", "2,000 positions"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def headline(figures: Figures, example: Example, places: range) -> str:
    """How much an example diverges, and which of its positions are shown."""
    unit = "" if figures.numeric else " nats"
    measure = figures.measure.removesuffix(", nats")
    text = f"example {example.index}: {measure} {number_text(example.divergence)}{unit}"
    if len(places) < len(example.tokens):
        text += f"; positions {places.start} to {places.stop - 1} of {len(example.tokens)}"
    return text


def example_rows(example: Example) -> list[tuple[str, list[str], list[bool]]]:
    """(name, texts, whether to mark each) of the tokens, the model's answers and the swapped model's, in a window."""
    places = window(example)
    answers = [example.answers.get(p) for p in places]
    differs = [p in example.answers and not example.agreed[p] for p in places]
    unmarked = [False] * len(places)
    return [
        ("tokens", [value_text(example.tokens[p]) for p in places], unmarked),
        ("model", ["" if pair is None else value_text(pair[0]) for pair in answers], unmarked),
        ("swapped", ["" if pair is None else value_text(pair[1]) for pair in answers], differs),
    ]


def window(example: Example) -> range:
    """The positions that are shown."""
    first = max(0, min(example.worst - MAX_POSITIONS_SHOWN // 2, len(example.tokens) - MAX_POSITIONS_SHOWN))
    return range(first, min(first + MAX_POSITIONS_SHOWN, len(example.tokens)))
