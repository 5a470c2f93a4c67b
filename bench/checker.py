"""The independent auditor of a case: claim by claim, from weights, tokens, the label file and the program alone.

It shares no code with what makes the labels. It sees nothing of how the model was compiled: what the weights do is
measured by `gaugeblock.checker_model` and `gaugeblock.checker_evidence`, what they should do is computed by the lowered
program, run on values. The label file calls an edge positive if it is a program edge (it carries reads) and exercised,
negative if it is not live, else ignored.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from gaugeblock.checker_claims import Claim, make_claim, named, some
from gaugeblock.checker_evidence import LARGEST_SET, Evidence, Experiment, Labels, Part, Witness
from gaugeblock.checker_inert import check_inert, reduced
from gaugeblock.checker_levels import check_levels, check_sufficient_sets
from gaugeblock.checker_model import TOLERANCE, WeightsModel
from gaugeblock.compiled import semantics
from gaugeblock.compiled.lowered import Attention, Lowered
from gaugeblock.compiled.semantics import NOTHING, UNKNOWN
from gaugeblock.compiled.tables import value_key
from gaugeblock.programs.errors import InputError, ProgramError
from gaugeblock.programs.expression import Constant, Sum
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.proofs.uniqueness import check_gets

LOGIT = 10.0
"""Logit of the right output of a categorical model; all others are 0."""

ABLATIONS = ("resample", "donor", "mean", "zero")

EXACT = 1e-6
"""Logits equal what the program says to this: absolutely, and relative to numeric outputs above 1."""

ENUMERATED = 20_000
"""Inputs on which a `.get` that no rule proves is tried, where the domain has no more."""

AGREEMENT, AGREEMENT_EACH = 0.9, 0.75
"""Of a soft model: share of the outputs moved by ablating positives, and by ablating each, that are the program's."""

EXHAUSTIVE = 100_000
"""Domains up to this size are checked on every input."""


# --- claims that hold for a model ----------------------------------------------------------------------------------


def check_model(evidence: Evidence, dtype: torch.dtype, n_samples: int = 10_000, seed: int = 0) -> Iterator[Claim]:
    """The claims that do not depend on labels: data, assumptions, equivalence in the precision the model ships with."""
    yield check_data(evidence)
    if (claim := check_assumptions(evidence, n_samples, seed)) is not None:
        yield claim
    yield check_equivalence(evidence, dtype, n_samples, seed)


def check_data(evidence: Evidence) -> Claim:
    """Weights are finite, inputs belong to the domain, and only positions at which both have a token are graded."""
    vocab = evidence.lowered.vocab
    wrong = [f"{name} is not finite" for name, array in evidence.weights.items() if not np.isfinite(array).all()]
    for side, tokens in (("clean", evidence.clean), ("corrupted", evidence.corrupted)):
        for pair, row in enumerate(tokens.tolist()):
            length = sum(token < len(vocab) for token in row)
            layout = [len(vocab), *row[1 : length + 1], *[len(vocab) + 1] * (len(row) - length - 1)]
            try:
                if row != layout:
                    raise InputError(f"token ids {row} are not BOS, input, PAD")
                evidence.program.check([vocab[token] for token in row[1 : length + 1]], evidence.lowered.max_len)
            except InputError as e:
                wrong.append(f"{side} input {pair}: {e}")
    both = evidence.real(evidence.clean) & evidence.real(evidence.corrupted)
    wrong += [
        f"pair {int(pair)} is graded where it has no token" for pair in (evidence.positions & ~both).any(1).nonzero()
    ]
    wrong += [] if bool(evidence.positions.any()) else ["no position is graded"]
    graded = int(evidence.positions.sum())
    return make_claim(
        "data", None, graded, wrong, f"{len(evidence.clean)} pairs, {graded} graded positions, all in the domain"
    )


