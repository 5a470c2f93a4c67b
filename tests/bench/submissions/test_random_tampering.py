"""Submissions damaged or forged at random: none is accepted, and none crashes what checks it."""

import contextlib
import json
import random
import shutil
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaugeblock.programs.errors import FileError
from gaugeblock.results.files import read_result
from support.submissions import first_result, read, reasons, seal, sign


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
    files: dict[str, object] = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    with contextlib.suppress(KeyError, ValueError):
        files["manifest.json"] = json.loads(files["manifest.json"])
    return files


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
