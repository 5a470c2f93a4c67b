"""The figures of a model and a swapped one on the same examples: what is lost, where, and in which examples."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Float, Int

from gaugeblock.metrics.bootstrap import Interval, mean_interval
from gaugeblock.programs.printing import value_text

N_WORST: Final = 5

ROUNDING_DIVERGENCE: Final = 1e-9
"""Divergences up to this are rounding."""

LEAST_LOSS_TO_RECOVER: Final = 1e-7
"""A baseline whose loss is above the model's by less, relative to 1 + loss, loses nothing that could be recovered."""

MAX_RESAMPLES: Final = 2000
"""Resamples of the bootstrap; fewer, but at least 100, where examples are so many that MAX_DRAWN would be passed."""

MAX_DRAWN: Final = 2**23

SHARE: Final = (0.0, 1.0)
"""Bounds of a share."""

MAX_NUMBERS_GROUPED: Final = 100
"""Different numbers that a model may give and still be looked at by output."""


@final
@dataclass(frozen=True)
class PositionGroup:
    """The positions that have something in common: `label` is their place in the row, or the model's answer there."""

    label: Any
    n: int
    accuracy: Interval
    divergence: Interval


@final
@dataclass(frozen=True)
class Example:
    """One row of tokens.

    Attributes:
        index: in the data.
        tokens: by their names, where they have some; PAD at the end is left out.
        answers: compared position -> what the model and the swapped one say there.
        agreed: compared position -> whether that is the same.
        divergence: mean over its compared positions.
        worst: the position where it is largest.
    """

    index: int
    tokens: tuple[Any, ...]
    answers: dict[int, tuple[Any, Any]]
    agreed: dict[int, bool]
    divergence: float
    worst: int


