"""Small models with pairs, measurements and labels of the checker's own, to tamper with."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from gaugeblock import checker
from gaugeblock.cases.classes import Classes, node_classes, port_classes, variable_classes
from gaugeblock.checker import check_labels
from gaugeblock.checker.evidence import ClassLists, Evidence, Experiment, Labels, Witness
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.pad import pad
from gaugeblock.methods.engine.ablation import ABLATIONS
from gaugeblock.programs.library.counting import frac_prevs
from gaugeblock.programs.library.formal_languages import dyck1
from gaugeblock.programs.library.order import reverse, sort

PAIRS = 40
CLASSES = ("positives", "negatives", "ignored")


@dataclass(frozen=True, eq=False)
class Sample:
    """A small model with pairs and, per ablation, measurements and the labels that follow from them."""

    model: CompiledModel
    evidence: Evidence
    experiments: dict[str, Experiment]
    labels: dict[str, Labels]

    def check(self, labels: Labels) -> Iterator[checker.Claim]:
        return check_labels(self.evidence, labels, experiment=self.experiments[labels["ablation"]])


@cache
def sample(name: str) -> Sample:
    programs = {
        "frac_prevs": frac_prevs.with_size("()a", 5),
        "sort": sort.with_size(range(4), 5),
        "reverse": reverse.with_size("abc", 5),
        "dyck1": dyck1.with_size(max_len=5),
    }
    name, _, padded = name.partition("/")
    model = compile(programs[name])
    if padded:
        model = pad(model, np.random.default_rng(0))
    inputs = model.program.sample(np.random.default_rng(1), 2 * PAIRS)
    tokens = model.encode(inputs)
    clean, corrupted = tokens[:PAIRS], tokens[PAIRS:]
    positions = model.real(clean) & model.real(corrupted)
    evidence = Evidence(model.weights, model.lowered, model.program, clean, corrupted, positions)
    places = model.real(corrupted).nonzero()
    drawn = places[torch.as_tensor(np.random.default_rng(2).integers(len(places), size=tuple(clean.shape)))]
    donors = dict.fromkeys(ABLATIONS) | {"donor": {"pair": drawn[..., 0].tolist(), "pos": drawn[..., 1].tolist()}}
    experiments = {ablation: Experiment(evidence, ablation, donor) for ablation, donor in donors.items()}
    labels = {ablation: labels_of(model, experiments[ablation], donors[ablation]) for ablation in donors}
    return Sample(model, evidence, experiments, labels)


def labels_of(model: CompiledModel, experiment: Experiment, donor: Any) -> Labels:
    """The label file that the checker's own measurements imply."""
    edges, live = experiment.evidence.model.edges, experiment.evidence.model.live
    positives = [e for e in edges if e in experiment.exercised and e in model.edge_reads]
    classes = Classes(frozenset(positives), frozenset(edges) - live, live - set(positives))
    whole = {writer: experiment.matters(model.graph.outgoing(writer)) for writer in model.graph.writers}
    nodes, cancelling = node_classes(model.graph, classes, whole)
    minimal = smallest(experiment, frozenset(positives))
    return {
        "ablation": experiment.ablation,
        "numeric": model.lowered.output.numeric,
        "positives": positives,
        "negatives": [e for e in edges if e not in live],
        "ignored": [e for e in edges if e in live and e not in positives],
        "nodes": ClassLists(**nodes.to_dict()),
        "ports": ClassLists(**port_classes(model.graph, classes).to_dict()),
        "variables": ClassLists(**variable_classes(model.edge_reads, classes).to_dict()),
        "cancelling": sorted(cancelling),
        "inert": [],
        "joint": [sorted(edges) for edges in experiment.minimal_sets if len(edges) > 1],
        "sufficient": {"sets": [sorted(minimal)], "found_by": "part of a search", "tried": 0},
        "reads": {edge: [list(read) for read in reads] for edge, reads in model.edge_reads.items()},
        "witnesses": {e: witness(experiment, next(s for s in experiment.minimal_sets if e in s)) for e in positives},
        "donor": donor,
    }


def smallest(experiment: Experiment, positives: frozenset[str]) -> frozenset[str]:
    """A sufficient set from which no edge can be left out."""
    edges = frozenset(experiment.evidence.model.edges)
    for edge in sorted(positives):
        if not experiment.matters((edges - positives) | {edge}):
            return smallest(experiment, positives - {edge})
    return positives


def witness(experiment: Experiment, edges: Iterable[str]) -> Witness:
    effect = experiment.effect(edges)
    pair = int(effect.argmax())
    return {"pair": pair, "set": sorted(edges), "effect": float(effect[pair]), "kappa": experiment.kappa(edges)}
