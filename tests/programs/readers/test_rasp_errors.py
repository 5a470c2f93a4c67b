"""What is said of RASP texts that are wrong, and of inputs on which one fails: where, and what instead."""

from pathlib import Path

import pytest

from gaugeblock.programs.errors import FileError, ProgramError
from gaugeblock.programs.language.selector import Get, Selector
from gaugeblock.programs.language.tree import postorder
from gaugeblock.programs.readers.rasp import from_rasp


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ;", r"line 1, column 5, `x = ;`: a value is expected, not ';'"),
        ("a = 1;\nb = (a + 2;", r"line 2, column 11, `b = \(a \+ 2;`: '\)' is expected, not ';'"),
        ("x = indices", r"line 1, column 12, .*';' at the end of the statement is expected, not the end of the text"),
        ("x = 'a';", r"line 1, column 5.*strings stand in double quotes"),
        ('x = "a;', "the string is not closed on this line"),
        ("select(tokens, tokens);", "',' is expected, not '\\)'"),
        ("select(tokens, tokens, =);", "one of == != <= >= < > is expected, not '='"),
        ("def f(a) { x = a; }", "'return', which ends the function 'f', is expected, not '}'"),
        ("def f(a) { return a; x = a; }", "'}' after `return` is expected"),
        ("indices = 3;", "'indices' has a meaning of its own"),
        ("x = lenght;", "nothing is named 'lenght'; did you mean length"),
        ("reverse(tokens, 1);", r"reverse\(seq\) is called with an s-op of text, 1"),
        ("aggregate(full_s);", "aggregate: missing a required argument: 'values'"),
        ("indices(3) + 1;", "an s-op of numbers is given an input"),
        ("3(4);", "3 is called, but is not a function"),
        ("def f(a) { return g(a); } def g(a) { return f(a); }\nf(1);", "line 1, .*'f' is called inside more than 40"),
        ("tokens + 1;", "'\\+' cannot be applied to text and numbers: `tokens` is text"),
        ("tokens == 1;", "text and numbers are compared with '==': `tokens` is text"),
        ("select(tokens, indices, <);", "text and numbers are compared with '<'"),
        ("tokens if indices > 1 else 0;", "would hold numbers and text; a sequence holds values of one kind"),
        ("aggregate(full_s, tokens, 0);", "the result of aggregate would hold numbers and text"),
        ("aggregate(tokens, full_s);", "aggregate needs a selector first, not an s-op of text"),
        ("full_s and tokens;", "connects two selectors or two s-ops, not a selector and an s-op of text"),
        ("1 if full_s else 2;", "is a selector, not an s-op or an atom"),
        ("full_s + 1;", "'\\+' cannot be applied to a selector and 1"),
        ("-tokens;", "'-' cannot be applied to an s-op of text"),
        ("round(tokens);", "cannot be rounded"),
        ("tokens_int;", "tokens_int cannot read the token 'a' of the vocabulary"),
        ("x = [1, 2][2];", "the index 2 is out of range: there are 2 elements"),
        ('x = {"a": 1}["b"];', "'b' is not in the dict: 'a'"),
        ("a, b = [1, 2, 3];", r"2 names \(a, b\) stand for 3 values"),
        ("for x in 3 { y = x; }", "`for` goes through a list or dict, not 3"),
        ("x = range(1000000);", "at most 10000"),
        ("x = zip([1], [1, 2]);", "lists of equal lengths, not 1, 2"),
        ("x = 1 / 0;", "column 7.*: division by zero"),
        ('x = 1 + "a";', "unsupported operand"),
        ('load "elsewhere";', "there is no library 'elsewhere'; built in: rasplib, paper_examples"),
        ("x = 3;", "no statement gives an s-op"),
        ("x = full_s;", "no statement gives an s-op"),
        ("x = " + "(" * 5000 + "1" + ")" * 5000 + ";", "nested too deeply"),
        ("x = " + "-" * 900 + "indices;", "nested too deeply|^<rasp text>"),
    ],
)
def test_errors_say_where_and_what(text: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message) as raised:
        from_rasp(text, "ab", 4)
    assert str(raised.value).startswith("<rasp text>: ")


def test_inputs_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"absent\.rasp cannot be read"):
        from_rasp(tmp_path / "absent.rasp", "ab", 4)
    with pytest.raises(ProgramError, match="the vocabulary of <rasp text> is empty"):
        from_rasp("tokens;", "", 4)
    with pytest.raises(ProgramError, match="not hashable"):
        from_rasp("tokens;", [[1]], 4)


def test_outputs_that_are_none() -> None:
    with pytest.raises(ProgramError, match="the output 'full_s' is a selector, not an s-op"):
        from_rasp("x = indices;", "ab", 4, output="full_s")
    with pytest.raises(ProgramError, match="nothing is named 'y'"):
        from_rasp("x = indices;", "ab", 4, output="y")


def test_what_fails_on_an_input_names_the_line_of_the_text() -> None:
    lines = 'b = "b";', "", "where_b = select(tokens, b, ==);", "early = aggregate(", "where_b, indices > 1);"
    text = "\n".join((*lines, "x = 1 / (indices - 1);"))
    with pytest.raises(ProgramError, match=r"`.get` 'early' \(<rasp text>, line 4\) selects the keys 0 and 2"):
        from_rasp(text, "ab", 4, output="early")("bab")
    with pytest.raises(ProgramError, match=r"divide\(1, 0\) in the s-op 'x' \(<rasp text>, line 6\)"):
        from_rasp(text, "ab", 4, output="x")("bab")
    with pytest.raises(ProgramError, match=r"\(<rasp text>, line 2\) selects no key"):
        from_rasp("n = 2;\nload_from_location(tokens, n);", "ab", 4)("a")
    nodes = [n for n in postorder(from_rasp(text, "ab", 4, output="early").output) if isinstance(n, (Get, Selector))]
    assert [(n.name, n.origin) for n in nodes] == [
        ("where_b", ("<rasp text>", 3)),
        ("early", ("<rasp text>", 4)),
    ]
