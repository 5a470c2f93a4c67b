"""What the README and the examples say works."""

import importlib.util
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


def test_a_counting_head_of_sort_is_a_function_and_a_wrong_one_shows_where() -> None:
    spec = importlib.util.spec_from_file_location("swap_sort", ROOT / "examples" / "swap_sort.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    right, wrong = example.main().values()
    assert right.accuracy.estimate == 1.0
    assert right.loss_recovered.estimate == pytest.approx(1.0, abs=1e-6)
    assert 0 < wrong.accuracy.estimate < 1
    off = {part.label for part in wrong.by_position if part.accuracy.estimate < 1}
    assert off == {part.label for part in wrong.by_position if part.label >= 6}  # place 6 is where counts of 5 go
