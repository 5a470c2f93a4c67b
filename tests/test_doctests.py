"""The examples in docstrings run, and every public function has one."""

import doctest
from importlib import import_module
from typing import Any

import pytest

import gaugeblock
from gaugeblock import metrics, programs
from gaugeblock.methods import registry
from support.documents import ROOT

FOLDERS = {"bench": "gaugeblock", **{n: f"gaugeblock.{n}" for n in ("programs", "compiled", "methods", "metrics")}}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules_with_examples() -> list[str]:
    """The modules in whose files `>>>` stands, by the name under which they are imported."""
    names = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(ROOT / folder).with_suffix("").parts
                names.append(".".join([package, *(parts[:-1] if parts[-1] == "__init__" else parts)]))
    return names


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_run(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what examples write
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))  # what examples register
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    for example in doctest.DocTestFinder(exclude_empty=True).find(import_module(name)):
        runner.run(example, out=report.append)
    assert not runner.summarize(verbose=False).failed, "".join(report)


@pytest.mark.parametrize("package", [gaugeblock, programs, metrics], ids=lambda package: package.__name__)
def test_every_public_function_and_class_has_an_example(package: Any) -> None:
    """The example of a class may be that of a method."""
    without = []
    for name in package.__all__:
        thing = getattr(package, name)
        if callable(thing) and not (isinstance(thing, type) and issubclass(thing, Exception)):
            texts = [thing.__doc__, *(member.__doc__ for member in vars(thing).values() if isinstance(thing, type))]
            if not any(">>> " in (text or "") for text in texts):
                without.append(name)
    assert not without
