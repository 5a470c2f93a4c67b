"""Programs in RASP text against published examples, plain Python, and the library's references."""

import itertools
import json
import operator
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gaugeblock as gb
from gaugeblock.programs import Domain, Program
from gaugeblock.programs.errors import InputError, ProgramError
from gaugeblock.programs.language.selector import Get, Mean
from gaugeblock.programs.language.tree import postorder
from gaugeblock.programs.library import COLLECTED
from gaugeblock.programs.readers.rasp import from_rasp

DATA = Path(__file__).parents[2] / "data"
PUBLISHED = {p["id"]: p for p in json.loads((DATA / "rasp_programs.json").read_text(encoding="utf-8"))["programs"]}
_parts = re.split(r"^#### (\S+)$", (DATA / "rasp_programs.rasp").read_text(encoding="utf-8"), flags=re.MULTILINE)
TEXTS = dict(zip(_parts[1::2], _parts[2::2], strict=True))

LIBRARY = {
    "rasp.average": "average(tokens_int);",
    "rasp.contains_e": 'contains(tokens, "e");',
    "rasp.count_e": 'count(tokens, "e");',
    "rasp.dyck1_ptf": 'dyck1_ptf("()");',
    "rasp.dyck2_ptf": 'load "paper_examples"; dyck2_ptf;',
    "rasp.first_token": "first(tokens);",
    "rasp.frac_prevs": 'frac_prevs(tokens, "(");',
    "rasp.has_prev": "has_prev(tokens);",
    "rasp.hist": "hist(tokens);",
    "rasp.hist2": "hist2(tokens);",
    "rasp.hist2_bos": 'load "paper_examples"; hist2_bos;',
    "rasp.hist_bos": 'load "paper_examples"; hist_bos;',
    "rasp.last_token": "last(tokens);",
    "rasp.length": "make_length();",
    "rasp.load_from_location2": "load_from_location(tokens, 2);",
    "rasp.mark_first_a": 'mark_first_instance(tokens, "a");',
    "rasp.mark_last_a": 'mark_last_instance(tokens, "a");',
    "rasp.max_token_index": "max(tokens_int, indices);",
    "rasp.most_freq": 'most_freq(tokens, "§");',
    "rasp.most_freq_bos": 'load "paper_examples"; sort_by_most_freq;',
    "rasp.next_identical_index": "next_identical_index(tokens);",
    "rasp.num_prevs": "num_prevs;",
    "rasp.pair_balance": 'pair_balance("(", ")");',
    "rasp.prev_copies": "prev_copies(tokens);",
    "rasp.reverse": "flip(tokens);",
    "rasp.shift_left2": 'shift(tokens, -2, "_");',
    "rasp.shift_right1": 'shift(tokens, 1, "_");',
    "rasp.shuffle_dyck1": 'shuffle_dyck(["()"]);',
    "rasp.shuffle_dyck2": 'shuffle_dyck(["()", "{}"]);',
    "rasp.shuffle_dyck3": 'shuffle_dyck(["()", "{}", "[]"]);',
    "rasp.sort": "sort(tokens, tokens);",
    "rasp.sort_bos": "sort_bos(tokens, tokens);",
    "rasp.sort_by_freq_stable": "sort(tokens, hist(tokens));",
    "rasp.sort_int": "sort(tokens_int, tokens_int);",
}


def read(id: str, text: str) -> Program:
    return from_rasp(text, PUBLISHED[id]["alphabet"], 12, name=id)


def agree(outputs: list[Any], expected: list[Any], tolerance: float, start: int) -> bool:
    """Whether two outputs are the same from `start` on; True and 1 are told apart, 1 and 1.0 are not."""

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, (bool, str)) or isinstance(b, (bool, str)):
            return type(a) is type(b) and a == b
        return abs(a - b) <= tolerance

    return len(outputs) == len(expected) and all(map(same, outputs[start:], expected[start:]))


def test_there_is_a_text_for_each_published_program() -> None:
    assert set(TEXTS) == set(PUBLISHED)
    assert len(TEXTS) >= 40


