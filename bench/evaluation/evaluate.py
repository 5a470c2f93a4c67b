"""One method on one case: run it, score it against the truth, and say what it cost."""

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int

from gaugeblock.evaluation.chosen_circuit import behaviour
from gaugeblock.evaluation.entrants import Entrant, MethodLike, entrant
from gaugeblock.evaluation.process_state import kept_state
from gaugeblock.evaluation.ranking import NOISE, Scored, node_stratum, noise_floor, port_stratum, strengths
from gaugeblock.evaluation.scores import METRICS_VERSION, SCORES, check_resamples
from gaugeblock.methods.registry import Attribution, pool_ports
from gaugeblock.methods.task import Task
from gaugeblock.metrics.recovery import stratum
from gaugeblock.metrics.stability import jaccard, top_k_shares
from gaugeblock.programs.errors import MethodError
from gaugeblock.results.provenance import peak_memory, stamp
from gaugeblock.results.records import Result

if TYPE_CHECKING:
    from gaugeblock.cases.case import Case

STABILITY_SHARE = 0.05  # of edges, whose agreement over resamples is the stability


def evaluate(
    method: MethodLike,
    case: "Case | str",
    ablation: str = "resample",
    seed: int = 0,
    resamples: int = 0,
    **params: Any,
) -> Result:
    """Run a method on a case and score its edges against the truth.

    |score| ranks unless the method is signed; differences below the noise floor are ties. Ignored edges are left
    out of every score, and ablated in the circuits whose faithfulness is measured. What the method changes
    in the process (working directory, torch's defaults, random generators, …) is put back.

    Args:
        method: a registered name, "file.py:function", or a function (task, **params) -> scores.
        case: a case or its id.
        ablation: what an ablated edge carries: "resample", "donor", "mean" or "zero".
        seed: for whatever the method draws at random; draws on different cases are independent of each other.
        resamples: run the method again on so many bootstrap resamples of the pairs, each with a seed of its own, and
            say how far the circuits agree; 0, or at least 2.
        params: of the method.

    Returns:
        A result of status "ok"; `gaugeblock.evaluation.scores.SCORES` says what its scores are.

    Raises:
        InputError: a number of resamples that is not possible.
        MethodError: the method failed, or returned what the protocol does not allow.
        UnknownName: no such method, case or ablation.

    >>> result = evaluate("eap", "frac_prevs@v3n4")
    >>> result.status, result.scores["auprc"]
    ('ok', 1.0)
    """
    check_resamples(resamples)
    if isinstance(case, str):
        from gaugeblock.cases.case import case as load_case

        case = load_case(case)
    task = make_task(case, ablation, seed)
    engine = task.engine
    before = engine.forwards, engine.backwards
    with kept_state(seed, *case.id.encode()):
        chosen = entrant(method)
        start = time.perf_counter()
        attribution = chosen.scores(case, task, params)
        seconds = time.perf_counter() - start
    cost = engine.forwards - before[0], engine.backwards - before[1]
    infinite = [
        name for scores in (attribution.edges, attribution.nodes) for name, s in scores.items() if not np.isfinite(s)
    ]
    if infinite:
        raise MethodError(f"method {chosen.name!r} gave {infinite[0]!r} an infinite score; scores are finite")

    scored = _score(case, task, attribution, chosen.signed)
    if resamples:
        scored["scores"] |= {"stability": _stability(chosen, case, ablation, seed, resamples, params)}
    return Result(
        status="ok",
        method=chosen.name,
        method_level=chosen.level,
        control=chosen.control,
        method_source=chosen.source,
        params=chosen.params(params),
        case=case.id,
        case_hash=case.hash,
        weights_hash=case.weights_hash,
        ablation=ablation,
        seed=seed,
        **scored,
        resamples=resamples,
        edge_scores=attribution.edges,
        node_scores=attribution.nodes,
        signed=chosen.signed,
        seconds=seconds,
        forwards=cost[0],
        backwards=cost[1],
        memory=peak_memory(),
        **stamp(),
        device=str(next(case.model.hooked.parameters()).device),
    )


def rescore(result: Result, case: "Case") -> Result:
    """Return the result with all that follows from its edge and node scores computed anew; no method runs."""
    task = make_task(case, result.ablation, result.seed)
    scored = _score(case, task, Attribution(result.edge_scores, result.node_scores), result.signed)
    scored["scores"] |= {"stability": result.scores.get("stability")}
    return result.model_copy(update=scored)


def _score(case: "Case", task: Task, attribution: Attribution, signed: bool) -> dict[str, Any]:
    """Return the fields of a result that follow from the scores of edges and nodes."""
    truth, graph = case.truth(task.ablation), case.model.graph
    relative = _relative_noise(case)
    noise = noise_floor(attribution.edges.values(), relative)
    scored = [
        (Scored.of(graph.edges, c.edges, attribution.edges, signed, noise, stratum), c) for c in truth.alternatives
    ]
    best, circuit = max(scored, key=lambda s: (s[0].recovery["skill"] or 0.0, s[0].recovery["auprc"] or 0.0))
    does = behaviour(task, best.names, best.ranks, best.labels)
    node_noise = noise_floor(attribution.nodes.values(), relative)
    nodes = Scored.of(graph.writers, circuit.nodes, attribution.nodes, signed, node_noise, node_stratum)
    into_ports = pool_ports(attribution.edges, graph, signed)
    ports = Scored.of(tuple(into_ports), circuit.ports, into_ports, signed, noise, port_stratum)
    scores = best.recovery | nodes.named("node") | ports.named("port") | does.scores | {"stability": None}
    return {
        "metrics_version": METRICS_VERSION,
        "scores": {name: scores[name] for name in SCORES},
        "pair_scores": {"faithfulness": does.per_pair},
        "noise": noise,
        "curve": does.curve,
        "pair_curve": does.pair_curve,
        "circuit": does.chosen,
    }


def _relative_noise(case: "Case") -> float:
    return NOISE[str(case.model.hooked.cfg.dtype).removeprefix("torch.")]


def _stability(
    chosen: Entrant,
    case: "Case",
    ablation: str,
    seed: int,
    resamples: int,
    params: dict[str, Any],
) -> float | None:
    """Return the mean Jaccard index of the top STABILITY_SHARE of edges on bootstrap resamples of the pairs."""
    edges = case.model.graph.edges
    circuits = []
    for i in range(1, resamples + 1):
        drawn = np.random.default_rng([seed, i]).integers(len(case.pairs), size=len(case.pairs))
        task = make_task(case, ablation, seed + i, torch.tensor(drawn))
        with kept_state(seed, i, *case.id.encode()):
            scores = chosen.scores(case, task, params).edges
        ranks = strengths(scores, edges, chosen.signed, noise_floor(scores.values(), _relative_noise(case)))
        circuits.append(top_k_shares(ranks, math.ceil(STABILITY_SHARE * len(edges))))
    return jaccard(np.array(circuits))


def make_task(case: "Case", ablation: str, seed: int, chosen: Int[torch.Tensor, " chosen"] | None = None) -> Task:
    """Return the case as a method sees it, with all pairs or the chosen ones.

    Raises UnknownName for an ablation there is none of.
    """
    model, pairs = case.model, case.pairs
    rows = torch.arange(len(pairs)) if chosen is None else chosen
    return Task.build(
        model.hooked,
        model.graph,
        pairs.clean[rows],
        pairs.corrupted[rows],
        pairs.positions[rows],
        ablation,
        numeric=pairs.numeric,
        pad_token=model.pad,
        donor_seed=pairs.donor_seed,
        seed=seed,
        stream=case.id,
    )
