"""Whether the output of a program at a position depends on tokens up to that position only."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np

from gaugeblock.programs.analysis.inputs import INPUTS_AT_ONCE, MAX_INPUTS_ENUMERATED, chunks
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.merging import merge
from gaugeblock.programs.language.operations import Value
from gaugeblock.programs.language.selector import Get, Mean, Sum
from gaugeblock.programs.language.tree import postorder
from gaugeblock.programs.program import Program
from gaugeblock.programs.proofs.claims import smaller_inputs
from gaugeblock.programs.proofs.facts import Facts

SAMPLES_EXCHANGED: Final = 500
"""Samples whose beginnings and ends are exchanged to look for an output that depends on what follows."""


@final
@dataclass(frozen=True)
class Counterexample:
    """Two inputs that are equal up to `position`, at which the outputs differ."""

    input: list[Any]
    other: list[Any]
    position: int
    output: Value
    other_output: Value

    def __str__(self) -> str:
        outputs = f"{self.output!r} for {self.input!r}, {self.other_output!r} for {self.other!r}"
        return f"at position {self.position} the output is {outputs}"


@final
@dataclass(frozen=True)
class Causality:
    """Whether the output at each position depends on tokens up to that position only.

    Attributes:
        causal: false if a counterexample was found.
        how: "by construction": every selector selects keys up to the query only. "enumerated": seen on every input
            of the domain. "observed": no counterexample was found, which proves nothing. Of a program that is not
            causal, which inputs the counterexample is from.
        inputs: how many inputs were looked at.
        counterexample: a smallest one among those inputs.
    """

    causal: bool
    how: Literal["by construction", "enumerated", "observed"]
    inputs: int
    counterexample: Counterexample | None

    def __str__(self) -> str:
        if self.counterexample is not None:
            return f"not causal: {self.counterexample}"
        if self.how == "by construction":
            return "causal by construction"
        return f"causal on {'all' if self.how == 'enumerated' else 'the'} {self.inputs:,} inputs looked at"


def is_causal(program: Program, enumerate_up_to: int = MAX_INPUTS_ENUMERATED) -> Causality:
    """Whether what follows a position has no influence on the output there; how long the input is included.

    Looks at all inputs of the domain up to `enumerate_up_to`; else at small ones, and at samples that are cut off or
    continued differently.

    >>> from gaugeblock.programs import get
    >>> print(is_causal(get("has_prev")))
    causal by construction
    """
    (output,) = merge(program.output)
    if _looks_back_only(Facts.of(program, output), output):
        return Causality(True, "by construction", 0, None)
    everything = program.domain.enumerate(program.vocab, program.max_len, enumerate_up_to)
    inputs = list(_with_other_ends(program, enumerate_up_to) if everything is None else everything)
    counterexample = _first_difference(output, sorted(inputs, key=len))
    how: Literal["enumerated", "observed"] = "observed" if everything is None else "enumerated"
    return Causality(counterexample is None, how, len(inputs), counterexample)


def _looks_back_only(facts: Facts, output: SOp) -> bool:
    """Whether no reduction selects a key after its query, as far as comparisons of positions tell."""
    return all(facts.looks_back(node.selector) for node in postorder(output) if isinstance(node, (Get, Mean, Sum)))


def _with_other_ends(program: Program, limit: int) -> Iterator[list[Any]]:
    """Small inputs, and samples in the beginnings of which other samples go on, or nothing does."""
    yield from smaller_inputs(program, min(limit, 2 * INPUTS_AT_ONCE))
    rng = np.random.default_rng(0)
    samples = program.sample(rng, SAMPLES_EXCHANGED)
    yield from samples
    for xs, other in itertools.pairwise(samples):
        cut = int(rng.integers(1, len(xs) + 1))
        for changed in (xs[:cut], xs[:cut] + other[cut:]):
            if program.domain.contains(changed):
                yield changed


def _first_difference(output: SOp, inputs: Sequence[list[Any]]) -> Counterexample | None:
    """The first input, in the order given, whose output differs from an earlier one's although the tokens so far agree.

    Its partner is the shortest, and the position the first.
    """
    first: dict[tuple[Any, ...], tuple[Value, list[Any]]] = {}
    for xs, row in _rows(output, inputs):
        for position, value in enumerate(row):
            expected, other = first.setdefault(tuple(xs[: position + 1]), (value, xs))
            if expected != value:
                return Counterexample(other, xs, position, expected, value)
    return None


def _rows(output: SOp, inputs: Sequence[list[Any]]) -> Iterator[tuple[list[Any], list[Value]]]:
    for chunk in chunks(inputs):
        (column,) = evaluate([output], chunk)
        for xs, codes in zip(chunk, column.codes.tolist(), strict=True):
            yield xs, [column.values[c] for c in codes[: len(xs)]]