def check_equivalence(evidence: Evidence, dtype: torch.dtype, n_samples: int, seed: int) -> Claim:
    """Decoded model output = interpreter = reference, on the whole domain or on random inputs of it."""
    program, size = evidence.program, (evidence.program.vocab, evidence.lowered.max_len)
    inputs: Iterator[list[Any]] | None = program.domain.enumerate(*size, limit=EXHAUSTIVE)
    how = "every input of the domain"
    if inputs is None:
        inputs, how = iter(program.sample(np.random.default_rng(seed), n_samples)), "random inputs of the domain"
    model, wrong, checked = WeightsModel(evidence.weights, dtype, evidence.activation), [], 0
    while batch := list(islice(inputs, 256)):
        meant = program.batch(batch)
        for xs, got, want in zip(batch, _outputs(model, evidence.lowered, batch), meant, strict=True):
            reference = want if program.reference is None else program.reference(list(xs))
            if not (_same(got, want) and _same(want, reference)):
                wrong.append(f"on {xs} the model says {got}, the interpreter {want}, the reference {reference}")
        checked += len(batch)
    wrong += [] if checked else ["there is no input to compare on"]
    others = "interpreter and reference" if program.reference is not None else "interpreter (there is no reference)"
    precision = str(dtype).removeprefix("torch.")
    return make_claim(
        "equivalence", None, checked, wrong, f"{precision} outputs equal the {others} on {checked} inputs: {how}"
    )


def check_assumptions(evidence: Evidence, n_samples: int, seed: int) -> Claim | None:
    """Every `.get` of which neither a rule nor the whole domain shows that it selects one key (or keys that agree)
    does so on random inputs; None where nothing is assumed."""
    program, wrong = evidence.program, []
    try:
        assumed = [claim for claim in check_gets(program, ENUMERATED) if claim.assumed]
    except ProgramError as e:
        return make_claim("assumptions", None, 1, [str(e)], "")
    if not assumed:
        return None
    names = ", ".join(claim.label for claim in assumed)
    inputs = program.sample(np.random.default_rng(seed), n_samples)
    counts = evaluate([Sum(claim.node.selector, Constant(1)) for claim in assumed], inputs)
    for claim, column in zip(assumed, counts, strict=True):
        several = np.isin(column.codes, [code for code, n in enumerate(column.values) if n not in (0, 1)])
        for row, pos in np.argwhere(several)[:1]:
            wrong.append(f"{claim.label} selects several keys at position {pos} of {inputs[row]}")
    detail = f"assumed to select one key, and never did otherwise on {len(inputs)} inputs: {names}"
    return make_claim("assumptions", None, len(inputs) * len(assumed), wrong, detail)


def _outputs(model: WeightsModel, lowered: Lowered, inputs: list[list[Any]]) -> list[list[Any]]:
    ids = {token: i for i, token in enumerate(lowered.vocab)}
    width = 1 + max(map(len, inputs))
    tokens = [[len(ids), *(ids[x] for x in xs), *[len(ids) + 1] * (width - 1 - len(xs))] for xs in inputs]
    logits = model.run(torch.tensor(tokens)).logits.double().numpy()
    if lowered.output.numeric:
        values = np.array([float(v) for v in lowered.output.values])
        order = np.argsort(values)
        middles = (values[order][1:] + values[order][:-1]) / 2
        decoded = values[order][np.searchsorted(middles, logits[..., 0])].tolist()
    else:
        chosen = np.where(logits.max(-1) > LOGIT / 2, logits.argmax(-1), NOTHING).tolist()
        decoded = [[None if c == NOTHING else lowered.output.columns[c] for c in row] for row in chosen]
    return [row[1 : 1 + len(xs)] for row, xs in zip(decoded, inputs, strict=True)]


def _same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, float) or isinstance(b, float):
            return a is not None and b is not None and abs(float(a) - float(b)) <= TOLERANCE * (1 + abs(float(b)))
        return a == b

    return one == other or (len(one) == len(other) and all(map(equal, one, other)))


