"""Claims that hold for a label file: its classes, by what ablating edges does."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch

from gaugeblock.checker.claims import EXACT, Claim, make_claim, named, some
from gaugeblock.checker.evidence import MAX_SET_SIZE, Evidence, Experiment, Labels, Part, Witness
from gaugeblock.checker.inert import check_inert, reduced
from gaugeblock.checker.node_classes import check_classes, check_sufficient_sets
from gaugeblock.checker.program import check_attention, check_interchange
from gaugeblock.checker.reads import wrong_reads
from gaugeblock.checker.weights import TOLERANCE, WeightsModel

ABLATIONS = ("resample", "donor", "mean", "zero")


def check_labels(
    evidence: Evidence, labels: Labels, seed: int = 0, experiment: Experiment | None = None
) -> Iterator[Claim]:
    """All claims about one label file, each checked when it is asked for, the quick ones first.

    Args:
        seed: of the random sets of edges.
        experiment: measurements to reuse, made with the same evidence, ablation and donors; made anew if None.
    """
    parts, ablation = labels["inert"], labels["ablation"]
    if parts:
        inert = check_inert(evidence, parts, ablation)
        yield inert
        if not inert.ok:
            return
    live, possible = (_live(evidence, parts, under) for under in (ablation, None))
    partition = check_partition(evidence, labels)
    yield partition
    yield check_static_absence(evidence, labels, live)
    if not partition.ok:
        return  # what follows needs labels that make sense
    if experiment is None:
        experiment = Experiment(evidence, ablation, labels["donor"], possible, live - possible)
    yield check_necessity(experiment, labels)
    yield check_coverage(experiment, labels)
    yield check_classes(experiment, labels)
    yield check_sufficient_sets(experiment, labels)
    yield check_interchange(experiment, labels)
    yield check_attention(evidence, labels)
    yield check_sufficiency(experiment, labels)
    yield check_inertness(experiment, labels, seed)


def _live(evidence: Evidence, parts: Sequence[Part], ablation: str | None) -> frozenset[str]:
    """Edges that are live without the parts that change no logit under the ablation, or without any."""
    if not parts:
        return evidence.model.live
    return WeightsModel(reduced(evidence.weights, parts, ablation)).live & set(evidence.model.edges)


def check_partition(evidence: Evidence, labels: Labels) -> Claim:
    """The classes partition the edges; witnesses, reads and donors are about what exists."""
    classes = Counter([*labels["positives"], *labels["negatives"], *labels["ignored"]])
    edges, positives = set(evidence.model.edges), set(labels["positives"])
    wrong = named("not labelled", edges - set(classes))
    wrong += named("no edge of this model", set(classes) - edges)
    wrong += named("labelled twice", {edge for edge, times in classes.items() if times > 1})
    wrong += named("positive without a witness", positives - set(labels["witnesses"]))
    wrong += named("witness of an edge that is not positive", set(labels["witnesses"]) - positives)
    for edge, witness in labels["witnesses"].items():
        if not 0 <= witness["pair"] < len(evidence.clean):
            wrong.append(f"the witness of {edge} is on pair {witness['pair']} of {len(evidence.clean)}")
        wrong += named(f"in the witness of {edge}, but no edge", set(witness["set"]) - edges)
    wrong += named("positive without reads", {edge for edge in positives if not labels["reads"].get(edge)})
    wrong += wrong_reads(evidence, labels)
    if labels["numeric"] != evidence.lowered.output.numeric:
        wrong.append(f"numeric is {labels['numeric']}, but the program's output says {evidence.lowered.output.numeric}")
    wrong += _wrong_donor(evidence, labels)
    counts = ", ".join(f"{len(labels[name])} {name}" for name in ("positives", "negatives", "ignored"))
    return make_claim("labels", labels["ablation"], len(edges), wrong, f"{counts}: each edge of the model once")


def _wrong_donor(evidence: Evidence, labels: Labels) -> list[str]:
    donor, ablation = labels["donor"], labels["ablation"]
    if ablation not in ABLATIONS:
        return [f"the ablation {ablation!r} is unknown"]
    if (donor is not None) != (ablation == "donor"):
        return [f"ablation {ablation!r} " + ("has donors" if donor else "needs donors")]
    if donor is None:
        return []
    try:
        real = evidence.real(evidence.clean)
        donors = [torch.as_tensor(donor[side]) for side in ("pair", "pos")]
        if any(index.shape != real.shape for index in donors):
            raise ValueError(f"shapes {[tuple(index.shape) for index in donors]}, not {tuple(real.shape)}")
        pair, pos = (torch.where(real, index, 0) for index in donors)
        good = evidence.real(evidence.corrupted)[pair, pos] & (pair >= 0) & (pos >= 0)
    except (IndexError, KeyError, TypeError, ValueError) as e:
        return [f"the donors are no indices of corrupted inputs: {e}"]
    return [f"the donor of {place} is no token of an input" for place in (real & ~good).nonzero().tolist()]


def check_static_absence(evidence: Evidence, labels: Labels, live: frozenset[str]) -> Claim:
    """Negatives are exactly the edges that are not live, inert parts left out."""
    negatives = set(labels["negatives"])
    rest = set(evidence.model.edges) - live
    wrong = named("negative but live", negatives & live) + named("not live, but no negative", rest - negatives)
    passing = f"{len(rest)} edges have no path to the logits and are the negatives; {len(live)} are live"
    return make_claim("static absence", labels["ablation"], len(evidence.model.edges), wrong, passing)


def check_inertness(
    experiment: Experiment, labels: Labels, seed: int = 0, n_subsets: int = 20, n_pairs: int = 40
) -> Claim:
    """Negatives change nothing, alone and beside broken program edges: all at once on all pairs, and random subsets
    of them, each on some random pairs. Where what is broken amplifies rounding, by no more than rounding does."""
    rng, worst, wrong = np.random.default_rng(seed), 0.0, []
    negatives, program = np.array(sorted(labels["negatives"])), np.array(sorted(labels["reads"]))
    n_all = len(experiment.evidence.clean)
    for i, density in enumerate([1.0, *rng.random(n_subsets)]):
        pairs = torch.as_tensor(rng.permutation(n_all)[: n_pairs if i else n_all])
        subset = negatives[rng.random(len(negatives)) < density].tolist()
        broken = program[rng.random(len(program)) < rng.random()].tolist()
        alone = experiment.change(subset, pairs)
        beside = experiment.change([*subset, *broken], pairs) - experiment.change(broken, pairs)
        moved = max(float(experiment.graded(change, pairs).max()) for change in (alone, beside))
        worst = max(worst, moved)
        if moved > experiment.evidence.tolerance and moved > experiment.rounding([*subset, *broken], pairs):
            wrong.append(f"{len(subset)} negatives moved a graded logit by {moved:.1e}, such as {some(subset)}")
    checked = 2 * (1 + n_subsets)
    passing = f"{checked} sets of negatives, half beside broken program edges, moved no logit by more than {worst:.0e}"
    return make_claim("inertness", labels["ablation"], checked, wrong, passing)


def check_necessity(experiment: Experiment, labels: Labels) -> Claim:
    """Positives are exactly the program edges that are exercised, all exercised edges are program edges, and every
    witness replays."""
    exercised, program = experiment.exercised, {edge for edge, reads in labels["reads"].items() if reads}
    positives = set(labels["positives"])
    wrong = named("exercised but no program edge", set(exercised) - program)
    wrong += named("positive but not exercised", positives - set(exercised))
    wrong += named("positive but no program edge", positives - program)
    wrong += named("exercised program edge, but not positive", (set(exercised) & program) - positives)
    for edge, witness in labels["witnesses"].items():
        wrong += [f"the witness of {edge} {fault}" for fault in _faults(experiment, edge, witness)]
    sizes = [sum(size == n for size in exercised.values()) for n in range(1, MAX_SET_SIZE + 1)]
    by_size = ", ".join(f"{count} in sets of {n}" for n, count in enumerate(sizes, 1))
    checked = len(experiment.possible)
    return make_claim("necessity", labels["ablation"], checked, wrong, f"exercised: {by_size}")


def _faults(experiment: Experiment, edge: str, witness: Witness) -> Iterator[str]:
    edges, pair = frozenset(witness["set"]), witness["pair"]
    if edge not in edges or not len(edges) == len(witness["set"]) <= MAX_SET_SIZE:
        yield f"is {sorted(witness['set'])}, no set of at most {MAX_SET_SIZE} edges with this edge"
        return
    effect = float(experiment.effect(edges)[pair])
    if effect <= experiment.evidence.tolerance:
        yield f"has no effect on pair {pair}"
    if not abs(effect - witness["effect"]) <= EXACT * (1 + effect):
        yield f"has the effect {effect:.6g} on pair {pair}, not {witness['effect']:.6g}"
    for size in range(1, len(edges)):
        yield from (f"is not minimal: {sorted(s)} matters" for s in combinations(edges, size) if experiment.matters(s))


def check_sufficiency(experiment: Experiment, labels: Labels) -> Claim:
    """Everything but the positives ablated at once changes nothing on this data."""
    rest = sorted({*labels["negatives"], *labels["ignored"]} - experiment.reactivated)
    effect = experiment.effect(rest)
    moved = (effect > experiment.evidence.tolerance).nonzero().flatten().tolist()
    wrong = [f"negatives and ignored edges together move a logit by {float(effect.max()):.2g}, on pairs {some(moved)}"]
    passing = f"{len(rest)} negative and ignored edges ablated at once moved no graded logit on {len(effect)} pairs"
    return make_claim("sufficiency", labels["ablation"], len(effect), wrong if moved else [], passing)


def check_coverage(experiment: Experiment, labels: Labels) -> Claim:
    """Each positive's witness set matters on a share of pairs above zero, and on the share stored."""
    shares, wrong = [], []
    for edge, witness in labels["witnesses"].items():
        share = experiment.kappa(witness["set"])
        shares.append(share)
        if share == 0 or not abs(share - witness["kappa"]) <= TOLERANCE:
            wrong.append(f"{edge} matters on a share {share:.4f} of the pairs, stored is {witness['kappa']:.4f}")
    passing = "there are no positives"
    if shares:
        passing = (
            f"positives matter on {min(shares):.1%} of the pairs or more, the median one on {np.median(shares):.1%}"
        )
    return make_claim("coverage", labels["ablation"], len(shares), wrong, passing)
