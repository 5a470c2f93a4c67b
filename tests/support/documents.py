"""Markdown, taken apart: its blocks of Python, which are run, and its links."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / ".github").rglob("*.md")])
"""Every document of the repository."""

_BLOCK = re.compile(
    r"(?:^<!-- no-run: (?P<reason>.+) -->\n)?^```python\n(?P<code>.*?)^```$", flags=re.DOTALL | re.MULTILINE
)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def name_of(page: Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def python_blocks(text: str) -> list[str]:
    """The fenced blocks of Python in a text, without those behind the comment `<!-- no-run: reason -->`."""
    return [block["code"] for block in _BLOCK.finditer(text) if block["reason"] is None]


def reasons_not_to_run(text: str) -> list[str]:
    """The reason of each block of Python that is not run."""
    return [block["reason"] for block in _BLOCK.finditer(text) if block["reason"] is not None]


def run_block(block: str, names: dict[str, Any]) -> int:
    """Run a block with these names. Each line `expression  # -> value` is checked; returns how many there were."""
    lines: list[str] = []
    checked = 0
    for line in block.splitlines():
        code, arrow, value = line.partition("# -> ")
        if arrow:
            exec("\n".join(lines), names)
            lines = []
            assert eval(code, names) == eval(value, names), line
            checked += 1
        else:
            lines.append(line)
    exec("\n".join(lines), names)
    return checked


def links(text: str) -> Iterator[tuple[str, str]]:
    """The path and the heading (either may be empty) of every link in a text that leads to a file or a heading."""
    for link in _LINK.finditer(re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)):
        if not re.match(r"[a-z]+:", link["target"]):
            path, _, heading = link["target"].partition("#")
            yield path, heading


def headings(text: str) -> set[str]:
    """The anchors that a page's headings get."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def script(name: str) -> ModuleType:
    """A module of docs/scripts."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
