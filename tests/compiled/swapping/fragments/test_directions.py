"""Directions fitted to data: they read and write as the model does."""

from typing import Any

import numpy as np
import torch

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.swapping.fragments.directions import fitted_read, fitted_write
from gaugeblock.compiled.swapping.fragments.fragment import compile_fragment
from gaugeblock.compiled.swapping.fragments.ports import Categorical, Line, Vectors
from gaugeblock.compiled.swapping.swap import swap
from gaugeblock.programs.registry import get
from support.fragments import TOKENS
from support.tasks import RANDOM, random_model


def test_directions_fitted_to_data_read_and_write_as_the_model_does() -> None:
    model = compile(get("sort"), dtype=torch.float64)
    inputs = model.program.sample(np.random.default_rng(1), 120)
    tokens = model.encode(inputs)

    def labels(f: Any) -> list[list[Any]]:
        return [[None, *f(xs)] + [None] * (tokens.shape[1] - 1 - len(xs)) for xs in inputs]

    below = labels(lambda xs: [sum(y < x for y in xs) for x in xs])
    alike = labels(lambda xs: [xs[:i].count(x) for i, x in enumerate(xs)])
    places = labels(lambda xs: [sum(y < x for y in xs) + xs[:i].count(x) for i, x in enumerate(xs)])
    reads = {name: fitted_read(model.hooked, "m0", tokens, meant, number=True)
             for name, meant in {"below": below, "alike": alike}.items()}  # fmt: skip
    assert [read.fit for read in reads.values()] == [1.0, 1.0]
    values = {name: list(read.values) for name, read in reads.items()}
    sums = range(max(values["below"]) + max(values["alike"]) + 1)
    fitted = fitted_write(model.hooked, "m0", tokens, places)
    assert isinstance(fitted, Vectors)
    room = torch.zeros(len(sums) - len(fitted.values), fitted.width)
    write = Vectors(sums, torch.cat([fitted.vectors, room]), fitted.absent)  # sums that never are write nothing
    fragment = compile_fragment(lambda below, alike: below + alike, reads, write, absent=[model.pad])
    swapped = swap(model.hooked, {"m0": fragment})
    assert torch.allclose(swapped(tokens), model.hooked(tokens), atol=1e-9)
    category = fitted_read(model.hooked, "a1.h0", tokens, places)
    assert isinstance(category, Categorical)
    assert (category.fit, tuple(category.values)) == (1.0, tuple(range(len(category.values))))
    scores = model.hooked.run_with_cache(tokens)[1]["blocks.1.hook_resid_pre"] @ category.directions.mT + category.bias
    for row, meant in zip(scores.argmax(-1).tolist(), places, strict=True):
        assert all(read == place for read, place in zip(row, meant, strict=True) if place is not None)


def test_fitted_writes_are_means_and_least_squares() -> None:
    model = random_model(RANDOM["layer norm"], torch.float64)
    out = model.run_with_cache(TOKENS)[1]["blocks.1.hook_mlp_out"]
    values = [[None, *(token % 3 for token in row[1:])] for row in TOKENS.tolist()]
    means, line = (fitted_write(model, "m1", TOKENS, values, number=number) for number in (False, True))
    assert isinstance(means, Vectors)
    assert isinstance(line, Line)
    for value, vector in zip(means.values, means.vectors, strict=True):
        rows = [out[b, p] for b in range(5) for p in range(1, 7) if values[b][p] == value]
        assert torch.allclose(vector, torch.stack(rows).mean(0))
    assert torch.allclose(means.absent, out[:, 0].mean(0))
    x = torch.tensor([[float(v), 1.0] for row in values for v in row[1:]], dtype=torch.float64)
    solution = torch.linalg.lstsq(x, out[:, 1:].flatten(0, 1)).solution
    assert torch.allclose(torch.stack([line.direction, line.base]), solution)
    alone = fitted_read(model, "m1", TOKENS, [["x"] * 7] * 5)
    assert alone.fit == 1.0
