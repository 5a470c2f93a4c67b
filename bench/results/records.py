"""What a run leaves behind: one typed JSON record per job, and one per case. These files are the truth.

Numbers that are not finite are None: JSON has no NaN, and a score that is undefined should look undefined.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SCHEMA_VERSION: Literal[1] = 1

# "started" is written before a job begins and stands only where its process died.
Status = Literal["started", "ok", "error", "timeout"]


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite_or_none)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Record):
    """One line of a certificate: the claim, the ablation (None: any), and how many checks it rests on."""

    claim: str
    ablation: str | None
    ok: bool
    checked: int
    detail: str


class CasePicture(_Record):
    """A picture of a case's model, in a file of its own: see `picture_path`.

    Attributes:
        kind: `flow`, `attention` or `stream`.
        caption: what it shows and how to read it.
        missing: why there is none, and what to do about it; None where there is one.
        width: in pixels at full size.
    """

    kind: str
    caption: str
    missing: str | None = None
    width: Finite = 0.0


class CaseRecord(_Record):
    """A case under one ablation: its program, the size of its model, its truth and its certificate.

    Attributes:
        id, hash: the case id, and the hash of its recipe, weights, pairs and truth.
        weights_hash: of the model alone.
        variant, seed: what the id says of them ("" and 0 where it says nothing).
        heads: heads that are in the graph, per layer.
        writers: in topological order; the drawing places them.
        positives, negatives, ignored: edges "writer->reader"; they partition the graph.
        edge_variables: which variables of the program a positive edge carries.
        comparators: share of positives with a negative in their own stratum, 0 to 1.
        modes: what makes the case hard for methods, see `gaugeblock.evaluation.case_record.failure_modes`.
        pictures: of the model, the circuit aside: the page draws that from the edges.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["case"] = "case"
    id: str
    hash: str
    weights_hash: str | None = None
    program: str
    description: str
    source: str
    variant: str
    seed: int
    ablation: str
    vocab_size: int
    max_len: int
    layers: int
    heads: list[int]
    d_model: int
    d_mlp: int
    parameters: int
    pairs: int
    writers: list[str]
    positives: list[str]
    negatives: list[str]
    ignored: list[str]
    edge_variables: dict[str, list[str]]
    comparators: float
    modes: list[str] = []
    certified: bool
    claims: list[Claim]
    pictures: list[CasePicture] = []

    @property
    def edges(self) -> int:
        """Number of edges of the graph."""
        return len(self.positives) + len(self.negatives) + len(self.ignored)


class Result(_Record):
    """One job: a method on a case under one ablation with one seed.

    Attributes:
        status: "ok"; "error" and "timeout" have `error`; "started" means that the process died on the way.
        control: a rule that knows more than a method may, or nothing at all; it has no rank.
        params: the method's parameters with their defaults filled in.
        method_source: hash of the code of a method that is not ours, so that a changed one runs again.
        case_hash, weights_hash: of the case and of its model alone; None where the case itself could not be built.
        metrics_version: `gaugeblock.evaluation.scores.METRICS_VERSION` of the code that made the scores.
        scores: by metric; None where undefined. `gaugeblock.evaluation.scores.SCORES` says what each is.
        pair_scores: per pair, in the order of the case's pairs.
        edge_scores: as the method gave them, signed and unrounded; node scores are lifted to edges.
        node_scores: the same of nodes; edge scores are pooled to nodes.
        signed, noise: how edge scores rank: |score| unless signed, and differences below `noise` are ties.
        curve, pair_curve: (share of edges in the circuit, faithfulness): ratio of means over pairs, mean of ratios.
        circuit: edges of the chosen circuit, see `gaugeblock.evaluation.chosen_circuit`.
        resamples: of the pairs, that `stability` comes from.
        seconds, forwards, backwards: the method's own cost.
        memory: peak resident memory of the worker process in MiB, everything included.
        versions: of gaugeblock, python and libraries that numbers depend on; "code" fingerprints our files.
        commit, dirty: of the checkout the code ran from; None where it is not one.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["result"] = "result"
    status: Status
    method: str
    method_level: str | None = None
    control: bool = False
    method_source: str | None = None
    params: dict[str, Any] = {}
    case: str
    case_hash: str | None = None
    weights_hash: str | None = None
    metrics_version: int | None = None
    ablation: str
    seed: int
    scores: dict[str, Number] = {}
    pair_scores: dict[str, list[Number]] = {}
    edge_scores: dict[str, Finite] = {}
    node_scores: dict[str, Finite] = {}
    signed: bool = False
    noise: float = 0.0
    curve: list[tuple[float, Number]] = []
    pair_curve: list[tuple[float, Number]] = []
    circuit: list[str] = []
    resamples: int = 0
    seconds: float | None = None
    forwards: float | None = None
    backwards: float | None = None
    memory: float | None = None
    versions: dict[str, str] = {}
    commit: str | None = None
    dirty: bool | None = None
    device: str | None = None
    error: str | None = None
