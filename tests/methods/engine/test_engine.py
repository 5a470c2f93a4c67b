"""The engine says what TransformerLens's own hooks say."""

import numpy as np
import pytest
import torch
from torch import Tensor

from gaugeblock.methods.engine.ablation import Rows, donor_sources
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError, UnknownName
from support.naive import node_patched, patched, writers
from support.tasks import COMPILED, RANDOM, compiled_task, random_task, task_of


def flat(logits: Tensor, pair: Tensor) -> Tensor:
    """A functional that keeps everything apart: a fixed random projection of the logits."""
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(logits.shape[1:], generator=generator, dtype=torch.float64).to(logits)
    return (logits * weights).flatten(1).sum(1)


def ablated(task: Task) -> dict[str, Tensor]:
    """What each writer is replaced by, taken from plain hooked runs."""
    corrupted = writers(task.model, task.corrupted)
    if task.ablation == "resample":
        return corrupted
    if task.ablation == "zero":
        return {w: torch.zeros_like(value) for w, value in corrupted.items()}
    clean, real = writers(task.model, task.clean), task.rows.clean[:, :, None]
    if task.ablation == "mean":
        return {w: mean_by_position(value, clean[w], task.rows) for w, value in corrupted.items()}
    pair, pos = donor_sources(task.rows)
    return {w: torch.where(real, value[pair, pos], clean[w]) for w, value in corrupted.items()}


def mean_by_position(corrupted: Tensor, clean: Tensor, rows: Rows) -> Tensor:
    """Row by row: the mean over the corrupted inputs with a token there, where the clean input has one."""
    result = clean.clone()
    for pair, pos in rows.clean.nonzero().tolist():
        there = corrupted[rows.corrupted[:, pos], pos]
        if len(there):
            result[pair, pos] = there.mean(0)
    return result


