"""One method on one case: run it, score it against the truth, and say what it cost."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float

from gaugeblock.certificate import Certificate
from gaugeblock.entrants import Given, entrant
from gaugeblock.environment import checkout, peak_memory, versions
from gaugeblock.levels import Classes
from gaugeblock.methods.task import Task
from gaugeblock.metrics.faithfulness import SIZES, cmd, cpr, faithfulness_curve, regret
from gaugeblock.metrics.recovery import stratum
from gaugeblock.programs.errors import MethodError
from gaugeblock.results import CaseRecord, Claim, Result
from gaugeblock.scoring import NOISE, noise_floor, recovery_scores, strengths

if TYPE_CHECKING:
    from gaugeblock.cases import Case

CHANGE = 1e-4  # of a graded logit, relative to the largest: far above rounding, far below another answer


def evaluate(
    method: Given,
    case: "Case | str",
    ablation: str = "resample",
    seed: int = 0,
    **params: Any,
) -> Result:
    """Run a method on a case and score its edges against the truth.

    |score| ranks unless the method is signed; differences below the noise floor are ties. Ignored edges are left
    out of every score, and ablated in the circuits whose faithfulness is measured.

    Args:
        method: a registered name, "file.py:function", or a function (task, **params) -> scores.
        case: a case or its id.
        ablation: what an ablated edge carries: "resample", "donor", "mean" or "zero".
        seed: for whatever the method draws at random.
        params: of the method.

    Returns:
        A result of status "ok"; `gaugeblock.scoring.SCORES` says what its scores are.

    Raises:
        MethodError: the method failed, or returned what the protocol does not allow.
        UnknownName: no such method, case or ablation.
    """
    if isinstance(case, str):
        from gaugeblock.cases import case as load_case

        case = load_case(case)
    chosen = entrant(method)
    truth = case.truth(ablation)
    task = make_task(case, ablation, seed)
    forwards = task.engine.forwards
    start = time.perf_counter()
    edge_scores = chosen.scores(case, task, params)
    seconds = time.perf_counter() - start
    forwards = task.engine.forwards - forwards
    infinite = [edge for edge, score in edge_scores.items() if not np.isfinite(score)]
    if infinite:
        raise MethodError(f"method {chosen.name!r} gave {infinite[0]!r} an infinite score; scores are finite")

    dtype = str(case.model.hooked.cfg.dtype).removeprefix("torch.")
    noise = noise_floor(edge_scores.values(), NOISE[dtype])
    scored = [_Scored.of(case.model.graph.edges, c, edge_scores, chosen.signed, noise) for c in truth.alternatives]
    best = max(scored, key=lambda s: (s.recovery["skill"] or 0.0, s.recovery["auprc"] or 0.0))
    edges, ranks, labels = best.edges, best.ranks, best.labels
    faithfulness, per_pair, curve = _faithfulness(task, edges, ranks, labels)
    commit, dirty = checkout()
    return Result(
        status="ok",
        method=chosen.name,
        method_level=chosen.level,
        control=chosen.control,
        method_source=chosen.source,
        params=chosen.params(params),
        case=case.id,
        case_hash=case.hash,
        ablation=ablation,
        seed=seed,
        scores=best.recovery | faithfulness,
        pair_scores={"faithfulness": per_pair},
        edge_scores=edge_scores,
        signed=chosen.signed,
        noise=noise,
        curve=curve,
        seconds=seconds,
        forwards=forwards,
        memory=peak_memory(),
        versions=versions(),
        commit=commit,
        dirty=dirty,
        device=str(next(case.model.hooked.parameters()).device),
    )


@final
@dataclass(frozen=True)
class _Scored:
    """A method's scores beside one reading of the truth."""

    edges: list[str]
    labels: Bool[np.ndarray, "edges"]
    ranks: Float[np.ndarray, "edges"]
    recovery: dict[str, float | None]

    @staticmethod
    def of(
        graph_edges: Sequence[str], classes: Classes, scores: Mapping[str, float], signed: bool, noise: float
    ) -> "_Scored":
        edges = [e for e in graph_edges if e in classes.positives or e in classes.negatives]
        labels = np.array([e in classes.positives for e in edges], dtype=bool)
        ranks = strengths(scores, edges, signed, noise)
        return _Scored(edges, labels, ranks, recovery_scores(ranks, labels, edges))


