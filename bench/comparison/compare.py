"""What it costs to swap a part of a model: the model and the swapped one, compared answer by answer."""

from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gaugeblock.cases.case import Case
from gaugeblock.comparison.figures import Figures
from gaugeblock.comparison.question import Model, Question, Targets, question
from gaugeblock.programs.errors import InputError

if TYPE_CHECKING:
    from rich.console import Group

    from gaugeblock.pictures.svg import Picture

SAME_NUMBER: Final = 1e-5
"""Numbers that differ by less, relative to max(1, |number|), are the same answer."""


@final
class ModelComparison(Figures):
    """The figures of a comparison, which `print` shows and `picture` draws."""

    def table(self) -> "Group":
        """The tables for a terminal: the figures, by position, by output, and the worst examples."""
        from gaugeblock.comparison.tables import tables

        return tables(self)

    def picture(self) -> "Picture":
        """The picture: accuracy and divergence by position, and the worst examples."""
        from gaugeblock.comparison.picture import draw_comparison

        return draw_comparison(self)

    def __repr__(self) -> str:
        figures = {"accuracy": self.accuracy, "divergence": self.divergence, "loss_recovered": self.loss_recovered}
        texts = (f"{name}={interval.estimate:.3g}" for name, interval in figures.items() if interval is not None)
        return f"ModelComparison({', '.join(texts)})"

    def __str__(self) -> str:
        from rich.console import Console

        out = StringIO()
        Console(file=out, width=100).print(self.table())
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).rstrip()


def compare(
    model: Model,
    swapped: Model,
    data: Int[Tensor, "n pos"] | Case,
    *,
    baseline: Model | float | None = None,
    positions: Bool[Tensor, "n pos"] | Bool[Tensor, " pos"] | None = None,
    targets: Targets = None,
    numeric: bool | None = None,
    seed: int = 0,
) -> ModelComparison:
    """Say what `swapped`, the model with parts replaced, loses.

    Args:
        model, swapped: answers of a compiled model are values of its program; of others the index of the largest
            logit, or the number.
        data: token ids; of a case, its clean inputs.
        baseline: how bad it can get: a model with the same part ablated by its mean, or that model's mean loss. Loss
            recovered is measured against it.
        positions: where the answers are compared; of a case the graded positions, of a compiled model all that hold
            a token of the input, else all.
        targets: what the loss is taken against: output ids, numbers for a numeric output, or "next" for the next
            token (then the last position is not compared); by default the model's own answers.
        numeric: whether the output is one number instead of a choice; a case and a compiled model know.
        seed: of the bootstrap.

    Raises InputError for data or models that do not fit together, and for logits that are not finite.

    >>> import gaugeblock as gb
    >>> from gaugeblock.compiled.swapping.components import Zero
    >>> from gaugeblock.compiled.swapping.swap import swap
    >>> model = gb.compile(gb.programs.get("hist").with_size(max_len=4))
    >>> tokens = model.encode(["abca", "bb"])
    >>> gb.compare(model, model, tokens)
    ModelComparison(accuracy=1, divergence=0)
    >>> gb.compare(model, swap(model, {"m0": Zero()}), tokens).accuracy.estimate
    0.0
    """
    return compared(question(model, data, positions, targets, numeric), swapped, baseline, seed)


def compared(asked: Question, swapped: Model, baseline: Model | float | None, seed: int) -> ModelComparison:
    """The answers of both models to a question, batch by batch, and the figures of them."""
    columns: list[list[Tensor]] = []
    answers: list[Any] = []
    swapped_answers: list[Any] = []
    for rows in asked.batches():
        logits, said = asked.answers_of_model(rows)
        width = logits.shape[1]
        swapped_logits, swapped_said = asked.ask(swapped, "swapped model", rows, width)
        loss = _loss_against(asked, rows, logits, said)
        agreed = _agreed(asked, logits, swapped_logits, said, swapped_said)
        values = [agreed, _diverged(asked, logits, swapped_logits), loss(logits), loss(swapped_logits)]
        if isinstance(baseline, Model):
            values.append(loss(asked.ask(baseline, "baseline", rows, width)[0]))
        elif baseline is not None:
            values.append(torch.full_like(agreed, baseline))
        columns.append(values)
        answers += said
        swapped_answers += swapped_said
    arrays = [torch.cat(parts).cpu().numpy() for parts in zip(*columns, strict=True)]
    agreed_at, diverged, losses, swapped_losses, *baseline_losses = arrays
    examples, places = np.nonzero(asked.positions.cpu().numpy())
    return ModelComparison(
        asked.tokens.cpu().numpy(),
        asked.numeric,
        examples,
        places,
        tuple(answers),
        tuple(swapped_answers),
        agreed_at,
        diverged,
        losses,
        swapped_losses,
        baseline_losses[0] if baseline_losses else None,
        token_names=() if asked.reader is None else (*asked.reader.lowered.vocab, "BOS", "PAD"),
        seed=seed,
    )


def _agreed(
    asked: Question, logits: Tensor, swapped_logits: Tensor, said: list[Any], swapped_said: list[Any]
) -> Float[Tensor, " positions"]:
    if asked.reader is not None:
        same = [type(a) is type(b) and a == b for a, b in zip(said, swapped_said, strict=True)]
        return torch.tensor(same, dtype=logits.dtype)
    if asked.numeric:
        return ((logits - swapped_logits).abs() <= SAME_NUMBER * logits.abs().clamp(min=1)).to(logits.dtype)[:, 0]
    a, b = _largest(logits), _largest(swapped_logits)
    return (a & b).sum(-1) / (a | b).sum(-1).to(logits.dtype)


def _diverged(asked: Question, logits: Tensor, swapped_logits: Tensor) -> Float[Tensor, " positions"]:
    if asked.numeric:
        return (logits - swapped_logits).square()[:, 0]
    log_p, log_q = logits.log_softmax(-1), swapped_logits.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp(min=0)


def _loss_against(
    asked: Question, rows: slice, logits: Tensor, said: list[Any]
) -> Callable[[Float[Tensor, "positions out"]], Float[Tensor, " positions"]]:
    """Logits -> loss. Where the model has no single answer of its own, its answers are equally right."""
    targets = None if asked.targets is None else asked.targets[rows][asked.positions[rows]]
    if asked.numeric:
        numbers = logits[:, 0] if targets is None else targets.to(logits.dtype)
        return lambda other: (other[:, 0] - numbers).square()
    if targets is None:
        right = _largest(logits)
        right[torch.tensor([answer is None for answer in said], device=logits.device)] = True
        weights = right / right.sum(-1, keepdim=True).to(logits.dtype)
    else:
        n_ids = logits.shape[1]
        if targets.is_floating_point() or not bool(((targets >= 0) & (targets < n_ids)).all()):
            raise InputError(f"targets must be output ids from 0 to {n_ids - 1} where answers are compared")
        weights = nn.functional.one_hot(targets, n_ids).to(logits.dtype)
    return lambda other: -(weights * other.log_softmax(-1)).sum(-1)


def _largest(logits: Tensor) -> Bool[Tensor, "positions out"]:
    return logits == logits.amax(-1, keepdim=True)
