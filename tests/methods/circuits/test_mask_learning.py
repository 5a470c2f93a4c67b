"""Mask learning against closed forms, finite differences, plain hooks, and models whose circuit is obvious."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gaugeblock
from gaugeblock.compiled.edges.graph import Graph, parse_edge
from gaugeblock.methods import check_method
from gaugeblock.methods.circuits.mask_learning import learning, masks
from gaugeblock.methods.circuits.mask_learning.gates import Gate, HardConcrete, UniformWindow
from gaugeblock.methods.circuits.mask_learning.learning import Constants, Lagrangian, Penalty, learn_mask
from gaugeblock.methods.engine.objective import Objective
from gaugeblock.methods.registry import Function, Method
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError
from support.naive import patched, writers
from support.tasks import RANDOM, compiled_task, random_model, random_task

PRESETS: tuple[Function, ...] = (
    masks.subnetwork_probing,
    masks.subnetwork_probing_nodes,
    masks.edge_pruning,
    masks.uniform_gradient_sampling,
    masks.optimal_ablation,
)
GRID = ((torch.arange(200_000, dtype=torch.float64)[:, None] + 0.5) / 200_000).expand(-1, 5)  # integrates over (0, 1)
THETA = torch.tensor([-4.0, -1.0, 0.0, 0.7, 3.0], dtype=torch.float64)


# --- gates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [HardConcrete(), HardConcrete(0.4, -0.3, 1.2)])
def test_a_hard_concrete_gate_is_open_as_often_as_it_says(gate: HardConcrete) -> None:
    """Also P(value = 1) = P(concrete ≥ (1 - gamma) / (zeta - gamma)), with the concrete's cdf from the paper."""
    values = gate.sample(THETA, GRID)
    assert (values > 0).double().mean(0).numpy() == pytest.approx(gate.open(THETA).numpy(), abs=1e-5)
    x = (1 - gate.gamma) / (gate.zeta - gate.gamma)
    full = 1 / (1 + np.exp(gate.beta * np.log(x / (1 - x)) - THETA.numpy()))
    assert (values == 1).double().mean(0).numpy() == pytest.approx(full, abs=1e-5)


@pytest.mark.parametrize("window", [0.5, 1.0, 2.0])
def test_a_uniform_window_has_the_stated_distribution_and_an_unbiased_gradient(window: float) -> None:
    """The mean derivative of f(value) is the derivative of (p - w/2)·f(1) + w·∫f + (1 - p - w/2)·f(0)."""
    gate, theta = UniformWindow(window), THETA.clone().requires_grad_()
    values = gate.sample(theta, GRID)
    p = 1 / (1 + np.exp(-THETA.numpy()))
    w = window * p * (1 - p)
    assert (values == 1).double().mean(0).numpy() == pytest.approx(p - w / 2, abs=1e-5)
    assert (values == 0).double().mean(0).numpy() == pytest.approx(1 - p - w / 2, abs=1e-5)
    assert values.mean(0).detach().numpy() == pytest.approx(gate.open(THETA).numpy(), abs=1e-6)
    values.pow(3).mean(0).sum().backward()
    slope = p * (1 - p)  # of p in theta
    slope_of_w = window * (1 - 2 * p) * slope
    assert theta.grad is not None
    assert theta.grad.numpy() == pytest.approx(slope - slope_of_w / 2 + slope_of_w / 4, abs=1e-4)


