"""Commands about runs and what they leave: run methods, print the leaderboard, study the metrics."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaugeblock.cli.shared import Ablation, Suites, app, console
from gaugeblock.compiled.writing import write_text

if TYPE_CHECKING:
    from gaugeblock.submissions.verification import Verification


@app.command()
def run(
    suite: Suites = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="A method's name or your file.py:function; repeatable. Default: all."),
    ] = None,
    ablation: Ablation = "resample",
    seed: Annotated[list[int] | None, typer.Option(help="Repeatable; 0 by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one per CPU core by default.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds per job.")] = None,
    resamples: Annotated[
        int, typer.Option(help="Run each method again on so many resamples of the pairs, to measure its stability.")
    ] = 0,
    backend: Annotated[str, typer.Option(help="Where jobs run: loky, threading, dask or ray.")] = "loky",
    address: Annotated[str | None, typer.Option(help="Of a Dask scheduler or a Ray cluster that is there.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda (all devices, one job each), cuda:1 or auto.")] = "cpu",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path("results"),
) -> None:
    """Run methods on cases, print the leaderboard and write its site. The same command again resumes."""
    from gaugeblock.evaluation.entrants import entrant_names
    from gaugeblock.running import runner

    results = runner.run(
        methods=method or entrant_names(),
        suite=suite or ["quick"],
        out=out,
        ablation=ablation,
        seeds=seed or [0],
        workers=workers,
        time_limit=time_limit,
        resamples=resamples,
        backend=backend,
        address=address,
        device=device,
    )
    _report([out], out / "site", said=bool(results.failed))


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A folder of results.")]) -> None:
    """Print the leaderboard of a results folder and write its site anew. Exit code 2 if a job in it failed."""
    _report([folder], folder / "site")


@app.command()
def leaderboard(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results or submissions.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the site.")] = Path("site"),
    verified: Annotated[
        list[Path] | None, typer.Option(help="What your `gaugeblock verify --json` wrote of a submission; repeatable.")
    ] = None,
) -> None:
    """Print the leaderboard of several folders and write it as a site. Exit code 2 if a job in them failed."""
    from gaugeblock.submissions.verification import read_verification

    _report(folders, out, verifications=[read_verification(path) for path in verified or ()])


@app.command()
def validity(
    folder: Annotated[Path, typer.Argument(help="A folder of results.")],
    recovery: Annotated[str, typer.Option(help="What counts as true recovery: skill or auprc.")] = "skill",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write validity.json, .md and .svg to; FOLDER if not given."),
    ] = None,
) -> None:
    """Correlate every metric that needs no ground truth with true recovery, over the methods and cases of a run."""
    from gaugeblock.leaderboard import metric_study as study
    from gaugeblock.leaderboard.metric_plot import plot

    findings = study.study(folder, recovery)
    console().print(study.table(findings, recovery))
    target = out or folder
    write_text(target / "validity.json", json.dumps(study.record(findings, recovery), indent=1) + "\n")
    write_text(target / "validity.md", study.markdown(findings, recovery))
    write_text(target / "validity.svg", str(plot(findings, recovery)))
    print(f"\n{target / 'validity.md'}\n{target / 'validity.svg'}")


def _report(
    folders: Sequence[Path], out: Path, said: bool = False, verifications: "Sequence[Verification]" = ()
) -> None:
    """Print the table and write the site; exit code 2 where a job failed, with the reason unless it is `said`."""
    from gaugeblock.leaderboard.board import read_leaderboard
    from gaugeblock.leaderboard.site.build import write_site
    from gaugeblock.leaderboard.tables import terminal_table
    from gaugeblock.results.failures import failures_text

    board = read_leaderboard(*folders, verifications=verifications)
    console().print(terminal_table(board))
    print(f"\npage: {write_site(board, out).resolve()}")
    if board.failed and not said:
        print(f"gaugeblock: {failures_text(board.failed, 'the table and the page say why')}", file=sys.stderr)
    if board.failed:
        raise typer.Exit(2)
