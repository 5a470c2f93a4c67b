"""Python in Markdown, run."""

import re
from typing import Any


def python_blocks(text: str) -> list[str]:
    """The fenced blocks of Python in a text."""
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def run_block(block: str, names: dict[str, Any]) -> int:
    """Run a block with these names. Each line `expression  # -> value` is checked; returns how many there were."""
    lines: list[str] = []
    checked = 0
    for line in block.splitlines():
        code, arrow, value = line.partition("# -> ")
        if arrow:
            exec("\n".join(lines), names)
            lines = []
            assert eval(code, names) == eval(value, names), line
            checked += 1
        else:
            lines.append(line)
    exec("\n".join(lines), names)
    return checked
