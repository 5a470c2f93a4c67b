"""Programs: what they accept and refuse."""

from typing import Any

import numpy as np
import pytest

from gaugeblock import programs
from gaugeblock.programs import SOp, key, program, query
from gaugeblock.programs.errors import InputError, ProgramError


@pytest.mark.parametrize(
    ("name", "xs", "message"),
    [
        ("sort", [], "empty input"),
        ("sort", [3, 11, 1], r"11 at position 1 is not in the vocabulary of 'sort': 0, 1, 2, 3, 4, 5, 6, 7$"),
        ("sort", ["3"], "'3' at position 0 is not in the vocabulary"),
        ("sort", [[3]], r"\[3\] at position 0 is not in the vocabulary"),
        ("sort", 3, "3 is not an input for 'sort'"),
        ("sort", None, "give a list of tokens"),
        ("add", "12", "outside the domain of 'add': sums of two numbers"),
        ("add", "1+", "outside the domain"),
        ("add", "1-1", "'-' at position 1 is not in the vocabulary"),
    ],
)
def test_bad_input(name: str, xs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        programs.get(name)(xs)


def test_too_long_for_a_size() -> None:
    with pytest.raises(InputError, match="11 tokens are too many for 'sort': at most 10"):
        programs.get("sort").check([1] * 11, max_len=10)
    assert programs.get("sort")([1] * 11) == [1] * 11


def test_long_vocabularies_are_cut_in_messages() -> None:
    with pytest.raises(InputError, match=r"29, … \(1000 tokens\)$"):
        programs.get("sort").with_size(vocab=range(1000))([-1])


def test_tokens_become_the_vocabularys_own() -> None:
    result = programs.get("sort")(np.array([2, 0, 1]))
    assert [type(x) for x in result] == [int, int, int]
    assert [type(x) for x in programs.get("reverse").with_size(vocab=[0, 1])([True, 0.0])] == [int, int]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"vocab": ""}, "empty vocabulary"),
        ({"vocab": "aba"}, "a token twice"),
        ({"vocab": [[1], [2]]}, "not hashable"),
        ({"max_len": 0}, "at least 1"),
    ],
)
def test_impossible_sizes(size: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        programs.get("hist").with_size(**size)


def test_with_size_leaves_the_rest() -> None:
    small = programs.get("dyck1").with_size(vocab="()abcdefgh", max_len=20)
    assert small.vocab == tuple("()abcdefgh")
    assert small.max_len == 20
    assert small.name == "dyck1"
    assert small("(h)") == ["P", "P", "T"]
    assert max(map(len, small.sample(np.random.default_rng(0), 200))) == 20


def test_a_build_that_returns_no_s_op() -> None:
    @program(vocab="ab", max_len=3)
    def unfinished(tokens: SOp, indices: SOp) -> Any:
        return key(tokens) == query(tokens)

    with pytest.raises(ProgramError, match="'unfinished' returns Select, not an s-op"):
        unfinished("ab")


def test_metadata() -> None:
    sort = programs.get("sort")
    assert sort.description.startswith("The tokens in ascending order")
    assert "before.count()" in sort.source
    assert "order" in sort.tags
    assert repr(sort) == repr(programs.get("sort"))
