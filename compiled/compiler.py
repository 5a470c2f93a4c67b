"""From program to compiled model, stage by stage."""

import numpy as np
import torch

from gaugeblock.compiled.assemble import assemble
from gaugeblock.compiled.infer import infer
from gaugeblock.compiled.layout import layout
from gaugeblock.compiled.lower import lower
from gaugeblock.compiled.model import CompiledModel, Provenance
from gaugeblock.compiled.schedule import schedule
from gaugeblock.compiled.trace import trace
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.program import Program

FLOAT32_MARGIN = 2.0**-16
"""Below this relative margin float32 rounding (2^-24, times the terms of a sum) could cross a threshold."""


def compile(program: Program, device: str = "cpu", dtype: torch.dtype | None = None) -> CompiledModel:
    """Compile a program to a HookedTransformer that computes it exactly.

    dtype: torch.float32 unless a margin is too small for it, then torch.float64.

    Raises CompileError where the model would be too large or float32 cannot hold a margin, naming the variable, and
    InputError where the program's domain has no input over its vocabulary.
    """
    _check_options(device, dtype)
    program.sample(np.random.default_rng(0), 1)  # a domain without inputs at this size is refused here
    lowered = lower(infer(trace(program)))
    placed = schedule(lowered)
    where = layout(lowered)
    built = assemble(lowered, placed, where)
    tight = min(built.margins, key=lambda name: built.margins[name], default="")
    too_tight = built.margins.get(tight, 1.0) < FLOAT32_MARGIN
    if too_tight and dtype is torch.float32:
        raise CompileError(
            f"float32 cannot hold {tight!r}: neighbouring values are {built.margins[tight]:.1e} apart relative to "
            f"their size (at least {FLOAT32_MARGIN:.1e} is needed); compile with dtype=torch.float64"
        )
    return CompiledModel(
        program=program,
        lowered=lowered,
        weights=built.weights,
        provenance=Provenance(where.labels, placed.sites, built.neurons),
        margins=built.margins,
        device=device,
        dtype=dtype or (torch.float64 if too_tight else torch.float32),
    )


def _check_options(device: str, dtype: torch.dtype | None) -> None:
    if dtype not in (None, torch.float32, torch.float64):
        raise CompileError(f"dtype {dtype} is not supported; possible: torch.float32, torch.float64")
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise CompileError(f"there is no device {device!r}; possible: cpu, cuda, cuda:N") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise CompileError(f"device {device!r} was asked for, but torch finds no CUDA here; possible: cpu")
    if kind not in ("cpu", "cuda"):
        raise CompileError(f"device {device!r} is not supported; possible: cpu, cuda, cuda:N")
