"""Progress: a bar on a terminal, and a line now and then where there is none."""

import io
import sys
from types import SimpleNamespace

import pytest

from gaugeblock.running import progress as module
from gaugeblock.running import runner
from gaugeblock.running.progress import progress
from gaugeblock.suites import seasons


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still: `clock.now += 3`."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


@pytest.mark.parametrize(("every", "lines"), [(1.0, [30, 60, 90]), (10.0, [3, 6, 9]), (45.0, list(range(1, 100)))])
def test_without_a_terminal_a_line_at_most_every_30_seconds(capsys, clock, every, lines):
    with progress("building", 100, "case") as update:
        assert capsys.readouterr().err == "building 100 cases …\n"
        for _ in range(100):
            clock.now += every
            update(1)
    said = capsys.readouterr().err.splitlines()
    assert said[: len(lines)] == [f"building: {n} of 100 cases after {n * every:.0f} s" for n in lines]
    assert len(said) == (99 if every > 30 else int(99 * every) // 30)


def test_waiting_is_said_too(capsys, clock):
    with progress("finding a season's", 1, "case") as update:
        assert capsys.readouterr().err == "finding a season's 1 case …\n"
        for _ in range(4):
            clock.now += 20
            update(0)
    assert capsys.readouterr().err == "finding a season's: 0 of 1 cases after 40 s\n" * 1 + (
        "finding a season's: 0 of 1 cases after 80 s\n"
    )


def test_on_a_terminal_it_is_a_bar(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", screen)
    with progress("building", 3, "case") as update:
        update(2)
    assert "building:  67%" in screen.getvalue()
    assert "…" not in screen.getvalue()


def test_a_run_says_what_it_begins_with(stand_ins, tmp_path, capsys):
    for methods, cases, line in [
        (["steady"], ["alpha"], "building 1 case, running 1 job …"),
        (["steady", "score"], ["alpha", "beta", "gamma"], "building 3 cases, running 5 jobs …"),
    ]:
        runner.run(methods, cases, tmp_path, workers=1)
        assert capsys.readouterr().err.splitlines() == [line]
    runner.run(["steady"], ["alpha"], tmp_path, workers=1)
    assert capsys.readouterr().err == ""  # nothing to do


def test_a_season_says_that_it_is_looked_for(monkeypatch, capsys):
    monkeypatch.setattr(seasons, "_candidate", lambda seed, tried, shapes: (None, "no luck") if tried < 2 else (1, ""))
    monkeypatch.setattr(seasons, "_case_id", lambda model, seed, tried, place: f"case {tried}")
    monkeypatch.setattr(seasons, "circuit_shape", str)
    assert seasons.season.__wrapped__(7, 3) == seasons.Season(7, ("case 2", "case 3", "case 4"), 5, {"no luck": 2})
    assert capsys.readouterr().err == "finding a season's 3 cases …\n"
