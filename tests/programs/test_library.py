"""Every program of the library against published examples and against its plain-Python reference."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaugeblock import programs
from gaugeblock.programs import Program
from gaugeblock.programs.analysis.causality import is_causal

DATA = json.loads((Path(__file__).parents[1] / "data" / "conformance.json").read_text())["programs"]
ENTRIES = {entry["id"]: entry for entry in DATA}


def same(outputs: list[Any], expected: list[Any], tolerance: float = 0.0) -> bool:
    """Equal values, with True apart from 1 and numbers within the tolerance."""
    return len(outputs) == len(expected) and all(
        isinstance(a, bool) == isinstance(b, bool) and (a == b or (isinstance(a, float) and abs(a - b) <= tolerance))
        for a, b in zip(outputs, expected, strict=True)
    )


def edge_inputs(program: Program) -> list[list[Any]]:
    """Shortest, longest, all equal, two values in turns, sorted both ways."""
    vocab, n = program.vocab, program.max_len
    if program.graph:
        ring = [(i, (i + 1) % n) for i in range(n)]
        graphs: list[Any] = [{"nodes": [v], "edges": []} for v in vocab]
        graphs += [
            {"nodes": (list(vocab) * n)[:n], "edges": edges}
            for edges in ([], ring, [*itertools.product(range(n), repeat=2)])
        ]
        return [program.check(graph) for graph in graphs]
    inputs = [[v] for v in vocab] + [[v] * n for v in vocab]
    inputs += [list(itertools.islice(itertools.cycle(pair), n)) for pair in itertools.permutations(vocab[:4], 2)]
    longest = (list(vocab) * n)[:n]
    inputs += [longest, longest[::-1]]
    return [xs for xs in inputs if program.domain.contains(xs)]


def test_the_conformance_table_is_covered() -> None:
    assert set(ENTRIES) == set(programs.names(collections=True)) - set(programs.names())


@pytest.mark.parametrize("id", ENTRIES)
def test_published_examples(id: str) -> None:
    entry, program = ENTRIES[id], programs.get(id)
    start = [entry["bos"]] if entry["bos"] else []
    assert entry["alphabet"] is None or list(program.vocab) == [*start, *entry["alphabet"]]
    assert program.reference is not None
    for example in entry["examples"]:
        given, first, last = example["in"], entry["compare_from"], len(example["out"])
        if isinstance(given, dict) and "text" in given:  # the same number everywhere, of which the table has one
            given = list(given["text"])
        for outputs in (program(given), program.reference(given)):
            assert same(outputs[first:last], example["out"][first:], entry["tolerance"]), example


@pytest.mark.parametrize("name", programs.names(collections=True))
def test_interpreter_equals_reference(name: str) -> None:
    program = programs.get(name)
    assert program.reference is not None
    assert program.description
    inputs = [*edge_inputs(program), *program.sample(np.random.default_rng(0), 500)]
    longer = program.with_size(max_len=2 * program.max_len)
    inputs += longer.sample(np.random.default_rng(1), 100)
    for xs, outputs in zip(inputs, program.batch(inputs), strict=True):
        assert same(outputs, program.reference(xs), 1e-12), xs


@pytest.mark.parametrize("name", programs.names())
def test_the_causal_tag_is_true(name: str) -> None:
    program = programs.get(name)
    assert is_causal(program, enumerate_up_to=500).causal == ("causal" in program.tags)


@pytest.mark.parametrize(
    ("name", "vocab", "max_len"),
    [
        ("frac_prevs", "()a", 7),
        ("sort", range(-1, 3), 5),
        ("dyck1", "()a", 8),
        ("dyck2", "(){}a", 6),
        ("dyck3", "(){}[]a", 5),
        ("shuffle_dyck2", "(){}a", 6),
        ("add", "019+", 7),
        ("induction", "abc", 6),
    ],
)
def test_every_small_input(name: str, vocab: Any, max_len: int) -> None:
    program = programs.get(name).with_size(vocab=vocab, max_len=max_len)
    assert program.reference is not None
    every = program.domain.enumerate(program.vocab, program.max_len)
    assert every is not None
    inputs = list(every)
    for xs, outputs in zip(inputs, program.batch(inputs), strict=True):
        assert same(outputs, program.reference(xs), 1e-12), xs


@pytest.mark.parametrize(
    ("name", "xs", "expected"),
    [
        ("add", "0+0", [0, 0, 0]),
        ("add", "00+000", [0] * 6),
        ("add", "1+999999", [0, 1, 0, 0, 0, 0, 0, 0]),
        ("add", "999999+1", [0, 1, 0, 0, 0, 0, 0, 0]),
        ("add", "5+5", [0, 1, 0]),
        ("add", "007+03", [0, 0, 0, 0, 1, 0]),
        ("add", "999+999", [0, 0, 0, 1, 9, 9, 8]),
        ("dyck2", "a", ["T"]),
        ("dyck2", "}", ["F"]),
        ("dyck2", "(a)", ["P", "P", "T"]),
        ("dyck2", "))((", ["F"] * 4),
        ("dyck2", "())))))((((((", ["P", "T"] + ["F"] * 11),
        ("dyck2", "({)}", ["P", "P", "F", "F"]),
        ("shuffle_dyck2", "({)}", [True] * 4),
        ("shuffle_dyck2", ")(", [False] * 2),
        ("shuffle_dyck2", "a", [True]),
        ("sort", [3, 1, 3, 0], [0, 1, 3, 3]),
    ],
)
def test_by_hand(name: str, xs: Any, expected: list[Any]) -> None:
    assert programs.get(name)(xs) == expected


def test_sort_takes_any_ordered_vocabulary() -> None:
    sort = programs.get("sort")
    assert sort.with_size(vocab=[-1.5, 0, 2.25, 10])([10, -1.5, 0, -1.5]) == [-1.5, -1.5, 0, 10]
    assert sort.with_size(vocab=["b", "a", "ab", ""])(["b", "ab", "", "a"]) == ["", "a", "ab", "b"]
    assert sort.with_size(vocab=np.arange(3))(np.array([2, 0, 1])) == [0, 1, 2]


@pytest.mark.parametrize("name", ["dyck1", "dyck2", "dyck3", "shuffle_dyck1", "shuffle_dyck2", "shuffle_dyck3"])
def test_bracket_samplers_meet_every_output_at_the_last_position(name: str) -> None:
    program = programs.get(name)
    assert program.reference is not None
    last = [program.reference(xs)[-1] for xs in program.sample(np.random.default_rng(0), 400)]
    outputs = ["T", "P", "F"] if name.startswith("dyck") else [True, False]
    assert min(last.count(output) for output in outputs) > 40


def test_sums_carry_far_often_enough() -> None:
    add = programs.get("add")
    inputs = add.sample(np.random.default_rng(0), 400)
    assert all(add.domain.contains(xs) for xs in inputs)
    operands = ["".join(xs).split("+") for xs in inputs]
    far = 0
    for a, b in operands:
        pairs = [int(x) + int(y) for x, y in zip(reversed(a), reversed(b), strict=False)]
        far += any(low > 9 and high == 9 for low, high in itertools.pairwise(pairs))
    assert far > 10
