"""The table of the library: `python docs/scripts/make_library.py` writes docs/programs/library.md in half a minute.

Compile times are CPU time of one thread, once, with everything imported; all else is the same on every machine. With
`--keep`, rows that are there already stay as they are, and only programs that are new or stated differently compile.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch

import gaugeblock as gb
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.programs import Program, get
from gaugeblock.programs.analysis.depth import rasp_depth
from gaugeblock.programs.library import TOPICS

PAGE = Path(__file__).parents[1] / "programs" / "library.md"

COLUMNS = (
    "program",
    "what it computes",
    "tags",
    "tokens × length",
    "layers",
    "heads in each",
    "d_model",
    "d_mlp",
    "parameters",
    "causal",
    "compile, ms",
)

LONGER_SUM = 19
"""Tokens of a second, longer sum."""

HEAD = """# The library

{count} programs. {collected} of them, some with other arguments or another alphabet, can also be had under the {ids}
ids of published collections, such as `gb.programs.get("rasp.sort_int")`. `gaugeblock programs` lists and filters them,
`gaugeblock show NAME` explains one: source, examples, values, selectors, layers and heads.

All compile at their default size (tokens in the vocabulary × longest input) to what stands here. Written by
`python docs/scripts/make_library.py`; times are CPU milliseconds of one thread, on one machine.
"""

LONG_PROGRAMS = """## The long programs of RASP

Both compile.

- `rover`, the rules about elements and sets of Weiss, Goldberg and Yahav (2021), whose own version has 16 layers, has
  {rasp} as it is written here, as RASP counts them, and compiles to {layers}. With two names of each kind, as `rover`,
  it has {parameters} parameters; with the three of the original, as `rasp.rover`, {original}.
- `rasp.long_addition` is `add`: {add_rasp} layers as RASP counts them, {add_layers} compiled; {add} parameters for
  {add_length} tokens, {longer} for {longer_length}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--keep", action="store_true", help="compile only what the page does not have yet")
    old = PAGE.read_text(encoding="utf-8") if parser.parse_args().keep else ""
    torch.set_num_threads(1)
    gb.compile(get("hist")).hooked  # noqa: B018  imports
    programs = [program for module in TOPICS for program in module.PROGRAMS]
    base = {program.name.partition("(")[0] for m in TOPICS for program, _ in m.COLLECTED.values()}
    ids = sum(len(module.COLLECTED) for module in TOPICS)
    collected = len(base & {program.name for program in programs})
    parts = [HEAD.format(count=len(programs), collected=collected, ids=ids)]
    parts += [section(module, old.splitlines()) for module in TOPICS]
    _, title, kept = old.partition(LONG_PROGRAMS.partition("\n")[0])
    PAGE.write_text("\n".join([*parts, title + kept or long_programs()]), encoding="utf-8")
    print(PAGE)


def section(module: ModuleType, old: Sequence[str]) -> str:
    """What a module of the library teaches, and its programs: the old lines of those that have one."""
    title = module.__name__.rpartition(".")[2].replace("_", " ").capitalize()
    rows = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for program in module.PROGRAMS:
        kept = next((line for line in old if line.startswith(f"| {' | '.join(stated(program))} | ")), None)
        rows.append(kept or "| " + " | ".join(row(program)) + " |")
    about = str(module.__doc__).strip()
    return f"## {title}\n\n{about}\n\n" + "\n".join(rows) + "\n\n" + published(module)


def stated(program: Program) -> tuple[str, ...]:
    """A program's entries for the first of COLUMNS, which are known before it is compiled."""
    return (
        f"`{program.name}`",
        " ".join(program.description.partition("\n\n")[0].split()).replace("|", "\\|"),
        ", ".join(program.tags),
        f"{len(program.vocab)} × {program.max_len}",
    )


def row(program: Program) -> tuple[str, ...]:
    """A program's entry for each of COLUMNS."""
    start = time.process_time()
    model = gb.compile(program.with_size())  # without what it remembers of itself
    seconds = time.process_time() - start
    cfg = model.hooked.cfg
    heads = [sum(site.startswith(f"a{layer}.") for site in sites(model)) for layer in range(cfg.n_layers)]
    return (
        *stated(program),
        str(cfg.n_layers),
        " + ".join(map(str, heads)),
        str(cfg.d_model),
        str(cfg.d_mlp or 0),
        f"{parameters(model):,}",
        "yes" if "causal" in program.tags else "no",
        f"{1000 * seconds:,.0f}",
    )


def sites(model: CompiledModel) -> set[str]:
    return set(model.provenance.sites.values())


def parameters(model: CompiledModel) -> int:
    return sum(p.numel() for p in model.hooked.parameters())


def published(module: ModuleType) -> str:
    """Which of a module's programs have which published ids."""
    names: dict[str, list[str]] = {}
    for id_, (program, _) in module.COLLECTED.items():
        names.setdefault(program.name, []).append(f"`{id_}`")
    if not names:
        return ""
    return "Published as: " + "; ".join(f"`{name}`: {', '.join(ids)}" for name, ids in names.items()) + ".\n"


def long_programs() -> str:
    rover, add = get("rover"), get("add")
    small, original, sums = (gb.compile(get(name)) for name in ("rover", "rasp.rover", "rasp.long_addition"))
    longer = gb.compile(add.with_size(max_len=LONGER_SUM))
    return LONG_PROGRAMS.format(
        rasp=rasp_depth(rover).layers,
        layers=small.hooked.cfg.n_layers,
        length=rover.max_len,
        parameters=f"{parameters(small):,}",
        original=f"{parameters(original):,}",
        add_rasp=rasp_depth(add).layers,
        add_layers=sums.hooked.cfg.n_layers,
        add=f"{parameters(sums):,}",
        add_length=sums.program.max_len,
        longer=f"{parameters(longer):,}",
        longer_length=LONGER_SUM,
    )


if __name__ == "__main__":
    main()
