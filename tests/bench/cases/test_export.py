"""Exported cases: whole folders that tell all, to those who have nothing of ours too."""

import json
import shutil
import subprocess
import sys
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gaugeblock as gb
from gaugeblock.cases import export as module
from gaugeblock.cases.case import Case, case
from gaugeblock.cases.certificate import Certificate
from gaugeblock.cases.export import export
from gaugeblock.cases.recipe import Recipe
from gaugeblock.cases.truth import ABLATIONS
from gaugeblock.compiled.compiler import compile
from gaugeblock.programs.errors import FileError
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import everything, key
from gaugeblock.programs.program import program

SCRIPT = Path(__file__).parents[3] / "examples" / "check_witness.py"

FILES = {
    "README.md",
    "certificate.json",
    "config.json",
    "model.json",
    "model.safetensors",
    "pairs.json",
    "variables.json",
    *(f"truth-{ablation}.json" for ablation in ABLATIONS),
}

# Runs the example on one folder after another, in a process to which this library is not to be had.
RUN_ALONE = """
import runpy, sys
sys.modules["gaugeblock"] = None
for folder in sys.argv[1:]:
    sys.argv[1:] = [folder]
    try:
        runpy.run_path({script!r}, run_name="__main__")
        print(folder, "is right")
    except AssertionError as error:
        print(folder, "is wrong about", error.args[0][0])
assert not [name for name in sys.modules if name.startswith("gaugeblock.")]
"""


@pytest.fixture(autouse=True)
def quick_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Case, "certify", partialmethod(Case.certify, ablations=["resample"], n_samples=100))


def anew(name: str) -> Case:
    """A case of which nothing is computed yet."""
    known = case(name)
    return Case(known.recipe, known.program, known.model)


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text())


def test_a_folder_holds_all_there_is_to_know(tmp_path: Path) -> None:
    c = anew("sort@v3n3/permute+pad#1")
    folder = export(c, tmp_path / "deep" / "sort")
    assert {file.name for file in folder.iterdir()} == FILES
    assert [file.name for file in folder.parent.iterdir()] == ["sort"]
    inputs = c.program.sample(np.random.default_rng(0), 30)
    assert gb.load(folder).batch(inputs) == c.program.batch(inputs)

    pairs = read(folder, "pairs")
    assert torch.equal(torch.tensor(pairs["clean"]), c.pairs.clean)
    assert torch.equal(torch.tensor(pairs["corrupted"]), c.pairs.corrupted)
    graded = [[pair, position] for pair, row in enumerate(pairs["graded"]) for position in row]
    assert graded == c.pairs.positions.nonzero().tolist()
    assert (pairs["vocab"], pairs["bos"], pairs["pad"]) == ([0, 1, 2], 3, 4)
    for ablation in ABLATIONS:
        assert read(folder, f"truth-{ablation}") == json.loads(json.dumps(c.truth(ablation).to_dict()))
    certificate = Certificate.from_dict(read(folder, "certificate"))
    assert certificate == c.certificate
    assert (certificate.case, certificate.hash, certificate.ok) == (c.id, c.hash, True)
    text = (folder / "README.md").read_text()
    assert all(
        words in text
        for words in (c.id, c.hash, c.program.source, *(f for f in FILES - {"README.md"} if "truth" not in f))
    )


def test_variables_are_where_the_file_says(tmp_path: Path) -> None:
    """The stream at the embedding, in the directions of `tokens`, tells the tokens apart."""
    c = anew("hist@v3n4/permute+pad+rotate#1")
    folder = export(c, tmp_path / "hist")
    variables, weights = read(folder, "variables"), gb.load(folder).weights
    assert set(variables) == set(c.model.subspaces)
    directions = np.array(variables["tokens"]["directions"])
    assert variables["tokens"]["written"] == "embed"
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(weights["embed.W_E"][:3] @ directions.T, np.eye(3), atol=1e-12)


def test_graphs_are_written_as_values_and_targets(tmp_path: Path) -> None:
    folder = export(anew("has_in_neighbour@v6n2"), tmp_path / "graph")
    vocab = read(folder, "pairs")["vocab"]
    nodes = {(token["value"], *token["targets"]) for token in vocab}
    assert nodes == {(value, *targets) for value in range(6) for targets in ((), (0,), (1,), (0, 1))}


