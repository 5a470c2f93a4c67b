"""Circuits by mask learning: the published methods, as presets of `learning.learn_mask`."""

from gaugeblock.methods.circuits.mask_learning.gates import HardConcrete, UniformWindow
from gaugeblock.methods.circuits.mask_learning.learning import Lagrangian, Penalty, learn_mask
from gaugeblock.methods.registry import Level, method
from gaugeblock.methods.task import Task


@method()
def subnetwork_probing(
    task: Task, penalty: float = 1.0, steps: int = 400, rate: float = 0.05, masks: int = 4, batch: int = 16,
    start: float = 1.61,
) -> dict[str, float]:  # fmt: skip
    """How open each edge's hard-concrete gate is after training on objective + penalty · share of open gates.

    Source: Cao et al. 2021, with the gates of Louizos et al. 2018; used for circuits by Conmy et al. 2023, whose task
    objective (KL from the clean output), ablation by resampling and start (log alpha 1.61, a mean gate of about 0.85)
    are kept. Cost: `steps` · `masks` · `batch` / pairs forward and backward passes, and one forward pass.

    Where we differ: Cao et al. gate weights and train a probe on top; Conmy et al. gate nodes and sweep the penalty.
    The objective is in units of the empty circuit's, see `learning`.

    Args:
        penalty: on the share of open gates; 1 is the loss of the empty circuit.
        steps, rate: of Adam.
        masks, batch: samples of the gates, and pairs, at each step.
        start: log alpha of every gate before training.
    """
    return _probe(task, "edges", penalty, steps, rate, masks, batch, start)


@method(level="nodes")
def subnetwork_probing_nodes(
    task: Task, penalty: float = 1.0, steps: int = 400, rate: float = 0.05, masks: int = 4, batch: int = 16,
    start: float = 1.61,
) -> dict[str, float]:  # fmt: skip
    """`subnetwork_probing` with one gate per node, which multiplies all edges out of it. Same source, cost and args."""
    return _probe(task, "nodes", penalty, steps, rate, masks, batch, start)


def _probe(
    task: Task, level: Level, penalty: float, steps: int, rate: float, masks: int, batch: int, start: float
) -> dict[str, float]:
    return learn_mask(
        task, HardConcrete(), Penalty(penalty), level=level, steps=steps, rate=rate, masks=masks, batch=batch,
        start=start,
    ).scores  # fmt: skip


@method()
def edge_pruning(
    task: Task, target: float = 1.0, warmup: float = 0.9, steps: int = 400, rate: float = 0.05,
    multiplier_rate: float = 0.05, masks: int = 4, batch: int = 16, start: float = 2.0,
) -> dict[str, float]:  # fmt: skip
    """How open each edge's hard-concrete gate is after training towards a target sparsity.

    The loss is objective + λ1·(s - t) + λ2·(s - t)², with s the expected share of shut gates, t the target that is
    warmed up, and λ1, λ2 learned by gradient ascent.

    Source: Bhaskar et al. 2024. Cost: `steps` · `masks` · `batch` / pairs forward and backward passes, and one
    forward pass.

    Where we differ: the paper adds gates on nodes, which an edge's gate is multiplied by; here every edge has only
    its own (the published runs on Tracr models and GPT-2 also switch off the nodes' sparsity term). The published code
    takes 16 or 32 examples a step, starts log alpha at 10, and has rates of 0.03 (Tracr; 0.001 for the multipliers) to
    0.8 (GPT-2) with a warm-up and 3,000 to 6,000 steps; its targets run from 0.94 to 1.1.

    Args:
        target, warmup: the share of shut gates to reach, and the share of the steps over which it is raised.
        steps, rate: of Adam.
        multiplier_rate: of Adam on λ1 and λ2.
        masks, batch: samples of the gates, and pairs, at each step.
        start: log alpha of every gate before training.
    """
    return learn_mask(
        task, HardConcrete(), Lagrangian(target, warmup, multiplier_rate), steps=steps, rate=rate, masks=masks,
        batch=batch, start=start,
    ).scores  # fmt: skip


@method()
def uniform_gradient_sampling(
    task: Task, penalty: float = 1.0, steps: int = 400, rate: float = 0.05, masks: int = 8, batch: int = 8,
    start: float = 1.0, window: float = 2.0,
) -> dict[str, float]:  # fmt: skip
    """The mean of each edge's gate after training on objective + penalty · share of open gates.

    A gate is uniform on [0, 1] with probability window · p(1 - p), p = sigmoid(theta), and else 0 or 1; see
    `gates.UniformWindow`. The gradient comes from the uniform ones.

    Source: Li & Janson 2024 (UGS). Cost: `steps` · `masks` · `batch` / pairs forward and backward passes, and one
    forward pass.

    Where we differ: the published code draws 12 masks for each of 5 examples, here every mask meets every pair of the
    batch; it takes 3,000 steps at rates of 0.01 to 0.15 and a penalty per edge that the user sweeps. It also clips
    gradients, has a term on nodes and reweights gates by how often they were uniform; these are left out.

    Args:
        penalty: on the share of open gates; 1 is the loss of the empty circuit.
        steps, rate: of Adam.
        masks, batch: samples of the gates, and pairs, at each step.
        start: theta of every gate before training; published: 1.
        window: width of the uniform window, at most 2; published: 1.
    """
    return learn_mask(
        task, UniformWindow(window), Penalty(penalty), steps=steps, rate=rate, masks=masks, batch=batch, start=start
    ).scores


@method()
def optimal_ablation(
    task: Task, penalty: float = 1.0, steps: int = 400, rate: float = 0.05, masks: int = 8, batch: int = 8,
    start: float = 2.0, window: float = 1.0, constant_rate: float = 0.003,
) -> dict[str, float]:  # fmt: skip
    """Uniform gradient sampling in which a shut edge carries a constant vector of its writer, learned with the gates.

    It *replaces the task's ablation*: whatever that is, an ablated writer has one constant value at all tokens of all
    inputs, which starts at its mean over the clean inputs and minimises the loss. BOS and PAD rows stay clean.

    Source: Li & Janson 2024 (OA with UGS). Cost and differences: as `uniform_gradient_sampling`; the published code
    takes 6,000 steps, with a rate of 0.001 for the constants themselves.

    Args:
        constant_rate: of Adam on the constants, in units of how much each writer varies.
        penalty, steps, rate, masks, batch, start, window: as in `uniform_gradient_sampling`.
    """
    return learn_mask(
        task, UniformWindow(window), Penalty(penalty), steps=steps, rate=rate, masks=masks, batch=batch, start=start,
        constant_rate=constant_rate,
    ).scores  # fmt: skip
