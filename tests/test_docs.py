"""What the documents say: it is true, their links lead somewhere, and their Python runs."""

import re
import subprocess
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from gaugeblock.pictures import KINDS
from gaugeblock.programs.registry import get, names
from support.documents import (
    DOCS,
    PAGES,
    ROOT,
    headings,
    links,
    name_of,
    python_blocks,
    reasons_not_to_run,
    run_block,
    script,
)

GALLERY = DOCS / "gallery"
WITH_PYTHON = [
    page for page in PAGES if python_blocks(page.read_text(encoding="utf-8")) and page.name != "CONTRIBUTING.md"
]
"""test_contributing.py follows CONTRIBUTING.md, which makes files that are not there."""

OURS = [page for page in PAGES if DOCS in page.parents or page == ROOT / "README.md"]
"""The pages that say how things are, and not how they were or could be."""


SLOW = {"submitting.md"}


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=[pytest.mark.slow] if p.name in SLOW else [], id=name_of(p)) for p in WITH_PYTHON]
)
def test_python_in_the_documents_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run in order, with the same names; each line `expression  # -> value` is checked."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    for block in python_blocks(page.read_text(encoding="utf-8")):
        run_block(block, known)


def test_few_blocks_of_python_are_not_run() -> None:
    reasons = {name_of(page): reasons_not_to_run(page.read_text(encoding="utf-8")) for page in PAGES}
    assert {name: len(those) for name, those in reasons.items() if those} == {
        "docs/methods/swap.md": 1,
        "docs/running/scale.md": 1,
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_a_file_and_to_a_heading(page: Path) -> None:
    for path, heading in links(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} does not exist"
        if heading:
            assert heading in headings(target.read_text(encoding="utf-8")), f"{path} has no heading #{heading}"


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / path).resolve() for path, _ in links(index.read_text(encoding="utf-8")) if path}
    assert {page for page in PAGES if DOCS in page.parents} - {index} <= linked


def test_files_that_code_and_documents_name_exist() -> None:
    """Those in docs/, and those of code that a document names with its folder."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for path in (ROOT / name for name in tracked):
        if path.suffix in {".py", ".md", ".toml", ".yml", ".html", ""} and path.is_file():
            text = path.read_text(encoding="utf-8")
            for name in re.findall(r"(?<![\w/.])docs/(?:\w+/)*[a-z_]+\.(?:md|py|svg)", text):
                assert (ROOT / name).exists(), f"{path} names {name}"
            for name in re.findall(r"`(\w+/[\w/]*\.py)`", text) if path in OURS else ():
                assert any(f"/{file}".endswith(f"/{name}") for file in tracked), f"{path} names {name}"


def test_names_of_ours_that_documents_use_exist() -> None:
    for page in OURS:
        for name in re.findall(r"`gaugeblock\.([\w.]+)\W", page.read_text(encoding="utf-8")):
            resolve_name(f"gaugeblock.{name}")


def rows() -> dict[str, list[str]]:
    """Cells of the library's tables by program."""
    lines = (DOCS / "programs" / "library.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row for row in cells}


def test_the_library_table_is_of_programs_of_the_library() -> None:
    """Whether it has all of them, and in order, `make check` says."""
    assert rows().keys() <= set(names())


@pytest.mark.parametrize("name", ["hist", "sort", "dyck2", "reachable_in_k", "rover", "identity", "most_frequent"])
def test_the_library_table_says_what_a_program_compiles_to(name: str) -> None:
    made = script("make_library")
    assert list(made.row(get(name))[:-1]) == rows()[name][: len(made.COLUMNS) - 1]


def test_the_gallery_shows_every_kind_with_the_command_that_drew_it() -> None:
    text = (GALLERY / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert sorted(shown) == sorted(file.name for file in GALLERY.glob("*.svg"))
    assert set(re.findall(r"--picture (\w+)", text)) == set(KINDS)
    drawn = [command.split()[-1] for command in re.findall(r"gaugeblock show .*", text) if " -o " in command]
    assert set(drawn) <= set(shown)
    assert sum(file.stat().st_size for file in GALLERY.iterdir()) < 400_000


def test_a_picture_of_the_gallery_is_what_its_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = script("make_gallery")
    monkeypatch.setattr(made, "FOLDER", tmp_path)
    made._drawn(made.PICTURES["Flow"][1])
    (file,) = tmp_path.iterdir()
    assert file.read_text() == (GALLERY / file.name).read_text()
