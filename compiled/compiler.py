"""From program to compiled model, stage by stage."""

import itertools
from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
import torch

from gaugeblock.compiled.lowered.operations import Lowered
from gaugeblock.compiled.model import CompiledModel, Provenance
from gaugeblock.compiled.stages.assemble import LOGIT, MAX_PARAMETERS, Parts, assemble, check_size, make_parts
from gaugeblock.compiled.stages.checks import refuse_empty_comparisons
from gaugeblock.compiled.stages.infer import Inference, infer
from gaugeblock.compiled.stages.layout import Layout, layout
from gaugeblock.compiled.stages.lower import lower
from gaugeblock.compiled.stages.precision import Precision, precision, restoring
from gaugeblock.compiled.stages.schedule import Schedule, schedule
from gaugeblock.compiled.stages.trace import trace
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.program import Program, check_is_program
from gaugeblock.programs.proofs.claims import check_gets

N_TRIED_INPUTS = 32
"""Inputs on which the interpreter runs a program before it is compiled, so that what has no value is refused."""

MAX_INPUTS_ENUMERATED = 2_000
"""Inputs on which a `.get` that no rule proves is tried before a program is compiled."""


@final
@dataclass(frozen=True)
class CompilePlan:
    """All that is decided before weights are made."""

    program: Program
    known: Inference
    lowered: Lowered
    placed: Schedule
    where: Layout
    precision: Precision
    dtype: torch.dtype
    parts: Parts


def compile(
    program: Program,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    keep_variables: bool = False,
    max_parameters: int = MAX_PARAMETERS,
) -> CompiledModel:
    """Compile a program to a HookedTransformer that computes it exactly.

    Args:
        dtype: torch.float32 unless its rounding might change an output, then torch.float64.
        keep_variables: write every named s-op to the residual stream, also those that only exist within a table.
        max_parameters: refuse larger models before they are built.

    Raises CompileError where the model would be too large or rounding might change an output, naming the variable;
    ProgramError where the program has no value on some input; InputError where its domain has no input.

    >>> import gaugeblock as gb
    >>> model = gb.compile(gb.programs.get("sort"))
    >>> model([3, 1, 2])
    [1, 2, 3]
    >>> model.graph.writers
    ('embed', 'pos', 'a0.h0', 'a0.h1', 'm0', 'a1.h0')
    """
    check_is_program(program)
    _check_options(device, dtype)
    planned = plan(program, dtype, keep_variables=keep_variables)
    check_size(planned.parts, planned.lowered, max_parameters)
    built = assemble(planned.lowered, planned.placed, planned.where, planned.parts)
    return CompiledModel(
        program=program,
        lowered=planned.lowered,
        weights=built.weights,
        provenance=Provenance(planned.where.labels, planned.placed.sites, built.neurons),
        margins=planned.precision.margins,
        error_bound=_logit_error(planned),
        device=device,
        dtype=planned.dtype,
    )


def plan(program: Program, dtype: torch.dtype | None = None, *, keep_variables: bool = False) -> CompilePlan:
    """The stages up to layers, directions and hidden units, with the checks on the way; raises what `compile` does,
    except for size."""
    check_values(program)
    return plan_unchecked(program, dtype, keep_variables=keep_variables)


def check_values(program: Program) -> None:
    """Try a program. Raises ProgramError where it has no value on some input, InputError where its domain is empty."""
    program.batch(program.sample(np.random.default_rng(0), N_TRIED_INPUTS))
    check_gets(program, MAX_INPUTS_ENUMERATED)


def plan_unchecked(program: Program, dtype: torch.dtype | None = None, *, keep_variables: bool = False) -> CompilePlan:
    """`plan` without trying the program on inputs: for one that has no inputs of its own."""
    try:
        return _plan(program, dtype, keep_variables)
    except OverflowError:
        raise CompileError(f"a number of {program.name!r} is beyond the range of float64, 1.8e308") from None


def _plan(program: Program, dtype: torch.dtype | None, keep_variables: bool) -> CompilePlan:
    known = infer(trace(program))
    refuse_empty_comparisons(known)
    precisions = (torch.float32, torch.float64) if dtype is None else (dtype,)

    @cache
    def placed_program(sharp: bool) -> tuple[Lowered, Schedule, Layout]:
        lowered = lower(known, keep_variables, sharp)
        return lowered, schedule(lowered), layout(lowered)

    for chosen, restored, sharp in itertools.product(precisions, (False, True), (False, True)):
        lowered, placed, where = placed_program(sharp)
        if restored:
            lowered = restoring(lowered, where, _name(chosen))
        bounds = precision(lowered, where, _name(chosen))
        if bounds.culprit is None:
            return CompilePlan(
                program, known, lowered, placed, where, bounds, chosen, make_parts(lowered, placed, where)
            )
    margin = bounds.margins.get(str(bounds.culprit))
    apart = f": neighbouring values are {margin:.1e} apart relative to their size" if margin else ""
    offer = "; compile with dtype=torch.float64" if dtype is torch.float32 else ""
    raise CompileError(f"{_name(chosen)} cannot hold {bounds.culprit!r}, {bounds.reason}{apart}{offer}")


def _logit_error(planned: CompilePlan) -> float:
    """Bound on the error of the logits: of LOGIT for a choice, absolute for a number."""
    errors = planned.precision.errors
    return max(errors[o.variable] * (1.0 if o.numeric else LOGIT) for o in planned.lowered.outputs)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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
