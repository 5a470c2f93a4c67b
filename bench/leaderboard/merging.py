"""Which results of many folders, runs and submissions alike, meet on one board.

Results meet only if they are of one version of the metrics and, case by case, of one version of the case: the version
that most results are of; among equals the newer metrics, and the case of the folder given first. Two methods of one
name but of different code or parameters are two methods. Of two results of one job the first counts. Whatever is left
out is said in the notes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import final

from gaugeblock.leaderboard.entries import Entry
from gaugeblock.results.records import CaseRecord


@final
@dataclass(frozen=True)
class Merged:
    """Attributes:
    cases: one record per case and ablation.
    entries: by method as it is shown, case and ablation; each with one entry per seed.
    notes: what was left out and why.
    """

    cases: tuple[CaseRecord, ...]
    entries: dict[tuple[str, str, str], tuple[Entry, ...]]
    notes: tuple[str, ...]


def merge(cases: Sequence[CaseRecord], entries: Sequence[Entry], notes: Sequence[str] = ()) -> Merged:
    """What of these may stand on one board."""
    notes = list(notes)
    entries = _of_one_metrics_version(entries, notes)
    chosen = _of_one_case_version(cases, entries, notes)
    entries = _of_these_cases(chosen, entries, notes)
    by_job: dict[tuple[str, str, str], dict[int, Entry]] = {}
    twice: Counter[tuple[str, str, str]] = Counter()
    for entry in _named(entries, notes):
        seeds = by_job.setdefault((entry.method, entry.case, entry.ablation), {})
        first = seeds.setdefault(entry.seed, entry)
        if first is not entry:
            twice[entry.method, entry.folder, first.folder] += 1
    for (method, folder, first_folder), n in twice.items():
        notes.append(f"left out: {_results(n)} of {method} in {folder}: {first_folder} has the same jobs already")
    ordered = {key: tuple(seeds[seed] for seed in sorted(seeds)) for key, seeds in by_job.items()}
    return Merged(tuple(chosen.values()), ordered, tuple(notes))


def _results(n: int) -> str:
    return f"{n} result" if n == 1 else f"{n} results"


def _of_one_metrics_version(entries: Sequence[Entry], notes: list[str]) -> list[Entry]:
    versions = Counter(e.metrics_version for e in entries if e.ok)
    if len(versions) < 2:
        return list(entries)
    version = max(versions, key=lambda v: (versions[v], -1 if v is None else v))
    left_out = Counter((e.folder, e.metrics_version) for e in entries if e.ok and e.metrics_version != version)
    for (folder, other), n in left_out.items():
        notes.append(
            f"left out: {_results(n)} in {folder}: metrics of {_version(other)}; this board shows {_version(version)}"
        )
    return [e for e in entries if not e.ok or e.metrics_version == version]


def _version(version: int | None) -> str:
    return "an unnamed version" if version is None else f"version {version}"


def _of_one_case_version(
    cases: Sequence[CaseRecord], entries: Sequence[Entry], notes: list[str]
) -> dict[tuple[str, str], CaseRecord]:
    versions: dict[tuple[str, str], dict[str, CaseRecord]] = {}
    for case in cases:
        versions.setdefault((case.id, case.ablation), {}).setdefault(case.hash, case)
    done = Counter((e.case, e.ablation, e.case_hash) for e in entries if e.ok)
    chosen = {}
    for key, records in versions.items():
        best = max(records, key=lambda h: done[(*key, h)])
        chosen[key] = records[best]
        if len(records) > 1:
            notes.append(
                f"{key[0]} ({key[1]}) is there in {len(records)} versions; this board shows the one that most results "
                f"are of ({best}: {_results(done[(*key, best)])})"
            )
    return dict(sorted(chosen.items(), key=lambda item: (item[1].ablation, item[1].program, len(item[0][0]), item[0])))


def _of_these_cases(
    cases: dict[tuple[str, str], CaseRecord], entries: Sequence[Entry], notes: list[str]
) -> list[Entry]:
    stale: Counter[tuple[str, str, str]] = Counter()
    orphans: Counter[str] = Counter()
    kept = []
    for entry in entries:
        case = cases.get((entry.case, entry.ablation))
        if case is None:
            orphans[f"case {entry.case} ({entry.ablation}): {entry.error or 'it has no record in this folder'}"] += 1
        elif entry.case_hash != case.hash and (entry.ok or entry.case_hash is not None):
            stale[entry.case, entry.ablation, str(entry.case_hash)] += 1
        else:
            kept.append(entry)
    for (case_id, ablation, version), n in stale.items():
        notes.append(f"left out: {_results(n)} on {case_id} ({ablation}): of another version of the case ({version})")
    notes += [f"left out: {reason} ({_results(n)})" for reason, n in orphans.items()]
    return kept


def _named(entries: Sequence[Entry], notes: list[str]) -> Iterator[Entry]:
    """The entries with the names that their methods have on the board: other code or parameters, another name."""
    names: dict[tuple[str, str], str] = {}  # by name and identity
    in_folder: dict[tuple[str, str], str] = {}  # the first identity of a name in a folder
    taken: set[str] = set()
    for e in entries:
        if e.ok:
            in_folder.setdefault((e.folder, e.method), e.identity)
            if (e.method, e.identity) not in names:
                names[e.method, e.identity] = name = _free_name(e, taken)
                taken.add(name)
                if name != e.method:
                    notes.append(f"{name}: another {e.method}, of other code or other parameters")
    first = dict(reversed(names))
    for e in entries:
        identity = e.identity if e.ok else in_folder.get((e.folder, e.method), first.get(e.method, ""))
        name = names.get((e.method, identity), e.method)
        yield e if name == e.method else replace(e, method=name)


def _free_name(entry: Entry, taken: set[str]) -> str:
    if entry.method not in taken:
        return entry.method
    longer = f"{entry.method} · {entry.folder}"
    return longer if longer not in taken else next(n for i in count(2) if (n := f"{longer} ({i})") not in taken)
