"""Ports of a compiled fragment: readings of variables from a residual stream, and writings of its outputs to it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from gaugeblock.compiled.lowered.tables import is_number, ordered
from gaugeblock.compiled.swapping.components import SwapError
from gaugeblock.programs.language.operations import plain, surface


@final
@dataclass(frozen=True, eq=False)
class Categorical:
    """A reading of a variable that has a direction for each value: its value is the one with the highest score
    x @ directions[i] + bias[i]. Gradients pass as if the scores were the one-hot value.

    Attributes:
        directions: [value, d_model].
        bias: [value]; zeros by default.
        above: where no score is higher than this there is no value (None); without it, there always is one.
        written: of a compiled model, the node that writes the variable.
        fit: of a fitted read, the share of the data that it reads right.
    """

    values: Sequence[Any]
    directions: Tensor
    bias: Tensor | None = None
    above: float | None = None
    written: str | None = None
    fit: float | None = None

    def __post_init__(self) -> None:
        _check_values(self, self.values)
        _check_shape("the directions", self.directions, (len(self.values), None), "one direction for each value")
        if self.bias is not None:
            _check_shape("the bias", self.bias, (len(self.values),), "one number for each value")

    @property
    def width(self) -> int:
        """d_model."""
        return self.directions.shape[1]


@final
@dataclass(frozen=True, eq=False)
class Number:
    """A reading of a number: scale * (x @ direction) + offset, rounded to the nearest of `values`; without gradients.

    Attributes:
        direction: [d_model].
        per: [d_model], a direction of which the number is a multiple: x @ direction is divided by x @ per. The sums of
            compiled models are written as sum / (1 + count) and 1 / (1 + count).
        written, fit: as of `Categorical`.
    """

    values: Sequence[Any]
    direction: Tensor
    scale: float = 1.0
    offset: float = 0.0
    per: Tensor | None = None
    written: str | None = None
    fit: float | None = None

    def __post_init__(self) -> None:
        _check_values(self, self.values)
        if not all(map(is_number, self.values)):
            raise SwapError(f"a Number has values that are numbers, not {values_text(self.values)}")
        if not (math.isfinite(self.scale) and self.scale and math.isfinite(self.offset)):
            raise SwapError(f"no number can be read with scale {self.scale} and offset {self.offset}")
        _check_shape("the direction", self.direction, (None,), "d_model numbers")
        if self.per is not None:
            _check_shape("`per`", self.per, (self.width,), "d_model numbers")

    @property
    def width(self) -> int:
        """d_model."""
        return self.direction.shape[0]


@final
@dataclass(frozen=True, eq=False)
class Vectors:
    """A writing of a vector for each value of an output, and of zeros where it is undefined.

    Attributes:
        vectors: [value, d_model].
        absent: [d_model], written at BOS and PAD; nothing by default.
    """

    values: Sequence[Any]
    vectors: Tensor
    absent: Tensor | None = None

    def __post_init__(self) -> None:
        _check_values(self, self.values)
        _check_shape("the vectors", self.vectors, (len(self.values), None), "one vector for each value")
        if self.absent is not None:
            _check_shape("`absent`", self.absent, (self.width,), "d_model numbers")

    @property
    def width(self) -> int:
        """d_model."""
        return self.vectors.shape[1]


@final
@dataclass(frozen=True, eq=False)
class Line:
    """A writing of a number: number * direction + base.

    Attributes:
        direction, base: [d_model]; the base is zeros by default.
        absent: [d_model], written at BOS and PAD; nothing by default.
    """

    direction: Tensor
    base: Tensor | None = None
    absent: Tensor | None = None

    def __post_init__(self) -> None:
        _check_shape("the direction", self.direction, (None,), "d_model numbers")
        for what, tensor in (("the base", self.base), ("`absent`", self.absent)):
            if tensor is not None:
                _check_shape(what, tensor, (self.width,), "d_model numbers")

    @property
    def width(self) -> int:
        """d_model."""
        return self.direction.shape[0]


Reading = Categorical | Number
Writing = Vectors | Line


def _check_values(what: Any, values: Sequence[Any]) -> None:
    plain_values = [plain(value) for value in values]
    if not plain_values or len(ordered(plain_values)) < len(plain_values):
        raise SwapError(f"{type(what).__name__} needs distinct values, at least one; given were {values_text(values)}")


def _check_shape(what: str, tensor: Tensor, shape: tuple[int | None, ...], meaning: str) -> None:
    fits = tensor.ndim == len(shape) and all(
        n is None or n == size for n, size in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("d_model" if n is None else str(n) for n in shape)
        raise SwapError(f"{what} have the shape {list(tensor.shape)}; it must be [{wanted}]: {meaning}")
    if not bool(tensor.isfinite().all()):
        raise SwapError(f"{what} have numbers that are not finite")


def values_text(values: Iterable[Any], limit: int = 12) -> str:
    listed = [repr(surface(value)) for value in values]
    return ", ".join(listed[:limit]) + (f", … ({len(listed)} values)" if len(listed) > limit else "")
