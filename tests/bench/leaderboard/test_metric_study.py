"""The study of metrics, on records in which it is known which metric ranks as the truth does."""

import json
import re
import sys
from functools import partial
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gaugeblock import cli
from gaugeblock.leaderboard import metric_study as validity
from gaugeblock.leaderboard.metric_plot import plot
from gaugeblock.leaderboard.metric_study import METRICS, markdown, study, table
from gaugeblock.metrics.bootstrap import mean_interval
from gaugeblock.programs.errors import FileError, UnknownName
from support.pictures import assert_readable

PROGRAMS = ("add", "sort", "dyck", "frac", "hist", "reverse")
METHODS = tuple("abcde")


def scores(skill: float, rng: np.random.Generator) -> dict[str, float]:
    return {
        "skill": skill,
        "auprc": -skill,
        "cpr": skill,
        "cmd": -skill,  # lower is better, and it is: valid
        "accuracy": -skill,
        "kl": np.exp(skill),
        "minimality": rng.normal(),
        "equivalence_p": 0.5,
    }


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(validity, "rank_validity", partial(validity.rank_validity, n_resamples=100))


@pytest.fixture
def folder(make, tmp_path):
    """Programs of two cases, of which one has no comparators; every other program is "deep"."""
    rng = np.random.default_rng(0)
    for i, program in enumerate(PROGRAMS):
        for variant in ("", "/pad"):
            case = make.case(program + variant).model_copy(update={"modes": ["deep"] * (i % 2) + ["soft"]})
            make.write(tmp_path, case, make.failure(case, "a", seed=1))
            turn = -1 if variant == "" else 1  # what does not count is against the rest
            for method in METHODS:
                values = scores(float(rng.uniform(-1, 1)), rng)
                values["skill"] *= turn
                values["log_cpr"] = (1 if i % 2 else -1) * values["skill"]
                at_two = values["skill"] * turn
                curve = [(0.0, 0.0), (0.01, at_two - 1), (0.03, at_two + 1), (1.0, 1.0)]
                make.write(tmp_path, make.result(case, method, scores=values, curve=curve))
            against = {"skill": 5.0 * turn, "cpr": -5.0, "cmd": 5.0}
            make.write(tmp_path, make.result(case, "oracle", scores=against, control=True))
    return tmp_path


def test_metrics_that_agree_oppose_or_know_nothing(folder):
    validity_of = {(f.metric.name, f.group): f.validity for f in study(folder)}
    assert {group for _, group in validity_of} == {"all", "deep", "soft"}
    for name, sign in {"cpr": 1, "cmd": 1, "accuracy": -1, "kl": -1, "faithfulness_0.02": 1}.items():
        for group, cases in (("all", 6), ("soft", 6), ("deep", 3)):
            v = validity_of[name, group]
            assert (v.n_rows, v.n_cases) == (5 * cases, cases), name
            for interval in (v.within, v.overall):
                assert interval.estimate == pytest.approx(sign), name
            assert (v.overall.low, v.overall.high) == pytest.approx((sign, sign)), name
            unseen = mean_interval(np.full(v.within.n_clusters, float(sign)), bounds=(-1.0, 1.0))
            assert (v.within.low, v.within.high) == pytest.approx((unseen.low, unseen.high)), name
    blind = validity_of["minimality", "all"]
    for interval in (blind.within, blind.overall):
        assert abs(interval.estimate) < 0.3
        assert interval.low < 0 < interval.high
    assert validity_of["log_cpr", "deep"].within.estimate == pytest.approx(1)
    assert validity_of["log_cpr", "all"].within.estimate == pytest.approx(0)  # right on one half, wrong on the other
    assert validity_of["equivalence_p", "all"].within is None  # says the same of every method
    assert validity_of["completeness", "all"] is None

    other = {(f.metric.name, f.group): f.validity for f in study(folder, "auprc")}
    assert other["cpr", "all"].within.estimate == pytest.approx(-1)


def test_the_ablations_of_a_case_are_cases_of_their_own(make, tmp_path):
    """Within each ablation the metric is right; over both it is not, as the easier one has the lower values."""
    for ablation, offset in (("resample", 0.0), ("zero", 10.0)):
        case = make.case("sort/pad").model_copy(update={"ablation": ablation})
        make.write(tmp_path, case)
        for i, method in enumerate(METHODS):
            make.write(tmp_path, make.result(case, method, scores={"skill": i + offset, "cpr": i - offset}))
    of_cpr = next(f.validity for f in study(tmp_path) if f.metric.name == "cpr")
    assert (of_cpr.within.estimate, of_cpr.n_cases) == (pytest.approx(1), 2)
    assert of_cpr.overall.estimate < 0


def test_what_is_shown_is_whole(folder):
    findings = study(folder)
    out = StringIO()
    Console(width=100, file=out).print(table(findings, "skill"))
    assert "…" not in out.getvalue()
    assert re.search(r"CPR +1\.00 +\S*\d\.\d\d to 1\.00 +1\.00 +1\.00 to 1\.00 +30\b", out.getvalue())
    text = markdown(findings, "skill")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for rows in tables:
        assert len({row.count("|") for row in rows}) == 1
        assert len(rows) == 2 + len(METRICS)
    assert "deep (3) | soft (6)" in text
    alone = markdown([f for f in findings if f.group == "all"], "skill")
    assert alone.count("\n| metric |") == 1
    assert_readable(plot(findings, "skill"))


def test_the_command_writes_three_files(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "study"
    assert run(monkeypatch, "validity", folder, "--out", out) == 0
    assert {file.name for file in out.iterdir()} == {"validity.json", "validity.md", "validity.svg"}
    record = json.loads((out / "validity.json").read_text())
    assert record["recovery"] == "skill"
    assert len(record["findings"]) == 3 * len(METRICS)
    cpr = next(f for f in record["findings"] if (f["metric"], f["group"]) == ("cpr", "deep"))
    assert cpr["within"] == pytest.approx({"estimate": 1, "low": 1 - (1 - 0.025 ** (1 / 3)), "high": 1})
    assert (cpr["rows"], cpr["cases"]) == (15, 3)
    assert str(out / "validity.md") in capsys.readouterr().out.replace("\n", "")


def test_a_folder_without_results_gives_one_error(make, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "validity", tmp_path) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "holds no results" in printed.err
    assert list(tmp_path.iterdir()) == []
    case = make.case("sort/pad")
    make.write(tmp_path, case, make.result(case, "oracle", control=True))
    with pytest.raises(FileError, match="no results of methods"):
        study(tmp_path)
    with pytest.raises(UnknownName, match=r"'skil'.*skill"):
        study(tmp_path, "skil")


def run(monkeypatch: Any, *arguments: Any) -> Any:
    monkeypatch.setattr(sys, "argv", ["gaugeblock", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    return done.value.code
