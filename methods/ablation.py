"""What a writer is replaced by when one of its edges is ablated.

`ABLATIONS` maps a name to a function of (clean run, corrupted run, rows); a new ablation is one more entry.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaugeblock.methods.activations import Activations
from gaugeblock.programs.errors import InputError, UnknownName


@dataclass(frozen=True, eq=False)
class Rows:
    """Which rows of each run hold a token of the input, and the seed of every draw."""

    clean: Bool[Tensor, "pair pos"]
    corrupted: Bool[Tensor, "pair pos"]
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Ablated:
    """The value every writer is replaced by, in graph order.

    The row of `bias` is zero, as in `Activations`. `keeps_bias` says that the bias is replaced by itself, as it
    is wherever the replacement is taken from other runs; otherwise it is replaced by zero.
    """

    values: Float[Tensor, "writer pair pos d_model"]
    keeps_bias: bool = True


Ablation = Callable[[Activations, Activations, Rows], Ablated]


def resample(clean: Activations, corrupted: Activations, rows: Rows) -> Ablated:
    """The corrupted run's value at the same position."""
    return Ablated(corrupted.writers)


def donor(clean: Activations, corrupted: Activations, rows: Rows) -> Ablated:
    """The value at a random real position of a random corrupted input; BOS and PAD rows keep the clean value.

    One draw of sources serves all writers, so that a row's content stays what one run held at one place.
    """
    pair, pos = donor_sources(rows)
    return Ablated(torch.where(rows.clean[:, :, None], corrupted.writers[:, pair, pos], clean.writers))


def donor_sources(rows: Rows) -> tuple[Int[Tensor, "pair pos"], Int[Tensor, "pair pos"]]:
    """For each (pair, position), the corrupted pair and position that give its value under `donor`.

    Drawn uniformly from all real rows of the corrupted inputs. Raises InputError where there is none.
    """
    places = rows.corrupted.nonzero()
    if not len(places):
        raise InputError("donor ablation needs at least one real position in the corrupted inputs, found none")
    drawn = np.random.default_rng(rows.seed).integers(len(places), size=tuple(rows.clean.shape))
    pair, pos = places[torch.as_tensor(drawn, device=places.device)].unbind(-1)
    return pair, pos


ABLATIONS: dict[str, Ablation] = {"resample": resample, "donor": donor}


def ablate(name: str, clean: Activations, corrupted: Activations, rows: Rows) -> Ablated:
    """What every writer is replaced by under a named ablation. Raises UnknownName."""
    if name not in ABLATIONS:
        raise UnknownName("ablation", name, ABLATIONS)
    return ABLATIONS[name](clean, corrupted, rows)