@pytest.mark.parametrize(("id", "text"), [*TEXTS.items(), *LIBRARY.items()])
def test_published_examples(id: str, text: str) -> None:
    program, entry = read(id, text), PUBLISHED[id]
    for example in entry["examples"]:
        outputs = program(example["in"])
        assert agree(outputs, example["out"], entry["tolerance"], entry["compare_from"]), (example, outputs)


@pytest.mark.parametrize("id", LIBRARY)
def test_the_library_computes_what_the_texts_compute(id: str) -> None:
    rng = np.random.default_rng(0)
    program, entry = read(id, TEXTS[id]), PUBLISHED[id]
    inputs = [xs if "bos" not in id else ["§", *(x for x in xs if x != "§")] for xs in program.sample(rng, 100)]
    inputs = [xs for xs in inputs if len(xs) > 2]  # load_from_location2 is for these
    for xs, a, b in zip(inputs, program.batch(inputs), read(id, LIBRARY[id]).batch(inputs), strict=True):
        assert agree(b, a, entry["tolerance"], entry["compare_from"]), (xs, a, b)


@pytest.mark.parametrize("id", sorted(set(TEXTS) & set(COLLECTED)))
def test_references(id: str) -> None:
    ours, program = gb.programs.get(id), read(id, TEXTS[id])
    assert ours.reference is not None
    inputs = [xs for xs in ours.sample(np.random.default_rng(1), 100) if program.domain.contains(xs)]
    inputs = [xs for xs in inputs if len(xs) > 2 or id != "rasp.load_from_location2"]  # which is for these
    for xs, outputs in zip(inputs, program.batch(inputs), strict=True):
        assert agree(outputs, ours.reference(xs), 1e-9, PUBLISHED[id]["compare_from"]), xs


# aggregate, by the definition

SOPS: dict[str, Callable[[list[int]], list[Any]]] = {
    "tokens_int": lambda xs: xs,
    "indices": lambda xs: list(range(len(xs))),
    "length - 1 - indices": lambda xs: [len(xs) - 1 - i for i in range(len(xs))],
    "1": lambda xs: [1] * len(xs),
    "num_prevs * 2": lambda xs: [2 * i for i in range(len(xs))],
}
KEYS = ("tokens_int", "indices", "length - 1 - indices")
QUERIES = ("tokens_int", "1", "num_prevs * 2")
OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
INPUTS = [list(xs) for n in range(1, 5) for xs in itertools.product(range(2), repeat=n)]


@pytest.mark.parametrize("connective", ["and", "or"])
@pytest.mark.parametrize("sign", OPERATORS)
def test_reductions_by_definition(sign: str, connective: str) -> None:
    cases = list(itertools.product(KEYS, QUERIES))
    lines, outputs = [], []
    for c, (key, query) in enumerate(cases):
        lines.append(f"""
            simple{c} = select({key}, {query}, {sign});
            sel{c} = not simple{c} {connective} select(indices, tokens_int, >=);
            mean{c} = aggregate(sel{c}, tokens_int + 10 * indices, -1);
            plain{c} = aggregate(simple{c}, tokens_int + 10 * indices);
            width{c} = selector_width(sel{c});
            beyond{c} = selector_width(sel{c}, True);
        """)
        outputs += [f"mean{c}", f"plain{c}", f"width{c}", f"beyond{c}"]
    program = from_rasp("".join(lines), range(2), 4, output=outputs)
    for xs, rows in zip(INPUTS, program.batch(INPUTS), strict=True):
        n = range(len(xs))
        for i in n:
            expected: list[float] = []
            for key, query in cases:
                k, q = SOPS[key](xs), SOPS[query](xs)
                simple = [OPERATORS[sign](k[j], q[i]) for j in n]
                both = [(all if connective == "and" else any)((not simple[j], j >= xs[i])) for j in n]
                plain, chosen = ([xs[j] + 10 * j for j in n if row[j]] for row in (simple, both))
                expected += [sum(chosen) / len(chosen) if chosen else -1, sum(plain) / len(plain) if plain else 0]
                expected += [len(chosen), sum(both[1:])]
            assert rows[i] == pytest.approx(tuple(expected)), (xs, i)


def reductions(text: str, vocab: Any = range(4)) -> list[type]:
    """The kinds of reduction from which the output is made, in order."""
    program = from_rasp(text, vocab, 6)
    return [type(n) for n in postorder(program.output) if isinstance(n, (Get, Mean))]


