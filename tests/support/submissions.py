"""A submission, and what somebody may do to it who wants it to say something else."""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gaugeblock.programs.errors import FileError
from gaugeblock.results.files import read_result
from gaugeblock.submissions import Manifest, verify
from gaugeblock.submissions.manifest import result_file
from gaugeblock.submissions.readme import readme

CODE = '''"""A method of ten lines: the value of an edge is the size of the change it carries, plus luck."""


def lucky(task, weight=0.1):
    names = task.graph.edges
    luck = task.rng.normal(size=len(names))
    return {
        name: (1.0 if name.startswith("embed") else 0.2) + weight * float(luck[i]) for i, name in enumerate(names)
    }
'''
CASES = ["average@v3n4", "hist@v2n3"]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def seal(folder: Path, **changes: Any) -> None:
    """Make manifest, with `changes`, table and README fit the files again, as the author of a forgery would."""
    results = [read(path) for path in sorted(folder.glob("results/*/*.json"))]
    lines = {}
    for line in (folder / "scores.jsonl").read_text().splitlines():
        data = json.loads(line)
        lines[data["case"], data["ablation"], data["seed"]] = data
    for result in results:
        if line := lines.get((result["case"], result["ablation"], result["seed"])):
            for key in set(line) - {"program", "variant"}:
                line[key] = result.get(key, result["scores"].get(key))
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines.values())
    (folder / "scores.jsonl").write_text(text)
    with suppress(FileError, ValueError, KeyError):
        manifest = Manifest.model_validate(read(folder / "manifest.json") | changes)
        made = [read_result(folder / result_file(manifest.method, *job)) for job in manifest.jobs]
        (folder / "README.md").write_text(readme(manifest, made))
    sign(folder, **changes)


def sign(folder: Path, **changes: Any) -> None:
    """Hashes and digest of the manifest as the files, and `changes` of the manifest, ask for."""
    manifest = read(folder / "manifest.json") | changes
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"):
        data = path.read_bytes()
        entry = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        manifest["files"][path.relative_to(folder).as_posix()] = entry
    manifest["files"] = {name: entry for name, entry in manifest["files"].items() if (folder / name).exists()}
    digest(folder, manifest)


def digest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with the digest that fits it: sha256 of the rest as JSON with sorted keys and no spaces."""
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    manifest["digest"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def rename(folder: Path, method: str) -> None:
    """Give the method of a submission another name, everywhere; whose code it is stays as it was."""
    for path in sorted(folder.glob("results/*/*.json")):
        edit(path, lambda data: data.update(method=method))
        data = read(path)
        new = folder / result_file(method, data["case"], data["ablation"], data["seed"])
        new.parent.mkdir(exist_ok=True)
        path.rename(new)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    seal(folder, method=method)


def first_result(folder: Path) -> Path:
    return sorted(folder.glob("results/*/*.json"))[0]


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the data of a JSON file in place."""
    data = read(path)
    change(data)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def reasons(folder: Path, **options) -> str:
    """Why the submission is refused; "" if it is not."""
    verification = verify(folder, **options)
    assert verification.ok == all(check.ok for check in verification.checks)
    assert all(check.detail.isprintable() and len(check.detail) <= 1000 for check in verification.checks)
    return "; ".join(f"{check.claim}: {check.detail}" for check in verification.checks if not check.ok)


def refused(read, *data) -> str:
    """What was said against the data; "" where they were taken."""
    try:
        read(*data)
    except FileError as error:
        return str(error)
    return ""
