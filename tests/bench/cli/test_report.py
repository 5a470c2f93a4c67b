"""The command `report`: it reads results that an older version has written, and waits for no torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.site import read_site

OLD = Path(__file__).parents[2] / "data" / "results-0.1"
REPORT = """
import sys
from gaugeblock.cli import main

sys.argv = ["gaugeblock", "report", sys.argv[1]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "transformer_lens", "sklearn", "scipy.stats", "networkx"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_report_of_old_results_needs_no_torch(tmp_path):
    folder = shutil.copytree(OLD, tmp_path / "old")
    done = subprocess.run(
        [sys.executable, "-c", REPORT, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.returncode == 0, done.stderr
    assert "eap" in done.stdout
    assert "left out" not in done.stdout
    pages = read_site(folder / "site")
    assert "frac_prevs" in pages["index.html"].text
    assert any(path.startswith("methods/eap") for path in pages)
