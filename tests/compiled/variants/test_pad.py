"""Padding of programs whose own heads, moved to other directions, write little or do not vary."""

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

import numpy as np
import pytest

from gaugeblock.cases.case import case
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.language.functions import everything, key
from gaugeblock.programs.program import Program, program
from gaugeblock.programs.registry import get, register


@program(vocab="ab", max_len=6)
def fewer_a_than_b(tokens: Any, indices: Any) -> Any:
    return key(tokens == "a").count() < key(tokens == "b").count()


@program(vocab="abc", max_len=6)
def more_and_more(tokens: Any, indices: Any) -> Any:
    a, b, c = (key(tokens == x).count() for x in "abc")
    return (a < b) & (b < c)


@program(vocab=range(4), max_len=5)
def sum_mod5(tokens: Any, indices: Any) -> Any:
    return everything.sum(tokens * 3) % 5


@program(vocab="ab", max_len=5)
def only_indices(tokens: Any, indices: Any) -> Any:
    return indices


PROGRAMS = (
    fewer_a_than_b,
    more_and_more,
    sum_mod5,
    only_indices,
    get("count_rare").with_size("abcdefghij", 20),
    get("hist").with_size("ab", 1),  # one position: what counts has nothing to count
    get("identity").with_size("a", 5),  # one token: only the length varies
)


def inputs_of(p: Program) -> Iterator[list[Any]]:
    """All inputs of at most six tokens, up to a bound."""
    every = (list(xs) for n in range(1, min(p.max_len, 6) + 1) for xs in product(p.vocab, repeat=n))
    return islice(every, 1500)


@pytest.mark.parametrize("p", PROGRAMS, ids=lambda p: p.name)
def test_what_varies_at_all_can_be_padded(p: Program) -> None:
    model = compile(p)
    inputs = [*inputs_of(p), *p.sample(np.random.default_rng(0), 50)]
    for seed in (1, 2):
        padded = apply_variants(model, ("pad",), seed)
        assert padded.batch(inputs) == p.batch(inputs)
        assert all(len(padded.graph.heads(layer)) >= 4 for layer in range(padded.hooked.cfg.n_layers))


def test_padding_of_a_circuit_that_counts_looks_for_something_too() -> None:
    """Its heads are told from the circuit's neither by a key map of zeros nor by a small output map."""
    weights = apply_variants(compile(fewer_a_than_b), ("pad",), 1).weights
    assert np.abs(weights["blocks.0.attn.W_K"]).any((1, 2)).all()
    assert np.abs(weights["blocks.0.attn.W_O"]).max((1, 2)).min() > 10


def test_the_certificate_holds() -> None:
    register(fewer_a_than_b)
    for name in ("fewer_a_than_b", "hist@v2n1"):
        assert case(f"{name}/permute+pad+rotate#1").certificate.ok


@pytest.mark.parametrize("name", ["identity@v1n1", "hist@v1n1", "position@v2n1"])
def test_where_nothing_varies_padding_is_refused(name: str) -> None:
    with pytest.raises(CompileError, match=r"nothing in the stream .* varies .* pad needs inputs of several lengths"):
        _ = case(f"{name}/pad").model
