"""The engine against straightforward hooked implementations (`hooked.py`), side by side on the same models and pairs.

    python benchmarks/bench_patching.py                              # all of it, some ten minutes
    python benchmarks/bench_patching.py CASE … --parts patching acdc # other cases, some tables
    python benchmarks/bench_patching.py --device cuda

Prints Markdown tables: exact patching of every edge, single edges against sets of one edge each, ACDC (the circuits
must be identical), EAP, absolute times of what else methods spend their time on, and a profile of exact patching beside
the floating-point limit. Ours and theirs take turns, and medians count. Hooked patching is timed on a sample of edges
and scaled up to all of them. Ratios depend on the memory allocator, for large short-lived tensors cost page faults: see
--keep-memory.
"""

import argparse
import ctypes
import statistics
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from time import perf_counter
from typing import Any

import hooked
import numpy as np
import torch
from hooked import clock
from operations import KINDS, flops, gemm, kind_of, needed
from torch import Tensor

from gaugeblock.cases.case import case as load_case
from gaugeblock.compiled import split_inputs
from gaugeblock.compiled.edges.graph import Graph, parse_edge
from gaugeblock.methods import Task, run_method
from gaugeblock.methods.circuits.acdc import survivors
from gaugeblock.methods.engine.objective import Objective

CASES = ("sort/permute+pad#1", "dyck2/permute+pad#1", "sort/permute+pad+soft+rotate#1")
DENSE = "dense random"
EDGES_TIMED = 12
"""Edges that a round of hooked patching is timed on."""

STEPS_TIMED = 20
"""Steps of mask gradients that are timed, for a hundred."""


# --- tasks ---------------------------------------------------------------------------------------------------------


