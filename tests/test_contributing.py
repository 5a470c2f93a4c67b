"""CONTRIBUTING.md is followed to the letter, in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.documents import ROOT, python_blocks

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def step(title: str) -> tuple[str, str]:
    """The file that a section says to write to, and what it says to write."""
    section = TEXT.split(f"\n## Add a {title}: ")[1].split("\n## ")[0]
    (code,) = python_blocks(section)
    return re.findall(r"In `([\w/]+\.py)`:", section)[0], code


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, laid out as it is imported."""
    folder = tmp_path / "gaugeblock"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "bench", folder, ignore=ignore)
    for part in ("programs", "compiled", "methods", "metrics"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignore)
    return folder


def run(package: Path, code: str) -> str:
    """What code prints that imports the copy."""
    checked = f"import gaugeblock as gb\nassert gb.__file__.startswith({str(package)!r}), gb.__file__\n{code}"
    settings = {**os.environ, "PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", checked], env=settings, cwd=package.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_program_and_a_method_are_one_file_each(package: Path) -> None:
    file, code = step("program")
    name = re.findall(r"^def ([a-z]\w+)", code, flags=re.MULTILINE)[0]
    with (package / file).open("a", encoding="utf-8") as module:
        module.write(f"\n\n{code}\n\nPROGRAMS += ({name},)\n")
    file, code = step("method")
    assert not (package / file).exists()
    (package / file).write_text(code, encoding="utf-8")
    method = re.findall(r"^def (\w+)", code, flags=re.MULTILINE)[0]
    printed = run(
        package,
        f"""
program = gb.programs.get({name!r})
assert {name!r} in gb.programs.names()
xs = list("abcda")
assert gb.compile(program)(xs) == program(xs) == program.reference(xs)
assert {method!r} in gb.methods.method_names()
gb.check_method({method!r})
print(gb.evaluate({method!r}, gb.case("frac_prevs")).scores["skill"])
""",
    )
    assert printed == "1.0"


def test_a_variant_is_a_module_and_a_row(package: Path) -> None:
    file, code = step("variant")
    (package / file).write_text(code, encoding="utf-8")
    name, row = re.findall(r'The row is `"(\w+)": (.+)`\.', TEXT)[0]
    registry = package / "compiled" / "variants" / "registry.py"
    text = registry.read_text(encoding="utf-8")
    text = text.replace(
        "VARIANTS = {",
        f"from gaugeblock.{file[:-3].replace('/', '.')} import {name}\nVARIANTS = {{\n    {name!r}: {row},",
    )
    registry.write_text(text, encoding="utf-8")
    printed = run(
        package, f"case = gb.case('hist/{name}#1')\nprint(case.model.hooked.cfg.n_layers, case.model('abca'))"
    )
    assert printed == "2 [2, 1, 1, 2]"


def insert(path: Path, after: str, text: str) -> None:
    """Put a text behind the one place where `after` stands."""
    before, place, behind = path.read_text(encoding="utf-8").partition(after)
    assert place
    assert after not in behind
    path.write_text(before + place + text + behind, encoding="utf-8")


def test_a_metric_is_three_files(package: Path) -> None:
    file, code = step("metric")
    name = re.findall(r"^def (\w+)", code, flags=re.MULTILINE)[0]
    (row,) = re.findall(r"`(Score\(.+\))`", TEXT)
    insert(
        package / file,
        "or (None, None)\n    f1 = best_f1(scores, labels)\n    return {",
        f"{name!r}: {name}(scores, labels),",
    )
    with (package / file).open("a", encoding="utf-8") as module:
        module.write(f"\n\n{code}")
    insert(package / "metrics" / "__init__.py", "gaugeblock.metrics.recovery import (", f"{name},")
    insert(package / "evaluation" / "scores.py", "_ROWS = (", f"{row},")
    printed = run(
        package,
        f"""
import doctest
from gaugeblock.evaluation.scores import SCORES
from gaugeblock.metrics import recovery
assert doctest.testmod(recovery).failed == 0
assert gb.metrics.{name} is recovery.{name}
assert SCORES[{name!r}].better == "lower"
result = gb.evaluate("oracle", gb.case("frac_prevs"))
print(result.scores[{name!r}])
""",
    )
    assert 0 < float(printed) < 1


def test_files_that_the_steps_name_exist() -> None:
    new = {step("method")[0], step("variant")[0]}
    for name in set(re.findall(r"`((?:bench|programs|compiled|methods|metrics|docs|tests)/[\w/]+\.\w+)`", TEXT)) - new:
        assert (ROOT / name).is_file(), name
