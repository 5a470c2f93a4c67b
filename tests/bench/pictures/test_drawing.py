"""The drawing: layers from bottom to top, nothing on top of anything, every edge known by name."""

import re
from xml.etree import ElementTree

import pytest

from gaugeblock.pictures.circuit_drawing import circuit_svg
from gaugeblock.pictures.circuit_layout import GAP_LANE, NODE, arrange


def draw(case, alarms=()):
    svg = circuit_svg(
        case.positives, case.ignored, alarms, writers=case.writers, variables=case.edge_variables, title="<&>"
    )
    return ElementTree.fromstring(svg)


def test_every_edge_that_matters_is_drawn_once_and_no_other(make):
    case = make.case()
    alarms = case.negatives[3:6]
    paths = draw(case, [*alarms, case.positives[0]]).findall("path")
    drawn = {p.get("data-edge"): p.get("class") for p in paths}
    assert len(drawn) == len(paths)
    assert {e for e, c in drawn.items() if "true" in c} == set(case.positives)
    assert {e for e, c in drawn.items() if "ignored" in c} == set(case.ignored)
    assert {e for e, c in drawn.items() if "alarm" in c} == set(alarms)


def test_tooltips_say_what_an_edge_carries(make):
    case = make.case()
    tip = {p.get("data-edge"): p.find("title").text for p in draw(case).findall("path")}
    assert "carries v0" in tip[case.positives[0]]
    assert "ignored" in tip[case.ignored[0]]


@pytest.mark.parametrize(("layers", "heads", "n_true"), [(1, 1, 3), (3, 5, 20), (6, 8, 60)])
def test_nothing_overlaps_and_flow_goes_up(make, layers, heads, n_true):
    case = make.case("toy/pad", layers, heads, n_true)
    carried = {edge: ", ".join(names) for edge, names in case.edge_variables.items()}
    picture = arrange(case.positives, [*case.positives, *case.ignored], case.writers, carried)
    rows: dict[float, list[tuple[float, float]]] = {}
    for x, y in picture.nodes.values():
        rows.setdefault(y, []).append((x, NODE))
    for edge, points in picture.polylines.items():
        for x, y in points[:-1]:
            rows.setdefault(y, []).append((x, GAP_LANE))
        label = picture.labels[edge]
        assert (label.x, label.y) == points[-1]
        rows.setdefault(label.y, []).append((label.x, label.width))
    for row in rows.values():
        row.sort()
        for (x0, w0), (x1, w1) in zip(row, row[1:]):  # noqa: RUF007
            assert x1 - x0 >= (w0 + w1) / 2 - 1e-6
    for edge in case.positives:
        writer, reader = edge.split("->")
        assert picture.nodes[writer][1] > picture.nodes[re.sub(r"\.[qkv]$", "", reader)][1]
    assert all(0 <= x <= picture.width and 0 <= y <= picture.height for x, y in picture.nodes.values())


def test_the_same_circuit_gives_the_same_picture(make):
    case = make.case()
    assert ElementTree.tostring(draw(case)) == ElementTree.tostring(draw(case))


def test_a_circuit_without_edges_can_be_drawn():
    svg = circuit_svg([], [], [], writers=["embed"], variables={}, title="nothing")
    assert len(ElementTree.fromstring(svg).findall("g[@data-node]")) == 2
