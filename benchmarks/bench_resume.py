"""How long a run of many jobs takes to find that they are all done, and what it needs of memory.

Makes a folder of synthetic results in which nothing is missing, then starts that run again. The numbers are in
docs/running/scale.md.

    python benchmarks/bench_resume.py [--results 100000] [--edges 200]
"""

import argparse
import tempfile
import time
from pathlib import Path

from gaugeblock.results.files import case_path, certificate_path, result_path
from gaugeblock.results.provenance import peak_memory, versions
from gaugeblock.results.records import CaseRecord, Result
from gaugeblock.running.jobs import described
from gaugeblock.running.runner import run

METHODS = ("eap", "eap_ig", "acdc", "hisp", "oracle", "prior", "random", "edge_patching", "path_patching", "atp_star")
SEEDS = 20
CASE_HASH = "0" * 64


def cases(results: int) -> list[str]:
    return [f"hist#{i}" for i in range(1, max(1, results // (len(METHODS) * SEEDS)) + 1)]


def make(folder: Path, results: int, edges: int) -> int:
    """Write the folder; returns how many results it has."""
    names = [f"a{i // 10}.h{i % 10}->m{i // 10}" for i in range(edges)]
    n_made = 0
    for case in cases(results):
        write(case_path(folder, case, "resample"), case_of(case, names))
        write(certificate_path(folder, case, ["resample"]), None)
    for method in METHODS:
        about = described(method)
        for case in cases(results):
            template = Result(
                **about,
                status="ok",
                case=case,
                case_hash=CASE_HASH,
                ablation="resample",
                seed=987654321,
                scores={"skill": 0.5},
                edge_scores=dict.fromkeys(names, 0.123456789),
                pair_scores={"faithfulness": [0.5] * 200},
                versions=versions(),
            ).model_dump_json(indent=1)
            for seed in range(SEEDS):
                path = result_path(folder, method, case, "resample", seed)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(template.replace('"seed": 987654321', f'"seed": {seed}') + "\n")
                n_made += 1
    return n_made


def case_of(case: str, edges: list[str]) -> CaseRecord:
    sizes = dict.fromkeys(("vocab_size", "max_len", "layers", "d_model", "d_mlp", "parameters", "pairs"), 1)
    texts = dict.fromkeys(("program", "description", "source", "variant"), "")
    return CaseRecord(
        **sizes,
        **texts,
        id=case,
        hash=CASE_HASH,
        seed=0,
        ablation="resample",
        heads=[1],
        writers=["embed"],
        positives=edges[:10],
        negatives=edges[10:],
        ignored=[],
        edge_variables={},
        comparators=1.0,
        certified=True,
        claims=[],
    )


def write(path: Path, record: CaseRecord | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n" if record is None else record.model_dump_json(indent=1) + "\n")


def measure(folder: str, results: int) -> None:
    """Start the run that has nothing to do, twice."""
    for _ in range(2):
        before = peak_memory()
        start, start_cpu = time.perf_counter(), time.process_time()
        done = run(METHODS, cases(results), folder, seeds=range(SEEDS), workers=1)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        print(f"{len(done):,} results found done in {seconds:.1f} s ({cpu:.1f} s of CPU time)")
        print(f"peak memory {before:.0f} MiB before, {peak_memory():.0f} MiB after")
    start_cpu = time.process_time()
    skills = [result.scores["skill"] for result in done[:1000]]
    print(f"{len(skills):,} of them read in {time.process_time() - start_cpu:.2f} s of CPU time")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--edges", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        made = make(Path(folder), options.results, options.edges)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.json")) / 2**20
        print(f"{made:,} results made in {time.perf_counter() - start:.0f} s, {size:,.0f} MiB", flush=True)
        measure(folder, options.results)


if __name__ == "__main__":
    main()
