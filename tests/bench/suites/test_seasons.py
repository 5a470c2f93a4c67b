"""Seasons: the same for everybody, of fit and different programs, and what is committed to cannot be changed."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from gaugeblock.cases.case import case
from gaugeblock.cases.recipe import Recipe
from gaugeblock.compiled.compiler import compile
from gaugeblock.programs.errors import FileError, GaugeblockError, InputError, ProgramError
from gaugeblock.programs.generation.season import season_program
from gaugeblock.programs.registry import get
from gaugeblock.suites import season_files, seasons
from gaugeblock.suites.season_files import (
    Commitment,
    SeasonCase,
    SeasonRecord,
    commit,
    draw_seed,
    read_commitment,
    read_record,
    read_seed,
    reveal,
    write,
)
from gaugeblock.suites.seasons import Season, season
from gaugeblock.suites.shapes import circuit_shape

SEED = 2**150 + 12345
SHOW = """
import sys, gaugeblock as gb
for case_id in gb.suite(sys.argv[1]):
    print(case_id, gb.case(case_id).hash)
"""


def shown(name: str, hash_seed: str, threads: str) -> subprocess.Popen[str]:
    counts = {f"{library}_NUM_THREADS": threads for library in ("OMP", "MKL", "OPENBLAS")}
    environment = {**os.environ, **counts, "PYTHONHASHSEED": hash_seed, "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-W", "ignore", "-c", SHOW, name]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_selection_and_hashes_depend_neither_on_hash_randomisation_nor_on_threads() -> None:
    running = [shown("season:7:5", "1", "1"), shown("season:7:5", "2", "2")]
    one, two = (process.communicate(timeout=2400)[0].splitlines() for process in running)
    assert [process.returncode for process in running] == [0, 0]
    assert one == two
    assert len(one) == 5
    assert all(len(line.split()[-1]) == 64 for line in one)


# --- programs and selection ----------------------------------------------------------------------------------------


def test_a_program_is_its_name() -> None:
    name = "season(seed=7,index=2)"
    program, again = get(name), season_program(name)
    assert (program.name, program.source) == (name, again.source)
    assert repr(name) in program.source  # it can be pasted
    assert program.source != get("season(seed=7,index=4)").source
    assert program.source != get("season(seed=8,index=2)").source
    assert len(program.outputs) == 1
    with pytest.raises(ProgramError, match="with numbers and no spaces"):
        get("season(index=2,seed=7)")


def test_names_of_a_case_hold_all_there_is_to_know() -> None:
    case_id = "season(seed=7,index=2)/permute+pad#5"
    recipe = Recipe.parse(case_id)
    assert (recipe.program, recipe.variants, recipe.seed, recipe.id) == (
        "season(seed=7,index=2)",
        ("permute", "pad"),
        5,
        case_id,
    )


@pytest.mark.slow
def test_selection_takes_fit_programs_and_a_longer_season_begins_like_a_shorter_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without what makes proofs, which takes long."""
    monkeypatch.setattr(seasons, "FLAVOURS", ("",))
    season.cache_clear()
    try:
        short, longer = season(7, 1), season(7, 2)
    finally:
        season.cache_clear()
    assert longer.cases[:1] == short.cases
    assert sum(longer.rejected.values()) + 2 == longer.tried
    recipes = [Recipe.parse(case_id) for case_id in longer.cases]
    models = [compile(get(recipe.program)) for recipe in recipes]
    assert len({recipe.seed for recipe in recipes}) == 2
    assert len({circuit_shape(model) for model in models}) == 2
    for model in models:
        heads = {site for site in model.provenance.sites.values() if site.startswith("a")}
        assert len(heads) >= seasons.MIN_HEADS
        assert len(model.program_edges) <= seasons.MAX_EDGES


