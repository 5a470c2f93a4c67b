"""From the command to the page on the real stack, and the whole `quick` suite where there is time."""

import subprocess
import sys
from pathlib import Path

import pytest

from gaugeblock.leaderboard.board import read_leaderboard
from gaugeblock.results.files import read_result, result_paths

MINE = """
def good(task):
    return {edge: float(len(edge)) for edge in task.graph.edges}

def nan(task):
    return {edge: float("nan") for edge in task.graph.edges}

def few(task):
    return {"embed->logits": 1.0}

def broken(task):
    raise RuntimeError("the method is broken")
"""


def gaugeblock(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gaugeblock.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_from_the_command_to_the_page(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    methods = ["oracle", "eap", *(f"mine.py:{name}" for name in ("good", "nan", "few", "broken"))]
    options = [word for method in methods for word in ("--method", method)]
    run = ["run", "--suite", "frac_prevs", "--suite", "hist", *options, "--workers", 2, "--out", "out"]
    done = gaugeblock(*run, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "6 jobs failed" in done.stderr
    assert "Traceback" not in done.stderr
    page = tmp_path / "out" / "site" / "index.html"
    assert str(page) in done.stdout
    results = {path: read_result(path) for path in result_paths(tmp_path / "out")}
    assert len(results) == 12
    assert {r.status for r in results.values() if r.method in ("oracle", "eap")} == {"ok"}
    assert [r.status for r in results.values() if "good" in r.method] == ["ok", "ok"]
    assert all("the method is broken" in r.error for r in results.values() if "broken" in r.method)

    times = {path: path.stat().st_mtime_ns for path, r in results.items() if r.status == "ok"}
    again = gaugeblock(*run, cwd=tmp_path)
    assert again.returncode == 2
    assert times == {path: path.stat().st_mtime_ns for path in times}


@pytest.mark.slow
def test_quick(tmp_path):
    done = gaugeblock("run", "--suite", "quick", "--out", "quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    board = read_leaderboard(tmp_path / "quick")
    assert len(board.cases) == 8
    assert all(case.certified for case in board.cases)
    oracle = next(row for row in board.rows if row.method == "oracle")
    assert all(cell.score("skill") == 1.0 for cell in oracle.cells)
