"""How long the site of many results takes, and how much memory.

    python benchmarks/bench_site.py                                     # 100 methods × 1,000 cases, one seed each
    python benchmarks/bench_site.py --methods 20 --cases 50 --keep DIR  # smaller; the site stays in DIR/site

The results are synthetic: graphs of 3 layers × 7 heads with 8 true edges, scores at random, per-pair scores of 50
pairs; a file is as large as a real one. Prints Markdown; seconds on the clock, and of the processor in brackets.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from gaugeblock.evaluation.scores import METRICS_VERSION, SCORES
from gaugeblock.leaderboard.board import read_leaderboard
from gaugeblock.leaderboard.site.build import write_site
from gaugeblock.results.files import case_path, result_path
from gaugeblock.results.records import CaseRecord, Claim

LAYERS, HEADS, TRUE, PROGRAMS = 3, 7, 8, 60
VARIANTS = ("", "/permute", "/pad", "/permute+pad", "/permute+pad+rotate", "/decoy", "/camouflage", "/soft")


def graph() -> tuple[list[str], list[str]]:
    writers, edges = ["embed", "pos"], []
    for layer in range(LAYERS):
        heads = [f"a{layer}.h{h}" for h in range(HEADS)]
        edges += [f"{w}->{head}.{port}" for head in heads for port in "qkv" for w in writers]
        writers += heads
        edges += [f"{w}->m{layer}" for w in writers]
        writers.append(f"m{layer}")
    return writers, edges + [f"{w}->logits" for w in writers]


def case(i: int, writers: list[str], edges: list[str], rng: np.random.Generator) -> CaseRecord:
    program, variant = f"program_{i % PROGRAMS}", VARIANTS[i // PROGRAMS % len(VARIANTS)]
    true = set(rng.choice(len(edges), TRUE, replace=False).tolist())
    positives = [e for j, e in enumerate(edges) if j in true]
    return CaseRecord(
        id=f"{program}{variant}#{i}",
        hash=f"{i:064x}",
        program=program,
        description="What it computes.",
        source="def program(tokens, indices): ...",
        variant=variant[1:],
        seed=i,
        ablation="resample",
        vocab_size=8,
        max_len=8,
        layers=LAYERS,
        heads=[HEADS] * LAYERS,
        d_model=44,
        d_mlp=48,
        parameters=74_376,
        pairs=50,
        writers=writers,
        positives=positives,
        negatives=[e for j, e in enumerate(edges) if j not in true],
        ignored=[],
        edge_variables={edge: ["tokens"] for edge in positives},
        comparators=1.0,
        modes=["saturated"] if i % 2 else ["soft"],
        certified=True,
        claims=[Claim(claim=f"claim {k}", ablation=None, ok=True, checked=1000, detail="holds") for k in range(8)],
    )


def write(folder: Path, methods: int, cases: int) -> int:
    """Write the records as a run would; returns the bytes of the results."""
    rng = np.random.default_rng(0)
    writers, edges = graph()
    size = 0
    for i in range(cases):
        record = case(i, writers, edges, rng)
        path = case_path(folder, record.id, "resample")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json())
        for m in range(methods):
            name = f"method_{m}"
            scores = rng.normal(size=len(edges))
            result = {
                "schema_version": 1,
                "kind": "result",
                "status": "ok",
                "method": name,
                "method_level": "edges",
                "params": {"steps": m},
                "case": record.id,
                "case_hash": record.hash,
                "ablation": "resample",
                "seed": 0,
                "metrics_version": METRICS_VERSION,
                "scores": dict(zip(SCORES, rng.uniform(0, 1 - m / methods, len(SCORES)).tolist())),
                "pair_scores": {"faithfulness": rng.uniform(size=50).tolist()},
                "edge_scores": dict(zip(edges, scores.tolist())),
                "curve": [(x, x) for x in np.linspace(0, 1, 20).tolist()],
                "seconds": 10 ** (-3 + 5 * m / methods),
                "forwards": m / 2,
                "backwards": m / 2,
                "memory": 900.0,
                "versions": {"gaugeblock": "0.1.0", "python": "3.11"},
            }
            path = result_path(folder, name, record.id, "resample", 0)
            path.parent.mkdir(parents=True, exist_ok=True)
            size += path.write_text(json.dumps(result, separators=(",\n ", ": ")))
    return size


def peak() -> float:
    """Peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def seconds(start: tuple[float, float], end: tuple[float, float]) -> str:
    return f"{end[0] - start[0]:.0f} ({end[1] - start[1]:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=100)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder for the records and the site; a temporary one if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        size = write(folder, given.methods, given.cases)
        before, start = peak(), clocks()
        board = read_leaderboard(folder)
        after, middle = peak(), clocks()
        entry = write_site(board, folder / "site")
        end = clocks()
        files = [path.stat().st_size for path in entry.parent.rglob("*") if path.is_file()]
        print("| results | MB read | reading, s | building, s | memory before, MiB | read | built | files | MB |")
        print("|" + "---|" * 9)
        print(
            f"| {given.methods * given.cases:,} | {size / 1e6:,.0f} | {seconds(start, middle)} "
            f"| {seconds(middle, end)} | {before:,.0f} | {after:,.0f} | {peak():,.0f} "
            f"| {len(files):,} | {sum(files) / 1e6:,.0f} |"
        )


if __name__ == "__main__":
    main()
