"""Commands about submissions: pack results, check somebody's, send them, carry scores from and to other tools."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from gaugeblock import submissions
from gaugeblock.cli.shared import Ablation, Suites, app, console
from gaugeblock.compiled.writing import write_text
from gaugeblock.programs.errors import InputError

Folder = Annotated[Path, typer.Argument(help="The folder of a submission.")]


@app.command()
def submit(
    method: Annotated[str, typer.Option("--method", "-m", help="A method's name or your file.py:function.")],
    suite: Suites = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the submission.")] = Path("submission"),
    ablation: Annotated[list[str] | None, typer.Option(help="Repeatable; resample by default.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Repeatable; 0 by default.")] = None,
    resamples: Annotated[int, typer.Option(help="Of the pairs, to measure stability.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; one per CPU core by default.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds per job.")] = None,
    name: Annotated[str | None, typer.Option(help="Title of the submission.")] = None,
    tuned_on: Annotated[
        list[str] | None, typer.Option(help="A public suite or case the method was tuned on; repeatable.")
    ] = None,
    notes: Annotated[str, typer.Option(help="Whatever a reader should know.")] = "",
    author: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    contact: Annotated[str, typer.Option(help="Where to ask.")] = "",
    url: Annotated[str, typer.Option(help="Of the paper or the code.")] = "",
    scores: Annotated[str, typer.Option(help="How edge scores are kept: json or safetensors.")] = "json",
    work: Annotated[Path | None, typer.Option(help="A results folder to take what is done from, and to keep.")] = None,
) -> None:
    """Run a method and pack its results into a folder that others can verify. The same command again resumes."""
    from pydantic import ValidationError

    from gaugeblock.results.files import first_problem

    if scores not in ("json", "safetensors"):
        raise InputError(f"scores as {scores!r} are not possible; give json or safetensors")
    try:
        disclosure = submissions.Disclosure(
            tuned_on=tuple(tuned_on or ()), notes=notes, authors=tuple(author or ()), contact=contact, url=url
        )
    except ValidationError as e:
        raise InputError(f"a submission cannot say so: {first_problem(e)}") from None
    print(
        submissions.submit(
            method,
            suite or ["quick"],
            out,
            ablation=ablation or ["resample"],
            seeds=seed or [0],
            resamples=resamples,
            workers=workers,
            time_limit=time_limit,
            name=name,
            disclosure=disclosure,
            scores=cast(Literal["json", "safetensors"], scores),
            work=work,
        )
    )


@app.command()
def verify(
    folder: Folder,
    suite: Annotated[
        list[str] | None, typer.Option("--suite", "-s", help="What it must be of; its manifest says by default.")
    ] = None,
    rerun: Annotated[
        str | None, typer.Option(help="Your copy of its method, file.py:function, to run a sample again with.")
    ] = None,
    rerun_own: Annotated[
        bool, typer.Option("--rerun-own", help="Run a sample with the folder's own method.py: a stranger's code.")
    ] = False,
    sample: Annotated[int, typer.Option(help="How many jobs are run again.")] = 3,
    seed: Annotated[int | None, typer.Option(help="Of the sample; secret by default.")] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="Another submission of the same board, whose name it may not pass for.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    record: Annotated[Path | None, typer.Option("--json", help="Also write what was found here.")] = None,
) -> None:
    """Check a submission; no number in it is taken on trust. Exit code 2 if it is refused."""
    verification = submissions.verify(
        folder,
        suite=suite,
        rerun=rerun,
        rerun_own=rerun_own,
        sample=sample,
        seed=seed,
        beside=beside or (),
        workers=workers,
        progress=True,
    )
    console().print(verification.table())
    if record is not None:
        write_text(record, json.dumps(verification.to_dict(), indent=1) + "\n")
    refused = [check for check in verification.checks if not check.ok]
    for check in refused:
        print(f"gaugeblock: refused: {check.claim}: {check.detail}", file=sys.stderr)
    if refused or not verification.ok:
        raise typer.Exit(2)


@app.command()
def push(
    folder: Folder,
    repo: Annotated[str, typer.Argument(help="A dataset repository, OWNER/NAME.")],
    into: Annotated[str, typer.Option(help="Folder in the repository.")] = "",
    direct: Annotated[bool, typer.Option("--direct", help="Commit, instead of opening a pull request.")] = False,
) -> None:
    """Send a submission to a dataset repository of the Hugging Face hub."""
    print(submissions.push(folder, repo, into=into, create_pr=not direct))


@app.command("import-scores")
def import_scores(
    file: Annotated[Path, typer.Argument(help="A graph file of EAP-IG, or importances of MIB, as JSON.")],
    case: Annotated[str, typer.Option(help="The id of the case it is of.")],
    method: Annotated[str, typer.Option("--method", "-m", help="The name to list it under.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of results.")] = Path("results"),
    ablation: Ablation = "resample",
    seed: Annotated[int, typer.Option(help="Of the method.")] = 0,
    level: Annotated[str, typer.Option(help="What the file scores: edges or nodes.")] = "edges",
    signed: Annotated[bool, typer.Option("--signed", help="The score ranks, not its size.")] = False,
) -> None:
    """Score a graph file of EAP-IG or MIB and write it to a results folder."""
    from gaugeblock.submissions import exchange

    if level not in ("edges", "nodes"):
        raise InputError(f"level {level!r} is not possible; give edges or nodes")
    result = exchange.import_scores(
        file,
        case,
        method,
        out,
        ablation=ablation,
        seed=seed,
        level=cast(Literal["edges", "nodes"], level),
        signed=signed,
    )
    print(f"{out}: skill {result.scores['skill']}, AUPRC {result.scores['auprc']}")


@app.command("export-scores")
def export_scores(
    result: Annotated[Path, typer.Argument(help="A result file of a run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("importances.json"),
) -> None:
    """Write the edge scores of a result as a graph file of EAP-IG and MIB."""
    from gaugeblock.submissions import exchange

    print(exchange.export_scores(result, out))
