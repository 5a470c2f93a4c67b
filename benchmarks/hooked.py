"""Patching the straightforward way: TransformerLens's own hooks, one forward pass per question, nothing cached.

What `bench_patching.py` compares the engine with. Ablated values are the corrupted run's. With "split inputs"
(`use_split_qkv_input`, `use_attn_result`, `use_hook_mlp_in`) every reader has a copy of the residual stream of its
own, which a hook changes; without them, a hook adds the change behind the reader's map, where that map is linear.
"""

import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gaugeblock.compiled import split_inputs
from gaugeblock.compiled.edges.graph import Hook, Place, owner, parse_edge
from gaugeblock.methods.engine.edge_sets import Functional
from gaugeblock.methods.task import Task

Hooks = list[tuple[str | Callable[..., Any], Callable[..., Any]]]


def clock(task: Task) -> float:
    """Seconds: of the processor with one thread, which other programs do not stretch; else of the wall clock."""
    if task.clean.is_cuda:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


# --- where hooks go ------------------------------------------------------------------------------------------------


def behind(task: Task, reader: str) -> Hook:
    """Where a reader reads, behind its map where inputs are not split."""
    point, head = task.graph.hook(reader, reads=True)
    place = Place.of(reader)
    if place.kind == "mlp":
        return Hook(f"blocks.{place.layer}.mlp.hook_pre", None)
    return Hook(f"blocks.{place.layer}.attn.hook_{place.port}", head) if place.port else Hook(point, head)


def part(value: Tensor, head: int | None) -> Tensor:
    return value if head is None else value[:, :, head]


def added(value: Tensor, head: int | None, change: Tensor) -> Tensor:
    if head is None:
        return value + change
    value = value.clone()
    value[:, :, head] += change
    return value


def written(task: Task, tokens: Tensor) -> dict[str, Tensor]:
    """What every writer writes on a plain run on split inputs."""
    outputs: dict[str, Tensor] = {}

    def keep(value: Tensor, hook: Any, writer: str, head: int | None) -> None:
        outputs[writer] = part(value, head)

    points = {writer: task.graph.hook(writer) for writer in task.graph.writers if writer != "bias"}
    hooks: Hooks = [(point, partial(keep, writer=writer, head=head)) for writer, (point, head) in points.items()]
    with torch.no_grad():
        task.model.run_with_hooks(tokens, fwd_hooks=hooks)
    return outputs


# --- one edge ------------------------------------------------------------------------------------------------------


def one_edge_split(task: Task, edge: str, change: Tensor) -> Tensor:
    """Logits with `change` added to the reader's own copy of the stream."""
    point, head = task.graph.hook(parse_edge(edge)[1], reads=True)
    hook = (point, lambda value, hook: added(value, head, change))
    return task.model.run_with_hooks(task.clean, fwd_hooks=[hook])


def one_edge_plain(task: Task, edge: str, change: Tensor) -> Tensor:
    """The same without split inputs: `change`, taken through the reader's map, is added behind it."""
    reader = parse_edge(edge)[1]
    point, head = behind(task, reader)
    place = Place.of(reader)
    if place.layer is not None:
        block = task.model.blocks[place.layer]
        change = change @ (getattr(block.attn, f"W_{place.port.upper()}")[head] if place.port else block.mlp.W_in)
    hook = (point, lambda value, hook: added(value, head, change))
    return task.model.run_with_hooks(task.clean, fwd_hooks=[hook])


# --- sets of edges -------------------------------------------------------------------------------------------------


def without(task: Task, ablated: Mapping[str, Tensor], removed: Collection[str]) -> Tensor:
    """Logits with these edges removed: each carries what its writer writes in `ablated`. Needs split inputs."""
    changes: dict[str, Tensor] = {}
    by_reader: dict[str, list[str]] = {}
    for edge in removed:
        writer, reader = parse_edge(edge)
        by_reader.setdefault(reader, []).append(writer)

    def keep(value: Tensor, hook: Any, writer: str, head: int | None) -> None:
        changes[writer] = ablated[writer] - part(value, head)

    def replace(value: Tensor, hook: Any, writers: list[str], head: int | None) -> Tensor:
        total = changes[writers[0]]
        for writer in writers[1:]:
            total = total + changes[writer]
        return added(value, head, total)

    hooks: Hooks = []
    for writer in sorted({writer for writers in by_reader.values() for writer in writers}):
        point, head = task.graph.hook(writer)
        hooks.append((point, partial(keep, writer=writer, head=head)))
    for reader, writers in by_reader.items():
        point, head = task.graph.hook(reader, reads=True)
        hooks.append((point, partial(replace, writers=writers, head=head)))
    with torch.no_grad():
        return task.model.run_with_hooks(task.clean, fwd_hooks=hooks)


