"""Programs to make fragments of, and tokens to run them on."""

import numpy as np
import torch

from gaugeblock.programs.language.functions import causal, key, query, where

TOKENS = torch.tensor(np.random.default_rng(0).integers(0, 9, size=(5, 7)))


def ranked(group, level):
    """Of the positions up to here of the same group, the sum of levels, or the group's name where that is small."""
    total = ((key(group) == query(group)) & causal).sum(level)
    return {"total": total, "name": where(total < 2, group, "many")}


def everything_counted(group):
    return (key(group) == query(group)).count()
