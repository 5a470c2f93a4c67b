"""Whether what the leaderboard says of chance holds: coverage of its intervals, and how often it ranks what is equal.

    python benchmarks/bench_statistics.py [--draws 100]

A method's skills on the programs of docs/leaderboard/core.csv stand for all its skills; boards are drawn from them.
Prints Markdown, over methods: the mean and the worst; and the same of percentile bootstraps, uncorrected.
"""

import argparse
import csv
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from gaugeblock.leaderboard.board import BOUNDS, MATCHED
from gaugeblock.leaderboard.standings import told_apart
from gaugeblock.metrics.bootstrap import mean_interval

CSV = Path(__file__).parents[1] / "docs" / "leaderboard" / "core.csv"
PROGRAMS = (4, 20, 41)
RESAMPLES = 1000


def populations() -> dict[str, np.ndarray]:
    """Mean skill per program of each method, over the cases that count."""
    skills: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with CSV.open(encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            if line["skill"] and float(line["comparators"] or 0) >= MATCHED:
                skills[line["method"]][line["case"].split("/")[0]].append(float(line["skill"]))
    return {method: np.array([np.mean(v) for v in by.values()]) for method, by in skills.items()}


def percentile(means: np.ndarray) -> tuple[float, float]:
    drawn = np.random.default_rng(0).integers(len(means), size=(RESAMPLES, len(means)))
    low, high = np.quantile(means[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def coverage(population: np.ndarray, n: int, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of intervals of n programs that hold the population's mean: the leaderboard's, and the percentile's."""
    inside = np.zeros(2)
    for _ in range(draws):
        means = rng.choice(population, size=n)
        ours = mean_interval(means, bounds=BOUNDS, n_resamples=RESAMPLES)
        for i, (low, high) in enumerate(((ours.low, ours.high), percentile(means))):
            assert low is not None
            assert high is not None
            inside[i] += low - 1e-9 <= population.mean() <= high + 1e-9
    return inside[0] / draws, inside[1] / draws


def excludes_zero(population: np.ndarray, n: int, draws: int, rng: np.random.Generator) -> float:
    """How often a control of skill 0, a mean over 20 seeds on 2 cases of each program, has an interval without 0."""
    centred = np.clip(population - population.mean(), -1, 1)
    wrong = 0
    for _ in range(draws):
        values = rng.choice(centred, size=(2 * n, 20)).mean(axis=1)
        interval = mean_interval(values, [i // 2 for i in range(2 * n)], bounds=BOUNDS, n_resamples=RESAMPLES)
        assert interval.low is not None
        assert interval.high is not None
        wrong += not interval.low <= 0 <= interval.high
    return wrong / draws


def false_ranks(population: np.ndarray, n: int, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """How often a board of nine equal methods tells any two apart: the leaderboard's, and pairs below the leader."""
    boards = rng.choice(population, size=(3 * draws, 9, n))
    ours = np.mean([told_apart(board, range(n)).any() for board in boards])
    few = boards[: max(1, draws // 10)]  # bootstraps take their time
    plain = [any(percentile(b[b.mean(axis=1).argmax()] - other)[0] > 0 for other in b) for b in few]
    return float(ours), float(np.mean(plain))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    options = parser.parse_args()
    start, rng, of = time.perf_counter(), np.random.default_rng(0), populations()
    titles = ("programs", "an interval covers: mean, least", "percentile bootstrap: mean, least", "`random` is not 0")
    titles += ("a false rank: mean, most", "uncorrected bootstrap: mean, most")
    print("| " + " | ".join(titles) + " |")
    print("|" + "---|" * len(titles))
    for n in PROGRAMS:
        covered = np.array([coverage(population, n, options.draws, rng) for population in of.values()])
        ranked = np.array([false_ranks(population, n, options.draws, rng) for population in of.values()])
        chance = excludes_zero(of["random"], n, 5 * options.draws, rng)
        cells = [str(n)]
        cells += [f"{column.mean():.1%}, {column.min():.1%}" for column in covered.T] + [f"{chance:.1%}"]
        cells += [f"{column.mean():.1%}, {column.max():.1%}" for column in ranked.T]
        print("| " + " | ".join(cells).replace("%", " %") + " |", flush=True)
    print(f"\n{len(of)} methods, {options.draws} draws each; {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
