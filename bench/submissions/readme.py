"""What a submission shows at first sight: a README, which is the card of a Hugging Face dataset too, and a table."""

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from statistics import fmean
from typing import Any

from gaugeblock.evaluation.scores import SCORES, scores_of
from gaugeblock.results.records import CaseRecord, Result
from gaugeblock.submissions.manifest import Manifest

MAX_FAILURES = 20  # in the README; all of them stand in the table


def table(results: Sequence[Result], cases: Sequence[CaseRecord]) -> str:
    """`scores.jsonl`: one line per result, every line with the same keys."""
    by_key = {(case.id, case.ablation): case for case in cases}
    lines = [_line(result, by_key[result.case, result.ablation]) for result in results]
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)


def _line(result: Result, case: CaseRecord) -> dict[str, Any]:
    return {
        "method": result.method,
        "case": result.case,
        "program": case.program,
        "variant": case.variant,
        "ablation": result.ablation,
        "seed": result.seed,
        "status": result.status,
        "error": result.error,
        **{name: result.scores.get(name) for name in SCORES},
        "seconds": result.seconds,
        "forwards": result.forwards,
        "backwards": result.backwards,
        "memory": result.memory,
    }


def readme(manifest: Manifest, results: Sequence[Result]) -> str:
    """`README.md`. Whatever the submitter wrote stands in it as plain text."""
    done = [result for result in results if result.status == "ok"]
    failed = [result for result in results if result.status != "ok"]
    disclosure = manifest.disclosure
    about = {
        "By": ", ".join(disclosure.authors),
        "Contact": disclosure.contact,
        "More": disclosure.url,
        "Notes": disclosure.notes,
    }
    lines = [
        f"{escaped(result.case)} ({result.ablation}, seed {result.seed}): {escaped(_failure(result))}"
        for result in failed
    ]
    more = [f"and {len(lines) - MAX_FAILURES} more, see `scores.jsonl`"] if len(lines) > MAX_FAILURES else []
    files_ = {
        "`method.py`": "the method's code" if manifest.function is not None else "",
        "`edge_scores/`": "the scores of edges and nodes, as safetensors" if manifest.scores == "safetensors" else "",
    }
    template = files("gaugeblock.submissions").joinpath("templates/submission.md").read_text(encoding="utf-8")
    return template.format(
        pretty_name=json.dumps(manifest.name, ensure_ascii=False),
        title=escaped(manifest.name),
        method=escaped(manifest.method),
        suite=", ".join(map(escaped, manifest.suite)),
        cases=len(manifest.cases),
        jobs=len(results),
        done=len(done),
        failed=len(failed),
        ablations=", ".join(manifest.ablations),
        seeds=", ".join(map(str, manifest.seeds)),
        gaugeblock=escaped(manifest.gaugeblock),
        created=manifest.created,
        means="\n".join(f"| {score.label} | {_mean(done, score.name)} |" for score in scores_of("card")),
        tuned_on=", ".join(map(escaped, disclosure.tuned_on)) or "none of the public cases, says the submitter",
        about="".join(f"{label}: {escaped(text)}\n\n" for label, text in about.items() if text),
        failures="".join(f"- {line}\n" for line in ["Failed:", *lines[:MAX_FAILURES], *more]) + "\n" if lines else "",
        more_files="".join(f"| {name} | {text} |\n" for name, text in files_.items() if text),
    )


def escaped(text: str) -> str:
    """Text as Markdown that shows it on one line, and nothing else: every mark of Markdown and HTML is escaped.

    >>> print(escaped("<b>a_b"))
    \\<b\\>a\\_b
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def _failure(result: Result) -> str:
    return f"{result.status}: {result.error or ''}"[:200]


def _mean(results: Sequence[Result], name: str) -> str:
    values = [value for result in results if (value := result.scores.get(name)) is not None]
    try:
        return f"{fmean(values):.3f}" if values else "–"
    except OverflowError:  # of what somebody made up
        return "–"
