"""Made-up cases and results: records as a run would leave them, without any model."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gaugeblock.evaluation.ranking import strengths
from gaugeblock.metrics.recovery import recovery_scores, stratum
from gaugeblock.results.files import case_path, result_path, write_json
from gaugeblock.results.records import CaseRecord, Claim, Result
from gaugeblock.running import jobs, runner


def make_case(case: str = "toy/permute+pad", layers: int = 2, heads: int = 3, n_true: int = 8) -> CaseRecord:
    """A graph of `layers` × `heads` in which random edges are true; edges from pos are ignored."""
    rng = np.random.default_rng(list(case.encode()))
    writers, edges = ["embed", "pos"], []
    for layer in range(layers):
        new = [f"a{layer}.h{h}" for h in range(heads)]
        edges += [f"{w}->{head}.{port}" for head in new for port in "qkv" for w in writers]
        writers += new
        edges += [f"{w}->m{layer}" for w in writers]
        writers.append(f"m{layer}")
    edges += [f"{w}->logits" for w in writers]
    ignored = [e for e in edges if e.startswith("pos->")]
    scored = [e for e in edges if e not in ignored]
    true = {scored[i] for i in rng.choice(len(scored), n_true, replace=False)}
    program, _, variant = case.partition("/")
    positives = [e for e in scored if e in true]
    negatives = [e for e in scored if e not in true]
    places = {stratum(e) for e in negatives}
    return CaseRecord(
        id=case,
        hash=f"hash of {case}",
        program=program,
        description=f"What {program} computes.",
        source=f"@program\ndef {program}(tokens, indices):\n    return tokens < '</script><b>'",
        variant=variant,
        seed=0,
        ablation="resample",
        vocab_size=5,
        max_len=8,
        layers=layers,
        heads=[heads] * layers,
        d_model=40,
        d_mlp=64,
        parameters=12345,
        pairs=50,
        writers=writers,
        positives=positives,
        negatives=negatives,
        ignored=ignored,
        edge_variables={e: [f"v{i}"] for i, e in enumerate(positives)},
        comparators=sum(stratum(e) in places for e in positives) / n_true if variant else 0.0,
        certified=True,
        claims=[Claim(claim="equivalence", ablation=None, ok=True, checked=1000, detail="outputs agree")],
    )


def make_result(case: CaseRecord, method: str = "mine", quality: float = 1.0, seed: int = 0, **changes: Any) -> Result:
    """The result of a method whose scores are `quality` × truth, with noise unless that is 1."""
    rng = np.random.default_rng([seed, *method.encode(), *case.id.encode()])
    true = set(case.positives)
    edges = [*case.positives, *case.negatives, *case.ignored]
    scores = {e: quality * (e in true) + float(rng.normal(0, 0.5)) * (quality < 1) for e in edges}
    scored = [*case.positives, *case.negatives]
    labels = np.array([e in true for e in scored])
    numbers = recovery_scores(strengths(scores, scored, False, 0.0), labels, [stratum(e) for e in scored])
    numbers |= {"cpr": quality, "cmd": 1 - quality, "regret": 0.0, "faithfulness_at_true_size": quality}
    fields: dict[str, Any] = {
        "status": "ok",
        "method": method,
        "method_level": "edges",
        "case": case.id,
        "case_hash": case.hash,
        "ablation": case.ablation,
        "seed": seed,
        "scores": numbers,
        "edge_scores": scores,
        "curve": [(0.0, 0.0), (1.0, 1.0)],
        "seconds": 0.5,
        "versions": {"gaugeblock": "0.1.0"},
    }
    return Result(**(fields | changes))


def make_failure(case: CaseRecord, method: str = "mine", error: str = "it broke", **changes: Any) -> Result:
    """The record of a job that raised."""
    return make_result(case, method, **({"status": "error", "error": error, "scores": {}, "edge_scores": {}} | changes))


def write_records(out: Path, *records: CaseRecord | Result) -> None:
    """Write records to where a run would."""
    for record in records:
        if isinstance(record, CaseRecord):
            write_json(case_path(out, record.id, record.ablation), record)
        else:
            write_json(result_path(out, record.method, record.case, record.ablation, record.seed), record)


@pytest.fixture
def make() -> SimpleNamespace:
    """`make.case`, `make.result`, `make.failure` and `make.write`."""
    return SimpleNamespace(case=make_case, result=make_result, failure=make_failure, write=write_records)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-ins of stand_ins.py, in place for this process."""
    spec = importlib.util.spec_from_file_location(
        "stand_ins", Path(__file__).resolve().parents[1] / "support" / "stand_ins.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in module.MODULES:
        monkeypatch.setitem(sys.modules, name, module.stand_in(name))
    monkeypatch.setattr(runner, "case_ids", list)
    monkeypatch.setattr(jobs, "is_ours", lambda case: True)
    return module