@pytest.mark.parametrize("gate", [HardConcrete(), UniformWindow()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gates_stay_finite_where_they_are_saturated(gate: Gate, dtype: torch.dtype) -> None:
    theta = torch.tensor([-200.0, -90.0, 90.0, 200.0], dtype=dtype, requires_grad=True)
    noise = torch.tensor([[1e-7], [0.5], [1 - 1e-6]], dtype=dtype).expand(3, 4)
    values = gate.sample(theta, noise)
    values.sum().backward()
    assert values.tolist() == [[0, 0, 1, 1]] * 3
    assert theta.grad is not None
    assert theta.grad.isfinite().all()


# --- gradients and steps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["layer norm", "attention only"])
def test_gradients_by_finite_differences_in_blocks_of_any_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, rng = random_task(RANDOM[name]), np.random.default_rng(2)
    measure, pairs = Objective(task), torch.tensor([4, 0, 3])
    given = torch.tensor(rng.random((2, len(task.graph.edges))))
    constants = Constants(task)
    constants.shift.data.copy_(torch.tensor(rng.normal(size=constants.shift.shape)))

    def loss(masks_: Tensor) -> float:
        with torch.no_grad():
            logits = task.engine.forward(masks_, pairs, constants.at(pairs))
            return float(np.mean([measure(x, pairs).mean().item() for x in logits]))

    total, by_mask, by_shift = learning._gradients(task, measure, given, pairs, constants)
    assert by_shift is not None
    assert total == pytest.approx(loss(given))
    for place in rng.choice(len(task.graph.edges), 8, replace=False).tolist():
        step = torch.zeros_like(given)
        step[1, place] = 1e-5
        slope = (loss(given + step) - loss(given - step)) / 2e-5
        assert float(by_mask[1, place]) == pytest.approx(slope, rel=1e-5, abs=1e-8)
    for writer in (0, 2, 4):
        sides = []
        for change in (1e-5, -2e-5):
            constants.shift.data[writer, 5] += change
            sides.append(loss(given))
        constants.shift.data[writer, 5] += 1e-5
        assert float(by_shift[writer, 5]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5, abs=1e-8)
    for limit in (1, 4 * 7 * 12 * (len(task.graph.writers) + len(task.graph.readers))):
        monkeypatch.setattr(learning, "NUMBERS_AT_ONCE", limit)
        again = learning._gradients(task, measure, given, pairs, constants)
        assert again[0] == pytest.approx(total)
        torch.testing.assert_close(again[1], by_mask)
        torch.testing.assert_close(again[2], by_shift)


@pytest.mark.parametrize("level", ["edges", "nodes"])
@pytest.mark.parametrize("constant", [False, True])
def test_the_first_step_with_plain_hooks(level: Any, constant: bool) -> None:
    """Gates that are almost always 0 or 1: the loss of the sampled circuit, run with TransformerLens's hooks."""
    task, start = random_task({}), 0.4
    learned = learn_mask(
        task, UniformWindow(1e-9), Penalty(0.1), level=level, steps=1, masks=1, batch=99, start=start,
        constant_rate=0.1 if constant else None,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(int(random_task({}).rng.integers(2**63)))
    names = task.graph.edges if level == "edges" else task.graph.writers
    noise = torch.rand(1, len(names), generator=generator, dtype=torch.float64)[0].tolist()
    shut = {name for name, u in zip(names, noise, strict=True) if u > 1 / (1 + np.exp(-start))}
    cut = [e for e in task.graph.edges if (e if level == "edges" else parse_edge(e)[0]) in shut]
    source = writers(task.model, task.corrupted)
    if constant:  # the mean over the tokens of the clean inputs, at every row but the first
        for writer, value in writers(task.model, task.clean).items():
            source[writer] = value.clone()
            source[writer][:, 1:] = value[:, 1:].flatten(0, 1).mean(0)
    clean = task.model(task.clean).detach().log_softmax(-1)
    other = patched(task.model, task.clean, source, cut).log_softmax(-1)
    assert learned.losses[0] == pytest.approx(float((clean.exp() * (clean - other)).sum(-1)[:, 1:].mean()), rel=1e-9)
    assert learned.sizes[0] == pytest.approx(len(names) / (1 + np.exp(-start)))


def test_the_first_step_goes_down_the_loss() -> None:
    """Adam's first step is the rate times the sign of the gradient, here of an objective written out anew."""
    rate, start, penalty = 1e-3, 0.5, 0.7
    learned = learn_mask(
        random_task({}), HardConcrete(), Penalty(penalty), steps=1, masks=3, batch=6, start=start, rate=rate
    )
    task = random_task({})
    generator = torch.Generator().manual_seed(int(task.rng.integers(2**63)))
    n = len(task.graph.edges)
    noise = torch.rand(3, n, generator=generator, dtype=torch.float64)
    clean = task.engine.clean_logits.log_softmax(-1)

    def objective(edge_masks: Tensor) -> Tensor:
        logits = task.engine.forward(edge_masks).log_softmax(-1)
        return (clean.exp() * (clean - logits)).sum(-1)[..., 1:].mean()

    def total(theta: Tensor) -> float:
        s = 1 / (1 + torch.exp(-(torch.log(noise) - torch.log(1 - noise) + theta) * 1.5))
        price = penalty * torch.sigmoid(theta + 2 / 3 * np.log(11)).mean()
        with torch.no_grad():
            empty = objective(torch.zeros(1, n, dtype=torch.float64))
            return float(objective((1.2 * s - 0.1).clamp(0, 1)) / empty + price)

    theta = torch.full((n,), start, dtype=torch.float64)
    for place in np.random.default_rng(0).choice(n, 20, replace=False).tolist():
        step = torch.zeros_like(theta)
        step[place] = 1e-5
        slope = (total(theta + step) - total(theta - step)) / 2e-5
        expected = 1 / (1 + np.exp(-(start - rate * np.sign(slope) + 2 / 3 * np.log(11))))
        assert learned.scores[task.graph.edges[place]] == pytest.approx(expected, abs=1e-6)


def test_the_lagrangian_reaches_its_target() -> None:
    task = random_task({})
    pressure = Lagrangian(0.5, 0.8, 0.02)
    learned = learn_mask(task, HardConcrete(), pressure, steps=300, rate=0.1, masks=1, batch=2, start=3.0)
    n = len(task.graph.edges)
    assert learned.sizes[0] > 0.95 * n
    assert learned.sizes[-1] == pytest.approx(0.5 * n, rel=0.1)
    assert sum(learned.scores.values()) == pytest.approx(0.5 * n, rel=0.1)


# --- presets -------------------------------------------------------------------------------------------------------


def obvious_task() -> Task:
    """Only embed -> a1.h1.v and a1.h1 -> logits matter: all else writes where nobody reads."""
    model = random_model({}, torch.float64)
    for layer, block in enumerate(model.blocks):
        block.attn.W_O.data[:, :, :8] = 0
        block.attn.b_O.data[:8] = 0
        block.mlp.W_out.data[:, :8] = 0
        block.mlp.b_out.data[:8] = 0
        if layer == 1:
            block.attn.W_O.data[1] = 0
            block.attn.W_O.data[1, :, :4] = torch.eye(4) * 4
            block.attn.W_V.data[1, :4] = block.attn.W_V.data[1, 8:] = 0
            block.attn.W_Q.data[1] = block.attn.W_K.data[1] = 0
    model.embed.W_E.data[:, :4] = model.embed.W_E.data[:, 8:] = 0
    model.pos_embed.W_pos.data[:, :8] = 0
    model.unembed.W_U.data[4:] = 0
    rng = np.random.default_rng(0)
    clean, corrupted = (torch.tensor(rng.integers(1, 9, size=(8, 5))) for _ in range(2))
    positions = torch.ones_like(clean, dtype=torch.bool)
    return Task.build(model, Graph.of(model), clean, corrupted, positions, seed=4)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_one_path_that_matters_is_found(preset: Function) -> None:
    task = obvious_task()
    scores = dict(preset(task, steps=150, rate=0.1, batch=4))
    nodes = preset is masks.subnetwork_probing_nodes
    true = {"embed", "a1.h1"} if nodes else {"embed->a1.h1.v", "a1.h1->logits"}
    rest = [score for name, score in scores.items() if name not in true]
    assert min(scores[name] for name in true) > max(rest) + 0.2
    assert max(rest) < 0.2


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_keep_the_protocol_on_every_kind_of_task(preset: Function) -> None:
    level: Any = "nodes" if preset is masks.subnetwork_probing_nodes else "edges"
    check_method(Method("short", level, False, partial(preset, steps=3)))
    for name, ablation in (("layer norm", "zero"), ("attention only", "mean"), ("causal gelu", "donor")):
        task = random_task(RANDOM[name], torch.float32, ablation)
        before = task.engine.forwards
        scores = preset(task, steps=3, masks=2, batch=2)
        assert all(0 <= score <= 1 for score in scores.values())
        assert task.engine.backwards == pytest.approx(3 * 2 * 2 / len(task.clean))
        assert task.engine.forwards - before == pytest.approx(1 + task.engine.backwards)
    task = compiled_task("frac_prevs", n=1)  # one pair, a numeric output
    assert np.isfinite(list(preset(task, steps=3).values())).all()


@pytest.mark.parametrize("preset", [p for p in PRESETS if p is not masks.optimal_ablation])
def test_a_compiled_circuit_is_recovered(preset: Function) -> None:
    """Optimal ablation asks for another circuit than `resample` truth: the ablated value is its own."""
    result = gaugeblock.evaluate(preset, "sort/permute+pad#1", steps=120, rate=0.1, masks=2)
    assert (result.scores["auprc"] or 0) > (0.3 if preset is masks.subnetwork_probing_nodes else 0.7)  # chance: 0.06


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            partial(masks.subnetwork_probing, steps=0),
            "at least one step, mask and pair, and rates above 0; got steps=0",
        ),
        (partial(masks.edge_pruning, rate=float("nan")), "rates above 0; got rate=nan"),
        (partial(masks.optimal_ablation, constant_rate=0.0), "got constant_rate=0.0"),
        (partial(masks.subnetwork_probing, penalty=-1.0), "the penalty on open gates is at least 0, got -1.0"),
        (partial(masks.edge_pruning, warmup=2.0), "warmup from 0 to 1"),
        (partial(masks.uniform_gradient_sampling, window=3.0), "above 0 and at most 2, got 3.0"),
        (lambda _: HardConcrete(gamma=0.1), "a hard-concrete gate needs beta > 0, gamma < 0 and zeta > 1"),
        (lambda task: Objective(task, "loss"), "there is no objective 'loss'; possible: divergence, metric"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_numbers_out_of_range_are_refused(call: Any, says: str) -> None:
    with pytest.raises(MethodError, match=says):
        call(random_task({}))
