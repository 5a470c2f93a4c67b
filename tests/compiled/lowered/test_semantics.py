"""The lowered program, run on codes, is the program."""

from typing import Any

import numpy as np
import pytest

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.lowered.operations import Attention, Table
from gaugeblock.compiled.lowered.semantics import NOTHING, UNKNOWN, pattern, run
from gaugeblock.programs.language.functions import key, query
from gaugeblock.programs.program import program
from gaugeblock.programs.registry import get
from support.various import VARIOUS


@pytest.mark.parametrize("name", VARIOUS)
def test_codes_of_the_output_are_the_interpreters_values(name: str) -> None:
    p = get(name)
    model = compile(p)
    inputs = p.sample(np.random.default_rng(3), 200)
    tokens = model.encode(inputs).numpy()
    codes = run(model.lowered, tokens)["logits"]
    for xs, row in zip(inputs, codes, strict=True):
        assert [model.lowered.output.values[c] for c in row[1 : len(xs) + 1]] == pytest.approx(p(xs))


def test_a_replaced_read_is_seen_by_that_read_only() -> None:
    model = compile(get("sort").with_size(range(4), 4))
    clean, other = (model.encode([xs]).numpy() for xs in ([3, 1, 2], [0, 0, 1]))
    plain, source = run(model.lowered, clean), run(model.lowered, other)
    (get_head,) = (op.name for op in model.lowered.operations if model.lowered.output.variable in op.outs)
    changed = run(model.lowered, clean, {(get_head, "v", "tokens"): source["tokens"]})
    assert (changed["rank_onehot"] == plain["rank_onehot"]).all()
    # ranks of [3, 1, 2] are [2, 0, 1]: position 0 shows what stands at index 1 of the other input, and so on
    assert changed["logits"][0, 1:].tolist() == [0, 1, 0]


def test_bos_and_pad_rows_hold_nothing() -> None:
    model = compile(get("dyck2"))
    tokens = model.encode([list("(a"), list("((}{(a")]).numpy()
    codes = run(model.lowered, tokens)
    for name in ("tokens", *(op.out for op in model.lowered.operations if isinstance(op, Table))):
        assert (codes[name][tokens >= model.bos] == NOTHING).all()


def test_what_a_broken_sink_says_is_not_known() -> None:
    """Without its mark BOS attends to everything, and a query that selects nothing sees what comes of that."""

    @program(vocab=range(3), max_len=4)
    def after_the_next_of_that_rank(tokens: Any, indices: Any) -> Any:
        rank = (key(tokens) < query(tokens)).count()
        best = (key(rank) == query(rank)).best(indices).get(tokens)
        return (key(indices) == query(indices + 1)).get(best, default=0)

    model = compile(after_the_next_of_that_rank)
    tokens = model.encode([[2, 0, 1]]).numpy()
    (head,) = (op.name for op in model.lowered.operations if "best" in op.outs)
    unmarked = np.full_like(tokens, NOTHING)
    codes = run(model.lowered, tokens, {(head, "k", "bos"): unmarked})["logits"]
    assert run(model.lowered, tokens)["logits"][0, 1:].tolist() == [0, 1, 0]
    assert codes[0, 1:].tolist() == [0, 1, UNKNOWN]


def test_a_pattern_is_known_where_no_key_is_left_open() -> None:
    """A key that another condition refuses is not selected, whatever an unknown code would say of it."""

    @program(vocab=range(3), max_len=4)
    def earlier_and_alike(tokens: Any, indices: Any) -> Any:
        return ((key(tokens) == query(tokens)) & (key(indices) < query(indices))).count()

    lowered = compile(earlier_and_alike).lowered
    (head,) = (op for op in lowered.operations if isinstance(op, Attention))
    codes = run(lowered, np.array([[3, 1, 1, 2, 1]]))
    real = np.array([[False, True, True, True, True]])
    weights, doubtful = pattern(head, codes, real)
    assert not doubtful.any()
    assert [np.flatnonzero(row[1:]).tolist() for row in weights[0, 1:]] == [[], [0], [], [0, 1]]
    codes["tokens"] = np.array([[NOTHING, 1, 1, UNKNOWN, 1]])
    again, doubtful = pattern(head, codes, real)
    assert doubtful[0].tolist() == [False, False, False, True, True]  # what comes before it does not see it
    assert (again[0, :3] == weights[0, :3]).all()
