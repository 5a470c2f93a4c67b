"""The shape of the house: who may import whom, no circles, folders one can take in, and that all code is packaged."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
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
MOST_ENTRIES = 14
MOST_LINES = 400


def module_name(folder: str, path: Path) -> str:
    parts = path.relative_to(ROOT / folder).with_suffix("").parts
    return ".".join([FOLDERS[folder], *(parts[:-1] if parts[-1] == "__init__" else parts)])


SOURCES = [(folder, path) for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES = {module_name(folder, path): path for folder, path in SOURCES}


def imported_names(path: Path) -> Iterator[str]:
    """Every name that a file imports, at its top, in a function, for types, lazily, or by looking into its folder."""
    package = next(name for name, file in MODULES.items() if file == path)
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="lazy_loader"), attr="attach"), keywords=keywords):
                for keyword in keywords:
                    for name in ast.literal_eval(keyword.value):
                        yield f"{package}.{name}"
            case ast.Call(func=ast.Name(id="submodules")):
                yield from (name for name in MODULES if name.rpartition(".")[0] == package)


def imported_files(path: Path) -> set[str]:
    """The modules of ours that a file imports."""
    modules: set[str] = set()
    for name in imported_names(path):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        modules |= {name} if name else set()
    return modules - {next(name for name, file in MODULES.items() if file == path)}


def folder_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "gaugeblock":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in FOLDERS else "bench"


@pytest.mark.parametrize(("folder", "path"), SOURCES, ids=[str(p.relative_to(ROOT)) for _, p in SOURCES])
def test_imports_follow_the_layers(folder: str, path: Path) -> None:
    names = set(imported_names(path))
    used = {folder_of(name) for name in names} - {None}
    assert used <= MAY_IMPORT[folder], f"{path} imports {sorted(used - MAY_IMPORT[folder])}"
    if folder == "programs":
        assert not any(name.split(".")[0] == "torch" for name in names), "programs/ is free of torch"
    if folder == "metrics":
        assert not any(name.split(".")[0] in {"torch", "transformer_lens"} for name in names), (
            "metrics/ knows no models"
        )


def test_no_file_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter({name: imported_files(path) for name, path in MODULES.items()}).prepare()
    except CycleError as circle:
        pytest.fail(" <- ".join(circle.args[1]))


def test_no_import_hides_in_a_string() -> None:
    """Apart from `lazy_loader.attach` and `submodules`, which the tests above read."""
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
                assert path == ROOT / "programs" / "loading.py", f"{path}:{node.lineno} imports by a string"


def test_every_folder_with_code_is_packaged() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    expected = {".".join([FOLDERS[folder], *path.parent.relative_to(ROOT / folder).parts]) for folder, path in SOURCES}
    assert set(settings["packages"]) == expected


def test_every_other_file_is_packaged() -> None:
    """A wheel has the files that match these patterns, in the folder of any package."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folders = {path.parent for _, path in SOURCES}
    packaged = {file for folder in folders for pattern in settings["*"] for file in folder.glob(pattern)}
    tracked = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {ROOT / name for name in tracked.split() if not name.endswith(".py")} <= packaged


def test_folders_and_files_can_be_taken_in() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    entries: dict[Path, set[str]] = {}
    for path in map(Path, tracked):
        for folder, below in zip(path.parents, (path, *path.parents), strict=False):
            entries.setdefault(folder, set()).add(below.name)
    crowded = {str(f): len(e) for f, e in entries.items() if f.parts and len(e) > MOST_ENTRIES}
    assert not crowded
    lines = {path: len((ROOT / path).read_text().splitlines()) for path in tracked if path.endswith(".py")}
    assert not {path: n for path, n in lines.items() if n > MOST_LINES}


def test_only_one_file_knows_transformer_lens_in_compiled() -> None:
    users = [
        p.name
        for f, p in SOURCES
        if f == "compiled" and any(n.startswith("transformer_lens") for n in imported_names(p))
    ]
    assert users == ["hooked.py"]


def test_a_folder_refuses_to_be_imported_under_its_own_name() -> None:
    done = subprocess.run([sys.executable, "-c", "import programs"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "import gaugeblock.programs" in done.stderr


LIGHT = {
    "gaugeblock": {"torch", "transformer_lens", "sklearn", "typer", "scipy", "pydantic"},
    "gaugeblock.results": {"torch", "transformer_lens", "sklearn"},
    "gaugeblock.leaderboard.board": {"torch", "transformer_lens"},
    "gaugeblock.leaderboard.site.build": {"torch", "transformer_lens"},
    "gaugeblock.cli": {"torch", "transformer_lens", "sklearn", "scipy"},
    "gaugeblock.programs.registry": {"torch", "transformer_lens", "sklearn", "scipy"},
    "gaugeblock.compiled.edges.graph": {"torch", "transformer_lens", "sklearn", "scipy"},
}
"""Module -> what importing it does not load."""


@pytest.mark.parametrize("module", LIGHT)
def test_nobody_waits_for_what_is_not_needed(module: str) -> None:
    code = f"import sys, {module}; print(sorted({LIGHT[module]!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
