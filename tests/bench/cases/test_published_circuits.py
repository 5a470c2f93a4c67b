"""The two circuits of compiled programs that are known from the literature, reverse and the fraction of x so far.

Published for Tracr models, at the granularity of whole heads, for permutations of three tokens under resample ablation:
two edges for reverse, three for xproportion (the MLP that finds x, the head, the output).
"""

import re
from itertools import permutations, product
from typing import Any

import pytest

from gaugeblock.cases.pairs import Pairs
from gaugeblock.cases.truth import label
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.programs.language.functions import key, query
from gaugeblock.programs.library.order import reverse
from gaugeblock.programs.program import program


@program(vocab="xab", max_len=5)
def xproportion(tokens: Any, indices: Any) -> Any:
    """How many of the tokens so far are x, as a share."""
    is_x = tokens == "x"
    return (key(indices) <= query(indices)).mean(is_x)


@program(vocab="xab", max_len=5)
def xproportion_unfolded(tokens: Any, indices: Any) -> Any:
    """The same, with an x that an MLP has to find: the embedding cannot write what also depends on the position."""
    is_x = (tokens == "x") & (indices >= 0)
    return (key(indices) <= query(indices)).mean(is_x)


def pairs_of(model: CompiledModel, inputs: list[str]) -> Pairs:
    """Every input with every other one."""
    both = [(a, b) for a, b in product(inputs, inputs) if a != b]
    tokens = model.encode([list(a) for a, _ in both] + [list(b) for _, b in both])
    clean, corrupted = tokens[: len(both)], tokens[len(both) :]
    positions = model.real(clean) & model.real(corrupted)
    return Pairs(clean, corrupted, positions, ("",) * len(both), model.lowered.output.numeric, 0)


def true_edges(model: CompiledModel, inputs: list[str], ablation: str) -> set[str]:
    """True edges between `input`, heads, MLPs and `logits`."""
    positives = label(model, pairs_of(model, inputs), ablation).positives
    whole = [re.sub(r"\.[qkv]$", "", edge) for edge in positives]
    return {re.sub("^(embed|pos)->", "input->", edge) for edge in whole}


FIXED = ["".join(p) for p in permutations("xab")]
MIXED = ["".join(p) for n in (1, 2, 3, 4) for p in permutations("xabb", n)]


MOVE = {"input->a1.h0", "a1.h0->logits"}
LENGTH = {"input->a0.h0", "a0.h0->m0", "m0->a1.h0"}


@pytest.mark.parametrize(
    ("inputs", "ablation", "edges"),
    [(FIXED, "resample", MOVE), (MIXED, "resample", MOVE | LENGTH), (FIXED, "zero", MOVE | LENGTH | {"input->m0"})],
)
def test_reverse(inputs: list[str], ablation: str, edges: set[str]) -> None:
    """The length of the input is computed by three edges that nothing exercises while all inputs are equally long."""
    assert true_edges(compile(reverse.with_size("xab", 5)), inputs, ablation) == edges


FOLDED = {"input->a0.h0", "a0.h0->logits"}
UNFOLDED = {"input->m0", "m0->a1.h0", "a1.h0->logits"}


@pytest.mark.parametrize(
    ("inputs", "ablation", "folded", "unfolded"),
    [
        (FIXED, "resample", FOLDED, UNFOLDED),
        (MIXED, "resample", FOLDED, UNFOLDED),
        (FIXED, "zero", FOLDED, UNFOLDED | {"input->a1.h0"}),
    ],
)
def test_fraction_of_x_so_far(inputs: list[str], ablation: str, folded: set[str], unfolded: set[str]) -> None:
    circuits = [true_edges(compile(p), inputs, ablation) for p in (xproportion, xproportion_unfolded)]
    assert circuits == [folded, unfolded]
