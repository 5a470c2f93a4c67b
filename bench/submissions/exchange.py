"""Scores of edges carried over from other tools into a results folder, and from a result to other tools.

The form is the JSON of EAP-IG's graph files, which MIB's circuit track reads too (`importances.json`). It holds `cfg`
(n_layers, n_heads, parallel_attn_mlp, d_model), `nodes` (name -> {in_graph[, score]}, or just whether it is in the
circuit) and `edges` (name -> {score, in_graph}). Names differ from ours in three ways:

- a head's ports are written `a0.h1<q>` instead of `a0.h1.q`;
- one node `input` stands for our `embed` and `pos`, and there is no `bias`. On import both get the score of `input`,
  and `bias` gets 0. On export `input` gets whichever score of the two is larger in size, with its sign, and `bias` is
  left out. So import and export give a file back as it was. (For a linear attribution their tool would have measured
  the sum; where only one of the two differs between the inputs of a pair, as under `resample`, that is the same.)
- their graph holds every head and every MLP, ours only those that write something. The others get 0 on export, and are
  dropped on import.

Sources: Hanna, Pezzelle and Belinkov (2024), "Have Faith in Faithfulness", and its code `EAP-IG`; Mueller et al.
(2025), "MIB: A Mechanistic Interpretability Benchmark", circuit localization track.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from gaugeblock.cases.case import case as load_case
from gaugeblock.compiled.edges.graph import Graph, Place, from_angle, owner, parse_edge, to_angle
from gaugeblock.compiled.writing import write_text
from gaugeblock.evaluation.case_record import case_record
from gaugeblock.evaluation.entrants import entrant_names
from gaugeblock.evaluation.evaluate import rescore
from gaugeblock.methods.registry import lift, pool
from gaugeblock.programs.errors import FileError, InputError, MethodError, UnknownName
from gaugeblock.results.files import case_path, check_folders, holds_case, read_result, result_path, write_json
from gaugeblock.results.provenance import stamp
from gaugeblock.results.records import Result
from gaugeblock.results.untrusted import quoted, strict_json
from gaugeblock.submissions.manifest import IMPORTED

SOURCES = ("embed", "pos")

Level = Literal["edges", "nodes"]


def import_scores(
    path: str | Path,
    case: str,
    method: str,
    out: str | Path,
    *,
    ablation: str = "resample",
    seed: int = 0,
    level: Level = "edges",
    signed: bool = False,
) -> Result:
    """Score what another tool says of a case's edges, and write it to a results folder as the result of a method.

    Args:
        path: a graph file of EAP-IG or MIB, see above.
        case: id of the case whose model the scores are of.
        method: its name on the leaderboard.
        level: what the file scores: "edges", or "nodes", which are lifted to edges.
        signed: whether the score itself ranks; otherwise |score| does.

    Raises:
        FileError: no such file, a pickle, or a file of another model.
        InputError: the name differs in case only from that of a method whose results are in the folder.
        MethodError: the name is taken by a method of gaugeblock.
    """
    if method in entrant_names():
        raise MethodError(f"a method named {method!r} is there already; give the imported scores another name")
    built = load_case(case)
    file = result_path(out, method, built.id, ablation, seed)
    if file.exists() and (there := read_result(file).method) != method:
        raise MethodError(f"{file} is the result of {there!r}, whose name makes the same file name; use another one")
    check_folders(out, [method])
    graph = built.model.graph
    scores = read_eap_ig(path, graph, level)
    edges = scores if level == "edges" else lift(scores, graph.edges, signed)
    result = Result(
        status="ok",
        method=method,
        method_level=level,
        method_source=IMPORTED,
        case=built.id,
        case_hash=built.hash,
        weights_hash=built.weights_hash,
        ablation=ablation,
        seed=seed,
        edge_scores=edges,
        node_scores=scores if level == "nodes" else pool(edges, graph, signed),
        signed=signed,
        **stamp(),
    )
    result = Result.model_validate(rescore(result, built).model_dump())
    record = case_path(out, built.id, ablation)
    if not holds_case(record, built.hash):
        write_json(record, case_record(built, ablation, built.certify([ablation])))
    write_json(file, result)
    return result


def export_scores(result: str | Path, out: str | Path) -> Path:
    """Write the scores of a result file as a graph file of EAP-IG and MIB; returns `out`.

    The chosen circuit (`circuit`) is what is in the graph.

    Raises FileError where the file is no result, or one without scores of its case's edges.
    """
    record, out = read_result(result), Path(out)
    built = load_case(record.case)
    graph, cfg = built.model.graph, built.model.hooked.cfg
    if set(record.edge_scores) != set(graph.edges):
        raise FileError(
            f"{result} does not score the {len(graph.edges)} edges of {built.id}, so there is nothing to write"
        )
    data = to_eap_ig(
        graph,
        record.edge_scores,
        n_layers=cfg.n_layers,
        n_heads=cfg.n_heads,
        d_model=cfg.d_model,
        circuit=record.circuit,
        nodes=record.node_scores if record.method_level == "nodes" else None,
    )
    write_text(out, json.dumps(data, indent=1) + "\n")
    return out


def to_eap_ig(
    graph: Graph,
    scores: Mapping[str, float],
    *,
    n_layers: int,
    n_heads: int,
    d_model: int,
    circuit: Iterable[str] = (),
    nodes: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The content of a graph file; see above for what becomes of names.

    Args:
        scores: one per edge of the graph.
        n_layers, n_heads, d_model: of the model.
        circuit: edges that are in the circuit; a node is as soon as one of its edges is. Both tools choose circuits
            by score anew where importances are asked for.
        nodes: scores of nodes, one per writer.

    Raises:
        InputError: the scores are not those of the graph, or the graph has more layers or heads.
        UnknownName: an edge of the circuit that is no edge of the graph.
    """
    _check_names("edge", scores, graph.edges)
    chosen = {graph.edges[i] for i in graph.indices(circuit)}
    edges: dict[str, dict[str, Any]] = {n: {"score": 0.0, "in_graph": False} for n in _edges(n_layers, n_heads)}
    for edge in graph.edges:
        writer, reader = parse_edge(edge)
        if writer == "bias":
            continue
        name = _theirs(writer, reader)
        if name not in edges:
            raise InputError(f"{name!r} is no edge of {n_layers} layers of {n_heads} heads")
        entry = edges[name]
        entry["score"] = max(entry["score"], float(scores[edge]), key=abs)
        entry["in_graph"] = entry["in_graph"] or edge in chosen
    used = {"logits"} | {_node(end) for edge in chosen for end in parse_edge(edge)}
    listed: dict[str, dict[str, Any]] = {name: {"in_graph": name in used} for name in _nodes(n_layers, n_heads)}
    if nodes is not None:
        _check_names("node", nodes, graph.writers)
        for name, entry in listed.items():
            if name != "logits":
                ours = SOURCES if name == "input" else (name,)
                entry["score"] = max((float(nodes.get(writer, 0.0)) for writer in ours), key=abs)
    config = {"n_layers": n_layers, "n_heads": n_heads, "parallel_attn_mlp": False, "d_model": d_model}
    return {"cfg": config, "nodes": listed, "edges": edges}


