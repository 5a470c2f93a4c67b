"""Patching methods against plain hooks and brute force."""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gaugeblock.compiled import split_inputs
from gaugeblock.compiled.edges.graph import Graph, Place, parse_edge
from gaugeblock.methods import check_method, run_method
from gaugeblock.methods.circuits.patching import activation_denoising, empty_run, interacting
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError
from support.naive import node_patched, patched, writers
from support.tasks import RANDOM, compiled_task, random_model, random_task

PRESETS = (
    "edge_patching", "edge_denoising", "activation_patching", "activation_denoising", "edge_pair_patching",
    "path_patching",
)  # fmt: skip


def metric(task: Task, logits: Tensor) -> float:
    return float(task.metric(logits, torch.arange(len(logits))).mean())


def some(task: Task, n: int) -> list[str]:
    edges = [edge for edge in task.graph.edges if not edge.startswith("bias->")]
    return [str(e) for e in np.random.default_rng(4).choice(edges, min(n, len(edges)), replace=False)]


def close(value: float) -> Any:
    return pytest.approx(value, abs=1e-8, rel=1e-8)


# --- denoising -----------------------------------------------------------------------------------------------------


def test_denoising_puts_clean_values_into_the_corrupted_run(task: Task) -> None:
    clean = writers(task.model, task.clean)
    base = metric(task, task.model(task.corrupted).detach())
    edges, nodes = run_method("edge_denoising", task), activation_denoising(task)
    for edge in some(task, 20):
        assert edges[edge] == close(metric(task, patched(task.model, task.corrupted, clean, [edge])) - base), edge
    for node in task.graph.writers:
        if node != "bias":
            assert nodes[node] == close(metric(task, node_patched(task.model, task.corrupted, clean, node)) - base)


