"""The downloads, read back by other libraries: the same numbers as the leaderboard's."""

import csv
import io
import json
import re
import sys

import pytest

from gaugeblock.evaluation.scores import SCORES
from gaugeblock.leaderboard.board import leaderboard
from gaugeblock.leaderboard.site.build import write_site
from gaugeblock.leaderboard.site.downloads import (
    as_csv,
    as_json,
    as_latex,
    as_parquet,
    downloads,
    latex,
    ranking,
    results,
)
from gaugeblock.leaderboard.tables import number
from support.site import Page

HOSTILE = '=HYPERLINK("x"),\n\\input{/etc/passwd}&%$#_~^'


@pytest.fixture
def board(make):
    cases = [make.case(f"{p}/pad").model_copy(update={"modes": ["deep"]}) for p in ("add", "sort", "dyck")]
    results = [make.result(c, m, q, seconds=q / 3) for c in cases for m, q in (("eap", 0.4), ("acdc", 0.8))]
    results += [make.result(c, "oracle", control=True, forwards=0.0) for c in cases]
    results += [make.result(cases[0], HOSTILE, 0.1), make.failure(cases[1], HOSTILE, "it broke")]
    return leaderboard(cases, results)


def same(text: str, value: object) -> bool:
    if isinstance(value, float):
        return float(text) == value
    return text == ("" if value is None else str(value).lower() if isinstance(value, bool) else str(value))


def test_csv_reads_back_to_the_same_numbers(board):
    for lines in (ranking(board), list(results(board))):
        read = list(csv.DictReader(io.StringIO("".join(as_csv(lines)))))
        assert len(read) == len(lines) > 0
        for got, line in zip(read, lines):
            assert got.keys() == line.keys()
            assert all(same(got[key], value) for key, value in line.items() if key != "method")
            name = line["method"]
            assert got["method"] == ("'" + name if name == HOSTILE else name)


def test_the_ranking_is_the_boards(board):
    by_name = {(line["track"], line["method"]): line for line in ranking(board)}
    for track, rows in board.tracks.items():
        for row in rows:
            line = by_name[track, row.method]
            assert (line["rank"], line["control"], line["cases_done"]) == (row.rank, row.control, row.done)
            assert (line["rank_low"], line["rank_high"]) == (row.ranks or (None, None))
            assert (line["skill"], line["skill_low"], line["skill_high"]) == (
                (row.skill.estimate, row.skill.low, row.skill.high) if row.skill else (None, None, None)
            )
            assert line["mean_auprc"] == row.mean("auprc")
            assert line["mean_seconds"] == row.cost("seconds")


def test_every_result_is_a_line(board):
    lines = list(results(board))
    assert len(lines) == 10
    assert {*SCORES} <= lines[0].keys()
    eap = next(line for line in lines if line["method"] == "eap" and line["case"] == "add/pad")
    cell = next(c for row in board.rows if row.method == "eap" for c in row.cells if c.case.id == "add/pad")
    assert (eap["skill"], eap["auprc"]) == (cell.score("skill"), cell.score("auprc"))
    assert eap["seconds"] == pytest.approx(0.4 / 3)


def test_json_holds_the_board(board):
    read = json.loads(as_json(board))
    assert read["ranking"] == ranking(board)
    for row in board.rows:
        assert read["skill"]["edges"][row.method] == [c.score("skill") for c in row.cells]
        assert read["modes"][row.method] == {"deep": row.on("deep")}
    reasons = {(m["case"], m["reason"]) for m in read["missing"] if m["method"] == HOSTILE}
    assert reasons == {("sort/pad", "error: it broke"), ("dyck/pad", "not run")}
    assert [c["id"] for c in read["cases"]] == [c.id for c in board.cases]


def test_parquet_reads_back_to_the_same_numbers(board):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    for lines in (ranking(board), list(results(board))):
        read = parquet.read_table(pa.BufferReader(as_parquet(lines))).to_pylist()
        assert read == lines
    assert as_parquet([]) is None


def test_without_pyarrow_the_site_says_so(board, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    made = downloads(board)
    assert made["leaderboard.parquet"]() is None
    page = Page(write_site(board, tmp_path))
    assert "need pyarrow" in page.text
    assert {p.name for p in (tmp_path / "downloads").iterdir()} == {
        *("leaderboard.csv", "leaderboard.json", "leaderboard.tex", "results.csv")
    }


def test_latex_has_a_line_per_method_and_no_foreign_command(board):
    text = as_latex(board)
    for rows in board.tracks.values():
        for row in rows:
            assert number(row.skill.estimate if row.skill else None).replace("−", "$-$").replace("–", "--") in text
    assert text.count("\\\\\n") == sum(map(len, board.tracks.values())) + len(board.tracks)
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") == len(board.tracks)
    assert set(re.findall(r"\\([a-z]+)", text)) <= {
        *("begin", "end", "toprule", "midrule", "bottomrule", "emph", "textbackslash", "textasciitilde"),
        *("textasciicircum", "textquotedbl"),
    }
    assert latex("a_b & 50 %") == r"a\_b \& 50 \%"
    assert latex("\\x{y}") == r"\textbackslash{}x\{y\}"
