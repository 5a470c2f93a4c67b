"""The interpreter against a plain per-position evaluator, and the errors of programs without a value."""

import math
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugeblock.programs import ALL_INPUTS, Domain, Program, causal, everything, indices, key, query, select, where
from gaugeblock.programs import interpreter as interpreter_module
from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import MISSING, choose, together
from gaugeblock.programs.language.selector import And, Get, Mean, Not, Or, Select, Sum

tokens = Tokens()


class NoValue(Exception):
    """What the plain evaluator raises."""


def plainly(node: Any, xs: list[Any], memo: dict[int, Any]) -> Any:
    """The values of an s-op at each position, or of a selector at each query and key, by the definitions."""
    if id(node) not in memo:
        memo[id(node)] = _plainly(node, xs, lambda child: plainly(child, xs, memo))
    return memo[id(node)]


def _plainly(node: Any, xs: list[Any], of: Any) -> Any:
    n = range(len(xs))
    match node:
        case Tokens():
            return xs
        case Indices():
            return list(n)
        case Constant():
            return [node.value for _ in n]
        case Elementwise():
            return [_elementwise(node.f, [of(x)[i] for x in node.operands]) for i in n]
        case Select():
            k, q, f = of(node.key), of(node.query), node.predicate
            return [[None not in (k[j], q[i]) and bool(f(k[j], q[i])) for j in n] for i in n]
        case And() | Or():
            parts, combine = [of(s) for s in node.operands], all if isinstance(node, And) else any
            return [[combine(part[i][j] for part in parts) for j in n] for i in n]
        case Not():
            return [[not of(node.operand)[i][j] for j in n] for i in n]
    value, selector = of(node.value), of(node.selector)
    keys = [[j for j in n if selector[i][j]] for i in n]
    if isinstance(node, Get) and node.score is not None:
        score = of(node.score)
        keys = [[j for j in row if score[j] is not None] for row in keys]
        best = max if node.largest else min
        keys = [[j for j in row if score[j] == best(score[k] for k in row)] for row in keys]
    return [_reduce(node, [value[j] for j in row]) for row in keys]


def _elementwise(f: Any, operands: list[Any]) -> Any:
    if f is choose and operands[0] is not None:
        return operands[1] if operands[0] else operands[2]
    return None if None in operands else whole(f(*operands))


def whole(value: Any) -> Any:
    """2.0 is 2."""
    return int(value) if isinstance(value, (float, Fraction)) and value == int(value) else value


def _reduce(node: Any, values: list[Any]) -> Any:
    if not values and not isinstance(node, Sum):
        if node.default is MISSING:
            raise NoValue
        return node.default
    if isinstance(node, Get):
        if any(v != values[0] or isinstance(v, bool) != isinstance(values[0], bool) for v in values):
            raise NoValue
        return values[0]
    if None in values:
        return None
    total = sum((Fraction(v) for v in values), Fraction(0))
    if isinstance(node, Mean):
        return whole(total / len(values))
    return whole(total)


def build(leaf: Any, steps: list[tuple[int, int, int, int, Any]]) -> SOp:
    """An expression in which parts are shared: each step is an operation on results of earlier ones."""
    sops: list[SOp] = [tokens, indices, Constant(leaf)]
    selectors = [causal, everything, key(tokens) == query(indices), key(indices) == query(indices - 1)]
    for operation, i, j, k, default in steps:
        a, b, c = (sops[x % len(sops)] for x in (i, j, k))
        s, t = (selectors[x % len(selectors)] for x in (j, k))
        match operation:
            case 0:
                sops.append(a + b)
            case 1:
                sops.append(a * 2 - b)
            case 2:
                sops.append(a / (2 + j))
            case 3:
                sops.append(a == b)
            case 4:
                sops.append(a < b)
            case 5:
                sops.append(where(a, b, c))
            case 6:
                sops.append(~a)
            case 7:
                sops.append((a > 0) & (b != 1))
            case 8:
                sops.append(s.count())
            case 9:
                sops.append(s.sum(a))
            case 10:
                sops.append(s.mean(a, default))
            case 11:
                sops.append(s.get(a, default))
            case 12:
                sops.append(s.best(c, largest=k % 2 == 0).get(a, default))
            case 13:
                sops.append(s.any(a))
            case 14:
                sops.append(s.max(a, default))
            case 15:
                selectors.append(s & ~t)
            case 16:
                selectors.append(s | (key(a) <= query(c)))
            case 17:
                selectors.append(select(a, c, lambda k, q: (k - q) % 2 == 0))
    return sops[-1]


number = st.integers(0, 20)
default = st.sampled_from([MISSING, None, 0, 0.25])
step = st.tuples(st.integers(0, 17), number, number, number, default)
leaves = st.sampled_from([0, 1, -3, True, 0.5, 0.1, None])


def typed(values: list[Any]) -> list[tuple[type, Any]]:
    return [(type(v), v) for v in values]


