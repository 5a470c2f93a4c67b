"""Fragments that fit no program, no direction or no place are refused."""

from typing import Any

import pytest
import torch

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.swapping.components import SwapError
from gaugeblock.compiled.swapping.fragments.directions import fitted_read, fitted_write, reads_of, writes_of
from gaugeblock.compiled.swapping.fragments.fragment import compile_fragment
from gaugeblock.compiled.swapping.fragments.ports import Categorical, Line, Number, Vectors
from gaugeblock.compiled.swapping.swap import swap
from gaugeblock.programs.errors import CompileError, ProgramError, UnknownName
from gaugeblock.programs.language.functions import where
from gaugeblock.programs.registry import get
from support.fragments import TOKENS, everything_counted, ranked
from support.tasks import random_model

EYE = torch.eye(12)
GROUP = {"group": Categorical("abc", EYE[:3])}


def same(group):
    return group


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Categorical("abc", EYE[:2]), SwapError, r"shape \[2, 12\]; it must be \[3, d_model\]"),
        (lambda: Categorical("abc", EYE[:3], EYE[0]), SwapError, r"the bias .* \[12\]; it must be \[3\]"),
        (lambda: Categorical("aba", EYE[:3]), SwapError, "needs distinct values, at least one; given were 'a', 'b'"),
        (lambda: Number((1, 2), EYE), SwapError, r"the direction .* \[12, 12\]; it must be \[d_model\]"),
        (lambda: Number((1, "x"), EYE[0]), SwapError, "values that are numbers, not 1, 'x'"),
        (lambda: Number((1, 2), EYE[0], scale=0.0), SwapError, "with scale 0.0"),
        (lambda: Number((1, 2), EYE[0], per=EYE[0, :5]), SwapError, r"\[5\]; it must be \[12\]"),
        (lambda: Vectors((1, 2), EYE[:2] / 0), SwapError, "not finite"),
        (lambda: compile_fragment(same, GROUP, Line(EYE[0])), SwapError, "'output' can be 'a', 'b', 'c'; give Vectors"),
        (lambda: compile_fragment(same, GROUP, Vectors("ab", EYE[:2])), SwapError, "can be 'c', .* given for 'a', 'b'"),
        (lambda: compile_fragment(same, GROUP, Vectors("abc", EYE[:3, :9])), SwapError, "{'group': 12}, writes .* 9}"),
        (lambda: compile_fragment(same, GROUP | {"grup": GROUP["group"]}, Line(EYE[0])), UnknownName, "mean group?"),
        (lambda: compile_fragment(same, {}, Line(EYE[0])), SwapError, "reads 'group', and it is not said how; reads"),
        (lambda: compile_fragment(everything_counted, GROUP, Line(EYE[0])), SwapError, "as max_len=..."),
        (
            lambda: compile_fragment(ranked, GROUP | {"level": Number((0, 1), EYE[3])}, Line(EYE[0]), max_len=3),
            SwapError,
            "the program has 2 outputs; writes have to name each: 'total', 'name'",
        ),
        (
            lambda: compile_fragment(
                ranked, GROUP | {"level": Number((0, 1), EYE[3])}, {"total": Line(EYE[0])}, max_len=3
            ),
            SwapError,
            "not said how 'name' of the outputs 'total', 'name'",
        ),
        (
            lambda: compile_fragment(lambda group: (group, group), GROUP, Line(EYE[0])),
            SwapError,
            "writes have to name each: 'output 0', 'output 1'",
        ),
        (
            lambda: compile_fragment(
                ranked, GROUP | {"level": Number((0, 1), EYE[3])}, {"totl": Line(EYE[0]), "name": Line(EYE[0])},
                max_len=3,
            ),
            UnknownName,
            "did you mean total",
        ),
        (
            lambda: compile_fragment(lambda group: group.map({"a": 1, "b": 2}.__getitem__), GROUP, Line(EYE[0])),
            SwapError,
            r"does not know what 'output' is where .* is 'c'",
        ),
        (lambda: compile_fragment(lambda group: where(group == "d", 1, 0), GROUP, Line(EYE[0])), ProgramError, "'d'"),
        (lambda: compile_fragment(get("sort"), {"tokns": GROUP["group"]}, Line(EYE[0])), UnknownName, "mean tokens"),
        (
            lambda: compile_fragment(get("sort"), {"tokens": Categorical((3, 11), EYE[:2])}, Line(EYE[0])),
            SwapError,
            "'sort' does not know the tokens 11; its vocabulary is 0, 1",
        ),
        (lambda: compile_fragment(get("sort"), {}, Line(EYE[0])), SwapError, "uses 'tokens', and reads give only noth"),
        (lambda: compile_fragment(get("reachable_in_k"), GROUP, Line(EYE[0])), SwapError, "over graphs"),
        (lambda: compile_fragment(same, GROUP, Line(EYE[0]), dtype=torch.float16), CompileError, "not supported"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(make: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_what_does_not_fit_a_place_is_refused() -> None:
    model = compile(get("sort"))
    reads, writes = reads_of(model, "sum", "sum_2"), writes_of(model, "rank_onehot")
    add = compile_fragment(lambda sum, sum_2: sum + sum_2, reads, writes)
    for site, message in {
        "a0.h0": r"'sum' is not there at a0.h0: a0.h0 writes it; there are present, bos, tokens, indices",
        "a0.h0.pattern": "a fragment cannot stand at a0.h0.pattern",
        "m0.n0-3": "only at a head, an OV map, an MLP or a block",
    }.items():
        with pytest.raises(SwapError, match=message):
            swap(model, {site: add})
    with pytest.raises(SwapError, match=r"directions of the shape \[\d\d+\]; at m0 it is \[12\]"):
        swap(random_model({}, torch.float64), {"m0": add})
    for wrong in (reads_of, writes_of):
        with pytest.raises(UnknownName, match="did you mean tokens"):
            wrong(model, "token")
    place = compile_fragment(lambda indices: indices, {}, Line(EYE[0]), max_len=3)
    with pytest.raises(SwapError, match=r"at m0: .* inputs of up to 3 tokens, and there are 6"):
        swap(random_model({}, torch.float64), {"m0": place})(TOKENS)
    with pytest.raises(SwapError, match="run from a later layer"):
        swap(model, {"m0": add})(torch.zeros(1, 4, model.hooked.cfg.d_model), start_at_layer=0)
    hooked = random_model({}, torch.float64)
    with pytest.raises(SwapError, match=r"the values have the shape \[5, 6\]; it must be \[5, 7\]"):
        fitted_read(hooked, "m0", TOKENS, [[1] * 6] * 5)
    with pytest.raises(SwapError, match="None everywhere"):
        fitted_write(hooked, "m0", TOKENS, [[None] * 7] * 5)
    with pytest.raises(SwapError, match="give a head, an MLP or a block"):
        fitted_write(hooked, "embed", TOKENS, [[1] * 7] * 5)
