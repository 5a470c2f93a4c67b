"""The site: nothing fetched, everything escaped, every link leads somewhere, and the numbers are the leaderboard's."""

import base64
import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.compiled.writing import write_text
from gaugeblock.evaluation.ranking import top_edges
from gaugeblock.leaderboard.board import leaderboard, read_leaderboard
from gaugeblock.leaderboard.site import build, views
from gaugeblock.leaderboard.site.build import write_site
from gaugeblock.leaderboard.site.names import short, slugs
from gaugeblock.leaderboard.tables import interval_text, number
from gaugeblock.metrics.bootstrap import paired_interval
from gaugeblock.programs.errors import FileError
from gaugeblock.results.files import picture_path, read_result, result_path
from gaugeblock.results.records import CasePicture
from support.site import Page, read_site

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
EVIL_PATH = "../../etc/passwd"
GROUNDS = ("paper", "card", "tint")


@pytest.fixture
def folder(make, tmp_path):
    """Three programs; a method with a hostile name, one that fails, two controls and a job that was never run."""
    cases = [make.case("sort"), make.case("sort/permute+pad"), make.case("add/pad"), make.case("dyck/pad#2")]
    cases[2] = cases[2].model_copy(update={"description": EVIL, "certified": False, "modes": ["soft", EVIL]})
    cases = [c.model_copy(update={"modes": [*c.modes, "deep"]}) for c in cases]
    methods = (("eap", 0.4), ("acdc", 0.8), ("hisp", 0.1), (EVIL_PATH, 0.3))
    costs = {"seconds": 0.5, "forwards": 3.0, "backwards": 1.0}
    results = [make.result(c, m, q, **costs, versions={"numpy": EVIL}) for c in cases for m, q in methods]
    results += [make.result(c, m, q, control=True) for c in cases for m, q in (("oracle", 1.0), ("random", 0.0))]
    results += [make.failure(cases[0], EVIL, EVIL), *(make.result(c, EVIL, 0.2) for c in cases[1:3])]
    make.write(tmp_path / "run", *cases, *results)
    return tmp_path / "run"


@pytest.fixture
def board(folder):
    return read_leaderboard(folder)


@pytest.fixture
def site(board, tmp_path):
    return read_site(write_site(board, tmp_path / "site").parent)


def test_there_is_a_page_for_everything(site, board):
    assert {"index.html", "compare.html"} < site.keys()
    assert sum(path.startswith("methods/") for path in site) == len(board.rows) == 7
    assert sum(path.startswith("cases/") for path in site) == len(board.cases) == 4


def test_tags_are_balanced_and_ids_are_unique(site):
    for path, page in site.items():
        assert page.open == [], path
        ids = page.all("id")
        assert len(ids) == len(set(ids)), path


def test_nothing_is_fetched(site):
    for path, page in site.items():
        for tag, attributes in page.tags:
            for name in ("src", "srcset", "action", "data", "poster", "href", "xlink:href"):
                target = attributes.get(name)
                if target is None or target == "data:,":
                    continue
                assert (name, tag) == ("href", "a") or target.startswith("data:image/svg+xml;base64,"), (path, target)
                assert not re.match(r"[a-z]+:|//", target) or tag == "img", (path, target)
        assert not re.search(r"url\(|@import|fetch\(|XMLHttp|import\(", page.path.read_text()), path


def test_every_link_leads_somewhere(site, board):
    for path, page in site.items():
        for href in page.all("href", "a"):
            target, _, anchor = href.partition("#")
            reached = (page.path.parent / target).resolve() if target else page.path
            assert reached.exists(), (path, href)
            if not anchor or reached.suffix != ".html":
                continue
            if anchor.startswith("circuit="):
                method = unquote(anchor.removeprefix("circuit="))
                assert any(row.method == method for row in board.rows)
            elif "=" in anchor:
                chosen = dict(part.split("=") for part in anchor.split("&"))
                methods = {row.method for row in board.rows}
                assert {unquote(chosen["a"]), unquote(chosen["b"])} <= methods
                assert chosen["track"] in board.tracks
            else:
                assert anchor in Page(reached).all("id"), (path, href)


def test_names_of_others_are_inert(site):
    for path, page in site.items():
        names = [tag for tag, _ in page.tags]
        assert names.count("script") == (3 if path.startswith(("cases", "compare")) else 1), path
        assert "img" not in names
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert short(EVIL) in site["index.html"].text
    assert any(EVIL in page.text for page in site.values())
    assert all(re.fullmatch(r"[\w./+@-]+", path) and ".." not in path for path in site)


