"""Reading pages back: tags, what scripts hold, and what a reader sees."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


class Page(HTMLParser):
    """Collects tags with their attributes, and what scripts and tags hold."""

    VOID = frozenset({"meta", "link", "input", "img", "br", "wbr"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.parts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if "script" in self.open else self.parts).append(data)

    def all(self, attribute: str, tag: str | None = None) -> list[str]:
        return [a[attribute] or "" for t, a in self.tags if attribute in a and tag in (None, t)]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.parts))

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


def read_site(folder: Path) -> dict[str, Page]:
    """Every page by its path from the root of the site."""
    return {path.relative_to(folder).as_posix(): Page(path) for path in sorted(folder.rglob("*.html"))}
