"""Writing the site of a leaderboard."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gaugeblock.compiled.writing import write_bytes
from gaugeblock.leaderboard.board import Leaderboard
from gaugeblock.leaderboard.site.cases import case_view
from gaugeblock.leaderboard.site.compare import compare_data
from gaugeblock.leaderboard.site.downloads import downloads
from gaugeblock.leaderboard.site.names import short
from gaugeblock.leaderboard.site.views import Links, index, method, versions
from gaugeblock.leaderboard.tables import interval_text, number
from gaugeblock.programs.errors import FileError

INDEX: Final = "index.html"
MARK: Final = '<meta name="generator" content="gaugeblock">'
ABOUT: Final = {
    "leaderboard.csv": "the ranking of every track",
    "leaderboard.json": "everything on these pages",
    "leaderboard.tex": "a table for LaTeX with booktabs",
    "leaderboard.parquet": "the ranking for pandas and others",
    "results.csv": "every score of every result",
    "results.parquet": "the same for pandas and others",
}


def write_site(board: Leaderboard, out: str | Path) -> Path:
    """Write the site of a leaderboard into a folder; returns the path of its entry, `index.html`.

    Pages of an older site there are replaced, and removed where their method or case is gone; other files stay. Every
    file is whole at every moment. FileError where the folder cannot be written or holds another site.
    """
    out = Path(out)
    try:
        if (out / INDEX).exists() and MARK not in (out / INDEX).read_text(encoding="utf-8", errors="replace")[:2000]:
            raise FileError(f"{out / INDEX} is not ours and would be overwritten; name another folder")
        written = _write_all(board, out)
        for old in (path for kind in ("methods", "cases", "downloads") for path in (out / kind).glob("*")):
            if old not in written and (old.suffix == ".html" or old.name in ABOUT or old.name.endswith(".part")):
                old.unlink()
    except OSError as e:
        raise FileError(f"cannot write the site to {out}: {e.strerror or e}") from e
    return out / INDEX


def _write_all(board: Leaderboard, out: Path) -> set[Path]:
    links = Links.of(board)
    folders = [source.folder for source in board.sources]
    common = {"versions": versions(board)}
    written: set[Path] = set()

    def page(path: str, template: str, **data: Any) -> None:
        root = "../" * path.count("/")
        write_bytes(out / path, [_render(template, {"root": root, **common, **data}).encode("utf-8", "replace")])
        written.add(out / path)

    files = []
    for name, make in downloads(board).items():
        if (pieces := make()) is not None:
            size = write_bytes(out / "downloads" / name, pieces)
            files.append((name, ABOUT[name], size))
            written.add(out / "downloads" / name)
    for i, case in enumerate(board.cases):
        page(links.case(case), "case.html", **case_view(board, links, i, folders))
    for row in board.rows:
        page(links.method(row.method), "method.html", **method(board, links, row.method))
    page("compare.html", "compare.html", data=compare_data(board, links))
    page(INDEX, "index.html", board=board, files=files, **index(board, links))  # last: it links to all others
    return written


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval_text, "short": short, "size": _size}
    return environment


def _render(template: str, data: dict[str, Any]) -> str:
    return _environment().get_template(template).render(data)


def _size(n: int) -> str:
    return f"{n} B" if n < 1000 else f"{n / 1000:.0f} kB" if n < 1_000_000 else f"{n / 1e6:.1f} MB"
