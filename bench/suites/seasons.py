"""A season: a suite of generated programs that only who has the seed can know, and that the seed fixes for everybody.

Candidates are drawn in order. Most that are rejected are so by what is cheap to know: compiling, pairs, and what the
program alone says about them. Of the rest those are taken whose certificate is green.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final, final

import numpy as np
import torch

from gaugeblock.cases.case import Case
from gaugeblock.cases.pairs import N_PAIRS, Pairs, kappas, make_pairs
from gaugeblock.cases.recipe import Recipe
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.lowered import semantics
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.errors import CompileError, InputError, ProgramError
from gaugeblock.programs.generation.season import check_seed, derived, season_name, season_program
from gaugeblock.running.progress import progress
from gaugeblock.suites.shapes import circuit_shape

DEFAULT_CASES: Final = 20
"""Cases of a season unless its name says otherwise."""

MAX_CASES: Final = 100
"""Cases that a season may have."""

FLAVOURS: Final = ("", "camouflage", "decoy", "soft", "camouflage")
"""Between `permute+pad` and `rotate`, case by case in turn; where one is impossible, the next that is not."""

MAX_CAMOUFLAGED_LAYERS: Final = 3
"""Layers of a plain model that may be camouflaged: proofs about deeper ones take long to check."""

MAX_PARAMETERS: Final = 200_000
"""Parameters of the plain model."""

MAX_WEIGHT: Final = 8192
"""Largest weight of the plain model: behind larger ones rounding shows where a certificate looks for nothing."""

MAX_EDGES: Final = 36
"""Edges of the program: what has to be tried for truth grows with their third power."""

MIN_HEADS: Final = 2
MIN_EXERCISED: Final = 6
"""Edges that matter alone."""

MIN_EXERCISED_SHARE: Final = 0.6
"""Share of the program's edges that matter alone, those aside that carry positions, which all inputs have in common."""

MIN_KAPPA: Final = 0.03
"""Share of pairs on which each edge matters that does alone."""

MAX_SHARE_OF_ONE_OUTPUT: Final = 0.9
"""Share of graded positions that the commonest output may have."""

_NAME = re.compile(r"season:(?P<seed>\d{1,200})(:(?P<n>\d{1,4}))?")


@final
@dataclass(frozen=True)
class Season:
    """The cases that a seed fixes.

    Attributes:
        cases: their ids.
        tried: how many candidates were looked at.
        rejected: reason -> how many candidates.
    """

    seed: int
    cases: tuple[str, ...]
    tried: int
    rejected: dict[str, int]


def parse_season(name: str) -> tuple[int, int]:
    """Return (seed, number of cases) of a suite named `season:<seed>` or `season:<seed>:<cases>`. Raises InputError.

    >>> parse_season("season:7:30")
    (7, 30)
    """
    match = _NAME.fullmatch(name)
    seed, n = (int(match["seed"]), int(match["n"] or DEFAULT_CASES)) if match else (-1, 0)
    if not 1 <= n <= MAX_CASES:
        raise InputError(
            f"{name[:100]!r} is no season; write season:7 for the {DEFAULT_CASES} cases of seed 7, or season:7:30 for "
            f"30 cases (1 to {MAX_CASES})"
        )
    return seed, n


@lru_cache(maxsize=8)
def season(seed: int, n: int = DEFAULT_CASES) -> Season:
    """Return the first n cases of a season; some minutes, and remembered. A longer season begins like a shorter one.

    Raises ProgramError for a seed that is none.
    """
    check_seed(seed)
    rejected: Counter[str] = Counter()
    shapes: set[str] = set()
    cases: list[str] = []
    tried = 0
    with progress("finding a season's", n, "case") as update:
        while len(cases) < n:
            model, reason = _candidate(seed, tried, shapes)
            case_id = None if model is None else _case_id(model, seed, tried, len(cases))
            tried += 1
            if model is None or case_id is None:
                rejected[reason or "no variant has a green certificate"] += 1
                update(0)
                continue
            shapes.add(circuit_shape(model))
            cases.append(case_id)
            update(1)
    return Season(seed, tuple(cases), tried, dict(rejected.most_common()))