def from_eap_ig(data: Any, graph: Graph, level: Level = "edges") -> dict[str, float]:
    """The scores of the edges, or of the nodes (writers), of our graph in a graph file; see above.

    Raises:
        FileError: something else than a graph file, or one of another model.
    """
    if not isinstance(data, dict) or not all(isinstance(data.get(part), dict) for part in ("cfg", "nodes", "edges")):
        raise FileError("a graph file is a JSON object with the objects 'cfg', 'nodes' and 'edges'")
    n_layers, n_heads = _count(data["cfg"], "n_layers"), _count(data["cfg"], "n_heads")
    if data["cfg"].get("parallel_attn_mlp"):
        raise FileError("this graph file is of a model whose attention and MLP are parallel, which no case has")
    places = [Place.of(name) for name in graph.writers]
    layers = max((place.layer for place in places if place.layer is not None), default=-1)
    heads = max((place.head for place in places if place.head is not None), default=-1)
    if layers >= n_layers or heads >= n_heads:
        raise FileError(f"this graph file is of a model of {n_layers} layers of {n_heads} heads; the case has more")
    if level == "nodes":
        wanted = {writer: _node(writer) for writer in graph.writers}
    else:
        wanted = {edge: _theirs(*parse_edge(edge)) for edge in graph.edges}
    entries, exists = data[level], _is_node if level == "nodes" else _is_edge
    if unknown := [name for name in entries if not exists(name, n_layers, n_heads)]:
        example = f"{len(unknown)} {level} that a model of its size has not, such as {quoted(unknown[0])}"
        raise FileError(f"this graph file has {example}")
    return {ours: 0.0 if ours.startswith("bias") else _score(entries, theirs) for ours, theirs in wanted.items()}


