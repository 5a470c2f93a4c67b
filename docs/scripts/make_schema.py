"""Makes docs/schema/: JSON Schemas of the records that a run and a submission consist of.

python docs/scripts/make_schema.py
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gaugeblock.compiled.writing import write_text
from gaugeblock.results.records import CaseRecord, Result
from gaugeblock.submissions.manifest import Manifest

FOLDER = Path(__file__).parents[1] / "schema"
RECORDS: dict[str, type[BaseModel]] = {"result": Result, "case": CaseRecord, "manifest": Manifest}


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a record, as it is in a file: numbers that are undefined are null there."""
    made = RECORDS[name].model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def text(name: str) -> str:
    return json.dumps(schema(name), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    for name in RECORDS:
        write_text(FOLDER / f"{name}.schema.json", text(name))


if __name__ == "__main__":
    main()