inputs_of_ints = st.lists(st.lists(st.integers(-2, 3), min_size=1, max_size=6), min_size=1, max_size=5)


@settings(max_examples=1000, deadline=None)
@given(leaves, st.lists(step, min_size=1, max_size=12), inputs_of_ints)
def test_equal_to_plain_evaluation(leaf: Any, steps: list[Any], inputs: list[list[int]]) -> None:
    expression = build(leaf, steps)
    try:
        expected = [plainly(expression, xs, {}) for xs in inputs]
    except (NoValue, TypeError):  # TypeError: an operation on values it is not made for
        with pytest.raises(ProgramError):
            evaluate([expression], inputs)
        return
    (column,) = evaluate([expression], inputs)
    values = [[column.values[c] for c in row if c >= 0] for row in column.codes]
    for xs, a, b in zip(inputs, values, expected, strict=True):
        assert typed(a) == typed(b), xs
    assert set(range(len(column.values))) == set(column.codes.flatten()) - {-1}


def run(expression: SOp, inputs: list[Any], domain: Domain = ALL_INPUTS) -> list[list[Any]]:
    return Program("test", lambda t, i: expression, tuple(range(-10, 11)), 10, domain=domain).batch(inputs)


def test_means_are_exact_until_they_are_shown() -> None:
    share = everything.mean(tokens == 0)
    third = run(share == Constant(Fraction(1, 3)), [[0, 1, 1]])
    assert third == [[True] * 3]
    assert run(share, [[0, 1, 1], [0]]) == [[1 / 3] * 3, [1.0]]
    balance = causal.mean(tokens == 1) - causal.mean(tokens == 2)
    assert run(balance == 0, [[1, 0, 0, 2, 2, 1, 0]]) == [[False, False, False, True, False, True, True]]


def test_types_do_not_depend_on_the_rest_of_the_batch() -> None:
    halves = everything.sum(where(tokens == 5, 0.5, tokens))
    for inputs in ([[1, 2], [5, 5]], [[5, 5], [1, 2]]):
        assert typed(run(halves, inputs)[inputs.index([1, 2])]) == [(int, 3), (int, 3)]
        assert typed(run(halves, inputs)[inputs.index([5, 5])]) == [(int, 1), (int, 1)]
    assert typed(run(where(tokens > 0, True, 1), [[1], [0]])[1]) == [(int, 1)]
    pair = Elementwise(together, (where(tokens > 0, 1, True), indices))
    assert run(pair, [[1], [0]]) == [[(1, 0)], [(True, 0)]]
    assert [type(row[0][0]) for row in run(pair, [[1], [0]])] == [int, bool]
    assert typed(run(everything.count(), [[1]])[0]) == [(int, 1)]
    assert typed(run(everything.any(tokens == 1), [[1]])[0]) == [(bool, True)]


def test_sums_beyond_64_bits() -> None:
    big = (tokens + 10) * 3**50
    assert run(everything.sum(big), [[1, 2]]) == [[23 * 3**50] * 2]
    assert run(everything.mean(big / 7) * 7 == everything.mean(big), [[1, 2]]) == [[True] * 2]


def test_float_sums_round_once() -> None:
    xs = list(range(10))
    assert run(everything.sum(tokens * 0.1), [xs]) == [[math.fsum(0.1 * x for x in xs)] * 10]


def test_many_operands_of_many_values() -> None:
    columns = [tokens * (7**i) + indices for i in range(40)]
    total = Elementwise(lambda *xs: sum(xs) % 1009, tuple(columns))
    rng = np.random.default_rng(0)
    inputs = rng.integers(-10, 11, size=(50, 8)).tolist()
    expected = [[sum(x * 7**i + p for i in range(40)) % 1009 for p, x in enumerate(xs)] for xs in inputs]
    assert run(total, inputs) == expected


def test_deep_chains_of_shared_expressions() -> None:
    x: SOp = tokens
    for _ in range(5000):
        x = (x + x) % 1009
    assert run(x, [[1, 2]]) == [[pow(2, 5000, 1009), pow(2, 5001, 1009)]]
    for _ in range(200):
        x = ((key(x) <= query(x)).count() + x) % 11
    assert run(x, [[1, 2]]) == [plainly_deep([1, 2])]


def plainly_deep(xs: list[int]) -> list[int]:
    xs = [x * pow(2, 5000, 1009) % 1009 for x in xs]
    for _ in range(200):
        xs = [(sum(k <= x for k in xs) + x) % 11 for x in xs]
    return xs


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = (key(tokens) < query(tokens)).count() + causal.mean(tokens)
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-10, 11, size=rng.integers(1, 7)).tolist() for _ in range(100)]
    whole = run(rank, inputs)
    monkeypatch.setattr(interpreter_module, "PAIRS_AT_ONCE", 30)
    assert run(rank, inputs) == whole == [run(rank, [xs])[0] for xs in inputs]


def test_no_inputs() -> None:
    assert run(tokens, []) == []


