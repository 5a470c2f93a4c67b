"""What a writer is replaced by when one of its edges is ablated.

`ABLATIONS` maps a name to a function of (clean run, corrupted run, rows). A new ablation is one more entry, and one in
the manifest of a submission; what is proved inert under it (`compiled.edges.inert`) and how the checker, which shares
no code with us, makes it (`gaugeblock.checker`) is said there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaugeblock.methods.engine.activations import Activations
from gaugeblock.programs.errors import InputError, UnknownName


@dataclass(frozen=True, eq=False)
class Rows:
    """Which rows of each run hold a token of the input, and the seed of every draw.

    pad_replaced: whether `resample` also replaces tokens by PAD and PAD by tokens; else such rows stay clean.
    """

    clean: Bool[Tensor, "pair pos"]
    corrupted: Bool[Tensor, "pair pos"]
    seed: int = 0
    pad_replaced: bool = True


Values = Float[Tensor, "writer pair pos d_model"]
"""What every writer is replaced by, in graph order. The row of `bias`, a constant that nothing replaces, is zero."""

Ablation = Callable[[Activations, Activations, Rows], Values]


def resample(clean: Activations, corrupted: Activations, rows: Rows) -> Values:
    """The corrupted run's value at the same position; the clean one where `rows` says so."""
    if rows.pad_replaced or torch.equal(rows.clean, rows.corrupted):
        return corrupted.writers
    return torch.where((rows.clean == rows.corrupted)[:, :, None], corrupted.writers, clean.writers)


def donor(clean: Activations, corrupted: Activations, rows: Rows) -> Values:
    """The value at a random real position of a random corrupted input; BOS and PAD rows keep the clean value.

    One draw of sources serves all writers, so that a row's content stays what one run held at one place.
    """
    pair, pos = donor_sources(rows)
    return torch.where(rows.clean[:, :, None], corrupted.writers[:, pair, pos], clean.writers)


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


def mean(clean: Activations, corrupted: Activations, rows: Rows) -> Values:
    """The mean at the same position over the corrupted inputs that have a token there.

    BOS and PAD rows keep the clean value, and so do positions at which no corrupted input has a token.
    """
    share = rows.corrupted.to(corrupted.writers)
    means = torch.einsum("wpsd,ps->wsd", corrupted.writers, share) / share.sum(0).clamp(min=1)[:, None]
    replaced = rows.clean & rows.corrupted.any(0)
    return torch.where(replaced[:, :, None], means[:, None], clean.writers)


def zero(clean: Activations, corrupted: Activations, rows: Rows) -> Values:
    """The zero vector, at every row; an MLP's output bias goes with it."""
    return torch.zeros_like(clean.writers)


ABLATIONS: dict[str, Ablation] = {"resample": resample, "donor": donor, "mean": mean, "zero": zero}


def check_ablation(name: str) -> None:
    """Raise UnknownName, with the nearest names, where there is no such ablation.

    >>> check_ablation("mean")
    """
    if name not in ABLATIONS:
        raise UnknownName("ablation", name, ABLATIONS)


def ablate(name: str, clean: Activations, corrupted: Activations, rows: Rows) -> Values:
    """What every writer is replaced by under a named ablation. Raises UnknownName."""
    check_ablation(name)
    return ABLATIONS[name](clean, corrupted, rows)