def test_the_ranking_has_the_leaderboards_numbers(site, board):
    page = site["index.html"]
    html = page.path.read_text()
    for name, rows in board.tracks.items():
        for row in rows:
            slug = views.Links.of(board).methods[row.method]
            line = re.search(rf'<tr id="{name}-{re.escape(slug)}".*?</tr>', html, re.DOTALL)[0]
            cells = [re.sub(r"<[^>]*>|\s+", " ", c).strip() for c in re.findall(r"<t[dh].*?</t[dh]>", line, re.DOTALL)]
            assert cells[0] == ("" if row.control else "–" if row.rank is None else str(row.rank))
            assert cells[2] == number(row.skill.estimate if row.skill else None)
            assert cells[3] == interval_text(row.skill)
            ranks = "" if row.ranks is None else "–".join(map(str, dict.fromkeys(row.ranks)))
            assert cells[4] == ranks
            assert cells[5] == number(row.mean("auprc" if name == "edges" else "node_auprc"))
            assert cells[-4:-2] == [number(row.cost("seconds")), number(row.cost("passes"))]
            assert cells[-2] == f"{row.averaged} of {len(row.cells)}"
            assert cells[-1] == str(row.skill.n_clusters if row.skill else 0)
    assert re.search(r"Floors and ceilings on every line: oracle 1\.00 random −?0\.\d\d", page.text)


def test_what_is_missing_or_fails_is_said(site):
    text = site["index.html"].text
    assert "NOT CERTIFIED: add/pad" in text
    assert "no rank" in text
    assert "† Not in the mean" in text
    assert "error" in text
    assert "not run" in site["methods/" + slugs([EVIL])[EVIL] + ".html"].text
    assert "Not certified" in next(page.text for path, page in site.items() if path.startswith("cases/add"))


def test_case_pages_say_what_was_found(site, board, folder):
    links = views.Links.of(board)
    for case in board.cases:
        page = site[links.case(case)]
        data = page.data
        drawn = set(page.all("data-edge", "path"))
        for method in ("eap", "oracle", EVIL_PATH):
            result = read_result(result_path(folder, method, case.id, "resample", 0))
            circuit = top_edges(result.edge_scores, case.positives, case.negatives, signed=False, noise=0.0)
            shown = data["methods"][method]
            assert (shown["hits"], shown["misses"]) == ([*circuit.hits], [*circuit.misses])
            assert shown["false_alarms"] == [*circuit.false_alarms]
            assert {*circuit.hits, *circuit.misses, *circuit.false_alarms} <= drawn
    where_it_ran = {c.id for c in board.cases if EVIL in site[links.case(c)].data["methods"]}
    assert where_it_ran == {"sort/permute+pad", "add/pad"}


def test_a_page_holds_no_more_circuits_than_it_may(board, tmp_path, monkeypatch):
    monkeypatch.setattr("gaugeblock.leaderboard.site.cases.MOST_CIRCUITS", 2)
    path = write_site(board, tmp_path / "small").parent / views.Links.of(board).case(board.cases[0])
    page = Page(path)
    assert set(page.data["methods"]) == {row.method for row in board.rows[:2]}
    assert "5 further methods" in page.text


def test_the_comparison_has_paired_intervals(site, board):
    data = site["compare.html"].data
    names = [m["name"] for m in data["methods"]]
    a, b = names.index("acdc"), names.index("eap")
    i, j = min(a, b), max(a, b)
    rows = {row.method: row for row in board.rows}
    first, second = rows[names[i]], rows[names[j]]
    counts = [k for k, counted in enumerate(first.counts) if counted]
    programs = [board.cases[k].program for k in counts]
    expected = paired_interval(first.values[counts], second.values[counts], programs)
    shown = data["tracks"]["edges"]["pairs"][i][j - i - 1]
    assert shown == pytest.approx([expected.estimate, expected.low, expected.high], abs=1e-4)
    assert data["tracks"]["edges"]["values"][i] == pytest.approx(first.values.tolist(), abs=1e-4)


def test_controls_have_labels_and_tables_have_headers(site):
    for path, page in site.items():
        labelled = {a["for"] for tag, a in page.tags if tag == "label" and "for" in a}
        assert {a["id"] for tag, a in page.tags if tag == "select"} <= labelled
        assert set(page.all("aria-labelledby")) <= set(page.all("id"))
        assert all(a.get("scope") in ("row", "col") for tag, a in page.tags if tag == "th"), path
        headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
        assert headings[0] == 1, path
        assert all(b - a <= 1 for a, b in pairwise(headings)), path
        assert all("aria-label" in a or "aria-hidden" in a for tag, a in page.tags if tag == "svg"), path


