"""Pictures of programs on one input: every cell and line is what plain Python says, and all of it can be read."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gaugeblock as gb
from gaugeblock.pictures.attention import attention
from gaugeblock.pictures.flow import flow
from gaugeblock.pictures.run_trace import trace
from gaugeblock.pictures.selector_grid import selector_grid
from gaugeblock.pictures.svg import Canvas, Picture, shorten, text_width
from gaugeblock.programs import causal, everything, key, local, map_n, program, query, select, where
from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import Tokens
from gaugeblock.programs.language.functions import indices
from gaugeblock.programs.printing import Printer
from support.pictures import assert_readable, marked, parsed

Pairs = set[tuple[int, int]]
tokens = Tokens()

GRAPH = {"nodes": ["s", ".", ".", "s"], "edges": [(0, 1), (1, 2), (3, 3), (2, 0)]}
INPUTS: dict[str, list[Any]] = {
    "hist": ["abca", "abcabddcab"],
    "sort": [[3, 1, 2, 1], [3, 1, 2, 1, 7, 0, 5, 5, 4, 6]],
    "dyck2": ["({})", "({a})){a}("],
    "add": ["6+45", "683+94598"],
    "reachable_in_k": [GRAPH],
}
CASES = [(name, xs) for name, several in INPUTS.items() for xs in several]


def selected(picture: Picture, head: str) -> Pairs:
    """(query, key) of the selected cells or of the lines of a head."""
    marks = [m for m in marked(picture, "query") if m["head"] == head]
    return {(int(m["query"]), int(m["key"])) for m in marks if m.get("selected", "1") == "1"}


def all_pairs(n: int, holds: Callable[[int, int], bool]) -> Pairs:
    return {(q, k) for q in range(n) for k in range(n) if holds(q, k)}


@pytest.mark.parametrize("draw", [selector_grid, flow])
@pytest.mark.parametrize("xs", INPUTS["sort"])
def test_sorting_draws_the_smaller_keys_and_then_the_ranks(draw, xs):
    picture, n = draw(gb.programs.get("sort"), xs), len(xs)
    places = sorted(range(n), key=lambda i: (xs[i], i))
    assert selected(picture, "rank") == all_pairs(n, lambda q, k: (xs[k], k) < (xs[q], q))
    assert selected(picture, "output") == {(q, places[q]) for q in range(n)}


@pytest.mark.parametrize("draw", [selector_grid, flow])
@pytest.mark.parametrize("xs", INPUTS["hist"])
def test_counting_draws_the_equal_keys(draw, xs):
    assert selected(draw(gb.programs.get("hist"), xs), "output") == all_pairs(len(xs), lambda q, k: xs[q] == xs[k])


@pytest.mark.parametrize("draw", [selector_grid, flow])
def test_a_search_in_a_graph_draws_the_edges_from_what_is_reached(draw):
    picture = draw(gb.programs.get("reachable_in_k"), GRAPH)
    reached = {i for i, value in enumerate(GRAPH["nodes"]) if value == "s"}
    for head in ("any", "any 2", "any 3"):
        assert selected(picture, head) == {(b, a) for a, b in GRAPH["edges"] if a in reached}
        reached |= {b for a, b in GRAPH["edges"] if a in reached}


@pytest.mark.parametrize("draw", [selector_grid, flow])
@settings(max_examples=15, deadline=None)
@given(
    xs=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    table=st.lists(st.booleans(), min_size=9, max_size=9),
    scores=st.lists(st.none() | st.integers(0, 2), min_size=3, max_size=3),
    largest=st.booleans(),
)
def test_the_best_of_what_any_predicate_selects(draw, xs, table, scores, largest):
    @program(vocab=range(3), max_len=6)
    def best(tokens, indices):
        score = map_n(lambda x: scores[x], tokens)
        return select(tokens, tokens, lambda k, q: table[3 * k + q]).best(score, largest=largest).get(score, None)

    picture, n = draw(best, xs), len(xs)
    candidates = all_pairs(n, lambda q, k: table[3 * xs[k] + xs[q]])
    expected = set()
    for q in range(n):
        ranked = [(scores[xs[k]], k) for k in range(n) if (q, k) in candidates and scores[xs[k]] is not None]
        if ranked:
            top = (max if largest else min)(score for score, _ in ranked)
            expected |= {(q, k) for score, k in ranked if score == top}
    assert selected(picture, "output") == expected
    if draw is selector_grid:
        cells = marked(picture, "candidate")
        assert {(int(c["query"]), int(c["key"])) for c in cells if c["candidate"] == "1"} == candidates
        assert len(cells) == n * n


@pytest.mark.parametrize("xs", INPUTS["sort"])
def test_attention_is_shown_as_it_is(xs):
    model, n = gb.compile(gb.programs.get("sort")), len(xs)
    places = sorted(range(n), key=lambda i: (xs[i], i))
    cells = [c for c in marked(attention(model, xs, "a1.h0"), "weight") if c["part"] == "attention"]
    weights = {(int(c["query"]), int(c["key"])): float(c["weight"]) for c in cells}
    for (q, k), weight in weights.items():
        assert weight == pytest.approx(float(k == places[q]), abs=1e-5)
    assert len(weights) == n * (n + 1)  # the start token is key -1


def test_a_sum_attends_to_the_start_token_too():
    xs = "abca"
    model = gb.compile(gb.programs.get("hist"))
    parts: dict[str, dict[tuple[int, int], float]] = {"selector": {}, "attention": {}, "difference": {}}
    for c in marked(attention(model, xs), "weight"):
        parts[c["part"]][int(c["query"]), int(c["key"])] = float(c["weight"])
    for q, x in enumerate(xs):
        for k in range(-1, 4):
            expected = (k < 0 or xs[k] == x) / (1 + xs.count(x))
            assert parts["selector"][q, k] == pytest.approx(expected)
            assert parts["attention"][q, k] == pytest.approx(expected, abs=1e-5)
            assert parts["difference"][q, k] == pytest.approx(0, abs=1e-5)


def test_a_heavy_sink_is_left_out_and_the_caption_says_so():
    xs = [2, 0, 1]
    picture = attention(gb.compile(gb.programs.get("sort")), xs, "a0.h0")
    cells = [c for c in marked(picture, "weight") if c["part"] == "attention"]
    smaller = {(q, k): float(xs[k] < xs[q]) / max(1, xs[q]) for q in range(3) for k in range(3)}
    smaller |= {(q, -1): 0.0 for q in range(3)}
    weights = {(int(c["query"]), int(c["key"])): float(c["weight"]) for c in cells}
    assert weights == pytest.approx(smaller, abs=1e-5)
    assert "without the start token, which weighs as much as" in picture.svg


def test_a_damaged_head_differs():
    model = gb.compile(gb.programs.get("hist"))
    name = "blocks.0.attn.W_Q"
    damaged = replace(model, weights={**model.weights, name: np.zeros_like(model.weights[name])})
    assert "largest difference" in attention(damaged, "abca").svg

    def worst(m: Any) -> float:
        cells = marked(attention(m, "abca"), "weight")
        return max(abs(float(c["weight"])) for c in cells if c["part"] == "difference")

    assert worst(model) < 1e-6
    assert worst(damaged) > 0.1


@pytest.mark.parametrize(("name", "xs"), CASES)
def test_every_picture_can_be_read(name, xs):
    p = gb.programs.get(name)
    for picture in (selector_grid(p, xs), flow(p, xs), attention(gb.compile(p), xs)):
        assert_readable(picture)
        assert (picture.width, picture.height) == (
            float(parsed(picture).attrib["width"]),
            float(parsed(picture).attrib["height"]),
        )


@pytest.mark.slow
@pytest.mark.parametrize("part", range(6))
def test_pictures_of_the_whole_library_can_be_read(part):
    """A sixth of the programs at a time, on the longest of a few inputs."""
    for name in gb.programs.names()[part::6]:
        p = gb.programs.get(name)
        xs: Any = max(p.sample(np.random.default_rng(0), 4), key=len)
        if p.graph:
            xs = {"nodes": [x.value for x in xs], "edges": [(i, j) for i, x in enumerate(xs) for j in x.targets]}
        if trace(p, xs).heads:
            assert_readable(selector_grid(p, xs))
        assert_readable(flow(p, xs))


def test_long_and_odd_values_are_shortened_and_escaped():
    vocab = ["<&>", "a very long name that nobody can read in a cell", "", " ", "\x00", "漢字", '"']

    @program(vocab=vocab, max_len=8)
    def a_program_with_a_name_that_goes_on_and_on(tokens, indices):
        a_variable_with_a_name_that_goes_on_and_on = tokens.isin(["<&>", ""])
        return key(a_variable_with_a_name_that_goes_on_and_on).mean(indices, None), everything.count() / 7, tokens

    for picture in (selector_grid, flow):
        drawn = picture(a_program_with_a_name_that_goes_on_and_on, vocab)
        assert_readable(drawn)
        assert any(t == "a very long name that nobody can read in a cell" for t in parsed(drawn).itertext())
    assert_readable(attention(gb.compile(a_program_with_a_name_that_goes_on_and_on), vocab))


def test_one_head_can_be_asked_for():
    p = gb.programs.get("dyck2")
    assert {m["head"] for m in marked(selector_grid(p, "({})", "same_level"), "head")} == {"opener"}
    assert {m["head"] for m in marked(selector_grid(p, "({})", "opener"), "head")} == {"opener"}
    assert {m["head"] for m in marked(attention(gb.compile(p), "({})", "opener"), "head")} == {"a1.h0"}
    with pytest.raises(ProgramError, match="'dyck2' has no selector or reduction 'rank'; it has causal, depth, "):
        selector_grid(p, "({})", "rank")
    with pytest.raises(ProgramError, match=re.escape("has no head 'a9.h0'; it has a0.h0 (depth), a1.h0 (opener)")):
        attention(gb.compile(p), "({})", "a9.h0")


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ProgramError, match="'identity' selects nothing"):
        selector_grid(gb.programs.get("identity"), [gb.programs.get("identity").vocab[0]])
    with pytest.raises(ProgramError, match="too long to be drawn: at most 40"):
        flow(gb.programs.get("hist"), "a" * 41)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ((key(tokens) == query(indices + 1)).count(), "(key(tokens) == query(indices + 1)).count()"),
        (
            (local(2) & ~key(tokens == 3)).max(indices, 0),
            "(local(2) & ~key(tokens == 3)).best(indices).get(indices, 0)",
        ),
        (where(-tokens > 1, tokens, None), "where((-tokens) > 1, tokens, None)"),
        ((causal & key(tokens == 1)).any(), "(causal & key(tokens == 1)).any()"),
        (
            everything.min(tokens) // (-tokens) ** 2,
            "everything.best(tokens, largest=False).get(tokens) // ((-tokens) ** 2)",
        ),
        (~causal.any(~(tokens == 1)), "~causal.any(~(tokens == 1))"),
        (1 - (tokens + indices) * 2, "1 - ((tokens + indices) * 2)"),
        (causal.mean(abs(tokens), 0.5) / 3, "causal.mean(abs(tokens), 0.5) / 3"),
    ],
)
def test_expressions_are_written_so_that_python_reads_them_back(node, text):
    formula = Printer().formula(node)
    assert formula == text
    names = {"tokens": tokens, "indices": indices, "key": key, "query": query, "local": local, "causal": causal}
    again = eval(formula, {**names, "everything": everything, "where": where})
    one, other = evaluate([again, node], [[3, 1, 4, 1, 5]])
    assert [one.values[c] for c in one.codes[0]] == [other.values[c] for c in other.codes[0]]


@given(st.text(), st.floats(12, 300), st.booleans(), st.booleans())
def test_shortened_text_fits(text, width, bold, mono):
    short = shorten(text, width, bold=bold, mono=mono)
    assert short == text or short.endswith("…")
    assert text.startswith(short.removesuffix("…"))
    assert text_width(short, bold=bold, mono=mono) <= width or short == "…"


def test_a_picture_is_shown_and_saved(tmp_path):
    canvas = Canvas()
    canvas.text(0, 0, "<b>", tip='"&', anything="<x>")
    canvas.text(5, 40, "upward", upward=True, anchor="middle")
    picture = canvas.picture("a & b", "what it shows")
    picture.save(tmp_path / "new" / "a.svg")
    assert (tmp_path / "new" / "a.svg").read_text(encoding="utf-8") == str(picture) == picture._repr_svg_()
    assert picture.svg in picture._repr_html_()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.svg"]
    assert ET.fromstring(picture.svg).attrib["aria-label"] == "a & b"
    assert_readable(picture)