# --- claims that hold for a label file -----------------------------------------------------------------------------


def check_labels(
    evidence: Evidence, labels: Labels, seed: int = 0, experiment: Experiment | None = None
) -> Iterator[Claim]:
    """All claims about one label file, each checked when it is asked for, the quick ones first.

    Args:
        seed: of the random sets of edges.
        experiment: measurements to reuse, made with the same evidence, ablation and donors; made anew if None.
    """
    parts, ablation = labels["inert"], labels["ablation"]
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
    yield check_levels(experiment, labels)
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
    wrong += _wrong_reads(evidence, labels)
    if labels["numeric"] != evidence.lowered.output.numeric:
        wrong.append(f"numeric is {labels['numeric']}, but the program's output says {evidence.lowered.output.numeric}")
    wrong += _wrong_donor(evidence, labels)
    counts = ", ".join(f"{len(labels[name])} {name}" for name in ("positives", "negatives", "ignored"))
    return make_claim("labels", labels["ablation"], len(edges), wrong, f"{counts}: each edge of the model once")


def _wrong_reads(evidence: Evidence, labels: Labels) -> list[str]:
    """Every read of the program is carried by one edge, from the node that writes the variable to the one that reads
    it, where each operation stands at one node."""
    lowered, edges = evidence.lowered, set(evidence.model.edges)
    wrong = named("reads of an edge that does not exist", set(labels["reads"]) - edges)
    carried = Counter(tuple(read) for reads in labels["reads"].values() for read in reads)
    wrong += named("reads of the program that no edge carries", map(str, set(lowered.flow) - set(carried)))
    wrong += named("carried, but not read by the program", map(str, set(carried) - set(lowered.flow)))
    wrong += named("reads carried twice", (str(read) for read, times in carried.items() if times > 1))
    if wrong:
        return wrong
    places = _places(labels)
    wrong = [f"{op} stands at {some(sorted(nodes))}" for op, nodes in places.items() if len(nodes) > 1]
    for edge, reads in labels["reads"].items():
        for read in reads:
            writer = lowered.variables[read[2]].writer
            if edge.partition("->")[0] not in places.get(writer, {writer}) or _port(edge) != read[1]:
                wrong.append(f"{edge} does not carry {read}")
    return wrong


def _places(labels: Labels) -> dict[str, set[str]]:
    """Operation -> the nodes at which its reads arrive; one, if all is well."""
    places: dict[str, set[str]] = {}
    for edge, reads in labels["reads"].items():
        reader = edge.partition("->")[2]
        for operation, port, _ in reads:
            places.setdefault(operation, set()).add(reader.removesuffix(f".{port}"))
    return places


def _port(edge: str) -> str:
    reader = edge.partition("->")[2]
    if reader == "logits":
        return "logits"
    return "mlp" if reader.startswith("m") else reader[-1:]


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
        given = [torch.as_tensor(donor[side]) for side in ("pair", "pos")]
        if any(index.shape != real.shape for index in given):
            raise ValueError(f"shapes {[tuple(index.shape) for index in given]}, not {tuple(real.shape)}")
        pair, pos = (torch.where(real, index, 0) for index in given)
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
    sizes = [sum(size == n for size in exercised.values()) for n in range(1, LARGEST_SET + 1)]
    by_size = ", ".join(f"{count} in sets of {n}" for n, count in enumerate(sizes, 1))
    checked = len(experiment.possible)
    return make_claim("necessity", labels["ablation"], checked, wrong, f"exercised: {by_size}")


def _faults(experiment: Experiment, edge: str, witness: Witness) -> Iterator[str]:
    edges, pair = frozenset(witness["set"]), witness["pair"]
    if edge not in edges or not len(edges) == len(witness["set"]) <= LARGEST_SET:
        yield f"is {sorted(witness['set'])}, no set of at most {LARGEST_SET} edges with this edge"
        return
    effect = float(experiment.effect(edges)[pair])
    if effect <= experiment.evidence.tolerance:
        yield f"has no effect on pair {pair}"
    if not abs(effect - witness["effect"]) <= EXACT * (1 + effect):
        yield f"has the effect {effect:.6g} on pair {pair}, not {witness['effect']:.6g}"
    for size in range(1, len(edges)):
        yield from (f"is not minimal: {sorted(s)} matters" for s in combinations(edges, size) if experiment.matters(s))


