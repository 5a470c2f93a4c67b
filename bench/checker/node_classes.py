"""The auditor's claims about truth at other granularity than edges, and about the sets of edges that suffice."""

from collections.abc import Iterable, Iterator

from gaugeblock.checker.claims import Claim, make_claim, named
from gaugeblock.checker.evidence import ClassLists, Experiment, Labels

FOUND_BY = ("enumeration", "search", "part of a search")
"""How sufficient sets may have been looked for."""


def check_classes(experiment: Experiment, labels: Labels) -> Claim:
    """Nodes, ports and variables are classed as the edges and the effects of ablating whole nodes say."""
    model = experiment.evidence.model
    positives, negatives = set(labels["positives"]), set(labels["negatives"])
    out: dict[str, list[str]] = {writer: [] for writer in model.writers}
    into: dict[str, list[str]] = {}
    for edge in model.edges:
        writer, _, reader = edge.partition("->")
        out[writer].append(edge)
        if reader[-2:] in (".q", ".k", ".v"):
            into.setdefault(reader, []).append(edge)
    true = {writer for writer, edges in out.items() if positives & set(edges)}
    moving = {writer for writer in true if experiment.matters(out[writer])}
    carried = {variable for edge in positives for _, _, variable in labels["reads"].get(edge, ())}
    everything = {variable for reads in labels["reads"].values() for _, _, variable in reads}
    wrong = [
        *_contradictions("node", labels["nodes"], moving, _all_in(out, negatives), out),
        *_contradictions("port", labels["ports"], _any_in(into, positives), _all_in(into, negatives), into),
        *_contradictions("variable", labels["variables"], carried, set(), everything),
        *named("cancelling, or not, unlike stated", true - moving ^ set(labels["cancelling"])),
    ]
    passing = f"{len(moving)} true nodes, {len(labels['ports']['positives'])} true ports, {len(carried)} true variables"
    if true - moving:
        passing += f"; cancelling: {', '.join(sorted(true - moving))}"
    return make_claim("levels", labels["ablation"], len(out) + len(into) + len(everything), wrong, passing)


def check_sufficient_sets(experiment: Experiment, labels: Labels) -> Claim:
    """Check that each listed set suffices, that none of its edges can be spared, and which sets matter only jointly."""
    edges, sufficient = set(experiment.evidence.model.edges), labels["sufficient"]
    wrong: list[str] = []
    others = edges - experiment.reactivated
    for chosen in map(set, sufficient["sets"]):
        if chosen - edges:
            wrong += named("in a sufficient set, but no edge", chosen - edges)
        elif experiment.matters(others - chosen):
            wrong.append(f"{len(chosen)} edges do not suffice: {', '.join(sorted(chosen))}")
        else:
            rest = experiment.possible - chosen  # what cannot matter was ablated with the whole, and is slow
            spared = [edge for edge in sorted(chosen) if not experiment.matters(rest | {edge})]
            wrong += named("in a minimal sufficient set, but can be spared", spared)
    if not sufficient["sets"] and sufficient["found_by"] != "part of a search":
        wrong.append("there is no sufficient set")
    if sufficient["found_by"] not in FOUND_BY:
        wrong.append(f"found_by is {sufficient['found_by']!r}")
    joint = {edges for edges in experiment.minimal_sets if len(edges) > 1}
    wrong += named("jointly, or not, unlike stated", map(_joined, joint ^ set(map(frozenset, labels["joint"]))))
    sizes = " and ".join(str(len(chosen)) for chosen in sufficient["sets"])
    passing = (
        f"minimal sufficient sets of {sizes} edges, by {sufficient['found_by']}; {len(joint)} sets matter only jointly"
    )
    return make_claim("sufficient sets", labels["ablation"], len(sufficient["sets"]), wrong, passing)


def _contradictions(
    what: str, stated: ClassLists, positives: set[str], negatives: set[str], everything: Iterable[str]
) -> Iterator[str]:
    classes = {
        "positive": (stated["positives"], positives),
        "negative": (stated["negatives"], negatives),
        "ignored": (stated["ignored"], set(everything) - positives - negatives),
    }
    for name, (listed, right) in classes.items():
        yield from named(f"{what} is {name}, but not stated so, or the other way round", set(listed) ^ right)


def _any_in(edges_of: dict[str, list[str]], some: set[str]) -> set[str]:
    return {name for name, edges in edges_of.items() if some & set(edges)}


def _all_in(edges_of: dict[str, list[str]], some: set[str]) -> set[str]:
    return {name for name, edges in edges_of.items() if some >= set(edges)}


def _joined(edges: frozenset[str]) -> str:
    return " + ".join(sorted(edges))
