"""The tables of what is known about cases, measured anew: docs/cases/core.md and docs/cases/certificates.md.

    python docs/scripts/make_truth_tables.py core            # the suite `core`: truth, certificates, controls
    python docs/scripts/make_truth_tables.py certificates    # every library program in plain form
    python docs/scripts/make_truth_tables.py core --only sort    # cases with "sort" in their id; prints, writes no page

Each finished measurement is a JSON file in build/truth_tables, so that a run that was stopped goes on where it was; one
of another state of the code is made anew, unless `--stale` says that it will do. Seconds are CPU time of one thread.
"""

import argparse
import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from gaugeblock.cases.case import Case
from gaugeblock.cases.case import case as load_case
from gaugeblock.cases.recipe import Recipe
from gaugeblock.cases.truth import ABLATIONS, Truth
from gaugeblock.compiled.writing import write_text
from gaugeblock.evaluation.evaluate import evaluate, make_task
from gaugeblock.methods.circuits.gradients import eap
from gaugeblock.metrics.recovery import stratum
from gaugeblock.programs import names
from gaugeblock.programs.errors import GaugeblockError
from gaugeblock.programs.registry import get
from gaugeblock.results.provenance import versions
from gaugeblock.suites.suites import CORE

DOCS = Path(__file__).parents[1]
CACHE = DOCS.parent / "build" / "truth_tables"
LONG_PROGRAMS = ("rover",)
METHODS = ("oracle", "weights", "prior", "edge_patching", "random")
PADDED, ROTATED = ("permute", "pad"), ("permute", "pad", "rotate")
VISIBLE_GRADIENT = 1e-4

Record = dict[str, Any]

FOOT = """
Written by `{command}` on {date}; {machine}, one thread per case. {seconds} CPU seconds in all.
"""

CORE_HEAD = """# The suite `core`

{count} cases. Each model has true and false edges; what the words mean, and what a certificate claims, is in
[truth.md](truth.md).

{green} of {count} certificates are green. *Heads* are those of the circuit, *κ* is the smallest share of pairs on which
a true edge matters, over all true edges and all four ablations, and *compared* is the share of true edges under
`resample` that have a false edge in the same place.
"""

DETAILS = """
## Under each ablation

A cell: true / false / ignored edges, smallest κ. *Minimal sets* are the minimal sufficient sets under the four
ablations in this order, as their number, and by what they were found (e: all sets were tried; s: all that a search from
the true edges reaches; p: part of that search). *Jointly* counts the sets of two or three edges that matter only
together. The last two columns are seconds for truth under the four ablations, and for the certificate.
"""

CONTROLS = """
## What the numbers mean

The programs of the suite in each variant, under `resample`. A cell: mean AUROC / mean AUPRC, not matched by place, and
mean skill. `oracle` knows the truth, `weights` only the weights, `prior` only where circuits of other programs lie,
`edge_patching` ablates every edge alone, exactly. Rows with decoy, soft and camouflage hold the cases of `core` that
have them.
"""

REDUNDANT = """
### Where exact edge patching is below 1

It gives some true edges nothing: *jointly* are the edges it misses that change nothing alone, with a set each that
matters; *in the mean* are those with effects that it averages to nothing, or that its metric does not see.
"""

SOFT = """
### Soft attention and gradients

The smallest sharpness that the search for `soft` accepts, and the share of true edges with |EAP| > 10⁻⁴, beside the
same model with saturated attention.
"""

CAMOUFLAGED = """
### Camouflage and the weights

What `weights` gets, AUROC / AUPRC / skill, on the same program without and with camouflage.
"""

CERTIFICATES_HEAD = """# Certificates of the library

Every program of the library in plain form{without}: {green} of {count} certificates are green. A cell: true edges,
and the smallest share of pairs on which one of them matters. The last column is seconds for truth and certificate.
"""


# --- measuring -----------------------------------------------------------------------------------------------------


