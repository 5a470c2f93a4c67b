"""Forged, damaged and hostile submissions: each is refused with its reason, and none gets anything run or crashed."""

import contextlib
import json
import math
import os
import pickle
import random
import re
import shutil
import struct
import zipfile
from functools import partialmethod
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaugeblock.cases.case import Case
from gaugeblock.programs.errors import FileError
from gaugeblock.results.files import read_result
from gaugeblock.results.untrusted import strict_json
from gaugeblock.running import pictures as of_case
from gaugeblock.submissions import submit, verify
from gaugeblock.submissions.tensors import read_scores, write_scores
from support.submissions import CASES, CODE, digest, edit, first_result, read, seal, sign

OTHER, CASE = CASES


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    """A submission that verifies: one result. Nobody changes it: see `folder`."""
    home = tmp_path_factory.mktemp("home")
    (home / "mine.py").write_text(CODE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Case, "certify", partialmethod(Case.certify, n_samples=50))
        patch.setattr(of_case, "write_pictures", lambda case, out: [])
        out = submit(f"{home / 'mine.py'}:lucky", CASE, home / "out", workers=1)
    assert verify(out, rerun_own=True).ok
    return out


@pytest.fixture
def folder(honest, tmp_path) -> Path:
    """A copy of the submission, to be tampered with."""
    return shutil.copytree(honest, tmp_path / "copy")


def reasons(folder: Path, **options) -> str:
    """Why the submission is refused; "" if it is not."""
    found = verify(folder, **options)
    assert found.ok == all(check.ok for check in found.checks)
    assert all(check.detail.isprintable() and len(check.detail) <= 1000 for check in found.checks)
    return "; ".join(f"{check.claim}: {check.detail}" for check in found.checks if not check.ok)


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
    sign(folder, suite=[CASE, OTHER])
    assert f"complete: the cases of {CASE}, {OTHER} are others here: {OTHER}" in reasons(folder)
    sign(folder, suite=[CASE])
    assert reasons(folder, suite=CASE) == reasons(folder) == ""
    assert "complete: the cases of quick are others here" in reasons(folder, suite="quick")
    sign(folder, suite=["season:unheard-of"])
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
    assert "2 lines for 1 results" in reasons(folder)
    path.write_text(lines[0].replace('"auroc": ', '"auroc": 1'))
    sign(folder)
    assert "line 1 of scores.jsonl is not what the result says" in reasons(folder)


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


def test_better_edge_scores_are_caught_by_running_the_code(folder):
    """All scores are made to fit edge scores that the method did not give: only its code can tell."""
    from gaugeblock.cases.case import case
    from gaugeblock.evaluation.evaluate import rescore
    from gaugeblock.methods.registry import pool
    from gaugeblock.results.files import read_result, write_json

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


TENSORS = write_scores({"a": 1.5, "b": -2.0}, {"n": 0.1})


def test_tensors_come_back_exactly():
    assert read_scores(TENSORS, "t") == ({"a": 1.5, "b": -2.0}, {"n": 0.1})
    assert read_scores(write_scores({}, {}), "t") == ({}, {})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut off"),
        (TENSORS[:-1], "cannot be"),
        (TENSORS + b"0", "belong to no tensor"),
        (struct.pack("<Q", 2**63) + TENSORS[8:], "does not fit"),
        (TENSORS.replace(b"F64", b"F32"), "another form"),
        (TENSORS[:-8] + struct.pack("<d", float("nan")), "NaN or infinity"),
        (TENSORS.replace(b'[\\"a\\", \\"b\\"]', b'[\\"a\\", \\"a\\"]'), "twice"),
        (TENSORS.replace(b'"shape":[2]', b'"shape":[9]'), "shape"),
    ],
)
def test_damaged_tensors_are_refused(data, reason):
    with pytest.raises(FileError, match=reason):
        read_scores(data, "t")


def refused(read, *data) -> str:
    """What was said against the data; "" where they were taken."""
    try:
        read(*data)
    except FileError as error:
        return str(error)
    return ""


