"""Domains: sampling, counting and enumerating inputs."""

import itertools

import numpy as np
import pytest

from gaugeblock import programs
from gaugeblock.programs import ALL_INPUTS, Domain
from gaugeblock.programs.errors import InputError


def test_all_inputs_are_enumerated_shortest_first() -> None:
    every = ALL_INPUTS.enumerate(tuple("ab"), 3)
    assert every is not None
    expected = [list(xs) for n in (1, 2, 3) for xs in itertools.product("ab", repeat=n)]
    assert list(every) == expected
    assert ALL_INPUTS.size(tuple("ab"), 3) == len(expected)


def test_nothing_is_enumerated_beyond_the_limit() -> None:
    assert ALL_INPUTS.enumerate(tuple("ab"), 3, limit=13) is None
    assert ALL_INPUTS.enumerate(tuple("ab"), 3, limit=14) is not None
    assert ALL_INPUTS.enumerate(tuple(range(50)), 50) is None


def test_a_predicate_filters_the_enumeration() -> None:
    distinct = Domain("no token twice", lambda xs: len(set(xs)) == len(xs))
    every = distinct.enumerate((0, 1, 2), 3)
    assert every is not None
    assert len(list(every)) == 3 + 6 + 6


def test_samples_have_all_lengths_and_many_repeats() -> None:
    rng = np.random.default_rng(0)
    inputs = [ALL_INPUTS.sample(rng, tuple(range(100)), 5) for _ in range(500)]
    assert {len(xs) for xs in inputs} == {1, 2, 3, 4, 5}
    assert all(type(x) is int for xs in inputs for x in xs)
    repeats = sum(len(set(xs)) < len(xs) for xs in inputs)
    assert 100 < repeats < 300


def test_sums_are_counted_and_enumerated_without_the_rest() -> None:
    domain = programs.get("add").domain
    vocab = tuple("05+9")
    sequences = itertools.chain.from_iterable(itertools.product(vocab, repeat=n) for n in range(1, 6))
    expected = {xs for xs in sequences if domain.contains(list(xs))}
    every = domain.enumerate(vocab, 5)
    assert every is not None
    inputs = [tuple(xs) for xs in every]
    assert len(inputs) == len(set(inputs)) == domain.size(vocab, 5)
    assert set(inputs) == expected


@pytest.mark.parametrize("xs", ["+", "1", "1+", "+1", "1++1", "1+1+1"])
def test_what_is_not_a_sum(xs: str) -> None:
    assert not programs.get("add").domain.contains(list(xs))


@pytest.mark.parametrize(("vocab", "max_len"), [("0123", 9), ("+", 9), ("01+", 2)])
def test_sums_cannot_be_sampled_where_there_are_none(vocab: str, max_len: int) -> None:
    with pytest.raises(InputError, match="no sums"):
        programs.get("add").with_size(vocab=vocab, max_len=max_len).sample(np.random.default_rng(0), 1)