def truth_record(case: Case) -> Record:
    """What is true of a case under every ablation, and whether the checker agrees."""
    start = time.process_time()
    truths = {ablation: case.truth(ablation) for ablation in ABLATIONS}
    labelled = time.process_time()
    failed = sorted({_failure(claim) for claim in case.certificate.claims if not claim.ok})
    done = time.process_time()
    model = case.model
    return {
        "hash": case.hash,
        "layers": model.hooked.cfg.n_layers,
        "heads": len({site for site in model.provenance.sites.values() if site.startswith("a")}),
        "causal": "causal" in case.program.tags,
        "numeric": case.pairs.numeric,
        "edges": len(model.graph.edges),
        "sharpness": model.sharpness,
        "truth": {ablation: _summary(truth) for ablation, truth in truths.items()},
        "ok": case.certificate.ok,
        "failed": failed,
        "seconds": {"truth": labelled - start, "certificate": done - labelled},
    }


def _failure(claim: Any) -> str:
    return claim.claim if claim.ablation is None else f"{claim.claim} ({claim.ablation})"


def _summary(truth: Truth) -> Record:
    places = {stratum(edge) for edge in truth.negatives}
    compared = [stratum(edge) in places for edge in truth.positives]
    return {
        "classes": [len(truth.positives), len(truth.negatives), len(truth.ignored)],
        "kappa": min((w.kappa for w in truth.witnesses.values()), default=None),
        "comparators": sum(compared) / len(compared) if compared else None,
        "sufficient": [len(edges) for edges in truth.sufficient.sets],
        "found_by": truth.sufficient.found_by,
        "joint": [list(edges) for edges in truth.joint],
    }


def control_record(case: Case) -> Record:
    """What controls and exact patching get on a case under resample, and what gradients see of it."""
    start = time.process_time()
    truth = case.truth("resample")
    results = {name: evaluate(name, case) for name in METHODS}
    patching = results["edge_patching"]
    missed = sorted(e for e in truth.positives if abs(patching.edge_scores[e]) <= patching.noise)
    positives, exact = sorted(truth.positives), replace(case, model=case.model.to(dtype=torch.float64))
    gradients = eap(make_task(exact, "resample", 0))
    return {
        "sharpness": case.model.sharpness,
        "scores": {n: {s: r.scores[s] for s in ("auroc", "auprc", "skill")} for n, r in results.items()},
        "jointly": {e: list(truth.witnesses[e].edges) for e in missed if len(truth.witnesses[e].edges) > 1},
        "in the mean": [e for e in missed if len(truth.witnesses[e].edges) == 1],
        "visible": float(np.mean([abs(gradients[e]) > VISIBLE_GRADIENT for e in positives])) if positives else None,
        "seconds": {"controls": time.process_time() - start},
    }


MEASURES: dict[str, Callable[[Case], Record]] = {"truth": truth_record, "controls": control_record}


def measure(what: str, case_id: str, code: str, stale: bool) -> Record:
    """A record from the cache, or made and put there; {"error": …} where there is no such model."""
    path = CACHE / what / f"{quote(case_id, safe='')}.json"
    if path.exists():
        known: Record = json.loads(path.read_text(encoding="utf-8"))
        if stale or known["code"] == code:
            return known
    torch.set_num_threads(1)
    record: Record = {"id": case_id, "what": what, "code": code}
    try:
        record |= MEASURES[what](load_case(case_id))
    except GaugeblockError as e:
        record |= {"error": f"{type(e).__name__}: {e}", "seconds": {}}
    load_case.cache_clear()  # a worker measures many cases, and each holds all its activations
    write_text(path, json.dumps(record, indent=1) + "\n")
    return record


def measure_all(jobs: Sequence[tuple[str, str]], workers: int, stale: bool) -> list[Record]:
    """Records in the order of the jobs (what, case id)."""
    code = versions()["code"]
    records = Parallel(n_jobs=workers, return_as="generator")(delayed(measure)(*job, code, stale) for job in jobs)
    return list(tqdm(records, total=len(jobs), unit="record"))


# --- the page about core -------------------------------------------------------------------------------------------