def check_interchange(experiment: Experiment, labels: Labels) -> Claim:
    """For no edge and for each positive: the output of the model with that edge ablated is the output of the lowered
    program with the reads it carries replaced.

    Of a soft model the decoded outputs count, and not all have to agree: what an ablation puts together may leak more
    than what occurs on inputs, on which the model was made to decode. Outputs that stay as they are, in both, prove
    nothing; so of those that move a share of AGREEMENT agrees, and of AGREEMENT_EACH for each edge.
    """
    evidence, wrong, silent = experiment.evidence, [], []
    agreeing = moving = 0
    graded, clean_logits = evidence.positions.numpy(), evidence.clean_run.logits
    compared = skipped = 0
    for edge in [None, *sorted(labels["positives"])]:
        reads = labels["reads"][edge] if edge else []
        replaced: Any = {(op, port, name): experiment.codes[name] for op, port, name in reads}
        codes = semantics.run(evidence.lowered, evidence.clean.numpy(), replaced)["logits"]
        logits = (clean_logits + experiment.change([edge] if edge else [])).numpy()
        known = graded & (codes != UNKNOWN) if edge else graded
        if evidence.sharpness is None:
            off = known & _differ(evidence.lowered, logits, codes)
        else:
            got, meant = _decoded(evidence.lowered, logits), _columns(evidence.lowered, codes)
            before = _columns(evidence.lowered, evidence.clean_codes["logits"])
            off = known & (got != meant)
            moved = known & ((got != before) | (meant != before))
            agreeing, moving = agreeing + int((moved & ~off).sum()), moving + int(moved.sum())
            if edge and off.sum() <= (1 - AGREEMENT_EACH) * moved.sum():
                off = np.zeros_like(off)
        compared, skipped = compared + int(known.sum()), skipped + int((graded & ~known).sum())
        if off.any():
            pair, pos = (int(i) for i in np.argwhere(off)[0])
            where = f"{off.sum()} of {known.sum()} outputs differ, the first at pair {pair}, position {pos}"
            wrong.append(f"{edge or 'nothing ablated'}: {where}")
        if edge and not known.any():
            silent.append(edge)
    if agreeing < AGREEMENT * moving:
        wrong.append(f"{moving - agreeing} of the {moving} outputs that move do not agree")
    passing = f"{compared} outputs compared, {skipped} skipped where the program with the reads replaced defines none"
    if evidence.sharpness is not None:
        passing += f"; {agreeing} of the {moving} outputs that move agree"
    passing += f"; never compared: {some(silent)}" if silent else ""
    return make_claim("interchange", labels["ablation"], compared, wrong, passing)


def _differ(
    lowered: Lowered, logits: Float[np.ndarray, "pair pos out"], codes: Int[np.ndarray, "pair pos"]
) -> Bool[np.ndarray, "pair pos"]:
    """Where the logits are not those of the output codes, or the code is unknown; without an output they are zero."""
    if lowered.output.numeric:
        table = np.array([[float(value)] for value in lowered.output.values])
    else:
        column = {value_key(value): i for i, value in enumerate(lowered.output.columns)}
        table = (
            LOGIT * np.eye(len(lowered.output.columns))[[column[value_key(value)] for value in lowered.output.values]]
        )
    expected = np.where(codes[..., None] >= 0, table[np.maximum(codes, 0)], 0.0)
    allowed = EXACT * (np.maximum(1, np.abs(expected)) if lowered.output.numeric else 1)
    return ~(np.abs(logits - expected) <= allowed).all(-1) | (codes == UNKNOWN)


