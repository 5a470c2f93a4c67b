"""The pictures of a case's own model, kept beside its record."""

from xml.etree import ElementTree

import pytest

from gaugeblock.cases.case import case
from gaugeblock.cli import main
from gaugeblock.pictures import draw
from gaugeblock.results.files import picture_path
from gaugeblock.running import pictures as of_case
from gaugeblock.running.pictures import shown_input, write_pictures


def _heads(of):
    return {site for site in of.model.provenance.sites.values() if site.startswith("a")}


@pytest.mark.parametrize("name", ["sort@v4n4/permute+pad#1", "hist@v4n4/permute+pad+rotate#2", "reachable_in_k"])
def test_they_are_of_the_model_of_the_case(name, tmp_path):
    of = case(name)
    pictures = {picture.kind: picture for picture in write_pictures(of, tmp_path)}
    assert list(pictures) == ["flow", "attention", "stream"]
    assert all(picture.missing is None for picture in pictures.values())
    root = {kind: ElementTree.parse(picture_path(tmp_path, of.id, kind)).getroot() for kind in pictures}
    assert all(float(root[kind].get("width")) == pytest.approx(pictures[kind].width) for kind in pictures)
    assert {e.get("data-head") for e in root["attention"].iter() if e.get("data-head")} == _heads(of)
    shown = {e.get("data-variable") for e in root["stream"].iter() if e.get("data-variable")}
    assert shown == set(of.model.lowered.variables)


def test_their_input_is_one_of_the_case_s_own_and_short():
    for name in ("sort@v4n4/permute+pad#1", "dyck2@v5n8", "reverse@v4n7"):
        of = case(name)
        xs = shown_input(of)
        assert len(xs) <= of_case.MAX_INPUT_LENGTH
        row = of.model.encode([xs])[0].tolist()
        assert any(
            clean[: len(row)] == row and set(clean[len(row) :]) <= {of.model.pad} for clean in of.pairs.clean.tolist()
        )


def test_what_is_too_large_or_cannot_be_drawn_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(of_case, "MAX_PICTURE_CHARACTERS", 10_000)
    of = case("sort@v4n4/permute#3")
    picture = next(p for p in write_pictures(of, tmp_path) if p.kind == "attention")
    assert not picture_path(tmp_path, of.id, "attention").exists()
    command = picture.missing.split("`")[1].split()
    assert command[:2] == ["gaugeblock", "show"]
    file = tmp_path / command.pop()
    monkeypatch.setattr("sys.argv", [*command, str(file)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert all(f'data-head="{site}"' in file.read_text() for site in _heads(of))
    missing = {p.kind: p.missing for p in write_pictures(case("twice_less_one"), tmp_path)}
    assert "compiles to no heads" in missing["attention"]


def test_draw_takes_programs_models_and_cases():
    of = case("sort@v4n4/permute#3")
    edges = {
        key: {p.get("data-edge") for p in ElementTree.fromstring(draw("circuit", x).svg).iter() if p.get("data-edge")}
        for key, x in (("case", of), ("model", of.model), ("program", of.program))
    }
    assert edges["case"] == of.truth("resample").positives
    assert edges["model"] == of.model.program_edges
    assert len(edges["program"]) == len(edges["model"])
    assert (
        draw("flow", of, [1, 0, 3]).svg
        == draw("flow", of.model, [1, 0, 3]).svg
        == draw("flow", of.program, [1, 0, 3]).svg
    )
