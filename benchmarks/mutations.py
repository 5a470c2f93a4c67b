"""Does the checker catch wrong labels and wrong weights? Random mutations over a suite; all must fail some claim.

    python benchmarks/mutations.py                       # core: 200 mutations of labels, 100 of weights
    python benchmarks/mutations.py --cases CASE … --labels 20 --weights 10

Labels: an edge is dropped, said twice, or moved between two classes (with the evidence that makes it most plausible, or
without); a head's q, k or v is taken for another; nodes, ports and variables are dropped or moved; a joint set is
forgotten or made up. Weights: one entry changes by a random factor, so that a graded logit moves by more than 1e-6.
The checker is asked claim by claim until one fails. Mutations are spread evenly over the cases; each case is mutated
under one ablation. Exit code 1 if any mutation survives.
"""

import argparse
import ast
import copy
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast, final

import numpy as np
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from gaugeblock.cases.case import case as load_case
from gaugeblock.cases.truth import ABLATIONS
from gaugeblock.checker import check_labels
from gaugeblock.checker.evidence import Evidence, Experiment, Labels
from gaugeblock.suites.suites import suite

CLASSES = ("positives", "negatives", "ignored")
MOVED = 1.01e-6
"""A graded logit that moves by more counts; the last hundredth is for rounding in what is measured."""

DRAWS = 2_000
"""Weights that are tried before a case is said to have none that moves a graded logit."""

Outcome = tuple[str, str | None]
"""(kind of mutation, what it was if it survived)."""


# --- labels --------------------------------------------------------------------------------------------------------


@final
class LabelMutations:
    """Wrong versions of one label file; the file itself stays as it is. Each method says what it did."""

    def __init__(self, labels: Labels, experiment: Experiment, rng: np.random.Generator) -> None:
        self.true, self.experiment, self.rng = labels, experiment, rng
        self.wrong: Any = None

    def draw(self) -> tuple[str, str, Labels]:
        """(kind, what was done, mutated labels)."""
        kinds: dict[str, Callable[[], str | None]] = {
            "drop": self.drop, "add": self.add, "move": self.move, "retarget": self.retarget,
            "node, port or variable": self.level, "joint set": self.joint,
        }  # fmt: skip
        while True:
            kind = self._one(list(kinds))
            self.wrong = copy.deepcopy(self.true)
            said = kinds[kind]()
            if said is not None:
                return kind, said, cast(Labels, self.wrong)

    def drop(self) -> str | None:
        """An edge has no label any more."""
        origin = self._one([c for c in CLASSES if self.wrong[c]])
        edge = self._one(self.wrong[origin])
        self.wrong[origin].remove(edge)
        self.wrong["witnesses"].pop(edge, None)
        return f"{edge} dropped from {origin}"

    def add(self) -> str | None:
        """An edge of the model, or one that it has not, gets one label more."""
        target = self._one(CLASSES)
        edge = self._one([*self.experiment.evidence.model.edges, "a99.h0->logits"])
        self.wrong[target].append(edge)
        if target == "positives" and edge not in self.wrong["witnesses"]:
            self._make_plausible(edge)
        return f"{edge} added to {target}"

    def move(self) -> str | None:
        """An edge changes its class, with its evidence."""
        origin, target = self._two([c for c in CLASSES if self.wrong[c]], CLASSES)
        edge = self._one(self.wrong[origin])
        self.wrong[origin].remove(edge)
        self.wrong[target].append(edge)
        self.wrong["witnesses"].pop(edge, None)
        forged = bool(self.rng.integers(2))
        if target == "positives":
            self._make_plausible(edge)
        elif forged:  # no program edge any more
            self.wrong["reads"].pop(edge, None)
        return f"{edge} moved from {origin} to {target}{', reads forgotten' if forged else ''}"

    def retarget(self) -> str | None:
        """A true edge into q, k or v is said to go into another, everywhere; or the two change places."""
        edges = [edge for edge in self.wrong["positives"] if edge[-2:] in (".q", ".k", ".v")]
        if not edges:
            return None
        edge = self._one(edges)
        other = edge[:-1] + self._one(sorted(set("qkv") - {edge[-1]}))
        text, swapped = repr(self.wrong), bool(self.rng.integers(2))
        if swapped:
            text = text.replace(f"'{other}'", "'*'")
        text = text.replace(f"'{edge}'", f"'{other}'").replace("'*'", f"'{edge}'")
        self.wrong = ast.literal_eval(text)
        return f"{edge} {'swapped with' if swapped else 'taken for'} {other}"

    def level(self) -> str | None:
        """A node, port or variable loses or changes its class."""
        level = self._one(["nodes", "ports", "variables"])
        classes = self.wrong[level]
        filled = [c for c in CLASSES if classes[c]]
        if not filled:
            return None
        origin, target = self._two(filled, (*CLASSES, "no class"))
        name = self._one(classes[origin])
        classes[origin].remove(name)
        if target in CLASSES:
            classes[target].append(name)
        return f"{name} of {level} moved from {origin} to {target}"

    def joint(self) -> str | None:
        """A set that matters only jointly is forgotten, or one that does not is listed."""
        known = self.wrong["joint"]
        if known and self.rng.integers(2):
            edges = self._one(known)
            known.remove(edges)
            return f"joint set {edges} forgotten"
        edges = sorted(self.rng.choice(sorted(self.experiment.possible), size=2, replace=False).tolist())
        if edges in known:
            return None
        known.append(edges)
        return f"joint set {edges} made up"

    def _make_plausible(self, edge: str) -> None:
        """A witness with true numbers, and the reads of another edge if it has none."""
        first = self.true["positives"][0]
        edges = sorted({edge, first} if self.rng.integers(2) else {edge})
        if edge in self.experiment.evidence.model.edges:
            effect = self.experiment.effect(edges)
            pair = int(effect.argmax())
            kappa = self.experiment.kappa(edges)
            self.wrong["witnesses"][edge] = {"pair": pair, "set": edges, "effect": float(effect[pair]), "kappa": kappa}
        else:
            self.wrong["witnesses"][edge] = copy.deepcopy(self.true["witnesses"][first])
        self.wrong["reads"].setdefault(edge, copy.deepcopy(self.true["reads"][first]))

    def _one(self, some: Sequence[Any]) -> Any:
        return some[int(self.rng.integers(len(some)))]

    def _two(self, origins: Sequence[str], targets: Sequence[str]) -> tuple[str, str]:
        """Two different ones."""
        origin = self._one(origins)
        return origin, self._one([target for target in targets if target != origin])


