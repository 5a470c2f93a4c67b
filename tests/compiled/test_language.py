"""Every construct of the language compiled: model = interpreter on all inputs of small spaces."""

import operator
from fractions import Fraction
from typing import Any

import pytest
import torch

from gaugeblock.compiled import compile
from gaugeblock.programs import (
    Program,
    causal,
    edges,
    everything,
    key,
    local,
    loop,
    map_n,
    program,
    query,
    same_block,
    select,
    strided,
    where,
)
from gaugeblock.programs.errors import CompileError, ProgramError

PROGRAMS: list[Program] = []


def case(vocab: Any, max_len: int, **options: Any) -> Any:
    def add(build: Any) -> Program:
        PROGRAMS.append(program(vocab, max_len, **options)(build))
        return PROGRAMS[-1]

    return add


@case(range(-1, 3), 4)
def operators(tokens: Any, indices: Any) -> Any:
    """Reflected, unary and three-argument operators."""
    a = 2 * tokens - indices // 2 + (7 - tokens) % 3 + 2**indices - (-tokens) + abs(tokens) + round(tokens / 2)
    b = (1 <= tokens) & ~(tokens == 2) | tokens.isin({0})  # noqa: SIM300
    return where(b, a, 5 // (indices + 1)), +tokens, 1 / (2 + tokens), tokens.map(lambda x: x * x).defined()


@case(range(3), 5)
def one_mlp_for_several_counts(tokens: Any, indices: Any) -> Any:
    """Functions of sums and means: sums, differences, comparisons, products."""
    a, b, c = causal.sum(tokens == 1), causal.sum(tokens == 2), everything.mean(tokens)
    return a + b, a - 2 * b > 0, a * b, (a == 0) & (b == 0), a < b, map_n(lambda x, y: x > y, a, c)


@case(range(3), 5)
def numbers(tokens: Any, indices: Any) -> Any:
    """Means as outputs: alone, in linear functions, of means, moved by a get."""
    mean = causal.mean(tokens)
    last = (key(indices) == query(everything.count() - 1)).get(mean, default=-1)
    return mean, 1 - 2 * mean, mean - everything.mean(tokens == 1), last, causal.mean(everything.mean(tokens == 1))


@case(range(3), 4)
def undefined(tokens: Any, indices: Any) -> Any:
    """None in values, scores, summands, conditions and defaults."""
    some = where(tokens == 1, None, tokens)
    score = where(tokens == 0, None, indices)
    return (
        causal.sum(some),
        (key(tokens) > query(tokens)).mean(some, default="none"),
        everything.best(score).get(tokens, default=None),
        some.defined(),
        (key(tokens) > 2).mean(tokens, default=None),
        (key(some) == query(some)).count(),
        (~(key(some) == query(some))).any(),
        some + 1,
    )


@case(range(3), 4)
def algebra(tokens: Any, indices: Any) -> Any:
    """Composite selectors under every reduction."""
    odd = (key(tokens) > query(tokens)) | ~(key(indices) < query(indices)) & key(tokens == 2)
    wild = (causal & key(tokens != 0)) | (strided(2) & local(1)) | ~select(tokens, indices, lambda k, q: k <= q)
    return (
        odd.mean(tokens, default=0),
        odd.sum(tokens - 1),
        wild.count(),
        odd.max(tokens, default=-1),
        wild.best(indices).get(tokens, default=None),
        wild.mean(tokens, default=None),
        (same_block(2) | key(tokens == 1)).min(tokens),
        everything.any(tokens == 2) & causal.all(tokens < 2),
        (query(tokens) == 1).count(),
    )


@case("ab", 6)
def orders(tokens: Any, indices: Any) -> Any:
    """The rank of a rank, and a number chosen by its place."""
    rank = ((key(tokens) < query(tokens)) | ((key(tokens) == query(tokens)) & (key(indices) < query(indices)))).count()
    again = ((key(rank) > query(rank)) | (key(rank) == query(indices)) & causal).count()
    return again, loop(3, lambda x: (x + indices) % 3, rank)


@case(range(2), 3, graph=True)
def graph(tokens: Any, indices: Any) -> Any:
    """Sums, maxima and two hops along edges."""
    into = edges.count()
    return edges.sum(tokens), edges.max(tokens, default=-1), edges.sum(into), (~edges).any(tokens == 1)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) or isinstance(b, float):
        return a is not None and b is not None and abs(a - b) <= 1e-5 * (1 + abs(b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


@pytest.mark.parametrize("p", PROGRAMS, ids=lambda p: p.name)
@pytest.mark.parametrize("keep_variables", [False, True])
def test_the_model_is_the_interpreter(p: Program, keep_variables: bool) -> None:
    inputs = list(p.domain.enumerate(p.vocab, p.max_len, limit=20_000) or [])[::3]
    assert inputs
    model = compile(p, keep_variables=keep_variables)
    assert model.dtype == torch.float32
    for xs, expected, output in zip(inputs, p.batch(inputs), model.batch(inputs), strict=True):
        assert same(output, expected), (xs, output, expected)


def test_every_named_variable_can_be_kept() -> None:
    @program(range(3), 4)
    def p(tokens: Any, indices: Any) -> Any:
        """Two steps that are one table."""
        shifted = tokens + indices
        doubled = shifted * 2
        return doubled % 3

    assert "doubled" not in compile(p).lowered.variables
    kept = compile(p, keep_variables=True)
    assert kept.lowered.variables["doubled"].values == tuple(range(0, 11, 2))
    assert kept.program_edges == kept.live_edges  # nothing reads what is kept


def test_a_map_of_correlated_operands_has_no_more_entries_than_they_have() -> None:
    @program(range(10), 20)
    def p(tokens: Any, indices: Any) -> Any:
        """A ternary map of (token, token, index)."""
        return map_n(lambda a, b, i: (a * b + i) % 7, tokens, tokens + 0, indices)

    (op,) = compile(p).lowered.operations
    assert op.table.size == 200  # type: ignore[union-attr]


def test_heads_stand_where_layers_have_room() -> None:
    @program("abc", 5)
    def p(tokens: Any, indices: Any) -> Any:
        """Three heads that are read in the second layer, and one that only the output needs."""
        first = [(key(indices) == query(indices - i)).get(tokens, default="?") for i in (1, 2)]
        late = (key(indices) == query(indices + 1)).get(tokens, default="?")
        twice = (key(first[0]) == query(first[1])).count()
        return map_n(lambda *xs: "".join(map(str, xs)), twice, late)

    model = compile(p)
    assert (model.hooked.cfg.n_layers, model.hooked.cfg.n_heads) == (2, 2)


def test_values_that_no_double_tells_apart_are_refused() -> None:
    @program([0, 1, Fraction(1, 10**17)], 3)
    def p(tokens: Any, indices: Any) -> Any:
        """A sum of numbers of very different size."""
        return everything.sum(tokens).map(operator.neg)

    with pytest.raises(Exception, match=r"float64 cannot hold"):
        compile(p)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda tokens, indices: tokens == "x", r"tokens \('a', 'b'\) with 'x': they are never equal"),
        (lambda tokens, indices: indices == "1", r"indices \(0, 1, 2\) with '1': they are never equal"),
        (lambda tokens, indices: (key(tokens) == query(indices)).count(), r"tokens \('a', 'b'\) with indices"),
        (lambda tokens, indices: (key(tokens) == query(tokens)).get(indices), r"0 and 1 differ, .* \['a', 'a'\]"),
        (lambda tokens, indices: (key(indices) == query(indices - 1)).get(tokens), r"no key and has no.*\['a'\]"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_smallest_input(build: Any, says: str) -> None:
    p = program("ab", 3, name="p")(build)
    with pytest.raises(ProgramError, match=says):
        compile(p)


def test_a_model_over_the_limit_is_refused_before_it_is_built() -> None:
    @program(range(100), 20)
    def wide(tokens: Any, indices: Any) -> Any:
        """A table of tokens and their partners."""
        partner = (key(indices) == query(everything.count() - 1 - indices)).get(tokens)
        return (tokens * partner).map(lambda x: x * 7 % 9973)

    with pytest.raises(CompileError, match=r"parameters \(at most 1,000,000.*blame is 'map_2' with 2870 values"):
        compile(wide, max_parameters=1_000_000)