@pytest.mark.slow
@pytest.mark.parametrize(
    "case_id",
    [
        "season(seed=7,index=0)/permute+pad+rotate#123048",
        "season(seed=7,index=7)/permute+pad+decoy+rotate#87036",
        "season(seed=7,index=13)/permute+pad+camouflage+rotate#604706",
        "season(seed=7,index=21)/permute+pad+soft+rotate#734953",
        "season(seed=20261121,index=3)/permute+pad+rotate#685961",  # a broken sink reaches the output
    ],
)
def test_each_variant_is_certified(case_id: str) -> None:
    c = case(case_id)
    assert [claim for claim in c.certificate.claims if not claim.ok] == []
    truth = c.truth("resample")
    assert len(truth.positives) >= seasons.MIN_EXERCISED
    assert min(w.kappa for w in truth.witnesses.values() if len(w.edges) == 1) >= seasons.MIN_KAPPA
    assert nx.is_directed_acyclic_graph(nx.DiGraph([e.split("->") for e in truth.positives]))


# --- seeds and commitments -----------------------------------------------------------------------------------------


def test_a_drawn_seed_is_secret_and_is_not_written_over(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    draw_seed(one)
    draw_seed(two)
    assert read_seed(one) != read_seed(two)
    assert min(read_seed(path).bit_length() for path in (one, two)) >= 128
    assert one.stat().st_mode & 0o077 == 0
    with pytest.raises(FileError, match="cannot write a new seed"):
        draw_seed(one)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", FileError, "holds no seed"),
        ("secret", FileError, "holds no seed"),
        ("1.5", FileError, "holds no seed"),
        ("9" * 5000, FileError, "holds no seed"),  # more digits than Python reads
        ("-3", ProgramError, "from 0 to"),
        (str(2**512), ProgramError, "from 0 to"),
    ],
)
def test_what_is_no_seed_is_refused(text: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    (tmp_path / "seed").write_text(text)
    with pytest.raises(error, match=message):
        read_seed(tmp_path / "seed")


def test_a_missing_seed_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="`gaugeblock season seed` makes one"):
        read_seed(tmp_path / "none")


def test_a_commitment_can_be_checked_with_a_few_lines_and_says_nothing_of_the_seed(tmp_path: Path) -> None:
    made = commit(SEED, 20)
    path = tmp_path / "commitment.json"
    write(path, made)
    assert str(SEED) not in path.read_text()
    assert read_commitment(path) == made
    data = json.loads(path.read_text())
    record = {key: data[key] for key in ("cases", "season_version", "versions")} | {"seed": str(SEED)}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    assert data["sha256"] == hashlib.sha256(b"gaugeblock season commitment 1\0" + text.encode()).hexdigest()


