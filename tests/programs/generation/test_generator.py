"""Generated programs: the same everywhere, well typed, as large and deep as asked, and of every construct."""

import ast
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaugeblock.programs.errors import InputError, ProgramError, UnknownName
from gaugeblock.programs.generation.coverage import CONSTRUCTS, constructs, depth, operations
from gaugeblock.programs.generation.generator import built, generate
from gaugeblock.programs.generation.shrinking import shrink
from gaugeblock.programs.program import Program

SEEDS = 200

PRINT = f"""
import json
from gaugeblock.programs.generation.generator import generate
print(json.dumps([generate(seed).source for seed in range({SEEDS})]))
"""


@pytest.fixture(scope="module")
def sources() -> list[str]:
    """Of programs generated in another process, whose hashes of strings differ."""
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run([sys.executable, "-c", PRINT], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def generated(sources: list[str]) -> list[Program]:
    return [built(source) for source in sources]


def inputs_of(p: Program, limit: int = 100) -> list[list[Any]]:
    """All inputs where they are few, else some, most of them as long as can be."""
    inputs = p.domain.enumerate(p.vocab, p.max_len, limit)
    if inputs is not None:
        return list(inputs)
    rng = np.random.default_rng(1)
    if p.graph:
        return p.sample(rng, 60)
    longest = rng.integers(len(p.vocab), size=(40, p.max_len))
    return [*p.sample(rng, 10), *([p.vocab[i] for i in row] for row in longest)]


def test_no_program_raises_and_outputs_depend_on_the_input(generated: list[Program]) -> None:
    constant, positions, undefined = [], 0, 0
    for p in generated[::2]:
        inputs = inputs_of(p)
        outputs = p.batch(inputs)
        longest = {repr(row) for row in outputs if len(row) == max(map(len, inputs))}
        constant += [p.source] if len(longest) == 1 else []
        positions += sum(map(len, outputs))
        undefined += sum(row.count(None) for row in outputs)
    assert len(constant) <= 0.02 * len(generated[::2]), constant
    assert 0.01 < undefined / positions < 0.3


@settings(max_examples=10)
@given(st.integers(0, 2**62))
def test_any_seed_gives_a_program_that_runs(seed: int) -> None:
    p = generate(seed)
    p.batch(inputs_of(p, 100))
    assert p.name == f"generated_{seed}"
    assert p.tags == ("generated",)


def test_the_same_seed_gives_the_same_program_in_another_process(sources: list[str]) -> None:
    assert [generate(seed).source for seed in range(12)] == sources[:12]


def test_a_source_is_the_program(generated: list[Program]) -> None:
    for p in generated[:20]:
        names: dict[str, Any] = {}
        exec(p.source, names)
        pasted = names["generated"]
        assert (pasted.vocab, pasted.max_len, pasted.graph, pasted.name) == (p.vocab, p.max_len, p.graph, p.name)
        inputs = inputs_of(p, 100)
        assert pasted.batch(inputs) == p.batch(inputs)


def test_every_construct_is_reached_with_a_decent_share(generated: list[Program]) -> None:
    used = Counter(name for p in generated for name in constructs(p))
    assert set(used) <= set(CONSTRUCTS)
    assert {name: used[name] for name in CONSTRUCTS if used[name] < 2} == {}


@pytest.mark.parametrize(("size", "deep"), [(3, 1), (8, 0), (8, 2), (20, 3), (30, 4)])
def test_size_and_depth_are_as_asked(size: int, deep: int) -> None:
    for seed in range(4):
        p = generate(seed, size=size, depth=deep)
        assert depth(p.output) == deep
        assert size <= operations(ast.parse(p.source)) <= 3 + max(3 * size // 2, size + 4 * deep)


@pytest.mark.parametrize("vocab", ["xyz", (False, True), (0.5, -1, 3), range(5)])
def test_vocabulary_and_length_are_as_asked(vocab: Any) -> None:
    for seed in range(4):
        p = generate(seed, vocab=vocab, max_len=4)
        assert (p.vocab, p.max_len) == (tuple(vocab), 4)
        p.batch(inputs_of(p))


def test_constructs_can_be_chosen_or_left_out() -> None:
    few = {"key == query", "everything", "causal", "selector &", "count", "x + y", "x == y", "mean", "sum"}
    for seed in range(6):
        assert constructs(generate(seed, constructs=few, size=4, depth=1)) <= few
    without = ["several outputs", "graph", "undefined scores", "x + y", "get"]
    for seed in range(6):
        assert not constructs(generate(seed, without=without)) & set(without)
    with pytest.raises(UnknownName, match="no construct is named 'gte'; did you mean"):
        generate(0, without=["gte"])


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(ProgramError, match=r"no program of size 3, depth 1 .* seed 0"):
        generate(0, size=3, depth=1, constructs=["x + y"])
    with pytest.raises(InputError, match="the seed -1 is negative"):
        generate(-1)


def test_constructs_of_a_source() -> None:
    source = """
from gaugeblock.programs import causal, key, loop, map_n, program, query, select, where

@program("abc", max_len=4)
def generated(tokens, indices):
    near = causal & ~(query(indices) > key(2 - indices))
    x = near.best(indices, largest=False).get(tokens, default=None)
    y = map_n(lambda a, b: a + b * 2, x, tokens)
    return where(x.defined(), y, None), loop(2, lambda r: r | key(r).any(r), tokens == "a"), near.max(indices, 0)
"""
    expected = {"causal", "selector &", "selector ~", "query first", "key < query", "1 - x", "best", "best smallest"}
    expected |= {"get", "get default None", "map_n of 2", "where", "None", "defined", "several outputs", "loop"}
    expected |= {"x | y", "key alone", "any", "x == y", "max", "max default"}
    assert constructs(built(source)) == expected
    assert operations(ast.parse(source)) == 14  # & ~ > - best get, map_n, where defined loop | any == max
    assert depth(built(source).output) == 2


def test_shrinking_keeps_the_failure_and_drops_the_rest() -> None:
    """A failure that needs a count compared with a number above 1, by an independent look at the values."""

    def fails(p: Program) -> bool:
        try:
            return "count()" in p.source and any(3 in row for row in p.batch(inputs_of(p)))
        except ProgramError:
            return False

    failing = itertools.islice((p for p in map(generate, range(200)) if fails(p)), 2)
    for p in failing:
        small = shrink(p, fails)
        assert fails(small)
        assert operations(ast.parse(small.source)) <= 2, small.source
        assert len(small.source.splitlines()) == 6
