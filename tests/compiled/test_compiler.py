"""Compiled models compute what the interpreter and the reference compute, exactly."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.stages.trace import trace
from gaugeblock.programs.errors import CompileError, InputError
from gaugeblock.programs.language.functions import causal, everything, key, map_n, query, where
from gaugeblock.programs.program import Program, program
from gaugeblock.programs.registry import get, names

ISSUE = ("frac_prevs", "sort", "dyck1", "dyck2", "dyck3", "shuffle_dyck1", "shuffle_dyck2", "shuffle_dyck3", "add")


def inputs_of(p: Program, limit: int, samples: int, seed: int = 0) -> list[list[Any]]:
    everything_ = p.domain.enumerate(p.vocab, p.max_len, limit)
    return p.sample(np.random.default_rng(seed), samples) if everything_ is None else list(everything_)


def assert_exact(p: Program, inputs: list[list[Any]], dtype: torch.dtype | None = None) -> None:
    outputs, expected = compile(p, dtype=dtype).batch(inputs), p.batch(inputs)
    assert p.reference is not None
    for xs, got, want in zip(inputs, outputs, expected, strict=True):
        assert got == want, f"{p.name} on {xs}: model {got}, interpreter {want}"
        assert got == pytest.approx(p.reference(xs)) if _numeric(want) else got == p.reference(xs)


def _numeric(values: list[Any]) -> bool:
    return any(isinstance(v, float) for v in values)


COLLECTED = sorted({*names(collections=True)} - {*names(), "rasp.rover"})


@pytest.mark.parametrize("name", [*names(), *(pytest.param(name, marks=pytest.mark.slow) for name in COLLECTED)])
def test_every_program_is_exact_at_its_default_size(name: str) -> None:
    assert_exact(get(name), inputs_of(get(name), limit=1_000, samples=200))


def resized(name: str) -> Iterator[Program]:
    p = get(name)
    letters = [x for x in "abcdefghij" if x not in p.vocab]
    vocab = range(10) if name == "sort" else p.vocab if name == "add" else [*p.vocab, *letters][:10]
    yield p.with_size(vocab, 20)
    yield p.with_size(max_len=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ISSUE)
def test_exact_up_to_vocabulary_10_and_length_20(name: str) -> None:
    for p in resized(name):
        assert_exact(p, inputs_of(p, limit=100_000, samples=10_000))


@pytest.mark.slow
def test_thirty_million_parameters() -> None:
    assert_exact(get("rasp.rover"), inputs_of(get("rasp.rover"), limit=0, samples=200))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hist", "sort", "reverse", "frac_prevs", "shuffle_dyck2", "detect_pattern_ab"])
def test_exact_at_vocabulary_100_and_length_50(name: str) -> None:
    p = get(name)
    more = range(1000, 1100) if isinstance(p.vocab[0], int) else [f"t{i}" for i in range(100)]
    p = p.with_size([*p.vocab, *more][:100], 50)
    model = compile(p)
    assert model.dtype == torch.float32
    inputs = p.sample(np.random.default_rng(0), 300)
    inputs += [[v] * n for v in p.vocab[:6] for n in (1, 49, 50)]
    for output, expected in zip(model.batch(inputs, batch_size=64), p.batch(inputs), strict=True):
        assert output == (pytest.approx(expected) if _numeric(expected) else expected)


@pytest.mark.parametrize("name", ISSUE)
def test_exact_at_vocabulary_10_and_length_20_on_a_sample(name: str) -> None:
    for p in resized(name):
        assert_exact(p, inputs_of(p, limit=1_000, samples=200, seed=1))


def test_float64_and_odd_vocabularies() -> None:
    sort = get("sort").with_size(vocab=[-2.5, 3, -7, 0, 0.25], max_len=6)
    for dtype in (torch.float32, torch.float64):
        assert_exact(sort, inputs_of(sort, limit=0, samples=300), dtype)


def test_lengths_mix_in_a_batch_and_order_of_the_vocabulary_does_not_matter() -> None:
    p = get("dyck2")
    inputs = inputs_of(p, limit=0, samples=100)
    model, shuffled = compile(p), compile(p.with_size(vocab=p.vocab[::-1]))
    assert shuffled.batch(inputs) == [model(xs) for xs in inputs]


def test_layers_and_heads() -> None:
    expected = {"frac_prevs": (1, 1), "hist": (1, 1), "reverse": (2, 1), "sort": (2, 2)}
    expected |= {"dyck1": (2, 1), "dyck2": (3, 1), "add": (3, 2), "shuffle_dyck2": (2, 2)}
    for name, size in expected.items():
        cfg = compile(get(name)).hooked.cfg
        assert (cfg.n_layers, cfg.n_heads) == size, name


@program(vocab=range(4), max_len=5)
def every_reduction(tokens: Any, indices: Any) -> Any:
    """All reductions over composite selectors in one program."""
    odd = (key(tokens) > query(tokens)) | ~(key(indices) < query(indices)) & key(tokens == 2)
    mean = odd.mean(tokens, default=0)
    total = odd.sum(tokens - 1)
    best = odd.best(tokens).get(indices % 2 == 0, default=False) if False else odd.max(tokens, default=-1)
    low = causal.min(tokens)
    some = everything.any(tokens == 3) & causal.all(tokens < 3)
    return where(some, low, map_n(lambda m, s, b: (m > 1, s % 3, b), mean, total, best))


def test_every_reduction_over_composite_selectors() -> None:
    p = every_reduction
    inputs = inputs_of(p, limit=2_000, samples=0)
    assert compile(p).batch(inputs) == p.batch(inputs)


def test_undefined_values_pass_through() -> None:
    @program(vocab="abc", max_len=4)
    def before_a(tokens: Any, indices: Any) -> Any:
        """The token before the first a, undefined where there is none."""
        first = key(tokens == "a").best(indices, largest=False).get(indices, default=None)
        return (key(indices) == query(first - 1)).get(tokens, default=None)

    inputs = inputs_of(before_a, limit=1_000, samples=0)
    expected = before_a.batch(inputs)
    assert any(None in row for row in expected)
    assert compile(before_a).batch(inputs) == expected


def test_equal_subexpressions_are_traced_once_and_long_chains_are_cheap() -> None:
    @program(vocab=range(2), max_len=2)
    def chain(tokens: Any, indices: Any) -> Any:
        """200 doublings modulo 7, each of which uses the one before twice."""
        x = tokens
        for _ in range(200):
            x = (x + x) % 7
        return x + (tokens + tokens) + (tokens + tokens)

    # 200 additions, moduli, and the constant; the two equal sums are one
    assert len(trace(chain).order) < 410
    assert compile(chain)([1, 0]) == chain([1, 0])


def test_a_program_over_the_limit_is_refused_with_the_variable_to_blame() -> None:
    @program(vocab=range(100), max_len=50)
    def too_large(tokens: Any, indices: Any) -> Any:
        """A table of three large variables."""
        partner = (key(indices) == query(49 - indices)).get(tokens, default=0)
        return map_n(lambda a, b, c: (a * b + c) % 5, tokens, partner, indices)

    with pytest.raises(CompileError, match=r"table of .* entries.*to blame is the s-op 'tokens'.* with 100 values"):
        compile(too_large)


def test_impossible_options_are_refused() -> None:
    p = get("hist")
    with pytest.raises(CompileError, match="no device 'gpu'"):
        compile(p, device="gpu")
    with pytest.raises(CompileError, match=r"possible: torch.float32, torch.float64"):
        compile(p, dtype=torch.float16)
    if not torch.cuda.is_available():
        with pytest.raises(CompileError, match="finds no CUDA"):
            compile(p, device="cuda")


def test_what_float32_cannot_hold_is_refused_or_compiled_in_float64() -> None:
    @program(vocab=[0, 1, 100_000], max_len=3)
    def fine(tokens: Any, indices: Any) -> Any:
        """Whether a sum of large numbers is even."""
        return everything.sum(tokens) % 2

    with pytest.raises(CompileError, match=r"float32 cannot hold 'map'.*1\.0e-06 apart"):
        compile(fine, dtype=torch.float32)
    model = compile(fine.with_size(max_len=2))
    assert model.dtype == torch.float64


def test_numbers_that_no_float_holds_are_refused() -> None:
    @program(vocab=[1, 2], max_len=2)
    def huge(tokens: Any, indices: Any) -> Any:
        return everything.sum(tokens * 10**400)

    with pytest.raises(CompileError, match=r"a number of 'huge' is beyond the range of float64"):
        compile(huge)


def test_a_size_at_which_no_input_exists_is_refused() -> None:
    with pytest.raises(InputError, match="there are no sums"):
        compile(get("add").with_size(vocab="01"))


def test_inputs_a_model_does_not_take() -> None:
    model = compile(get("add"))
    with pytest.raises(InputError, match="10 tokens are too many"):
        model(list("12345+6789"))
    with pytest.raises(InputError, match="empty"):
        model([])
    with pytest.raises(InputError, match="outside the domain"):
        model(list("12"))
    with pytest.raises(InputError, match="'x' at position 1 is not in the vocabulary"):
        model(list("1x2"))


@pytest.mark.gpu
def test_cuda_computes_the_same() -> None:
    p = get("dyck2")
    inputs = inputs_of(p, limit=0, samples=500)
    assert compile(p, device="cuda").batch(inputs) == p.batch(inputs)


@pytest.mark.parametrize(
    "halve",
    [
        lambda t, i: where(t > 2, t * 0.5, t),
        lambda t, i: (key(i) == query(i - 1)).get(t, default=2.0),
        lambda t, i: where(i == 0, everything.mean(t), t),
    ],
)
def test_equal_numbers_are_one_value_whatever_made_them(halve: Any) -> None:
    """A function that sees how a number is written finds the same in the model as in the interpreter."""
    p = program(vocab=(2, 4), max_len=3, name="halve")(lambda tokens, indices: halve(tokens, indices).map(repr))
    inputs = [list(xs) for n in (1, 2, 3) for xs in itertools.product((2, 4), repeat=n)]
    assert compile(p).batch(inputs) == p.batch(inputs)


def test_true_is_not_1_in_pairs_either() -> None:
    @program(vocab="ab", max_len=2)
    def pairs(tokens: Any, indices: Any) -> Any:
        return where(tokens == "a", 1, True), indices

    outputs = compile(pairs).batch(["ab", "ba"])
    assert outputs == pairs.batch(["ab", "ba"])
    assert [type(row[0][0]) for row in outputs] == [int, bool]
