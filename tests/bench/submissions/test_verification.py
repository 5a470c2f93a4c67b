"""What "verified" says: recomputed, run again, complete. Who reads a board establishes it; nobody declares it."""

import json
import re
import shutil
from dataclasses import replace
from functools import partialmethod

import pytest

from gaugeblock.cases.case import Case
from gaugeblock.leaderboard.board import read_leaderboard
from gaugeblock.leaderboard.site.build import write_site
from gaugeblock.programs.errors import FileError
from gaugeblock.running import pictures
from gaugeblock.submissions import Check, Verification, read_verification, submit, verify, verifying
from gaugeblock.suites import suites
from support.submissions import CASES, edit, first_result, reasons, rename, seal

CASE = CASES[1]
OF_SEASON = "season(seed=7,index={})/permute+pad+rotate#1"


def test_the_three_are_told_apart(honest, monkeypatch):
    plain, again = verify(honest), verify(honest, rerun_own=True)
    assert (plain.holds, again.holds) == (("recomputed",), ("recomputed", "run again"))
    assert plain.headline == "scores recomputed; not run again; complete for no named suite"
    assert again.headline == "scores recomputed; 1 of 1 jobs run again; complete for no named suite"
    assert any("edge scores that no score depends on" in line for line in plain.unverified)
    assert not any("edge scores that no score depends on" in line for line in again.unverified)
    monkeypatch.setitem(suites.SUITES, "tiny", (CASE,))
    whole = verify(honest, suite="tiny")
    assert (whole.holds, whole.complete) == (("recomputed", "complete"), "tiny")
    assert verify(honest, suite="tiny", rerun_own=True, sample=0).holds == ("recomputed", "complete")


def test_an_edge_score_that_nothing_depends_on_is_seen_by_a_run_alone(folder):
    def lower(data):
        edges = data["edge_scores"]
        largest = {max((e for e in edges if e.startswith(f"{node}->")), key=edges.get) for node in data["node_scores"]}
        data["edge_scores"][min({*edges} - largest, key=edges.get)] -= 0.01

    edit(first_result(folder), lower)
    seal(folder)
    said = verify(folder)
    if said.ok:
        assert said.holds == ("recomputed",)
    assert "the method now gives other scores" in reasons(folder, rerun_own=True)


def test_the_sign_of_zero_is_no_difference(folder):
    path = first_result(folder)
    text = path.read_text()
    path.write_text(re.sub(r"\b0\.0(?=[,\n])", "-0.0", text))
    assert path.read_text() != text
    seal(folder)
    assert reasons(folder) == ""


