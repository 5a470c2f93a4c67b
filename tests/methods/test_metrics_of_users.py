"""A metric of a user's own, whatever it does to what it is given, and whatever the user has set before."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import gaugeblock as gb
from gaugeblock.methods.engine.edge_sets import Functional
from gaugeblock.methods.registry import get_method, run_method
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import InputError, MethodError
from support.tasks import random_model, random_task

SETTINGS = {"attention_dir": "causal", "normalization_type": "LN", "act_fn": "gelu"}
PAIRS = torch.Generator().manual_seed(0)
CLEAN, CORRUPTED = torch.randint(1, 9, (2, 4, 5), generator=PAIRS)


def scores_of_all(metric: Functional | None, model: Any = None) -> dict[str, dict[str, float]]:
    """The scores by every method, of few training steps and few pairs of edges."""
    model = random_model(SETTINGS, torch.float64) if model is None else model
    scores = {}
    for name in gb.methods.method_names():
        known = inspect.signature(get_method(name).function).parameters
        few = {k: v for k, v in (("steps", 2), ("budget", 20)) if k in known and known[k].default > 20}
        scores[name] = gb.attribute(model, CLEAN, CORRUPTED, metric, name, **few)
    return scores


def halved(logits: Tensor, pair: Tensor) -> Tensor:
    return (logits / 0.5)[:, -1, 3] - CLEAN[pair, 1]


def halved_in_place(logits: Tensor, pair: Tensor) -> Tensor:
    return logits.div_(0.5)[:, -1, 3].sub_(CLEAN[pair, 1])


def masked(logits: Tensor, pair: Tensor) -> Tensor:
    where = torch.nn.functional.one_hot(CLEAN[pair, 1] % 5, 5).bool()[:, None]
    return (logits + 1).masked_fill(where, -5.0).logsumexp(-1)[:, -1]


def masked_in_place(logits: Tensor, pair: Tensor) -> Tensor:
    where = torch.nn.functional.one_hot(CLEAN[pair, 1] % 5, 5).bool()[:, None]
    return logits.add_(1).masked_fill_(where, -5.0).logsumexp(-1)[:, -1]


def assigned(logits: Tensor, pair: Tensor) -> Tensor:
    return logits[:, -1, 1:].softmax(-1)[:, 2] + pair + 1


def assigned_in_place(logits: Tensor, pair: Tensor) -> Tensor:
    logits[..., 0] = -torch.inf
    pair += 1
    return logits[:, -1].softmax(-1)[:, 3] + pair


def one_buffer() -> Functional:
    """A metric that returns the same memory each time."""
    buffer = torch.zeros(10_000, dtype=torch.float64)

    def metric(logits: Tensor, pair: Tensor) -> Tensor:
        if logits.requires_grad:
            return halved(logits, pair)
        buffer[: len(pair)] = halved(logits, pair)
        return buffer[: len(pair)]

    return metric


plain_scores = cache(scores_of_all)


@pytest.mark.parametrize(
    ("plain", "in_place"),
    [(halved, halved_in_place), (masked, masked_in_place), (assigned, assigned_in_place), (halved, one_buffer())],
    ids=["div_", "add_ and masked_fill_", "index assignment, pair index", "one buffer"],
)
def test_a_metric_in_place_gives_the_same_scores(plain: Functional, in_place: Functional) -> None:
    expected, given = plain_scores(plain), scores_of_all(in_place)
    for name, scores in expected.items():
        assert given[name] == pytest.approx(scores, rel=1e-9, abs=1e-12), name
    assert sum(len(set(scores.values())) > 2 for scores in expected.values()) > 20


@pytest.mark.parametrize("entry", ["patch", "patch of some pairs", "single_edges", "measure"])
def test_the_engine_hands_out_no_tensor_that_it_keeps(entry: str) -> None:
    """Also to a functional that a method brings, which no task copies for."""
    edges = random_task({}).graph.edges

    def results(functional: Functional) -> list[Tensor]:
        engine, number = random_task({}).engine, torch.tensor([4, 1, 5])
        before = engine.clean_logits.clone()
        sets = [[], edges[3:4], edges[5:30:2]]
        masks = torch.ones(3, len(edges), dtype=torch.bool)
        masks[1, 3], masks[2, 5:30:2] = False, False
        run: dict[str, Callable[[], Tensor]] = {
            "patch": lambda: engine.patch(sets, functional),
            "patch of some pairs": lambda: engine.patch(sets, functional, number),
            "single_edges": lambda: engine.single_edges(functional),
            "measure": lambda: engine.measure(masks, functional),
        }
        values = [run[entry](), run[entry]()]
        assert torch.equal(engine.clean_logits, before)
        assert number.tolist() == [4, 1, 5]
        return values

    def in_place(logits: Tensor, pair: Tensor) -> Tensor:
        value = logits.mul_(2).sum((1, 2)) + pair
        pair.zero_()
        return value

    expected = results(lambda logits, pair: (logits * 2).sum((1, 2)) + pair)
    for values in results(in_place):
        torch.testing.assert_close(values, expected[0])


# --- gradients switched off ----------------------------------------------------------------------------------------


def test_gradients_switched_off_change_nothing() -> None:
    """As the first line of most notebooks does."""
    torch.set_grad_enabled(False)
    try:
        assert scores_of_all(None) == plain_scores(None)
        assert not torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)


def test_inference_mode_changes_nothing() -> None:
    """Also for a model and tokens that were made in it, of which torch takes no gradients."""
    with torch.inference_mode():
        model = random_model(SETTINGS, torch.float64)
        assert model.W_U.is_inference()
        assert scores_of_all(None, model) == plain_scores(None)
        assert torch.is_inference_mode_enabled()


def test_a_task_made_in_inference_mode_is_run_outside() -> None:
    with torch.inference_mode():
        inside = random_task({})
        assert float(inside.metric(inside.engine.clean_logits, torch.arange(6)).mean()) != 0
    assert run_method("eap", inside) == run_method("eap", random_task({}))


# --- metrics that cannot be used -----------------------------------------------------------------------------------

NO_GRADIENT: dict[str, Functional] = {
    "detached": lambda logits, pair: logits.detach()[:, -1, 0],
    "argmax": lambda logits, pair: logits[:, -1].argmax(-1),
    "bool": lambda logits, pair: logits[:, -1, 0] > 0,
    "int8": lambda logits, pair: logits[:, -1, 0].to(torch.int8),
}


@pytest.mark.parametrize("kind", NO_GRADIENT)
def test_a_metric_without_gradient_is_the_metrics_fault(kind: str) -> None:
    metric, model = NO_GRADIENT[kind], random_model(SETTINGS, torch.float64)
    for name in ("eap", "hisp", "atp_star", "eap_ig_activations"):
        with pytest.raises(InputError, match=f"method '{name}' takes .* metric has no gradient: .* edge_patching"):
            gb.attribute(model, CLEAN, CORRUPTED, metric, name)
    as_float = gb.attribute(model, CLEAN, CORRUPTED, lambda x, pair: metric(x, pair).double(), "edge_patching")
    for name in ("edge_patching", "acdc_metric", "logit_lens", "activation_denoising"):
        scores = gb.attribute(model, CLEAN, CORRUPTED, metric, name)
        assert name != "edge_patching" or scores == as_float


def own_gradient(task: Task) -> dict[str, float]:
    logits = task.model(task.clean)
    task.metric(logits, torch.arange(len(logits))).sum().backward()
    return dict.fromkeys(task.graph.edges, 1.0)


def fails_by_itself(task: Task) -> dict[str, float]:
    raise RuntimeError("no gradient of mine")


@pytest.mark.parametrize(
    ("metric", "method", "error", "words"),
    [
        (NO_GRADIENT["argmax"], own_gradient, InputError, "'own_gradient' .* metric has no gradient"),
        (lambda x, pair: x.exp().add_(1)[:, -1, 0], "eap", InputError, "gradient cannot be taken: .* inplace"),
        (lambda x, pair: (x - x)[:, -1, 0].sqrt(), "eap", MethodError, "metric's gradient is NaN or infinite"),
        (halved, fails_by_itself, MethodError, "'fails_by_itself' raised RuntimeError: no gradient of mine$"),
        (lambda x, pair: x[:, -1, 0] * 1j, "eap", InputError, r"gave \[4\] of complex numbers for 4 items"),
    ],
)
def test_what_is_wrong_with_a_metric_is_said(metric: Functional, method: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        gb.attribute(random_model(SETTINGS, torch.float64), CLEAN, CORRUPTED, metric, method)


# --- models that are not what their configuration says -------------------------------------------------------------


def test_weights_of_another_type_than_the_configuration_says() -> None:
    half, brain, mixed, wide, narrow = (
        random_model({}, dtype) for dtype in (*[torch.float32] * 4, torch.float64)
    )  # fmt: skip
    mixed.unembed.W_U.data = mixed.unembed.W_U.data.double()
    for model, named in (
        (half.half(), "float16"),
        (brain.bfloat16(), "bfloat16"),
        (mixed, "float32 and torch.float64"),
    ):
        with pytest.raises(MethodError, match=rf"weights in torch.{named} \(float32 or float64, all in one"):
            gb.attribute(model, CLEAN, CORRUPTED)
    for model, dtype in ((wide.double(), torch.float64), (narrow.float(), torch.float32)):
        expected = gb.attribute(random_model({}, dtype), CLEAN, CORRUPTED)
        assert gb.attribute(model, CLEAN, CORRUPTED) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_dropout_in_training_mode_is_named() -> None:
    model = random_model(SETTINGS, torch.float64)
    expected = gb.attribute(model, CLEAN, CORRUPTED)
    model.blocks[1].hook_attn_out = torch.nn.Dropout(0.5)
    model.train()
    with pytest.raises(MethodError, match=r"others each time it runs, as with dropout .* model\.eval\(\)"):
        gb.attribute(model, CLEAN, CORRUPTED)
    assert gb.attribute(model.eval(), CLEAN, CORRUPTED) == expected


def test_a_model_with_nan_in_its_weights_is_named() -> None:
    model = random_model(SETTINGS, torch.float64)
    model.blocks[1].attn.W_V.data[0, 0] = torch.nan
    with pytest.raises(MethodError, match="logits are NaN or infinite on the clean tokens"):
        gb.attribute(model, CLEAN, CORRUPTED)