class Search(NamedTuple):
    """What ACDC kept; the seconds it took; those of them that went into edges of nodes that nobody reads any more."""

    kept: list[str]
    seconds: float
    unread: float


def acdc(task: Task, threshold: float, objective: Functional) -> Search:
    """The textbook loop: readers from the output backwards, each reader's writers backwards, one pass per edge.

    Source: algorithm 1 of Conmy et al. 2023. An edge goes if removing it raises the objective by less than the
    threshold. The output biases, which nothing replaces, go without a pass.
    """
    graph, everyone = task.graph, torch.arange(len(task.clean), device=task.clean.device)
    removed = {edge for edge in graph.edges if edge.startswith("bias->")}
    start, unread = clock(task), 0.0
    with split_inputs(task.model):
        ablated = written(task, task.corrupted)
        cut: list[str] = []
        value = float(objective(without(task, ablated, cut), everyone).mean())
        for reader in reversed(graph.readers):
            read = reader == "logits" or not removed.issuperset(graph.outgoing(owner(reader)))
            begin = clock(task)
            for edge in reversed(graph.incoming(reader)):
                if edge in removed:
                    continue
                tried = float(objective(without(task, ablated, [*cut, edge]), everyone).mean())
                if tried - value < threshold:
                    value = tried
                    cut.append(edge)
                    removed.add(edge)
            unread += 0.0 if read else clock(task) - begin
    return Search([edge for edge in graph.edges if edge not in removed], clock(task) - start, unread)


# --- gradients -----------------------------------------------------------------------------------------------------


def eap(task: Task) -> dict[str, float]:
    """Edge attribution patching as it is usually written: two forward passes and a backward pass.

    Forward hooks fill (clean - corrupted) of every writer; backward hooks on the split inputs multiply it with the
    gradient at every reader.
    """
    model: Any = task.model
    graph = task.graph
    writers = [writer for writer in graph.writers if writer != "bias"]
    row = {writer: i for i, writer in enumerate(writers)}
    difference = torch.zeros(*task.clean.shape, len(writers), model.cfg.d_model, device=task.clean.device)
    difference = difference.to(model.W_E.dtype)
    scores: dict[str, Tensor] = {}

    def keep(value: Tensor, hook: Any, nodes: list[tuple[int, int | None]], sign: int) -> None:
        for i, head in nodes:
            difference[:, :, i] += sign * part(value.detach(), head)

    def multiply(gradient: Tensor, hook: Any, readers: list[tuple[str, int | None]]) -> None:
        wide = gradient if gradient.ndim == 4 else gradient[:, :, None]
        products = torch.einsum("bpwd,bprd->wr", difference, wide)
        for reader, head in readers:
            scores[reader] = products[:, head or 0]

    writes: dict[str, list[tuple[int, int | None]]] = {}
    for writer in writers:
        point, head = task.graph.hook(writer)
        writes.setdefault(point, []).append((row[writer], head))
    reads: dict[str, list[tuple[str, int | None]]] = {}
    for reader in graph.readers:
        point, head = graph.hook(reader, reads=True)
        reads.setdefault(point, []).append((reader, head))
    with split_inputs(model):
        with torch.no_grad():
            model.run_with_hooks(
                task.corrupted, fwd_hooks=[(p, partial(keep, nodes=nodes, sign=-1)) for p, nodes in writes.items()]
            )
        forward = [(p, partial(keep, nodes=nodes, sign=1)) for p, nodes in writes.items()]
        backward = [(p, partial(multiply, readers=readers)) for p, readers in reads.items()]
        everyone = torch.arange(len(task.clean), device=task.clean.device)
        with torch.enable_grad(), model.hooks(fwd_hooks=forward, bwd_hooks=backward):
            task.metric(model(task.clean), everyone).mean().backward()
        model.zero_grad()
    ends = {edge: parse_edge(edge) for edge in graph.edges}
    by_reader = {reader: values.tolist() for reader, values in scores.items()}
    return {edge: by_reader[r][row[w]] if w in row else 0.0 for edge, (w, r) in ends.items()}
