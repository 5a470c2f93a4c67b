"""Whether the documents leave something out: `python docs/scripts/check.py`, a part of `make check`.

Tests see to it that what the documents say is true; they do not fail because a new program, method, metric or variant
is not described yet. This script does.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from make_library import PAGE, stated

from gaugeblock.compiled.variants.registry import VARIANTS
from gaugeblock.evaluation.entrants import entrant_names
from gaugeblock.evaluation.scores import SCORES
from gaugeblock.pictures import KINDS
from gaugeblock.programs.library import COLLECTED, PROGRAMS
from gaugeblock.suites.suites import CORE

ROOT = Path(__file__).parents[2]
PAGES: dict[str, tuple[Iterable[str], str]] = {
    "docs/programs/library.md": ([*PROGRAMS, *COLLECTED], "write it anew with docs/scripts/make_library.py"),
    "docs/gallery/README.md": (KINDS, "add it to docs/scripts/make_gallery.py, which writes the page"),
    "docs/cases/core.md": (CORE, "write it anew with docs/scripts/make_truth_tables.py core"),
    "docs/cases/truth.md": (VARIANTS, "say what it does to the truth, in the table of variants"),
    "docs/methods/methods.md": (entrant_names(), "add a row on what it computes, and its source"),
    "docs/methods/metrics.md": (SCORES, "add a row on what it is, and its best value"),
}
"""Page: the names that it has to have, and what to do about one that is missing."""


def omissions() -> Iterator[str]:
    """What each page leaves out."""
    for page, (names, cure) in PAGES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        words = set(re.findall(r"`([^`\n]+)`|--picture (\w+)", text))
        known = {quoted or picture for quoted, picture in words}
        missing = [name for name in names if name not in known]
        if missing:
            yield f"{page} leaves out {', '.join(missing)}: {cure}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, variant in VARIANTS.items():
        if (row := f"| `{name}` | {variant.about} |") not in readme:
            yield f"README.md does not have the row: {row}"
    library = PAGE.read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([^`]+)` ", library, flags=re.MULTILINE)
    if listed != list(PROGRAMS):
        yield f"{PAGE.relative_to(ROOT)} has other programs, or in another order, than the library"
    for program in PROGRAMS.values():
        if (cells := " | ".join(stated(program))) not in library:
            yield f"{PAGE.relative_to(ROOT)} does not say: {cells}"


if __name__ == "__main__":
    complaints = list(omissions())
    print("\n".join(complaints), file=sys.stderr, end="\n" if complaints else "")
    sys.exit(bool(complaints))