def random_sets(task: Task, n: int = 12) -> list[list[str]]:
    rng = np.random.default_rng(1)
    edges = np.array(task.graph.edges)
    return [
        rng.choice(edges, size=min(len(edges), size), replace=False).tolist()
        for size in (1, 2, 3, 5, 30, 200) * (n // 6)
    ]


def tolerance(task: Task) -> float:
    scale = 1 + float(task.engine.clean_logits.abs().max())
    return (1e-9 if task.engine.clean_logits.dtype == torch.float64 else 1e-5) * scale


def check_sets(task: Task, sets: list[list[str]]) -> None:
    values = task.engine.patch(sets, flat)
    masks = torch.ones(len(sets), len(task.graph.edges), dtype=task.engine.clean_logits.dtype)
    for mask, edges in zip(masks, sets, strict=True):
        mask[task.graph.indices(edges)] = 0
    dense = task.engine.forward(masks).detach()
    measured = task.engine.measure(masks.bool(), flat)
    source, pairs = ablated(task), torch.arange(len(task.clean))
    for patch, edges, logits, circuit in zip(values, sets, dense, measured, strict=True):
        expected = patched(task.model, task.clean, source, edges)
        assert (logits - expected).abs().max() < tolerance(task), edges[:3]
        for effect in (patch, circuit):
            assert (effect - flat(expected, pairs)).abs().max() < 50 * tolerance(task), edges[:3]


def test_any_set_of_edges_as_with_plain_hooks(task: Task) -> None:
    check_sets(task, random_sets(task))


@pytest.mark.parametrize("name", [*RANDOM, *COMPILED])
def test_any_set_of_edges_in_float32_and_under_other_ablations(name: str) -> None:
    for dtype, ablation in ((torch.float32, "resample"), *((torch.float64, a) for a in ("donor", "mean", "zero"))):
        task = random_task(RANDOM[name], dtype, ablation) if name in RANDOM else compiled_task(name, dtype, ablation)
        check_sets(task, random_sets(task, 6))


@pytest.mark.parametrize("norm", [None, "LN"])
def test_an_mlp_that_writes_only_its_bias(norm: str | None) -> None:
    for ablation in ("resample", "zero"):
        model = random_task({"normalization_type": norm}).model
        model.blocks[1].mlp.W_out.data.zero_()
        task = task_of(model, ablation=ablation)
        check_sets(task, [["m1->logits"], *random_sets(task, 4)])
        sets = [[edge] for edge in task.graph.edges]
        assert torch.allclose(
            task.engine.single_edges(flat), task.engine.patch(sets, flat), rtol=0, atol=50 * tolerance(task)
        )


def test_some_pairs_as_among_all(task: Task) -> None:
    sets, pairs = random_sets(task, 6), torch.tensor([3, 0])
    all_pairs, some = task.engine.patch(sets, flat), task.engine.patch(sets, flat, pairs)
    assert torch.allclose(some, all_pairs[:, pairs], rtol=0, atol=50 * tolerance(task))


def test_every_single_edge_as_with_plain_hooks(task: Task) -> None:
    values = task.engine.single_edges(flat)
    source, pairs = ablated(task), torch.arange(len(task.clean))
    rng = np.random.default_rng(2)
    for i in rng.choice(len(task.graph.edges), size=min(60, len(task.graph.edges)), replace=False):
        expected = patched(task.model, task.clean, source, [task.graph.edges[i]])
        assert (values[i] - flat(expected, pairs)).abs().max() < 50 * tolerance(task), task.graph.edges[i]


def test_single_edges_are_sets_of_one(task: Task) -> None:
    sets = [[edge] for edge in task.graph.edges]
    assert torch.allclose(
        task.engine.single_edges(flat), task.engine.patch(sets, flat), rtol=0, atol=50 * tolerance(task)
    )


def test_a_node_as_with_plain_hooks(task: Task) -> None:
    nodes = [w for w in task.graph.writers if w != "bias"]
    values = task.engine.patch([task.graph.outgoing(w) for w in nodes], flat)
    source, pairs = ablated(task), torch.arange(len(task.clean))
    for row, writer in zip(values, nodes, strict=True):
        expected = node_patched(task.model, task.clean, source, writer)
        assert (row - flat(expected, pairs)).abs().max() < 50 * tolerance(task), writer


def test_full_mask_is_the_model_and_empty_mask_the_ablated_run(task: Task) -> None:
    masks = torch.stack([torch.ones(len(task.graph.edges)), torch.zeros(len(task.graph.edges))])
    kept, gone = task.engine.forward(masks)
    with torch.no_grad():
        assert torch.allclose(kept, task.model(task.clean), rtol=0, atol=tolerance(task))
        assert torch.allclose(gone, task.model(task.corrupted), rtol=0, atol=tolerance(task))


def test_masks_between_are_differentiable() -> None:
    task = random_task(RANDOM["layer norm"])
    pairs = torch.tensor([4, 1])
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(1, len(task.graph.edges), generator=generator, dtype=torch.float64).requires_grad_()

    def value(m: Tensor) -> Tensor:
        return task.metric(task.engine.forward(m, pairs)[0], pairs).sum()

    (gradient,) = torch.autograd.grad(value(mask), mask)
    for i in (0, 17, len(task.graph.edges) - 1):
        step = torch.zeros_like(mask)
        step[0, i] = 1e-5
        with torch.no_grad():
            slope = (value(mask + step) - value(mask - step)) / 2e-5
        assert float(gradient[0, i]) == pytest.approx(float(slope), abs=1e-6)


def test_results_do_not_depend_on_blocks(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = random_sets(task)
    together, singles = task.engine.patch(sets, flat), task.engine.single_edges(flat)
    circuits = torch.rand(6, len(task.graph.edges), generator=torch.Generator().manual_seed(0)) < 0.3
    circuits = circuits.repeat(2, 1)  # some are the same
    measured = task.engine.measure(circuits, flat)
    monkeypatch.setattr("gaugeblock.methods.engine.engine.CIRCUITS_AT_ONCE", 4)
    monkeypatch.setattr("gaugeblock.methods.engine.hard_masks.NUMBERS_AT_ONCE", 1)
    assert torch.allclose(task.engine.measure(circuits, flat), measured, rtol=0, atol=50 * tolerance(task))
    for module in ("engine", "edge_sets"):  # single edges, and sets of them
        monkeypatch.setattr(f"gaugeblock.methods.engine.{module}.ROWS_AT_ONCE", 1)
    assert torch.allclose(task.engine.patch(sets, flat), together, rtol=0, atol=50 * tolerance(task))
    assert torch.allclose(task.engine.single_edges(flat), singles, rtol=0, atol=50 * tolerance(task))


def test_a_dead_mlp_still_adds_its_bias() -> None:
    task = random_task({})
    block = task.model.blocks[1]
    block.mlp.W_out.data.zero_()
    task = Task.build(task.model, task.graph, task.clean, task.corrupted, task.positions)
    assert float(block.mlp.b_out.detach().abs().max()) > 0
    check_sets(task, random_sets(task, 6))
    single = task.engine.single_edges(flat)
    assert torch.allclose(single, task.engine.patch([[e] for e in task.graph.edges], flat), rtol=0, atol=1e-8)


def test_what_the_engine_cannot_do_is_refused_by_name() -> None:
    task = random_task({})
    with pytest.raises(UnknownName, match=r"no edge of this graph is named 'embed->a9\.h0\.q'"):
        task.engine.patch([["embed->a9.h0.q"]], flat)
    task.model.cfg.positional_embedding_type = "rotary"
    with pytest.raises(MethodError, match="does not support models with positional_embedding_type='rotary'"):
        _ = Task.build(task.model, task.graph, task.clean, task.corrupted, task.positions).engine
