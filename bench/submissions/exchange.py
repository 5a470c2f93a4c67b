"""Scores of edges carried over from other tools into a results folder, and from a result to other tools."""

import json
from pathlib import Path

from gaugeblock.programs.errors import FileError, MethodError
from gaugeblock.results.files import (
    case_path,
    holds_case,
    read_result,
    result_path,
    write_json,
    write_text,
)
from gaugeblock.results.records import Result
from gaugeblock.submissions.formats import Level, read_eap_ig, to_eap_ig
from gaugeblock.submissions.manifest import IMPORTED


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
        path: a graph file of EAP-IG or MIB, see `gaugeblock.submissions.formats`.
        case: id of the case whose model the scores are of.
        method: its name on the leaderboard.
        level: what the file scores: "edges", or "nodes", which are lifted to edges.
        signed: whether the score itself ranks; otherwise |score| does.

    Raises:
        FileError: no such file, a pickle, or a file of another model.
        MethodError: the name is taken by a method of gaugeblock.
    """
    from gaugeblock.cases.case import case as load_case
    from gaugeblock.evaluation.case_record import case_record
    from gaugeblock.evaluation.entrants import entrant_names
    from gaugeblock.evaluation.evaluate import rescore
    from gaugeblock.methods.registry import lift, pool
    from gaugeblock.results.provenance import checkout, versions

    if method in entrant_names():
        raise MethodError(f"a method named {method!r} is there already; give the imported scores another name")
    built = load_case(case)
    file = result_path(out, method, built.id, ablation, seed)
    if file.exists() and (there := read_result(file).method) != method:
        raise MethodError(f"{file} is the result of {there!r}, whose name makes the same file name; use another one")
    graph = built.model.graph
    scores = read_eap_ig(path, graph, level)
    edges = scores if level == "edges" else lift(scores, graph.edges, signed)
    commit, dirty = checkout()
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
        versions=versions(),
        commit=commit,
        dirty=dirty,
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
    from gaugeblock.cases.case import case as load_case

    given, out = read_result(result), Path(out)
    built = load_case(given.case)
    graph, cfg = built.model.graph, built.model.hooked.cfg
    if set(given.edge_scores) != set(graph.edges):
        raise FileError(
            f"{result} does not score the {len(graph.edges)} edges of {built.id}, so there is nothing to write"
        )
    data = to_eap_ig(
        graph,
        given.edge_scores,
        n_layers=cfg.n_layers,
        n_heads=cfg.n_heads,
        d_model=cfg.d_model,
        circuit=given.circuit,
        nodes=given.node_scores if given.method_level == "nodes" else None,
    )
    write_text(out, json.dumps(data, indent=1) + "\n")
    return out
