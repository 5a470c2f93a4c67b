"""The command line. Whatever takes long to import is imported inside the command that needs it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaugeblock.programs.errors import GaugeblockError, InputError, ProgramError, UnknownName

if TYPE_CHECKING:
    from torch import Tensor

    from gaugeblock.cases import Case
    from gaugeblock.certificate import Certificate
    from gaugeblock.compiled.model import CompiledModel
    from gaugeblock.programs.program import Program

app = typer.Typer(
    help="An interpretability benchmark built from compiled transformers with certified circuits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Suites = Annotated[
    list[str] | None, typer.Option("--suite", "-s", help="A suite (quick, core) or a case id; repeatable.")
]
Ablation = Annotated[str, typer.Option(help="What an ablated edge carries: resample, donor, mean or zero.")]


def main() -> None:
    """Entry point: an error raised on purpose becomes one message and exit code 2."""
    try:
        app()
    except GaugeblockError as e:
        print(f"gaugeblock: {e}", file=sys.stderr)
        sys.exit(2)


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
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path("results"),
) -> None:
    """Run methods on cases, print the leaderboard and write its page. The same command again resumes."""
    from gaugeblock import runner
    from gaugeblock.entrants import entrant_names

    runner.run(
        methods=method or entrant_names(),
        suite=suite or ["quick"],
        out=out,
        ablation=ablation,
        seeds=seed or [0],
        workers=workers,
        time_limit=time_limit,
        resamples=resamples,
    )
    if failed := _report(out):
        print(f"gaugeblock: {failed} jobs failed; the table and the page say why", file=sys.stderr)
        raise typer.Exit(2)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A folder of results.")]) -> None:
    """Print the leaderboard of a results folder and write its page anew."""
    _report(folder)


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
    import json

    from gaugeblock import validity as study
    from gaugeblock.results import write_text

    findings = study.study(folder, recovery)
    _console().print(study.table(findings, recovery))
    target = out or folder
    write_text(target / "validity.json", json.dumps(study.record(findings, recovery), indent=1) + "\n")
    write_text(target / "validity.md", study.markdown(findings, recovery))
    picture = study.plot(findings, recovery)
    write_text(target / "validity.svg", str(picture))
    print(f"\n{target / 'validity.md'}\n{target / 'validity.svg'}")


@app.command()
def programs(
    tag: Annotated[list[str] | None, typer.Option(help="Only programs with this tag; repeatable.")] = None,
    causal: Annotated[bool, typer.Option("--causal", help="Only programs that look at tokens so far.")] = False,
    min_layers: Annotated[int, typer.Option(help="Only programs that compile to as many layers or more.")] = 0,
) -> None:
    """List the programs."""
    from rich.table import Table
    from rich.text import Text

    from gaugeblock.programs.registry import get, names

    found = [get(name) for name in names()]
    known = {t for program in found for t in program.tags}
    wanted = {*(tag or ()), *(("causal",) if causal else ())}
    for unknown in wanted - known:
        raise UnknownName("tag", unknown, known)
    found = [program for program in found if wanted <= set(program.tags)]
    if min_layers:
        from gaugeblock.compiled.compiler import plan

        found = [program for program in found if plan(program).placed.n_layers >= min_layers]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "vocabulary", "length", "what it computes"):
        table.add_column(column, justify="right" if column == "length" else "left")
    for program in found:
        summary = program.description.partition("\n\n")[0].replace("\n", " ")
        table.add_row(program.name, Text(_vocabulary(program, 28)), str(program.max_len), Text(summary))
    _console().print(table)
    print(f"\n{len(found)} programs; tags: {', '.join(sorted(known))}")


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
    import numpy as np

    from gaugeblock.programs.registry import get

    case = _case(name) if picture is not None and set(name) & set("@/#") else None
    program = case.program if case is not None else get(name)
    given = [_tokens(program, text) for text in inputs or []]
    examples = given or sorted(program.sample(np.random.default_rng(0), 5), key=len)
    if picture is not None:
        from gaugeblock.pictures import draw

        path = out or Path(f"{program.name}-{picture}.svg")
        draw(picture, case or program, examples[len(examples) // 2], which).save(path)
        print(path)
        return
    outputs = [program(xs) for xs in examples]  # a wrong input shows before anything is compiled
    print(f"{program.name}: {program.description}\n")
    if program.source:
        print(f"{program.source}\n")
    print(f"vocabulary   {_vocabulary(program, 80)}")
    print(f"longest      {program.max_len} tokens")
    print(f"tags         {', '.join(program.tags) or 'none'}")
    print(f"domain       {program.domain.description}\n")
    for xs, output in zip(examples, outputs):
        print(f"{_shown(xs)}  ->  {_shown(output)}")
    print("\n" + str(program.explain()).partition("\n\n")[2])


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
    from gaugeblock.programs.registry import get

    program = get(name)
    tokens = None if vocab is None else [_token(program, piece) for piece in _pieces(vocab)]
    model = _compile(program.with_size(vocab=tokens, max_len=max_len), device, dtype)
    model.save(out)
    print(f"{out}: {_size(model)}")


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
    import os

    from joblib import Parallel, delayed
    from rich.text import Text

    from gaugeblock.results import certificate_path
    from gaugeblock.runner import case_ids
    from gaugeblock.truth import ABLATIONS

    ids, ablations = case_ids([*(cases or []), *(suite or [])] or ["quick"]), tuple(ablation or ABLATIONS)
    for unknown in set(ablations) - set(ABLATIONS):
        raise UnknownName("ablation", unknown, ABLATIONS)
    parallel = Parallel(n_jobs=min(len(ids), workers or os.cpu_count() or 1), batch_size=1, return_as="generator")
    console, failures = _console(), 0
    for certificate in parallel(delayed(_certified)(case, ablations) for case in ids):
        if out is not None:
            certificate.write(certificate_path(out, certificate.case, ablations))
        console.print(Text(f"{'✓' if certificate.ok else '✗'} {certificate.case}", style="bold"))
        for claim in certificate.claims:
            where = f" ({claim.ablation})" if claim.ablation else ""
            mark = "✓" if claim.ok else "✗"
            console.print(Text(f"  {mark} {claim.claim}{where}: {claim.checked:,} checks; {claim.detail}"))
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
    from gaugeblock.export import export as write

    print(write(_case(case), out))


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
    import json

    from gaugeblock.comparing import compare
    from gaugeblock.compiled.components import Mean
    from gaugeblock.compiled.swapping import swap as swapped_model
    from gaugeblock.replacements import parse_replacement
    from gaugeblock.results import write_text

    compiled, tokens = _model_and_tokens(model, data, seed)
    replacements = dict(parse_replacement(text, tokens) for text in replace)
    swapped = swapped_model(compiled, replacements)
    baseline = swapped_model(
        compiled, {site: Mean(tokens) for site in replacements if not site.endswith((".pattern", ".ov"))}
    )
    found = compare(compiled, swapped, tokens, baseline=baseline, seed=seed)
    _console().print(found.table())
    if out is not None:
        write_text(out / "comparison.json", json.dumps(found.to_dict(), indent=1) + "\n")
        found.picture().save(out / "comparison.svg")
        print(f"\n{out / 'comparison.svg'}")


@app.command()
def fuzz(
    n: Annotated[int, typer.Option("--n", "-n", help="How many programs.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the run; another one gives other programs.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    without: Annotated[list[str] | None, typer.Option(help="A construct to leave out; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the report here, as JSON.")] = None,
) -> None:
    """Compile random programs and compare them with the interpreter. Exit code 1 if one differs or crashes."""
    from gaugeblock.fuzz import fuzz as run_fuzzer
    from gaugeblock.fuzz import shown

    report = run_fuzzer(n, seed, workers=workers, without=without or (), progress=True)
    print(shown(report))
    if out is not None:
        report.save(out)
    if not report.ok:
        raise typer.Exit(1)


def _report(folder: Path) -> int:
    """Print the table, write the page, return the number of failed jobs."""
    from gaugeblock.leaderboard import read_leaderboard, terminal_table
    from gaugeblock.page import write_page

    board = read_leaderboard(folder)
    _console().print(terminal_table(board))
    print(f"\npage: {write_page(folder).resolve()}")
    return len(board.failed)


def _case(name: str) -> "Case":
    from gaugeblock.cases import case

    return case(name)


def _model_and_tokens(name: str, data: Path | None, seed: int) -> "tuple[CompiledModel, Tensor]":
    """The model of a case, a program or a folder, and token ids to compare on."""
    import numpy as np

    import gaugeblock as gb

    if Path(name).is_dir():
        compiled, clean = gb.load(name), None
    else:
        case = _case(name)
        compiled, clean = case.model, case.pairs.clean
    if data is not None:
        try:
            lines = data.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise InputError(f"cannot read inputs from {data}: {e}") from None
        clean = compiled.encode([_tokens(compiled.program, line) for line in lines if line.strip()])
    if clean is None:
        clean = compiled.encode(compiled.program.sample(np.random.default_rng(seed), 200))
    return compiled, clean


def _certified(case: str, ablations: tuple[str, ...]) -> "Certificate":
    """In a worker: one case certified, on one thread."""
    import torch

    from gaugeblock.certificate import certify as check

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return check(_case(case), ablations)
    finally:
        torch.set_num_threads(threads)


def _compile(program: "Program", device: str, dtype: str | None) -> Any:
    import torch

    import gaugeblock as gb

    if dtype not in (None, "float32", "float64"):
        raise InputError(f"dtype {dtype!r} is not possible; give float32 or float64")
    return gb.compile(program, device=device, dtype=getattr(torch, dtype) if dtype else None)


def _size(model: Any) -> str:
    cfg = model.hooked.cfg
    parameters = sum(p.numel() for p in model.hooked.parameters())
    return (
        f"layers {cfg.n_layers}, heads per layer {cfg.n_heads}, residual stream {cfg.d_model}, MLP {cfg.d_mlp or 0}, "
        f"{parameters:,} parameters, {str(cfg.dtype).removeprefix('torch.')}"
    )


def _pieces(text: str) -> list[str]:
    """Tokens as typed: between spaces or commas where there are any, else one per character."""
    return text.replace(",", " ").split() if any(c in text.strip() for c in " ,") else list(text.strip())


def _tokens(program: "Program", text: str) -> list[Any]:
    known = {str(token): token for token in program.vocab}
    pieces = [text.strip()] if text.strip() in known else _pieces(text)
    return program.check([known.get(piece, piece) for piece in pieces])


def _token(program: "Program", piece: str) -> Any:
    kind = type(program.vocab[0])
    try:
        return kind(piece)
    except (TypeError, ValueError):
        raise ProgramError(f"{piece!r} is no token for {program.name!r}: its tokens are {kind.__name__}s") from None


def _vocabulary(program: "Program", width: int) -> str:
    text = " ".join(map(str, program.vocab))
    return text if len(text) <= width else text[: width - 1] + "…"


def _shown(values: list[Any]) -> str:
    return " ".join("–" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 100)


if __name__ == "__main__":
    main()