def test_a_number_is_copied_where_one_key_is_selected_by_a_rule() -> None:
    assert reductions("aggregate(select(indices, tokens_int, ==), tokens_int);") == [Get]
    assert reductions("aggregate(select(indices, tokens_int, ==) and full_s, tokens_int);") == [Get]
    assert reductions("sort(tokens_int, tokens_int);") == [Get]
    assert reductions("aggregate(select(tokens_int, indices, ==), tokens_int);") == [Mean]
    assert reductions("aggregate(select(indices, indices, <=), tokens_int);") == [Mean]
    assert reductions("aggregate(full_s, tokens);", "ab") == [Get]


def test_the_languages_way_to_count_is_a_count() -> None:
    text = "same = select(tokens, tokens, ==);  1 / aggregate({}, indicator(indices == 0)) - 1;"
    for sel, kinds in {
        "same or select(indices, 0, ==)": [],
        "select(indices, 0, ==) or (same and full_s)": [],
        "full_s": [],
        "same or select(indices, 0, <=)": [Mean],
    }.items():
        assert reductions(text.format(sel), "ab") == kinds
    inputs = [list(xs) for n in range(1, 5) for xs in itertools.product("ab", repeat=n)]
    outputs = from_rasp(text.format("same or select(indices, 0, ==)"), "ab", 4).batch(inputs)
    assert outputs == [[xs[1:].count(x) for x in xs] for xs in inputs]


def test_booleans_and_text_are_copied_from_one_key() -> None:
    same = 'sel = select(tokens, "b", ==);'
    assert from_rasp(same + "aggregate(sel, indices > 1);", "ab", 4)("aab") == [True] * 3
    assert from_rasp(same + "aggregate(sel, indices > 1);", "ab", 4)("aaa") == [False] * 3
    assert from_rasp(same + "aggregate(sel, indices > 1);", "ab", 4)("abb"[::-1]) == [False] * 3
    with pytest.raises(ProgramError, match=r"keys 0 and 2, whose values False and True differ.*\['b', '[ab]', 'b'\]$"):
        from_rasp(same + "aggregate(sel, indices > 1);", "ab", 4)("bab")
    assert from_rasp(same + 'aggregate(sel, tokens, "-");', "ab", 4)("aa") == ["-", "-"]
    with pytest.raises(ProgramError, match="selects no key and has no default"):
        from_rasp(same + "aggregate(sel, tokens);", "ab", 4)("aa")


# what tokens are


def test_base_s_ops() -> None:
    assert from_rasp("tokens;", range(3), 4)([2, 0]) == ["2", "0"]
    assert from_rasp("tokens_int + 1;", "0123", 4)("31") == [4, 2]
    assert from_rasp("tokens = tokens_int; tokens * tokens;", range(3), 4)([2, 0]) == [4, 0]
    assert from_rasp("tokens_bool;", range(3), 4)([2, 0]) == [True, False]
    assert from_rasp("tokens_float == 0.1;", [0.1, 0.25], 4)([0.1, 0.25]) == [True, False]
    assert from_rasp("average(tokens_float) == 0.2;", [0.1, 0.3], 4)([0.1, 0.3]) == [True, True]
    assert from_rasp("tokens_asis;", [True, False], 4)([True, False]) == [True, False]
    assert from_rasp('str(indices) + ":" + tokens;', "ab", 4)("ab") == ["0:a", "1:b"]
    assert from_rasp("int(tokens) * abs(-2) + round(5 / 2);", "12", 4)("12") == [4, 6]


def test_the_library_keeps_its_tokens() -> None:
    text = 'tokens = tokens_int; length = 3; balance = pair_balance("1", "2"); make_length() + balance;'
    assert from_rasp(text, range(3), 4)([1, 2]) == [3.0, 2.0]


def test_truth_of_numbers_and_text() -> None:
    text = """
        a = tokens_int and True;
        b = not tokens_int;
        c = indicator(tokens_int);
        d = 1 if tokens_int else 0;
        e = "" or a;
    """
    program = from_rasp(text, range(4), 4, output=list("abcde"))
    assert program([0, 2]) == [(False, True, 0, 0, False), (True, False, 1, 1, True)]


# statements


