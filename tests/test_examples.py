"""What the README and the examples say works."""

import re
from pathlib import Path

import pytest

from gaugeblock.evaluation import evaluate
from gaugeblock.methods import check_method

ROOT = Path(__file__).resolve().parents[1]


def test_eap_by_hand_is_a_method_and_gives_what_eap_gives() -> None:
    given = f"{ROOT}/examples/eap_by_hand.py:eap_by_hand"
    check_method(given)
    by_hand, ours = (evaluate(m, "sort/permute+pad#1").edge_scores for m in (given, "eap"))
    assert by_hand == pytest.approx(ours, abs=1e-5)


@pytest.mark.parametrize("document", ["README.md"])
def test_python_in_the_documents_runs(document: str) -> None:
    """Each line `expression  # -> value` is checked."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        names: dict[str, object] = {}
        lines: list[str] = []
        for line in block.splitlines():
            code, arrow, value = line.partition("# -> ")
            if arrow:
                exec("\n".join(lines), names)
                lines = []
                assert eval(code, names) == eval(value, names), line
            else:
                lines.append(line)
        exec("\n".join(lines), names)
