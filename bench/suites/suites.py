"""Suites: named lists of full case ids."""

from collections.abc import Sequence

from gaugeblock.programs.errors import UnknownName
from gaugeblock.programs.registry import get, library_names, names
from gaugeblock.suites.stress import STRESS

QUICK_PROGRAMS = ("frac_prevs", "sort", "dyck2", "add")

CORE: dict[str, str] = {
    # one layer
    "frac_prevs/permute+pad+soft+rotate#1": "a mean over earlier tokens; the output is a number",
    "average/permute+pad+camouflage+rotate#1": "a mean over all tokens: the smallest circuit, with a numerical output",
    "first_token/permute+pad+camouflage+rotate#1": "attention to a fixed position",
    "last_seen/permute+pad+decoy+rotate#1": "the latest earlier match: equality and a best score in one head",
    "hist/permute+pad+soft+rotate#1": "a count, read off the weight of the attention sink",
    "bracket_depth/permute+pad+camouflage+rotate#1": "a difference of two causal counts in one head",
    "equals_first/permute+pad+camouflage+rotate#1": "what a head moved meets the token in the MLP",
    "insert_zeros/permute+pad+soft+rotate#1": "positions are computed with before they are attended to",
    "in_neighbour_max/permute+pad+rotate#1": "a graph: attention along edges of the input",
    "add_mod11/permute+pad+camouflage+rotate#1": "two heads that fetch the arguments of one table",
    "swap_min_max/permute+pad+soft+rotate#1": "two heads with opposite best scores, and a switch",
    # two layers
    "tomita2/permute+pad+soft+rotate#1": "one head, two MLPs around it",
    "unique_count/permute+pad+camouflage+rotate#1": "a flag that is counted",
    "greater_than/permute+pad+decoy+rotate#1": "the circuit of greater-than: a fetched number that is compared",
    "is_increasing/permute+pad+camouflage+rotate#1": "every neighbour is compared, then all are asked: no MLP",
    "induction/permute+pad+soft+rotate#1": "the induction circuit: a previous-token head, then a matching head",
    "double_hist/permute+pad+soft+rotate#1": "a count of counts: two staircases in a row",
    "dyck1/permute+pad+soft+rotate#1": "balance and its past minimum",
    "sort_unique/permute+pad+camouflage+rotate#1": "ranks, and attention by rank",
    "longest_run/permute+pad+camouflage+rotate#1": "lengths of runs, and their maximum",
    "associative_recall/permute+pad+camouflage+rotate#1": "key, value and question at different places",
    "reverse/permute+pad+soft+rotate#1": "the length of the input, which arrives through padding",
    "ngram_count/permute+pad+camouflage+rotate#1": "two tokens are joined into one variable before they are counted",
    "docstring/permute+pad+camouflage+rotate#1": "the docstring circuit: which argument comes next",
    "follow_pointers/permute+pad+soft+rotate#1": "tokens are positions: a head per hop",
    "single_name/permute+pad+soft+rotate#1": "which name occurs once",
    "kth_largest/permute+pad+camouflage+rotate#1": "selection by a computed rank",
    "sort/permute+pad+soft+rotate#1": "a stable order from two counts",
    "anbn/permute+pad+decoy+rotate#1": "a context-free language by counting",
    "median/permute+pad+rotate#1": "four heads, and a numerical output that is a mean of two values",
    "shuffle_dyck2/permute+pad+soft+rotate#1": "two counters side by side: redundant masks",
    # three layers and more
    "dyck2/permute+pad+soft+rotate#1": "nested brackets: depth, matching, a past failure",
    "distinct/permute+pad+camouflage+rotate#1": "first occurrences are marked and moved together",
    "component_label/permute+pad+rotate#1": "a graph: labels spread hop by hop",
    "palindrome/permute+pad+rotate#1": "a mirrored comparison, then all are asked",
    "ioi/permute+pad+camouflage+rotate#1": "the indirect object: the name that is not repeated",
    "add/permute+pad+decoy+rotate#1": "digits, carries and their look-ahead",
    "most_frequent/permute+pad+rotate#1": "five heads: counts, order and what comes first",
    "shell_game/permute+pad+rotate#1": "composition of permutations by doubling: four layers",
    "transitive/permute+pad+rotate#1": "reasoning in three hops: five layers, seven heads",
    "follow_pointers(rounds=8)/permute+pad+rotate#1": "pointers followed by doubling: eight layers, a head in each",
}
"""The suite `core`, each case with why it is there. All circuits differ in shape."""

FULL_WITHOUT: dict[str, str] = {
    "rover": "its truth takes hours",
    "num_prevs": "reads positions only, so that nothing is true of it under `resample`",
    "causal_width": "reads positions only",
    "thrice_index": "reads positions only",
    "index_parity": "reads positions only",
    "position": "reads positions only",
}
"""What the suite `full` leaves out, and why."""


def full() -> list[str]:
    """Return every program of the library as `program/permute+pad+rotate#1`."""
    return [f"{name}/permute+pad+rotate#1" for name in library_names() if name not in FULL_WITHOUT]


def stress(family: str | None = None) -> list[str]:
    """Return the cases of a family of `stress`, or of all of them. Raises UnknownName.

    >>> stress("suppressors")
    ['median/permute+pad+rotate#1']
    """
    if family is not None and family not in STRESS:
        raise UnknownName("family of the suite stress", family, STRESS)
    families = STRESS if family is None else [family]
    return list(dict.fromkeys(case_id for name in families for case_id in STRESS[name].cases))


SUITES: dict[str, tuple[str, ...]] = {
    "quick": tuple(f"{p}{variant}" for p in QUICK_PROGRAMS for variant in ("", "/permute+pad#1")),
    "core": tuple(CORE),
    "stress": tuple(stress()),
    "full": tuple(full()),
}
"""The suites with a name of their own; beside them `stress:<family>` and `season:<seed>`."""


def suite(name: str) -> list[str]:
    """Return the case ids of a suite.

    Args:
        name: one of SUITES; "stress:decoys", one family of `stress`; "season:7", generated programs that the seed 7
            fixes, or "season:7:30", so many of them (`gaugeblock.suites.seasons`; finding them takes minutes).

    Raises UnknownName, and InputError for a season that cannot be.

    >>> suite("quick")[:3]
    ['frac_prevs', 'frac_prevs/permute+pad#1', 'sort']
    """
    kind, _, rest = name.partition(":")
    if kind == "season":
        from gaugeblock.suites.seasons import parse_season, season

        return list(season(*parse_season(name)).cases)
    if kind == "stress" and rest:
        return stress(rest)
    if name not in SUITES:
        raise UnknownName("suite", name, [*SUITES, "season:<seed>"])
    return list(SUITES[name])


def is_suite(name: str) -> bool:
    """Return whether a name is meant to be a suite's, rather than a case's id."""
    return name in SUITES or name.partition(":")[0] in ("season", "stress")


def case_ids(suites_and_cases: Sequence[str]) -> list[str]:
    """Return the case ids behind names of suites and ids of cases, each once.

    Raises UnknownName, CaseError or InputError.

    >>> case_ids(["stress:suppressors", "sort#0", "sort"])
    ['median/permute+pad+rotate#1', 'sort']
    """
    from gaugeblock.cases.recipe import Recipe

    ids: list[str] = []
    for name in suites_and_cases:
        if is_suite(name):
            ids += suite(name)
            continue
        recipe = Recipe.parse(name)
        try:
            get(recipe.program)
        except UnknownName:
            raise UnknownName("suite or program", recipe.program, [*SUITES, *names()]) from None
        ids.append(recipe.id)
    return list(dict.fromkeys(ids))