def _candidate(seed: int, index: int, shapes: set[str]) -> tuple[CompiledModel | None, str]:
    """Return the model of a candidate in plain form, or None and why it is rejected."""
    try:
        model = compile(season_program(season_name(seed, index)), max_parameters=MAX_PARAMETERS)
    except ProgramError:
        return None, "no program was found, or it has no value on some input"
    except CompileError:
        return None, "too large, or too fine for floating point"
    reason = next(_against(model, _layout(seed, index), shapes), None)
    return (model, "") if reason is None else (None, reason)


def _against(model: CompiledModel, layout: int, shapes: set[str]) -> Iterator[str]:
    """Yield what speaks against a model; the cheap reasons first."""
    heads = {site for site in model.provenance.sites.values() if site.startswith("a")}
    if model.dtype is not torch.float32:
        yield "needs float64"
    if max(float(np.abs(array).max(initial=0)) for array in model.weights.values()) > MAX_WEIGHT:
        yield "weights behind which rounding shows"
    if len(heads) < MIN_HEADS:
        yield "fewer than two heads"
    if len(model.program_edges) > MAX_EDGES:
        yield "too many edges"
    if circuit_shape(model) in shapes:
        yield "a circuit of that shape is there already"
    pairs = make_pairs(model, layout)  # those of the case: they are the same in every variant
    if len(pairs) < N_PAIRS:
        yield "too few inputs"
    if _commonest(model, pairs) > MAX_SHARE_OF_ONE_OUTPUT:
        yield "nearly always the same output"
    matters = {edge: share for edge, share in kappas(model, pairs).items() if not edge.startswith("pos->")}
    exercised = [share for share in matters.values() if share > 0]
    if len(exercised) < MIN_EXERCISED:
        yield "too few edges that matter"
    elif len(exercised) < MIN_EXERCISED_SHARE * len(matters):
        yield "too many edges that never matter"
    elif min(exercised) < MIN_KAPPA:
        yield "an edge that matters too rarely"


def _is_certified(model: CompiledModel, recipe: Recipe) -> bool:
    """Return whether the model can have the variants, and every claim about the case is found true."""
    if "camouflage" in recipe.variants and _layers(model) > MAX_CAMOUFLAGED_LAYERS:
        return False
    try:
        made = apply_variants(model, recipe.variants, recipe.seed)
    except CompileError:
        return False
    return Case(recipe, model.program, made).certificate.ok


def _layers(model: CompiledModel) -> int:
    return sum(name.endswith("attn.W_Q") for name in model.weights)


def _layout(seed: int, index: int) -> int:
    """Return the seed of variants and pairs; each case has its own, so that knowing public layouts is no help."""
    return derived(seed, index, "layout") % 1_000_000


def _commonest(model: CompiledModel, pairs: Pairs) -> float:
    """Return the share of graded positions of clean inputs that have the commonest output."""
    codes = semantics.run(model.lowered, pairs.clean.cpu().numpy())["logits"][pairs.positions.cpu().numpy()]
    return float(np.unique(codes, return_counts=True)[1].max() / len(codes))


def _case_id(model: CompiledModel, seed: int, index: int, place: int) -> str | None:
    """Return the id of the case, in the variant whose turn it is or the next that is certified; None where none is."""
    layout, turn = _layout(seed, index), place % len(FLAVOURS)
    for flavour in dict.fromkeys(islice((*FLAVOURS, *FLAVOURS), turn, turn + len(FLAVOURS))):
        variants = ("permute", "pad", flavour, "rotate") if flavour else ("permute", "pad", "rotate")
        recipe = Recipe(model.program.name, None, variants, layout)
        if _is_certified(model, recipe):
            return recipe.id
    return None
