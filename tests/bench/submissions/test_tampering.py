"""Forged, damaged and hostile submissions: each is refused with its reason, and none gets anything run or crashed."""

import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import pytest

from gaugeblock.cases.case import case
from gaugeblock.evaluation.evaluate import rescore
from gaugeblock.methods.registry import pool
from gaugeblock.programs.errors import MethodError
from gaugeblock.results.files import read_result, write_json
from gaugeblock.submissions import submit
from support.submissions import CASES, CODE, digest, edit, first_result, read, reasons, rename, seal, sign

OTHER, CASE = CASES


def changed(**changes):
    """A forger's edit of a result: top-level fields, and scores."""

    def change(data):
        for name, value in changes.items():
            (data["scores"] if name in data["scores"] else data).update({name: value})

    return change


FORGERIES = {
    "a better score": (changed(auroc=1.0), "auroc is 1.0 and should be"),
    "a score slightly better": (changed(cpr=lambda old: old + 0.01), "cpr is"),
    "a score that there is not": (changed(iq=200.0), "iq"),
    "no score at all": (changed(scores={}), "missing"),
    "a better curve": (changed(curve=[[0.0, 0.0], [1.0, 1.0]]), "curve"),
    "another circuit": (changed(circuit=[]), "chosen circuit"),
    "better pairs": (changed(pair_scores={"faithfulness": [1.0]}), "per pair"),
    "another version of the case": (changed(case_hash="0" * 64), "case hash is '0000"),
    "another model": (changed(weights_hash="0" * 64), "weights hash"),
    "other metrics": (changed(metrics_version=0), "version of the metrics is 0"),
    "edges that are not": (lambda d: d["edge_scores"].update({"a9.h9->m9": 1.0}), "a9.h9->m9"),
    "edges left out": (lambda d: d["edge_scores"].popitem(), "extra or missing"),
    "nodes that do not follow": (lambda d: d["node_scores"].update(embed=7.0), "do not follow"),
    "negative time": (changed(seconds=-1.0), "seconds is -1.0"),
    "stability from nothing": (changed(stability=1.0), "stability of 1.0 from 0 resamples"),
    "a failure with scores": (changed(status="error", error="no luck"), "has no scores"),
    "a job never finished": (changed(status="started"), "never run to its end"),
    "another job": (changed(seed=1), "another job than its name says, or one twice"),
    "another method": (changed(method="theirs"), "another job than its name says"),
    "a method of ours": (changed(method_source=None), "is no method of gaugeblock"),
    "an unknown field": (changed(rank=1), "rank"),
    "a number as text": (changed(seconds="1"), "seconds"),
    "another schema": (changed(schema_version=2), "schema version 2"),
    "another kind": (changed(kind="case"), "no result record"),
    "terminal codes": (changed(device="\x1b[2J"), "U+001B"),
    "text that turns around": (changed(device="\u202egnp"), "U+202E"),
    "half a character": (changed(device="\ud800"), "U+D800"),
    "a name of a million characters": (changed(method="m" * 10**6), "1000000 characters"),
    "an edge of a million characters": (lambda d: d["edge_scores"].update({"e" * 10**6: 1.0}), "1000000 characters"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_results_are_refused(folder, forgery):
    change, reason = FORGERIES[forgery]

    def apply(data):
        before = json.loads(json.dumps(data))
        change(data)
        for name, value in data["scores"].items():
            if callable(value):
                data["scores"][name] = value(before["scores"][name])

    path = first_result(folder)
    data = read(path)
    apply(data)
    path.write_text(json.dumps(data))
    assert re.search(r"sha256|bytes", reasons(folder)), "whoever does not sign is caught by the hash"
    try:
        seal(folder)
    except (TypeError, KeyError):
        sign(folder)
    assert reason in reasons(folder)


RAW = {
    "cut off": (lambda text: text[: len(text) // 2], "cut off"),
    "empty": (lambda text: "", "cut off"),
    "two texts": (lambda text: text + text, "not JSON"),
    "NaN": (lambda text: re.sub(r'"skill": [^,]+', '"skill": NaN', text), "NaN is no number"),
    "infinity": (lambda text: re.sub(r'"auroc": [^,]+', '"auroc": -Infinity', text), "-Infinity is no number"),
    "infinity in disguise": (lambda text: re.sub(r'"auroc": [^,]+', '"auroc": 1e999', text), "infinite"),
    "a very long number": (lambda text: re.sub(r'"seed": \d', f'"seed": {"9" * 10**4}', text), "10000 digits"),
    "a key twice": (lambda text: text.replace('"seed": 0', '"seed": 1, "seed": 0'), "stands twice"),
    "deep nesting": (lambda text: text.replace('"params": {', '"params": {"a": ' + "[" * 10**5), "nested"),
    "less deep nesting": (
        lambda text: re.sub(r'"params": {', '"params": {"a": ' + "[" * 30 + "]" * 30 + ",", text, count=1),
        "nested more than",
    ),
}


@pytest.mark.parametrize("damage", RAW)
def test_damaged_json_is_refused(folder, damage):
    change, reason = RAW[damage]
    path = first_result(folder)
    path.write_text(change(path.read_text()))
    sign(folder)
    assert reason in reasons(folder)


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickles_and_archives_are_never_opened(folder, tmp_path):
    path = first_result(folder)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "bang"), protocol))
        sign(folder)
        assert "not JSON" in reasons(folder)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("result.json", "0" * 10**7)
    sign(folder)
    assert "not JSON" in reasons(folder)
    shutil.copy(path, folder / "results.zip")
    assert "'results.zip' belongs to no submission" in reasons(folder)
    assert not (tmp_path / "bang").exists()


def test_links_devices_and_monsters_are_refused(folder, tmp_path):
    path = first_result(folder)
    original = path.read_bytes()
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert "symbolic link" in reasons(folder)
    path.unlink()
    os.mkfifo(path)
    assert "neither a plain file" in reasons(folder)
    path.unlink()
    path.write_bytes(original)
    os.truncate(path, 2**40)  # takes no place on the disk
    assert f"{2**40} bytes" in reasons(folder)
    path.write_bytes(original)
    (folder / "results" / "more").symlink_to(folder / "results" / "lucky")
    assert "symbolic link" in reasons(folder)
    (folder / "results" / "more").unlink()
    assert reasons(folder) == ""
    (folder / "a" / "b" / "c" / "d").mkdir(parents=True)
    assert "too deeply" in reasons(folder)


@pytest.mark.parametrize(
    "name", ["x.json", "results/lucky/extra.json", "../outside.json", "cases/\x1b[2J.json", ".hidden"]
)
def test_files_that_do_not_belong_are_refused(folder, name):
    (folder / name).write_text("{}")
    manifest = read(folder / "manifest.json")
    manifest["files"][name] = {"sha256": "0" * 64, "size": 2}
    digest(folder, manifest)
    assert "belongs to no submission" in reasons(folder) or "U+001B" in reasons(folder)
    assert "\x1b" not in reasons(folder)


def test_what_is_missing_is_noticed(folder):
    (folder / "README.md").unlink()
    assert "'README.md' is missing" in reasons(folder)
    sign(folder)
    assert "'README.md' is missing" in reasons(folder)
    first_result(folder).unlink()
    assert "empty folder" in reasons(folder)


def test_cases_cannot_be_left_out_or_doubled(folder):
    seal(folder, suite=[CASE, OTHER])
    assert f"complete: the cases of {CASE}, {OTHER} are others here: {OTHER}" in reasons(folder)
    seal(folder, suite=[CASE])
    assert reasons(folder, suite=CASE) == reasons(folder) == ""
    assert "complete: the cases of quick are others here" in reasons(folder, suite="quick")
    seal(folder, suite=["season:unheard-of"])
    assert "complete:" in reasons(folder)
    sign(folder, suite=[CASE], seeds=[0, 0])
    assert "names a seed twice" in reasons(folder)
    sign(folder, seeds=list(range(10_000)), cases=[str(i) for i in range(10_000)])
    assert "at most" in reasons(folder)
    sign(folder, seeds=[0], cases=[CASE], method="../../../etc/cron.d/x")
    assert "belongs to no submission" in reasons(folder)


def test_rows_of_the_table_are_those_of_the_results(folder):
    path = folder / "scores.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] * 2)
    sign(folder)
    assert re.search(r"line 2 of scores.jsonl .* should have ''", reasons(folder))
    path.write_text(lines[0].replace('"auroc": ', '"auroc": 1'))
    sign(folder)
    assert "line 1 of scores.jsonl is not what the results say" in reasons(folder)


CARDS = {
    "a script": lambda text: text + "\n<script>alert(1)</script>\n",
    "a better mean": lambda text: re.sub(r"\| AUPRC \| [^|]+", "| AUPRC | 1.000 ", text),
    "another table": lambda text: text.replace("Tuned on:", "| Skill | 1.00 |\n|---|---|\n\nTuned on:"),
    "nothing": lambda text: "",
    "a line less": lambda text: text.rstrip("\n"),
    "other line ends": lambda text: text.replace("\n", "\r\n"),
    "a letter that looks the same": lambda text: text.replace("lucky", "luсky"),
    "another file of data": lambda text: text.replace("data_files: scores.jsonl", "data_files: mine.jsonl"),
    "terminal codes": lambda text: text + "\x1b[2J",
    "no text": lambda text: "\x00\udcff",
}


@pytest.mark.parametrize("card", CARDS)
def test_the_readme_is_the_one_that_follows(folder, card):
    path = folder / "README.md"
    text = path.read_text()
    path.write_bytes(CARDS[card](text).encode("utf-8", "surrogateescape"))
    sign(folder)
    assert re.search(r"line \d+ of README.md is not what the results say", reasons(folder))
    path.write_text(text)
    sign(folder)
    assert reasons(folder) == ""


def test_a_case_cannot_be_made_easier(folder):
    (path,) = folder.glob("cases/*.json")

    def ignore(data):
        data["ignored"].append(data["negatives"].pop() if data["negatives"] else data["positives"].pop())

    edit(path, ignore)
    sign(folder)
    assert "cases are ours" in reasons(folder)
    edit(path, lambda data: data.update(hash="f" * 64))
    sign(folder)
    assert "another version of the case" in reasons(folder)


def test_the_manifest_answers_for_itself(folder):
    edit(folder / "manifest.json", lambda data: data["disclosure"].update(tuned_on=["none"]))
    assert "changed after it was written" in reasons(folder)
    edit(folder / "manifest.json", lambda data: data.update(name="n" * 10**6))
    assert "1000000 characters" in reasons(folder)
    (folder / "manifest.json").write_text("[" * 10**6)
    assert "nested too deeply" in reasons(folder)
    (folder / "manifest.json").unlink()
    assert "holds no manifest.json" in reasons(folder)


LOOK_ALIKES = {
    "eap": [
        "EAP",
        "Eap",
        "eap ",
        "eap.",
        "e.a.p",
        " eap",
        "\u0435\u0430\u0440",
        "e\u0430p",
        "\uff45\uff41\uff50",
        "ea\u200bp",
    ],
    "eap_ig": ["eap_ig_", "eap-ig", "EAP IG", "eapig", "eap_1g", "eap_lg", "e\u0301ap_ig", "eap\u2010ig", "eap__ig"],
    "oracle": ["orac1e", "0racle", "ORACLE", "\u03bfracle", "orac\u04cfe", "oracle\u3164", "oracl\u0451"],
    "weights": ["vveights", "we\u0456ghts", "\U0001d430eights", "weight\u0455", "weig\u04bbts"],
    "random": ["Random", "rand\u043em", "randorn", "ran\u00addom", "\u0280andom"],
}


@pytest.mark.parametrize("ours", LOOK_ALIKES)
def test_names_do_not_pass_for_ours(folder, ours, tmp_path):
    """Neither does the name of a method, nor the title: at `verify`, and before anything runs at `submit`."""
    (tmp_path / "mine.py").write_text(CODE)
    for name in LOOK_ALIKES[ours]:
        seal(folder, name=name)
        assert re.search(f"names: the title .* looks like '{ours}'", reasons(folder)), name
        copy = shutil.copytree(folder, tmp_path / "renamed")
        rename(copy, name)
        assert re.search(f"names: the method's name .* looks like '{ours}'", reasons(copy)), name
        shutil.rmtree(copy)
        with pytest.raises(MethodError, match=f"looks like '{ours}'"):
            submit(f"{tmp_path / 'mine.py'}:lucky", CASE, tmp_path / "none", name=name)
    seal(folder, name="A submission of luck")
    assert reasons(folder) == ""


def test_names_do_not_pass_for_those_of_another_submission(honest, folder):
    for name in ("Lucky", "l\u03c5cky", "lucky.", "1ucky"):
        copy = shutil.copytree(folder, folder.with_name("renamed"))
        rename(copy, name)
        assert reasons(copy) == ""
        assert re.search("names: the method's name .* looks like 'lucky'", reasons(copy, beside=[honest]))
        shutil.rmtree(copy)
    assert reasons(folder, beside=[honest]) == "", "the same submission is no other"


def test_better_edge_scores_are_caught_by_running_the_code(folder):
    """All scores are made to fit edge scores that the method did not give: only its code can tell."""
    built = case(CASE)
    positives = built.truth("resample").positives
    for path in folder.glob("results/*/*.json"):
        result = read_result(path)
        edges = {edge: float(edge in positives) for edge in result.edge_scores}
        nodes = pool(edges, built.model.graph)
        write_json(path, rescore(result.model_copy(update={"edge_scores": edges, "node_scores": nodes}), built))
    seal(folder)
    assert reasons(folder) == ""
    assert "the method now gives other scores" in reasons(folder, rerun_own=True)


def test_whether_signs_count_is_said_by_the_code(folder):
    edit(first_result(folder), lambda data: data.update(signed=True))
    seal(folder)
    assert "signed is now False" in reasons(folder, rerun_own=True)
