"""Directions that a fragment reads and writes: from the layout of a compiled model, or fitted to data on any model."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaugeblock.compiled.lowered.operations import Attention
from gaugeblock.compiled.lowered.tables import ordered
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.swapping.binding import measured
from gaugeblock.compiled.swapping.components import Site, SwapError
from gaugeblock.compiled.swapping.fragments.ports import Categorical, Line, Number, Reading, Vectors, Writing
from gaugeblock.compiled.swapping.modules import PRESENT_FROM
from gaugeblock.programs.errors import UnknownName
from gaugeblock.programs.language.operations import plain, value_key

if TYPE_CHECKING:
    from gaugeblock.compiled.stages.hooked import HookedTransformer

Stream = Float[np.ndarray, "batch pos d"]

Labels = Sequence[Sequence[Any]]
"""A value for each position of each input, BOS and padding included; None where there is none."""


# --- compiled models -------------------------------------------------------------------------------------------------


def reads_of(model: CompiledModel, *names: str) -> dict[str, Reading]:
    """Return how variables of a compiled model are read from its stream. Raises UnknownName for any other."""
    return {name: _read_of(model, name) for name in names}


def writes_of(model: CompiledModel, *names: str) -> dict[str, Writing]:
    """Return how a compiled model writes these variables to its stream, at BOS and PAD too.

    A sum that stands as sum / (1 + count) gets the smallest count of keys with which it can be. Raises UnknownName, and
    SwapError for two sums that share their count.
    """
    for name in names:
        _check_name(model, name)
    counts = [model.subspaces[name].directions[1] for name in names if _encoding(model, name) == "ratio"]
    if any((one == other).all() for i, one in enumerate(counts) for other in counts[:i]):
        raise SwapError(f"{', '.join(names)} are sums over the same keys, written with one count: write one of them")
    return {name: _write_of(model, name) for name in names}


def _read_of(model: CompiledModel, name: str) -> Reading:
    _check_name(model, name)
    variable, place = model.lowered.variables[name], model.subspaces[name]
    directions = torch.from_numpy(place.directions)
    if variable.encoding == "onehot":
        return Categorical(variable.values, directions, above=PRESENT_FROM, written=place.written)
    per = directions[1] if variable.encoding == "ratio" else None
    return Number(variable.values, directions[0], per=per, written=place.written)


def _write_of(model: CompiledModel, name: str) -> Writing:
    variable, directions = model.lowered.variables[name], torch.from_numpy(model.subspaces[name].directions)
    empty = variable.empty
    if variable.encoding == "scalar":
        return Line(directions[0], absent=None if empty is None else float(variable.values[empty]) * directions[0])
    vectors = directions
    if variable.encoding == "ratio":
        heads = [op for op in model.lowered.operations if isinstance(op, Attention)]
        largest = max(abs(float(a)) for op in heads for read in op.reads if read.out == name for a in read.mapping)
        numbers = [float(value) for value in variable.values]
        counts = [math.ceil(abs(number) / (largest or 1)) for number in numbers]
        shares = torch.tensor([(n / (1 + c), 1 / (1 + c)) for n, c in zip(numbers, counts, strict=True)])
        vectors = shares.double() @ directions
    return Vectors(variable.values, vectors, absent=None if empty is None else vectors[empty])


def _encoding(model: CompiledModel, name: str) -> str:
    return model.lowered.variables[name].encoding


def _check_name(model: CompiledModel, name: str) -> None:
    if name not in model.subspaces:
        raise UnknownName("variable of the program", name, model.subspaces)


# --- fitted to data --------------------------------------------------------------------------------------------------


def fitted_read(
    model: "HookedTransformer",
    site: str,
    tokens: Int[Tensor, "batch pos"],
    values: Labels,
    *,
    number: bool = False,
    penalty: float = 1.0,
) -> Reading:
    """A linear probe for a variable, on the stream in front of a part of a model.

    Args:
        site: the part for which the variable is read, such as `m1`.
        values: of the variable on these inputs.
        number: fit one direction along which the variable is linear (least squares), instead of one for each value
            (logistic regression).
        penalty: of the squared weights of the logistic regression, in a stream scaled to a mean square of 1.

    Returns:
        The probe; its `fit` is the share of these data that it reads right, which says little about others where they
        are few.
    """
    from sklearn.linear_model import LinearRegression, LogisticRegression

    x, _, known, labels = _data(model, site, tokens, values)
    x, distinct = x[known], ordered(labels)
    if number:
        line = LinearRegression().fit(x, [float(label) for label in labels])
        read: Reading = Number(distinct, torch.from_numpy(line.coef_), offset=float(line.intercept_))
        numbers = np.array([float(value) for value in distinct])
        codes = np.abs(line.predict(x)[:, None] - numbers).argmin(1)
    else:
        scale = float(np.sqrt((x**2).mean())) or 1.0
        directions, bias = np.zeros((len(distinct), x.shape[1])), np.zeros(len(distinct))
        if len(distinct) > 1:
            fit = LogisticRegression(C=1 / penalty, max_iter=10_000).fit(x / scale, _codes(distinct, labels))
            directions[-len(fit.coef_) :], bias[-len(fit.coef_) :] = fit.coef_ / scale, fit.intercept_
        read = Categorical(distinct, torch.from_numpy(directions), torch.from_numpy(bias))
        codes = (x @ directions.T + bias).argmax(1)
    return replace(read, fit=float((codes == _codes(distinct, labels)).mean()))


def fitted_write(
    model: "HookedTransformer",
    site: str,
    tokens: Int[Tensor, "batch pos"],
    values: Labels,
    *,
    number: bool = False,
) -> Writing:
    """Fit what a part of a model adds to the stream: the mean at each value of a variable or, for a number, the line
    that fits best (least squares). Where there is no value, it is the mean of what the part adds there."""
    from sklearn.linear_model import LinearRegression

    _, added, known, labels = _data(model, site, tokens, values)
    here, elsewhere = added[known], added[~known]
    absent = torch.from_numpy(elsewhere.mean(0)) if len(elsewhere) else None
    if number:
        line = LinearRegression().fit([[float(label)] for label in labels], here)
        return Line(torch.from_numpy(line.coef_[:, 0].copy()), torch.from_numpy(line.intercept_), absent)
    distinct = ordered(labels)
    codes = _codes(distinct, labels)
    means = np.stack([here[codes == code].mean(0) for code in range(len(distinct))])
    return Vectors(distinct, torch.from_numpy(means), absent)


def _codes(values: tuple[Any, ...], labels: list[Any]) -> Int[np.ndarray, " label"]:
    code = {value_key(value): i for i, value in enumerate(values)}
    return np.array([code[value_key(label)] for label in labels])


def _data(
    model: "HookedTransformer", name: str, tokens: Int[Tensor, "batch pos"], values: Labels
) -> tuple[
    Float[np.ndarray, "batch pos d"], Float[np.ndarray, "batch pos d"], Bool[np.ndarray, "batch pos"], list[Any]
]:
    """Return (what the part reads, what it adds, where there is a value, the values there)."""
    site = Site.of(name, model)
    if site.kind not in ("head", "mlp", "block"):
        raise SwapError(f"what {name} reads and adds is not a fragment's; give a head, an MLP or a block")
    if [len(row) for row in values] != [tokens.shape[1]] * len(tokens):
        shape = [len(values), *sorted({len(row) for row in values})]
        raise SwapError(f"the values have the shape {shape}; it must be {list(tokens.shape)}, as that of the tokens")
    known = np.array([[value is not None for value in row] for row in values])
    labels = [plain(value) for row in values for value in row if value is not None]
    if not labels:
        raise SwapError("the values are None everywhere: there is nothing to fit")
    x, added, _ = (t.double().cpu().numpy() for t in measured(site, model, tokens, None))
    return x, added, known, labels
