"""The search for what explains a part: every candidate swapped in at every site, beside the site's mean and zero."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

from jaxtyping import Bool, Int
from torch import Tensor

from gaugeblock.cases.case import Case
from gaugeblock.comparison.compare import ModelComparison, compared
from gaugeblock.comparison.figures import ROUNDING_DIVERGENCE
from gaugeblock.comparison.question import Model, Targets, module_of, question
from gaugeblock.comparison.texts import estimate_text, range_text
from gaugeblock.compiled.edges.graph import SOURCES, Graph
from gaugeblock.compiled.swapping import swap as swapping
from gaugeblock.compiled.swapping.components import Mean, Zero
from gaugeblock.programs.errors import GaugeblockError, InputError, UnknownName

if TYPE_CHECKING:
    from rich.table import Table

MEAN: Final = "mean of the site"
ZERO: Final = "zero"

Swap = Callable[[Any, Mapping[str, Any]], Any]


@final
@dataclass(frozen=True)
class Replacement:
    """A candidate at a site, and what it loses there.

    Attributes:
        site: `a{l}.h{h}` or `m{l}`.
        name: of the candidate, or of what stands beside them: MEAN, ZERO.
        comparison: of the swapped model, with MEAN as its baseline; None where the candidate does not fit.
        reason: why it does not fit; "" where it does.
    """

    site: str
    name: str
    comparison: ModelComparison | None
    reason: str = ""


def swap_search(
    model: Model,
    candidates: Mapping[str, Any],
    data: Int[Tensor, "n pos"] | Case,
    *,
    sites: Sequence[str] | None = None,
    positions: Bool[Tensor, "n pos"] | Bool[Tensor, " pos"] | None = None,
    targets: Targets = None,
    numeric: bool | None = None,
    seed: int = 0,
    swap: Swap | None = None,
) -> list[Replacement]:
    """Compare every candidate at every site, and the site's mean and zero beside them: which explains what.

    Sites in the order of the model; at each the least divergence first, what does not fit last. A candidate below MEAN
    explains nothing. A site where MEAN and ZERO lose nothing either is one that this data does not need.

    Args:
        candidates: name -> component, as `gaugeblock.compiled.swapping` takes it.
        sites: heads and MLPs; by default all of `Graph.of(model)`.
        swap: (model, {site: component}) -> swapped model, if it is not to be `gaugeblock.compiled.swapping.swap.swap`.
        data, positions, targets, numeric, seed: as in `compare`.

    Costs one forward pass over the data for the model (which is kept while it is small), and one for each site and
    candidate, mean and zero included. Raises UnknownName for a site that is not there, and what `compare` raises.

    >>> import gaugeblock as gb
    >>> from gaugeblock.compiled.swapping.components import From
    >>> model = gb.compile(gb.programs.get("hist").with_size(max_len=4))
    >>> tokens = model.encode(["abca", "bb"])
    >>> ranking = gb.swap_search(model, {"itself": From(model, "a0.h0")}, tokens, sites=["a0.h0"])
    >>> ranking[0].name, ranking[0].comparison.accuracy.estimate
    ('itself', 1.0)
    """
    put: Swap = swapping.swap if swap is None else swap
    for name in (MEAN, ZERO):
        if name in candidates:
            raise InputError(f"a candidate is named {name!r}, as what stands beside the candidates; call it otherwise")
    graph = Graph.of(module_of(model))
    known = [writer for writer in graph.writers if writer not in SOURCES]
    for site in sites or ():
        if site not in known:
            raise UnknownName("head or MLP of this model", site, known)
    asked = question(model, data, positions, targets, numeric)
    average = Mean(asked.tokens, pad=None if asked.reader is None else asked.reader.pad)
    replacements: list[Replacement] = []
    for site in known if sites is None else dict.fromkeys(sites):
        mean = compared(asked, put(model, {site: average}), None, seed)
        mean = replace(mean, baseline_losses=mean.swapped_losses)
        at_site = [Replacement(site, MEAN, mean)]
        for name, component in {ZERO: Zero(), **candidates}.items():
            try:
                comparison = compared(asked, put(model, {site: component}), None, seed)
                comparison = replace(comparison, baseline_losses=mean.swapped_losses)
                at_site.append(Replacement(site, name, comparison))
            except Exception as error:  # whatever a user's function raises, and torch of shapes
                said = str(error) if isinstance(error, GaugeblockError) else f"{type(error).__name__}: {error}"
                at_site.append(Replacement(site, name, None, said.partition("\n")[0]))
        replacements += sorted(at_site, key=_divergence)
    return replacements


def _divergence(at_site: Replacement) -> float:
    return math.inf if at_site.comparison is None else at_site.comparison.divergence.estimate


def search_table(replacements: Sequence[Replacement]) -> "Table":
    """The result of `swap_search` for a terminal; below, what does not fit, and sites that this data does not need."""
    from rich.text import Text

    from gaugeblock.comparison.tables import plain_table

    fitting = [(r.site, r.name, r.comparison) for r in replacements if r.comparison is not None]
    numeric = any(comparison.numeric for _, _, comparison in fitting)
    table = plain_table("swapped one by one")
    for name in ("site", "by"):
        table.add_column(name)
    for name in ("sq. diff." if numeric else "KL, nats", "accuracy", "95 % interval", "loss recovered"):
        table.add_column(name, justify="right", no_wrap=True)
    spare = _spare(replacements)
    last_site = ""
    for site, name, comparison in fitting:
        if site in spare:
            continue
        recovered = "–" if comparison.loss_recovered is None else estimate_text(comparison.loss_recovered)
        accuracy = comparison.accuracy
        row = (estimate_text(comparison.divergence), estimate_text(accuracy), range_text(accuracy), recovered)
        table.add_row(Text(site if site != last_site else ""), Text(name), *row)
        last_site = site
    skipped = [f"{r.site} by {r.name} does not fit: {r.reason}" for r in replacements if r.comparison is None]
    if spare:
        skipped.insert(0, f"On this data neither mean nor zero loses anything at {', '.join(spare)}.")
    table.caption = Text("\n".join(skipped))
    return table


def _spare(replacements: Sequence[Replacement]) -> list[str]:
    """The sites where the mean and zero lose nothing."""
    divergences: dict[str, list[float]] = {}
    for r in replacements:
        if r.name in (MEAN, ZERO) and r.comparison is not None:
            divergences.setdefault(r.site, []).append(r.comparison.divergence.estimate)
    return [site for site, values in divergences.items() if max(values) <= ROUNDING_DIVERGENCE]
