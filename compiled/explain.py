"""An analysis of a program before it runs: `gaugeblock.explain(program)`."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

from gaugeblock.compiled.compiler import CompilePlan, plan
from gaugeblock.compiled.lowered.operations import BOS, PRESENT, Attention, Encoding
from gaugeblock.compiled.stages.assemble import Sizes
from gaugeblock.programs.analysis.causality import Causality, is_causal
from gaugeblock.programs.analysis.depth import LowerBound, RaspDepth, depth_lower_bound, rasp_depth
from gaugeblock.programs.analysis.values import Reached, Width, reachable, selector_widths
from gaugeblock.programs.program import Program
from gaugeblock.programs.proofs.claims import GetClaim, check_gets

MAX_INPUTS_ENUMERATED = 20_000
"""Domains up to this size are gone through; of larger ones samples are taken, and what follows is marked as seen."""


@final
@dataclass(frozen=True)
class Held:
    """A variable of the compiled model.

    Attributes:
        site: which node writes it: `embed`, `pos`, `a0.h1`, `m0`.
        values: what its encoding and all tables that read it are prepared for.
    """

    name: str
    encoding: Encoding
    site: str
    values: tuple[Any, ...]


@final
@dataclass(frozen=True)
class Explanation:
    """An analysis of a program. `str()` of it is a page of text.

    Attributes:
        causal: whether the output depends on tokens so far only, with a counterexample if not.
        rasp: layers and heads as RASP counts them.
        bound: the fewest half layers that any compilation needs.
        sizes: of the compiled transformer; `heads` per layer.
        reached: the values each s-op takes over the domain.
        widths: how many keys each selector selects.
        gets: how it is known that every `.get` selects what it has to.
        variables: of the compiled model.
        dtype, error_bound: precision it is compiled for, and how far rounding can move a variable.
    """

    program: Program
    causal: Causality
    rasp: RaspDepth
    bound: LowerBound
    sizes: Sizes
    heads: tuple[int, ...]
    reached: tuple[Reached, ...]
    widths: tuple[Width, ...]
    gets: tuple[GetClaim, ...]
    variables: tuple[Held, ...]
    dtype: str
    error_bound: float

    def __str__(self) -> str:
        s = self.sizes
        lines = [
            f"{self.program.name}: {self.program.description}",
            "",
            f"causality    {self.causal}",
            f"RASP         {_counted(self.rasp.layers, 'layer')}, heads {_added(self.rasp.heads)}",
            f"compiled     {_counted(s.n_layers, 'layer')} (at least {max(self.bound.layers, 1)}), "
            f"heads {_added(self.heads)}, d_model {s.d_model}, d_head {s.d_head}, d_mlp {s.d_mlp}, "
            f"{s.parameters:,} parameters",
            f"precision    {self.dtype}; rounding moves no variable by more than {self.error_bound:.0e}",
            "",
            *_table("s-op", "values it takes", ((r.label, _listed(r)) for r in self.reached if r.node.name)),
            *_table("selector", "keys it selects", ((w.label, _width(w)) for w in self.widths)),
            *_table(".get", "one key, or keys that agree; and at least one", map(_claim, self.gets)),
            *_table(
                "variable",
                "written by, as",
                ((v.name, f"{v.site}, {v.encoding}, {_counted(len(v.values), 'value')}") for v in self.variables),
            ),
        ]
        return "\n".join(lines).rstrip()


def explain(program: Program) -> Explanation:
    """Analyse a program and plan its compilation, without making weights. Raises what `compile` raises.

    >>> import gaugeblock as gb
    >>> explanation = gb.explain(gb.programs.get("hist").with_size(vocab="ab", max_len=4))
    >>> explanation.heads, explanation.bound.layers  # heads of each layer; no compilation needs fewer layers
    ((1,), 1)
    """
    planned = plan(program)
    sites = planned.placed.sites
    hidden = {PRESENT, BOS}
    return Explanation(
        program=program,
        causal=is_causal(program, MAX_INPUTS_ENUMERATED),
        rasp=rasp_depth(program),
        bound=depth_lower_bound(program),
        sizes=planned.parts.sizes,
        heads=_heads(planned),
        reached=reachable(program, MAX_INPUTS_ENUMERATED),
        widths=selector_widths(program, MAX_INPUTS_ENUMERATED),
        gets=check_gets(program, MAX_INPUTS_ENUMERATED),
        variables=tuple(
            Held(v.name, v.encoding, sites.get(v.writer, v.writer), v.values)
            for v in planned.lowered.variables.values()
            if v.name not in hidden
        ),
        dtype=str(planned.dtype).removeprefix("torch."),
        error_bound=max(planned.precision.errors.values(), default=0.0),
    )


def _heads(planned: CompilePlan) -> tuple[int, ...]:
    sites = [planned.placed.sites[op.name] for op in planned.lowered.operations if isinstance(op, Attention)]
    return tuple(sum(site.startswith(f"a{layer}.") for site in sites) for layer in range(planned.placed.n_layers))


def _table(first: str, second: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    """Two columns under a heading, and an empty line; no lines where there are no rows."""
    lines = [(first, second), *rows]
    width = min(max(len(a) for a, _ in lines), 60)
    return [f"{a:<{width}}  {b}" for a, b in lines] + [""] if len(lines) > 1 else []


def _listed(reached: Reached) -> str:
    values = [str(v) if isinstance(v, Fraction) else repr(v) for v in reached.values]
    shown = ", ".join(values if len(values) <= 12 else [*values[:5], "…", *values[-3:]])
    counted = f" ({len(values)} values)" if len(values) > 12 else ""
    positions = "; not the same at all positions" if reached.by_position else ""
    return shown + counted + positions + ("" if reached.exact else "; seen on samples")


def _width(width: Width) -> str:
    span = str(width.smallest) if width.smallest == width.largest else f"{width.smallest} to {width.largest}"
    return span + ("" if width.exact else ", seen on samples")


def _claim(claim: GetClaim) -> tuple[str, str]:
    return claim.label, f"{claim.at_most_one}; {claim.at_least_one}"


def _added(counts: Iterable[int]) -> str:
    return " + ".join(map(str, counts)) or "0"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