def reading(task: Task, read: Callable[[str, dict[str, Tensor]], Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """(logits, what every writer writes) where every reader's input is overwritten with read(reader, written)."""
    written: dict[str, Tensor] = {}
    hooks = []

    def store(value: Tensor, hook: Any, writer: str, head: int | None) -> None:
        written[writer] = value if head is None else value[:, :, head]

    def overwrite(value: Tensor, hook: Any, reader: str, head: int | None) -> Tensor:
        if head is None:
            return read(reader, written)
        value = value.clone()
        value[:, :, head] = read(reader, written)
        return value

    for writer in set(task.graph.writers) - {"bias"}:
        point, head = task.graph.hook(writer)
        hooks.append((point, partial(store, writer=writer, head=head)))
    for reader in task.graph.readers:
        point, head = task.graph.hook(reader, reads=True)
        hooks.append((point, partial(overwrite, reader=reader, head=head)))
    with split_inputs(task.model), torch.no_grad():
        return task.model.run_with_hooks(task.clean, fwd_hooks=hooks), written


@pytest.mark.parametrize("ablation", ["donor", "mean", "zero"])
@pytest.mark.parametrize("name", ["plain", "layer norm", "dyck2"])
def test_denoising_starts_from_the_empty_circuit(name: str, ablation: str) -> None:
    task = random_task(RANDOM[name], ablation=ablation) if name in RANDOM else compiled_task(name, ablation=ablation)
    clean = writers(task.model, task.clean)
    ablated = dict(zip(task.graph.writers, task.engine.ablated, strict=True))

    def empty(reader: str, _: object = None) -> Tensor:
        """What the reader reads when all its edges are ablated; the attention biases stay."""
        place, names = Place.of(reader), [parse_edge(edge)[0] for edge in task.graph.incoming(reader)]
        layers = task.model.cfg.n_layers if place.layer is None else place.layer + (place.kind == "mlp")
        biases = (block.attn.b_O.detach() for block in list(task.model.blocks)[:layers])
        return sum((ablated[w] for w in names if w != "bias"), sum(biases, torch.zeros_like(ablated["embed"])))

    before, wrote = reading(task, empty)
    without = torch.zeros(1, len(task.graph.edges))
    assert torch.allclose(task.engine.forward(without)[0].detach(), before, rtol=0, atol=1e-8)
    weights = task.engine.weights
    assert torch.allclose(empty_run(weights, weights, task.engine.ablated).logits, before, rtol=0, atol=1e-8)

    def restored(edges: list[str]) -> float:
        def read(reader: str, writes: dict[str, Tensor]) -> Tensor:
            total = empty(reader)
            for edge in task.graph.incoming(reader):
                writer = parse_edge(edge)[0]
                if edge in edges:
                    total = total + clean[writer] - ablated[writer]
                elif writer != "bias":
                    total = total + writes[writer] - wrote[writer]
            return total

        return metric(task, reading(task, read)[0]) - metric(task, before)

    scores, nodes = run_method("edge_denoising", task), activation_denoising(task)
    assert {scores[e] for e in task.graph.edges if e.startswith("bias->")} <= {0.0}
    for edge in some(task, 8):
        assert scores[edge] == close(restored([edge])), edge
    for node in ("embed", "a0.h0", "a1.h1"):
        if node in task.graph.writers:
            assert nodes[node] == close(restored(list(task.graph.outgoing(node)))), node


# --- pairs of edges ------------------------------------------------------------------------------------------------


def either_suffices() -> Task:
    """Two heads say the same; a neuron fires, and the answer turns, only where both are silent."""
    model = random_model({}, torch.float64)
    for parameter in model.parameters():
        parameter.data.zero_()
    block = model.blocks[0]
    model.W_E.data[1, 0] = 1
    block.attn.W_V.data[:2, 0, 0] = 1
    block.attn.W_O.data[:2, 0, 1] = 1
    block.mlp.W_in.data[1, 0], block.mlp.b_in.data[0], block.mlp.W_out.data[0, 2] = -1, 1, 4
    model.unembed.W_U.data[2, 1], model.unembed.b_U.data[0] = 1, 2
    clean = torch.ones(3, 4, dtype=torch.long)
    return Task.build(model, Graph.of(model), clean, torch.full_like(clean, 2), torch.ones_like(clean) > 0)


def test_either_of_two_is_seen_by_denoising_and_by_pairs_alone() -> None:
    task = either_suffices()
    heads = {f"embed->a0.h{h}.v" for h in (0, 1)} | {f"a0.h{h}->m0" for h in (0, 1)}
    whole = metric(task, task.engine.clean_logits) - metric(task, task.engine.corrupted_run.logits)
    assert whole > 2
    for name, relevant in (
        ("edge_patching", {"m0->logits"}),
        ("edge_denoising", {"m0->logits"} | heads),
        ("edge_pair_patching", {"m0->logits"} | heads),
    ):
        expected = {edge: whole if edge in relevant else 0.0 for edge in task.graph.edges}
        assert run_method(name, task) == pytest.approx(expected, abs=1e-12), name
    assert run_method("edge_pair_patching", task, budget=0) == run_method("edge_patching", task)
    assert run_method("edge_pair_patching", task, budget=1)["a0.h0->m0"] == close(whole)  # into one reader: first


@pytest.mark.parametrize("name", ["sort", "frac_prevs"])
def test_pairs_as_by_brute_force(name: str) -> None:
    """All pairs by dense masked passes, none skipped."""
    task = compiled_task(name, n=4)
    n = len(task.graph.edges)
    effect = single_and_joint(task, list(combinations(range(n), 2)))
    scores = run_method("edge_pair_patching", task)
    for e, edge in enumerate(task.graph.edges):
        given = [effect[min(e, f), max(e, f)] - effect[f,] for f in range(n) if f != e]
        assert abs(scores[edge]) == close(max(abs(x) for x in [effect[e,], *given])), edge
        assert min(abs(scores[edge] - x) for x in [effect[e,], *given]) < 1e-8, edge


def single_and_joint(task: Task, pairs: list[tuple[int, int]]) -> dict[tuple[int, ...], float]:
    sets: list[tuple[int, ...]] = [*sorted({(e,) for pair in pairs for e in pair}), *pairs]
    base, effect = metric(task, task.engine.clean_logits), {}
    for start in range(0, len(sets), 64):
        masks = torch.ones(len(sets[start : start + 64]), len(task.graph.edges), dtype=torch.float64)
        for mask, chosen in zip(masks, sets[start:], strict=False):
            mask[list(chosen)] = 0
        with torch.no_grad():
            values = [base - metric(task, logits) for logits in task.engine.forward(masks)]
        effect |= dict(zip(sets[start:], values, strict=False))
    return effect


@pytest.mark.parametrize("name", ["dyck2", "layer norm"])
def test_skipped_pairs_are_trivial(name: str) -> None:
    """One of the two does nothing beside the other."""
    task = random_task(RANDOM[name]) if name in RANDOM else compiled_task(name)
    needed = interacting(task)
    skipped = np.argwhere(np.triu(~needed, 1))
    chosen = np.random.default_rng(0).choice(len(skipped), min(150, len(skipped)), replace=False)
    pairs = [(int(e), int(f)) for e, f in skipped[chosen]]
    effect = single_and_joint(task, pairs)
    for e, f in pairs:
        given = (effect[e, f] - effect[f,], effect[e, f] - effect[e,])
        assert any(
            abs(x) < 1e-8 and abs(y - own) < 1e-8
            for x, y, own in ((*given, effect[f,]), (*given[::-1], effect[e,]))
        )  # fmt: skip


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(MethodError, match="a number of pairs, 0 or more, not -1"):
        run_method("edge_pair_patching", random_task({}), budget=-1)


# --- path patching -------------------------------------------------------------------------------------------------


def arrived(task: Task, writer: str, ablated: Tensor) -> dict[str, Tensor]:
    """The residual stream at each of TransformerLens's places with a writer ablated and all other heads frozen."""
    model, clean = task.model, writers(task.model, task.clean)
    stream: dict[str, Tensor] = {}

    def freeze(value: Tensor, hook: Any, layer: int) -> Tensor:
        heads = [f"a{layer}.h{head}" for head in range(model.cfg.n_heads)]
        return torch.stack([ablated if name == writer else clean[name] for name in heads], 2)

    def keep(value: Tensor, hook: Any) -> None:
        stream[hook.name] = value

    hooks = [(f"blocks.{i}.attn.hook_result", partial(freeze, layer=i)) for i in range(model.cfg.n_layers)]
    if not writer.startswith("a"):
        hooks.append((task.graph.hook(writer)[0], lambda value, hook: ablated))
    hooks.append((lambda name: "hook_resid" in name, keep))
    model.set_use_attn_result(True)
    with torch.no_grad():
        model.run_with_hooks(task.clean, fwd_hooks=hooks)
    model.set_use_attn_result(False)
    return stream


def test_path_patching_as_with_plain_hooks(task: Task) -> None:
    clean = writers(task.model, task.clean)
    base, scores = metric(task, task.engine.clean_logits), run_method("path_patching", task)
    last = task.model.cfg.n_layers - 1
    with torch.no_grad():
        _, cache = task.model.run_with_cache(task.clean)
    for edge in some(task, 15):
        writer, reader = parse_edge(edge)
        place = Place.of(reader)
        ends = {"head": f"blocks.{place.layer}.hook_resid_pre", "mlp": f"blocks.{place.layer}.hook_resid_mid"}
        point = ends.get(place.kind, f"blocks.{last}.hook_resid_post")
        with_it = arrived(task, writer, task.engine.ablated[task.graph.writer_index[writer]])[point]
        put_in = {writer: clean[writer] + with_it - cache[point]}
        assert scores[edge] == close(base - metric(task, patched(task.model, task.clean, put_in, [edge]))), edge


def test_paths_through_mlps_count() -> None:
    """In a model with MLPs path patching differs from edge patching; without them the two are one."""
    for name, same in (("plain", False), ("attention only", True)):
        task = random_task(RANDOM[name])
        edges, paths = run_method("edge_patching", task), run_method("path_patching", task)
        assert (edges == pytest.approx(paths, abs=1e-10)) is same


# --- all of them ---------------------------------------------------------------------------------------------------


def test_presets_keep_the_protocol() -> None:
    for name in PRESETS:
        check_method(name)


@pytest.mark.parametrize("ablation", ["resample", "donor", "mean", "zero"])
def test_presets_in_float32_and_on_one_pair(ablation: str) -> None:
    """float32 gives what float64 gives, and a score over pairs is the mean of the pairs' own."""
    task = random_task(RANDOM["layer norm"], torch.float32, ablation)
    double = random_task(RANDOM["layer norm"], torch.float64, ablation)
    for name in PRESETS:
        scores, exact = (run_method(name, t, **({"budget": 50} if "pair" in name else {})) for t in (task, double))
        assert scores == pytest.approx(exact, abs=2e-5)
    if ablation == "resample":
        sides = (double.clean, double.corrupted, double.positions)
        single = [
            Task.build(double.model, double.graph, *(side[i : i + 1] for side in sides))
            for i in range(len(double.clean))
        ]
        for name in ("edge_denoising", "path_patching"):
            apart = [run_method(name, t) for t in single]
            means = {edge: float(np.mean([scores[edge] for scores in apart])) for edge in double.graph.edges}
            assert run_method(name, double) == pytest.approx(means, abs=1e-10)
