"""What came out of checking a submission, and which of three things hold that "verified" could mean."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from pydantic import TypeAdapter, ValidationError
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gaugeblock.programs.errors import FileError
from gaugeblock.results.files import first_problem
from gaugeblock.results.untrusted import quoted, read_bytes, strict_json

NOT_VERIFIED = "not verified here"


@final
@dataclass(frozen=True)
class Check:
    """One claim about a submission, and why it does not hold; `detail` says what was looked at where it does."""

    claim: str
    ok: bool
    detail: str


@final
@dataclass(frozen=True)
class Verification:
    """What came out of `verify`. "Verified" says three things, and none of them follows from another.

    Attributes:
        method: as the manifest says; "" where it cannot be read.
        digest: of the submission that was checked.
        checks: in the order they were made; nothing is checked any more once something cheaper to see is wrong.
        unverified: what nobody can recompute, and has to be believed or not.
        seed: of the draw of what was run again.
        recomputed: whether every score follows from the edge scores in the folder, on cases that were built anew.
        run_again: of how many jobs the method was run again and gave the same edge scores; of `jobs` that are done.
        complete: the named suite of which every job is done; "" where that is none.
    """

    folder: str
    method: str
    digest: str
    checks: tuple[Check, ...]
    unverified: tuple[str, ...]
    seed: int
    recomputed: bool = False
    run_again: int = 0
    jobs: int = 0
    complete: str = ""

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def reason(self) -> str:
        """The first thing that does not hold; "" where all does."""
        if not self.checks:
            return "nothing was checked"
        return next((f"{check.claim}: {check.detail}" for check in self.checks if not check.ok), "")

    @property
    def holds(self) -> tuple[str, ...]:
        """Which of the three hold, a word for each; none where the submission is refused."""
        said = {"recomputed": self.recomputed, "run again": self.run_again, "complete": self.complete}
        return tuple(word for word, so in said.items() if so and self.ok)

    @property
    def headline(self) -> str:
        """Which of the three hold, or why the submission is refused, in a few words."""
        if not self.ok:
            return f"REFUSED: {self.reason}"
        again = f"{self.run_again} of {self.jobs} jobs run again" if self.run_again else "not run again"
        whole = f"complete for {self.complete}" if self.complete else "complete for no named suite"
        return f"{'scores recomputed' if self.recomputed else 'scores not recomputed'}; {again}; {whole}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, `ok` and `headline` included."""
        return {"kind": "verification", "ok": self.ok, "headline": self.headline, **asdict(self)}

    def table(self) -> Table:
        """For a terminal; nothing in it is markup."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, title_justify="left", caption_justify="left")
        table.title = Text(f"{self.method or self.folder}: {self.headline if self.ok else 'REFUSED'}")
        for column in ("", "claim", "what was found"):
            table.add_column(column)
        for check in self.checks:
            table.add_row("✓" if check.ok else "✗", Text(check.claim), Text(check.detail))
        table.caption = Text("\n".join(["Not checked:", *(f"- {line}" for line in self.unverified)]))
        return table


def read_verification(path: str | Path) -> Verification:
    """The record that `gaugeblock verify --json` wrote. FileError where the file is missing or something else."""
    data = strict_json(read_bytes(Path(path)), str(path))
    if not isinstance(data, dict) or data.get("kind") != "verification":
        raise FileError(f"{path} is no verification, as `gaugeblock verify --json` writes it")
    try:
        return TypeAdapter(Verification).validate_python(data)
    except ValidationError as e:
        raise FileError(f"{path} is no verification: {first_problem(e, quoted)}") from None


def verdict(digest: str, verifications: Iterable[Verification]) -> Verification | None:
    """What was established of the submission with this digest: a refusal if there is one, else the last; or None."""
    of_this = [verification for verification in verifications if verification.digest == digest]
    return min(reversed(of_this), key=lambda verification: verification.ok, default=None)
