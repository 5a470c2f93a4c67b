"""What all tests share."""

import datetime
import zlib

import pytest
import torch
from hypothesis import settings

from gaugeblock.programs import registry

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