@program(range(2), max_len=3)
def vote(tokens: SOp, indices: SOp) -> SOp:
    """Whether there was a 1, by the majority of three who all know it: no single vote matters."""
    is_one = tokens == 1
    first, second, third = everything.any(is_one), (key(tokens) == 1).count() > 0, everything.mean(is_one) > 0
    return (first & second) | (first & third) | (second & third)


def test_witnesses_are_checked_without_this_library(tmp_path: Path) -> None:
    cases = [anew("hist@v3n4"), anew("sort@v3n3/permute+pad+rotate#1"), Case(Recipe("vote"), vote, compile(vote))]
    folders = [export(c, tmp_path / c.program.name) for c in cases]
    truths = [read(folder, "truth-resample") for folder in folders]
    assert {len(w["set"]) for w in truths[2]["witnesses"].values()} == {1, 2}
    edge, witness = list(truths[1]["witnesses"].items())[-1]
    spoilt = []
    for how, value in (("effect", witness["effect"] + 1e-3), ("set", truths[1]["negatives"][:1])):
        spoilt.append(tmp_path / f"wrong-{how}")
        shutil.copytree(folders[1], spoilt[-1])
        wrong = truths[1] | {"witnesses": truths[1]["witnesses"] | {edge: witness | {how: value}}}
        (spoilt[-1] / "truth-resample.json").write_text(json.dumps(wrong))
    code = RUN_ALONE.format(script=str(SCRIPT))
    command = [sys.executable, "-I", "-c", code, *map(str, [*folders, *spoilt])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if " is " in line]
    assert said == [f"{f} is right" for f in folders] + [f"{f} is wrong about {edge}" for f in spoilt]
    shown = sum(len(truth["witnesses"]) for truth in truths) + 2 * (len(truths[1]["witnesses"]) - 1)
    assert done.stdout.count(" moves a logit of pair ") == shown


def test_what_stands_elsewhere_is_left_alone(tmp_path: Path) -> None:
    c = anew("hist@v3n4")
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter1.tex").write_text("precious")
    (tmp_path / "file").write_text("also")
    for target in (foreign, tmp_path / "file"):
        with pytest.raises(FileError, match="is no exported case; choose another folder"):
            export(c, target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["chapter1.tex", "file", "thesis"]
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "empty", tmp_path / "empty"):  # an empty folder, then an exported case
        assert {file.name for file in export(c, target).iterdir()} == FILES


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = export(anew("hist@v3n4"), tmp_path / "case")
    before = {file.name: file.read_bytes() for file in old.iterdir()}

    def files(which: Case) -> dict[str, str]:
        return {"pairs.json": "{}", "no such folder/x.json": ""}

    monkeypatch.setattr(module, "_files", files)
    for name in ("case", "other"):
        with pytest.raises(FileNotFoundError):
            export(anew("hist@v3n4"), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["case"]
    assert {file.name: file.read_bytes() for file in old.iterdir()} == before


@pytest.mark.parametrize("other", ["sort@v3n3", "hist@v3n4/permute", "hist@v3n4#1", "hist@v3n3"])
def test_a_folder_of_another_case_is_never_replaced(tmp_path: Path, other: str) -> None:
    folder = export(anew("hist@v3n4"), tmp_path / "case")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(FileError, match=r"holds the case 'hist@v3n4', which .*; choose another folder"):
        export(anew(other), folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["case"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no certificate"),
        ("{", "no certificate"),
        ("[]", "no certificate"),
        ('{"case": "hist@v3n4", "hash": "0123456789abcdef"}', r"another version of 'hist@v3n4' \(0123456789ab\)"),
    ],
)
def test_another_version_or_an_unknown_case_is_never_replaced(tmp_path: Path, text: str | None, words: str) -> None:
    c = anew("hist@v3n4")
    folder = export(c, tmp_path / "case")
    certificate = folder / "certificate.json"
    certificate.unlink() if text is None else certificate.write_text(text)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(FileError, match=words):
        export(c, folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
