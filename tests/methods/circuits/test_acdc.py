"""ACDC against the textbook loop: one forward pass under masks for every edge, and the circuit with plain hooks."""

import numpy as np
import pytest
import torch

from gaugeblock.methods.circuits.acdc import acdc, search, survivors
from gaugeblock.methods.engine.ablation import ABLATIONS
from gaugeblock.methods.engine.objective import Objective
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError
from support.naive import patched
from support.tasks import COMPILED, RANDOM, compiled_task, random_task


def distance(task: Task, logits: torch.Tensor, objective: str) -> float:
    """How far these logits are from the clean ones: mean over pairs of the mean over graded positions."""
    clean = task.engine.clean_logits
    if objective == "metric":
        pairs = torch.arange(len(logits))
        return float((task.metric(clean, pairs) - task.metric(logits, pairs)).mean())
    if task.numeric:
        by_position = ((logits - clean) ** 2).sum(-1)
    else:
        by_position = torch.nn.functional.kl_div(logits.log_softmax(-1), clean.softmax(-1), reduction="none").sum(-1)
    return float(np.mean([float(row[keep].mean()) for row, keep in zip(by_position, task.positions, strict=True)]))


def textbook(task: Task, threshold: float, objective: str) -> tuple[list[str], float]:
    """Algorithm 1 of Conmy et al. (2023): (the circuit, its objective)."""
    masks = torch.ones(1, len(task.graph.edges), dtype=torch.float64)
    value = 0.0
    for reader in reversed(task.graph.readers):
        for edge in reversed(task.graph.incoming(reader)):
            masks[0, task.graph.edge_index[edge]] = 0
            tried = distance(task, task.engine.forward(masks)[0], objective)
            if tried - value < threshold:
                value = tried
            else:
                masks[0, task.graph.edge_index[edge]] = 1
    return [edge for edge, kept in zip(task.graph.edges, masks[0].tolist(), strict=True) if kept], value


@pytest.mark.parametrize("objective", ["divergence", "metric"])
@pytest.mark.parametrize("kind", [*RANDOM, *COMPILED])
def test_the_textbook_circuit(kind: str, objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under all four ablations in turn, and in blocks of two pairs for one of the objectives."""
    if objective == "metric":
        monkeypatch.setattr("gaugeblock.methods.circuits.acdc.ROWS_ON_CPU", 14)
    number = [*RANDOM, *COMPILED].index(kind) + 2 * (objective == "metric")
    for threshold in (3e-3, 1e-4) if kind in RANDOM and objective == "divergence" else (1e-3,):
        ablation, number = list(ABLATIONS)[number % 4], number + 1
        if kind in RANDOM:
            task = random_task(RANDOM[kind], ablation=ablation)
        else:
            task = compiled_task(kind, ablation=ablation, n=4)
        with torch.no_grad():
            kept, values = search(task, Objective(task, objective), threshold)
            passes = task.engine.forwards
            expected, value = textbook(task, threshold, objective)
        assert kept == expected
        assert passes < len(task.graph.edges) / 2
        ablated = dict(zip(task.graph.writers, task.engine.ablated, strict=True))
        hooked = patched(task.model, task.clean, ablated, set(task.graph.edges) - set(kept)).detach()
        assert value == pytest.approx(distance(task, hooked, objective), abs=1e-9)
        assert float(values.mean()) == pytest.approx(value, abs=1e-9)


def test_scores_are_the_largest_threshold_survived() -> None:
    task = random_task({}, torch.float32)
    circuits = {threshold: set(survivors(task, threshold)) for threshold in (1e-3, 1e-2)}
    scores = acdc(task, (1e-2, 1e-3))
    for edge in task.graph.edges:
        assert scores[edge] == max((t for t, circuit in circuits.items() if edge in circuit), default=0.0)
    with pytest.raises(MethodError, match="there is no objective 'kl'; possible: divergence, metric"):
        survivors(task, 0.1, "kl")
