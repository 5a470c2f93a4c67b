"""Any method on any HookedTransformer that a user brings."""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gaugeblock.compiled.edges.graph import Graph
from gaugeblock.methods.engine.edge_sets import Functional
from gaugeblock.methods.registry import Function, Method, attribution, get_method
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import InputError, MethodError

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer


SAME_LOGITS = 1e-3
"""Logits that differ by less of their size are the same up to rounding."""


def attribute(
    model: "HookedTransformer",
    clean: Int[Tensor, "pair pos"],
    corrupted: Int[Tensor, "pair pos"],
    metric: Functional | None = None,
    method: str | Function | Method = "eap_ig",
    *,
    ablation: str = "resample",
    positions: Bool[Tensor, "pair pos"] | None = None,
    pad_token: int | None = None,
    seed: int = 0,
    **params: Any,
) -> dict[str, float]:
    """Scores of a model's edges, or of its nodes where the method scores nodes; compiled by us or not.

    Names are those of `Graph.of(model)`: "a0.h1->a2.h0.k", "embed->m0", "m1->logits"; nodes "a0.h1", "m0".

    Args:
        model: of a configuration that the engine supports (`gaugeblock.methods.engine.weights` lists them).
        clean, corrupted: token ids of both sides of each pair. The first token is taken for BOS, which keeps its
            clean value under "donor" and "mean", as PAD does.
        metric: (logits [n, pos, vocab], pair index [n]) -> [n], also for some pairs only and for a pair several times;
            by default the log-odds of the model's clean answer at `positions`.
        method: a registered name, "file.py:function", or a function of a task.
        ablation: what an ablated edge carries: "resample", "donor", "mean" or "zero".
        positions: where the output is looked at; the last token of each clean input by default.
        pad_token: id that fills up shorter inputs, on the right; None if there is none. The model sees it: with
            bidirectional attention, so do all positions.
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
    _check_tokens(model, clean, corrupted)
    if positions is None:
        positions = _last(clean, pad_token)
    elif positions.shape != clean.shape or positions.dtype != torch.bool:
        got = f"{positions.dtype} of shape {list(positions.shape)}".removeprefix("torch.")
        raise InputError(f"positions must be bool of the tokens' shape {list(clean.shape)}, got {got}")
    task = Task.build(
        model, Graph.of(model), clean, corrupted, positions, ablation, pad_token=pad_token, seed=seed, metric=metric
    )
    _check_engine(task)
    _check_metric(task)
    scores = attribution(chosen, task, **params)
    return scores.edges if chosen.level == "edges" else scores.nodes


def _check_tokens(model: "HookedTransformer", clean: Tensor, corrupted: Tensor) -> None:
    if clean.shape != corrupted.shape or clean.ndim != 2 or not clean.numel():
        raise InputError(
            f"clean and corrupted tokens must be [pair, pos], alike and not empty, got {list(clean.shape)} and "
            f"{list(corrupted.shape)}"
        )
    if clean.shape[1] > model.cfg.n_ctx:
        raise InputError(f"the inputs are {clean.shape[1]} tokens long, and the model takes {model.cfg.n_ctx}")
    for side, tokens in (("clean", clean), ("corrupted", corrupted)):
        if tokens.is_floating_point() or int(tokens.min()) < 0 or int(tokens.max()) >= model.cfg.d_vocab:
            raise InputError(
                f"token ids must be integers from 0 to {model.cfg.d_vocab - 1}, and the {side} ones are "
                f"{tokens.dtype} from {tokens.min()} to {tokens.max()}".replace("torch.", "")
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
        logits, engine = task.model(task.clean), task.engine.clean_logits
    real = task.rows.clean[..., None]
    largest = float(((logits - engine).abs() * real).max())
    if not largest <= SAME_LOGITS * (1 + float(logits.abs().max())):
        raise MethodError(
            f"the model's logits differ by up to {largest:.2g} from what its weights compute: methods do not see "
            "swapped parts and hooks; give a model without them"
        )


def _check_metric(task: Task) -> None:
    """The metric is tried on the clean run, for all pairs together and for the last one alone: methods do both."""
    logits = task.engine.clean_logits
    pairs = torch.arange(len(logits), device=logits.device)
    try:
        with torch.no_grad():
            values, alone = task.metric(logits, pairs), task.metric(logits[-1:], pairs[-1:])
    except Exception as error:
        raise InputError(
            f"the metric raised {type(error).__name__}: {error}; it gets logits [n, pos, vocab] and the pair that each "
            "of them is of [n], which need not be all pairs"
        ) from error
    for n, result in ((len(pairs), values), (1, alone)):
        shape = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
        if shape != [n]:
            raise InputError(f"the metric gave {shape} for {n} items; it gives one number for each, a tensor [{n}]")
    if not bool(values.isfinite().all()):
        pair = int(values.isfinite().long().argmin())
        raise InputError(f"the metric is {float(values[pair])} on the clean run of pair {pair}; it must be finite")
    whole, single = float(values[-1]), float(alone[0])
    if abs(whole - single) > 1e-3 * (1 + abs(whole)):
        raise InputError(
            f"the metric gives the last pair {whole:.4g} among all pairs and {single:.4g} alone; it must look "
            "up what it knows of a pair by the pair index, and mix no pairs"
        )
