"""Mask learning: gates on edges or nodes, trained to keep the clean output with as few of them open as possible.

`learn_mask` is the one implementation; the published methods, in `masks`, are choices of gate, of what presses for
sparsity, and of what a shut gate lets through. The objective is divided by its value with everything ablated, so that
one penalty suits every task, categorical or numeric; published code leaves it as it is and tunes the penalty.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gaugeblock.compiled.edges.graph import parse_edge
from gaugeblock.methods.circuits.mask_learning.gates import Gate
from gaugeblock.methods.engine.objective import Objective
from gaugeblock.methods.registry import Level
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError

NUMBERS_AT_ONCE = 2**25
"""Numbers that autograd may keep for one block of (mask, pair) items, roughly."""


@final
@dataclass(frozen=True)
class Learned:
    """A trained mask.

    Attributes:
        scores: how open each edge's or node's gate is in the end, from 0 to 1.
        losses: the objective at each step, mean over its masks and pairs.
        sizes: the expected number of open gates before each step.
    """

    scores: dict[str, float]
    losses: tuple[float, ...]
    sizes: tuple[float, ...]


@final
@dataclass(frozen=True)
class Penalty:
    """Sparsity at a fixed price: weight · the share of open gates."""

    weight: float

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise MethodError(f"the penalty on open gates is at least 0, got {self.weight}")


@final
@dataclass(frozen=True)
class Lagrangian:
    """Sparsity s driven to a target t by λ1·(s - t) + λ2·(s - t)², where λ1 and λ2, from 0, go up the gradient.

    target: share of shut gates in the end; t rises to it linearly over the first `warmup` of the steps. A target
        above 1 cannot be met and keeps the pressure on.
    rate: learning rate of the multipliers.
    """

    target: float
    warmup: float
    rate: float

    def __post_init__(self) -> None:
        if self.target <= 0 or not 0 <= self.warmup <= 1 or self.rate <= 0:
            given = f"target {self.target}, warmup {self.warmup}, rate {self.rate}"
            raise MethodError(f"a Lagrangian needs target > 0, warmup from 0 to 1 and rate > 0, got {given}")


def learn_mask(
    task: Task,
    gate: Gate,
    pressure: Penalty | Lagrangian,
    *,
    level: Level = "edges",
    objective: str = "divergence",
    steps: int = 400,
    rate: float = 0.05,
    masks: int = 4,
    batch: int = 16,
    start: float = 1.0,
    constant_rate: float | None = None,
) -> Learned:
    """Train one gate per edge (or node) with Adam.

    Each step draws `masks` samples of all gates and `batch` pairs without replacement (all pairs if there are no more)
    and goes down the gradient of  objective / objective of the empty circuit + pressure. Noise is drawn on the CPU,
    in float64, so that a seed means the same on every device.

    Args:
        gate: distribution of a gate given its parameter.
        pressure: what presses for sparsity.
        level: "nodes" for one gate per writer, which multiplies its outgoing edges.
        objective: see `Objective`.
        steps, rate: of Adam on the gates' parameters.
        masks, batch: samples of the gates, and pairs, at each step.
        start: every gate's parameter before training.
        constant_rate: where given, what an ablated writer carries is not the task's ablation but a constant of its
            own, learned at this rate.

    Raises MethodError for numbers out of range.
    """
    _check(steps, rate, masks, batch, constant_rate)
    device, dtype = task.clean.device, task.engine.clean_logits.dtype
    generator = torch.Generator().manual_seed(int(task.rng.integers(2**63)))
    names = task.graph.edges if level == "edges" else task.graph.writers
    column = _gate_of_each_edge(task, level)
    theta = torch.full((len(names),), float(start), dtype=dtype, device=device, requires_grad=True)
    groups = [{"params": [theta], "lr": rate}]
    constants = None if constant_rate is None else Constants(task)
    if constants is not None:
        groups.append({"params": [constants.shift], "lr": constant_rate})
    multipliers = torch.zeros(2, dtype=dtype, device=device, requires_grad=True)
    if isinstance(pressure, Lagrangian):
        groups.append({"params": [multipliers], "lr": pressure.rate, "maximize": True})
    optimiser = torch.optim.Adam(groups)
    measure = Objective(task, objective)
    unit = _loss_of_the_empty_circuit(task, measure, constants)
    losses, sizes = [], []
    for step in range(steps):
        noise = torch.rand(masks, len(names), generator=generator, dtype=torch.float64)
        pairs = torch.randperm(len(task.clean), generator=generator)[:batch].to(device)
        edge_masks = gate.sample(theta, _inside(noise.to(device, dtype)))[:, column]
        loss, mask_gradient, constant_gradient = _gradients(task, measure, edge_masks.detach(), pairs, constants)
        opened = gate.open(theta)
        optimiser.zero_grad()
        with torch.enable_grad():
            _price(pressure, 1 - opened.mean(), multipliers, step / steps).backward(retain_graph=True)
        edge_masks.backward(mask_gradient / unit)
        if constants is not None and constant_gradient is not None:
            constants.shift.grad = constant_gradient / unit
        optimiser.step()
        losses.append(loss)
        sizes.append(float(opened.detach().sum()))
    final = gate.open(theta.detach()).tolist()
    return Learned(dict(zip(names, final, strict=True)), tuple(losses), tuple(sizes))


@final
class Constants:
    """One learned vector per writer, which replaces it at every token of every input; BOS and PAD rows stay clean.

    It is the mean of what the writer writes at the tokens of the clean inputs, plus `shift` in units of the root mean
    square deviation from that mean, so that one learning rate suits all writers. A writer that never varies keeps its
    mean.
    """

    def __init__(self, task: Task) -> None:
        self.real, self.clean = task.rows.clean, task.engine.clean_run.writers
        written = self.clean[:, self.real]
        self.mean = written.mean(1)
        self.unit = (written - self.mean[:, None]).square().mean((1, 2)).sqrt()
        self.shift = torch.zeros_like(self.mean).requires_grad_()

    def at(self, pairs: Int[Tensor, " chosen"]) -> Float[Tensor, "writer chosen pos d_model"]:
        """What the writers are replaced by on these pairs."""
        value = self.mean + self.unit[:, None] * self.shift
        return torch.where(self.real[pairs][:, :, None], value[:, None, None], self.clean[:, pairs])


def _price(pressure: Penalty | Lagrangian, sparsity: Tensor, multipliers: Tensor, progress: float) -> Tensor:
    if isinstance(pressure, Penalty):
        return pressure.weight * (1 - sparsity)
    risen = min(1.0, progress / pressure.warmup) if pressure.warmup else 1.0
    gap = sparsity - pressure.target * risen
    return multipliers[0] * gap + multipliers[1] * gap.square()


def _gradients(
    task: Task, measure: Objective, masks: Float[Tensor, "mask edge"], pairs: Int[Tensor, " chosen"],
    constants: Constants | None,
) -> tuple[float, Float[Tensor, "mask edge"], Float[Tensor, "writer d_model"] | None]:  # fmt: skip
    """Mean objective over masks and pairs, and its gradients in the masks and the constants, in bounded blocks."""
    total, mask_gradient = 0.0, torch.zeros_like(masks)
    constant_gradient = None if constants is None else torch.zeros_like(constants.shift)
    for rows, chosen in _blocks(task, len(masks), pairs):
        block = masks[rows].requires_grad_()
        leaves = [block] if constants is None else [block, constants.shift]
        with torch.enable_grad():
            replaced = None if constants is None else constants.at(chosen)
            logits = task.engine.forward(block, chosen, replaced).flatten(0, 1)
            loss = measure(logits, chosen.repeat(len(block))).sum() / (len(masks) * len(pairs))
            gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
        task.engine.backwards += len(block) * len(chosen) / len(task.clean)
        total += float(loss.detach())
        mask_gradient[rows] += gradients[0]
        if constant_gradient is not None:
            constant_gradient += gradients[1]
    return total, mask_gradient, constant_gradient


def _blocks(task: Task, n_masks: int, pairs: Int[Tensor, " chosen"]) -> Iterator[tuple[slice, Int[Tensor, " some"]]]:
    """(masks, pairs) blocks that together cover all of them once."""
    graph = task.graph
    per_item = task.engine.clean_run.stream[0][0].numel() * (len(graph.writers) + len(graph.readers))
    items = max(1, NUMBERS_AT_ONCE // per_item)
    rows = max(1, items // len(pairs))
    for start in range(0, n_masks, rows):
        for some in pairs.split(items):
            yield slice(start, start + rows), some


def _gate_of_each_edge(task: Task, level: Level) -> Int[Tensor, " edge"]:
    graph = task.graph
    if level == "edges":
        return torch.arange(len(graph.edges), device=task.clean.device)
    writers = [graph.writer_index[parse_edge(edge)[0]] for edge in graph.edges]
    return torch.tensor(writers, device=task.clean.device)


def _loss_of_the_empty_circuit(task: Task, measure: Objective, constants: Constants | None) -> float:
    """Mean over all pairs; 1 where ablating everything changes nothing but rounding."""
    everyone = torch.arange(len(task.clean), device=task.clean.device)
    shut = task.engine.clean_logits.new_zeros(1, len(task.graph.edges))
    total = 0.0
    with torch.no_grad():
        for _, chosen in _blocks(task, 1, everyone):
            replaced = None if constants is None else constants.at(chosen)
            total += float(measure(task.engine.forward(shut, chosen, replaced)[0], chosen).sum())
    mean = total / len(everyone)
    return mean if mean > torch.finfo(shut.dtype).eps else 1.0


def _inside(noise: Float[Tensor, "mask gate"]) -> Float[Tensor, "mask gate"]:
    """The noise kept away from 0 and 1, where a logit is infinite."""
    edge = torch.finfo(noise.dtype).eps
    return noise.clamp(edge, 1 - edge)


def _check(steps: int, rate: float, masks: int, batch: int, constant_rate: float | None) -> None:
    counts = {"steps": steps, "masks": masks, "batch": batch}
    rates = {"rate": rate} | ({} if constant_rate is None else {"constant_rate": constant_rate})
    wrong = [f"{name}={value}" for name, value in counts.items() if value < 1]
    wrong += [f"{name}={value}" for name, value in rates.items() if not value > 0]
    if wrong:
        raise MethodError(f"mask learning needs at least one step, mask and pair, and rates above 0; got {wrong[0]}")
