"""A disk that is full while a run writes: it is called that, with the path, and no case is blamed."""

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gaugeblock.compiled import writing
from gaugeblock.compiled.writing import staged, write_bytes, write_text
from gaugeblock.programs.errors import FileError, GaugeblockError, WriteError
from gaugeblock.results.files import read_result, result_paths
from gaugeblock.running import runner

SUPPORT = Path(__file__).resolve().parents[2] / "support"
REASONS = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)}


def full(monkeypatch: pytest.MonkeyPatch, code: int, of: str) -> None:
    """Nothing can be written any more to files whose path has `of` in it."""
    real = Path.open

    def refuse(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if "r" not in mode and of in str(path).replace("/.", "/"):
            raise OSError(code, os.strerror(code), str(path)) if code == errno.EACCES else OSError(code, REASONS[code])
        return real(path, mode, *more, **options)

    monkeypatch.setattr(Path, "open", refuse)


@pytest.mark.parametrize("code", REASONS)
@pytest.mark.parametrize("of", ["certificates/alpha", "cases/alpha", "results/steady/alpha"])
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_full_disk_is_called_that(stand_ins, tmp_path, monkeypatch, capsys, code, of, backend):
    with monkeypatch.context() as patch:
        full(patch, code, of)
        with pytest.raises(FileError) as refused:
            runner.run(["steady"], ["alpha", "beta"], tmp_path, workers=1, backend=backend)
    place = f"{tmp_path / of}.resample{'.s0' * of.startswith('results')}.json"
    assert str(refused.value).startswith(f"cannot write {place}: {REASONS[code]}; ")
    assert "built" not in str(refused.value)
    assert not any("could not be built" in (read_result(path).error or "") for path in result_paths(tmp_path))
    assert not list(tmp_path.rglob("*.part"))
    results = runner.run(["steady"], ["alpha", "beta"], tmp_path, workers=1)  # there is room again
    assert [r.status for r in results] == ["ok", "ok"]


@pytest.mark.parametrize("of", ["certificates/beta", "results/steady/beta"])
def test_in_a_worker_process_too(tmp_path, of):
    """The writer fails in the workers only."""
    code = f"""
import stand_ins
from gaugeblock.programs.errors import FileError
from gaugeblock.running.runner import run
try:
    run([stand_ins.METHODS["steady"]], ["alpha", "beta", "gamma"], {str(tmp_path)!r}, workers=2)
except FileError as e:
    print(e)
"""
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import errno, os, sys\n"
        "from pathlib import Path\n"
        "real = Path.open\n"
        "def refuse(path, mode='r', *more, **options):\n"
        f"    if 'x' in mode and {of!r} in str(path).replace('/.', '/') and 'loky' in ' '.join(sys.orig_argv):\n"
        "        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "    return real(path, mode, *more, **options)\n"
        "Path.open = refuse\n"
    )
    paths = {"PYTHONPATH": f"{SUPPORT}{os.pathsep}{site}", "STAND_INS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    end = ".resample.s0.json" if of.startswith("results") else ".resample.json"
    assert done.stdout.startswith(f"cannot write {tmp_path / of}{end}: {REASONS[errno.ENOSPC]}; "), done.stderr


def test_a_case_that_fills_the_disk_while_it_is_built_is_not_blamed(stand_ins, tmp_path, monkeypatch):
    def build(name: str) -> None:
        raise OSError(errno.ENOSPC, REASONS[errno.ENOSPC], "/tmp/scratch")

    monkeypatch.setattr(sys.modules["gaugeblock.cases.case"], "case", build)
    with pytest.raises(FileError, match=f"^cannot write results to /tmp/scratch: {REASONS[errno.ENOSPC]}$"):
        runner.run(["steady"], ["alpha"], tmp_path, workers=1)


@pytest.mark.parametrize("code", REASONS)
@pytest.mark.parametrize("step", ["mkdir", "open", "fsync", "replace"])
def test_every_step_of_a_write_names_the_path(tmp_path, monkeypatch, code, step):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    write_text(tmp_path / "there", "old")
    for path in (tmp_path / "new", tmp_path / "there"):
        with monkeypatch.context() as patch:
            patch.setattr(*((writing.os, step) if step == "fsync" else (Path, step)), refuse)
            with pytest.raises(WriteError) as refused:
                write_bytes(path, [b"text"])
        assert isinstance(refused.value, GaugeblockError)
        assert (refused.value.errno, str(refused.value)) == (code, f"cannot write {path}: {REASONS[code]}")
        assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "old"


def test_what_stands_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.json", tmp_path / "file" / "b" / "a.json"):
        with pytest.raises(WriteError, match=rf"^cannot write {tmp_path / 'file'}(/b)?: "):
            write_text(path, "")


def test_a_folder_that_finds_no_room_is_named(tmp_path):
    with pytest.raises(WriteError) as refused, staged(tmp_path / "case", "mark", "other"):
        raise OSError(errno.ENOSPC, REASONS[errno.ENOSPC])
    assert str(refused.value) == f"cannot write {tmp_path / 'case'}: {REASONS[errno.ENOSPC]}"
    assert not list(tmp_path.iterdir())
