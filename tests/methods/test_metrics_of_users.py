"""A metric of a user's own, whatever it does to what it is given, and whatever the user has set before."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import gaugeblock as gb
from gaugeblock.methods.engine.edge_sets import Functional
from gaugeblock.methods.registry import get_method
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


@pytest.mark.parametrize(
    ("plain", "in_place"),
    [(halved, halved_in_place), (masked, masked_in_place), (assigned, assigned_in_place), (halved, one_buffer())],
    ids=["div_", "add_ and masked_fill_", "index assignment, pair index", "one buffer"],
)
def test_a_metric_in_place_gives_the_same_scores(plain: Functional, in_place: Functional) -> None:
    expected, given = scores_of_all(plain), scores_of_all(in_place)
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
