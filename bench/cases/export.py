"""A case as a folder that can be used without this library."""

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaugeblock.cases.truth import ABLATIONS
from gaugeblock.compiled.files import write
from gaugeblock.compiled.stages.hooked import config
from gaugeblock.compiled.writing import staged
from gaugeblock.programs.errors import FileError
from gaugeblock.programs.language.operations import GraphNode

if TYPE_CHECKING:
    from gaugeblock.cases.case import Case


def export(case: "Case", path: str | Path) -> Path:
    """Write a case as the folder `path`, at once or not at all, and return it.

    Raises FileError where something else stands there, also another case or another version of this one.
    """
    target = Path(path)
    if (target / "pairs.json").exists():
        _refuse_another(case, target)
    with staged(target, "pairs.json", "no exported case") as folder:
        write(case.model.weights, case.model.record, folder)
        for name, text in _files(case).items():
            (folder / name).write_text(text, encoding="utf-8")
    return target


def _refuse_another(case: "Case", target: Path) -> None:
    """FileError where the folder is not of this version of the case. Its certificate says what it is of."""
    try:
        there = json.loads((target / "certificate.json").read_text(encoding="utf-8"))
        name, version = str(there["case"])[:200], str(there["hash"])
    except (OSError, ValueError, LookupError, TypeError) as e:
        raise FileError(f"{target} has no certificate that says of which case it is; choose another folder") from e
    if name != case.id:
        raise FileError(f"{target} holds the case {name!r}, which {case.id!r} does not replace; choose another folder")
    if version != case.hash:
        raise FileError(
            f"{target} holds another version of {name!r} ({version[:12]}) than this one ({case.hash[:12]}); "
            "choose another folder"
        )


def _files(case: "Case") -> dict[str, str]:
    model, pairs = case.model, case.pairs
    data: dict[str, Any] = {
        "config.json": config(model.weights, case.program.name, model.activation),
        "pairs.json": {
            "clean": pairs.clean.tolist(),
            "corrupted": pairs.corrupted.tolist(),
            "graded": [row.nonzero().flatten().tolist() for row in pairs.positions],
            "tags": list(pairs.tags),
            "vocab": [_token(token) for token in model.lowered.vocab],
            "bos": model.bos,
            "pad": model.pad,
        },
        "variables.json": {name: subspace.to_dict() for name, subspace in model.subspaces.items()},
        "certificate.json": case.certificate.to_dict(),
    }
    data |= {f"truth-{ablation}.json": case.truth(ablation).to_dict() for ablation in ABLATIONS}
    texts = {name: json.dumps(content, ensure_ascii=False) + "\n" for name, content in data.items()}
    source = f"```python\n{case.program.source}\n```\n" if case.program.source else ""
    template = files("gaugeblock.cases").joinpath("templates/export.md").read_text()
    about = {"id": case.id, "hash": case.hash, "description": case.program.description, "source": source}
    return texts | {"README.md": template.format(**about)}


def _token(token: Any) -> Any:
    if isinstance(token, GraphNode):
        return {"value": token.value, "targets": sorted(token.targets)}
    return token if isinstance(token, (str, int, float)) else str(token)
