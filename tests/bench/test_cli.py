"""The command line: what it prints, and how it fails. Commands that build models are tested in test_quick.py."""

import subprocess
import sys
from typing import Any

import pytest

from gaugeblock import cli


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
    assert all(command in done.stdout for command in ("run", "programs", "show", "compile", "certify", "report"))


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
    make.write(tmp_path, case, make.result(case, "mine", 0.5), make.failure(case, "other", "it broke"))
    code, out, err = call("report", tmp_path)
    assert (code, err) == (0, "")
    assert "mine" in out
    assert "it broke" in out
    assert (tmp_path / "index.html").exists()