def test_seeds_that_can_be_guessed_are_refused() -> None:
    with pytest.raises(InputError, match="a seed of 3 bits can be found by trying"):
        commit(7)
    with pytest.raises(InputError, match="a season of 0 cases is impossible"):
        commit(SEED, 0)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Season SEED has two cases that nobody needs to build: a hash is that of the id."""
    ids = ("season(seed=1,index=0)", "season(seed=1,index=1)")
    hashes: Callable[[Any, int], list[str]] = lambda ids, workers: [digest(i) for i in ids]  # noqa: E731
    monkeypatch.setattr(season_files, "season", lambda seed, n: Season(seed, ids[:n], 3, {"too few inputs": 1}))
    monkeypatch.setattr(season_files, "_hashes", lambda ids, workers: iter(hashes(ids, workers)))
    return ids


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_reveal_rebuilds_what_the_record_says(small: tuple[str, ...], tmp_path: Path) -> None:
    made, record = commit(SEED, 2), season_files.build(SEED, 2)
    write(tmp_path / "season.json", record)
    record = read_record(tmp_path / "season.json")
    assert (record.candidates, record.rejected) == (3, {"too few inputs": 1})
    revealed = reveal(SEED, made, record)
    assert (revealed.ok, revealed.cases, revealed.rebuilt, revealed.others) == (True, small, small, {})
    assert reveal(SEED, made, record, check=1).rebuilt == small[:1]
    assert reveal(SEED, made).rebuilt == ()

    other = record.model_copy(update={"cases": [record.cases[0], SeasonCase(id=small[1], hash="0" * 64)]})
    revealed = reveal(SEED, made, other)
    assert (revealed.ok, revealed.differing) == (False, small[1:])


@pytest.mark.parametrize("change", [{"cases": 3}, {"season_version": 2}, {"versions": {"code": "x"}}])
def test_nothing_that_was_committed_to_can_be_changed(change: dict[str, Any], small: tuple[str, ...]) -> None:
    made = commit(SEED, 2)
    reveal(SEED, made)
    for seed, committed in ((SEED + 1, made), (SEED, made.model_copy(update=change))):
        with pytest.raises(GaugeblockError, match="is not the one that was committed to, or"):
            reveal(seed, committed)


def test_other_code_is_named(small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    made, record = commit(SEED, 2), season_files.build(SEED, 2)
    monkeypatch.setattr(season_files, "versions", lambda: {**made.versions, "code": "other"})
    assert reveal(SEED, made, record).others == {"code": (made.versions["code"], "other")}
    changed = record.model_copy(update={"cases": record.cases[::-1]})
    with pytest.raises(GaugeblockError, match=r"the first difference is case 1\. Versions differ: code"):
        reveal(SEED, made, changed)
    monkeypatch.setattr(season_files, "SEASON_VERSION", 99)
    with pytest.raises(GaugeblockError, match="season version 1 and this code makes those of 99"):
        reveal(SEED, made, record)


def test_records_of_other_seeds_and_lengths_are_refused(small: tuple[str, ...]) -> None:
    made, record = commit(SEED, 2), season_files.build(SEED, 2)
    with pytest.raises(GaugeblockError, match="of another seed"):
        reveal(SEED, made, record.model_copy(update={"seed": "1"}))
    with pytest.raises(GaugeblockError, match=r"the number of cases\. No version differs"):
        reveal(SEED, made, record.model_copy(update={"cases": record.cases[:1]}))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"kind": "season record"}', '{"kind": "result", "cases": 2}', "\x00"],
)
def test_damaged_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    for read in (read_commitment, read_record):
        with pytest.raises(FileError, match="is no season"):
            read(path)
    with pytest.raises(FileError, match="cannot read"):
        read_record(tmp_path / "none.json")


def test_fields_that_are_not_known_are_refused() -> None:
    good = commit(SEED, 2).model_dump()
    for bad in ({"more": 1}, {"sha256": "x"}, {"cases": 1000}, {"schema_version": 2}):
        with pytest.raises(ValueError, match="validation error"):
            Commitment.model_validate(good | bad)
    assert SeasonRecord.model_fields["kind"].default == "season record"


# --- the command line ----------------------------------------------------------------------------------------------


def test_a_season_from_the_command_line(small: tuple[str, ...], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from gaugeblock.cli.seasons import season as commands

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(commands, [a.replace("@", f"{tmp_path}/") for a in arguments])
        return done.exit_code, done.output

    assert run("seed", "-o", "@seed")[0] == 0
    secret = (tmp_path / "seed").read_text().strip()
    code, output = run("commit", "--seed-file", "@seed", "--cases", "2", "-o", "@commitment.json")
    assert code == 0
    assert read_commitment(tmp_path / "commitment.json").sha256 in output
    assert secret not in output
    assert run("commit", "--seed-file", "@seed", "--cases", "2", "-o", "@commitment.json")[0] == 0
    assert run("commit", "--seed-file", "@seed", "--cases", "3", "-o", "@commitment.json")[0] == 1
    assert read_commitment(tmp_path / "commitment.json").cases == 2
    code, output = run("build", "--seed-file", "@seed", "--cases", "2", "-o", "@season.json")
    assert (code, "2 cases of 3 candidates" in output, "rejected 1: too few inputs" in output) == (0, True, True)

    check = ("reveal", "--seed-file", "@seed", "--commitment", "@commitment.json", "--record", "@season.json")
    code, output = run(*check)
    assert (code, output.count(": same")) == (0, 2)
    assert run(*check, "--check", "1")[1].count(": not built") == 1
    record = read_record(tmp_path / "season.json")
    changed = [record.cases[0], SeasonCase(id=small[1], hash="0" * 64)]
    write(tmp_path / "season.json", record.model_copy(update={"cases": changed}))
    code, output = run(*check)
    assert (code, f"{small[1]}: differs" in output) == (1, True)
    assert isinstance(CliRunner().invoke(commands, [*check[:3], "--commitment", "none"]).exception, GaugeblockError)
