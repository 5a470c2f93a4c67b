"""Any method on any HookedTransformer that a user brings."""

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor

from gaugeblock.compiled.edges.graph import Graph
from gaugeblock.methods.engine.edge_sets import Functional
from gaugeblock.methods.registry import Function, Method, attribution, get_method
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import GaugeblockError, InputError, MethodError

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer


Tokens = Integer[Tensor, "pair pos"] | np.ndarray | Sequence[Sequence[int]]

SAME_LOGITS = 1e-3
"""Logits that differ by less of their size are the same up to rounding."""


def attribute(
    model: "HookedTransformer",
    clean: Tokens,
    corrupted: Tokens,
    metric: Functional | None = None,
    method: str | Function | Method = "eap_ig",
    *,
    ablation: str = "resample",
    positions: Bool[Tensor, "pair pos"] | np.ndarray | Sequence[Sequence[bool]] | None = None,
    pad_token: int | None = None,
    seed: int = 0,
    **params: Any,
) -> dict[str, float]:
    """Scores of a model's edges, or of its nodes where the method scores nodes; compiled by us or not.

    Names are those of `Graph.of(model)`: "a0.h1->a2.h0.k", "embed->m0", "m1->logits"; nodes "a0.h1", "m0".

    Args:
        model: of a configuration that the engine supports (`gaugeblock.methods.engine.weights` lists them).
        clean, corrupted: token ids of both sides of each pair, as a tensor, array or list. The first token is taken for
            BOS, which keeps its clean value under "donor" and "mean", as PAD does.
        metric: (logits [n, pos, vocab], pair index [n]) -> [n], also for some pairs only and for a pair several times;
            by default the log-odds of the model's clean answer at `positions`.
        method: a registered name, "file.py:function", or a function of a task.
        ablation: what an ablated edge carries: "resample", "donor", "mean" or "zero".
        positions: where the output is looked at; the last token of each clean input by default.
        pad_token: id that fills up shorter inputs, on the right; None if there is none. The model sees it: with
            bidirectional attention, so do all positions. Where one side of a pair has a token and the other PAD, there
            is nothing to replace one by the other: "resample" keeps the clean value there.
        seed: for whatever the method draws at random.
        params: of the method.

    Raises InputError for inputs or a metric that do not fit, MethodError for a model or a parameter that is not
    supported, UnknownName for a method or ablation there is none of.

    >>> import gaugeblock as gb
    >>> model = gb.compile(gb.programs.get("hist").with_size("ab", 3))
    >>> clean, corrupted = model.encode(["aab"]), model.encode(["abb"])
    >>> scores = attribute(model.hooked, clean, corrupted, method="edge_patching")
    >>> sorted(edge for edge, score in scores.items() if score > 1)
    ['a0.h0->m0', 'embed->a0.h0.k', 'm0->logits']
    """
    chosen = get_method(method)
    if not hasattr(model, "cfg") or not hasattr(model, "blocks"):
        hint = "; give its `hooked`" if hasattr(model, "hooked") else ""
        raise InputError(f"attribute takes a HookedTransformer, not {type(model).__name__}{hint}")
    own, other = _tokens("clean", clean), _tokens("corrupted", corrupted)
    _check_tokens(model, own, other, pad_token)
    graded = _last(own, pad_token) if positions is None else _tensor("positions", "bool", positions)
    if graded.shape != own.shape or graded.dtype != torch.bool:
        got = f"{graded.dtype} of shape {list(graded.shape)}".removeprefix("torch.")
        raise InputError(f"positions must be bool of the tokens' shape {list(own.shape)}, got {got}")
    _check_padding(own, other, pad_token)
    task = Task.build(
        model, Graph.of(model), own, other, graded, ablation,
        pad_token=pad_token, pad_replaced=False, seed=seed, metric=metric,
    )  # fmt: skip
    _check_engine(task)
    _check_metric(task)
    scores = attribution(chosen, task, **params)
    return scores.edges if chosen.level == "edges" else scores.nodes


def _tensor(name: str, kind: str, given: Any) -> Tensor:
    """What was given as a tensor; an array or nested lists will do."""
    if isinstance(given, Tensor):
        return given
    try:
        return torch.as_tensor(np.asarray(given))
    except (TypeError, ValueError):
        raise InputError(
            f"{name} must be a tensor, an array or lists of {kind} [pair, pos], all rows alike, got "
            f"{reprlib.repr(given)}"
        ) from None


def _tokens(side: str, given: Any) -> Tensor:
    if isinstance(given, str) or (isinstance(given, list | tuple) and any(isinstance(row, str) for row in given)):
        raise InputError(
            f"{side} must be token ids [pair, pos], got text, {reprlib.repr(given)}: model.to_tokens gives the ids "
            "where the model has a tokenizer, encode those of a compiled model"
        )
    tokens = _tensor(side, "token ids", given)
    integers = not (tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool)
    return tokens.long() if integers else tokens