def _faithfulness(
    task: Task, edges: Sequence[str], ranks: Float[np.ndarray, "edges"], labels: Bool[np.ndarray, "edges"]
) -> tuple[dict[str, float | None], list[float | None], list[tuple[float, float | None]]]:
    """What circuits of top-ranked edges do: scores, per-pair faithfulness at the true size, and the curve."""
    names = ("cpr", "cmd", "regret", "faithfulness_at_true_size")
    if not labels.any():
        return dict.fromkeys(names), [], []
    run = _circuit_runner(task, edges)
    changed = _changed_pairs(task)
    size = [float(labels.mean())]
    whole = faithfulness_curve(run, ranks, SIZES, changed=changed)
    found = faithfulness_curve(run, ranks, size, changed=changed)
    true = faithfulness_curve(run, labels.astype(np.float64), size, changed=changed)
    scores = (
        cpr(whole.fractions, whole.f),
        cmd(whole.fractions, whole.f),
        regret(float(true.f[1]), float(found.f[1])),
        float(found.f[1]),
    )
    span = found.full - found.values[0]
    differing = np.abs(span) > 1e-5 * (1 + np.abs(found.values).max())
    per_pair = np.full(len(span), np.nan)
    np.divide(found.values[1] - found.values[0], span, out=per_pair, where=differing)
    curve = list(zip(whole.fractions.tolist(), whole.f.tolist()))
    return dict(zip(names, scores)), per_pair.tolist(), curve


def _circuit_runner(task: Task, edges: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
    """Masks over `edges` -> the task's metric per circuit and pair; every edge outside `edges` is ablated."""
    columns = torch.tensor(task.graph.indices(edges))

    def run(masks: np.ndarray) -> np.ndarray:
        full = torch.zeros(len(masks), len(task.graph.edges))
        full[:, columns] = torch.tensor(masks).to(full.dtype)
        return task.engine.measure(full.to(task.clean.device), task.metric).double().cpu().numpy()

    return run


def _changed_pairs(task: Task) -> Bool[np.ndarray, "pairs"]:
    """The pairs in which ablating everything changes what the model says at a graded position."""
    with torch.no_grad():
        ablated = task.engine.forward(torch.zeros(1, len(task.graph.edges)))[0]
    clean = task.engine.clean_logits
    moved = (ablated - clean).abs().amax(-1) > CHANGE * (1 + clean.abs().max())
    return (moved & task.positions).any(-1).cpu().numpy()


def make_task(case: "Case", ablation: str, seed: int) -> Task:
    """The case as a method sees it. Raises UnknownName for an ablation there is none of."""
    model, pairs = case.model, case.pairs
    return Task.build(
        model.hooked,
        model.graph,
        pairs.clean,
        pairs.corrupted,
        pairs.positions,
        ablation,
        numeric=pairs.numeric,
        pad_token=model.pad,
        donor_seed=pairs.donor_seed,
        seed=seed,
    )


def case_record(case: "Case", ablation: str, certificate: Certificate) -> CaseRecord:
    """What a results folder keeps of a case under an ablation, and what its certificate says."""
    model, truth, program = case.model, case.truth(ablation), case.program
    graph, cfg = model.graph, model.hooked.cfg
    order = graph.edge_index.__getitem__
    positives, negatives = sorted(truth.positives, key=order), sorted(truth.negatives, key=order)
    compared = {stratum(edge) for edge in negatives}
    return CaseRecord(
        id=case.id,
        hash=case.hash,
        program=program.name,
        description=program.description,
        source=program.source,
        variant="+".join(case.recipe.variants),
        seed=case.recipe.seed,
        ablation=ablation,
        vocab_size=len(program.vocab),
        max_len=program.max_len,
        layers=cfg.n_layers,
        heads=[len(graph.heads(layer)) for layer in range(cfg.n_layers)],
        d_model=cfg.d_model,
        d_mlp=cfg.d_mlp or 0,
        parameters=sum(p.numel() for p in model.hooked.parameters()),
        pairs=len(case.pairs),
        writers=list(graph.writers),
        positives=positives,
        negatives=negatives,
        ignored=sorted(truth.ignored, key=order),
        edge_variables={
            edge: list(dict.fromkeys(variable for _, _, variable in truth.reads[edge]))
            for edge in positives
            if edge in truth.reads
        },
        comparators=sum(stratum(edge) in compared for edge in positives) / len(positives) if positives else 0.0,
        certified=certificate.ok,
        claims=[Claim(**asdict(claim)) for claim in certificate.claims],
    )
