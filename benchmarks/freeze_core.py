"""Makes bench/suites/data/core.json: for each case of the suite `core` its version and its hash.

Where a hash has changed, the version goes up by one, and the case is named; a new case starts at 1. Results of
different versions of a case cannot be compared, so run this only when a case has to change.

    python benchmarks/freeze_core.py [--workers 2]
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from gaugeblock.cases.case import case
from gaugeblock.compiled.writing import write_text
from gaugeblock.suites.suites import CORE

TARGET = Path(__file__).resolve().parents[1] / "bench" / "suites" / "data" / "core.json"


def hash_of(case_id: str) -> str:
    """In one thread; what the case holds is let go of."""
    torch.set_num_threads(1)
    new = case(case_id).hash
    case.cache_clear()
    return new


def frozen(known: dict[str, Any], hashes: dict[str, str]) -> dict[str, Any]:
    """The new contents of the file."""
    entries = {}
    for case_id, new in hashes.items():
        old = known.get(case_id, {"version": 0, "hash": None})
        entries[case_id] = {"version": old["version"] + (old["hash"] != new), "hash": new}
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--workers", type=int, default=1)
    jobs = (delayed(hash_of)(case_id) for case_id in CORE)
    made = Parallel(n_jobs=parser.parse_args().workers, return_as="generator")(jobs)
    hashes = dict(zip(CORE, tqdm(made, total=len(CORE), unit="case"), strict=True))
    known = json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {}
    entries = frozen(known, hashes)
    for case_id, entry in entries.items():
        if entry != known.get(case_id):
            print(f"{case_id}: version {entry['version']}")
    write_text(TARGET, json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
