"""Files and folders that appear whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

from gaugeblock.programs.errors import FileError, WriteError

STORAGE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO})
"""What an operating system says of a disk or folder that takes no more, or nothing at all."""


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file. Whenever the process dies, `path` holds all of it, or what it held before.

    Raises WriteError.
    """
    write_bytes(path, [text.encode("utf-8")])


def write_bytes(path: str | Path, pieces: Iterable[bytes]) -> int:
    """Write a file under a temporary name in the same folder, then rename it; returns its size in bytes.

    Raises WriteError.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _write_error(path, error) from error
        raise
    return size


def _write_error(path: Path, error: OSError) -> WriteError:
    """What is said instead of an OSError, which after a full disk names no path; it may name a folder above."""
    above = error.filename is not None and Path(error.filename) in path.parents
    where = error.filename if above else path
    return WriteError(error.errno or errno.EIO, error.strerror or str(error), str(where))


@contextmanager
def staged(path: Path, mark: str, otherwise: str) -> Iterator[Path]:
    """Make a new folder that takes the place of `path` when the block ends, and goes where the block fails.

    Raises FileError where something stands that is no empty folder and holds no file `mark`: it "is {otherwise}".
    """
    if path.exists() and not (path.is_dir() and (path / mark).exists()) and not _is_empty(path):
        raise FileError(f"{path} exists and is {otherwise}; choose another folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        yield staging
        for file in (path for path in staging.rglob("*") if path.is_file()):
            with file.open("rb") as written:
                os.fsync(written.fileno())
        staging.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        os.replace(staging, path)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in STORAGE:
            raise _write_error(path, error) from error
        raise


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
