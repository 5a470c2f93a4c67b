"""What all tests share."""

import datetime
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]


def modules_with_shapes() -> Iterator[str]:
    """The modules whose signatures state shapes of arrays. To check the others too would double the time of all tests,
    and mypy has read them."""
    for part in ("bench", "programs", "compiled", "methods", "metrics"):
        for file in (ROOT / part).rglob("*.py"):
            if "from jaxtyping import" in file.read_text():
                below = file.relative_to(ROOT / part).with_suffix("").parts
                yield ".".join(("gaugeblock", *(() if part == "bench" else (part,)), *below))


assert "gaugeblock" not in sys.modules, "modules that are imported already are not checked"
install_import_hook(list(modules_with_shapes()), "beartype.beartype")

from gaugeblock.programs import registry  # noqa: E402

settings.register_profile("untimed", deadline=None)  # a deadline would be a timed test
settings.load_profile("untimed")
torch.set_num_threads(1)  # tests run side by side, one process per core

SHARES = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = f"of the tests that are left, run the share of this day: one in {SHARES}, all of them in {SHARES} days"
    parser.addoption("--rotate", action="store_true", help=help_)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--rotate"):
        today = datetime.datetime.now(tz=datetime.UTC).toordinal() % SHARES
        kept = [item for item in items if zlib.crc32(item.nodeid.encode()) % SHARES == today]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.fixture(autouse=True)
def _no_program_stays_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it, so that no test depends on which ones its process ran before."""
    monkeypatch.setattr(registry, "_registered", {})
