"""Where a number came from: versions, a fingerprint of our code, and the commit of a checkout."""

import hashlib
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_PARTS = ("gaugeblock", *(f"gaugeblock.{part}" for part in ("programs", "compiled", "methods", "metrics")))
_LIBRARIES = ("torch", "transformer-lens", "numpy", "scipy")


@cache
def versions() -> dict[str, str]:
    """Versions of gaugeblock, python and libraries that numbers depend on; "code" is a hash of our files."""
    known = {"gaugeblock": version("gaugeblock"), "code": _code(), "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            known[library.replace("-", "_")] = version(library)
        except PackageNotFoundError:  # not an installed distribution: nothing to say
            continue
    return known


def _code() -> str:
    """Hash of every Python file of the package, wherever its parts lie."""
    files: dict[str, Path] = {}
    for package in _PARTS:
        spec = find_spec(package)
        for root in map(Path, (spec and spec.submodule_search_locations) or ()):
            place = package.replace(".", "/")
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


def stamp() -> dict[str, Any]:
    """Return the fields of a result that say which code made it.

    >>> sorted(stamp())
    ['commit', 'dirty', 'versions']
    """
    commit, dirty = checkout()
    return {"versions": versions(), "commit": commit, "dirty": dirty}


def peak_memory() -> float | None:
    """Highest resident memory of this process so far, in MiB; None where the system does not tell."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
