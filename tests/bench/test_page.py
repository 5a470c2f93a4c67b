"""The page: one file, nothing fetched, everything escaped, everything said in words."""

import base64
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from gaugeblock.leaderboard import leaderboard
from gaugeblock.page import render, write_page
from gaugeblock.results import CasePicture, picture_path, write_text
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


def test_pictures_of_a_case_are_images_in_which_nothing_runs(make, tmp_path):
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><title>t</title><rect width="3" data-key="1"/>{EVIL}</svg>'
    pictures = [
        CasePicture(kind="flow", caption="how it works", width=400.0),
        CasePicture(kind="attention", caption="never drawn", missing=f"too large {EVIL}"),
        CasePicture(kind="stream", caption="lost on the way", width=400.0),
        CasePicture(kind=EVIL, caption="of a later version", width=400.0),
    ]
    case = make.case("sort").model_copy(update={"pictures": pictures})
    make.write(tmp_path, case, make.result(case))
    write_text(picture_path(tmp_path, case.id, "flow"), svg)
    page = Reader(write_page(tmp_path).read_text())
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert image["alt"] == "how it works"
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert '<rect width="3"/>' in base64.b64decode(data).decode()  # what only a pointer would find is left out
    text = " ".join(page.text)
    assert f"too large {EVIL}" in text
    assert "The picture is not among the results." in text
    assert [tag for tag, _ in page.tags].count("script") == 2


def test_a_page_with_real_pictures(make, tmp_path):
    from gaugeblock.cases import case
    from gaugeblock.pictures.of_case import write_pictures

    pictures = write_pictures(case("hist@v4n4/permute"), tmp_path)
    record = make.case("hist@v4n4/permute").model_copy(update={"pictures": pictures})
    make.write(tmp_path, record, make.result(record))
    page = Reader(write_page(tmp_path).read_text())
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 3
    for image in images:
        root = ElementTree.fromstring(base64.b64decode(image.partition(",")[2]))
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 20


def test_it_is_written_into_the_folder(make, board, tmp_path):
    make.write(tmp_path, *board.cases, *[r for row in board.rows for c in row.cells for r in c.results if c.ok])
    path = write_page(tmp_path)
    assert path == tmp_path / "index.html"
    assert path.read_text().startswith("<!doctype html>")
