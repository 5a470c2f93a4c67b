"""The site in a real browser, where there is one: no errors, no requests, no sideways scrolling, and it works."""

import json
import re
import shutil
import subprocess

import pytest

from gaugeblock.leaderboard.board import read_leaderboard
from gaugeblock.leaderboard.site.build import write_site
from gaugeblock.leaderboard.site.views import Links

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

METHOD = "some/long/path/mine.py:my_method"

PROBE = """
<script>
addEventListener("load", () => setTimeout(() => {
  const seen = { width: innerWidth, scroll: document.documentElement.scrollWidth };
  seen.requests = performance.getEntriesByType("resource").length;
  seen.unlabelled = [...document.querySelectorAll("select, input")].filter((e) => !e.labels.length).length;
  const click = (element) => element.dispatchEvent(new Event("change", { bubbles: true }));
  const title = document.querySelector("table.sortable th[title^='2 ×']");
  if (title) {
    const table = title.closest("table");
    const names = () => [...table.querySelectorAll("tbody th a")].map((a) => a.textContent);
    seen.orders = [names()];
    for (const _ of "123") {
      title.querySelector("button").click();
      seen.orders.push([title.getAttribute("aria-sort"), ...names()]);
    }
  }
  const box = document.querySelector(".circuit-box");
  if (box) {
    const count = () => ["hit", "miss"].map((kind) => box.querySelectorAll("[data-edge]." + kind).length);
    seen.followed = box.querySelector("select").value;
    seen.poor = count();
    box.querySelector("select").value = "perfect";
    click(box.querySelector("select"));
    seen.perfect = count();
    seen.listed = box.querySelector("[data-list=hits] .count").textContent;
    seen.address = location.hash;
  }
  const summary = document.getElementById("summary");
  if (summary) {
    seen.summary = summary.textContent;
    seen.detail = document.getElementById("detail").textContent;
    seen.rows = document.querySelectorAll("#cases tr").length;
    seen.dots = document.querySelectorAll("#plot circle").length;
    document.getElementById("first").value = "perfect";
    click(document.getElementById("first"));
    setTimeout(() => console.log("PROBE " + JSON.stringify({ ...seen, address: location.hash })), 100);
  } else console.log("PROBE " + JSON.stringify(seen));
}, 50));
</script>
"""


def console(folder, page) -> list[str]:
    """What the page and the browser write to the console."""
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-sync", "--disable-quic", "--enable-logging=stderr"]
    profile = f"--user-data-dir={folder / 'profile'}"
    budget = ["--virtual-time-budget=5000", "--window-size=1280,1000", "--dump-dom"]
    done = subprocess.run(
        [*command, *quiet, profile, *budget, page.as_uri()], capture_output=True, text=True, timeout=120
    )
    return re.findall(r'CONSOLE[^"]*"(.*)", source', done.stderr)


@pytest.fixture
def site(make, tmp_path):
    """The root of the site and the path of each kind of page, with what its address says."""
    names = [f"{p}{v}" for p in ("a_program_with_a_long_name", "sort") for v in ("", "/permute+pad#1")]
    cases = [make.case(name, 4, 6, 20) for name in names]
    cases = [c.model_copy(update={"modes": ["saturated", "a mode"]}) for c in cases]
    results = [make.result(c, m, q, forwards=2.0) for c in cases for m, q in (("perfect", 1.0), (METHOD, 0.0))]
    make.write(tmp_path, *cases, *results, make.failure(cases[0], "bad", "x" * 400))
    board = read_leaderboard(tmp_path)
    root = write_site(board, tmp_path / "site").parent
    links = Links.of(board)
    case, _, circuit = links.case(board.cases[-1], METHOD).partition("#")
    return root, {
        "index.html": "",
        links.method(METHOD): "",
        case: circuit,
        "compare.html": links.compare(METHOD, "perfect", "edges").partition("#")[2],
    }


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_works_at_this_width(site, tmp_path, width):
    root, pages = site
    seen = {}
    for path, address in pages.items():
        page = root / path
        page.write_text(page.read_text() + PROBE)
        frame = root / "frame.html"
        frame.write_text(
            f"<body style='margin:0'><iframe src='{path}#{address}' width='{width}' height='900' style='border:0'>"
        )
        lines = console(tmp_path, frame)
        assert len(lines) == 1, (path, lines)
        probe = json.loads(lines[0].removeprefix("PROBE ").replace('\\"', '"'))
        assert (probe["width"], probe["requests"], probe["unlabelled"]) == (width, 0, 0), path
        assert probe["scroll"] <= width, path
        seen[path.partition("/")[0]] = probe
    index, case, compare = seen["index.html"], seen["cases"], seen["compare.html"]
    order = index["orders"][0]
    down = [name for name in order if name != "bad"] + ["bad"]  # what failed comes last, whichever way
    up = [*reversed(down[:-1]), "bad"]
    assert index["orders"][1:] == [["descending", *down], ["ascending", *up], [None, *order]]
    assert case["followed"] == METHOD
    assert case["perfect"] == [20, 0]
    assert case["listed"] == "20"
    assert case["poor"] != case["perfect"]
    assert sum(case["poor"]) == 20
    assert case["address"] == "#circuit=perfect"
    assert compare["summary"] == f"perfect is better than {METHOD}"
    assert re.match(r"Mean skill of .* − perfect: −\d\.\d\d, 95 % interval −", compare["detail"])
    assert compare["rows"] == 4
    assert compare["dots"] >= 1
    assert compare["address"].startswith("#a=perfect&b=perfect")
