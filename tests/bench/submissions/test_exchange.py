"""Graph files of EAP-IG and MIB, against a second description of their graph, and against a file as they write it."""

import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.compiled.edges.graph import Graph, to_angle
from gaugeblock.programs.errors import FileError, InputError, UnknownName
from gaugeblock.submissions.exchange import from_eap_ig, read_eap_ig, to_eap_ig

D_MODEL = 8


def model(heads: list[list[bool]], mlps: list[bool], pos: bool, bias: bool) -> Graph:
    """The graph of a model, layer by layer; a slot that is False writes nothing and is left out."""
    writers = ["embed", *(["pos"] if pos else []), *(["bias"] if bias else [])]
    readers, edges = list[str](), list[str]()

    def read(reader: str, has_bias: bool) -> None:
        readers.append(reader)
        edges.extend(f"{w}->{reader}" for w in before if w != "bias" or has_bias)

    for layer, (row, mlp) in enumerate(zip(heads, mlps)):
        before = list(writers)
        for head in (head for head, writes in enumerate(row) if writes):
            for port in "qkv":
                read(f"a{layer}.h{head}.{port}", layer > 0)
            writers.append(f"a{layer}.h{head}")
        before = list(writers)
        if mlp:
            read(f"m{layer}", True)
            writers.append(f"m{layer}")
    before = writers
    read("logits", True)
    return Graph(tuple(writers), tuple(readers), tuple(edges))


@st.composite
def models(draw: st.DrawFn):
    """Layers, heads per layer, and what `model` needs."""
    n_layers, n_heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    heads = [[draw(st.booleans()) for _ in range(n_heads)] for _ in range(n_layers)]
    mlps = [draw(st.booleans()) for _ in range(n_layers)]
    return n_layers, n_heads, (heads, mlps, draw(st.booleans()), draw(st.booleans()))


def their_edges(n_layers: int, n_heads: int) -> set[str]:
    """Every pair of a writer and a later reader, by the step of the forward pass at which each stands."""
    steps = {"input": 0}
    readers = {"logits": 2 * n_layers + 1}
    for layer in range(n_layers):
        for head in range(n_heads):
            steps[f"a{layer}.h{head}"] = 2 * layer + 1
            readers |= {f"a{layer}.h{head}<{port}>": 2 * layer + 1 for port in "qkv"}
        steps[f"m{layer}"] = readers[f"m{layer}"] = 2 * layer + 2
    return {f"{w}->{r}" for w, at in steps.items() for r, by in readers.items() if at < by}


def sizes(n_layers: int, n_heads: int) -> dict[str, int]:
    return {"n_layers": n_layers, "n_heads": n_heads, "d_model": D_MODEL}


def entry(edge: str) -> str:
    """The name of our edge in their file."""
    return to_angle(edge.replace("embed->", "input->").replace("pos->", "input->"))


@given(models(), st.randoms(use_true_random=False))
def test_scores_are_exported_and_come_back(drawn, draw):
    n_layers, n_heads, slots = drawn
    graph = model(*slots)
    scores = {edge: draw.choice([0.0, -1.0, draw.gauss(0, 1)]) for edge in graph.edges}
    circuit = [edge for edge in graph.edges if draw.random() < 0.3]
    data = json.loads(json.dumps(to_eap_ig(graph, scores, circuit=circuit, **sizes(n_layers, n_heads))))
    assert data["cfg"] == {**sizes(n_layers, n_heads), "parallel_attn_mlp": False}
    assert set(data["edges"]) == their_edges(n_layers, n_heads)
    assert len(data["nodes"]) == 2 + n_layers * (n_heads + 1)
    assert {name for name, e in data["edges"].items() if e["in_graph"]} == {
        entry(edge) for edge in circuit if not edge.startswith("bias")
    }
    for name, e in data["edges"].items():
        ours = [scores[edge] for edge in graph.edges if entry(edge) == name]
        assert abs(e["score"]) == max(map(abs, ours), default=0.0)
        assert e["score"] in [*ours, 0.0]
    back = from_eap_ig(data, graph)
    assert set(back) == set(graph.edges)
    for edge, score in back.items():
        assert score == (0.0 if edge.startswith("bias->") else data["edges"][entry(edge)]["score"])
    assert to_eap_ig(graph, back, circuit=circuit, **sizes(n_layers, n_heads)) == data


@given(models(), st.randoms(use_true_random=False))
def test_scores_of_nodes_are_exported_and_come_back(drawn, draw):
    n_layers, n_heads, slots = drawn
    graph = model(*slots)
    nodes = {writer: draw.gauss(0, 1) for writer in graph.writers}
    edges = dict.fromkeys(graph.edges, 0.0)
    data = to_eap_ig(graph, edges, nodes=nodes, **sizes(n_layers, n_heads))
    back = from_eap_ig(data, graph, "nodes")
    assert {w: s for w, s in back.items() if w not in ("embed", "pos", "bias")} == {
        w: s for w, s in nodes.items() if w not in ("embed", "pos", "bias")
    }
    assert abs(back["embed"]) == max(abs(nodes.get(w, 0.0)) for w in ("embed", "pos"))
    assert back.get("bias", 0.0) == 0.0