def test_given_values_replace_an_s_op() -> None:
    before = key(tokens) < query(tokens)
    rank = before.count()
    output = (key(rank) == query(indices)).get(tokens, default=None)
    column, kept = evaluate([output, rank], [[5, 3, 4], [7]], given={rank: [[0, 1, 2], [0]]})
    assert [[column.values[c] for c in row if c >= 0] for row in column.codes] == [[5, 3, 4], [7]]
    assert [kept.values[c] for c in kept.codes[0]] == [0, 1, 2]


# programs without a value


def test_ambiguous_get_names_keys_and_a_smallest_input() -> None:
    partner = (key(tokens) == query(tokens)).get(indices)
    with pytest.raises(ProgramError) as raised:
        run(partner, [[1, 2, 3], [4, 5, 1, 5, 2, 6]])
    message = str(raised.value)
    assert "selects the keys 0 and 1, whose values 0 and 1 differ" in message
    assert message.endswith("at position 0 of the input [5, 5]")


def test_a_smallest_input_stays_in_the_domain() -> None:
    partner = (key(tokens) == query(tokens)).get(indices)
    even = Domain("of even length and starting with 7", lambda xs: len(xs) % 2 == 0 and xs[0] == 7)
    with pytest.raises(ProgramError, match=r"of the input \[7, \d, \d, \d\]$"):
        run(partner, [[7, 1, 2, 3, 4, 4]], even)


def test_get_of_keys_that_agree() -> None:
    assert run((key(tokens) == query(tokens)).get(tokens), [[1, 2, 1]]) == [[1, 2, 1]]
    assert run(everything.best(tokens).get(tokens), [[1, 2, 2]]) == [[2, 2, 2]]
    with pytest.raises(ProgramError, match="whose values 1 and True differ"):
        run(everything.get(where(indices == 0, 1, True)), [[3, 3]])


def test_a_whole_number_is_an_integer_whatever_made_it() -> None:
    for two in (tokens * 0.5, tokens / 2, everything.mean(tokens - 2), tokens.map(lambda v: v / 2), tokens - 2.0):
        assert typed(run(two, [[4]])[0]) == [(int, 2)]
        assert run(where(tokens > 9, 7, two).map(str), [[4]]) == [["2"]]
    assert typed(run(where(tokens > 9, 7, tokens * 0.3), [[4]])[0]) == [(float, 4 * 0.3)]
    assert typed(run(Constant(1e300) + tokens, [[4]])[0]) == [(float, 1e300)]  # no longer exact


@pytest.mark.parametrize("reduce", ["get", "mean"])
def test_nothing_selected_without_a_default(reduce: str) -> None:
    previous = key(indices) == query(indices - 1)
    value = getattr(previous, reduce)(tokens)
    with pytest.raises(
        ProgramError, match=rf"`.{reduce}`.* selects no key and has no default, at position 0 of .*\[3\]$"
    ):
        run(value, [[1, 2, 3]])


def test_a_function_that_raises_is_named_with_its_operands() -> None:
    with pytest.raises(
        ProgramError, match=r"divide\(5, 0\) in .* raised ZeroDivisionError: .*of the input \[0\]"
    ) as raised:
        run(5 / tokens, [[1, 2, 0, 3]])
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    with pytest.raises(ProgramError, match=r"<lambda> \(test_interpreter.py, line \d+\)\(1\)"):
        run(tokens.map(lambda x: x.missing), [[1]])
    with pytest.raises(ProgramError, match=r"map.*unhashable|unhashable"):
        run(tokens.map(lambda x: [x]), [[1]])


def test_a_predicate_that_raises() -> None:
    with pytest.raises(ProgramError, match=r"lt\('a', 1\) in the selector"):
        run((key(Constant("a")) < query(tokens)).count(), [[1]])


def test_a_predicate_is_called_for_pairs_of_one_input_only() -> None:
    parts = where(tokens > 0, "a", 1)
    assert run((key(parts) <= query(parts)).count(), [[1, 2], [0, 0]]) == [[2, 2], [2, 2]]


@pytest.mark.parametrize(("value", "shown"), [("a", "'a'"), (math.inf, "inf"), (math.nan, "nan")])
def test_sums_of_what_is_no_number(value: Any, shown: str) -> None:
    mixed = where(tokens == 0, value, 1)
    assert run((key(tokens != 0)).sum(mixed), [[0, 1, 2]]) == [[2, 2, 2]]
    with pytest.raises(ProgramError, match=f"meets {shown}, which is not a finite number.*\\[0\\]"):
        run(everything.sum(mixed), [[1, 0, 2]])


def test_errors_travel_between_processes() -> None:
    half = (key(tokens) == query(tokens)).get(indices)
    for compute in (lambda: evaluate([half], [[1, 1]]), lambda: run(half, [[1, 1]])):
        with pytest.raises(ProgramError) as raised:
            compute()
        assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_scores_without_an_order() -> None:
    with pytest.raises(ProgramError, match="no order"):
        run(everything.best(where(tokens == 0, "a", 1)).get(tokens), [[1, 0]])
