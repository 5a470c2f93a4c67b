"""Two hundred forgeries, each sealed with hashes that fit: none is accepted, and none takes long to refuse."""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gaugeblock.cases.case import case
from gaugeblock.evaluation.evaluate import rescore
from gaugeblock.methods.registry import pool
from gaugeblock.results.files import read_result, write_json
from support.submissions import CASES, edit, first_result, reasons, rename, seal, sign

pytestmark = pytest.mark.slow  # half a minute; the kinds are tested one by one in test_tampering

CASE = CASES[1]
LONGEST = 10.0  # seconds of this process, whatever else the machine does
Forgery = tuple[str, Callable[[Path], Any]]


def in_result(**changes: Any) -> Callable[[Path], None]:
    """Other fields, or scores, of the result; a function makes the new value of the old."""

    def forge(folder: Path) -> None:
        def change(data: dict[str, Any]) -> None:
            for name, value in changes.items():
                place = data["scores"] if name in data["scores"] else data
                place[name] = value(place[name]) if callable(value) else value

        edit(first_result(folder), change)
        seal(folder)

    return forge


def in_case(**changes: Any) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        (path,) = folder.glob("cases/*.json")
        edit(path, lambda data: data.update({n: v(data[n]) if callable(v) else v for n, v in changes.items()}))
        seal(folder)

    return forge


def in_file(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_text()).encode())
        sign(folder)

    return forge


def raw(old: str, new: str) -> Callable[[Path], None]:
    """Another text in the file of the result."""

    def forge(folder: Path) -> None:
        path = first_result(folder)
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
        sign(folder)

    return forge


def with_edges(change: Callable[[dict[str, float]], dict[str, float]]) -> Callable[[Path], None]:
    """Other edge scores, and all that follows from them: only the method can tell."""

    def forge(folder: Path) -> None:
        path, built = first_result(folder), case(CASE)
        result = read_result(path)
        edges = change(dict(result.edge_scores))
        nodes = pool(edges, built.model.graph)
        write_json(path, rescore(result.model_copy(update={"edge_scores": edges, "node_scores": nodes}), built))
        seal(folder)

    return forge


def one_edge(value: float, place: int) -> Callable[[Path], None]:
    """Another score of one edge, and nothing else."""
    return in_result(edge_scores=lambda edges: edges | {sorted(edges)[place]: value})


def least_edge(folder: Path) -> None:
    """Lower what is not the largest of its node: often no score depends on it."""

    def change(data: dict[str, Any]) -> None:
        edges = data["edge_scores"]
        largest = {max((e for e in edges if e.startswith(f"{node}->")), key=edges.get, default="") for node in edges}
        name = min((edge for edge in edges if edge not in largest), key=lambda edge: abs(edges[edge]))
        edges[name] -= 0.01

    edit(first_result(folder), change)
    seal(folder)


