"""Ranking: what is averaged, what is left out and said to be, and who can be told apart."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from gaugeblock.leaderboard.board import leaderboard, node_comparators, read_leaderboard
from gaugeblock.leaderboard.tables import captions, modes_table, terminal_table
from gaugeblock.metrics.bootstrap import mean_interval
from gaugeblock.programs.errors import FileError


@pytest.fixture
def cases(make):
    return [make.case(f"{p}{v}") for p in ("add", "sort", "dyck", "frac") for v in ("", "/pad", "/permute+pad")]


def test_mean_skill_is_over_matched_cases_clustered_by_program(make, cases):
    results = [make.result(c, "mine", 0.5) for c in cases]
    board = leaderboard(cases, results)
    matched = [(r.scores["skill"], c.program) for c, r in zip(cases, results) if c.variant]
    expected = mean_interval(np.array([v for v, _ in matched]), [p for _, p in matched], bounds=(-1.0, 1.0))
    assert board.rows[0].skill == expected
    assert board.rows[0].mean("auprc") == pytest.approx(np.mean([r.scores["auprc"] for r in results]))
    assert "leaves out 4 of 12 cases" in " ".join(captions(board))


def test_methods_are_ranked_and_share_a_rank_where_they_cannot_be_told_apart(make, cases):
    qualities = {"perfect": 1.0, "good": 0.99, "same": 0.99, "poor": 0.0}
    cases = [*cases, *(make.case(f"{p}/pad") for p in ("hist", "reverse", "most", "least", "first", "last"))]
    results = [make.result(c, m, q) for c in cases for m, q in qualities.items() if m != "same"]
    results += [r.model_copy(update={"method": "same"}) for r in results if r.method == "good"]
    rows = leaderboard(cases, results).rows
    assert [r.method for r in rows] == ["perfect", "good", "same", "poor"]
    assert [r.rank for r in rows] == [1, 2, 2, 4]
    few = leaderboard(cases[:6], results).rows
    assert [r.rank for r in few] == [1, 1, 1, 1]  # two programs tell nobody apart


def test_tables_say_on_how_many_cases_and_programs_a_mean_rests(make, cases):
    results = [make.result(c, "mine", 0.5) for c in cases] + [make.result(c, "partial", 0.5) for c in cases[:5]]
    board = leaderboard(cases, results)
    assert {row.method: (row.done, row.averaged, row.skill.n_clusters) for row in board.rows} == {
        "mine": (12, 8, 4),
        "partial": (5, 3, 2),
    }
    console = Console(width=100, record=True, file=StringIO())
    console.print(terminal_table(board))
    text = console.export_text()
    assert "8 of 12" in text
    assert "3 of 12" in text
    assert "A mean rests on 8 of 12 cases, of 4 programs." in text
    assert "A mean rests on 0 of 4 cases, of 0 programs." in captions(leaderboard(cases[::3], results))[0]


def test_controls_stand_in_their_place_without_a_rank(make, cases):
    results = [make.result(c, "oracle", 1.0, control=True) for c in cases]
    results += [make.result(c, m, q) for c in cases for m, q in (("mine", 0.9), ("poor", 0.0))]
    board = leaderboard(cases, results)
    assert [(r.method, r.rank) for r in board.rows] == [("oracle", None), ("mine", 1), ("poor", 2)]
    assert "no rank: oracle" in " ".join(captions(board))


def test_failed_and_missing_jobs_are_shown_and_not_imputed(make, cases):
    results = [make.result(c, "whole", 0.2) for c in cases]
    results += [make.result(c, "partial", 1.0) for c in cases[1:]]
    results += [make.failure(cases[0], "partial", "it broke on [red]this")]
    results += [make.result(cases[1], "rare", 1.0)]
    board = leaderboard(cases, results)
    whole, partial, rare = board.rows
    assert (whole.rank, partial.rank, rare.rank) == (1, None, None)
    assert partial.done == 11
    assert partial.errors == 1
    assert rare.cells[-1].missing == "not run"
    assert [r.error for r in board.failed] == ["it broke on [red]this"]
    text = " ".join(captions(board))
    assert "partial: no rank" in text
    assert "[red]this" in text


def test_seeds_are_averaged_within_a_case(make, cases):
    results = [make.result(cases[1], "mine", 0.3, seed=s) for s in range(3)]
    cell = leaderboard(cases[1:2], results).rows[0].cells[0]
    assert cell.score("skill") == pytest.approx(np.mean([r.scores["skill"] for r in results]))


def test_results_of_another_version_of_a_case_are_left_out(make, cases):
    stale = make.result(cases[1], "old", case_hash="another")
    lost = make.result(cases[2], "old")
    board = leaderboard(cases[:2], [make.result(cases[1], "new"), stale, lost])
    assert [r.method for r in board.rows] == ["new"]
    assert "another version" in board.notes[0]
    assert cases[2].id in board.notes[1]


def test_one_program_gives_no_interval_and_says_so(make, cases):
    board = leaderboard(cases[1:2], [make.result(cases[1])])
    assert board.rows[0].skill.low is None
    assert "ranks may be luck" in captions(board)[0]


def test_several_ablations_are_kept_apart(make):
    case = make.case("sort/pad")
    other = case.model_copy(update={"ablation": "donor"})
    board = leaderboard([case, other], [make.result(case), make.result(other, quality=0.5)])
    assert len(board.rows[0].cells) == 2
    assert {board.title(c) for c in board.cases} == {"sort/pad · resample", "sort/pad · donor"}


def test_the_table_fits_a_terminal_of_100_columns(make, cases):
    long = "/a/rather/long/path/to/the/file/of/a_method.py:with_a_long_name"
    results = [make.result(c, m, 0.3, seconds=12345.6) for c in cases for m in ("eap", long)]
    console = Console(width=100, record=True, file=StringIO())
    console.print(terminal_table(leaderboard(cases, [*results, make.failure(cases[0], "bad", "[/] " + "x" * 300)])))
    text = console.export_text()
    assert all(len(line) <= 100 for line in text.splitlines())
    assert all(column in text for column in ("skill", "95 %", "AUPRC", "CMD", "cases"))
    assert "12346" in text


def test_damaged_files_are_left_out_with_a_note(make, cases, tmp_path):
    make.write(tmp_path, *cases[:2], *[make.result(c) for c in cases[:2]], make.result(cases[0], "torn"))
    torn = next(tmp_path.glob("results/torn/*.json"))
    torn.write_text(torn.read_text()[:100])
    board = read_leaderboard(tmp_path)
    assert [r.method for r in board.rows] == ["mine"]
    assert "torn" in board.notes[0]


def test_a_folder_without_results_is_an_error(tmp_path):
    with pytest.raises(FileError, match="holds no results"):
        read_leaderboard(tmp_path / "nowhere")


def test_nodes_are_a_track_of_their_own(make):
    cases = [make.case(f"{p}/pad") for p in ("add", "sort", "dyck")]
    results = []
    for case in cases:
        for method, skill, node_skill in (("finds_edges", 0.9, 0.1), ("finds_nodes", 0.2, 0.8)):
            result = make.result(case, method, 0.5)
            results.append(result.model_copy(update={"scores": {"skill": skill, "node_skill": node_skill}}))
        results.append(make.result(case, "old", 0.5, scores={"skill": 0.5}))
    board = leaderboard(cases, results)
    assert [r.method for r in board.tracks["edges"]] == ["finds_edges", "old", "finds_nodes"]
    nodes = board.tracks["nodes"]
    assert [(r.method, r.rank) for r in nodes] == [("finds_nodes", 1), ("finds_edges", 2), ("old", None)]
    assert nodes[0].skill.estimate == pytest.approx(0.8)
    assert "no node_skill" in nodes[2].lacks[0][1]
    without = leaderboard(cases, [r for r in results if r.method == "old"])
    assert list(without.tracks) == ["edges"]


def test_a_node_is_compared_with_unused_nodes_in_its_place(make):
    edges = {
        "positives": ["embed->a0.h0.q", "a0.h0->logits"],
        "negatives": ["a0.h1->logits", "a0.h2->logits", "m0->logits"],
        "ignored": ["a0.h2->m0"],  # a head with an ignored edge may be of use
    }
    case = make.case("sort/pad").model_copy(update=edges)
    assert node_comparators(case) == 0.5  # a0.h0 has a0.h1, embed has none
    assert node_comparators(case.model_copy(update={"positives": []})) == 0.0


def test_modes_are_means_over_the_cases_that_count(make):
    cases = [make.case(f"{p}{v}") for p in ("add", "sort") for v in ("", "/pad")]
    cases = [c.model_copy(update={"modes": ["deep"] if c.program == "add" else ["deep", "rare"]}) for c in cases]
    results = [make.result(c, "mine", scores={"skill": 0.2 if c.program == "add" else 0.6}) for c in cases]
    board = leaderboard(cases, results)
    assert board.modes == {"deep": 2, "rare": 1}
    assert (board.rows[0].on("deep"), board.rows[0].on("rare")) == (pytest.approx(0.4), pytest.approx(0.6))
    assert "| `mine` | 0.40 | 0.60 |" in modes_table(board)
