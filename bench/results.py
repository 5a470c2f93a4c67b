"""What a run leaves behind: one typed JSON record per job, and one per case. These files are the truth.

Numbers that are not finite are None: JSON has no NaN, and a score that is undefined should look undefined.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import uuid4

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gaugeblock.programs.errors import FileError

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
        modes: what makes the case hard for methods, see `gaugeblock.evaluation.failure_modes`.
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
        metrics_version: `gaugeblock.scoring.METRICS_VERSION` of the code that made the scores.
        scores: by metric; None where undefined. `gaugeblock.scoring.SCORES` says what each is.
        pair_scores: per pair, in the order of the case's pairs.
        edge_scores: as the method gave them, signed and unrounded; node scores are lifted to edges.
        node_scores: the same of nodes; edge scores are pooled to nodes.
        signed, noise: how edge scores rank: |score| unless signed, and differences below `noise` are ties.
        curve, pair_curve: (share of edges in the circuit, faithfulness): ratio of means over pairs, mean of ratios.
        circuit: edges of the chosen circuit, see `gaugeblock.behaviour`.
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


AnyRecord = TypeVar("AnyRecord", CaseRecord, Result)


def write_json(path: str | Path, record: BaseModel) -> None:
    """Write a record. Whenever the process dies, `path` holds all of it, or what it held before."""
    text = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    write_text(path, text)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file under a temporary name in the same folder, then rename it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_result(path: str | Path) -> Result:
    """Raises FileError where the file is missing, damaged, truncated or something else."""
    return _read(Path(path), Result)


def read_case(path: str | Path) -> CaseRecord:
    """Raises FileError where the file is missing, damaged, truncated or something else."""
    return _read(Path(path), CaseRecord)


def holds_case(path: str | Path, case_hash: str) -> bool:
    """Whether the record of this version of a case is there."""
    try:
        return read_case(path).hash == case_hash
    except FileError:
        return False


def case_path(out: str | Path, case: str, ablation: str) -> Path:
    """Where a run writes the record of a case."""
    return Path(out) / "cases" / f"{_slug(case)}.{ablation}.json"


def picture_path(out: str | Path, case: str, kind: str) -> Path:
    """Where a run writes a picture of a case; the same under every ablation."""
    return Path(out) / "cases" / f"{_slug(case)}.{kind}.svg"


def certificate_path(out: str | Path, case: str, ablations: Sequence[str]) -> Path:
    """Where the certificate of a case under some ablations stands."""
    return Path(out) / "certificates" / f"{_slug(case)}.{'+'.join(ablations)}.json"


def result_path(out: str | Path, method: str, case: str, ablation: str, seed: int) -> Path:
    """Where a run writes the result of a job. Names are never parsed: the record says what it is of."""
    return Path(out) / "results" / _slug(method) / f"{_slug(case)}.{ablation}.s{seed}.json"


def case_paths(out: str | Path) -> Iterator[Path]:
    """All case records of a results folder, in a fixed order."""
    yield from sorted(Path(out).glob("cases/*.json"))


def result_paths(out: str | Path) -> Iterator[Path]:
    """All results of a results folder, in a fixed order."""
    yield from sorted(Path(out).glob("results/*/*.json"))


def remove_leftovers(out: str | Path) -> None:
    """Remove what writes that were cut off have left in a results folder. Not while another run writes to it."""
    for pattern in (
        "site/.*.part",
        "site/*/.*.part",
        "cases/.*.part",
        "certificates/.*.part",
        "results/*/.*.json.*.part",
    ):
        for path in Path(out).glob(pattern):
            path.unlink(missing_ok=True)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._+@" else "-" for c in name).strip(".") or "-"


def _read(path: Path, model: type[AnyRecord]) -> AnyRecord:
    kind = model.model_fields["kind"].default
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise FileError(f"cannot read {path}: {e.strerror or e}") from e
    except ValueError as e:
        raise FileError(f"{path} is damaged or truncated, no whole JSON file: {e}") from e
    if not isinstance(data, dict) or data.get("kind") != kind:
        raise FileError(f"{path} is no {kind} record of gaugeblock")
    if data.get("schema_version") != SCHEMA_VERSION:
        version = data.get("schema_version")
        raise FileError(f"{path} has schema version {version!r}; this gaugeblock reads version {SCHEMA_VERSION}")
    try:
        return model.model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FileError(f"{path} is no valid {kind} record: {where}: {first['msg']}") from e