def core_jobs(only: str) -> list[tuple[str, str]]:
    """Truth of each case of core; controls on its program in plain form, padded, rotated, and as it is."""
    jobs: dict[tuple[str, str], None] = {}
    for case_id in CORE:
        if only not in case_id:
            continue
        recipe = Recipe.parse(case_id)
        plain = replace(recipe, variants=(), seed=0)
        forms = (plain, *(replace(recipe, variants=variants) for variants in (PADDED, ROTATED, recipe.variants)))
        jobs |= dict.fromkeys([("truth", case_id), *(("controls", form.id) for form in forms)])
    return list(jobs)


def core_page(records: Sequence[Record]) -> str:
    """The page, from all records of `core_jobs`."""
    truths = [r for r in records if r["what"] == "truth"]
    controls = [r for r in records if r["what"] == "controls" and "error" not in r]
    parts = [CORE_HEAD.format(count=len(truths), green=sum(r.get("ok", False) for r in truths))]
    head = ("case", "why it is there", "layers", "heads", "causal", "output", "edges", "true", "κ", "compared", "ok")
    parts.append(table(head, map(_main_row, truths)))
    parts += [DETAILS, table(("case", *ABLATIONS, "minimal sets", "jointly", "truth", "certificate"), _details(truths))]
    parts += [CONTROLS, table(("variant", "cases", *METHODS), _groups(controls))]
    missing = [r for r in controls if (r["scores"]["edge_patching"]["skill"] or 0) < 1]
    if missing:
        head = ("case", "skill", "jointly", "in the mean")
        parts += [REDUNDANT, table(head, map(_redundancy, missing))]
    else:
        parts.append("Exact edge patching has skill 1 on every one of them: no redundancy hides a true edge from it.\n")
    by_id = {r["id"]: r for r in controls}
    without = [(r, by_id.get(replace(Recipe.parse(r["id"]), variants=ROTATED).id)) for r in controls]
    compared = [(r, other) for r, other in without if other is not None]
    soft = [
        (r["id"], f"{r['sharpness']:g}", percent(other["visible"]), percent(r["visible"]))
        for r, other in compared
        if r["sharpness"] is not None
    ]
    hidden = [
        (r["id"], _scores(other["scores"]["weights"]), _scores(r["scores"]["weights"]))
        for r, other in compared
        if "camouflage" in Recipe.parse(r["id"]).variants
    ]
    parts += [SOFT, table(("case", "sharpness", "saturated", "soft"), soft)] if soft else []
    parts += [CAMOUFLAGED, table(("case", "without", "with"), hidden)] if hidden else []
    return "\n".join(parts)


def _main_row(record: Record) -> list[str]:
    if "error" in record:
        return [record["id"], CORE[record["id"]], *["–"] * 8, f"✗ {record['error']}"]
    resample = record["truth"]["resample"]
    kappas = [truth["kappa"] for truth in record["truth"].values()]
    return [
        record["id"],
        CORE[record["id"]],
        str(record["layers"]),
        str(record["heads"]),
        "yes" if record["causal"] else "no",
        "number" if record["numeric"] else "choice",
        str(record["edges"]),
        str(resample["classes"][0]),
        percent(None if None in kappas else min(kappas)),
        percent(resample["comparators"]),
        verdict(record),
    ]


def _details(truths: Sequence[Record]) -> Iterable[list[str]]:
    for record in truths:
        if "error" in record:
            continue
        by_ablation = [record["truth"][ablation] for ablation in ABLATIONS]
        cells = [f"{' / '.join(map(str, t['classes']))}, {percent(t['kappa'])}" for t in by_ablation]
        sets = " ".join(f"{len(t['sufficient'])}{t['found_by'][0]}" for t in by_ablation)
        joint = " ".join(str(len(t["joint"])) for t in by_ablation)
        seconds = (f"{record['seconds'][what]:.1f}" for what in ("truth", "certificate"))
        yield [record["id"], *cells, sets, joint, *seconds]


