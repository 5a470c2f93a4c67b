"""Where a number came from: versions, a fingerprint of our code, and the commit of a checkout."""

import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import gaugeblock

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_LIBRARIES = ("torch", "transformer-lens", "numpy", "scipy")


@cache
def versions() -> dict[str, str]:
    """Versions of gaugeblock, python and libraries that numbers depend on; "code" is a hash of our files."""
    found = {"gaugeblock": gaugeblock.__version__, "code": _code(), "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library.replace("-", "_")] = version(library)
        except PackageNotFoundError:  # not an installed distribution: nothing to say
            continue
    return found


def _code() -> str:
    """Hash of every Python file of the package, wherever its parts lie."""
    from gaugeblock import compiled, methods, metrics, programs

    files: dict[str, Path] = {}
    for package in (gaugeblock, programs, compiled, methods, metrics):
        for root in map(Path, package.__path__):
            place = package.__name__.replace(".", "/")
            files |= {f"{place}/{file.relative_to(root).as_posix()}": file for file in root.rglob("*.py")}
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def checkout() -> tuple[str | None, bool | None]:
    """Commit of the git checkout that tracks this package, and whether it has changes; else (None, None)."""
    here = Path(__file__).resolve()
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)  # a .venv inside a checkout is not part of it
        commit = _git(here.parent, "rev-parse", "HEAD")
        return commit, bool(_git(here.parent, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def peak_memory() -> float | None:
    """Highest resident memory of this process so far, in MiB; None where the system does not tell."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch inside, for work beside other work of its kind; afterwards as many as before."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
