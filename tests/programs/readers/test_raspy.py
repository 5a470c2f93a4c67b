"""RASPy programs, written as its users do, against published examples and the definition of `.value`."""

import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gaugeblock
from gaugeblock import programs
from gaugeblock.programs.errors import InputError, ProgramError
from gaugeblock.programs.language.selector import Get, Mean
from gaugeblock.programs.language.tree import postorder
from gaugeblock.programs.readers.raspy import *  # noqa: F403  (the one line that changes)
from gaugeblock.programs.readers.raspy import SOp, indices, key, query, to_program, tokens, where

DATA = json.loads((Path(__file__).parents[2] / "data" / "raspy_programs.json").read_text())["programs"]
ENTRIES = {entry["id"].removeprefix("raspy."): entry for entry in DATA}

before = key(indices) < query(indices)
length = (key(1) == query(1)).value(1).name("length")


def cumsum(seq=tokens):
    return (before | (key(indices) == query(indices))).value(seq).name("cumsum")


def atoi(seq=tokens):
    return seq.map(lambda x: ord(x) - ord("0"))


def index(i, seq=tokens):
    return (key(indices) == query(i)).value(seq)


def shift(i, default, seq=tokens):
    return (key(indices) == query(indices - i)).value(seq, default).name("shift")


def minimum(seq=tokens):
    ahead = (key(seq) < query(seq)) | (before & (key(seq) == query(seq)))
    return (key(ahead.value(1)) == query(0)).value(seq).name("min")


def first(token, seq=tokens):
    return minimum(where(seq == token, indices, 99))


def ralign(default="-", seq=tokens):
    padding = (key(seq) == query("_")).value(1)
    return (key(indices + padding) == query(indices)).value(seq, default).name("ralign")


def split(at, left, seq=tokens, default="0"):
    middle = (key(seq) == query(at)).value(indices)
    if left:
        return ralign(default, where(indices < middle, seq, "_"))
    return where(indices > middle, seq, default)


def slide(keep, seq=tokens):
    seen = cumsum(keep)
    following = ((key(seen) == query(seen + 1)) & (key(keep) == query(True))).value(seq)
    return where(keep, seq, following).name("slide")


def pair_sums(seq=tokens):
    return atoi(split("+", True, seq)) + atoi(split("+", False, seq))


def carry_marks(seq=tokens):
    x = pair_sums(seq)
    return shift(-1, "0", where(x > 9, "1", where(x == 9, "<", "0")))


def carries(seq=tokens):
    marks = carry_marks(seq)
    return atoi(slide(marks != "<", marks))


def add(seq=tokens):
    return (pair_sums(seq) + carries(seq)) % 10


WINDOW = 3
PROGRAMS: dict[str, Callable[[], SOp]] = {
    "add": add,
    "add_step0_pairsums": pair_sums,
    "add_step1_carry_marks": carry_marks,
    "add_step2_carries": carries,
    "atoi": atoi,
    "cumsum": cumsum,
    "cumsum_length_minus_indices": lambda: cumsum(length - indices),
    "earlier_equal_count": lambda: (before & (key(tokens) == query(tokens))).value(1),
    "first_l": lambda: first("l"),
    "flip": lambda: (key(length - indices - 1) == query(indices)).value(tokens),
    "hist": lambda: (key(tokens) == query(tokens)).value(1),
    "index1": lambda: index(1),
    "is_l_or_index1": lambda: (tokens == "l") | (indices == 1),
    "minimum": minimum,
    "minimum_str": minimum,
    "minus5_plus_indices": lambda: tokens - 5 + indices,
    "ralign": ralign,
    "shift2": lambda: shift(2, "_"),
    "shift_minus1": lambda: shift(-1, "0"),
    "slide": lambda: slide(tokens != "<"),
    "split_first": lambda: split("+", True),
    "split_second": lambda: split("+", False),
    "times2_minus1": lambda: tokens * 2 - 1,
    "where_hl_else_q": lambda: where((tokens == "h") | (tokens == "l"), tokens, "q"),
    "window_sum3": lambda: ((key(indices) >= query(indices - WINDOW + 1)) & (key(indices) <= query(indices))).value(
        tokens
    ),
}


def test_every_published_program_is_here() -> None:
    assert set(PROGRAMS) == set(ENTRIES)


@pytest.mark.parametrize("id", PROGRAMS)
def test_published_examples(id: str) -> None:
    entry, op = ENTRIES[id], PROGRAMS[id]()
    program = to_program(op, entry["alphabet"], 12, name=id)
    for example in entry["examples"]:
        for outputs in (op.input(example["in"]), op(example["in"]).toseq(), program(example["in"])):
            assert outputs == example["out"], example
            assert [type(v) is bool for v in outputs] == [type(v) is bool for v in example["out"]]


def test_addition_equals_our_own() -> None:
    ours = programs.get("add")
    theirs = to_program(add(), ours.vocab, ours.max_len, domain=ours.domain)
    inputs = ours.sample(np.random.default_rng(0), 500)
    assert theirs.batch(inputs) == ours.batch(inputs)
    assert add()("683+345") == [0, 0, 0, 1, 0, 2, 8]


COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
sides = st.tuples(st.sampled_from([0, 1]), st.integers(-1, 1), st.integers(-2, 3))
atoms = st.tuples(st.sampled_from(COMPARISONS), sides, sides, st.booleans())