def test_a_season_is_made_last_and_only_where_all_else_holds(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(verifying, "case_ids", lambda names: asked.append(names) or [])
    for suite in (["season:1:20"], ["season:1"], [CASE, "season:1:20"], ["season:7:1"]):
        seal(folder, suite=suite)
        assert "complete: the season" in reasons(folder)
        (folder / "README.md").write_text("1.00")
        assert reasons(folder)
    assert not asked
    season = [OF_SEASON.format(i) for i in (0, 3)]
    seal(folder, suite=[CASE])
    manifest = verifying.read_manifest(folder)
    read = verifying.read_records(folder, manifest)

    def complete(cases, *suite):
        return verifying._complete(replace(read, manifest=manifest.model_copy(update={"cases": tuple(cases)})), suite)

    assert complete(season, "season:7:2").ok
    assert complete([*season, CASE], "season:7:2", CASE).ok
    for cases, suite in ((season[:1], "season:7:2"), (season, "season:7:1"), (season, "season:8:2"), (season, CASE)):
        assert not complete(cases, suite).ok
    assert not asked
    assert "others here" in verifying._seasons(manifest, ["season:7:2"]).detail
    assert asked == [["season:7:2"]]


def test_a_huge_edge_hides_no_other_ranks(honest, tmp_path):
    """Edge scores agree to a share of the largest: a method with one huge edge would hide all others behind it."""
    code = (
        "def huge(task):\n"
        "    names = task.graph.edges\n"
        "    return {name: 1e6 if name == names[-1] else 1.0 / (1 + i) for i, name in enumerate(names)}\n"
    )
    (tmp_path / "huge.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Case, "certify", partialmethod(Case.certify, n_samples=50))
        patch.setattr(pictures, "write_pictures", lambda case, out: [])
        out = submit(f"{tmp_path / 'huge.py'}:huge", CASE, tmp_path / "out", workers=1)
    assert verify(out, rerun_own=True).holds == ("recomputed", "run again")
    from gaugeblock.cases.case import case
    from gaugeblock.evaluation.evaluate import rescore
    from gaugeblock.methods.registry import pool
    from gaugeblock.results.files import read_result, write_json

    built, path = case(CASE), first_result(out)
    result, true = read_result(path), built.truth("resample").positives
    edges = {e: s if s == 1e6 else 2.0 * (e in true) for e, s in result.edge_scores.items()}
    nodes = pool(edges, built.model.graph)
    write_json(path, rescore(result.model_copy(update={"edge_scores": edges, "node_scores": nodes}), built))
    seal(out)
    assert verify(out).ok
    assert "is now" in reasons(out, rerun_own=True)


def test_a_record_is_read_as_it_was_written(honest, tmp_path):
    verification = verify(honest)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(verification.to_dict()))
    assert read_verification(path) == verification
    for text, words in (("{}", "no verification"), ("", "not JSON"), ('{"kind": "verification"}', "'folder'")):
        path.write_text(text)
        with pytest.raises(FileError, match=words):
            read_verification(path)
    empty = Verification("x", "lucky", "", (), (), 0)
    assert (empty.ok, empty.headline) == (False, "REFUSED: nothing was checked")


def test_a_board_says_what_its_reader_has_established(honest, tmp_path):
    verification = verify(honest, rerun_own=True)
    board = read_leaderboard(honest)
    assert board.sources[0].state == "not verified here"
    assert "lucky, submitted as 'lucky': not verified here" in board.notes
    assert "not verified" in write_site(board, tmp_path / "site").read_text()
    board = read_leaderboard(honest, verifications=[verification])
    assert board.sources[0].state == verification.headline
    page = write_site(board, tmp_path / "site").read_text()
    assert ">recomputed, run again</span>" in page
    assert verification.headline in page
    assert verification.headline in next((tmp_path / "site" / "methods").glob("*.html")).read_text()
    other = replace(verification, digest="0" * 64)
    assert read_leaderboard(honest, verifications=[other]).sources[0].state == "not verified here"


def test_a_submission_cannot_declare_its_own_state(honest, folder, tmp_path):
    (folder / "verification.json").write_text(json.dumps(verify(honest).to_dict()))
    with pytest.raises(FileError, match="belongs to no submission"):
        read_leaderboard(folder)


def test_refused_submissions_and_names_that_mislead_are_left_out(honest, folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(honest / "results", run / "results")
    shutil.copytree(honest / "cases", run / "cases")
    good = verify(honest)
    bad = replace(good, checks=(*good.checks, Check("run again", False, "other scores")))
    for verifications in ([bad], [bad, good], [good, bad]):
        board = read_leaderboard(run, honest, verifications=verifications)
        assert [source.submission for source in board.sources] == [None]
        assert any("it was refused: run again: other scores" in note for note in board.notes)
    for name in ("LUCKY", "l\u03c5cky", "lucky."):
        copy = shutil.copytree(folder, tmp_path / "renamed")
        rename(copy, name)
        for first in (run, honest):
            board = read_leaderboard(first, copy)
            assert [row.method for row in board.rows] == ["lucky"]
            assert any("looks like 'lucky'" in note for note in board.notes)
        shutil.rmtree(copy)