def read_eap_ig(path: str | Path, graph: Graph, level: Level = "edges") -> dict[str, float]:
    """The scores of `from_eap_ig` from a file. FileError, also for the `.pt` form, which is a pickle."""
    path = Path(path)
    if path.suffix in (".pt", ".pth", ".pkl", ".bin"):
        raise FileError(
            f"{path} is a pickle, which can run code when it is read, and is not read here; convert it where you trust "
            "it: Graph.from_pt(path).to_json('importances.json') with the package `eap`"
        )
    try:
        data = path.read_bytes()
    except OSError as e:
        raise FileError(f"cannot read {path}: {e.strerror or e}") from e
    return from_eap_ig(strict_json(data, str(path)), graph, level)


def _check_names(kind: str, scores: Mapping[str, float], names: tuple[str, ...]) -> None:
    if odd := sorted({*scores} ^ {*names}):
        raise InputError(f"give one score per {kind} of the graph, {len(names)} in all; {odd[0]!r} is extra or missing")
    if infinite := [name for name, score in scores.items() if not math.isfinite(score)]:
        raise InputError(f"the score of {infinite[0]!r} is {scores[infinite[0]]}; scores are finite")


def _node(name: str) -> str:
    """Their name for the node of one of our writers or readers."""
    return "input" if name in SOURCES else owner(name)


def _theirs(writer: str, reader: str) -> str:
    return f"{_node(writer)}->{to_angle(reader)}"


def _nodes(n_layers: int, n_heads: int) -> list[str]:
    """All nodes of their graph, in their order."""
    inner = [[*(f"a{layer}.h{head}" for head in range(n_heads)), f"m{layer}"] for layer in range(n_layers)]
    return ["input", *(name for layer in inner for name in layer), "logits"]


def _edges(n_layers: int, n_heads: int) -> list[str]:
    """All edges of their graph, in their order: by reader's layer, then writer, then reader."""
    stream, edges = ["input"], list[str]()
    for layer in range(n_layers):
        heads = [f"a{layer}.h{head}" for head in range(n_heads)]
        edges += [f"{writer}->{head}<{port}>" for writer in stream for head in heads for port in "qkv"]
        stream += heads
        edges += [f"{writer}->m{layer}" for writer in stream]
        stream.append(f"m{layer}")
    return edges + [f"{writer}->logits" for writer in stream]


def _is_node(name: str, n_layers: int, n_heads: int) -> bool:
    """Whether a model of this size has such a node."""
    if name in ("input", "logits"):
        return True
    place = _place(name, n_layers, n_heads)
    return place is not None and place.port is None


def _is_edge(name: str, n_layers: int, n_heads: int) -> bool:
    """Whether a model of this size has such an edge."""
    writer, _, reader = name.partition("->")
    if reader == "logits":
        return writer != "logits" and _is_node(writer, n_layers, n_heads)
    to = _place(from_angle(reader), n_layers, n_heads)
    if to is None or reader != to_angle(from_angle(reader)) or (to.kind == "head") != (to.port is not None):
        return False
    if writer == "input":
        return True
    start = _place(writer, n_layers, n_heads)
    if start is None or start.port is not None or start.layer is None or to.layer is None:
        return False
    return start.layer < to.layer or (start.layer == to.layer and (start.kind, to.kind) == ("head", "mlp"))


def _place(name: str, n_layers: int, n_heads: int) -> Place | None:
    """Where a head or MLP of a model of this size stands; None for anything else."""
    try:
        place = Place.of(name)
    except (UnknownName, ValueError):
        return None
    if place.layer is None or place.layer >= n_layers or (place.head or 0) >= n_heads:
        return None
    return place


def _count(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if type(value) is not int or value < 1:
        raise FileError(f"the 'cfg' of this graph file says {name} = {quoted(value)}; it is a number from 1 on")
    return value


def _score(entries: Mapping[str, Any], name: str) -> float:
    entry = entries.get(name)
    if not isinstance(entry, dict) or "score" not in entry:
        raise FileError(f"this graph file has no score of {name!r}")
    score = entry["score"]
    if type(score) not in (int, float) or not math.isfinite(score):
        raise FileError(f"this graph file gives {name!r} the score {quoted(score)}, which is no finite number")
    return float(score)
