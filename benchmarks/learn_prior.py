"""Makes bench/evaluation/data/prior.json, what the control `prior` knows: how often an edge in a place is a positive.

For every program of a suite: the share of positives among the edges of each place, over padded and permuted layouts
(seeds 1000 to 1009, which no suite uses), under resample ablation. What is a positive does not depend on the layout: an
edge that carries a read which a positive of the plain model carries. The file is frozen in a version of the suites; run
this only when a suite changes.

    python benchmarks/learn_prior.py
"""

import json
from collections import Counter
from pathlib import Path

import torch
from tqdm import tqdm

import gaugeblock as gb
from gaugeblock.cases.recipe import Recipe
from gaugeblock.compiled.writing import write_text
from gaugeblock.evaluation.entrants import place
from gaugeblock.suites.suites import SUITES

SEEDS = range(1000, 1010)
TARGET = Path(__file__).resolve().parents[1] / "bench" / "evaluation" / "data" / "prior.json"


def main() -> None:
    torch.set_num_threads(1)
    programs: dict[str, dict[str, float]] = {}
    for name in tqdm(
        sorted({Recipe.parse(id).program for suite in ("quick", "core") for id in SUITES[suite]}), unit="program"
    ):
        positive: Counter[str] = Counter()
        total: Counter[str] = Counter()
        plain = gb.case(name)
        true = {read for edge in plain.truth("resample").positives for read in plain.model.edge_reads[edge]}
        for seed in SEEDS:
            model = gb.case(f"{name}/permute+pad#{seed}").model
            positive.update(place(edge) for edge, reads in model.edge_reads.items() if true & set(reads))
            total.update(place(edge) for edge in model.graph.edges)
        programs[name] = {p: round(n / total[p], 4) for p, n in sorted(positive.items())}
    write_text(TARGET, as_text(programs))


def as_text(programs: dict[str, dict[str, float]]) -> str:
    """The file, one line per program, so that a change shows whose it is."""
    head = json.dumps({"variant": "permute+pad", "ablation": "resample", "layouts": len(SEEDS)})[:-1]
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(table)}" for name, table in programs.items())
    return f'{head}, "programs": {{\n{lines}\n}}}}\n'


if __name__ == "__main__":
    main()
