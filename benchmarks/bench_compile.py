"""How long compiling and interpreting take, and how that grows.

    python benchmarks/bench_compile.py            # the tables of docs/running/speed.md, in Markdown
    python benchmarks/bench_compile.py --library  # every library program at vocabulary 10, length 20

CPU seconds of one thread, PyTorch and transformer_lens imported, the best of three runs. "compile" makes all weights
(float64); "model" puts them into a HookedTransformer.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import gaugeblock as gb
from gaugeblock.programs import Program, get, key, names, program, query
from gaugeblock.programs.errors import GaugeblockError

TOKENS = [*"(){}[]+-*/abcdefghijklmnopqrstuvwxyz", *(f"t{i}" for i in range(100))]


def seconds(f: Callable[[], Any], repeats: int = 3) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        f()
        best = min(best, time.process_time() - start)
    return best


def sized(name: str, n_tokens: int, max_len: int) -> Program:
    """A library program at a size, with further tokens of the kind it has; or as it is where its domain forbids."""
    p = get(name)
    kinds = {type(token) for token in p.vocab}
    more = list(range(200)) if kinds == {int} else TOKENS
    vocab = [*p.vocab, *(token for token in more if token not in p.vocab)][: max(n_tokens, len(p.vocab))]
    if kinds != {int} and n_tokens > len(p.vocab) and p.domain.description.startswith("all"):
        return p.with_size(vocab=vocab, max_len=max_len)
    return p.with_size(vocab=vocab if kinds == {int} else None, max_len=max_len)


def row(p: Program, label: str) -> str:
    try:
        taken = seconds(lambda: gb.compile(fresh(p)))
    except GaugeblockError as refused:
        return f"| {label} | {len(p.vocab)} | {p.max_len} | refused: {refused} | | | | | |"
    model = gb.compile(p)
    start = time.process_time()
    cfg = model.hooked.cfg
    put = time.process_time() - start
    parameters = sum(x.numel() for x in model.hooked.parameters())
    sizes = f"{cfg.n_layers} × {cfg.n_heads} | {cfg.d_model} | {cfg.d_mlp} | {parameters:,}"
    return f"| {label} | {len(p.vocab)} | {p.max_len} | {sizes} | {taken:.2f} | {put:.2f} |"


def fresh(p: Program) -> Program:
    """The program without what it remembers of itself."""
    return p.with_size()


def stacked(n: int) -> Program:
    """n counts on top of each other."""

    @program(range(4), 8, name=f"{n} counts on top of each other")
    def counts(tokens: Any, indices: Any) -> Any:
        """How often this value occurs, n times."""
        x = tokens
        for _ in range(n):
            x = (key(x) == query(x)).count() % 4
        return x

    return counts


def chained(n: int) -> Program:
    """A chain in which every step uses the one before twice."""

    @program(range(4), 8, name=f"{n} shared steps")
    def chain(tokens: Any, indices: Any) -> Any:
        """x + x modulo 7, n times."""
        x = tokens
        for _ in range(n):
            x = (x + x) % 7
        return x

    return chain


def main() -> None:
    torch.set_num_threads(1)
    gb.compile(get("hist")).hooked  # noqa: B018  imports
    header = "| program | vocabulary | length | layers × heads | d_model | d_mlp | parameters | compile, s | model, s |"
    print(header + "\n" + "|---" * 9 + "|")
    if "--library" in sys.argv:
        for name in names():
            print(row(sized(name, 10, 20), f"`{name}`"), flush=True)
        return
    for name in ("hist", "sort", "reverse", "dyck2"):
        for size in ((5, 10), (10, 20), (30, 30), (100, 50)):
            print(row(sized(name, *size), f"`{name}`"), flush=True)
    for p in (chained(20), chained(200), stacked(4), stacked(16), stacked(64)):
        print(row(p, p.name), flush=True)
    print("\n| program | interpreting 100,000 inputs of length up to 20, s |\n|---|---|")
    for name in ("hist", "sort", "dyck3", "add", "most_frequent"):
        p = sized(name, 10, 20)
        inputs = p.sample(np.random.default_rng(0), 100_000)
        print(f"| `{name}` | {seconds(lambda p=p, inputs=inputs: p.batch(inputs), repeats=1):.1f} |", flush=True)


if __name__ == "__main__":
    main()
