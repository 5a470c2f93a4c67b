"""Controls: rules that know something a method may not know, to show what the numbers mean.

`oracle` knows the truth, `prior` knows where circuits of other programs lie but never looks at the model, and
`weights` knows the graded columns of the unembedding and never runs the model.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from gaugeblock.compiled.edges.graph import parse_edge
from gaugeblock.compiled.edges.live import input_map, output_map
from gaugeblock.metrics.recovery import stratum

if TYPE_CHECKING:
    from gaugeblock.cases.case import Case

Control = Callable[["Case", str], dict[str, float]]


def oracle(case: "Case", ablation: str) -> dict[str, float]:
    """1 for every positive, 0 elsewhere: the ceiling of every recovery score."""
    truth = case.truth(ablation)
    return {edge: float(edge in truth.positives) for edge in case.model.graph.edges}


def weights(case: "Case", ablation: str) -> dict[str, float]:
    """The backward slice from the unembedding, then the Frobenius norm of the virtual weights W_out · W_read.

    Live edges rank above all others. Uses no data. Both parts do not depend on the residual basis.
    """
    model = case.model
    norms = {edge: _virtual_norm(case, edge) for edge in model.graph.edges}
    largest = max(norms.values()) or 1.0
    return {edge: float(edge in model.live_edges) + norm / (2 * largest) for edge, norm in norms.items()}


def prior(case: "Case", ablation: str) -> dict[str, float]:
    """How often an edge in this place is a positive in the circuits of other programs.

    A place is (kind and layer of the writer; kind, layer and port of the reader). Heads of a layer are exchangeable,
    so their numbers carry nothing. Never looks at the model. The frequencies are frozen in data/prior.json; the
    case's own program is left out.
    """
    tables = [table for program, table in frozen_prior().items() if program != case.program.name]
    frequency = {place: sum(t.get(place, 0.0) for t in tables) / len(tables) for t in tables for place in t}
    return {edge: frequency.get(place(edge), 0.0) for edge in case.model.graph.edges}


def place(edge: str) -> str:
    """The place of an edge, as a key of data/prior.json: "head 0 > head 1 k"."""
    writer, layer, reader, reader_layer, port = stratum(edge)
    ends = [f"{kind} {at}" if at >= 0 else kind for kind, at in ((writer, layer), (reader, reader_layer))]
    return f"{ends[0]} > {ends[1]} {port}".strip()


@lru_cache(maxsize=1)
def frozen_prior() -> dict[str, dict[str, float]]:
    """program -> place -> share of its edges in that place that are positives; see benchmarks/learn_prior.py."""
    return json.loads(files("gaugeblock.evaluation").joinpath("data/prior.json").read_text())["programs"]


def _virtual_norm(case: "Case", edge: str) -> float:
    writer, reader = parse_edge(edge)
    out, read = output_map(case.model.weights, writer), input_map(case.model.weights, reader)
    return float(np.linalg.norm(out @ read))


CONTROLS: dict[str, Control] = {"oracle": oracle, "prior": prior, "weights": weights}
