"""Variants by name. A variant is a function (model, random generator) -> model that computes the same."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.camouflage import camouflage
from gaugeblock.compiled.variants.decoy import decoy
from gaugeblock.compiled.variants.pad import pad
from gaugeblock.compiled.variants.permute import permute
from gaugeblock.compiled.variants.rotate import rotate
from gaugeblock.compiled.variants.soft import soft
from gaugeblock.programs.errors import CompileError, UnknownName

Variant = Callable[[CompiledModel, np.random.Generator], CompiledModel]

VARIANTS: dict[str, Variant] = {
    "permute": permute,
    "pad": pad,
    "decoy": decoy,
    "camouflage": camouflage,
    "rotate": rotate,
    "soft": soft,
}


def apply_variants(model: CompiledModel, names: Sequence[str], seed: int) -> CompiledModel:
    """Apply variants in order, each with a generator of its own drawn from (seed, place, name).

    Raises UnknownName, and CompileError where something follows `rotate`: the others find directions by place.
    """
    if "rotate" in names[:-1]:
        last = "+".join([*(name for name in names if name != "rotate"), "rotate"])
        raise CompileError(f"the variant rotate comes last: instead of {'+'.join(names)} write {last}")
    for place, name in enumerate(names):
        if name not in VARIANTS:
            raise UnknownName("variant", name, VARIANTS)
        digest = hashlib.sha256(f"{seed}/{place}/{name}".encode()).digest()
        model = VARIANTS[name](model, np.random.default_rng(int.from_bytes(digest[:8], "little")))
    return model
