"""Submissions of honest people: they verify, say what they should, and can be sent off. Forged: test_tampering.py."""

import inspect
import io
import json
import re
import shutil
import subprocess
import sys
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gaugeblock.cases.case import Case
from gaugeblock.programs.errors import FileError, GaugeblockError, InputError, MethodError, UnknownName
from gaugeblock.results.files import read_result, result_paths
from gaugeblock.running import pictures as of_case
from gaugeblock.running import runner
from gaugeblock.submissions import Disclosure, pack, push, read_submission, submit, verify
from gaugeblock.submissions.exchange import export_scores, import_scores
from gaugeblock.submissions.readme import escaped
from support.submissions import CASES, CODE, edit, first_result, read, seal


@pytest.fixture(scope="module", autouse=True)
def _without_what_takes_long():
    """Certificates from few inputs, and no pictures: both are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Case, "certify", partialmethod(Case.certify, n_samples=50))
        patch.setattr(of_case, "write_pictures", lambda case, out: [])
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "mine.py").write_text(CODE)
    return folder


@pytest.fixture(scope="module")
def folder(home) -> Path:
    """A submission of a method from a file, which was tuned on a public suite."""
    said = Disclosure(tuned_on=("quick",), notes="two\nlines", authors=("Ada <ada@example.org>",), url="https://a.org")
    out = submit(f"{home / 'mine.py'}:lucky", CASES, home / "out", seeds=(0, 1), workers=1, disclosure=said)
    assert not (home / "out.run").exists()
    return out


def failed(verification) -> dict[str, str]:
    return {check.claim: check.detail for check in verification.checks if not check.ok}


def test_an_honest_submission_verifies(folder, home):
    verification = verify(folder, rerun=f"{home / 'mine.py'}:lucky", seed=0)
    assert verification.ok, failed(verification)
    assert {"scores", "cases are ours", "run again", "complete"} <= {check.claim for check in verification.checks}
    record = json.loads(json.dumps(verification.to_dict()))
    assert (record["ok"], record["method"]) == (True, "lucky")
    assert record["digest"] == read(folder / "manifest.json")["digest"]
    assert (folder / "method.py").read_text() == CODE
    assert not any("was not run again" in line for line in verification.unverified)


def test_no_code_of_the_folder_runs_unless_asked(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    trap = tmp_path / "trap"
    (copy / "method.py").write_text(f"open({str(trap)!r}, 'w').close()\n{CODE}")
    seal(copy)
    verification = verify(copy)
    assert "not the code" in failed(verification)["code"]
    assert not trap.exists()
    plain = verify(folder)
    assert plain.ok
    assert any("was not run again" in line for line in plain.unverified)
    assert verify(folder, rerun_own=True, sample=2).ok


def test_another_method_is_not_the_one_that_was_submitted(folder, home, tmp_path):
    (tmp_path / "mine.py").write_text(CODE.replace("0.2", "0.3"))
    assert "with hash" in failed(verify(folder, rerun=f"{tmp_path / 'mine.py'}:lucky"))["code"]
    assert "cannot be used" in failed(verify(folder, rerun=f"{tmp_path / 'none.py'}:lucky"))["code"]


def test_methods_of_ours_are_run_again_and_scores_may_stand_in_tensors(home, tmp_path):
    ablations = ["resample", "zero"]
    run = tmp_path / "run"
    out = submit("eap", CASES[0], tmp_path / "out", workers=1, scores="safetensors", ablation=ablations, work=run)
    assert verify(out).ok
    again = pack(run, "eap", CASES[0], tmp_path / "again", ablation=ablations)
    results = read_submission(out).results
    assert [result.ablation for result in results] == ablations
    for a, b in zip(results, read_submission(again).results, strict=True):
        assert (a.edge_scores, a.node_scores) == (b.edge_scores, b.node_scores)
    assert [read_result(path).edge_scores for path in result_paths(out)] == [{}, {}]


def test_the_readme_is_a_dataset_card_and_the_table_is_flat(folder, monkeypatch, tmp_path):
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(folder / "README.md")
    assert card.data.to_dict()["configs"][0]["data_files"] == "scores.jsonl"
    lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert len({tuple(line) for line in lines}) == 1
    assert all(not isinstance(value, dict | list) for line in lines for value in line.values())
    mean = np.mean([line["auprc"] for line in lines])
    assert f"| AUPRC | {mean:.3f} |" in card.text
    assert {(line["case"], line["seed"]) for line in lines} == {(case, seed) for case in CASES for seed in (0, 1)}
    assert "Tuned on: quick" in card.text


def test_what_people_write_is_shown_and_does_nothing(home, tmp_path):
    from markdown_it import MarkdownIt
    from rich.console import Console

    name = '<script>alert("x")</script> [click](javascript:x) ![i](http://t) [bold]b[/bold] "q": | a'
    said = Disclosure(notes=name, authors=(name,), tuned_on=(name,))
    out = submit(f"{home / 'mine.py'}:lucky", CASES[1], tmp_path / "out", workers=1, name=name, disclosure=said)
    text = (out / "README.md").read_text()
    body = text.split("---\n", 2)[2]
    html = MarkdownIt().render(body)
    assert not re.search(r"<(script|img|a)\b", html)
    assert html.count("&lt;script&gt;") == 4
    from huggingface_hub import DatasetCard

    assert DatasetCard(text).data.pretty_name == name
    verification = verify(out)
    assert verification.ok
    page = io.StringIO()
    Console(width=200, file=page).print(verification.table())
    assert "Not checked" in page.getvalue()
    assert escaped("a_b") == "a\\_b"


def test_a_run_that_was_cut_off_resumes_and_leaves_nothing_half_done(home, tmp_path, monkeypatch):
    given = f"{home / 'mine.py'}:lucky"
    real, calls = runner.run, []

    def cut_off(*args, **kwargs):
        calls.append(real(*args, **kwargs))
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", cut_off)
    with pytest.raises(KeyboardInterrupt):
        submit(given, CASES[0], tmp_path / "out", workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["out.run"]
    before = first_result(tmp_path / "out.run").stat().st_mtime_ns
    monkeypatch.setattr(runner, "run", real)
    submit(given, CASES[0], tmp_path / "out", workers=1, work=tmp_path / "out.run")
    assert first_result(tmp_path / "out.run").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.run"]


def test_another_submission_is_not_overwritten(home, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "there")
    before = (tmp_path / "there" / "manifest.json").read_bytes()
    given = f"{home / 'mine.py'}:lucky"
    with pytest.raises(FileError, match=r"there holds another submission, of method 'lucky', with other seeds"):
        submit(given, CASES, tmp_path / "there", seeds=(3,), workers=1)
    with pytest.raises(FileError, match="with other method, "):
        submit("random", CASES[0], tmp_path / "there", workers=1)
    assert (tmp_path / "there" / "manifest.json").read_bytes() == before
    (tmp_path / "there" / "manifest.json").write_text("{")
    with pytest.raises(FileError, match="a submission that is damaged"):
        submit(given, CASES, tmp_path / "there", seeds=(0, 1), workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_failures_are_stated_as_failures(home, tmp_path):
    (tmp_path / "picky.py").write_text(
        "def picky(task):\n"
        "    if len(task.graph.edges) == 8:\n"
        "        raise ValueError('\\x1b[31mno ' + 'x' * 10**6)\n"
        "    return dict.fromkeys(task.graph.edges, 1.0)\n"
    )
    (tmp_path / "broken.py").write_text("def broken(task):\n    return {}\n")
    out = submit(f"{tmp_path / 'picky.py'}:picky", CASES, tmp_path / "out", workers=1)
    verification = verify(out, rerun_own=True)
    assert verification.ok, failed(verification)
    assert [check.detail for check in verification.checks if check.claim == "complete"] == [
        "2 results of 2 cases, 1 of them failures"
    ]
    line = json.loads((out / "scores.jsonl").read_text().splitlines()[1])
    assert (line["status"], line["skill"], line["error"][:47]) == (
        "error",
        None,
        "method 'picky' raised ValueError: \N{REPLACEMENT CHARACTER}[31mno xxxxx",
    )
    assert "- hist\\@v2n3 (resample, seed 0): error\\: method" in (out / "README.md").read_text()
    with pytest.raises(GaugeblockError, match=r"all 1 jobs failed.*misses"):
        submit(f"{tmp_path / 'broken.py'}:broken", CASES[0], tmp_path / "none", workers=1)
    assert not (tmp_path / "none").exists()


def test_impossible_submissions_are_refused_before_anything_runs(home, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "run", lambda *a, **k: pytest.fail("something ran"))
    (tmp_path / "mine.py").write_text("def eap(task):\n    return {}\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("")
    given = f"{home / 'mine.py'}:lucky"
    for error, words, options in [
        (MethodError, "named 'eap' is there already", {"method": f"{tmp_path / 'mine.py'}:eap"}),
        (FileError, "taken exists", {"out": tmp_path / "taken"}),
        (UnknownName, "hist", {"suite": "hst"}),
        (UnknownName, "resample", {"ablation": "resampel"}),
        (InputError, "name", {"name": "x" * 201}),
        (InputError, "U\\+001B", {"name": "\x1b[31m"}),
        (InputError, "seeds", {"seeds": [-1]}),
    ]:
        with pytest.raises(error, match=words):
            submit(**({"method": given, "suite": CASES, "out": tmp_path / "out"} | options))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.py", "taken"]
    with pytest.raises(FileError, match="no folder"):
        verify(tmp_path / "nowhere")


def test_results_are_packed_only_if_whole(folder, home, tmp_path):
    runner.run([f"{home / 'mine.py'}:lucky"], CASES[0], tmp_path / "run", workers=1)
    edit(first_result(tmp_path / "run"), lambda data: data.update(seed=5))
    with pytest.raises(FileError, match="another job"):
        pack(tmp_path / "run", "lucky", CASES[0], tmp_path / "out")
    edit(first_result(tmp_path / "run"), lambda data: data.update(seed=0, status="started"))
    with pytest.raises(FileError, match="run it again"):
        pack(tmp_path / "run", "lucky", CASES[0], tmp_path / "out")
    with pytest.raises(FileError, match="cannot read"):
        pack(tmp_path / "run", "lucky", CASES[1], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_scores_of_another_tool_are_imported_submitted_and_exported(folder, tmp_path):
    graph_file = export_scores(first_result(folder), tmp_path / "importances.json")
    result = import_scores(graph_file, CASES[0], "theirs", tmp_path / "run")
    original = read_result(first_result(folder))
    same = [edge for edge in original.edge_scores if not edge.startswith(("embed", "pos"))]
    assert {edge: result.edge_scores[edge] for edge in same} == {edge: original.edge_scores[edge] for edge in same}
    assert read_result(first_result(tmp_path / "run")) == result
    verification = verify(pack(tmp_path / "run", "theirs", CASES[0], tmp_path / "out"))
    assert verification.ok, failed(verification)
    assert any("was not run again" in line for line in verification.unverified)
    again = export_scores(first_result(tmp_path / "run"), tmp_path / "again.json")
    theirs, ours = ({name: e["score"] for name, e in read(file)["edges"].items()} for file in (graph_file, again))
    assert ours == theirs
    with pytest.raises(MethodError, match="there already"):
        import_scores(graph_file, CASES[0], "eap", tmp_path / "run")
    import_scores(graph_file, CASES[0], "the irs", tmp_path / "run")
    with pytest.raises(MethodError, match="is the result of 'the irs', whose name makes the same file name"):
        import_scores(graph_file, CASES[0], "the-irs", tmp_path / "run")


def test_a_push_uploads_the_folder_and_nothing_else(folder, tmp_path):
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    said = []

    class Api:
        def upload_folder(self, **options):
            said.append(options)
            return SimpleNamespace(pr_url="https://hub/pr/1", commit_url="https://hub/commit")

    assert push(folder, "me/results", api=Api()) == "https://hub/pr/1"
    (options,) = said
    inspect.signature(HfApi.upload_folder).bind(HfApi(), **options)  # the real one takes these options
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    sent = filter_repo_objects([*paths, ".env", "results/x.bin"], allow_patterns=options["allow_patterns"])
    assert sorted(sent) == sorted(paths)
    assert (options["repo_type"], options["create_pr"], options["repo_id"]) == ("dataset", True, "me/results")
    with pytest.raises(FileError, match="no submission"):
        push(tmp_path, "me/results", api=Api())
    with pytest.raises(GaugeblockError, match="refuses"):
        push(folder, "not a name!", token="x")


def test_the_hub_would_show_the_table(folder, tmp_path, monkeypatch):
    """`datasets` reads the card and finds the table by it."""
    code = (
        "import sys; from datasets import load_dataset\n"
        "rows = load_dataset(sys.argv[1], cache_dir=sys.argv[2])['train']\n"
        "print(len(rows), rows[0]['method'], rows[0]['skill'])"
    )
    environment = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "PATH": ""}
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    first = json.loads((folder / "scores.jsonl").read_text().splitlines()[0])
    assert done.stdout.split() == ["4", "lucky", str(first["skill"])]