def forgeries() -> Iterator[Forgery]:
    def several(kind: str, *made: Callable[[Path], Any]) -> Iterator[Forgery]:
        for number, forge in enumerate(made):
            yield f"{kind} {number}", forge

    for name in (
        "EAP",
        "eap_ig_",
        "\u0435\u0430\u0440",
        "ｅａｐ",
        "ea\u200bp",
        "0racle",
        "...",
        "\u3164",
        "eap.",
        "ALL",
    ):
        yield f"name {name!r}", lambda folder, name=name: rename(folder, name)
        yield f"title {name!r}", lambda folder, name=name: rename(folder, "..") or seal(folder, name=name)
    for number in (1, 7, 2**64):
        for suite in (f"season:{number}", f"season:{number}:20", f"season:{number}:1", f"season:{number}:101"):
            yield f"suite {suite}", lambda folder, suite=suite: seal(folder, suite=[suite])
            yield f"suite {suite} too", lambda folder, suite=suite: seal(folder, suite=[CASE, suite])
    for suite in ("quick", "core", "stress", "full", "stress:none", "season:x", "none", "average@v3n4", "season"):
        yield f"suite {suite}", lambda folder, suite=suite: seal(folder, suite=[suite])
    for name, values in {
        "metrics_version": (0, 2, 99),
        "created": ("2026-13-45", "0000-00-00", "yesterday", "2026-02-30"),
        "function": ("other", "os.system", "", None),
        "resamples": (1, -1),
        "seeds": ([1], [0, 1], [], [0, 0], [-1]),
        "ablations": (["zero"], ["resample", "zero"], []),
        "cases": ([CASES[0]], [CASE, CASES[0]], []),
        "scores": ("safetensors", "pickle"),
        "method": ("theirs", "../../x", ""),
        "schema_version": (2,),
        "kind": ("result",),
        "name": ("", "n" * 201, "a\nb", "\x1b[2J", "\u202egnp"),
        "rank": (1,),
    }.items():
        for value in values:
            yield f"manifest {name} {value!r}", lambda folder, c={name: value}: seal(folder, **c)
    for name in ("README.md", "scores.jsonl", "method.py"):
        yield from several(
            name,
            in_file(name, lambda text: text + "<script>alert(1)</script>\n"),
            in_file(name, lambda text: "| skill | 1.00 |\n" + text),
            in_file(name, lambda text: text.replace("lucky", "luсky")),
            in_file(name, lambda text: text.replace("\n", "\r\n")),
            in_file(name, lambda text: ""),
        )
    for name in ("skill", "auroc", "auprc", "cpr", "cmd", "node_skill", "matched_auroc", "faithfulness", "iq"):
        yield from several(
            f"score {name}", in_result(**{name: 1.01}), in_result(**{name: -0.5}), in_result(**{name: "1"})
        )
    for name in ("seconds", "forwards", "backwards", "memory"):
        yield from several(f"cost {name}", in_result(**{name: -1.0}), in_result(**{name: "1"}))
    for name, values in {
        "curve": ([], [[0.0, 0.0], [1.0, 1.0]]),
        "pair_curve": ([], [[0.0, 1.0]]),
        "circuit": ([], ["embed->logits"]),
        "pair_scores": ({}, {"faithfulness": [1.0]}, {"skill": [1.0]}),
        "noise": (1.0, -1.0),
        "scores": ({}, {"skill": 1.0}),
        "node_scores": ({}, {"embed": 1.0}),
        "signed": (True,),
        "control": (True,),
        "method_level": ("nodes", "ports", None),
        "method_source": (None, "0" * 16, "imported"),
        "params": ({}, {"weight": 0.2}, {"weight": 0.1, "luck": 1}),
        "case": ("sort", CASES[0]),
        "case_hash": ("0" * 64, None),
        "weights_hash": ("0" * 64, None),
        "metrics_version": (0, None),
        "ablation": ("zero",),
        "seed": (1, -1),
        "status": ("started", "error", "timeout", "fine"),
        "resamples": (3,),
        "stability": (1.0,),
        "error": ("none",),
        "versions": ({},),
        "device": ("\x1b[2J", "\u202egnp"),
    }.items():
        yield from several(f"result {name}", *(in_result(**{name: value}) for value in values))
    for value in (1e308, -1e308, 7.0, 5e-324, 1e300):
        yield from several(f"one edge {value}", *(one_edge(value, place) for place in (0, 3, -1)))
    for value in ("NaN", "Infinity", "1e999", "null", '"1.0"', "true", "1" * 400, "[1.0]", "1e"):
        yield f"edge as {value}", raw('"edge_scores": {', f'"edge_scores": {{"embed->logits": {value}, ')
        yield f"noise as {value}", raw('"noise": ', f'"noise": {value}, "more": ')
    yield "an edge that no score depends on", least_edge
    positives = case(CASE).truth("resample").positives
    yield from several(
        "better edges",
        with_edges(lambda edges: {edge: float(edge in positives) for edge in edges}),
        with_edges(lambda edges: {edge: score + (edge in positives) for edge, score in edges.items()}),
        with_edges(lambda edges: {edge: -score for edge, score in edges.items()}),
        with_edges(lambda edges: {edge: 1e-310 * score for edge, score in edges.items()}),
        with_edges(lambda edges: dict.fromkeys(edges, 0.0)),
        with_edges(lambda edges: dict.fromkeys(edges, 1e200)),
    )
    for name, value in {
        "hash": "f" * 64,
        "weights_hash": "f" * 64,
        "program": "sort",
        "description": "easy",
        "source": "",
        "variant": "pad",
        "vocab_size": 9,
        "layers": 9,
        "comparators": 1.0,
        "modes": ["hard"],
        "certified": lambda old: not old,
        "positives": lambda old: old[1:],
        "negatives": lambda old: [*old, "embed->logits"],
        "ignored": lambda old: [*old, "embed->logits"],
        "writers": lambda old: old[::-1],
        "pictures": [{"kind": "flow", "caption": "x"}],
    }.items():
        yield f"case {name}", in_case(**{name: value})


def test_no_forgery_is_accepted_and_none_takes_long(honest: Path, tmp_path: Path) -> None:
    made = list(forgeries())
    assert len(made) >= 200
    assert len({kind.split()[0] + kind.split()[1] for kind, _ in made}) >= 60
    accepted, slow = [], []
    for kind, forge in random.Random(0).sample(made, len(made)):
        copy = shutil.copytree(honest, tmp_path / "copy")
        try:
            forge(copy)
        except (TypeError, KeyError, AttributeError, ValueError):
            sign(copy)
        start = time.process_time()
        if not reasons(copy, rerun_own=True):
            accepted.append(kind)
        if time.process_time() - start > LONGEST:
            slow.append(kind)
        shutil.rmtree(copy)
    assert not accepted
    assert not slow
    assert reasons(honest, rerun_own=True) == ""
