"""The checker as a second implementation: it sees neither the labelling nor the compiler."""

import ast
import inspect
from pathlib import Path

from gaugeblock import checker
from gaugeblock.cases import certificate


def test_the_checker_shares_no_code_with_the_labelling() -> None:
    allowed = {
        "programs": {
            "errors",
            "interpreter",
            "program",
            "language.expression",
            "language.operations",
            "language.selector",
            "proofs.claims",
        },
        "compiled": {"lowered.operations", "lowered.semantics", "lowered.tables"},
    }
    known = {f"gaugeblock.{part}.{name}" for part, names in allowed.items() for name in names}
    sources = [path.read_text() for path in Path(checker.__file__).parent.glob("*.py")]
    assert len(sources) > 8
    seen: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                whole = (f"{node.module}.{alias.name}" for alias in node.names)
                seen |= {name if name in known else str(node.module) for name in whole}
            elif isinstance(node, ast.Import):
                seen |= {alias.name for alias in node.names}
    ours = {name for name in seen if name.split(".")[0] == "gaugeblock"}
    assert {name for name in ours if not name.startswith("gaugeblock.checker.")} == known
    assert "provenance" not in "".join([*sources, inspect.getsource(certificate)])
