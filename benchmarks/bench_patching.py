"""How much faster is exact patching of every edge than one hooked forward pass per edge?

Three ways, in one run, on the same model and pairs, one thread each:

    split    TransformerLens hooks on split inputs (use_split_qkv_input, use_attn_result, use_hook_mlp_in)
    hooks    TransformerLens hooks at hook_q, hook_k, hook_v, hook_pre and the last residual, without these flags
    ours     gaugeblock's engine

The hooked ways are timed on a sample of edges and scaled up to all of them; the numbers they give are compared with
ours on that sample. Also timed: EAP against one plain forward and backward pass.

    python benchmarks/bench_patching.py            # a dense random model
    python benchmarks/bench_patching.py CASE …     # cases, e.g. dyck2/permute+pad#1
"""

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import gaugeblock as gb
from gaugeblock.compiled.graph import Graph, parse_edge
from gaugeblock.methods.gradients import eap
from gaugeblock.methods.task import Task

SAMPLE = 24
REPEATS = 3


def dense_task(device: str) -> Task:
    """4 layers, 4 heads, d_model 120, d_head 20, d_mlp 200, 10 positions, 200 pairs; nothing vanishes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        config = HookedTransformerConfig(
            n_layers=4, d_model=120, n_ctx=10, n_heads=4, d_head=20, d_mlp=200, d_vocab=30, act_fn="relu",
            normalization_type=None, attention_dir="bidirectional", device=device,
        )  # fmt: skip
        model = HookedTransformer(config)
    rng = np.random.default_rng(0)
    clean, corrupted = (torch.tensor(rng.integers(30, size=(200, 10))) for _ in range(2))
    return Task.build(model, Graph.of(model), clean, corrupted, torch.ones(200, 10, dtype=torch.bool))


def case_task(name: str, device: str) -> Task:
    case = gb.case(name)
    model, pairs = case.model.to(device=device), case.pairs
    return Task.build(
        model.hooked, model.graph, pairs.clean, pairs.corrupted, pairs.positions,
        numeric=pairs.numeric, pad_token=model.pad, donor_seed=pairs.donor_seed,
    )  # fmt: skip


def split_edge(task: Task, edge: str, change: Tensor) -> Tensor:
    """One forward with the change added to the reader's own copy of the residual stream."""
    point, head = reading_point(task, edge, split=True)

    def add(value: Tensor, hook: Any) -> Tensor:
        if head is None:
            return value + change
        value = value.clone()
        value[:, :, head] += change
        return value

    return task.model.run_with_hooks(task.clean, fwd_hooks=[(point, add)])


def plain_edge(task: Task, edge: str, change: Tensor) -> Tensor:
    """One forward with the change, taken through the reader's map, added behind it."""
    point, head = reading_point(task, edge, split=False)
    reader = parse_edge(edge)[1]
    if head is not None:
        layer, port = int(reader[1 : reader.index(".")]), reader[-1].upper()
        change = change @ getattr(task.model.blocks[layer].attn, f"W_{port}")[head]
    elif reader != "logits":
        change = change @ task.model.blocks[int(reader[1:])].mlp.W_in

    def add(value: Tensor, hook: Any) -> Tensor:
        if head is None:
            return value + change
        value = value.clone()
        value[:, :, head] += change
        return value

    return task.model.run_with_hooks(task.clean, fwd_hooks=[(point, add)])


def reading_point(task: Task, edge: str, split: bool) -> tuple[str, int | None]:
    reader = parse_edge(edge)[1]
    if reader == "logits":
        return f"blocks.{task.model.cfg.n_layers - 1}.hook_resid_post", None
    if reader.startswith("m"):
        return f"blocks.{reader[1:]}.{'hook_mlp_in' if split else 'mlp.hook_pre'}", None
    layer, head, port = reader[1 : reader.index(".")], int(reader.split(".")[1][1:]), reader[-1]
    return f"blocks.{layer}.{f'hook_{port}_input' if split else f'attn.hook_{port}'}", head


def hooked(task: Task, one: Callable[[Task, str, Tensor], Tensor], edges: list[str]) -> tuple[float, Tensor]:
    """(seconds for all edges of the graph, the effects of the sampled ones)."""
    pairs = torch.arange(len(task.clean), device=task.clean.device)
    index = task.graph.writer_index
    effects = []

    def run(edge: str) -> Tensor:
        change = task.engine.difference[index[parse_edge(edge)[0]]]
        with torch.no_grad():
            return task.metric(one(task, edge, change), pairs)

    run(edges[0])
    start = clock(task)
    for edge in edges:
        effects.append(run(edge))
    return (clock(task) - start) * len(task.graph.edges) / len(edges), torch.stack(effects)


def clock(task: Task) -> float:
    if task.clean.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def best(task: Task, run: Callable[[], Any]) -> tuple[float, Any]:
    times = []
    for _ in range(REPEATS):
        start = clock(task)
        result = run()
        times.append(clock(task) - start)
    return min(times), result


def compare(name: str, task: Task) -> None:
    edges = list(task.graph.edges)
    sample = [edges[i] for i in np.random.default_rng(0).permutation(len(edges))[:SAMPLE]]
    _ = task.engine
    ours, values = best(task, lambda: task.engine.single_edges(task.metric))
    model = task.model
    for flag in (model.set_use_attn_result, model.set_use_split_qkv_input, model.set_use_hook_mlp_in):
        flag(True)
    split, with_flags = hooked(task, split_edge, sample)
    for flag in (model.set_use_attn_result, model.set_use_split_qkv_input, model.set_use_hook_mlp_in):
        flag(False)
    plain, without_flags = hooked(task, plain_edge, sample)
    found = values[task.graph.indices(sample)]
    apart = max(float((found - other).abs().max()) for other in (with_flags, without_flags))

    def forward_backward() -> None:
        task.metric(model(task.clean), torch.arange(len(task.clean), device=task.clean.device)).sum().backward()
        model.zero_grad()

    one, _ = best(task, forward_backward)
    gradient, _ = best(task, lambda: eap(task))
    print(
        f"{name:28} {len(edges):5} {split:9.2f} {plain:9.2f} {ours:9.3f} {split / ours:7.0f}x {plain / ours:7.0f}x "
        f"{gradient / one:6.1f}x {apart:9.0e}"
    )


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"exact patching of every edge, seconds, {device}, one thread, float32")
    print(
        f"{'model':28} {'edges':>5} {'split':>9} {'hooks':>9} {'ours':>9} {'split/':>8} {'hooks/':>8} "
        f"{'EAP/f+b':>7} {'apart':>9}"
    )
    if names:
        for name in names:
            compare(name, case_task(name, device))
    else:
        compare("dense random", dense_task(device))


if __name__ == "__main__":
    main(sys.argv[1:])
