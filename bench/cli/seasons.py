"""Commands about seasons: draw a seed, commit to it, build the cases, and check what others reveal."""

from pathlib import Path
from typing import Annotated

import typer

from gaugeblock.cli.shared import app

season = typer.Typer(help="Hidden suites: commit to a seed, later reveal it.", no_args_is_help=True)
app.add_typer(season, name="season")

SeedFile = Annotated[Path, typer.Option(help="File that holds the seed of the season.")]
Cases = Annotated[int, typer.Option(help="Cases of the season.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]


@season.command()
def seed(out: Annotated[Path, typer.Option("--out", "-o", help="File to write; it must not exist.")]) -> None:
    """Draw a secret seed."""
    from gaugeblock.suites.season_files import draw_seed

    draw_seed(out)
    print(f"{out}: keep it secret until the season is over")


@season.command()
def commit(
    seed_file: SeedFile,
    cases: Cases = 20,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the commitment.")] = Path("commitment.json"),
) -> None:
    """Write the commitment to a seed, to be published: it binds seed and code, and does not give the seed away."""
    from gaugeblock.suites import season_files

    made = season_files.commit(season_files.read_seed(seed_file), cases)
    season_files.write(out, made)
    print(f"{out}: {made.sha256}")


@season.command()
def build(
    seed_file: SeedFile,
    cases: Cases = 20,
    workers: Workers = 1,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the record.")] = Path("season.json"),
) -> None:
    """Make every case and write its hash to the record of the season, which stays secret until the seed is revealed."""
    from gaugeblock.suites import season_files

    record = season_files.build(season_files.read_seed(seed_file), cases, workers)
    season_files.write(out, record)
    print(f"{out}: {len(record.cases)} cases of {record.candidates} candidates")
    for reason, count in record.rejected.items():
        print(f"rejected {count}: {reason}")


@season.command()
def reveal(
    seed_file: SeedFile,
    commitment: Annotated[Path, typer.Option(help="The commitment that was published.")],
    record: Annotated[Path | None, typer.Option(help="The record of the season, to compare cases with.")] = None,
    check: Annotated[int | None, typer.Option(min=1, help="How many cases to build anew; all by default.")] = None,
    workers: Workers = 1,
) -> None:
    """Check a seed against its commitment, list the cases, and build them anew. Exit code 1 if one differs."""
    from gaugeblock.suites import season_files

    known = None if record is None else season_files.read_record(record)
    outcome = season_files.reveal(
        season_files.read_seed(seed_file), season_files.read_commitment(commitment), known, check, workers
    )
    print("the seed is the one that was committed to")
    for name, (there, here) in outcome.others.items():
        print(f"another version of {name}: {there} there, {here} here")
    for case_id in outcome.cases:
        mark = "differs" if case_id in outcome.differing else "same" if case_id in outcome.rebuilt else "not built"
        print(f"{case_id}: {mark}")
    if not outcome.ok:
        print(f"{len(outcome.differing)} of {len(outcome.rebuilt)} cases that were built are others than in the record")
        raise typer.Exit(1)
