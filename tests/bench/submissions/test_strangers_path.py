"""What somebody does who has never seen this: write a method, submit, verify, make the leaderboard, look at it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.browser import BROWSER, tab

METHOD = '''"""Edges matter as much as what their writer writes differs between clean and corrupted inputs."""


def differing(task, power=1.0):
    _, clean = task.model.run_with_cache(task.clean)
    _, corrupted = task.model.run_with_cache(task.corrupted)
    layers = {name: (clean[name] - corrupted[name]).abs().mean() for name in clean if name.endswith("_post")}
    embedded = (clean["hook_embed"] - corrupted["hook_embed"]).abs().mean()
    size = {writer: layers.get(f"blocks.{writer[1:2]}.hook_resid_post", embedded) for writer in task.graph.writers}
    return {edge: float(size[edge.partition("->")[0]]) ** power for edge in task.graph.edges}
'''
CASES = ("hist@v3n4", "first_token@v3n4/permute+pad#1")


def gaugeblock(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gaugeblock", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a method, its submission and the site."""
    path = tmp_path_factory.mktemp("stranger")
    (path / "mine.py").write_text(METHOD)
    suite = [part for case in CASES for part in ("--suite", case)]
    done = gaugeblock(path, "submit", "-m", "mine.py:differing", *suite, "-o", "mine", "--workers", "1")
    assert done.returncode == 0, done.stderr
    done = gaugeblock(path, "run", "-m", "eap", "-m", "oracle", *suite, "-o", "theirs", "--workers", "1")
    assert done.returncode == 0, done.stderr
    done = gaugeblock(path, "leaderboard", "theirs", "mine", "-o", "site")
    assert done.returncode == 0, done.stderr
    assert "differing" in done.stdout
    return path


def test_the_submission_is_verified_and_a_better_score_is_not(folder: Path) -> None:
    done = gaugeblock(folder, "verify", "mine", "--rerun", "mine.py:differing", "--json", "found.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((folder / "found.json").read_text())["ok"]
    table = folder / "mine" / "scores.jsonl"
    lines = table.read_text()
    table.write_text(lines.replace('"skill":', '"skill": 1.0, "old":', 1))
    try:
        done = gaugeblock(folder, "verify", "mine")
        assert done.returncode == 2
        assert "scores.jsonl" in done.stderr
    finally:
        table.write_text(lines)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_from_the_ranking_to_the_circuit_with_clicks(folder: Path, tmp_path: Path) -> None:
    async def look() -> None:
        async with tab(tmp_path) as page:
            await page.open(folder / "site" / "index.html")
            assert await page.read("document.querySelectorAll('main table tbody tr').length") >= 3
            await page.click('a[href^="methods/"][href*="differing"]')
            assert "differing" in await page.read("document.querySelector('h1').textContent")
            await page.click('main a[href*="cases/hist"]')
            assert await page.read("document.querySelector('h1').textContent.trim()") != ""
            assert "differing" in await page.read("document.querySelector('.circuit-box select').value")
            kinds = "['hit', 'miss'].map(k => document.querySelectorAll('.circuit-box [data-edge].' + k).length)"
            hits, misses = await page.read(kinds)
            record = json.loads(next((folder / "mine" / "cases").glob("hist*.json")).read_text())
            assert hits + misses == len(record["positives"])
            assert page.errors == []
            assert {url.partition(":")[0] for url in page.requests} <= {"file", "data"}

    asyncio.run(look())