def test_a_matrix_of_too_many_cells_is_by_program(board, tmp_path, monkeypatch):
    monkeypatch.setattr(views, "LARGEST_MATRIX", 5)
    text = Page(write_site(board, tmp_path / "small")).text
    assert "program by program" in text
    assert "2 cases" in text


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
    site = read_site(write_site(read_leaderboard(tmp_path), tmp_path / "site").parent)
    page = site["cases/sort.resample.html"]
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert image["alt"] == "how it works"
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert '<rect width="3"/>' in base64.b64decode(data).decode()  # what only a pointer would find is left out
    assert f"too large {EVIL}" in page.text
    assert "The picture is not among the results." in page.text


def test_a_page_with_real_pictures(make, tmp_path):
    from gaugeblock.cases.case import case
    from gaugeblock.running.pictures import write_pictures

    pictures = write_pictures(case("hist@v4n4/permute"), tmp_path)
    record = make.case("hist@v4n4/permute").model_copy(update={"pictures": pictures})
    make.write(tmp_path, record, make.result(record))
    site = read_site(write_site(read_leaderboard(tmp_path), tmp_path / "site").parent)
    images = [src for page in site.values() for src in page.all("src", "img")]
    assert len(images) == 3
    for image in images:
        root = ElementTree.fromstring(base64.b64decode(image.partition(",")[2]))
        assert root.tag.endswith("svg")
        assert len(list(root.iter())) > 20


def test_a_board_without_ranked_methods_has_a_site(make, tmp_path):
    case = make.case("sort")
    for i, results in enumerate(([make.failure(case, "bad")], [make.result(case, "oracle", control=True)], [])):
        site = read_site(write_site(leaderboard([case], results), tmp_path / str(i)).parent)
        assert "Which methods find the circuit?" in site["index.html"].text


def test_a_site_replaces_an_older_one_and_nothing_else(make, tmp_path):
    case, gone = make.case("sort/pad"), make.case("add/pad")
    out = tmp_path / "site"
    write_site(leaderboard([case, gone], [make.result(c, m) for c in (case, gone) for m in ("old", "new")]), out)
    (out / "CNAME").write_text("example.org")
    write_site(leaderboard([case], [make.result(case, "new")]), out)
    assert {p.name for p in out.rglob("*.html")} == {"index.html", "compare.html", "new.html", "sort-pad.resample.html"}
    assert (out / "CNAME").exists()
    assert not list(out.rglob("*.part"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("<h1>Holidays</h1>")
    with pytest.raises(FileError, match="not ours"):
        write_site(leaderboard([case], [make.result(case)]), tmp_path / "other")
    with pytest.raises(FileError, match="cannot write"):
        write_site(leaderboard([case], [make.result(case)]), tmp_path / "other" / "index.html")


@given(st.lists(st.text(max_size=200), max_size=30))
def test_slugs_are_safe_unique_and_stable(names):
    files = slugs(names)
    assert files.keys() == set(names)
    assert len({slug.lower() for slug in files.values()}) == len(files)
    assert all(re.fullmatch(r"[A-Za-z0-9_+@][A-Za-z0-9._+@-]{0,120}", slug) for slug in files.values())
    assert slugs(reversed(names)) == files
    assert slugs(["eap", *names])["eap"].startswith("eap")


@given(st.text(max_size=300))
def test_short_names_are_at_most_80_characters(name):
    assert len(short(name)) <= 80
    assert short(name) == name or len(name) > 80


def test_texts_stand_out_from_their_ground():
    """WCAG 2: luminances differ by a factor of 4.5 for text and of 3 for lines and signs, in both themes."""
    css = (Path(build.__file__).parent / "templates" / "site.css").read_text()
    themes = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", theme))
        texts = [(name, ground, 4.5) for name in ("ink", "soft", "accent", "bad", "hit") for ground in GROUNDS]
        signs = [(name, ground, 3.0) for name in ("miss", "alarm", "ignored") for ground in GROUNDS[:2]]
        for name, ground, least in texts + signs:
            a, b = sorted((luminance(colours[name]), luminance(colours[ground])))
            assert (b + 0.05) / (a + 0.05) >= least, (name, ground)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