def _decoded(lowered: Lowered, logits: Float[np.ndarray, "pair pos out"]) -> Int[np.ndarray, "pair pos"]:
    """The logit column that is chosen, NOTHING where none is; of a number the place of the nearest value."""
    if not lowered.output.numeric:
        return np.where(logits.max(-1) > LOGIT / 2, logits.argmax(-1), NOTHING)
    values = np.sort([float(value) for value in lowered.output.values])
    return np.searchsorted((values[1:] + values[:-1]) / 2, logits[..., 0])


def _columns(lowered: Lowered, codes: Int[np.ndarray, "pair pos"]) -> Int[np.ndarray, "pair pos"]:
    """What logits that say exactly what the codes say decode to."""
    if lowered.output.numeric:
        numbers = np.array([float(value) for value in lowered.output.values])[np.maximum(codes, 0)]
        return _decoded(lowered, np.where(codes >= 0, numbers, 0.0)[..., None])
    column = {value_key(value): i for i, value in enumerate(lowered.output.columns)}
    of_code = np.array([column[value_key(value)] for value in lowered.output.values])
    return np.where(codes >= 0, of_code[np.maximum(codes, 0)], NOTHING)


def check_sufficiency(experiment: Experiment, labels: Labels) -> Claim:
    """Everything but the positives ablated at once changes nothing on this data."""
    rest = sorted({*labels["negatives"], *labels["ignored"]} - experiment.woken)
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


def check_attention(evidence: Evidence, labels: Labels) -> Claim:
    """Each head of the program attends as its selector says, sink included, from real queries of the clean inputs;
    BOS attends to itself. Where a head stands is taken from the reads.

    A soft head leaks e^-sharpness to each of n keys and to the sink, and no more where its queries and keys are
    exact because embed or pos wrote them. Where they are computed, and so off themselves, a pattern has to be nearer
    to its selector than half of the smallest weight there.
    """
    places = _places(labels)
    wrong, checked, worst = [], 0, 0.0
    leak = TOLERANCE if evidence.sharpness is None else (1 + evidence.lowered.max_len) * math.exp(-evidence.sharpness)
    real = evidence.real(evidence.clean).numpy()
    for op in evidence.lowered.operations:
        if not isinstance(op, Attention) or op.name not in evidence.lowered.needed:
            continue
        (head,) = places[op.name]
        pattern = evidence.clean_run.weights[head].numpy()
        expected, doubtful = semantics.pattern(op, evidence.clean_codes, real)
        queries = real & ~doubtful
        errors = np.abs(pattern - expected)[queries].max(1, initial=0.0)
        error = float(errors.max(initial=0.0))
        worst, checked = max(worst, error), checked + int(queries.sum())
        allowed = np.full(len(errors), leak)
        if evidence.sharpness is not None:
            half = np.where(expected > 0, expected, np.inf).min(2)[queries] / 2
            allowed = np.minimum(leak, half) if _is_exact(op, evidence.lowered) else half
        if (errors > allowed).any():
            wrong.append(f"{head} differs from the selector of {op.name} by {error:.1e}")
        if not (pattern[:, 0, 0] >= 1 - leak).all():
            wrong.append(f"BOS attends elsewhere in {head}")
    passing = f"{checked} attention rows of the program's heads equal their selectors within {worst:.0e}"
    if evidence.sharpness is not None:
        passing += f"; {leak:.0e} is what sharpness {evidence.sharpness:g} leaks where queries and keys are exact"
    return make_claim("attention", labels["ablation"], checked, wrong, passing)


def _is_exact(op: Attention, lowered: Lowered) -> bool:
    """Whether all that decides whom a head attends to is written by the embeddings."""
    names = {name for condition in op.conditions for name in (condition.key, condition.query) if name is not None}
    names |= {op.ranking.variable} if op.ranking is not None else set()
    return all(lowered.variables[name].writer in ("embed", "pos") for name in names)
