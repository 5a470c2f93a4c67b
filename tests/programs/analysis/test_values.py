"""Widths and values of programs, against running every input."""

from typing import Any

import pytest

from gaugeblock.programs import Program, indices, key, query, where
from gaugeblock.programs.analysis.values import reachable, selector_widths
from gaugeblock.programs.domain import all_sequences
from gaugeblock.programs.language.expression import Tokens

tokens = Tokens()
before = (key(tokens) < query(tokens)) | ((key(tokens) == query(tokens)) & (key(indices) < query(indices)))


def program(output: Any, vocab: Any = range(3), max_len: int = 4) -> Program:
    return Program("test", lambda t, i: output, tuple(vocab), max_len)


@pytest.mark.parametrize("enumerate_up_to", [1000, 10])
def test_widths_and_values_against_every_input(enumerate_up_to: int) -> None:
    rank = before.count()
    rank.name, before.name = "rank", "before"
    p = program((key(rank) == query(indices)).get(where(tokens == 0, None, tokens)))
    inputs = list(all_sequences(p.vocab, p.max_len))
    width, exactly_one = selector_widths(p, enumerate_up_to)
    assert (width.smallest, width.largest, width.selector.name) == (0, 3, "before")
    assert (exactly_one.smallest, exactly_one.largest) == (1, 1)
    reached = reachable(p, enumerate_up_to)
    assert {each.exact for each in (width, exactly_one, *reached)} == {enumerate_up_to == 1000}
    by_name = {each.node.name: each for each in reached}
    assert by_name["tokens"].values == (0, 1, 2)
    assert by_name["tokens"].by_position is None
    assert by_name["indices"].by_position == ((0,), (1,), (2,), (3,))
    assert by_name["rank"].values == (0, 1, 2, 3)
    outputs = [{row[i] for row in p.batch(inputs) if i < len(row)} for i in range(4)]
    assert reached[-1].by_position is None
    assert all(set(reached[-1].values) == values for values in outputs)
    assert reached[-1].values == (1, 2, None)


def test_values_by_position_and_type() -> None:
    output = reachable(program(where(indices == 0, True, indices)))[-1]
    assert [(type(v), v) for v in output.values] == [(bool, True), (int, 1), (int, 2), (int, 3)]
    assert output.by_position == ((True,), (1,), (2,), (3,))