@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda tail: TENSORS[: len(TENSORS) - len(tail)] + tail))
def test_bytes_are_tensors_or_are_refused(data):
    said = refused(read_scores, data, "t")
    assert said.isprintable()
    assert said or math.isfinite(sum(read_scores(data, "t")[0].values()))


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_strict_json_is_json_or_is_refused(text):
    data = text.encode("utf-8", "surrogatepass")
    said = refused(strict_json, data, "t")
    assert said.isprintable()
    assert said or strict_json(data, "t") == json.loads(text)


def damaged(folder: Path, draw: random.Random) -> str:
    """Do something to a file of the folder; says what."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path, kind = draw.choice(files), draw.choice(["flip", "cut", "insert", "delete", "copy", "swap", "add"])
    data = bytearray(path.read_bytes())
    where = draw.randrange(len(data))
    if kind == "flip":
        data[where] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del data[where:]
    elif kind == "insert":
        data[where:where] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9)))
    if kind in ("flip", "cut", "insert"):
        path.write_bytes(data)
    elif kind == "delete":
        path.unlink()
    elif kind == "add":
        path.with_name(draw.choice(["x", "x.json", "README.md.bak"])).write_bytes(data)
    else:
        other = draw.choice([file for file in files if file != path])
        theirs = other.read_bytes()
        other.write_bytes(data)
        if kind == "swap":
            path.write_bytes(theirs)
    return f"{kind} {path.name} at {where}"


def content(folder: Path) -> dict[str, object]:
    """What a folder holds; of the manifest its data, whose white space means nothing."""
    found: dict[str, object] = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    with contextlib.suppress(KeyError, ValueError):
        found["manifest.json"] = json.loads(found["manifest.json"])
    return found


def test_no_random_damage_is_accepted_or_crashes(honest, tmp_path):
    """300 submissions, each damaged once to three times."""
    for seed in range(300):
        draw = random.Random(seed)
        copy = shutil.copytree(honest, tmp_path / str(seed))
        done = [damaged(copy, draw) for _ in range(draw.randrange(1, 4))]
        assert content(copy) == content(honest) or reasons(copy), done
        shutil.rmtree(copy)


UNKNOWABLE = {"seconds", "forwards", "backwards", "memory", "versions", "commit", "dirty", "device"}
"""What nobody can recompute; a wrong form is still refused."""


def places(value, prefix=()):
    """The path of every value inside a JSON value."""
    if prefix:
        yield prefix
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*prefix, key))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.randoms(use_true_random=False), st.sampled_from(["other", "remove", "text", "none", "list", "extra"]))
def test_no_signed_forgery_is_accepted_or_crashes(honest, tmp_path_factory, draw, kind):
    """One value of a result is changed, by more than another machine could, and everything is signed anew."""
    copy = shutil.copytree(honest, tmp_path_factory.mktemp("forged") / "copy")
    path = first_result(copy)
    data = read(path)
    fields = sorted({place[0] for place in places(data)} - UNKNOWABLE)
    place = draw.choice([p for p in places(data) if p[0] == draw.choice(fields)] or [("seed",)])
    inside = data
    for key in place[:-1]:
        inside = inside[key]
    old = inside[place[-1]]
    if kind == "remove":
        del inside[place[-1]]
    elif kind == "extra" and isinstance(inside, dict):
        inside["extra"] = old
    elif kind == "other" and isinstance(old, int | float) and not isinstance(old, bool):
        inside[place[-1]] = 2 * old + draw.choice([-3, 1, 10])
    else:
        inside[place[-1]] = {"text": "x", "none": None, "list": []}.get(kind, not old)
    before = read_result(path)
    path.write_text(json.dumps(data))
    with contextlib.suppress(FileError):
        if read_result(path) == before:  # a default that is left out says the same
            return
    try:
        seal(copy)
    except (TypeError, KeyError, AttributeError):
        sign(copy)
    assert reasons(copy, rerun_own=True), (place, kind)
    shutil.rmtree(copy)
