"""Commands about cases and models: certify, export, replace parts."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from gaugeblock.cli.shared import Suites, app, console, load_case, read_tokens
from gaugeblock.compiled.writing import write_text
from gaugeblock.programs.errors import InputError
from gaugeblock.running.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor

    from gaugeblock.cases.certificate import Certificate
    from gaugeblock.compiled.model import CompiledModel


@app.command()
def certify(
    cases: Annotated[list[str] | None, typer.Argument(help="Case ids.")] = None,
    suite: Suites = None,
    ablation: Annotated[list[str] | None, typer.Option(help="Repeatable; all by default.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one per CPU core by default.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write the certificates to, as JSON.")
    ] = None,
) -> None:
    """Check the certificates of cases anew. Exit code 1 if a claim fails."""
    from joblib import Parallel, delayed
    from rich.text import Text

    from gaugeblock.cases.truth import ABLATIONS
    from gaugeblock.methods.engine.ablation import check_ablation
    from gaugeblock.results.files import certificate_path
    from gaugeblock.suites.suites import case_ids

    ids, ablations = case_ids([*(cases or []), *(suite or [])] or ["quick"]), tuple(ablation or ABLATIONS)
    for name in ablations:
        check_ablation(name)
    parallel = Parallel(n_jobs=min(len(ids), workers or os.cpu_count() or 1), batch_size=1, return_as="generator")
    screen, failures = console(), 0
    for certificate in parallel(delayed(_certified)(case, ablations) for case in ids):
        if out is not None:
            certificate.write(certificate_path(out, certificate.case, ablations))
        screen.print(Text(f"{'✓' if certificate.ok else '✗'} {certificate.case}", style="bold"))
        for claim in certificate.claims:
            where = f" ({claim.ablation})" if claim.ablation else ""
            mark = "✓" if claim.ok else "✗"
            screen.print(Text(f"  {mark} {claim.claim}{where}: {claim.checked:,} checks; {claim.detail}"))
        failures += not certificate.ok
    if failures:
        print(f"gaugeblock: {failures} certificates fail", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def export(
    case: Annotated[str, typer.Argument(help="A case id.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
) -> None:
    """Write a case as a folder that needs nothing of this library: weights, pairs, truth, certificate."""
    from gaugeblock.cases.export import export as write

    print(write(load_case(case), out))


@app.command()
def swap(
    model: Annotated[str, typer.Argument(help="A case id, a program, or the folder of a saved model.")],
    replace: Annotated[
        list[str],
        typer.Option(
            "--replace",
            "-r",
            help="SITE=COMPONENT, such as a1.h0=prev_token, m0=zero or m0=my.py:function; repeatable.",
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help='Inputs to compare on, one per line: "3 1 2". Else a case\'s, or drawn ones.')
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the inputs that are drawn.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write comparison.json and comparison.svg to.")
    ] = None,
) -> None:
    """Replace parts of a model and say what is lost."""
    from gaugeblock.comparison.compare import compare
    from gaugeblock.comparison.replacements import parse_replacement
    from gaugeblock.compiled.swapping.components import Mean
    from gaugeblock.compiled.swapping.swap import swap as swapped_model

    compiled, tokens = _model_and_tokens(model, data, seed)
    parsed = [parse_replacement(text, tokens) for text in replace]
    replacements = dict(parsed)
    if len(replacements) < len(parsed):
        raise InputError(f"a part is replaced twice in {', '.join(replace)}; give each one replacement")
    swapped = swapped_model(compiled, replacements)
    baseline = swapped_model(
        compiled, {site: Mean(tokens) for site in replacements if not site.endswith((".pattern", ".ov"))}
    )
    comparison = compare(compiled, swapped, tokens, baseline=baseline, seed=seed)
    console().print(comparison.table())
    if out is not None:
        write_text(out / "comparison.json", json.dumps(comparison.to_dict(), indent=1) + "\n")
        comparison.picture().save(out / "comparison.svg")
        print(f"\n{out / 'comparison.svg'}")


def _certified(case: str, ablations: tuple[str, ...]) -> "Certificate":
    """Certify one case in a worker, on one thread."""
    with one_thread():
        return load_case(case).certify(ablations)


def _model_and_tokens(name: str, data: Path | None, seed: int) -> "tuple[CompiledModel, Tensor]":
    """The model of a case, a program or a folder, and token ids to compare on."""
    from gaugeblock.compiled.loading import load

    if Path(name).is_dir():
        compiled, clean = load(name), None
    else:
        case = load_case(name)
        compiled, clean = case.model, case.pairs.clean
    if data is not None:
        try:
            lines = data.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise InputError(f"cannot read inputs from {data}: {e}") from None
        clean = compiled.encode([read_tokens(compiled.program, line) for line in lines if line.strip()])
    if clean is None:
        clean = compiled.encode(compiled.program.sample(np.random.default_rng(seed), 200))
    return compiled, clean
