"""Files and folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from gaugeblock.programs.errors import FileError


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file. Whenever the process dies, `path` holds all of it, or what it held before."""
    write_bytes(path, [text.encode("utf-8")])


def write_bytes(path: str | Path, pieces: Iterable[bytes]) -> int:
    """Write a file under a temporary name in the same folder, then rename it; returns its size in bytes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return size


@contextmanager
def staged(path: Path, mark: str, otherwise: str) -> Iterator[Path]:
    """Make a new folder that takes the place of `path` when the block ends, and goes where the block fails.

    Raises FileError where something stands that is no empty folder and holds no file `mark`: it "is {otherwise}".
    """
    if path.exists() and not (path.is_dir() and (path / mark).exists()) and not _is_empty(path):
        raise FileError(f"{path} exists and is {otherwise}; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield staging
        for file in (path for path in staging.rglob("*") if path.is_file()):
            with file.open("rb") as written:
                os.fsync(written.fileno())
        staging.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        os.replace(staging, path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
