"""What a results folder keeps of a case."""

from dataclasses import asdict

from gaugeblock.cases.case import Case
from gaugeblock.cases.certificate import Certificate
from gaugeblock.compiled.variants.registry import VARIANTS
from gaugeblock.metrics.recovery import stratum
from gaugeblock.results.records import CaseRecord, Claim

RARE = 0.05  # share of pairs on which an edge matters
DEEP = 4  # layers


def case_record(case: Case, ablation: str, certificate: Certificate) -> CaseRecord:
    """What a results folder keeps of a case under an ablation, and what its certificate says."""
    model, truth, program = case.model, case.truth(ablation), case.program
    graph, cfg = model.graph, model.hooked.cfg
    order = graph.edge_index.__getitem__
    positives, negatives = sorted(truth.positives, key=order), sorted(truth.negatives, key=order)
    compared = {stratum(edge) for edge in negatives}
    return CaseRecord(
        id=case.id,
        hash=case.hash,
        weights_hash=case.weights_hash,
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
        modes=failure_modes(case, ablation),
        comparators=sum(stratum(edge) in compared for edge in positives) / len(positives) if positives else 0.0,
        certified=certificate.ok,
        claims=[Claim(**asdict(claim)) for claim in certificate.claims],
    )


def failure_modes(case: Case, ablation: str) -> list[str]:
    """What can make a case hard for methods, read off its variants and its truth.

    saturated, soft: attention and steps without gradients, and with them. camouflage, decoy: parts that look live,
    another program beside it. joint: edges that matter only together. cancelling: nodes whose edges cancel. rare: an
    edge that matters on less than 5 % of pairs. deep: four layers or more. numeric: a number as output.
    """
    truth, variants = case.truth(ablation), case.recipe.variants
    modes = {
        "saturated": case.model.sharpness is None,
        **{row.failure_mode: name in variants for name, row in VARIANTS.items() if row.failure_mode},
        "joint": bool(truth.joint),
        "cancelling": bool(truth.cancelling),
        "rare": any(w.kappa < RARE for w in truth.witnesses.values()),
        "deep": case.model.hooked.cfg.n_layers >= DEEP,
        "numeric": truth.numeric,
    }
    return [mode for mode, present in modes.items() if present]
