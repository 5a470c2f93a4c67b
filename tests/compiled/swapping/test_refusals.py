"""Components that do not fit are refused, before a model runs or while it does."""

from typing import Any

import numpy as np
import pytest
import torch

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.swapping.components import From, Linear, Mean, Pattern, SwapError, Values, Zero
from gaugeblock.compiled.swapping.swap import swap
from gaugeblock.programs.errors import UnknownName
from gaugeblock.programs.language.functions import causal, local
from gaugeblock.programs.registry import get
from support.tasks import random_model

TOKENS = torch.tensor(np.random.default_rng(0).integers(0, 9, size=(5, 7)))


@pytest.mark.parametrize(
    ("replaced", "error", "message"),
    [
        ({"a0.h7": Zero()}, UnknownName, r"no part of this model is named 'a0.h7'; did you mean a0.h\d"),
        ({"m0.n9-12": Zero()}, UnknownName, r"m0.n0-9"),
        ({"m0.n5-2": Zero()}, UnknownName, r"no part of this model is named 'm0.n5-2'"),
        ({"m0": Mean(TOKENS * 0 + 3, pad=3)}, SwapError, "there is no mean to stand at m0"),
        ({"m0": Linear(TOKENS, alpha=-1.0)}, SwapError, "alpha -1 is not possible"),
        ({"m0": Zero(), "b0": Zero()}, SwapError, "b0 and m0 overlap"),
        ({"m0.n1-3": Zero(), "m0.n3": Zero()}, SwapError, "m0.n3 and m0.n1-3 overlap"),
        ({"m0": local(2)}, SwapError, "an attention pattern cannot stand at m0"),
        ({"a0.h0.pattern": Pattern(causal, ov=torch.eye(12))}, SwapError, "with an OV matrix write 'a0.h0'"),
        ({"a0.h0": Pattern(causal, ov=torch.eye(5))}, SwapError, r"has the shape \[5, 5\]; it must be \[12, 12\]"),
        ({"a0.h0": 3}, SwapError, "3 cannot stand at a0.h0: give a function"),
        ({"embed": Linear(TOKENS)}, SwapError, "no linear map can stand at embed"),
        ({"a0.h0": Values(len)}, SwapError, "only at a head or MLP of a CompiledModel"),
        ({"m0": From(random_model({}, torch.float64), "a0.h0")}, SwapError, "is a head that reads 12 .* here is a mlp"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(replaced: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        swap(random_model({}, torch.float64), replaced)


@pytest.mark.parametrize(
    ("site", "component", "message"),
    [
        ("a0.h0", lambda x: x[..., :3], r"a0.h0 returned the shape \[5, 7, 3\]; it must be \[5, 7, 12\]"),
        ("m1.n2,4", lambda x: x, r"m1.n2,4 returned the shape \[5, 7, 12\]; it must be \[5, 7, 2\]"),
        ("a0.h1.pattern", lambda x: x, r"must be \[5, 7, 7\]"),
        ("m0", lambda x: x / 0 * 0, "what stands in for m0 returned NaN"),
        ("b1", lambda x: None, "b1 returned NoneType, not a tensor"),
        ("pos", Mean(TOKENS[:, :4]), "at pos: it is known at 4 positions, and the input has 7"),
    ],
)
def test_what_misbehaves_at_run_time_is_named(site: str, component: Any, message: str) -> None:
    swapped = swap(random_model({}, torch.float64), {site: component})
    with pytest.raises(SwapError, match=message):
        swapped(TOKENS)


def test_functions_of_variables_that_do_not_fit() -> None:
    model: CompiledModel = compile(get("sort"))
    tokens = model.encode([[2, 1, 1]])
    for replaced, error, message in [
        ({"a0.h0": lambda rank_onehot: []}, SwapError, "'rank_onehot' is not there at a0.h0: m0 writes it"),
        ({"a0.h0": Values(len, reads=("token",))}, UnknownName, "did you mean tokens"),
    ]:
        with pytest.raises(error, match=message):
            swap(model, replaced)
    for replaced, message in [
        ({"m0": lambda tokens: float("nan")}, "the function returned nan for 'rank_onehot'; it must be finite"),
        ({"m0": lambda tokens: 99}, "at m0: the function returned 99; 'rank_onehot' can be 0, 1"),
        ({"a0.h0": lambda tokens: [1]}, r"returned 1 values for '\w+'; it must be a list of 3"),
        ({"a0.h0": lambda tokens: ["x"] * 3}, r"returned 'x'; '\w+' is a number"),
    ]:
        with pytest.raises(SwapError, match=message):
            swap(model, replaced)(tokens)
    with pytest.raises(SwapError, match="run from a later layer"):
        swap(model, {"a1.h0": local(2)})(torch.zeros(1, 4, model.hooked.cfg.d_model), start_at_layer=0)
    with pytest.raises(ZeroDivisionError) as caught:
        swap(model, {"m0": lambda tokens: 1 / 0})(tokens)
    assert "stands in for m0" in caught.value.__notes__[0]
