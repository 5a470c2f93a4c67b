"""Folders of results, as a run or a submission leaves them, read as things that somebody else may have written."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, final

from gaugeblock.compiled.edges.graph import Place, parse_edge
from gaugeblock.leaderboard.entries import Entries, Entry
from gaugeblock.programs.errors import FileError, GaugeblockError
from gaugeblock.results.files import case_paths, parse_record, result_paths
from gaugeblock.results.records import CaseRecord, Result
from gaugeblock.results.untrusted import look_alike, printable, quoted, read_bytes
from gaugeblock.submissions.manifest import MANIFEST, tensors_beside
from gaugeblock.submissions.reading import check_files, read_listed, read_manifest
from gaugeblock.submissions.tensors import read_scores
from gaugeblock.submissions.verification import NOT_VERIFIED, Verification, verdict

AnyRecord = TypeVar("AnyRecord")
LONGEST_NAME = 300  # characters


@final
@dataclass(frozen=True)
class Source:
    """A folder that a board is made from.

    Attributes:
        name: the title of a submission, else the last part of the path; no two on a board are the same.
        folder: where it is.
        submission: what its manifest says, by topic; None for a run.
        verification: what whoever reads the board has established of this submission, never what it says of itself;
            None for a run, and where nobody has looked.
    """

    name: str
    folder: Path
    submission: dict[str, str] | None
    verification: Verification | None = None

    @property
    def state(self) -> str:
        """What is known of a submission, in words; "" for a run."""
        if self.submission is None:
            return ""
        return NOT_VERIFIED if self.verification is None else self.verification.headline


@final
@dataclass(frozen=True)
class Contents:
    """All that some folders hold, whatever its versions. `notes` says what could not be read."""

    sources: tuple[Source, ...]
    cases: tuple[CaseRecord, ...]
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]


def read_folders(folders: Sequence[str | Path], verifications: Sequence[Verification] = ()) -> Contents:
    """Cases and results of some folders, in their order. FileError where none of them holds any.

    Submissions that one of the `verifications` refuses are left out.
    """
    notes: list[str] = []
    sources = _sources([Path(folder) for folder in folders], verifications, notes)
    cases = {
        source.name: [
            case for case in _readable(case_paths(source.folder), _case, notes) if _is_drawable(case, source, notes)
        ]
        for source in sources
    }
    make = Entries(case for part in cases.values() for case in part)
    entries = {
        source.name: [
            make.of(result, source.name)
            for result in _readable(result_paths(source.folder), _result, notes)
            if _is_named(result, source, notes)
        ]
        for source in sources
    }
    shown = _without_look_alikes(sources, entries, notes)
    all_cases = tuple(case for source in shown for case in cases[source.name])
    all_entries = tuple(entry for source in shown for entry in entries[source.name])
    if not all_cases and not all_entries:
        named = " and ".join(map(str, folders)) + (" holds" if len(folders) == 1 else " hold")
        why = f"; {notes[0]}" if notes else f"; `gaugeblock run --out {folders[0]}` writes some" if folders else ""
        raise FileError(f"{named} no results{why}")
    return Contents(shown, all_cases, all_entries, tuple(notes))


def _sources(folders: Sequence[Path], verifications: Sequence[Verification], notes: list[str]) -> tuple[Source, ...]:
    """The folders that can be read. A submission that must not be shown is left out as a whole."""
    readable: list[tuple[Path, dict[str, str] | None]] = []
    for folder in folders:
        try:
            said = _submission(folder) if _is_submission(folder) else None
            if said is not None:
                if (known := verdict(said["digest"], verifications)) is not None and not known.ok:
                    raise FileError(f"it was refused: {known.reason}")
            readable.append((folder, said))
        except FileError as e:
            notes.append(printable(f"left out: the submission in {folder}: {e}"))
    names = [printable(said["name"] if said else folder.resolve().name) for folder, said in readable]
    return tuple(
        Source(
            name if names.count(name) == 1 else f"{name} ({i})",
            folder,
            said,
            None if said is None else verdict(said["digest"], verifications),
        )
        for i, (name, (folder, said)) in enumerate(zip(names, readable), 1)
    )


def _is_submission(folder: Path) -> bool:
    return (folder / MANIFEST).exists()


def _without_look_alikes(
    sources: Sequence[Source], entries: Mapping[str, Sequence[Entry]], notes: list[str]
) -> tuple[Source, ...]:
    """The folders without submissions of a method that passes for one of a run, or of a submission before."""
    runs = [source for source in sources if source.submission is None]
    taken = list(dict.fromkeys(entry.method for source in runs for entry in entries[source.name]))
    shown = []
    for source in sources:
        if source.submission is not None:
            method = source.submission["method"]
            if other := look_alike(method, taken):
                problem = f"its method {quoted(method)} looks like {quoted(other)}, which is another"
                notes.append(printable(f"left out: the submission in {source.folder}: {problem}"))
                continue
            taken.append(method)
            notes.append(printable(f"{method}, submitted as {source.name!r}: {source.state}"))
        shown.append(source)
    return tuple(shown)


def _submission(folder: Path) -> dict[str, str]:
    """What the manifest of a submission says, in words. FileError where a file is not the one it names."""
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    for path in manifest.files:
        read_listed(folder, manifest, path)
    said = manifest.disclosure
    return {
        "name": manifest.name,
        "method": manifest.method,
        "created": manifest.created,
        "tuned on": ", ".join(said.tuned_on) or "none of the public cases",
        "authors": ", ".join(said.authors),
        "address": said.url or said.contact,
        "notes": said.notes,
        "digest": manifest.digest,
    }


def _case(path: Path) -> CaseRecord:
    return parse_record(read_bytes(path), str(path), CaseRecord)


def _result(path: Path) -> Result:
    """A result; the edge scores of a submission may stand in a file of their own."""
    result = parse_record(read_bytes(path), str(path), Result)
    if result.status != "ok" or result.edge_scores:
        return result
    tensors = tensors_beside(path)
    if not tensors.exists():
        return result
    edges, nodes = read_scores(read_bytes(tensors), str(tensors))
    return result.model_copy(update={"edge_scores": edges, "node_scores": nodes})


def _readable(paths: Iterable[Path], read: Callable[[Path], AnyRecord], notes: list[str]) -> Iterator[AnyRecord]:
    for path in paths:
        try:
            yield read(path)
        except (FileError, OSError, RecursionError) as e:
            reason = f"{path} is nested too deeply" if isinstance(e, RecursionError) else str(e)
            notes.append(f"left out: {printable(reason)}")


def _is_named(result: Result, source: Source, notes: list[str]) -> bool:
    longest = max(map(len, (result.method, result.case, result.ablation)))
    wrong = f"a name of {longest:,} characters" if longest > LONGEST_NAME else ""
    if max(abs(result.seed), abs(result.metrics_version or 0)) >= 2**63:
        wrong = "a seed or version beyond 64 bits"
    if wrong:
        notes.append(f"left out: a result in {source.name} with {wrong}")
    return not wrong


def _is_drawable(case: CaseRecord, source: Source, notes: list[str]) -> bool:
    """Whether the record is of a transformer: what is drawn from it must not fail."""
    edges = [*case.positives, *case.negatives, *case.ignored]
    wrong = ""
    try:
        ends = {end for edge in edges for end in parse_edge(edge)} | {*case.writers}
        wrong = next((f"{end[:80]!r} is no part of a transformer" for end in ends if not _is_place(end)), "")
        if not {parse_edge(edge)[0] for edge in edges} <= {*case.writers}:
            wrong = wrong or "an edge comes from a part that is not among its writers"
        if max(map(len, (case.id, case.ablation, case.program))) > LONGEST_NAME:
            wrong = f"a name of it has more than {LONGEST_NAME} characters"
        if not 0 <= case.comparators <= 1:
            wrong = f"{case.comparators} is no share of edges with comparators"
    except GaugeblockError as e:
        wrong = str(e)[:LONGEST_NAME]
    if wrong:
        notes.append(printable(f"left out: case {case.id[:LONGEST_NAME]} in {source.name}: {wrong}"))
    return not wrong


@lru_cache(maxsize=100_000)
def _is_place(name: str) -> bool:
    try:
        Place.of(name)
    except GaugeblockError:
        return False
    return True
