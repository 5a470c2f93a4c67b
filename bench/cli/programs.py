"""Commands about programs: list them, show one, compile one, try random ones."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gaugeblock.cli.shared import app, console, load_case, read_tokens, split_tokens
from gaugeblock.programs.errors import InputError, ProgramError, UnknownName
from gaugeblock.programs.program import Program
from gaugeblock.programs.registry import get, names
from gaugeblock.running.fuzz import fuzz as run_fuzzer
from gaugeblock.running.fuzz import report_text


@app.command()
def programs(
    tag: Annotated[list[str] | None, typer.Option(help="Only programs with this tag; repeatable.")] = None,
    causal: Annotated[bool, typer.Option("--causal", help="Only programs that look at tokens so far.")] = False,
    min_layers: Annotated[int, typer.Option(help="Only programs that compile to as many layers or more.")] = 0,
) -> None:
    """List the programs."""
    from rich.table import Table
    from rich.text import Text

    listed = [get(name) for name in names()]
    known = {t for program in listed for t in program.tags}
    wanted = {*(tag or ()), *(("causal",) if causal else ())}
    for unknown in wanted - known:
        raise UnknownName("tag", unknown, known)
    listed = [program for program in listed if wanted <= set(program.tags)]
    if min_layers:
        from gaugeblock.compiled.compiler import plan

        listed = [program for program in listed if plan(program).placed.n_layers >= min_layers]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "vocabulary", "length", "what it computes"):
        table.add_column(column, justify="right" if column == "length" else "left")
    for program in listed:
        summary = program.description.partition("\n\n")[0].replace("\n", " ")
        table.add_row(program.name, Text(_vocabulary(program, 28)), str(program.max_len), Text(summary))
    console().print(table)
    print(f"\n{len(listed)} programs; tags: {', '.join(sorted(known))}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A program, see `gaugeblock programs`; with --picture also a case id.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", "-i", help='Run it on this: "3 1 2" or "(())"; repeatable.')
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option(help="Draw it instead: selectors, flow, attention, circuit, stream or weights."),
    ] = None,
    which: Annotated[str | None, typer.Option(help="Of a picture: the selector, head or part to show.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The picture's file; NAME-KIND.svg if not given.")
    ] = None,
) -> None:
    """What a program computes: source, examples, values, selectors, layers and heads. Or a picture of it."""
    if picture is None and (which is not None or out is not None):
        raise InputError("--which and --out are about a picture; say --picture KIND too")
    if out is not None and out.suffix != ".svg":
        raise InputError(f"pictures are SVG; give --out a name that ends in .svg, not {str(out)!r}")
    case = load_case(name) if picture is not None and set(name) & set("@/#") else None
    program = case.program if case is not None else get(name)
    typed = [read_tokens(program, text) for text in inputs or []]
    examples = typed or sorted(program.sample(np.random.default_rng(0), 5), key=len)
    if picture is not None:
        from gaugeblock.pictures import draw

        path = out or Path(f"{program.name}-{picture}.svg")
        draw(picture, case or program, examples[len(examples) // 2], which).save(path)
        print(path)
        return
    from gaugeblock.compiled.explain import explain

    outputs = [program(xs) for xs in examples]  # a wrong input shows before anything is compiled
    print(f"{program.name}: {program.description}\n")
    if program.source:
        print(f"{program.source}\n")
    print(f"vocabulary   {_vocabulary(program, 80)}")
    print(f"longest      {program.max_len} tokens")
    print(f"tags         {', '.join(program.tags) or 'none'}")
    print(f"domain       {program.domain.description}\n")
    for xs, output in zip(examples, outputs):
        print(f"{_values_text(xs)}  ->  {_values_text(output)}")
    print("\n" + str(explain(program)).partition("\n\n")[2])


@app.command("compile")
def compile_(
    name: Annotated[str, typer.Argument(help="A program, see `gaugeblock programs`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model's files.")],
    vocab: Annotated[str | None, typer.Option(help='Tokens, such as "0 1 2 3" or "()ab".')] = None,
    max_len: Annotated[int | None, typer.Option(help="Longest input, in tokens.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str | None, typer.Option(help="float32 or float64; chosen by the margins by default.")] = None,
) -> None:
    """Compile a program to transformer weights and write them as safetensors + JSON."""
    program = get(name)
    tokens = None if vocab is None else [_token(program, piece) for piece in split_tokens(vocab)]
    model = _compile(program.with_size(vocab=tokens, max_len=max_len), device, dtype)
    model.save(out)
    print(f"{out}: {_size(model)}")


@app.command()
def fuzz(
    n: Annotated[int, typer.Option("--n", "-n", help="How many programs.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the run; another one gives other programs.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    without: Annotated[list[str] | None, typer.Option(help="A construct to leave out; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the report here, as JSON.")] = None,
) -> None:
    """Compile random programs and compare them with the interpreter. Exit code 1 if one differs or crashes."""
    if out is not None and out.is_dir():
        raise InputError(f"{out} is a folder; give --out the name of a file")
    report = run_fuzzer(n, seed, workers=workers, without=without or (), progress=True)
    print(report_text(report))
    if out is not None:
        report.save(out)
    if not report.ok:
        raise typer.Exit(1)


def _compile(program: Program, device: str, dtype: str | None) -> Any:
    import torch

    from gaugeblock.compiled.compiler import compile

    if dtype not in (None, "float32", "float64"):
        raise InputError(f"dtype {dtype!r} is not possible; give float32 or float64")
    return compile(program, device=device, dtype=getattr(torch, dtype) if dtype else None)


def _size(model: Any) -> str:
    cfg = model.hooked.cfg
    parameters = sum(p.numel() for p in model.hooked.parameters())
    return (
        f"layers {cfg.n_layers}, heads per layer {cfg.n_heads}, residual stream {cfg.d_model}, MLP {cfg.d_mlp or 0}, "
        f"{parameters:,} parameters, {str(cfg.dtype).removeprefix('torch.')}"
    )


def _token(program: Program, piece: str) -> Any:
    kind = type(program.vocab[0])
    try:
        return kind(piece)
    except (TypeError, ValueError):
        raise ProgramError(f"{piece!r} is no token for {program.name!r}: its tokens are {kind.__name__}s") from None


def _vocabulary(program: Program, width: int) -> str:
    text = " ".join(map(str, program.vocab))
    return text if len(text) <= width else text[: width - 1] + "…"


def _values_text(values: list[Any]) -> str:
    return " ".join("–" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)