def _groups(controls: Sequence[Record]) -> Iterable[list[str]]:
    """Means by variant, in order of the number of variants."""

    def variant(record: Record) -> str:
        return " + ".join(Recipe.parse(record["id"]).variants) or "plain"

    def order(record: Record) -> tuple[int, str]:
        return len(Recipe.parse(record["id"]).variants), variant(record)

    for name, group in groupby(sorted(controls, key=order), key=variant):
        members = list(group)
        cells = []
        for method in METHODS:
            columns = ([m["scores"][method][s] for m in members] for s in ("auroc", "auprc", "skill"))
            known = ([value for value in column if value is not None] for column in columns)
            cells.append(" / ".join(f"{np.mean(values):.2f}" if values else "–" for values in known))
        yield [name, str(len(members)), *cells]


def _redundancy(record: Record) -> list[str]:
    skill = record["scores"]["edge_patching"]["skill"]
    jointly = "; ".join(sorted({" and ".join(edges) for edges in record["jointly"].values()}))
    return [
        record["id"],
        "–" if skill is None else f"{skill:.2f}",
        f"{len(record['jointly'])}: {jointly}" if jointly else "",
        ", ".join(record["in the mean"]),
    ]


def _scores(scores: Record) -> str:
    return " / ".join("–" if value is None else f"{value:.2f}" for value in scores.values())


# --- the page about the library ------------------------------------------------------------------------------------


def library_jobs(only: str, with_long: bool) -> list[tuple[str, str]]:
    """Truth of every program with one output."""
    chosen = [name for name in names() if only in name and len(get(name).outputs) == 1]
    return [("truth", name) for name in chosen if with_long or name not in LONG_PROGRAMS]


def library_page(records: Sequence[Record], with_long: bool) -> str:
    """The page, from all records of `library_jobs`."""
    without = "" if with_long else f", without {' and '.join(f'`{name}`' for name in LONG_PROGRAMS)}"
    green = sum(r.get("ok", False) for r in records)
    head = ("program", "layers", "heads", *ABLATIONS, "certificate", "s")
    rows = [_library_row(record) for record in records]
    return CERTIFICATES_HEAD.format(without=without, green=green, count=len(records)) + "\n" + table(head, rows)


def _library_row(record: Record) -> list[str]:
    if "error" in record:
        return [record["id"], *["–"] * 6, f"✗ {record['error']}", ""]
    truths = [record["truth"][ablation] for ablation in ABLATIONS]
    cells = [f"{t['classes'][0]}, {percent(t['kappa'])}" for t in truths]
    seconds = f"{sum(record['seconds'].values()):.1f}"
    return [record["id"], str(record["layers"]), str(record["heads"]), *cells, verdict(record), seconds]


# --- writing -------------------------------------------------------------------------------------------------------


def verdict(record: Record) -> str:
    """✓, or ✗ and the claims that fail."""
    return "✓" if record["ok"] else f"✗ {', '.join(record['failed'])}"


def percent(share: float | None) -> str:
    """A share; never 0 % for what is not zero."""
    if share is None:
        return "–"
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.2%}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; the first column is code."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for first, *rest in rows:
        lines.append("| " + " | ".join([f"`{first}`", *(cell.replace("|", "\\|") for cell in rest)]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("page", choices=("core", "certificates"))
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="of the case id; then no page is written")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--stale", action="store_true", help="reuse records of another state of the code")
    parser.add_argument("--long", action="store_true", help=f"{' and '.join(LONG_PROGRAMS)} too")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}")
    parser.add_argument("--date", default=datetime.datetime.now(tz=datetime.UTC).date().isoformat())
    options = parser.parse_args()
    core = options.page == "core"
    jobs = core_jobs(options.only) if core else library_jobs(options.only, options.long)
    if not jobs:
        parser.error(f"no case has {options.only!r} in its id")
    records = measure_all(jobs, options.workers, options.stale)
    seconds = sum(sum(record["seconds"].values()) for record in records)
    command = f"python docs/scripts/make_truth_tables.py {options.page}{' --long' if options.long else ''}"
    text = core_page(records) if core else library_page(records, options.long)
    text += FOOT.format(command=command, date=options.date, machine=options.machine, seconds=f"{seconds:,.0f}")
    if options.only:
        print(text)
    else:
        page = DOCS / "cases" / f"{options.page}.md"
        write_text(page, text)
        print(page)


if __name__ == "__main__":
    main()
