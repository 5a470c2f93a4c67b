"""Programs: what they accept and refuse."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaugeblock import programs
from gaugeblock.compiled import compile
from gaugeblock.programs import SOp, edges, key, program, query
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f.with_size(vocab=5), "the vocabulary of 'f' is 5, not hashable tokens in a row"),
        (lambda f: f.with_size(max_len="4"), "max_len '4'; it must be an integer, at least 1"),
        (lambda f: f.with_size(max_len=4.5), "max_len 4.5; it must be an integer"),
        (lambda f: program("ab", 3, reference=5)(f.build), "the reference of program 'f' is 5; it must be a function"),
        (lambda f: program("ab", 3, domain=5)(f.build), "the domain of program 'f' is 5; it must be a Domain"),
        (lambda f: program("ab", 3)(partial(f.build)), "is no function with a name; say program(..., name=...)"),
        (lambda f: programs.register(f.build), "is no program; @program(vocab=..., max_len=...) above a function"),
        (lambda f: compile(f.build), "is no program; @program"),
        (lambda f: compile("sort"), "'sort' is no program; get('sort') makes one"),
    ],
)
def test_objects_of_the_wrong_kind(make: Any, message: str) -> None:
    @program("ab", 3)
    def f(tokens: SOp, indices: SOp) -> Any:
        return tokens

    with pytest.raises(ProgramError, match=re.escape(message)):
        make(f)


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


# graphs, several outputs, arguments


@program(range(4), 4, graph=True)
def into(tokens: Any, indices: Any) -> Any:
    """The sum over in-neighbours."""
    return edges.sum(tokens)


def test_a_graph_is_nodes_and_edges() -> None:
    graph = {"nodes": [1, 3, 2], "edges": [[0, 1], (2, 1), (1, 1), (0, 1)]}
    assert into(graph) == [0, 6, 0]
    tokens = into.check(graph)
    assert into(tokens) == [0, 6, 0]
    assert all(into.domain.contains(xs) for xs in into.sample(np.random.default_rng(0), 50))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"nodes": [1], "edges": [(0, 1)]}, "(0, 1) leads from no node to another: nodes are 0 to 0"),
        ({"nodes": [1], "edges": [(1, 0)]}, "(1, 0) leads from no node"),
        ({"nodes": [1, 2], "edges": [(0, 1, 1)]}, "(0, 1, 1) leads from no node"),
        ({"nodes": [1, 2], "edges": [(0, "b")]}, "(0, 'b') leads from no node"),
        ({"nodes": [1, 2], "edges": [0]}, 'give {"nodes": [value, ...]'),
        ({"nodes": [9], "edges": []}, "9 at position 0 is not in the vocabulary"),
        ({"nodes": []}, 'give {"nodes"'),
        ([1, 2], 'give {"nodes"'),
    ],
)
def test_what_is_no_graph_is_refused(given: Any, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        into(given)


def test_several_outputs_are_tuples() -> None:
    @program("ab", 4)
    def several(tokens: Any, indices: Any) -> Any:
        """Two outputs, one of which may be undefined."""
        return {"before": (key(indices) == query(indices - 1)).get(tokens, default=None), "half": indices / 2}

    assert several("abb") == [(None, 0.0), ("a", 0.5), ("b", 1.0)]
    assert [output.name for output in several.outputs] == ["before", "half"]


def test_arguments_change_program_and_reference() -> None:
    @program("ab", 4, reference=lambda xs, n: ["_"] * min(n, len(xs)) + xs[: max(0, len(xs) - n)])
    def shift(tokens: Any, indices: Any, n: int = 1) -> Any:
        """The token n places before."""
        return (key(indices) == query(indices - n)).get(tokens, default="_")

    twice = shift.with_arguments(n=2)
    assert twice.name == "shift(n=2)"
    assert twice.reference is not None
    assert twice("abab") == twice.reference(list("abab")) == ["_", "_", "a", "b"]
    assert twice.with_size(max_len=9).with_arguments(n=3)("abab") == ["_", "_", "_", "a"]
    with pytest.raises(ProgramError, match=r"no argument 'k'; its arguments: n"):
        shift.with_arguments(k=1)


def line_of(word: str) -> int:
    return next(i for i, line in enumerate(Path(__file__).read_text().splitlines(), 1) if f"# {word}" in line)


def test_errors_name_the_users_line() -> None:
    @program("ab", 4)
    def no_truth(tokens: Any, indices: Any) -> Any:
        """Python's own `and`."""
        first = indices == 0
        return first and (tokens == "a")  # no truth

    with pytest.raises(ProgramError, match=rf"test_program.py, line {line_of('no truth')}\): .*use & \| ~"):
        no_truth("ab")

    @program("ab", 4)
    def mixed(tokens: Any, indices: Any) -> Any:
        """A letter and a number."""
        wrong = tokens + indices  # mixed types
        return wrong * 2

    place = rf"'wrong' \(test_program.py, line {line_of('mixed types')}\)"
    with pytest.raises(ProgramError, match=rf"{place}.*of the input"):
        mixed("ab")


def test_recursion_and_edges_without_a_graph_are_refused() -> None:
    @program("ab", 4)
    def endless(tokens: Any, indices: Any) -> Any:
        """Calls itself."""
        return endless.build(tokens, indices) + 1

    with pytest.raises(ProgramError, match=r"'endless' calls itself without end.*loop\(n, step, init\)"):
        endless("ab")

    @program("ab", 4)
    def flat(tokens: Any, indices: Any) -> Any:
        """Edges of no graph."""
        return edges.count()

    with pytest.raises(ProgramError, match=r"'flat' reads `edges`, .* say graph=True"):
        flat("ab")
