"""Records that a stranger made up: whatever stands in a file, it is left out with a note or shown inert."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gaugeblock.leaderboard.board import read_leaderboard
from gaugeblock.leaderboard.site.build import write_site
from support.site import read_site

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
NASTY: tuple[Any, ...] = (
    *(math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 10**400, -1, 0, 2**63, True, None),
    *("", EVIL, "\x00\x1b[31m", "\u202edcba", "../../etc/passwd", "{{ 7 * 7 }}", "x" * 5000, "con", "\ud800"),
    *([], {}, [[[[[]]]]], {"a": EVIL}, [EVIL], [math.nan], [[0.0, math.inf]]),
)


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in a record; of lists and numbered objects only the first entries."""
    yield here
    if isinstance(value, dict | list):
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        for key, inner in items if here == () else items[:2]:
            yield from places(inner, (*here, key))


def mutants(record: dict[str, Any], n: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Copies with one thing replaced."""
    where = [path for path in places(record) if path]
    for _ in range(n):
        mutant = json.loads(json.dumps(record))
        path = where[rng.integers(len(where))]
        parent = mutant
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = NASTY[rng.integers(len(NASTY))]
        yield mutant


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_no_record_breaks_the_site(make, tmp_path):
    rng = np.random.default_rng(1)
    case = make.case("sort/pad", 1, 2, 3).model_copy(update={"modes": ["soft"]})
    other = make.case("add/pad", 1, 2, 3)
    fields = {"seconds": 1.0, "forwards": 1.0, "backwards": 0.0, "memory": 9.0, "metrics_version": 1}
    result = make.result(case, "mine", 0.5, params={"steps": 5}, commit="0123", dirty=False, **fields)
    make.write(tmp_path, case, other, result, make.result(other, "mine", 0.5, **fields))
    for i, mutant in enumerate(mutants(result.model_dump(), 250, rng)):
        mutant["method"] = f"m{i}" if mutant["method"] == "mine" else mutant["method"]
        (tmp_path / "results" / "mine" / f"{i}.json").write_text(json.dumps(mutant))
    for i, mutant in enumerate(mutants(case.model_dump(), 100, rng)):
        mutant["id"] = f"c{i}" if mutant["id"] == case.id else mutant["id"]
        (tmp_path / "cases" / f"{i}.json").write_text(json.dumps(mutant))
    board = read_leaderboard(tmp_path)
    assert len(board.rows) > 50
    assert len(board.cases) > 10
    assert len(board.notes) > 50
    site = read_site(write_site(board, tmp_path / "site").parent)
    json.loads((tmp_path / "site" / "downloads" / "leaderboard.json").read_text())
    for path, page in site.items():
        names = [tag for tag, _ in page.tags]
        assert page.open == [], path
        assert names.count("script") == (3 if path.startswith(("cases", "compare")) else 1), path
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes), path
        assert not any(re.match(r"[a-z]+:|//", href) for href in page.all("href", "a")), path
    longest = max(len(word) for word in site["index.html"].text.split())
    assert longest <= 400
    assert {p.name for p in tmp_path.iterdir()} == {"cases", "results", "site"}
