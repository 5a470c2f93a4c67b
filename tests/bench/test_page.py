"""The page: one file, nothing fetched, everything escaped, everything said in words."""

import json
import re
from html.parser import HTMLParser

import pytest

from gaugeblock.leaderboard import leaderboard
from gaugeblock.page import render, write_page
from gaugeblock.scoring import found

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


class Reader(HTMLParser):
    """Collects tags with their attributes, and what scripts and tags hold."""

    VOID = frozenset({"meta", "link", "input", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if "script" in self.open else self.text).append(data)


@pytest.fixture
def board(make):
    cases = [make.case("sort"), make.case("sort/permute+pad"), make.case("add/pad")]
    cases[2] = cases[2].model_copy(update={"description": EVIL, "certified": False})
    results = [make.result(c, m, q) for c in cases for m, q in (("eap", 0.4), ("oracle", 1.0))]
    results += [make.failure(cases[0], EVIL, EVIL), make.result(cases[1], EVIL, 0.2)]
    return leaderboard(cases, results)


@pytest.fixture
def page(board):
    return Reader(render(board))


def test_tags_are_balanced_and_ids_are_unique(page):
    assert page.open == []
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_nothing_is_fetched(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            target = attributes.get(name)
            assert target is None or target.startswith("#") or target == "data:,", (tag, target)
    styles = " ".join(page.text)
    assert "url(" not in styles
    assert "@import" not in styles


def test_text_of_others_is_escaped(page):
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 2
    assert "img" not in names
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert EVIL in " ".join(page.text)


def test_the_data_say_what_was_found(page, board):
    data = json.loads(page.scripts[0])
    for i, case in enumerate(board.cases):
        result = next(c.ok[0] for row in board.rows for c in row.cells if c.case is case and row.method == "eap")
        circuit = found(result.edge_scores, case.positives, case.negatives, signed=False, noise=0.0)
        shown = data[f"case-{i}"]["methods"]["eap"]
        assert (shown["hits"], shown["misses"]) == ([*circuit.hits], [*circuit.misses])
        assert shown["false_alarms"] == [*circuit.false_alarms]


def test_every_shown_edge_is_drawn(page, board):
    drawn = {a["data-edge"] for tag, a in page.tags if tag == "path" and "data-edge" in a}
    for case in json.loads(page.scripts[0]).values():
        for circuit in case["methods"].values():
            assert {*circuit["hits"], *circuit["misses"], *circuit["false_alarms"]} <= drawn


def test_controls_have_labels_and_links_have_targets(page):
    ids = {a.get("id") for _, a in page.tags}
    labelled = {a["for"] for tag, a in page.tags if tag == "label" and "for" in a}
    assert {a["id"] for tag, a in page.tags if tag == "select"} <= labelled
    targets = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    targets |= {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a}
    assert targets <= ids


def test_it_says_what_is_missing_or_fails(page):
    text = re.sub(r"\s+", " ", " ".join(page.text))
    assert "Not certified" in text
    assert "no rank" in text
    assert "† Not in the mean" in text


def test_it_is_written_into_the_folder(make, board, tmp_path):
    make.write(tmp_path, *board.cases, *[r for row in board.rows for c in row.cells for r in c.results if c.ok])
    path = write_page(tmp_path)
    assert path == tmp_path / "index.html"
    assert path.read_text().startswith("<!doctype html>")
