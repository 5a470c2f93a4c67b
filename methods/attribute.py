"""Any method on any HookedTransformer that a user brings."""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gaugeblock.compiled.graph import Graph
from gaugeblock.methods.engine import Functional
from gaugeblock.methods.registry import Function, Method, attribution, get_method
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import InputError

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer


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
        model: of a configuration that the engine supports (`gaugeblock.methods.weights` lists them).
        clean, corrupted: token ids of both sides of each pair.
        metric: (logits [n, pos, vocab], pair index [n]) -> [n]; by default the log-odds of the model's clean answer
            at `positions`.
        method: a registered name, "file.py:function", or a function of a task.
        ablation: what an ablated edge carries: "resample", "donor", "mean" or "zero".
        positions: where the output is looked at; the last token of each clean input by default.
        pad_token: id that fills up shorter inputs, on the right; None if there is none.
        seed: for whatever the method draws at random.
        params: of the method.

    Raises InputError for inputs that do not fit together, MethodError for a model or a parameter that is not supported,
    UnknownName for a method or ablation there is none of.
    """
    if clean.shape != corrupted.shape or clean.ndim != 2:
        raise InputError(
            f"clean and corrupted tokens must be [pair, pos] and alike, got {list(clean.shape)} and "
            f"{list(corrupted.shape)}"
        )
    if positions is None:
        real = torch.ones_like(clean, dtype=torch.bool) if pad_token is None else clean != pad_token
        last = real.long().cumsum(1).argmax(1)
        positions = torch.zeros_like(real).scatter(1, last[:, None], True)
    task = Task.build(
        model, Graph.of(model), clean, corrupted, positions, ablation, pad_token=pad_token, seed=seed, metric=metric
    )
    found = attribution(method, task, **params)
    return found.edges if get_method(method).level == "edges" else found.nodes
