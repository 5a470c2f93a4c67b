"""The published JSON Schemas: they are what the code would write, and they say what a file of a run looks like."""

import importlib.util
import json
from pathlib import Path

import pytest

from gaugeblock.results.files import case_path, result_path

DOCS = Path(__file__).resolve().parents[3] / "docs"


def script():
    spec = importlib.util.spec_from_file_location("make_schema", DOCS / "scripts" / "make_schema.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_published_schemas_are_those_of_the_records():
    made = script()
    published = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "schema").iterdir()}
    assert published == {f"{name}.schema.json": made.text(name) for name in made.RECORDS}


KINDS = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
KINDS |= {"array": list, "object": dict}


def fits(value, schema, whole):
    """Enough of JSON Schema for what pydantic writes, by hand."""
    if "$ref" in schema:
        return fits(value, whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in schema:
        return any(fits(value, option, whole) for option in schema["anyOf"])
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema:
        return value in schema["enum"]
    if not isinstance(value, KINDS[schema["type"]] if "type" in schema else object):
        return False
    if isinstance(value, list):
        places = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        return len(places) == len(value) and all(fits(v, s, whole) for v, s in zip(value, places))
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        if not set(schema.get("required", ())) <= set(value):
            return False
        rest = [v for name, v in value.items() if name not in known]
        more_fit = not rest if more is False else all(fits(v, {} if more is True else more, whole) for v in rest)
        return more_fit and all(fits(v, known[name], whole) for name, v in value.items() if name in known)
    return True


@pytest.fixture
def files(make, tmp_path):
    case = make.case()
    result = make.result(case, curve=[(0.0, None), (1.0, 1.0)], scores={"skill": float("nan"), "auprc": 0.5})
    make.write(tmp_path, case, result)
    paths = {
        "case": case_path(tmp_path, case.id, case.ablation),
        "result": result_path(tmp_path, result.method, case.id, case.ablation, 0),
    }
    return {kind: json.loads(path.read_text()) for kind, path in paths.items()}


@pytest.mark.parametrize("kind", ["case", "result"])
def test_a_file_fits_its_schema_and_a_wrong_one_does_not(files, kind):
    schema, data = json.loads((DOCS / "schema" / f"{kind}.schema.json").read_text()), files[kind]
    assert fits(data, schema, schema)
    assert not fits({**data, "more": 1}, schema, schema)
    assert not fits({**data, "schema_version": 2}, schema, schema)
    assert not fits({**data, "kind": "other"}, schema, schema)
    for name in schema["required"]:
        assert not fits({k: v for k, v in data.items() if k != name}, schema, schema)
        assert not fits({**data, name: object()}, schema, schema)
