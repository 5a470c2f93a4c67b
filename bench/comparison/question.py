"""The question that two models are asked on the same examples, and the answers of each."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gaugeblock.cases.case import Case
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.programs.errors import InputError

Model = nn.Module | CompiledModel
"""A HookedTransformer, or any module from tokens [batch, pos] to logits [batch, pos, vocab]; or a compiled model."""

Targets = Int[Tensor, "n pos"] | Float[Tensor, "n pos"] | Literal["next"] | None

Answers = tuple[Float[Tensor, "positions out"], list[Any]]
"""Logits in float64 and answers, at the compared positions."""

MAX_NUMBERS_AT_ONCE: Final = 2**24
"""Numbers in the largest activation of the examples that are run together."""

MAX_LOGITS_KEPT: Final = 2**25
"""Logits of the model that a search keeps; of more, it runs the model again for every candidate."""


@final
@dataclass(frozen=True, eq=False)
class Question:
    """The examples and positions that a swapped model is asked about, and what the model says.

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
    kept: dict[int, Answers] = field(default_factory=dict)

    def batches(self) -> Iterator[slice]:
        """The rows that are run together."""
        cfg: Any = getattr(self.model, "cfg", None)
        widest = 1
        if cfg is not None:
            across = cfg.n_heads * max(cfg.d_head, self.tokens.shape[1])
            widest = max(cfg.d_model, cfg.d_mlp or 0, across, cfg.d_vocab_out)
        size = max(1, MAX_NUMBERS_AT_ONCE // (self.tokens.shape[1] * widest))
        for start in range(0, len(self.tokens), size):
            yield slice(start, start + size)

    def answers_of_model(self, rows: slice) -> Answers:
        """The answers of the model to a batch."""
        if rows.start in self.kept:
            return self.kept[rows.start]
        logits, answers = self.ask(self.model, "model", rows)
        if logits.shape[1] * int(self.positions.sum()) <= MAX_LOGITS_KEPT:
            self.kept[rows.start] = logits, answers
        return logits, answers

    def ask(self, model: Model, name: str, rows: slice, width: int | None = None) -> Answers:
        """The answers of some model. Raises InputError for logits that are not finite, or not as many as `width`."""
        module = module_of(model)
        tokens, compared = self.tokens[rows], self.positions[rows]
        with torch.no_grad():
            output = module(tokens.to(_device(module)))
        logits: Tensor = output.detach().double().to(tokens.device)
        if self.reader is not None or self.numeric:
            width = 1 if self.reader is None else len(self.reader.lowered.output.columns)
        if logits.shape[:-1] != tokens.shape or width not in (None, logits.shape[-1]):
            expected = ", ".join(map(str, [*tokens.shape, width or "outputs"]))
            raise InputError(f"the {name} gives logits of shape {list(logits.shape)}; expected [{expected}]")
        at = logits[compared]
        if not bool(at.isfinite().all()):
            bad = int((~at.isfinite()).any(-1).sum())
            raise InputError(f"the {name} gives logits that are NaN or infinite at {bad} of {len(at)} positions")
        if self.reader is None:
            return at, (at[:, 0] if self.numeric else at.argmax(-1)).tolist()
        every = np.empty(tuple(tokens.shape), dtype=object)
        every[self.reader.real(tokens).cpu().numpy()] = _objects(self.reader.decode(logits, tokens))
        return at, list(every[compared.cpu().numpy()])


def question(
    model: Model, data: Tensor | Case, positions: Tensor | None, targets: Targets, numeric: bool | None
) -> Question:
    """The question that the arguments of `compare` ask. Raises InputError where they do not fit together."""
    reader = model if isinstance(model, CompiledModel) else None
    if isinstance(data, Case):
        reader = reader or data.model
        positions = data.pairs.positions if positions is None else positions
        data = data.pairs.clean
    numeric = bool(numeric) if reader is None else _known_numeric(reader, numeric)
    module = module_of(model)
    tokens = _checked_tokens(module, data).to(_device(module))
    positions = _checked_positions(reader, tokens, positions)
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
    return Question(module, tokens, positions, targets, numeric, reader)


def module_of(model: Model) -> nn.Module:
    """The module that runs a model."""
    return model.hooked if isinstance(model, CompiledModel) else model


def _known_numeric(reader: CompiledModel, numeric: bool | None) -> bool:
    """Whether a compiled model's output is one number; it has to be what the user says, if anything."""
    n = len(reader.lowered.outputs)
    if n > 1:
        raise InputError(f"{reader.program.name!r} has {n} outputs; models of programs with one can be compared")
    known = reader.lowered.output.numeric
    if numeric not in (None, known):
        kind = "a number" if known else "a choice"
        raise InputError(f"numeric={numeric} was given, but the output of {reader.program.name!r} is {kind}")
    return known


def _checked_tokens(model: nn.Module, tokens: Tensor) -> Tensor:
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool or not tokens.numel():
        raise InputError(f"data must be token ids [n, pos], such as model.encode gives, got {_dtype_and_shape(tokens)}")
    cfg: Any = getattr(model, "cfg", None)
    if cfg is not None and tokens.shape[1] > cfg.n_ctx:
        raise InputError(f"rows of {tokens.shape[1]} tokens are too long: the model takes {cfg.n_ctx}")
    if cfg is not None and not 0 <= int(tokens.min()) <= int(tokens.max()) < cfg.d_vocab:
        low, high = int(tokens.min()), int(tokens.max())
        raise InputError(f"token ids from {low} to {high} were given; the model knows 0 to {cfg.d_vocab - 1}")
    return tokens.long()


def _checked_positions(reader: CompiledModel | None, tokens: Tensor, positions: Tensor | None) -> Tensor:
    """A mask of its own for every row; all that hold a token of the input where none is given."""
    real = torch.ones_like(tokens, dtype=torch.bool) if reader is None else reader.real(tokens)
    if positions is None:
        return real.clone()
    if positions.dtype != torch.bool or positions.shape not in (tokens.shape, tokens.shape[1:]):
        shape = list(tokens.shape)
        got = _dtype_and_shape(positions)
        raise InputError(f"positions must be bool of the tokens' shape {shape} or of one row, got {got}")
    positions = positions.to(tokens.device).expand_as(tokens).clone()
    if bool((positions & ~real).any()):
        raise InputError("some positions to compare hold BOS or PAD, where a compiled model says nothing")
    return positions


def _dtype_and_shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"


def _device(model: nn.Module) -> torch.device:
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _objects(rows: list[list[Any]]) -> np.ndarray:
    """All values in one array, tuples as values."""
    flat = [value for row in rows for value in row]
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return array
