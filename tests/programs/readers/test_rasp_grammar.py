"""Operators of RASP text against the same text with parentheses everywhere; any text is read or refused."""

import contextlib
import re
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.readers import rasp_grammar as grammar
from gaugeblock.programs.readers.rasp import from_rasp

TEXTS = (Path(__file__).parents[2] / "data" / "rasp_programs.rasp").read_text(encoding="utf-8")

LEVELS = [("in",), ("if",), ("and", "or"), ("==", "!=", "<", ">", "<=", ">="), ("+", "-"), ("%",), ("*", "/"), ("^",)]
LEVEL = {sign: level for level, signs in enumerate(LEVELS) for sign in signs}
leaf = st.one_of(st.sampled_from("xyz"), st.integers(0, 9).map(str))
tree = st.recursive(
    leaf,
    lambda t: st.one_of(
        st.tuples(st.sampled_from(sorted(LEVEL)), t, t, t), st.tuples(st.sampled_from(["not", "-", "[]"]), t)
    ),
    max_leaves=8,
)


def written(tree: Any, least: int, everywhere: bool) -> str:
    """A tree as text, with parentheses everywhere or only where they are needed."""
    if isinstance(tree, str):
        return tree
    if tree[0] == "[]":
        return f"{written(tree[1], len(LEVELS) + 1, everywhere)}[0]"
    if tree[0] in ("not", "-") and len(tree) == 2:
        text, level = f"{tree[0]} {written(tree[1], len(LEVELS), everywhere)}", len(LEVELS)
    else:
        sign, a, b, condition = tree
        level = LEVEL[sign]
        left, right = written(a, level, everywhere), written(b, level + 1, everywhere)
        middle = f"if {written(condition, 0, everywhere)} else" if sign == "if" else sign
        text = f"{left} {middle} {right}"
    return f"({text})" if everywhere or level < least else text


@settings(max_examples=300, deadline=None)
@given(tree)
def test_operators_bind_as_in_the_languages_own_grammar(tree: Any) -> None:
    sparse, full = (grammar.parse(f"{written(tree, 0, everywhere)};") for everywhere in (False, True))
    assert sparse == full


def test_operators_group_to_the_left() -> None:
    for text, grouped in {
        "a or b and c": "(a or b) and c",
        "not a == b": "(not a) == b",
        "-a ^ b ^ c": "((-a) ^ b) ^ c",
        "a % b * c": "a % (b * c)",
        "a < b < c": "(a < b) < c",
        "1 if a else 2 if b else 3": "(1 if a else 2) if b else 3",
        "not a in b and c": "(not a) in (b and c)",
        "- f(x)[0]": "-((f(x))[0])",
    }.items():
        assert grammar.parse(f"{text};") == grammar.parse(f"{grouped};")


WORDS = sorted(set(re.findall(r"\"\w*\"|\w+\(?|[=<>!]=|\S", TEXTS)))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_any_text_is_read_or_refused(words: list[str]) -> None:
    with contextlib.suppress(ProgramError):
        from_rasp(" ".join(words), "ab", 3)
