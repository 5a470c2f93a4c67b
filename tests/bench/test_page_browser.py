"""The page in a real browser, where there is one: no errors, no requests, no sideways scrolling, and it works."""

import re
import shutil
import subprocess

import pytest

from gaugeblock.page import write_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

PROBE = """
<script>
addEventListener("load", () => {
  const box = document.querySelector(".circuit-box"), select = box.querySelector("select");
  const number = (edges) => box.querySelectorAll(edges).length;
  const count = () => number("[data-edge].hit") + "/" + number("[data-edge].miss");
  const first = count();
  select.selectedIndex = 1;
  select.dispatchEvent(new Event("change", { bubbles: true }));
  const requests = performance.getEntriesByType("resource").length;
  console.log(`PROBE ${innerWidth} ${document.documentElement.scrollWidth} ${requests} ${first} ${count()}`);
});
</script>
"""


def console(folder, page) -> list[str]:
    """What the page and the browser write to the console."""
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-sync", "--disable-quic", "--enable-logging=stderr"]
    profile = f"--user-data-dir={folder / 'profile'}"
    arguments = [*command, *quiet, profile, "--window-size=1280,1000", "--dump-dom", page.as_uri()]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    return re.findall(r'CONSOLE[^"]*"(.*)", source', done.stderr)


@pytest.mark.parametrize("width", [1280, 390])
def test_it_works_at_this_width(make, tmp_path, width):
    cases = [
        make.case(f"{p}{v}", 4, 6, 20) for p in ("a_program_with_a_long_name", "sort") for v in ("", "/permute+pad#1")
    ]
    results = [
        make.result(c, m, q) for c in cases for m, q in (("perfect", 1.0), ("some/long/path/mine.py:my_method", 0.0))
    ]
    make.write(tmp_path, *cases, *results, make.failure(cases[0], "bad", "x" * 400))
    page = write_page(tmp_path)
    page.write_text(page.read_text() + PROBE)
    frame = tmp_path / "frame.html"
    frame.write_text(f"<body style='margin:0'><iframe src='index.html' width='{width}' height='900' style='border:0'>")
    lines = console(tmp_path, frame)
    assert len(lines) == 1, lines
    inner, scroll, requests, perfect, poor = lines[0].removeprefix("PROBE ").split()
    assert int(inner) == width
    assert int(scroll) <= width
    assert requests == "0"
    assert perfect == "20/0"
    assert poor != perfect
