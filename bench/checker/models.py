"""Claims that hold for a model, whatever its labels: its data, what is assumed, what it computes."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from gaugeblock.checker.claims import LOGIT, Claim, make_claim
from gaugeblock.checker.evidence import Evidence
from gaugeblock.checker.weights import TOLERANCE, WeightsModel
from gaugeblock.compiled.lowered.operations import Lowered
from gaugeblock.compiled.lowered.semantics import NOTHING
from gaugeblock.programs.errors import InputError, ProgramError
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import Constant
from gaugeblock.programs.language.selector import Sum
from gaugeblock.programs.proofs.claims import check_gets

MAX_INPUTS_FOR_GETS = 20_000
"""Inputs on which a `.get` that no rule proves is tried, where the domain has no more."""

MAX_INPUTS_ENUMERATED = 100_000
"""Domains up to this size are checked on every input."""


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
    inputs: Iterator[list[Any]] | None = program.domain.enumerate(*size, limit=MAX_INPUTS_ENUMERATED)
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
        assumed = [claim for claim in check_gets(program, MAX_INPUTS_FOR_GETS) if claim.assumed]
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
