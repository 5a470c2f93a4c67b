"""Files and folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from gaugeblock.programs.errors import FileError


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file under a temporary name in the same folder, then rename it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def staged(path: Path, mark: str, otherwise: str) -> Iterator[Path]:
    """A new folder that takes the place of `path` when the block ends, and goes where the block fails.

    FileError where something stands that is no empty folder and holds no file `mark`: it "is {otherwise}".
    """
    if path.exists() and not (path.is_dir() and (path / mark).exists()) and not _is_empty(path):
        raise FileError(f"{path} exists and is {otherwise}; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield staging
        staging.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        os.replace(staging, path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