def _check_tokens(model: "HookedTransformer", clean: Tensor, corrupted: Tensor, pad_token: int | None) -> None:
    if clean.shape != corrupted.shape or clean.ndim != 2 or not clean.numel():
        raise InputError(
            f"clean and corrupted tokens must be [pair, pos], alike and not empty, got {list(clean.shape)} and "
            f"{list(corrupted.shape)}"
        )
    if clean.shape[1] > model.cfg.n_ctx:
        raise InputError(f"the inputs are {clean.shape[1]} tokens long, and the model takes {model.cfg.n_ctx}")
    for side, tokens in (("clean", clean), ("corrupted", corrupted)):
        needed = f"token ids must be integers from 0 to {model.cfg.d_vocab - 1}, and the {side} ones are "
        if tokens.dtype != torch.long:
            raise InputError(needed + str(tokens.dtype).removeprefix("torch."))
        if int(tokens.min()) < 0 or int(tokens.max()) >= model.cfg.d_vocab:
            raise InputError(f"{needed}from {tokens.min()} to {tokens.max()}")
    if not isinstance(pad_token, int | np.integer | None):
        raise InputError(f"pad_token is the id of a token, or None, not {pad_token!r}")


def _check_padding(clean: Tensor, corrupted: Tensor, pad_token: int | None) -> None:
    for side, tokens in (("clean", clean), ("corrupted", corrupted)):
        real = torch.ones_like(tokens, dtype=torch.bool) if pad_token is None else tokens != pad_token
        early = ~real & (real.flip(1).cumsum(1).flip(1) > 0)
        early[:, 0] = False  # BOS, which may be the same token
        if bool(early.any()):
            pair, place = early.nonzero()[0].tolist()
            raise InputError(
                f"{side} input {pair} has pad_token {pad_token} at position {place}, in front of other tokens: pad on "
                "the right, or give pad_token=None if it is a token like any other"
            )


def _last(tokens: Int[Tensor, "pair pos"], pad_token: int | None) -> Bool[Tensor, "pair pos"]:
    """The last position of each input that is not PAD."""
    real = torch.ones_like(tokens, dtype=torch.bool) if pad_token is None else tokens != pad_token
    if not bool(real.any(1).all()):
        raise InputError(f"clean input {int(real.any(1).long().argmin())} holds nothing but pad_token {pad_token}")
    return torch.zeros_like(real).scatter(1, real.long().cumsum(1).argmax(1, keepdim=True), True)


def _check_engine(task: Task) -> None:
    """The engine computes from the weights alone: of a model with swapped parts or hooks, it computes another one."""
    with torch.no_grad():
        engine = task.engine.clean_logits
        try:
            logits = task.model(task.clean)
        except Exception as error:
            raise MethodError(f"the model fails on the clean tokens: {type(error).__name__}: {error}") from error
    real = task.rows.clean[..., None]
    if not bool((logits.isfinite() | ~real).all()):
        raise MethodError("the model's logits are NaN or infinite on the clean tokens; so are its weights, perhaps")
    largest = float(((logits - engine).abs() * real).max())
    if not largest <= SAME_LOGITS * (1 + float(logits.abs().max())):
        with torch.no_grad():
            again = task.model(task.clean)
        if not torch.equal(logits, again):
            raise MethodError(
                "the model's logits are others each time it runs, as with dropout in training mode; model.eval() ends "
                "that"
            )
        raise MethodError(
            f"the model's logits differ by up to {largest:.2g} from what its weights compute: methods do not see "
            "swapped parts and hooks, nor masks of padding; give a model without them"
        )


def _check_metric(task: Task) -> None:
    """The metric is tried on the clean run, for all pairs together and for the last one alone: methods do both."""
    logits = task.engine.clean_logits
    pairs = torch.arange(len(logits), device=logits.device)
    try:
        with torch.no_grad():
            values, alone = task.metric(logits, pairs), task.metric(logits[-1:], pairs[-1:])
    except GaugeblockError:
        raise
    except Exception as error:
        raise InputError(
            f"the metric raised {type(error).__name__}: {error}; it gets logits [n, pos, vocab] and the pair that each "
            "of them is of [n], which need not be all pairs"
        ) from error
    if not bool(values.isfinite().all()):
        pair = int(values.isfinite().long().argmin())
        raise InputError(f"the metric is {float(values[pair])} on the clean run of pair {pair}; it must be finite")
    whole, single = float(values[-1]), float(alone[0])
    if abs(whole - single) > 1e-3 * (1 + abs(whole)):
        raise InputError(
            f"the metric gives the last pair {whole:.4g} among all pairs and {single:.4g} alone; it must look "
            "up what it knows of a pair by the pair index, and mix no pairs"
        )
