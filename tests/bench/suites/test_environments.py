"""Another environment, the same cases: clean processes with other numbers of threads find the same hashes."""

import os
import subprocess
import sys

import pytest

from gaugeblock.suites.suites import CORE

SMALL = (
    "frac_prevs@v2n3/permute+pad+soft+rotate#1",
    "last_seen@v2n3/permute+pad+decoy+rotate#1",
    "average/permute+pad+camouflage+rotate#1",
)
CODE = """
import sys, torch
from gaugeblock.cases import case
torch.set_num_threads(int(sys.argv[1]))
for case_id in sys.argv[2:]:
    print(case(case_id).hash)
    case.cache_clear()
"""


def hashes(case_ids, threads):
    """By a process for each number of threads, side by side."""
    running = []
    for n in threads:
        environment = {f"{library}_NUM_THREADS": str(n) for library in ("OMP", "MKL", "OPENBLAS")}
        clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "VIRTUAL_ENV", "TMPDIR")}
        environment |= {"OMP_WAIT_POLICY": "passive", "PYTHONHASHSEED": str(n)}
        command = [sys.executable, "-W", "ignore", "-c", CODE, str(n), *case_ids]
        running.append(subprocess.Popen(command, env=clean | environment, stdout=subprocess.PIPE, text=True))
    printed = [process.communicate(timeout=3000)[0].split() for process in running]
    assert [process.returncode for process in running] == [0] * len(running)
    assert all(len(one) == len(case_ids) for one in printed)
    return printed


def test_small_cases_have_one_hash_whatever_the_threads():
    one, three = hashes(SMALL, (1, 3))
    assert one == three


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_the_cases_of_core_have_one_hash_whatever_the_threads(part):
    cases = [*CORE][part::8]
    one, four = hashes(cases, (1, 4))
    assert one == four
