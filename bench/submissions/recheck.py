"""What a submission says of one case, against the case itself, which is built anew."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from gaugeblock.cases.case import Case
from gaugeblock.cases.case import case as load_case
from gaugeblock.cases.certificate import Certificate
from gaugeblock.evaluation.case_record import case_record
from gaugeblock.evaluation.evaluate import evaluate, rescore
from gaugeblock.evaluation.scores import METRICS_VERSION
from gaugeblock.methods.registry import lift, pool
from gaugeblock.results.records import CaseRecord, Result
from gaugeblock.results.untrusted import quoted
from gaugeblock.running.threads import one_thread
from gaugeblock.submissions.tolerances import RERUN, RERUN_SCORES, differences, largest_difference

AGAIN = ("skill", "node_skill", "auprc")
"""Scores that a second run has to give too: a method with one huge edge hides other ranks of all small ones."""
CLAIMS = ("cases", "versions", "scores", "re-run")


@final
@dataclass(frozen=True)
class CaseCheck:
    """All that is said of one case, which one worker checks.

    Attributes:
        cases: the records of one case, one per ablation.
        again: which of the results are to be run again.
        method: what to run them with; None where none is.
    """

    cases: tuple[CaseRecord, ...]
    results: tuple[Result, ...]
    again: tuple[int, ...]
    method: Any


@final
@dataclass
class Findings:
    """Per claim what is wrong, and how much was looked at. `furthest` is of edge scores in runs made again."""

    seen: int = 0  # cases

    problems: dict[str, list[str]] = field(default_factory=lambda: {claim: [] for claim in CLAIMS})
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLAIMS, 0))
    furthest: float = 0.0

    def add(self, other: "Findings") -> None:
        for claim in CLAIMS:
            self.problems[claim] += other.problems[claim]
            self.counts[claim] += other.counts[claim]
        self.seen += 1
        self.furthest = max(self.furthest, other.furthest)


def check_case(part: CaseCheck) -> Findings:
    """Build the case of a part and check all that is said of it, on one thread. Never raises for what it reads."""
    findings = Findings()
    with one_thread():
        try:
            case = load_case(part.cases[0].id)
            for record in part.cases:
                findings.counts["cases"] += 1
                findings.problems["cases"] += _case_problems(record, case)
            for i, result in enumerate(part.results):
                _check_result(result, case, findings)
                if i in part.again:
                    _run_again(result, case, part.method, findings)
        except Exception as error:
            findings.problems["cases"].append(f"{part.cases[0].id}: {type(error).__name__}: {error}")
    return findings


def _case_problems(record: CaseRecord, case: Case) -> list[str]:
    """What a case's record says otherwise than the case, its certificate and pictures aside."""
    where = f"{record.id} ({record.ablation})"
    if record.hash != case.hash:
        return [
            f"{where}: another version of the case, with hash {quoted(record.hash)}; this gaugeblock builds {case.hash}"
        ]
    ours = case_record(case, record.ablation, Certificate(case.id, case.hash, (record.ablation,), ()))
    apart = {"certified", "claims", "pictures"}
    said, right = record.model_dump(mode="json", exclude=apart), ours.model_dump(mode="json", exclude=apart)
    wrong = [name for name in right if said[name] != right[name]]
    problems = [f"{where}: {name} is {quoted(said[name])} and should be {quoted(right[name])}" for name in wrong]
    if record.certified != (bool(record.claims) and all(claim.ok for claim in record.claims)):
        problems.append(f"{where}: its claims do not add up to certified={record.certified}")
    if record.pictures:
        problems.append(f"{where}: it names pictures, and a submission holds none")
    return problems


def _check_result(result: Result, case: Case, findings: Findings) -> None:
    """Add what is wrong with the versions and the scores of a result."""
    where = f"{result.case} ({result.ablation}, seed {result.seed})"
    if result.status != "ok":
        if result.case_hash not in (None, case.hash):
            findings.problems["versions"].append(f"{where}: failed on another version of the case")
        return
    findings.counts["versions"] += 1
    for name, said, right in (
        ("case hash", result.case_hash, case.hash),
        ("weights hash", result.weights_hash, case.weights_hash),
        ("version of the metrics", result.metrics_version, METRICS_VERSION),
    ):
        if said != right:
            findings.problems["versions"].append(
                f"{where}: {name} is {quoted(said)}; this gaugeblock has {quoted(right)}"
            )
    if result.case_hash != case.hash:
        return
    wrong = _names_problems(result, case)
    findings.counts["scores"] += 1
    findings.problems["scores"] += [
        f"{where}: {problem}" for problem in wrong or differences(result, rescore(result, case))
    ]


def _names_problems(result: Result, case: Case) -> list[str]:
    """What is wrong with the method's own scores: names, and whether those of nodes follow from those of edges."""
    graph = case.model.graph
    for kind, scores, names in (
        ("edges", result.edge_scores, graph.edges),
        ("nodes", result.node_scores, graph.writers),
    ):
        if odd := sorted(set(scores) ^ set(names)):
            return [f"it scores other {kind} than the {len(names)} of the case; {quoted(odd[0])} is extra or missing"]
    if result.method_level == "nodes":
        follows = result.edge_scores == lift(result.node_scores, graph.edges, result.signed)
    else:
        follows = result.node_scores == pool(result.edge_scores, graph, result.signed)
    return [] if follows else ["scores of edges and of nodes do not follow from one another"]


def _run_again(result: Result, case: Case, method: Any, findings: Findings) -> None:
    """Run the method again, which runs its code, and compare what it says of the edges."""
    where = f"{result.case} ({result.ablation}, seed {result.seed})"
    findings.counts["re-run"] += 1
    try:
        again = evaluate(method, case, ablation=result.ablation, seed=result.seed)
    except Exception as error:
        findings.problems["re-run"].append(f"{where}: {type(error).__name__}: {error}")
        return
    if set(again.edge_scores) != set(result.edge_scores):
        return  # said already
    furthest = largest_difference(result.edge_scores, again.edge_scores)
    findings.furthest = max(findings.furthest, furthest)
    if furthest > RERUN:
        problem = f"the method now gives other scores, by {furthest:.1%} of the largest"
        findings.problems["re-run"].append(f"{where}: {problem}")
    for name in AGAIN:
        here, there = again.scores[name], result.scores.get(name)
        if not RERUN_SCORES.agree(here, there):
            findings.problems["re-run"].append(f"{where}: {name} is now {here}; submitted was {there}")
    for name in ("signed", "method_level", "control", "method_source"):
        if getattr(again, name) != getattr(result, name):
            findings.problems["re-run"].append(f"{where}: {name} is now {getattr(again, name)!r}")
    if again.model_dump(mode="json")["params"] != result.params:
        findings.problems["re-run"].append(f"{where}: its parameters are now {quoted(again.params)}")


def case_checks(
    cases: Sequence[CaseRecord], results: Sequence[Result], again: Collection[int], method: Any
) -> list[CaseCheck]:
    """One check per case, so that each is built once; `again` holds indices of results."""
    checks = []
    for name in dict.fromkeys(case.id for case in cases):
        chosen = [i for i, result in enumerate(results) if result.case == name]
        checks.append(
            CaseCheck(
                tuple(case for case in cases if case.id == name),
                tuple(results[i] for i in chosen),
                tuple(place for place, i in enumerate(chosen) if i in again),
                method,
            )
        )
    return checks
