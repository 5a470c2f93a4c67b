"""Variants by name. A new one is a module with its function, and a row here."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.camouflage import camouflage
from gaugeblock.compiled.variants.decoy import decoy
from gaugeblock.compiled.variants.pad import pad
from gaugeblock.compiled.variants.permute import permute
from gaugeblock.compiled.variants.rotate import rotate
from gaugeblock.compiled.variants.soft import soft
from gaugeblock.programs.errors import CompileError, UnknownName


@final
@dataclass(frozen=True)
class Variant:
    """A change of a model that hides its circuit and keeps its outputs.

    Attributes:
        function: makes of a model, and a random generator, one that computes the same.
        about: one line for lists of variants.
        failure_mode: what makes cases of it hard for methods, as results call it.
        comes_last: whether it is the last of several, as the others find directions by place.
    """

    function: Callable[[CompiledModel, np.random.Generator], CompiledModel]
    about: str
    failure_mode: str | None = None
    comes_last: bool = False

    def __call__(self, model: CompiledModel, rng: np.random.Generator) -> CompiledModel:
        return self.function(model, rng)


VARIANTS = {
    "permute": Variant(permute, "the same circuit in other places: heads, neurons, sublayers"),
    "pad": Variant(pad, "more heads, neurons and layers, which compute something for nobody graded"),
    "soft": Variant(soft, "attention and steps that are not saturated, so that gradients flow", "soft"),
    "camouflage": Variant(camouflage, "edges that look live and are proved to change no logit", "camouflage"),
    "decoy": Variant(decoy, "a second program in the same stream, for nobody graded", "decoy"),
    "rotate": Variant(rotate, "a basis in which no coordinate stands for anything", comes_last=True),
}


def apply_variants(model: CompiledModel, names: Sequence[str], seed: int) -> CompiledModel:
    """Apply variants in order, each with a generator of its own drawn from (seed, place, name).

    Raises UnknownName, and CompileError where something follows a variant that comes last.

    >>> import gaugeblock as gb
    >>> apply_variants(gb.compile(gb.programs.get("hist")), ["pad", "rotate"], seed=1)("abca")
    [2, 1, 1, 2]
    """
    for early in (name for name in names[:-1] if name in VARIANTS and VARIANTS[name].comes_last):
        better = "+".join([*(name for name in names if name != early), early])
        raise CompileError(f"the variant {early} comes last: instead of {'+'.join(names)} write {better}")
    for place, name in enumerate(names):
        if name not in VARIANTS:
            raise UnknownName("variant", name, VARIANTS)
        digest = hashlib.sha256(f"{seed}/{place}/{name}".encode()).digest()
        model = VARIANTS[name](model, np.random.default_rng(int.from_bytes(digest[:8], "little")))
    return model
