"""What the commands share: how inputs are read, and where tables go."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaugeblock.programs.program import Program

app = typer.Typer(
    help="An interpretability benchmark built from compiled transformers with certified circuits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

if TYPE_CHECKING:
    from gaugeblock.cases.case import Case

Suites = Annotated[
    list[str] | None,
    typer.Option("--suite", "-s", help="A suite (quick, core, stress, full, season:SEED) or a case id; repeatable."),
]
Ablation = Annotated[str, typer.Option(help="What an ablated edge carries: resample, donor, mean or zero.")]


def load_case(name: str) -> "Case":
    from gaugeblock.cases.case import case

    return case(name)


def split_tokens(text: str) -> list[str]:
    """Tokens as typed: between spaces or commas where there are any, else one per character."""
    return text.replace(",", " ").split() if any(c in text.strip() for c in " ,") else list(text.strip())


def read_tokens(program: Program, text: str) -> list[Any]:
    known = {str(token): token for token in program.vocab}
    pieces = [text.strip()] if text.strip() in known else split_tokens(text)
    return program.check([known.get(piece, piece) for piece in pieces])


def console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 100)
