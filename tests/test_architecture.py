"""The shape of the house: which folder may import which, and that every folder with code is packaged."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"bench": "gaugeblock", **{n: f"gaugeblock.{n}" for n in ("programs", "compiled", "methods", "metrics")}}
MAY_IMPORT = {
    "programs": {"programs"},
    "compiled": {"programs", "compiled"},
    "methods": {"programs", "compiled", "methods"},
    "metrics": {"metrics"},
    "bench": {"programs", "compiled", "methods", "metrics", "bench"},
}
SOURCES = [(folder, path) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def imported_modules(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    for_types_only = ("transformer_lens", "gaugeblock.compiled.explain import Explanation")
    skipped = {id(x) for b in for_types for x in ast.walk(b) if any(name in ast.unparse(x) for name in for_types_only)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def folder_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "gaugeblock":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in FOLDERS else "bench"


@pytest.mark.parametrize(("folder", "path"), SOURCES, ids=[str(p.relative_to(ROOT)) for _, p in SOURCES])
def test_imports_follow_the_layers(folder: str, path: Path) -> None:
    modules = imported_modules(path)
    used = {folder_of(m) for m in modules} - {None}
    assert used <= MAY_IMPORT[folder], f"{path} imports {sorted(used - MAY_IMPORT[folder])}"
    if folder == "programs":
        assert not any(m.split(".")[0] == "torch" for m in modules), "programs/ is free of torch"
    if folder == "metrics":
        assert not any(m.split(".")[0] in {"torch", "transformer_lens"} for m in modules), "metrics/ knows no models"


def test_every_folder_with_code_is_packaged() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    expected = {".".join([FOLDERS[folder], *path.parent.relative_to(ROOT / folder).parts]) for folder, path in SOURCES}
    assert set(settings["packages"]) == expected


def test_only_one_file_knows_transformer_lens_in_compiled() -> None:
    users = [
        p.name for f, p in SOURCES if f == "compiled" and any("transformer_lens" in m for m in imported_modules(p))
    ]
    assert users == ["hooked.py"]


def test_a_folder_refuses_to_be_imported_under_its_own_name() -> None:
    done = subprocess.run([sys.executable, "-c", "import programs"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "import gaugeblock.programs" in done.stderr


def test_the_front_door_is_lazy() -> None:
    code = "import sys, gaugeblock; print(sorted({'torch', 'transformer_lens', 'sklearn', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
