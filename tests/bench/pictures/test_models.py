"""Pictures of models: what is drawn is what the model is, every text is inside, and no two lie on each other."""

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

import gaugeblock as gb
from gaugeblock.cases.case import case
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.pictures.circuit_drawing import MANY_EDGES, drawing
from gaugeblock.pictures.circuits import circuit
from gaugeblock.pictures.stream import ranges, residual_stream, stays
from gaugeblock.pictures.svg import text_width
from gaugeblock.pictures.weights import _pooled, parts, turned_back, weights
from gaugeblock.programs.errors import UnknownName
from gaugeblock.programs.registry import get

MODELS = [("hist", 10), ("sort", 4), ("dyck2", 10), ("add", 9), ("reachable_in_k", 4)]


@pytest.fixture(
    scope="module", params=[*MODELS, ("sort", 10, "permute", "pad", "rotate")], ids=lambda p: "-".join(map(str, p))
)
def model(request):
    name, length, *variants = request.param
    return apply_variants(gb.compile(get(name).with_size(max_len=length)), variants, 0)


def drawn(picture):
    return ElementTree.fromstring(picture.svg.replace(' xmlns="http://www.w3.org/2000/svg"', ""))


def boxes(root):
    """Text with its left, top, right and bottom, turned and moved as the SVG says."""
    texts = []

    def visit(element, dx, dy):
        if moved := re.match(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", "")):
            dx, dy = dx + float(moved[1]), dy + float(moved[2])
        if element.tag == "text":
            kind = element.get("class", "")
            in_class = {"port": 9.5, "heading": 14, "row": 12.5, "row remark": 11, "name": 13}
            size = float(element.get("font-size", in_class.get(kind, 11)))
            text, x, y = element.text or "", float(element.get("x")) + dx, float(element.get("y")) + dy
            bold = kind == "heading" or "bold" in kind
            long = 0.9 * text_width(text, size, bold=bold)  # the estimate is for the widest fonts
            anchor = element.get("text-anchor", "middle" if kind in ("name", "port", "") else "start")
            before = {"start": 0.0, "middle": long / 2, "end": long}[anchor]
            middle = y if element.get("dy") else y - 0.35 * size
            half = 0.4 * size
            if "rotate(-90" in element.get("transform", ""):
                texts.append((text, x - half, y - long + before, x + half, y + before))
            else:
                texts.append((text, x - before, middle - half, x - before + long, middle + half))
        for child in element:
            visit(child, dx, dy)

    visit(root, 0.0, 0.0)
    return texts


def pictures(model):
    rng = np.random.default_rng(0)
    scores = {e: (e in model.program_edges) + float(rng.normal(0, 0.5)) for e in model.graph.edges}
    names = [part.name for part in parts(model)]
    single = [weights(model, name) for name in (names[0], names[1])]
    return [circuit(model), circuit(model, scores, ignored=True), residual_stream(model), weights(model), *single]


def test_texts_are_inside_and_apart(model):
    for picture in pictures(model):
        root = drawn(picture)
        left, top, width, height = map(float, root.get("viewBox").split())
        texts = boxes(root)
        for text, x0, y0, x1, y1 in texts:
            inside = left <= x0 and top <= y0 and x1 <= left + width and y1 <= top + height
            assert inside, f"{text!r} sticks out of {picture.title!r}"
        texts.sort(key=lambda box: box[1])
        for i, (a, _, a_top, a_right, a_bottom) in enumerate(texts):
            for b, b_left, b_top, _, b_bottom in texts[i + 1 :]:
                if b_left >= a_right:
                    break
                apart = a_bottom <= b_top or b_bottom <= a_top
                assert apart, f"{a!r} and {b!r} overlap in {picture.title!r}"


def test_the_circuit_has_the_edges_of_the_program_and_says_what_they_carry(model):
    root = drawn(circuit(model))
    edges = [path.get("data-edge") for path in root.iter("path")]
    assert len(edges) == len(set(edges))
    assert set(edges) == model.program_edges
    carried = {g.get("data-carried"): g.find("text/title").text for g in root.iter("g") if g.get("data-carried")}
    expected = {edge: ", ".join(dict.fromkeys(v for _, _, v in reads)) for edge, reads in model.edge_reads.items()}
    assert carried == expected


def test_hits_misses_and_false_alarms_of_a_case():
    sort = case("sort@v8n4/permute")
    truth = sort.truth("resample")
    first, *others = sorted(truth.positives)
    alarm = min(truth.negatives)
    root = drawn(circuit(sort, dict.fromkeys(sort.model.graph.edges, 0.0) | dict.fromkeys([*others, alarm], 1.0)))
    kinds = {p.get("data-edge"): p.get("class") for p in root.iter("path") if p.get("data-edge")}
    assert kinds == dict.fromkeys(others, "edge true hit") | {first: "edge true miss", alarm: "edge alarm"}
    marks = {g.get("data-carried"): g.find("text").text[0] for g in root.iter("g") if g.get("data-carried")}
    assert {edge for edge, mark in marks.items() if mark == "○"} == {first}
    assert {edge for edge, mark in marks.items() if mark == "✓"} == set(others)


def test_ties_are_said():
    hist = case("hist@v4n4")
    svg = circuit(hist, dict.fromkeys(hist.model.graph.edges, 1.0)).svg
    truth = hist.truth("resample")
    assert f"{len(truth.positives | truth.negatives)} edges tie for the last {len(truth.positives)} places" in svg


def test_the_stream_holds_each_variable_from_its_writer_to_its_last_reader(model):
    """Against the weights: a row of W_in, W_Q, … that is not zero is a read."""
    w, columns = turned_back(model), 2 * model.hooked.cfg.n_layers + 2
    held = {d for stay in stays(model) for d in stay.dimensions}
    for stay in stays(model):
        dimensions, last = list(stay.dimensions), 0
        for at in range(1, columns):
            maps = _maps_in(w, at, model.hooked.cfg.n_layers, held)
            last = at if any(m[dimensions].any() for m in maps) else last
        assert (stay.end or 0) == last, stay.name
    root = drawn(residual_stream(model))
    bars = {r.get("data-variable"): r for r in root.iter("rect") if r.get("data-variable")}
    assert set(bars) == set(model.lowered.variables)
    for stay in stays(model):
        bar = bars[stay.name]
        assert bar.get("data-dimensions") == " ".join(map(str, stay.dimensions))
        assert (bar.get("data-start"), bar.get("data-end")) == (str(stay.start), str(stay.end))


def _maps_in(w, at, n_layers, held):
    """Input maps of a sublayer, padding aside: rows are dimensions. Padding writes outside `held` only."""
    if at == 2 * n_layers + 1:
        return [w["unembed.W_U"]]
    block = f"blocks.{(at - 1) // 2}."
    dims = sorted(held)
    if at % 2 == 0:
        live = w[block + "mlp.W_out"][:, dims].any(1)
        return [w[block + "mlp.W_in"][:, live]]
    heads = np.flatnonzero(w[block + "attn.W_O"][:, :, dims].any((1, 2)))
    return [w[block + f"attn.W_{x}"][h] for h in heads for x in "QKV"]


def test_every_weight_of_a_part_is_drawn_with_its_place_and_sign(model):
    for part in parts(model):
        if sum(np.count_nonzero(m.values) for m in part.matrices) > 400:
            continue
        root = drawn(weights(model, part.name))
        drawn_weights = {
            (r.get("data-of"), int(r.get("data-row")), int(r.get("data-column"))): float(r.get("data-value"))
            for r in root.iter("rect")
            if r.get("data-value")
        }
        expected = {
            (m.name, int(i), int(j)): m.values[i, j] for m in part.matrices for i, j in np.argwhere(m.values != 0)
        }
        assert drawn_weights == expected


def test_parts_hold_the_weights_of_the_model_under_their_names():
    model = gb.compile(get("sort").with_size(max_len=4))
    by_name = {part.name: {m.name.partition(",")[0]: m for m in part.matrices} for part in parts(model)}
    assert (model.weights["embed.W_E"] == by_name["embed"]["W_E"].values.T).all()
    assert (by_name["a0.h1"]["W_K"].values[:-1] == model.weights["blocks.0.attn.W_K"][1]).all()
    assert (model.weights["blocks.1.attn.W_O"][0] == by_name["a1.h0"]["W_O"].values[:-1].T).all()
    embed = by_name["embed"]["W_E"]
    rows = next(parts(model)).rows
    for row, column in np.argwhere(embed.values):
        assert rows[row] in (f"tokens={embed.columns[column]}", "present=True", "bos=True")


def test_a_rotated_model_is_drawn_in_the_basis_it_was_made_from():
    model = apply_variants(gb.compile(get("sort").with_size(max_len=4)), ("permute", "pad"), 0)
    turned = apply_variants(gb.compile(get("sort").with_size(max_len=4)), ("permute", "pad", "rotate"), 0)
    heads = {name for name in model.weights if ".attn." in name and not name.endswith("b_O")}  # have new inner bases
    back = turned_back(turned)
    assert not np.allclose(turned.weights["embed.W_E"], model.weights["embed.W_E"])
    for name in set(model.weights) - heads:
        np.testing.assert_allclose(back[name], model.weights[name], rtol=1e-12, err_msg=name)
    assert "provenance.basis" in residual_stream(turned).svg


def test_the_overview_shows_as_many_weights_as_there_are(model):
    shown = sum(int(p.get("data-cells")) for p in drawn(weights(model)).iter("path") if p.get("data-cells"))
    if all(max(m.values.shape) <= 320 for part in parts(model) for m in part.matrices):
        assert shown == sum(np.count_nonzero(m.values) for part in parts(model) for m in part.matrices)


def test_large_matrices_are_shown_in_blocks_of_which_the_largest_weight_counts():
    values = np.array([[1.0, -3.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, -4.0]])
    assert _pooled(values, 2, 2).tolist() == [[-3.0, 0.0], [0.0, -4.0]]


def test_an_unknown_part_is_refused():
    with pytest.raises(UnknownName, match="m7"):
        weights(gb.compile(get("hist").with_size(max_len=4)), "m7")


def test_ranges():
    assert ranges([5, 3, 4, 9]) == "3–5, 9"


def test_in_large_circuits_what_is_read_by_all_shares_its_lanes():
    writers = ["embed", *(f"m{i}" for i in range(MANY_EDGES))]
    chain = {f"{a}->{b}": [f"v{i}"] for i, (a, b) in enumerate(pairwise([*writers, "logits"]))}
    skips = {f"embed->m{i}": ["w"] for i in range(1, 5)}
    implicit = {f"embed->m{i}": ["present"] for i in range(5, MANY_EDGES)}
    carried = chain | skips | implicit
    picture, _ = drawing(dict.fromkeys(carried, "true"), writers, carried, {})
    assert len({points[:-1][:5] for edge, points in picture.polylines.items() if edge in implicit}) == 1
    for first, second in combinations(skips, 2):
        assert not set(picture.polylines[first]) & set(picture.polylines[second])
    small, _ = drawing(dict.fromkeys([*skips, *list(implicit)[:2]], "true"), writers, carried, {})
    polylines = list(small.polylines.values())
    assert sum(map(len, polylines)) == len({point for points in polylines for point in points})
