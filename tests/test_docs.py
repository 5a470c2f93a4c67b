"""What the documents say that a command wrote: it is what the command would write."""

import importlib.util
import re
from pathlib import Path

import pytest

from gaugeblock.evaluation.entrants import entrant_names
from gaugeblock.evaluation.scores import SCORES
from gaugeblock.pictures import KINDS
from gaugeblock.programs.library import COLLECTED
from gaugeblock.programs.registry import get, names

DOCS = Path(__file__).resolve().parents[1] / "docs"


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows():
    """Cells of the library's tables by program."""
    lines = (DOCS / "library.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row for row in cells}


def test_the_library_table_has_every_program_and_every_published_id():
    assert list(rows()) == [name for name in names() if name in rows()]
    assert set(rows()) == set(names())
    text = (DOCS / "library.md").read_text(encoding="utf-8")
    assert set(COLLECTED) <= set(re.findall(r"`([\w.]+)`", text))


@pytest.mark.parametrize("name", ["hist", "sort", "dyck2", "reachable_in_k", "rover", "identity", "most_frequent"])
def test_the_library_table_says_what_a_program_compiles_to(name):
    made = script("make_library")
    assert list(made.row(get(name))[:-1]) == rows()[name][: len(made.COLUMNS) - 1]


def test_the_gallery_shows_every_kind_with_the_command_that_drew_it():
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]+\]\((gallery/[^)]+)\)", text)
    assert sorted(shown) == sorted(f"gallery/{file.name}" for file in (DOCS / "gallery").iterdir())
    assert set(re.findall(r"--picture (\w+)", text)) == set(KINDS)
    drawn = [command.split()[-1] for command in re.findall(r"gaugeblock show .*", text) if " -o " in command]
    assert {f"gallery/{name}" for name in drawn} <= set(shown)
    assert sum(file.stat().st_size for file in (DOCS / "gallery").iterdir()) < 400_000


def test_a_picture_of_the_gallery_is_what_its_command_draws(tmp_path, monkeypatch):
    made = script("make_gallery")
    monkeypatch.setattr(made, "FOLDER", tmp_path)
    made._drawn(made.PICTURES["Flow"][1])
    (file,) = tmp_path.iterdir()
    assert file.read_text() == (DOCS / "gallery" / file.name).read_text()


def test_every_method_and_every_score_is_explained():
    for page, names_of in (("methods.md", entrant_names()), ("metrics.md", SCORES)):
        explained = set(re.findall(r"`(\w+)`", (DOCS / page).read_text(encoding="utf-8")))
        assert set(names_of) <= explained, set(names_of) - explained
