"""Seasons between people: a seed that stays secret, a commitment to it that does not, and how anyone checks both.

The commitment is a hash over the seed and the code that makes the season of it, so that neither can be changed
afterwards. Once the seed is out, the record of the season says which cases everybody has to get, bit for bit.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gaugeblock.programs.errors import FileError, GaugeblockError, InputError
from gaugeblock.programs.generation.season import SEASON_VERSION, SEED_BITS, check_seed
from gaugeblock.results.files import write_json
from gaugeblock.results.provenance import versions
from gaugeblock.running.progress import progress
from gaugeblock.running.threads import one_thread
from gaugeblock.suites.seasons import DEFAULT_CASES, MAX_CASES, season

HASH_PREFIX: Final = b"gaugeblock season commitment 1\0"
MIN_SECRET_BITS: Final = 128
"""Bits that a seed needs, so that nobody finds it by trying."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@final
class Commitment(BaseModel):
    """What is published before a season. `sha256` binds the seed and all other fields (see `commitment_hash`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["season commitment"] = "season commitment"
    schema_version: Literal[1] = 1
    cases: int = Field(ge=1, le=MAX_CASES)
    season_version: int
    versions: dict[str, str]
    sha256: Sha256


@final
class SeasonCase(BaseModel):
    """One case of a season: its id, and the hash that covers recipe, weights, pairs and truth."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    hash: Sha256


@final
class SeasonRecord(BaseModel):
    """What a season is, case by case. Secret until the seed is revealed, for the ids hold it.

    Attributes:
        candidates: programs that were drawn.
        rejected: reason -> how many of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["season record"] = "season record"
    schema_version: Literal[1] = 1
    seed: str
    season_version: int
    versions: dict[str, str]
    candidates: int
    rejected: dict[str, int]
    cases: list[SeasonCase]


@final
@dataclass(frozen=True)
class Reveal:
    """What a revealed seed turns out to be.

    Attributes:
        cases: the ids of the season, as this code makes them.
        others: what has another version here than where the commitment was made: name -> (there, here).
        rebuilt: cases whose hash was computed anew.
        differing: those of them that are other cases here than in the record.
    """

    cases: tuple[str, ...]
    others: dict[str, tuple[str, str]]
    rebuilt: tuple[str, ...]
    differing: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every case that was built anew is the same."""
        return not self.differing


def draw_seed(path: str | Path) -> None:
    """Write a new secret seed to a file that is not there yet. Raises FileError."""
    seed = secrets.SystemRandom().randrange(2**159, 2**160)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f"{seed}\n")
    except OSError as e:
        raise FileError(f"cannot write a new seed to {path}: {e.strerror or e}") from e


def read_seed(path: str | Path) -> int:
    """Return the number in a seed file, decimal or 0x…. Raises FileError, and ProgramError where it is no seed."""
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
        seed = int(text, 16 if text[:2].lower() == "0x" else 10)
    except OSError as e:
        raise FileError(
            f"cannot read the seed file {path}: {e.strerror or e}; `gaugeblock season seed` makes one"
        ) from e
    except ValueError:
        raise FileError(
            f"the seed file {path} holds no seed: one whole number of {MIN_SECRET_BITS} to {SEED_BITS} bits, "
            "decimal or 0x…"
        ) from None
    check_seed(seed)
    return seed


def commit(seed: int, cases: int = DEFAULT_CASES) -> Commitment:
    """Return the commitment to a season, of this code. Raises InputError for a seed that could be guessed."""
    if seed.bit_length() < MIN_SECRET_BITS:
        raise InputError(
            f"a seed of {seed.bit_length()} bits can be found by trying; it needs {MIN_SECRET_BITS} bits or more "
            "(`gaugeblock season seed` draws one)"
        )
    check_seed(seed)
    if not 1 <= cases <= MAX_CASES:
        raise InputError(f"a season of {cases} cases is impossible: 1 to {MAX_CASES}")
    made_by = versions()
    return Commitment(
        cases=cases,
        season_version=SEASON_VERSION,
        versions=made_by,
        sha256=commitment_hash(seed, cases, SEASON_VERSION, made_by),
    )


def commitment_hash(seed: int, cases: int, season_version: int, made_by: dict[str, str]) -> str:
    """Return the sha256 over HASH_PREFIX and the JSON object of these four: keys sorted, no spaces, ASCII, the seed as
    a string."""
    record = {"cases": cases, "season_version": season_version, "seed": str(seed), "versions": made_by}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(HASH_PREFIX + text.encode()).hexdigest()


