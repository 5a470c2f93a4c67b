"""Building expressions: what is refused, and what the operators mean."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gaugeblock.programs import (
    Program,
    causal,
    everything,
    indices,
    key,
    local,
    loop,
    map_n,
    program,
    query,
    select,
    strided,
    where,
)  # fmt: skip
from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language.expression import Constant, SOp, Tokens, as_sop
from gaugeblock.programs.language.tree import postorder

tokens = Tokens()


def of(expression: SOp, vocab: Any = range(-2, 6), max_len: int = 8) -> Program:
    """A program of an expression over `tokens` and `indices`."""
    return Program("test", lambda t, i: map_n(lambda x: x, expression), tuple(vocab), max_len)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: (tokens == 1) and (indices == 2),
        lambda: 1 if tokens == 1 else 2,
        lambda: not tokens,
        lambda: 0 < tokens < 3,
        lambda: tokens in (1, 2),
        lambda: key(tokens) and query(tokens),
        lambda: not everything,
    ],
)
def test_python_logic_is_refused_with_a_hint(misuse: Callable[[], Any]) -> None:
    with pytest.raises(ProgramError, match=r"use & \| ~ instead of and, or, not, and where"):
        misuse()


@pytest.mark.parametrize(
    ("misuse", "hint"),
    [
        (lambda: key(tokens) == key(indices), "not key with key"),
        (lambda: key(tokens) == indices, "write key"),
        (lambda: tokens == key(indices), "meets a selector"),
        (lambda: tokens + everything, "meets a selector"),
        (lambda: everything & 3, "not selector and int"),
        (lambda: everything & (tokens == 1), "write key"),
        (lambda: where(everything, 1, 2), "reduce it first"),
        (lambda: tokens == [1, 2], "hashable"),
        (lambda: map_n(max), "at least one operand"),
    ],
)
def test_mixing_selectors_and_s_ops_is_refused(misuse: Callable[[], Any], hint: str) -> None:
    with pytest.raises(ProgramError, match=hint):
        misuse()


@pytest.mark.parametrize(
    "op",
    [
        operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
        operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge, operator.and_, operator.or_,
    ],
)  # fmt: skip
def test_operators_and_their_reflections(op: Callable[[Any, Any], Any]) -> None:
    xs = [1, 2, 3, 5]
    assert of(op(tokens, 2))(xs) == [op(x, 2) for x in xs]
    assert of(op(2, tokens))(xs) == [op(2, x) for x in xs]
    assert of(op(tokens, indices + 1))(xs) == [op(x, i + 1) for i, x in enumerate(xs)]


def test_unary_operators_and_maps() -> None:
    xs = [-2, 0, 3]
    assert of(-tokens)(xs) == [2, 0, -3]
    assert of(+tokens)(xs) == xs
    assert of(abs(tokens))(xs) == [2, 0, 3]
    assert of(~(tokens == 0))(xs) == [True, False, True]
    assert of(round(tokens / 2))(xs) == [-1, 0, 2]
    assert of(tokens.isin({0, 3}))(xs) == [False, True, True]
    assert of(map_n(lambda a, b, c: (a, b, c), tokens, indices, "x"))(xs) == [
        (-2, 0, "x"),
        (0, 1, "x"),
        (3, 2, "x"),
    ]
    assert of(where(tokens > 0, "yes", indices))(xs) == [0, 1, "yes"]
    assert of(loop(3, lambda x: 2 * x, tokens))(xs) == [-16, 0, 24]


def test_undefined_spreads_except_through_the_branch_not_taken() -> None:
    before = (key(indices) == query(indices - 1)).get(tokens, default=None)
    xs = [1, 2, 3]
    assert of(before + 1)(xs) == [None, 2, 3]
    assert of(before == before)(xs) == [None, True, True]
    assert of(where(indices == 0, 0, before))(xs) == [0, 1, 2]
    assert of(where(before > 1, 1, 0))(xs) == [None, 0, 1]


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        (everything, lambda k, q, x: True),
        (causal, lambda k, q, x: k <= q),
        (local(1), lambda k, q, x: k in (q - 1, q)),
        (strided(2), lambda k, q, x: k <= q and (q - k) % 2 == 0),
        (key(tokens) > query(indices), lambda k, q, x: x[k] > q),
        (query(indices) < key(tokens), lambda k, q, x: x[k] > q),
        (query(tokens) == key(indices), lambda k, q, x: x[q] == k),
        (key(tokens) >= 1, lambda k, q, x: x[k] >= 1),
        (query(tokens == 1) & everything, lambda k, q, x: x[q] == 1),
        (key(tokens == 1) | query(tokens == 2), lambda k, q, x: x[k] == 1 or x[q] == 2),
        (~key(tokens == 1) & ~causal, lambda k, q, x: x[k] != 1 and k > q),
        (select(tokens, indices, lambda k, q: (k + q) % 3 == 0), lambda k, q, x: (x[k] + q) % 3 == 0),
    ],
)
def test_selectors(selector: Any, holds: Callable[[int, int, list[int]], bool]) -> None:
    xs = [1, 2, 0, 1, 5]
    expected = [[holds(k, q, xs) for k in range(5)] for q in range(5)]
    assert of(selector.count())(xs) == [sum(row) for row in expected]
    assert of(selector.sum(2**indices))(xs) == [sum(2**k for k in range(5) if row[k]) for row in expected]


def test_a_selector_and_its_complement_share_the_undefined() -> None:
    before = (key(indices) == query(indices - 1)).get(tokens, default=None)
    smaller = key(before) < query(tokens)
    assert of(smaller.count() + (~smaller).count())([1, 2, 3]) == [3, 3, 3]
    assert of(smaller.count())([1, 2, 3]) == [0, 1, 2]  # the undefined first key is compared with nothing


def test_numpy_constants_become_python_values() -> None:
    assert type(as_sop(np.int64(3)).value) is int  # type: ignore[attr-defined]
    (value,) = of(tokens * np.float64(0.5))([3])
    assert type(value) is float
    (value,) = of(tokens.map(np.sqrt))([2])
    assert type(value) is float


def test_names_come_from_local_variables() -> None:
    @program(vocab="ab", max_len=3)
    def named(tokens: SOp, indices: SOp) -> Any:
        earlier = key(indices) < query(indices)
        count = earlier.count()
        return count + 1

    names = {node.name for node in postorder(named.output)}
    assert {"earlier", "count", "indices"} <= names
    assert everything.name == "everything"
    assert repr(named.output) == "<Elementwise>"


def test_expressions_print_in_one_line_however_large() -> None:
    x: SOp = tokens
    for _ in range(300):
        x = x + x
    assert len(repr(x)) < 80
    assert len(list(postorder(x))) == 301


def test_postorder_stops_at_leaves() -> None:
    inner = tokens + 1
    outer = inner * Constant(2)
    assert [n for n in postorder(outer, leaves=frozenset({inner})) if n is tokens] == []


@pytest.mark.parametrize(
    ("mistake", "instead"),
    [
        (lambda: sum(tokens), "everything.sum(x)"),
        (lambda: len(tokens), "everything.count()"),
        (lambda: tokens[0], "(key(indices) == 0).get(x)"),
        (lambda: "a" in tokens, "(key(x) == v).any()"),
        (lambda: tokens.isin(indices), "cannot be iterated"),
        (lambda: math.sqrt(tokens), "x.map(int)"),
        (lambda: tokens ^ 1, "!="),
        (lambda: max(tokens, indices), "where(a > b, a, b)"),
        (lambda: 0 < tokens < 3, "(a < x) & (x < b)"),
        (lambda: where(tokens == 1, everything.count, 0), "is a call missing?"),
        (lambda: everything.get(tokens, default=indices), "where(selector.any(), selector.get(x, default=0), other)"),
        (lambda: everything.mean(tokens, default=causal), "a default is a constant"),
        (lambda: tokens.upper(), "AttributeError: 'Tokens' object has no attribute 'upper'"),
        (lambda: {}[tokens], "KeyError: <Tokens tokens>"),
    ],
)
def test_what_python_can_do_and_programs_cannot_says_what_to_write(mistake: Any, instead: str) -> None:
    wrong = Program("wrong", lambda t, i: mistake(), (0, 1), 3)
    with pytest.raises(ProgramError, match=r"^program 'wrong' \(test_expression.py, line \d+\): ") as raised:
        wrong([1])
    assert instead in str(raised.value)
