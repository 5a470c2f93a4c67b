"""The command line: what it prints, and how it fails. More commands that build models are in test_quick.py."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from gaugeblock import cli
from gaugeblock.cases.case import Case
from gaugeblock.cases.certificate import Certificate


@pytest.fixture
def call(monkeypatch, capsys):
    """`call("run", …)`: exit code, output, errors."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gaugeblock", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            cli.main()
        out, err = capsys.readouterr()
        return done.value.code, out, err

    return call


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from gaugeblock import cli; sys.argv = ['gaugeblock', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as done: print(done.code, {'torch', 'pydantic', 'jinja2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 set()", done.stdout + done.stderr
    assert all(
        command in done.stdout for command in ("run", "programs", "show", "compile", "certify", "export", "report")
    )


def test_programs_are_listed(call):
    code, out, _ = call("programs")
    assert code == 0
    assert {"sort", "dyck2", "add", "frac_prevs"} <= {line.split(" ")[0] for line in out.splitlines()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "srot"), ["'srot'", "sort"]),
        (("show", "sort", "-i", "1 99"), ["'99'", "position 1", "vocabulary"]),
        (("show", "sort", "-i", " "), ["empty input"]),
        (("show", "add", "-i", "12"), ["domain of 'add'"]),
        (("compile", "nothing", "-o", "x"), ["'nothing'"]),
        (("compile", "sort", "-o", "x", "--vocab", "a b"), ["'a'", "ints"]),
        (("report", "nowhere"), ["nowhere", "no results"]),
        (("certify", "srot"), ["'srot'", "sort"]),
        (("certify", "hist", "--ablation", "zeros"), ["'zeros'", "zero"]),
        (("certify", "add@v5n9", "hist@v3n4", "--workers", "2"), ["fixed vocabulary of 11 tokens"]),
        (("export", "sort/padd", "-o", "x"), ["'padd'", "pad"]),
        (("show", "sort", "--picture", "selectors", "-o", "/dev/null/x.svg"), ["/dev/null: "]),
        (("show", "sort", "--which", "rank"), ["--picture KIND"]),
        (("show", "sort", "--picture", "flow", "-o", "x.png"), ["'x.png'", ".svg"]),
        (("run", "-s", "hist@v2n3", "-m", "eap", "--seed", "-1"), ["the seed -1 is negative"]),
        (("run", "-s", "hist@v2n3", "-m", __file__ + ":nothing"), ["no function in", "'nothing'"]),
        (("fuzz", "-n", "1", "--without", "foo"), ["no construct is named 'foo'"]),
        (("swap", "hist@v2n3", "-r", "a0.h0=zero", "-r", "a0.h0=mean"), ["replaced twice", "a0.h0=mean"]),
    ],
)
def test_mistakes_get_one_message_and_exit_2(call, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert code == 2
    assert err.startswith("gaugeblock: ")
    assert all(word in err for word in words), err
    assert "Traceback" not in err + out
    assert list(tmp_path.iterdir()) == []


def test_wrong_options_exit_2(call):
    assert call("run", "--workers", "many")[0] == 2
    assert call("rnu")[0] == 2


def test_report_prints_the_table_and_writes_the_page(call, make, tmp_path):
    case = make.case("sort/pad")
    make.write(tmp_path, case, make.result(case, "mine", 0.5))
    code, out, err = call("report", tmp_path)
    assert (code, err) == (0, "")
    assert "mine" in out
    assert (tmp_path / "site" / "index.html").exists()


@pytest.mark.parametrize("status", ["error", "timeout", "started"])
@pytest.mark.parametrize("is_built", [True, False])
@pytest.mark.parametrize("command", ["report", "leaderboard"])
def test_failed_jobs_are_shown_and_exit_2_with_the_first_reason(call, make, tmp_path, command, is_built, status):
    """Also those of a case that could not be built, which has no record and no place in the table."""
    case, lost = make.case("sort/pad"), make.case("lost/pad")
    failure = make.failure(lost, "other", "it\nbroke \x1b[31m", status=status)
    make.write(tmp_path / "run", case, make.result(case, "mine", 0.5), failure, *([lost] if is_built else []))
    site = tmp_path / ("run/site" if command == "report" else "site")
    code, out, err = call(command, tmp_path / "run", *(() if command == "report" else ("-o", site)))
    assert code == 2
    reason = f"1 job failed: other on lost/pad (resample, seed 0): {status}: it broke \N{REPLACEMENT CHARACTER}[31m"
    assert err == f"gaugeblock: {reason}; the table and the page say why\n"
    assert "mine" in out
    assert "broke" in out
    assert (site / "index.html").exists()


def test_of_many_failed_jobs_the_first_reason_is_said(call, make, tmp_path):
    case = make.case("sort/pad")
    make.write(tmp_path, case, *(make.failure(case, name, f"{name} broke", seed=s) for name in "ab" for s in (0, 1)))
    code, _, err = call("report", tmp_path)
    assert code == 2
    assert err.startswith("gaugeblock: 4 jobs failed; the first: a on sort/pad (resample, seed 0): error: a broke; ")


def headlines(out: str) -> list[str]:
    """The lines with a case's id, without those of its claims."""
    return [line.strip() for line in out.splitlines() if line[:1] in "✓✗" and line.strip()]


@pytest.fixture
def quick_certificates(monkeypatch):
    """Less is checked, and of `frac_prevs` one claim never holds."""

    def check(case, ablations):
        certificate = certify(case, ablations, n_samples=50)
        last = replace(certificate.claims[-1], ok=case.program.name != "frac_prevs")
        return replace(certificate, claims=(*certificate.claims[:-1], last))

    certify = Case.certify
    monkeypatch.setattr(Case, "certify", check)


def test_certificates_are_printed_written_and_fail_with_exit_1(call, tmp_path, quick_certificates):
    cases = ["hist@v2n3", "frac_prevs@v2n3", "hist@v3n3"]
    code, out, err = call("certify", *cases, "--ablation", "mean", "--workers", 1, "-o", tmp_path / "out")
    assert (code, err) == (1, "gaugeblock: 1 certificates fail\n")
    assert headlines(out) == ["✓ hist@v2n3", "✗ frac_prevs@v2n3", "✓ hist@v3n3"]
    assert out.count("  ✗ ") == 1
    assert all(words in out for words in ("equivalence: ", "necessity (mean): ", " checks; "))
    certificates = [Certificate.from_dict(json.loads(file.read_text())) for file in (tmp_path / "out").rglob("*.json")]
    assert {c.case: c.ok for c in certificates} == dict(zip(cases, (True, False, True)))
    assert {c.ablations for c in certificates} == {("mean",)}
    code, out, err = call("certify", cases[0], "--ablation", "mean", "--ablation", "resample")
    assert (code, err, headlines(out)) == (0, "", ["✓ hist@v2n3"])
    assert "necessity (mean)" in out
    assert "necessity (resample)" in out


@pytest.mark.slow
def test_certificates_of_several_processes_come_in_order(call, tmp_path):
    cases = ["sort@v3n3", "frac_prevs@v2n3", "hist@v2n3"]  # the slowest first
    code, out, err = call("certify", *cases, "--ablation", "mean", "--workers", 2, "-o", tmp_path)
    assert (code, err, headlines(out)) == (0, "", [f"✓ {case}" for case in cases])
    assert len(list(tmp_path.rglob("*.json"))) == 3
    assert call("certify", "hist", "--workers", 0)[0] == 2


def test_a_case_is_exported(call, tmp_path, monkeypatch):
    monkeypatch.setattr(Case, "certify", partialmethod(Case.certify, ablations=["mean"], n_samples=50))
    code, out, err = call("export", "hist@v3n4", "-o", tmp_path / "hist")
    assert (code, out, err) == (0, f"{tmp_path / 'hist'}\n", "")
    assert (tmp_path / "hist" / "model.safetensors").exists()
    code, out, err = call("export", "hist@v3n4", "-o", Path(__file__).parent)
    assert (code, out) == (2, "")
    assert "choose another folder" in err


def test_a_part_is_swapped_and_the_report_written(call, tmp_path):
    (tmp_path / "inputs.txt").write_text("3 1 2\n7 7 0 1\n")
    (tmp_path / "mine.py").write_text("def wrong(tokens):\n    return [0 for _ in tokens]\n")
    given = ("--data", tmp_path / "inputs.txt", "-o", tmp_path / "lost")
    code, out, _ = call("swap", "sort", "-r", f"a0.h0={tmp_path / 'mine.py'}:wrong", "-r", "a0.h1=mean", *given)
    assert code == 0
    assert "2 examples, 7 positions" in out
    record = json.loads((tmp_path / "lost" / "comparison.json").read_text())
    assert record["accuracy"]["estimate"] < 1
    assert (tmp_path / "lost" / "comparison.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("replacement", "words"),
    [
        ("a9.h0=zero", "a9.h0"),
        ("a0.h0", "SITE=COMPONENT"),
        ("a0.h0=prevtoken", "prev_token"),
        ("a0.h0=local", "local(5)"),
        ("a0.h0=nowhere.py:f", "nowhere.py"),
        ("m0=prev_token", "m0"),
    ],
)
def test_an_impossible_replacement_is_one_message(call, replacement, words):
    code, out, err = call("swap", "hist", "-r", replacement)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
