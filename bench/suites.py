"""Suites: named lists of full case ids."""

from gaugeblock.programs.errors import UnknownName

PROGRAMS = ("frac_prevs", "sort", "dyck2", "add")

SUITES: dict[str, tuple[str, ...]] = {
    "quick": tuple(f"{p}{variant}" for p in PROGRAMS for variant in ("", "/permute+pad#1")),
    "core": tuple(
        f"{p}/permute+pad#{seed}"
        for p in (
            "frac_prevs",
            "sort",
            "dyck1",
            "dyck2",
            "dyck3",
            "shuffle_dyck1",
            "shuffle_dyck2",
            "add",
            "hist",
            "reverse",
        )
        for seed in (1, 2)
    ),
}


def suite(name: str) -> list[str]:
    """The case ids of a suite. Raises UnknownName."""
    if name not in SUITES:
        raise UnknownName("suite", name, SUITES)
    return list(SUITES[name])