@settings(max_examples=40)
@given(
    st.lists(st.integers(-2, 2), min_size=1, max_size=6),
    st.lists(atoms, min_size=1, max_size=3),
    st.lists(st.sampled_from("&|"), min_size=2, max_size=2),
    st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(-1, 2)),
    st.sampled_from([0, 7, None, "_"]),
)
def test_value_is_default_or_copy_or_sum(xs: Any, atoms: Any, joins: Any, value: Any, default: Any) -> None:
    def sop(which: int, factor: int, shift: int) -> SOp:
        return (tokens, indices)[which] * factor + shift

    def plain(which: int, factor: int, shift: int, i: int) -> int:
        return (xs[i], i)[which] * factor + shift

    def selected(f: Any, k: Any, q: Any, negated: bool, i: int, j: int) -> bool:
        return f(plain(*k, j), plain(*q, i)) != negated

    def combined(i: int, j: int) -> bool:
        holds = selected(*atoms[0], i, j)
        for join, atom in zip(joins, atoms[1:], strict=False):
            holds = holds & selected(*atom, i, j) if join == "&" else holds | selected(*atom, i, j)
        return holds

    selectors = [
        ~f(key(sop(*k)), query(sop(*q))) if negated else f(key(sop(*k)), query(sop(*q))) for f, k, q, negated in atoms
    ]
    selector = selectors[0]
    for join, other in zip(joins, selectors[1:], strict=False):
        selector = selector & other if join == "&" else selector | other
    n = range(len(xs))
    rows = [[combined(i, j) for j in n] for i in n]
    assert selector.input(xs) == rows
    values = [plain(*value, j) for j in n]
    expected = [sum(v for v, s in zip(values, row, strict=True) if s) if any(row) else default for row in rows]
    assert selector.value(sop(*value), default).input(xs) == expected


@settings(max_examples=30)
@given(st.text("abc", min_size=1, max_size=7), st.integers(-3, 3))
def test_texts_are_copied(xs: str, shift: int) -> None:
    expected = [xs[i - shift] if 0 <= i - shift < len(xs) else 0 for i in range(len(xs))]
    assert (key(indices) == query(indices - shift)).value(tokens)(xs) == expected
    assert (query(indices - shift) == key(indices)).value(tokens.map(str.upper), "-")(xs) == [
        v.upper() if v else "-" for v in expected
    ]


def test_operators() -> None:
    xs = [1, 2, 3]
    assert (2 * tokens)(xs) == [2, 4, 6]
    assert (-tokens)(xs) == [-1, -2, -3]
    assert abs(10 - tokens**2 // 3 % 2)(xs) == [10, 9, 9]
    assert (6 / tokens)(xs) == [6, 3, 2]
    assert (1 - (tokens - 1) / 2)(xs) == [1, 0.5, 0]
    assert (~(tokens == 2) & (indices < 2))(xs) == [True, False, False]


def test_names_are_kept_and_globals_are_not_renamed() -> None:
    op = (length - 1).name("last")
    program = to_program(op, "ab", 4)
    assert program.name == "last"
    assert {node.name for node in postorder(program.output)} >= {"length", "last"}
    tokens.name("other")
    assert to_program(tokens, "ab", 4).name == "tokens"


def test_copies_where_one_key_is_selected() -> None:
    """No sum is built for a lookup, and none where positions are put in an order."""
    for op, vocab in ((PROGRAMS["flip"](), range(4)), (minimum(), range(4)), (first(2), range(4)), (ralign(), "ab_")):
        nodes = list(postorder(to_program(op, vocab, 6).output))
        assert any(isinstance(node, Get) for node in nodes)
        assert all(node.value.value == 1 for node in nodes if type(node).__name__ == "Sum")  # type: ignore[union-attr]
        assert not any(isinstance(node, Mean) for node in nodes)


def test_ranks_with_ties_are_summed() -> None:
    hist = (key(tokens) == query(tokens)).value(1)
    tie = (key(tokens) == query(tokens)) & (key(hist) < query(hist))
    for ahead in (key(tokens) < query(tokens), (key(tokens) < query(tokens)) | tie):
        assert (key(ahead.value(1)) == query(indices)).value(tokens)([2, 2, 1]) == [1, 4, 0]


def test_errors() -> None:
    with pytest.raises(ProgramError, match="compared with nothing"):
        before == before  # noqa: B015
    with pytest.raises(ProgramError, match="no single truth value"):
        bool(tokens == 1)
    with pytest.raises(ProgramError, match=r"where\(condition"):
        where(tokens == 1 or tokens == 2, 1, 0)
    with pytest.raises(InputError, match="empty input"):
        tokens([])
    with pytest.raises(ProgramError, match="whose values 'a' and 'b' differ"):
        (key(1) == query(1)).value(tokens)("ab")
    with pytest.raises(ProgramError, match="not selector and"):
        before & 3
    with pytest.raises(ProgramError, match="empty vocabulary"):
        to_program(tokens, [], 4)


@pytest.mark.parametrize(
    ("id", "vocab", "max_len"),
    [
        ("flip", "abc", 5),
        ("hist", "abc", 5),
        ("minimum", range(3), 4),
        ("first_l", "hl", 4),
        ("window_sum3", range(3), 5),
        ("ralign", "ab_", 5),
        ("shift2", "abc", 5),
        ("slide", "ab<", 4),
    ],
)
def test_compiled(id: str, vocab: Any, max_len: int) -> None:
    program = to_program(PROGRAMS[id](), vocab, max_len, name=id)
    inputs = list(program.domain.enumerate(program.vocab, max_len) or ())
    assert gaugeblock.compile(program).batch(inputs) == program.batch(inputs)