@cache
def dense_task(device: str, n_pairs: int) -> Task:
    """4 layers, 4 heads, d_model 120, d_head 20, d_mlp 200, 10 positions; nothing vanishes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        config = HookedTransformerConfig(
            n_layers=4, d_model=120, n_ctx=10, n_heads=4, d_head=20, d_mlp=200, d_vocab=30, act_fn="relu",
            normalization_type=None, attention_dir="bidirectional", device=device, seed=0, initializer_range=0.12,
        )  # fmt: skip
        model = HookedTransformer(config)
    rng = np.random.default_rng(0)
    clean, corrupted = (torch.tensor(rng.integers(30, size=(n_pairs, 10))) for _ in range(2))
    return Task.build(model, Graph.of(model), clean, corrupted, torch.ones(n_pairs, 10, dtype=torch.bool))


@cache
def case_task(name: str, device: str) -> Task:
    case = load_case(name)
    model, pairs = case.model.to(device=device), case.pairs
    return Task.build(
        model.hooked, model.graph, pairs.clean, pairs.corrupted, pairs.positions,
        numeric=pairs.numeric, pad_token=model.pad, donor_seed=pairs.donor_seed,
    )  # fmt: skip


def everyone(task: Task) -> Tensor:
    return torch.arange(len(task.clean), device=task.clean.device)


# --- clocks and tables ---------------------------------------------------------------------------------------------


def race(task: Task, runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each run; they take turns, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = clock(task)
            run()
            times[name].append(clock(task) - start)
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def ratio(value: float) -> str:
    return f"{value:.1f}×" if value < 10 else f"{value:.0f}×"


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print(f"\n### {title}\n\n| {' | '.join(header)} |\n{'|---' * len(header)}|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


# --- the tables ----------------------------------------------------------------------------------------------------


def patching(name: str, task: Task, rounds: int) -> tuple[object, ...]:
    edges, engine = list(task.graph.edges), task.engine
    sample = [edges[i] for i in np.random.default_rng(0).permutation(len(edges))[:EDGES_TIMED]]
    changes = {edge: engine.difference[task.graph.writer_index[parse_edge(edge)[0]]] for edge in sample}
    values: dict[str, Tensor] = {}

    def hooks(key: str, one: Callable[[Task, str, Tensor], Tensor]) -> None:
        with torch.no_grad():
            values[key] = torch.stack([task.metric(one(task, edge, changes[edge]), everyone(task)) for edge in sample])

    def split() -> None:
        with split_inputs(task.model):
            hooks("split", hooked.one_edge_split)

    def ours() -> None:
        values["ours"] = engine.single_edges(task.metric)[task.graph.indices(sample)]

    runs = {"split": split, "hooks": lambda: hooks("hooks", hooked.one_edge_plain), "ours": ours}
    taken = race(task, runs, rounds)
    scale = len(edges) / len(sample)
    split_s, hooks_s, ours_s = taken["split"] * scale, taken["hooks"] * scale, taken["ours"]
    apart = max(float((values["ours"] - values[key]).abs().max()) for key in ("split", "hooks"))
    apart /= float(task.metric(engine.clean_logits, everyone(task)).abs().max())
    times = map(seconds, (split_s, hooks_s, ours_s))
    return (name, len(edges), *times, ratio(split_s / ours_s), ratio(hooks_s / ours_s), f"{apart:.0e}")


def single(name: str, task: Task, rounds: int) -> tuple[object, ...]:
    """What the path for single edges earns over sets of one edge each."""
    sets, engine = [[edge] for edge in task.graph.edges], task.engine
    runs = {"sets": lambda: engine.patch(sets, task.metric), "single": lambda: engine.single_edges(task.metric)}
    taken = race(task, runs, rounds)
    return (name, len(sets), seconds(taken["sets"]), seconds(taken["single"]), ratio(taken["sets"] / taken["single"]))


def acdc(name: str, task: Task, threshold: float) -> tuple[object, ...]:
    """One textbook search between two of ours. Raises ValueError where the circuits differ."""
    objective, times, passes = Objective(task), [], 0.0

    def ours() -> list[str]:
        nonlocal passes
        fresh, start = replace(task), clock(task)  # with an engine of its own
        kept = survivors(fresh, threshold)
        times.append(clock(task) - start)
        passes = fresh.engine.forwards
        return kept

    kept, theirs = ours(), hooked.acdc(task, threshold, objective)
    if not ours() == kept == theirs.kept:
        raise ValueError(f"ACDC on {name} at {threshold:.0e}: {set(kept) ^ set(theirs.kept)} in one circuit only")
    mean, edges = statistics.mean(times), len(task.graph.edges)
    return (
        name, f"{threshold:.0e}", f"{len(kept)} of {edges}", f"{passes:.1f}", seconds(theirs.seconds), seconds(mean),
        ratio(theirs.seconds / mean), ratio((theirs.seconds - theirs.unread) / mean),
    )  # fmt: skip


def eap(name: str, task: Task, rounds: int) -> tuple[object, ...]:
    results: dict[str, dict[str, float]] = {}

    def plain() -> None:
        task.metric(task.model(task.clean), everyone(task)).mean().backward()
        task.model.zero_grad()

    def keep(key: str, scores: dict[str, float]) -> None:
        results[key] = scores

    runs = {
        "hooks": lambda: keep("hooks", hooked.eap(task)),
        "plain": plain,
        "ours": lambda: keep("ours", run_method("eap", replace(task))),
        "ready": lambda: run_method("eap", task),
    }
    taken = race(task, runs, rounds)
    apart = max(abs(results["ours"][edge] - results["hooks"][edge]) for edge in task.graph.edges)
    size = max(map(abs, results["hooks"].values()))
    times = [seconds(taken[key]) for key in ("hooks", "plain", "ours", "ready")]
    ratios = taken["hooks"] / taken["ours"], taken["ours"] / taken["plain"], taken["ready"] / taken["plain"]
    return (name, *times, *map(ratio, ratios), f"{apart / size if size else apart:.0e}")


def other(name: str, task: Task, rounds: int) -> tuple[object, ...]:
    engine, edges = task.engine, task.graph.edges
    scores = run_method("eap", task)
    order = task.graph.indices(sorted(edges, key=lambda edge: -abs(scores[edge])))
    circuits = torch.zeros(10, len(edges), dtype=torch.bool, device=task.clean.device)
    for row, size in enumerate(np.geomspace(1, len(edges), 10).round().astype(int)):
        circuits[row, order[:size]] = 1

    def theirs() -> None:
        with split_inputs(task.model):
            ablated = hooked.written(task, task.corrupted)
            for circuit in circuits.tolist():
                gone = [e for e, in_it in zip(edges, circuit, strict=True) if not in_it and not e.startswith("bias->")]
                with torch.no_grad():
                    task.metric(hooked.without(task, ablated, gone), everyone(task))

    def train() -> None:
        masks = torch.full((1, len(edges)), 0.9, device=task.clean.device, requires_grad=True)
        for _ in range(STEPS_TIMED):
            torch.autograd.grad(task.metric(engine.forward(masks)[0], everyone(task)).mean(), masks)

    runs = {
        "ig": lambda: run_method("eap_ig", task),
        "curve": lambda: engine.measure(circuits, task.metric),
        "theirs": theirs,
        "train": train,
    }
    taken = race(task, runs, rounds)
    times = taken["ig"], taken["theirs"], taken["curve"]
    steps = seconds(taken["train"] * 100 / STEPS_TIMED)
    return (name, *map(seconds, times), ratio(taken["theirs"] / taken["curve"]), steps)


# --- the profile ---------------------------------------------------------------------------------------------------


def profile(task: Task, rounds: int) -> None:
    """Where the time of exact patching goes, and the floating-point limit. For `dense_task`, whose sizes differ."""
    cfg: Any = task.model.cfg
    cuda = task.clean.is_cuda
    engine = task.engine
    whole = race(task, {"ours": lambda: engine.single_edges(task.metric)}, rounds)["ours"]
    activities = [torch.profiler.ProfilerActivity.CPU]
    if cuda:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, record_shapes=True) as record:
        start = perf_counter()  # the profiler knows no other
        engine.single_edges(task.metric)
        clock(task)
        span = perf_counter() - start
    time, work = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    for event in record.key_averages(group_by_input_shape=True):
        if event.device_type != torch.autograd.DeviceType.CPU:
            continue  # a kernel, counted with the operation that started it
        kind = kind_of(event.key, event.input_shapes, task)
        time[kind] += (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6
        work[kind] += event.count * flops(event.key, event.input_shapes)
    time[KINDS[-1]] += max(0.0, span - sum(time.values()))
    shares = {kind: time[kind] / sum(time.values()) for kind in KINDS}
    done = sum(work.values())
    table(
        f"Profile of exact patching, {DENSE}",
        ("part", "share of the time", "share of the work", "GFLOP/s"),
        [
            (k, f"{shares[k]:.0%}", f"{work[k] / done:.0%}", f"{work[k] / max(shares[k] * whole, 1e-9) / 1e9:.0f}")
            for k in KINDS
        ],
    )
    least, shape = needed(task), (2048, cfg.d_model, 3 * cfg.n_heads * cfg.d_head)
    rates = {"×".join(map(str, s)): gemm(task, *s) for s in (shape, (2048, 2048, 2048))}
    table(
        "Floating-point limit",
        ("product", "GFLOP/s", "GFLOP needed (done)", "limit, s", "ours, s", "share of the limit"),
        [
            (
                size, f"{rate / 1e9:.0f}", f"{least / 1e9:.0f} ({done / 1e9:.0f})", seconds(least / rate),
                seconds(whole), f"{least / rate / whole:.0%}",
            )
            for size, rate in rates.items()
        ],
    )  # fmt: skip


# --- command line --------------------------------------------------------------------------------------------------


def dense_threshold(task: Task) -> float:
    """The median effect of an edge that has one: a circuit of about half of the edges."""
    effects = task.engine.single_edges(Objective(task)).mean(1)
    return float(effects[effects > 0].median())


def keep_memory() -> None:
    """Else the C library hands large freed blocks back to the system, and half of a hooked pass is page faults."""
    libc = ctypes.CDLL(None)
    for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        if not libc.mallopt(parameter, 2**30):
            raise SystemExit("--keep-memory: the C library of this machine does not take the setting")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", default=CASES, help="compiled cases (default: three)")
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS, help="which tables")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=200, help="of the dense model")
    parser.add_argument("--threshold", type=float, default=1e-2, help="of ACDC on the cases")
    parser.add_argument("--rounds", type=int, default=3, help="that medians are taken of")
    parser.add_argument("--keep-memory", action="store_true", help="free memory stays with the process (glibc only)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.keep_memory:
        keep_memory()

    def tasks() -> Iterable[tuple[str, Task]]:
        yield DENSE, dense_task(options.device, options.pairs)
        for name in options.cases:
            yield f"`{name}`", case_task(name, options.device)

    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else f"cpu, {options.threads} thread(s)"
    kept = ", memory kept" if options.keep_memory else ""
    print(f"{where}, float32, torch {torch.__version__}{kept}; seconds are medians of {options.rounds}")
    if "patching" in options.parts:
        table(
            "Exact patching of every edge",
            ("model", "edges", "split, s", "hooks, s", "ours, s", "split / ours", "hooks / ours", "apart, relative"),
            (patching(name, task, options.rounds) for name, task in tasks()),
        )
    if "single" in options.parts:
        table(
            "Single edges, and sets of one edge each",
            ("model", "edges", "sets, s", "single, s", "sets / single"),
            (single(name, task, options.rounds) for name, task in tasks()),
        )
    if "acdc" in options.parts:
        table(
            "ACDC at one threshold, identical circuits",
            ("model", "threshold", "kept", "our passes", "split, s", "ours, s", "split / ours",
             "the same, had split skipped nodes that nobody reads"),
            (
                acdc(name, task, dense_threshold(task) if name == DENSE else options.threshold)
                for name, task in tasks()
            ),
        )  # fmt: skip
    if "eap" in options.parts:
        table(
            "EAP",
            ("model", "split, s", "forward + backward, s", "ours, s", "ours, engine ready, s", "split / ours",
             "ours / (f + b)", "ready / (f + b)", "apart, relative"),
            (eap(name, task, 3 * options.rounds) for name, task in tasks()),
        )  # fmt: skip
    if "other" in options.parts:
        table(
            "Absolute times",
            ("model", "EAP-IG, 5 points, s", "ten circuits, split, s", "ten circuits, ours, s", "split / ours",
             "100 steps of mask gradients, s"),
            (other(name, task, options.rounds) for name, task in tasks()),
        )  # fmt: skip
    if "profile" in options.parts:
        profile(dense_task(options.device, options.pairs), options.rounds)


PARTS = ("patching", "single", "acdc", "eap", "other", "profile")

if __name__ == "__main__":
    main()
