"""The model against the program: outputs with one read replaced, and whom heads attend to."""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from gaugeblock.checker.claims import EXACT, LOGIT, Claim, make_claim, some
from gaugeblock.checker.evidence import Evidence, Experiment, Labels
from gaugeblock.checker.reads import places
from gaugeblock.checker.weights import TOLERANCE
from gaugeblock.compiled.lowered import semantics
from gaugeblock.compiled.lowered.operations import Attention, Lowered
from gaugeblock.compiled.lowered.semantics import NOTHING, UNKNOWN
from gaugeblock.programs.language.operations import value_key

AGREEMENT, AGREEMENT_EACH = 0.9, 0.75
"""Of a soft model: share of the outputs moved by ablating positives, and by ablating each, that are the program's."""


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


def check_attention(evidence: Evidence, labels: Labels) -> Claim:
    """Each head of the program attends as its selector says, sink included, from real queries of the clean inputs;
    BOS attends to itself. Where a head stands is taken from the reads.

    A soft head leaks e^-sharpness to each of n keys and to the sink, and no more where its queries and keys are
    exact because embed or pos wrote them. Where they are computed, and so off themselves, a pattern has to be nearer
    to its selector than half of the smallest weight there.
    """
    site_of = places(labels)
    wrong, checked, worst = [], 0, 0.0
    leak = TOLERANCE if evidence.sharpness is None else (1 + evidence.lowered.max_len) * math.exp(-evidence.sharpness)
    real = evidence.real(evidence.clean).numpy()
    for op in evidence.lowered.operations:
        if not isinstance(op, Attention) or op.name not in evidence.lowered.needed:
            continue
        (head,) = site_of[op.name]
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
