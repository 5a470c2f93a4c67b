"""What it costs to swap a part of a model: the model and the swapped one, compared answer by answer."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gaugeblock.cases.case import Case
from gaugeblock.comparison.figures import Comparison
from gaugeblock.compiled.edges.graph import SOURCES, Graph
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.programs.errors import GaugeblockError, InputError, UnknownName

Model = nn.Module | CompiledModel
"""A HookedTransformer, or any module from tokens [batch, pos] to logits [batch, pos, vocab]; or a compiled model."""

Targets = Int[Tensor, "n pos"] | Float[Tensor, "n pos"] | Literal["next"] | None

CLOSE: Final = 1e-5
"""Numbers that differ by less, relative to max(1, |number|), are the same answer."""

AT_ONCE: Final = 2**24
"""Numbers in the largest activation of the examples that are run together."""

KEPT: Final = 2**25
"""Logits of the model that a search keeps; of more, it runs the model again for every candidate."""


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
) -> Comparison:
    """What `swapped`, the model with parts replaced, loses.

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
    """
    return _compared(_question(model, data, positions, targets, numeric), swapped, baseline, seed)


@final
@dataclass(frozen=True)
class Found:
    """A candidate at a site.

    Attributes:
        site: `a{l}.h{h}` or `m{l}`.
        name: of the candidate, or of what stands beside them: MEAN, ZERO.
        comparison: of the swapped model, with MEAN as its baseline; None where the candidate does not fit.
        reason: why it does not fit; "" where it does.
    """

    site: str
    name: str
    comparison: Comparison | None
    reason: str = ""


MEAN: Final = "mean of the site"
ZERO: Final = "zero"

Swap = Callable[[Any, Mapping[str, Any]], Any]


def swap_search(
    model: Model,
    candidates: Mapping[str, Any],
    data: Int[Tensor, "n pos"] | Case,
    *,
    sites: Sequence[str] | None = None,
    positions: Bool[Tensor, "n pos"] | Bool[Tensor, " pos"] | None = None,
    targets: Targets = None,
    numeric: bool | None = None,
    seed: int = 0,
    swap: Swap | None = None,
) -> list[Found]:
    """Every candidate at every site, and the site's mean and zero beside them: which explains what.

    Sites in the order of the model; at each the least divergence first, what does not fit last. A candidate below MEAN
    explains nothing. A site where MEAN and ZERO lose nothing either is one that this data does not need.

    Args:
        candidates: name -> component, as `gaugeblock.compiled.swap` takes it.
        sites: heads and MLPs; by default all of `Graph.of(model)`.
        swap: (model, {site: component}) -> swapped model, if it is not to be `gaugeblock.compiled.swap`.
        data, positions, targets, numeric, seed: as in `compare`.

    Costs one forward pass over the data for the model (which is kept while it is small), and one for each site and
    candidate, mean and zero included. Raises UnknownName for a site that is not there, and what `compare` raises.
    """
    from gaugeblock.compiled.swapping import swap as swapping
    from gaugeblock.compiled.swapping.components import Mean, Zero

    put: Swap = swapping.swap if swap is None else swap
    for name in (MEAN, ZERO):
        if name in candidates:
            raise InputError(f"a candidate is named {name!r}, as what stands beside the candidates; call it otherwise")
    graph = Graph.of(_module(model))
    known = [writer for writer in graph.writers if writer not in SOURCES]
    for site in sites or ():
        if site not in known:
            raise UnknownName("head or MLP of this model", site, known)
    question = _question(model, data, positions, targets, numeric)
    average = Mean(question.tokens, pad=None if question.reader is None else question.reader.pad)
    found: list[Found] = []
    for site in known if sites is None else dict.fromkeys(sites):
        mean = _compared(question, put(model, {site: average}), None, seed)
        mean = replace(mean, baseline_losses=mean.swapped_losses)
        own = [Found(site, MEAN, mean)]
        for name, component in {ZERO: Zero(), **candidates}.items():
            try:
                other = _compared(question, put(model, {site: component}), None, seed)
                own.append(Found(site, name, replace(other, baseline_losses=mean.swapped_losses)))
            except Exception as error:  # whatever a user's function raises, and torch of shapes
                said = str(error) if isinstance(error, GaugeblockError) else f"{type(error).__name__}: {error}"
                own.append(Found(site, name, None, said.partition("\n")[0]))
        found += sorted(own, key=_divergence)
    return found


def _divergence(found: Found) -> float:
    return math.inf if found.comparison is None else found.comparison.divergence.estimate


# --- running both ----------------------------------------------------------------------------------------------------

Answered = tuple[Float[Tensor, "positions out"], list[Any]]
"""Logits in float64 and answers, at the compared positions."""


@final
@dataclass(frozen=True, eq=False)
class _Question:
    """What a swapped model is asked, and what the model says.

    Attributes:
        reader: the compiled model that tells what logits mean, if there is one.
        kept: the model's answers to each batch, where they are small enough.
    """

    model: nn.Module
    tokens: Int[Tensor, "n pos"]
    positions: Bool[Tensor, "n pos"]
    targets: Tensor | None
    numeric: bool
    reader: CompiledModel | None
    kept: dict[int, Answered] = field(default_factory=dict)

    def batches(self) -> Iterator[slice]:
        cfg: Any = getattr(self.model, "cfg", None)
        widest = 1
        if cfg is not None:
            across = cfg.n_heads * max(cfg.d_head, self.tokens.shape[1])
            widest = max(cfg.d_model, cfg.d_mlp or 0, across, cfg.d_vocab_out)
        size = max(1, AT_ONCE // (self.tokens.shape[1] * widest))
        for start in range(0, len(self.tokens), size):
            yield slice(start, start + size)

    def own(self, rows: slice) -> Answered:
        """What the model says."""
        if rows.start in self.kept:
            return self.kept[rows.start]
        logits, answers = self.ask(self.model, "model", rows)
        if logits.shape[1] * int(self.positions.sum()) <= KEPT:
            self.kept[rows.start] = logits, answers
        return logits, answers

    def ask(self, model: nn.Module, name: str, rows: slice, width: int | None = None) -> Answered:
        """What some model says. Raises InputError for logits that are not finite, or not as many as `width`."""
        tokens, chosen = self.tokens[rows], self.positions[rows]
        with torch.no_grad():
            found = model(tokens.to(_device(model)))
        logits: Tensor = found.detach().double().to(tokens.device)
        if self.reader is not None or self.numeric:
            width = 1 if self.reader is None else len(self.reader.lowered.output.columns)
        if logits.shape[:-1] != tokens.shape or width not in (None, logits.shape[-1]):
            expected = ", ".join(map(str, [*tokens.shape, width or "outputs"]))
            raise InputError(f"the {name} gives logits of shape {list(logits.shape)}; expected [{expected}]")
        at = logits[chosen]
        if not bool(at.isfinite().all()):
            bad = int((~at.isfinite()).any(-1).sum())
            raise InputError(f"the {name} gives logits that are NaN or infinite at {bad} of {len(at)} positions")
        if self.reader is None:
            return at, (at[:, 0] if self.numeric else at.argmax(-1)).tolist()
        every = np.empty(tuple(tokens.shape), dtype=object)
        every[self.reader.real(tokens).cpu().numpy()] = _objects(self.reader.decode(logits, tokens))
        return at, list(every[chosen.cpu().numpy()])


def _question(
    model: Model, data: Tensor | Case, positions: Tensor | None, targets: Targets, numeric: bool | None
) -> _Question:
    reader = model if isinstance(model, CompiledModel) else None
    if isinstance(data, Case):
        reader = reader or data.model
        positions = data.pairs.positions if positions is None else positions
        data = data.pairs.clean
    if reader is not None and len(reader.lowered.outputs) > 1:
        n = len(reader.lowered.outputs)
        raise InputError(f"{reader.program.name!r} has {n} outputs; models of programs with one can be compared")
    if reader is not None:
        known = reader.lowered.output.numeric
        if numeric not in (None, known):
            kind = "a number" if known else "a choice"
            raise InputError(f"numeric={numeric} was given, but the output of {reader.program.name!r} is {kind}")
        numeric = known
    numeric = bool(numeric)
    hooked = _module(model)
    tokens = _checked_tokens(hooked, data).to(_device(hooked))
    if positions is None:
        positions = torch.ones_like(tokens, dtype=torch.bool) if reader is None else reader.real(tokens)
    if positions.dtype != torch.bool or positions.shape not in (tokens.shape, tokens.shape[1:]):
        given = f"{str(positions.dtype).removeprefix('torch.')} of shape {list(positions.shape)}"
        raise InputError(f"positions must be bool of the tokens' shape {list(tokens.shape)} or of one row, got {given}")
    positions = positions.to(tokens.device).expand_as(tokens).clone()
    if reader is not None and bool((positions & ~reader.real(tokens)).any()):
        raise InputError("some positions to compare hold BOS or PAD, where a compiled model says nothing")
    if isinstance(targets, str):
        if targets != "next" or numeric:
            raise InputError(f'targets={targets!r} was given; possible: ids or numbers [n, pos], or "next" for tokens')
        positions[:, -1] = False
        targets = tokens.roll(-1, dims=1)
    if targets is not None and targets.shape != tokens.shape:
        raise InputError(f"targets of shape {list(targets.shape)} do not fit tokens of shape {list(tokens.shape)}")
    if not bool(positions.any()):
        raise InputError("there is no position to compare")
    targets = None if targets is None else targets.to(tokens.device)
    return _Question(hooked, tokens, positions, targets, numeric, reader)


def _compared(question: _Question, swapped: Model, baseline: Model | float | None, seed: int) -> Comparison:
    columns: list[list[Tensor]] = []
    answers: list[Any] = []
    others: list[Any] = []
    for rows in question.batches():
        own, said = question.own(rows)
        width = own.shape[1]
        other, said_swapped = question.ask(_module(swapped), "swapped model", rows, width)
        loss = _loss_against(question, rows, own, said)
        found = [_agreed(question, own, other, said, said_swapped), _diverged(question, own, other), loss(own)]
        found.append(loss(other))
        if isinstance(baseline, Model):
            found.append(loss(question.ask(_module(baseline), "baseline", rows, width)[0]))
        elif baseline is not None:
            found.append(torch.full_like(found[0], baseline))
        columns.append(found)
        answers += said
        others += said_swapped
    arrays = [torch.cat(parts).cpu().numpy() for parts in zip(*columns, strict=True)]
    agreed, diverged, losses, swapped_losses, *baseline_losses = arrays
    examples, places = np.nonzero(question.positions.cpu().numpy())
    reader = question.reader
    return Comparison(
        question.tokens.cpu().numpy(),
        question.numeric,
        examples,
        places,
        tuple(answers),
        tuple(others),
        agreed,
        diverged,
        losses,
        swapped_losses,
        baseline_losses[0] if baseline_losses else None,
        spelling=() if reader is None else (*reader.lowered.vocab, "BOS", "PAD"),
        seed=seed,
    )


def _agreed(
    question: _Question, own: Tensor, other: Tensor, said: list[Any], said_swapped: list[Any]
) -> Float[Tensor, " positions"]:
    if question.reader is not None:
        same = [type(a) is type(b) and a == b for a, b in zip(said, said_swapped, strict=True)]
        return torch.tensor(same, dtype=own.dtype)
    if question.numeric:
        return ((own - other).abs() <= CLOSE * own.abs().clamp(min=1)).to(own.dtype)[:, 0]
    a, b = _largest(own), _largest(other)
    return (a & b).sum(-1) / (a | b).sum(-1).to(own.dtype)


def _diverged(question: _Question, own: Tensor, other: Tensor) -> Float[Tensor, " positions"]:
    if question.numeric:
        return (own - other).square()[:, 0]
    log_p, log_q = own.log_softmax(-1), other.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp(min=0)


def _loss_against(
    question: _Question, rows: slice, own: Tensor, said: list[Any]
) -> Callable[[Float[Tensor, "positions out"]], Float[Tensor, " positions"]]:
    """Logits -> loss. Where the model has no single answer of its own, its answers are equally right."""
    given = None if question.targets is None else question.targets[rows][question.positions[rows]]
    if question.numeric:
        numbers = own[:, 0] if given is None else given.to(own.dtype)
        return lambda logits: (logits[:, 0] - numbers).square()
    if given is None:
        right = _largest(own)
        right[torch.tensor([answer is None for answer in said], device=own.device)] = True
        weights = right / right.sum(-1, keepdim=True).to(own.dtype)
    else:
        if given.is_floating_point() or not bool(((given >= 0) & (given < own.shape[1])).all()):
            raise InputError(f"targets must be output ids from 0 to {own.shape[1] - 1} where answers are compared")
        weights = nn.functional.one_hot(given, own.shape[1]).to(own.dtype)
    return lambda logits: -(weights * logits.log_softmax(-1)).sum(-1)


def _largest(logits: Tensor) -> Bool[Tensor, "positions out"]:
    return logits == logits.amax(-1, keepdim=True)


def _checked_tokens(model: nn.Module, tokens: Tensor) -> Tensor:
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool or not tokens.numel():
        given = f"{str(tokens.dtype).removeprefix('torch.')} of shape {list(tokens.shape)}"
        raise InputError(f"data must be token ids [n, pos], such as model.encode gives, got {given}")
    cfg: Any = getattr(model, "cfg", None)
    if cfg is not None and tokens.shape[1] > cfg.n_ctx:
        raise InputError(f"rows of {tokens.shape[1]} tokens are too long: the model takes {cfg.n_ctx}")
    if cfg is not None and not 0 <= int(tokens.min()) <= int(tokens.max()) < cfg.d_vocab:
        low, high = int(tokens.min()), int(tokens.max())
        raise InputError(f"token ids from {low} to {high} were given; the model knows 0 to {cfg.d_vocab - 1}")
    return tokens.long()


def _module(model: Model) -> nn.Module:
    return model.hooked if isinstance(model, CompiledModel) else model


def _device(model: nn.Module) -> torch.device:
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _objects(rows: list[list[Any]]) -> np.ndarray:
    """All values in one array, tuples as values."""
    flat = [value for row in rows for value in row]
    found = np.empty(len(flat), dtype=object)
    found[:] = flat
    return found