@dataclass(frozen=True, eq=False, repr=False)
class Figures:
    """A model and a swapped one on the same examples.

    Arrays have one entry per compared position, row after row of `tokens`. Intervals are 95 % bootstrap intervals
    over examples; means run over positions, each of equal weight.

    Attributes:
        tokens: ids, of all examples.
        numeric: whether the output is one number instead of a choice.
        examples, places: where each position is: its row and its column in `tokens`.
        answers, swapped_answers: what the two models say, as values of the program for a compiled model.
        agreed: 1 where these are the same, 0 where not; between where largest logits tie, |A ∩ B| / |A ∪ B|.
        divergences: KL(model ‖ swapped) in nats, or the squared difference of numbers.
        losses, swapped_losses, baseline_losses: cross-entropy in nats, or squared error; no third without a baseline.
        token_names: the tokens by id, where they have names; the last one is PAD.
        seed: of the bootstrap.
    """

    tokens: Int[np.ndarray, "n pos"]
    numeric: bool
    examples: Int[np.ndarray, " positions"]
    places: Int[np.ndarray, " positions"]
    answers: tuple[Any, ...]
    swapped_answers: tuple[Any, ...]
    agreed: Float[np.ndarray, " positions"]
    divergences: Float[np.ndarray, " positions"]
    losses: Float[np.ndarray, " positions"]
    swapped_losses: Float[np.ndarray, " positions"]
    baseline_losses: Float[np.ndarray, " positions"] | None = None
    token_names: tuple[Any, ...] = ()
    seed: int = 0

    @cached_property
    def accuracy(self) -> Interval:
        """Share of positions where both give the same answer. 0 to 1, higher is better."""
        return self._mean(self.agreed, bounds=SHARE)

    @cached_property
    def divergence(self) -> Interval:
        """Mean KL(model ‖ swapped) in nats, of numbers the mean squared difference. From 0, lower is better."""
        return self._mean(self.divergences)

    @property
    def kl(self) -> Interval | None:
        """`divergence` where the output is a choice."""
        return None if self.numeric else self.divergence

    @cached_property
    def loss(self) -> Interval:
        """Mean loss of the model."""
        return self._mean(self.losses)

    @cached_property
    def swapped_loss(self) -> Interval:
        """Mean loss of the swapped model."""
        return self._mean(self.swapped_losses)

    @cached_property
    def baseline_loss(self) -> Interval | None:
        """Mean loss of the baseline, if one was given."""
        return None if self.baseline_losses is None else self._mean(self.baseline_losses)

    @cached_property
    def loss_recovered(self) -> Interval | None:
        """(baseline − swapped) / (baseline − model), of mean losses: 1 nothing is lost, 0 as bad as the baseline.

        Above 1 where the swapped model is better than the model, below 0 where it is worse than the baseline. None
        without a baseline, or where the baseline's loss is not above the model's. Source: Chan et al. (2022), causal
        scrubbing.
        """
        if self.baseline_losses is None:
            return None
        lost = np.bincount(self.examples, self.baseline_losses - self.losses)
        kept = np.bincount(self.examples, self.baseline_losses - self.swapped_losses)
        rows = np.unique(self.examples)
        lost, kept = lost[rows], kept[rows]
        if lost.sum() <= LEAST_LOSS_TO_RECOVER * len(self.examples) * (1 + self.losses.mean()):
            return None
        estimate = float(kept.sum() / lost.sum())
        drawn = np.random.default_rng(self.seed).integers(len(rows), size=(self._n_resamples, len(rows)))
        spans = lost[drawn].sum(axis=1)
        if len(rows) == 1 or spans.min() <= 0:
            return Interval(estimate, None, None, len(rows))
        low, high = np.quantile(kept[drawn].sum(axis=1) / spans, [0.025, 0.975])
        return Interval(estimate, float(low), float(high), len(rows))

    @property
    def measure(self) -> str:
        """The name of the divergence with its unit."""
        return "squared difference" if self.numeric else "KL, nats"

    def by_name(self) -> list[tuple[str, Interval]]:
        """The figures of the whole that are defined, under the names that tables and pictures give them."""
        named = [
            ("accuracy", self.accuracy),
            (self.measure, self.divergence),
            ("loss of the model", self.loss),
            ("loss of the swapped", self.swapped_loss),
            ("loss of the baseline", self.baseline_loss),
            ("loss recovered", self.loss_recovered),
        ]
        return [(name, interval) for name, interval in named if interval is not None]

    @cached_property
    def by_position(self) -> tuple[PositionGroup, ...]:
        """One group per compared column of `tokens`."""
        return tuple(self._group(place, self.places == place) for place in np.unique(self.places).tolist())

    @cached_property
    def by_output(self) -> tuple[PositionGroup, ...]:
        """One group per answer of the model, the most frequent first; none of more than MAX_NUMBERS_GROUPED numbers."""
        kinds = [(type(answer), answer) for answer in self.answers]  # True is not 1
        codes = {kind: code for code, kind in enumerate(dict.fromkeys(kinds))}
        if self.numeric and len(codes) > MAX_NUMBERS_GROUPED:
            return ()
        code_of = np.array([codes[kind] for kind in kinds])
        groups = [self._group(answer, code_of == code) for (_, answer), code in codes.items()]
        return tuple(sorted(groups, key=lambda group: -group.n))

    @cached_property
    def worst(self) -> tuple[Example, ...]:
        """The N_WORST examples that diverge most; none that do not diverge."""
        counts = np.maximum(np.bincount(self.examples), 1)
        means = np.bincount(self.examples, self.divergences) / counts
        order = np.argsort(-means, kind="stable")[:N_WORST]
        return tuple(self._example(int(row), float(means[row])) for row in order if means[row] > ROUNDING_DIVERGENCE)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the values of single positions, as plain data for JSON."""

        def group(of: PositionGroup) -> dict[str, Any]:
            return {"n": of.n, "accuracy": asdict(of.accuracy), "divergence": asdict(of.divergence)}

        def interval(of: Interval | None) -> dict[str, Any] | None:
            return None if of is None else asdict(of)

        return {
            "examples": len(np.unique(self.examples)),
            "positions": len(self.examples),
            "divergence_is": "squared difference" if self.numeric else "KL(model || swapped), nats",
            "accuracy": asdict(self.accuracy),
            "divergence": asdict(self.divergence),
            "loss": asdict(self.loss),
            "swapped_loss": asdict(self.swapped_loss),
            "baseline_loss": interval(self.baseline_loss),
            "loss_recovered": interval(self.loss_recovered),
            "by_position": [{"position": g.label, **group(g)} for g in self.by_position],
            "by_output": [{"output": _plain(g.label), **group(g)} for g in self.by_output],
            "worst": [
                {
                    "index": e.index,
                    "divergence": e.divergence,
                    "tokens": [_plain(token) for token in e.tokens],
                    "positions": list(e.answers),
                    "model": [_plain(answer) for answer, _ in e.answers.values()],
                    "swapped": [_plain(answer) for _, answer in e.answers.values()],
                }
                for e in self.worst
            ],
        }

    def _mean(
        self,
        values: Float[np.ndarray, " positions"],
        among: Any = slice(None),
        bounds: tuple[float, float] | None = None,
    ) -> Interval:
        rows = self.examples[among].tolist()
        return mean_interval(values[among], rows, bounds=bounds, n_resamples=self._n_resamples, seed=self.seed)

    @property
    def _n_resamples(self) -> int:
        return max(100, min(MAX_RESAMPLES, MAX_DRAWN // len(self.tokens)))

    def _group(self, label: Any, among: Bool[np.ndarray, " positions"]) -> PositionGroup:
        return PositionGroup(
            label, int(among.sum()), self._mean(self.agreed, among, SHARE), self._mean(self.divergences, among)
        )

    def _example(self, row: int, divergence: float) -> Example:
        entries = np.flatnonzero(self.examples == row)
        places = self.places[entries].tolist()
        ids = self.tokens[row].tolist()
        while self.token_names and ids[-1] == len(self.token_names) - 1:
            ids.pop()
        return Example(
            index=row,
            tokens=tuple(self.token_names[i] if self.token_names else i for i in ids),
            answers={p: (self.answers[i], self.swapped_answers[i]) for p, i in zip(places, entries.tolist())},
            agreed={p: bool(self.agreed[i] == 1) for p, i in zip(places, entries.tolist())},
            divergence=divergence,
            worst=places[int(self.divergences[entries].argmax())],
        )


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else value_text(value)
