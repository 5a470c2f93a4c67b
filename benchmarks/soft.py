"""What gradients see of the circuits of saturated and of soft models: the numbers for the documentation, as Markdown.

    python benchmarks/soft.py                # twenty programs
    python benchmarks/soft.py PROGRAM …

For the positives of the plain model under resample ablation, |EAP| in the plain model beside the soft one: the
smallest, the median, the share above 1e-4 and the largest; and the seconds it takes to find the soft one.
"""

import sys
import time

import numpy as np
import torch

from gaugeblock.cases.pairs import Pairs, make_pairs
from gaugeblock.cases.truth import label
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.soft import soft
from gaugeblock.methods.circuits.gradients import eap
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.registry import get

PROGRAMS = (
    "frac_prevs", "hist", "double_hist", "length", "has_prev", "prev_token", "induction", "detect_pattern_ab", "sort",
    "reverse", "most_frequent", "dyck1", "dyck2", "shuffle_dyck2", "add", "pair_balance", "reachable_in_k",
    "in_neighbour_mean", "swap_min_max", "median", "follow_pointers", "matching_bracket",
)  # fmt: skip
VISIBLE = 1e-4


def row(name: str) -> str:
    """One line of the table."""
    model = compile(get(name))
    pairs = make_pairs(model, 0)
    positives = sorted(label(model, pairs, "resample").positives)
    plain = _sizes(model, pairs, positives)
    start = time.perf_counter()
    try:
        softer = soft(model, np.random.default_rng(0))
    except CompileError:
        return f"| {name} | – | {len(positives)} | {_cells(plain)} | – | – | – | – | – |"
    seconds = time.perf_counter() - start
    cells = f"{_cells(plain)} | {_cells(_sizes(softer, pairs, positives))}"
    return f"| {name} | {softer.sharpness:g} | {len(positives)} | {cells} | {seconds:.0f} |"


def _sizes(model: CompiledModel, pairs: Pairs, edges: list[str]) -> np.ndarray:
    exact = model.to(dtype=torch.float64)
    task = Task.build(
        exact.hooked, exact.graph, pairs.clean, pairs.corrupted, pairs.positions,
        numeric=pairs.numeric, pad_token=model.pad,
    )  # fmt: skip
    scores = eap(task)
    return np.abs([scores[edge] for edge in edges])


def _cells(sizes: np.ndarray) -> str:
    return f"{sizes.min():.0e} | {np.median(sizes):.0e} | {(sizes > VISIBLE).mean():.0%} | {sizes.max():.2g}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    cells = " | ".join(f"{kind} {cell}" for kind in ("plain", "soft") for cell in ("min", "median", "> 1e-4", "max"))
    print(f"| program | sharpness | positives | {cells} | s |")
    print("|---" * 12 + "|")
    for name in sys.argv[1:] or PROGRAMS:
        print(row(name), flush=True)