# --- weights -------------------------------------------------------------------------------------------------------


def weight_mutations(evidence: Evidence, rng: np.random.Generator) -> Iterator[tuple[str, Evidence]]:
    """Weights with one entry changed, that move a graded logit: (what was done, what the checker is given)."""
    logits = evidence.clean_run.logits[evidence.positions]
    entries = {name: np.argwhere(array) for name, array in evidence.weights.items()}
    names = [name for name, places in entries.items() if len(places)]
    for _ in range(DRAWS):
        name = names[int(rng.integers(len(names)))]
        index = tuple(entries[name][int(rng.integers(len(entries[name])))].tolist())
        relative = rng.choice([-1.0, 1.0]) * 10 ** rng.uniform(-6, 0.5)
        factor = float(rng.choice([0.0, -1.0, 1 + relative, 1 + relative]))
        changed = np.array(evidence.weights[name])
        changed[index] *= factor
        other = replace(evidence, weights={**evidence.weights, name: changed})
        moved = float((other.clean_run.logits[other.positions] - logits).abs().max())
        if moved > MOVED:
            yield f"{name}{list(index)} times {factor:.8g}, which moves a logit by {moved:.2g}", other


# --- the run -------------------------------------------------------------------------------------------------------


def mutate(case_id: str, n_labels: int, n_weights: int, seed: int) -> list[Outcome]:
    """Mutations of one case, each with whether it survived. Raises ValueError where the true labels fail."""
    torch.set_num_threads(1)
    rng = np.random.default_rng([seed, *case_id.encode()])
    ablation = ABLATIONS[int(rng.integers(len(ABLATIONS)))]
    case = load_case(case_id)
    evidence, labels = case.evidence, cast(Labels, case.truth(ablation).to_dict())
    possible, live = case.model.live_edges_under(None), case.model.live_edges_under(ablation)
    experiment = Experiment(evidence, ablation, labels["donor"], possible, live - possible)
    for claim in check_labels(evidence, labels, experiment=experiment):
        if not claim.ok:
            raise ValueError(f"{case_id} under {ablation}: without any mutation, {claim.claim} fails: {claim.detail}")
    outcomes: list[Outcome] = []
    mutations = LabelMutations(labels, experiment, rng)
    for _ in range(n_labels):
        kind, said, wrong = mutations.draw()
        caught = not all(claim.ok for claim in check_labels(evidence, wrong, experiment=experiment))
        outcomes.append((f"labels: {kind}", None if caught else f"{case_id} under {ablation}: {said}"))
    changes = weight_mutations(evidence, rng)
    for _ in range(n_weights):
        said, other = next(changes, ("", None))
        if other is None:
            raise ValueError(f"{case_id}: of {DRAWS} changed weights, too few moved a graded logit")
        caught = not all(claim.ok for claim in check_labels(other, labels))
        kind = f"weights: {said.partition('[')[0]}"
        outcomes.append((kind, None if caught else f"{case_id} under {ablation}: {said}"))
    load_case.cache_clear()
    return outcomes


def spread(total: int, n: int) -> list[int]:
    """A total as n whole numbers that differ by at most one."""
    return [total * (i + 1) // n - total * i // n for i in range(n)]


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--suite", default="core")
    parser.add_argument("--cases", nargs="+", metavar="CASE", help="instead of a suite")
    parser.add_argument("--labels", type=int, default=200, help="mutations of labels")
    parser.add_argument("--weights", type=int, default=100, help="mutations of weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    cases = given.cases or suite(given.suite)
    counts = zip(cases, spread(given.labels, len(cases)), spread(given.weights, len(cases)), strict=True)
    jobs = (delayed(mutate)(*job, given.seed) for job in counts)
    made = Parallel(n_jobs=given.workers, return_as="generator")(jobs)
    outcomes = [outcome for some in tqdm(made, total=len(cases), unit="case") for outcome in some]
    total = Counter(_group(kind) for kind, _ in outcomes)
    caught = Counter(_group(kind) for kind, survivor in outcomes if survivor is None)
    print("| mutation | made | caught |\n|---|---|---|")
    for kind in sorted(total):
        print(f"| {kind} | {total[kind]} | {caught[kind]} |")
    survivors = [survivor for _, survivor in outcomes if survivor is not None]
    for survivor in survivors:
        print(f"survived: {survivor}")
    return int(bool(survivors))


def _group(kind: str) -> str:
    """Weights of all layers under one name: "weights: blocks.3.mlp.W_in" is "weights: mlp.W_in"."""
    head, _, name = kind.partition(": ")
    return f"{head}: {name.split('.', 2)[2] if name.startswith('blocks.') else name}"


if __name__ == "__main__":
    sys.exit(main())
