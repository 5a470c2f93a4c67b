"""Random gates with values in [0, 1] whose distribution can be learned by gradient descent.

A gate has one parameter theta, the larger the more open. `sample` turns uniform noise into its value, differentiable
in theta; `open` is the probability that it is not shut.
"""

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gaugeblock.programs.errors import MethodError


@runtime_checkable
class Gate(Protocol):
    """A family of gates."""

    def sample(self, theta: Float[Tensor, " gate"], noise: Float[Tensor, "mask gate"]) -> Float[Tensor, "mask gate"]:
        """Values from noise that is uniform on (0, 1)."""
        ...

    def open(self, theta: Float[Tensor, " gate"]) -> Float[Tensor, " gate"]:
        """How open each gate is, in [0, 1]: what the size of a circuit counts, and its score."""
        ...


@final
@dataclass(frozen=True)
class HardConcrete:
    """A binary concrete variable, stretched to (gamma, zeta) and cut to [0, 1] (Louizos et al. 2018).

    value = clamp(gamma + (zeta - gamma) · sigmoid((logit(u) + theta) / beta), 0, 1) with u uniform. `open` is
    P(value > 0) = sigmoid(theta - beta · log(-gamma / zeta)), so that its sum is the expected L0 norm.

    Raises MethodError unless beta > 0 and gamma < 0 and zeta > 1.
    """

    beta: float = 2 / 3
    gamma: float = -0.1
    zeta: float = 1.1

    def __post_init__(self) -> None:
        if not (self.beta > 0 and self.gamma < 0 and self.zeta > 1):
            got = f"beta {self.beta}, gamma {self.gamma}, zeta {self.zeta}"
            raise MethodError(f"a hard-concrete gate needs beta > 0, gamma < 0 and zeta > 1, got {got}")

    def sample(self, theta: Float[Tensor, " gate"], noise: Float[Tensor, "mask gate"]) -> Float[Tensor, "mask gate"]:
        concrete = ((torch.logit(noise) + theta) / self.beta).sigmoid()
        return (self.gamma + (self.zeta - self.gamma) * concrete).clamp(0, 1)

    def open(self, theta: Float[Tensor, " gate"]) -> Float[Tensor, " gate"]:
        return (theta - self.beta * math.log(-self.gamma / self.zeta)).sigmoid()


@final
@dataclass(frozen=True)
class UniformWindow:
    """A Bernoulli variable that is uniform on [0, 1] with some probability (Li & Janson 2024).

    With p = sigmoid(theta) and w = window · p · (1 - p): 1 with probability p - w/2, uniform with probability w,
    else 0. Its mean is p, which is what `open` gives. The value runs from 1 to 0 as u crosses the window of width w
    around p, so its derivative samples the gradient of the mean at uniform points and is zero elsewhere.

    Raises MethodError unless 0 < window ≤ 2: beyond that a probability is negative.
    """

    window: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.window <= 2:
            raise MethodError(f"the window of uniform gradient sampling is above 0 and at most 2, got {self.window}")

    def sample(self, theta: Float[Tensor, " gate"], noise: Float[Tensor, "mask gate"]) -> Float[Tensor, "mask gate"]:
        # p - u over p(1 - p), written so that neither underflows to 0/0 where the sigmoid is saturated
        p, q = theta.sigmoid(), (-theta).sigmoid()
        room = (p * q).clamp(min=torch.finfo(theta.dtype).tiny)
        return (0.5 + (p - noise) / (self.window * room)).clamp(0, 1)

    def open(self, theta: Float[Tensor, " gate"]) -> Float[Tensor, " gate"]:
        return theta.sigmoid()