def test_outputs_and_names() -> None:
    text = "# Where the\n# tokens end.\nlast = length - 1 - indices;\nsel = select(indices, last, ==);"
    program = from_rasp(text, "ab", 5)
    assert (program.name, program.description) == ("last", "Where the\ntokens end.")
    assert program.output.name == "last"
    assert program.source == text
    twice = from_rasp(text + 'reverse = aggregate(sel, tokens); reverse("ab"); draw(reverse);', "ab", 5)
    assert (twice.name, twice("aab")) == ("reverse", ["b", "a", "a"])
    several = from_rasp(text, "ab", 5, output=["last", "indices"])
    assert (several.name, several("aa")) == ("last, indices", [(1, 0), (0, 1)])
    assert from_rasp("indices + 1; out * 2;", "ab", 5)("ab") == [2, 4]
    assert from_rasp("a, b = indices, indices + 1;", "ab", 5)("ab") == [1, 2]


def test_commands_of_the_interactive_loop_are_skipped() -> None:
    text = """
        examples off
        set example [1, 2]
        set selector example "hey"
        full seq display on  # more of it
        x = indices;  set = x + 1;
        show s-op example
        exit
        this is not read
    """
    assert from_rasp(text, "ab", 5)("ab") == [1, 2]


def test_lists_dicts_loops_and_functions() -> None:
    text = """
        def power(x, n=2) {
            def times(y) { return y * x; }
            result = 1;
            for _ in range(n) { result = times(result); }
            return result;
        }
        weights = {c: i + 1 for i, c in zip(range(3), ["a", "b", "c"])};
        pairs = [[k, weights[k]] for k in weights] + [["d", len(weights) + 1]];
        total = 0;
        for letter, weight in pairs { total = total + (weight if tokens == letter else 0); }
        factorial = 1;
        def down(n) { return 1 if n == 0 else n * down(n - 1); }
        [power(total), power(total, n=1), power(n=3, x=total), down(4) + 0 * indices][3 - 4];
        answer = [power(total), power(total, n=1), power(n=3, x=total)][-3] + down(4);
    """
    assert from_rasp(text, "abcd", 5)("dab") == [40, 25, 28]


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "odd.rasp"
    path.write_text("# §\nodd = indices % 2 == 1;\n", encoding="utf-8")
    assert from_rasp(path, "ab", 5)("aba") == [False, True, False]
    path.write_text("odd = indicez;\n", encoding="utf-8")
    with pytest.raises(ProgramError, match=r"^odd.rasp: line 1, column 7"):
        from_rasp(path, "ab", 5)


def test_programs_are_data() -> None:
    domain = Domain("of two tokens or more", lambda xs: len(xs) > 1)
    program = from_rasp(TEXTS["rasp.sort"], "abc", 5, reference=sorted, tags=("order",))
    copy = pickle.loads(pickle.dumps(program))
    assert copy("cab") == ["a", "b", "c"] == program.reference(["c", "a", "b"])
    assert program.with_size(vocab="xyz")("zyx") == ["x", "y", "z"]
    with pytest.raises(InputError, match="two tokens"):
        from_rasp("tokens;", "abc", 5, domain=domain)("a")


def test_long_loops_of_shared_expressions() -> None:
    text = "x = indices + 1; for _ in range(300) { x = (x + x) % 1009; } x;"
    assert from_rasp(text, "ab", 3)("aa") == [pow(2, 300, 1009), pow(2, 301, 1009)]


# through the compiler


@pytest.mark.parametrize(
    ("text", "vocab"),
    [
        (TEXTS["rasp.reverse"], "abc"),
        (TEXTS["rasp.sort_int"], range(3)),
        (LIBRARY["rasp.hist2"], "abc"),
        (LIBRARY["rasp.frac_prevs"], "()a"),
        (LIBRARY["rasp.has_prev"], "abc"),
    ],
)
def test_compiled_programs(text: str, vocab: Any) -> None:
    program = from_rasp(text, vocab, 4)
    inputs = [list(xs) for n in range(1, 5) for xs in itertools.product(program.vocab, repeat=n)]
    model = gb.compile(program)
    for a, b in zip(model.batch(inputs), program.batch(inputs), strict=True):
        assert a == pytest.approx(b, abs=1e-5) if isinstance(b[0], float) else a == b