@pytest.fixture
def graph() -> Graph:
    """One layer, of whose two heads the second writes nothing."""
    return model([[True, False]], [True], True, False)


def theirs() -> dict:
    """A file with nodes as older versions of EAP-IG write them."""
    edges = {name: {"score": float(i), "in_graph": False} for i, name in enumerate(sorted(their_edges(1, 2)))}
    nodes = {"input": True, "a0.h0": True, "a0.h1": False, "m0": False, "logits": True}
    return {"cfg": {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": False}, "nodes": nodes, "edges": edges}


def test_a_file_of_theirs_is_read(graph, tmp_path):
    path = tmp_path / "importances.json"
    path.write_text(json.dumps(theirs()))
    scores = read_eap_ig(path, graph)
    given_ = {name: e["score"] for name, e in theirs()["edges"].items()}
    assert scores["embed->a0.h0.q"] == scores["pos->a0.h0.q"] == given_["input->a0.h0<q>"]
    assert scores["a0.h0->m0"] == given_["a0.h0->m0"]
    assert set(scores) == set(graph.edges)
    with pytest.raises(FileError, match="no score of 'input'"):
        read_eap_ig(path, graph, "nodes")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d["edges"].update({"a0.h0->a0.h1<q>": {"score": 1.0}}), "such as 'a0.h0->a0.h1<q>'"),
        (lambda d: d["edges"].update({"input->a0.h7<q>": {"score": 1.0}}), "such as 'input->a0.h7<q>'"),
        (lambda d: d["edges"].update({"input->a0.h0.q": {"score": 1.0}}), "such as 'input->a0.h0.q'"),
        (lambda d: d["edges"].update({"m0->m0": {"score": 1.0}}), "such as 'm0->m0'"),
        (lambda d: d["edges"].update({"logits->logits": {"score": 1.0}}), "such as 'logits->logits'"),
        (lambda d: d["edges"].pop("a0.h0->m0"), "no score of 'a0.h0->m0'"),
        (lambda d: d["edges"]["a0.h0->m0"].update(score="1"), "no finite number"),
        (lambda d: d["edges"]["a0.h0->m0"].update(score=True), "no finite number"),
        (lambda d: d["edges"].update({"a0.h0->m0": 1.0}), "no score of"),
        (lambda d: d["cfg"].update(n_layers=0), "n_layers = 0"),
        (lambda d: d["cfg"].update(n_layers="1"), "n_layers = '1'"),
        (lambda d: d["cfg"].update(parallel_attn_mlp=True), "parallel"),
        (lambda d: d.pop("nodes"), "'cfg', 'nodes' and 'edges'"),
    ],
)
def test_files_of_other_models_are_refused(graph, change, reason):
    data = theirs()
    change(data)
    with pytest.raises(FileError) as error:
        from_eap_ig(data, graph)
    assert reason in str(error.value)


def test_a_file_of_a_smaller_model_is_refused(graph):
    wider = model([[True, True, True]], [True], True, False)
    with pytest.raises(FileError, match="the case has more"):
        from_eap_ig(theirs(), wider)
    with pytest.raises(InputError, match="is no edge of 1 layers of 1 heads"):
        to_eap_ig(wider, dict.fromkeys(wider.edges, 1.0), **sizes(1, 1))


def test_pickles_are_refused_with_a_way_out(graph, tmp_path):
    for name in ("importances.pt", "importances.json"):
        (tmp_path / name).write_bytes(pickle.dumps({"cfg": {}}))
    with pytest.raises(FileError, match=r"Graph\.from_pt\(path\)\.to_json"):
        read_eap_ig(tmp_path / "importances.pt", graph)
    with pytest.raises(FileError, match="not JSON"):
        read_eap_ig(tmp_path / "importances.json", graph)
    with pytest.raises(FileError, match="cannot read"):
        read_eap_ig(tmp_path / "none.json", graph)


def test_impossible_scores_are_refused(graph):
    scores = dict.fromkeys(graph.edges, 1.0)
    for wrong, words in [({}, "extra or missing"), (scores | {"embed->logits": math.nan}, "finite")]:
        with pytest.raises(InputError, match=words):
            to_eap_ig(graph, wrong, **sizes(1, 2))
    with pytest.raises(UnknownName, match="edge of this graph"):
        to_eap_ig(graph, scores, circuit=["embed->m9"], **sizes(1, 2))