def build(seed: int, cases: int = DEFAULT_CASES, workers: int = 1) -> SeasonRecord:
    """Make every case of a season, with a progress bar: minutes for the default size."""
    drawn = season(seed, cases)
    hashes = list(_hashes(drawn.cases, workers))
    return SeasonRecord(
        seed=str(seed),
        season_version=SEASON_VERSION,
        versions=versions(),
        candidates=drawn.tried,
        rejected=drawn.rejected,
        cases=[SeasonCase(id=i, hash=h) for i, h in zip(drawn.cases, hashes, strict=True)],
    )


def reveal(
    seed: int,
    commitment: Commitment,
    record: SeasonRecord | None = None,
    check: int | None = None,
    workers: int = 1,
) -> Reveal:
    """Check a seed against its commitment, and a record against the cases that this code makes of the seed.

    Args:
        check: how many cases of the record are made anew, from the first on; all by default.

    Raises GaugeblockError where the seed is not the one that was committed to, or the record is of other cases.
    """
    bound = commitment_hash(seed, commitment.cases, commitment.season_version, commitment.versions)
    if bound != commitment.sha256:
        raise GaugeblockError(
            f"this seed is not the one that was committed to, or the commitment was changed: its hash is {bound}, "
            f"the commitment says {commitment.sha256}"
        )
    if commitment.season_version != SEASON_VERSION:
        raise GaugeblockError(
            f"the season is of season version {commitment.season_version} and this code makes those of "
            f"{SEASON_VERSION}; install gaugeblock {commitment.versions.get('gaugeblock', '?')} to rebuild it"
        )
    here = versions()
    others = {
        name: (there, here.get(name, "none"))
        for name, there in commitment.versions.items()
        if here.get(name, "none") != there
    }
    ids = season(seed, commitment.cases).cases
    if record is None:
        return Reveal(ids, others, (), ())
    if (record.seed, [case.id for case in record.cases]) != (str(seed), list(ids)):
        raise GaugeblockError(_other_cases(seed, record, ids, others))
    known = record.cases if check is None else record.cases[: max(0, check)]
    rebuilt = dict(zip((case.id for case in known), _hashes([case.id for case in known], workers), strict=True))
    differing = tuple(case.id for case in known if rebuilt[case.id] != case.hash)
    return Reveal(ids, others, tuple(rebuilt), differing)


def read_commitment(path: str | Path) -> Commitment:
    """Read a commitment. Raises FileError where the file is missing, damaged or something else."""
    return _read(path, Commitment)


def read_record(path: str | Path) -> SeasonRecord:
    """Read the record of a season. Raises FileError where the file is missing, damaged or something else."""
    return _read(path, SeasonRecord)


def write(path: str | Path, record: Commitment | SeasonRecord) -> None:
    """Write a commitment or a record as JSON; the file appears whole or not at all.

    Raises FileError, also where another commitment stands: it may have been published.
    """
    if isinstance(record, Commitment) and Path(path).exists() and _read(path, Commitment) != record:
        raise FileError(f"{path} holds another commitment, which may be published already; choose another file")
    write_json(path, record)


Record = TypeVar("Record", Commitment, SeasonRecord)


def _read(path: str | Path, model: type[Record]) -> Record:
    kind = model.model_fields["kind"].default
    try:
        return model.model_validate_json(Path(path).read_bytes())
    except OSError as e:
        raise FileError(f"cannot read {path}: {e.strerror or e}") from e
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise FileError(f"{path} is no {kind} of gaugeblock: {where}: {first['msg']}") from None


def _other_cases(seed: int, record: SeasonRecord, ids: Sequence[str], others: dict[str, tuple[str, str]]) -> str:
    if record.seed != str(seed):
        return "the record is of another seed"
    changed = ", ".join(f"{name} {there} → {here}" for name, (there, here) in others.items())
    first = next((i for i, (case, here) in enumerate(zip(record.cases, ids)) if case.id != here), None)
    where = "the number of cases" if first is None else f"case {first + 1}"
    return f"the record lists other cases than this code makes of the seed; the first difference is {where}. " + (
        f"Versions differ: {changed}" if changed else "No version differs, so that the record was changed"
    )


def _hashes(ids: Sequence[str], workers: int) -> Iterator[str]:
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=workers, batch_size=1, return_as="generator")
    with progress("building", len(ids), "case") as update:
        for built in parallel(delayed(_hash)(id_) for id_ in ids):
            update(1)
            yield built


def _hash(case_id: str) -> str:
    """Return the hash of a case, computed in one thread; what the case holds is let go of."""
    from gaugeblock.cases.case import case

    with one_thread():
        hashed = case(case_id).hash
    case.cache_clear()
    return hashed
