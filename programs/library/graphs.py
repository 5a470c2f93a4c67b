"""Programs over graphs: the nodes are the positions, and `edges` selects the keys from which an edge leads here.

The compiled model reads a node's value and its edges in one token, so that its vocabulary doubles with each node.
"""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from gaugeblock.programs.domain import GRAPHS, graph_tokens, sample_tokens
from gaugeblock.programs.language.expression import SOp, Tokens
from gaugeblock.programs.language.functions import edges, key, loop, query, select, where
from gaugeblock.programs.language.operations import GraphNode, edge_targets
from gaugeblock.programs.program import program

TAGS = ("graph",)
MULTI_HOP = (*TAGS, "multi-hop")

Arrows = list[tuple[int, int]]


def read(graph: Any) -> tuple[list[Any], Arrows]:
    """The values of the nodes of a graph, and its edges, each once; from either form of input."""
    if isinstance(graph, dict):
        return list(graph["nodes"]), sorted({(a, b) for a, b in graph["edges"]})
    return [x.value for x in graph], [(a, b) for a, x in enumerate(graph) for b in sorted(x.targets)]


def _incoming(graph: Any) -> list[list[Any]]:
    """For each node the values of those from which an edge leads to it."""
    values, arrows = read(graph)
    return [[values[a] for a, b in arrows if b == i] for i in range(len(values))]


def _has_in_neighbour_reference(graph: Any, value: Any = 0) -> list[bool]:
    return [value in incoming for incoming in _incoming(graph)]


@program(range(6), max_len=6, graph=True, reference=_has_in_neighbour_reference, tags=TAGS)
def has_in_neighbour(tokens: SOp, indices: SOp, value: Any = 0) -> SOp:
    """Whether an edge leads here from a node of a given value."""
    return edges.any(tokens == value)


def _in_degree_reference(graph: Any) -> list[int]:
    return [len(incoming) for incoming in _incoming(graph)]


@program(range(2), max_len=6, graph=True, reference=_in_degree_reference, tags=(*TAGS, "count"))
def in_degree(tokens: SOp, indices: SOp) -> SOp:
    """How many edges lead here."""
    return edges.count()


def _out_degree_reference(graph: Any) -> list[int]:
    values, arrows = read(graph)
    return [sum(a == i for a, _ in arrows) for i in range(len(values))]


@program(range(6), max_len=6, graph=True, reference=_out_degree_reference, tags=(*TAGS, "count", "causal"))
def out_degree(tokens: SOp, indices: SOp) -> SOp:
    """How many edges lead from here."""
    targets = Tokens(part=edge_targets)
    led_to = select(indices, targets, lambda node, nodes: node in nodes)
    return led_to.count()


def _in_neighbour_max_reference(graph: Any) -> list[int]:
    return [max(incoming, default=-1) for incoming in _incoming(graph)]


@program(range(6), max_len=6, graph=True, reference=_in_neighbour_max_reference, tags=TAGS)
def in_neighbour_max(tokens: SOp, indices: SOp) -> SOp:
    """The largest value of a node from which an edge leads here; -1 where there is none."""
    return edges.max(tokens, default=-1)


def _in_neighbour_sum_reference(graph: Any) -> list[int]:
    return [sum(incoming) for incoming in _incoming(graph)]


@program(range(6), max_len=6, graph=True, reference=_in_neighbour_sum_reference, tags=(*TAGS, "count"))
def in_neighbour_sum(tokens: SOp, indices: SOp) -> SOp:
    """The sum of the values of the nodes from which an edge leads here."""
    return edges.sum(tokens)


def _in_neighbour_mean_reference(graph: Any) -> list[float | None]:
    return [sum(incoming) / len(incoming) if incoming else None for incoming in _incoming(graph)]


@program(range(4), max_len=6, graph=True, reference=_in_neighbour_mean_reference, tags=(*TAGS, "numeric"))
def in_neighbour_mean(tokens: SOp, indices: SOp) -> SOp:
    """One round of message passing: the mean value over incoming edges, undefined where there is none."""
    return edges.mean(tokens, default=None)


def _two_hop_paths_reference(graph: Any) -> list[int]:
    values, arrows = read(graph)
    return [sum(b == c and d == i for _, b in arrows for c, d in arrows) for i in range(len(values))]


@program(range(6), max_len=6, graph=True, reference=_two_hop_paths_reference, tags=(*TAGS, "count", "multi-hop"))
def two_hop_paths(tokens: SOp, indices: SOp) -> SOp:
    """How many paths of two edges lead here."""
    in_degree = edges.count()
    return edges.sum(in_degree)


def _colour_conflict_reference(graph: Any) -> list[bool]:
    values, arrows = read(graph)
    return [any(values[a] == values[b] for a, b in arrows if b == i) for i in range(len(values))]


@program(range(3), max_len=6, graph=True, reference=_colour_conflict_reference, tags=TAGS)
def colour_conflict(tokens: SOp, indices: SOp) -> SOp:
    """Whether an edge leads here from a node of the same value: where a colouring is wrong."""
    return (edges & (key(tokens) == query(tokens))).any()


def _sample_search(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[GraphNode]:
    """A path through most of the nodes, a few edges more, and one marked node or two."""
    n = int(rng.integers(1, max_len + 1))
    order = rng.permutation(n)
    path = [(int(a), int(b)) for a, b in itertools.pairwise(order) if rng.random() < 0.85]
    more = [(int(a), int(b)) for a, b in np.argwhere(rng.random((n, n)) < 0.08)]
    values = sample_tokens(rng, tuple(v for v in vocab if v != "s") or vocab, n)
    if "s" in vocab:
        values[order[0]] = "s"
        if rng.random() < 0.2:
            values[rng.integers(n)] = "s"
    return graph_tokens({"nodes": values, "edges": path + more})


SEARCH = replace(GRAPHS, sample=_sample_search)


def _distances(graph: Any, hops: int = 3) -> list[int]:
    """Breadth-first: the number of edges from a node of value "s", -1 where it is more than `hops`."""
    values, arrows = read(graph)
    distances = [0 if value == "s" else -1 for value in values]
    frontier = [i for i, value in enumerate(values) if value == "s"]
    for hop in range(1, hops + 1):
        frontier = sorted({b for a, b in arrows if a in frontier and distances[b] < 0})
        for b in frontier:
            distances[b] = hop
    return distances


def _reachable_reference(graph: Any, hops: int = 3) -> list[bool]:
    return [distance >= 0 for distance in _distances(graph, hops)]


@program("s.", max_len=6, graph=True, reference=_reachable_reference, domain=SEARCH, tags=MULTI_HOP)
def reachable_in_k(tokens: SOp, indices: SOp, hops: int = 3) -> SOp:
    """Whether a path of at most k edges leads here from a node marked "s", by k rounds of breadth-first search."""
    return loop(hops, lambda reached: reached | edges.any(reached), tokens == "s")


@program(
    "s.",
    max_len=6,
    graph=True,
    reference=_distances,
    domain=SEARCH,
    tags=MULTI_HOP,
)
def bfs_distance(tokens: SOp, indices: SOp, hops: int = 3) -> SOp:
    """The number of edges from the nearest node marked "s"; -1 where it is more than k."""
    distance = where(tokens == "s", 0, -1)
    for hop in range(1, hops + 1):
        arrives = edges.any(distance >= 0)
        distance = where((distance < 0) & arrives, hop, distance)
    return distance


def _smallest_ancestor_reference(graph: Any, hops: int = 3) -> list[int]:
    values, arrows = read(graph)
    ancestors = [{i} for i in range(len(values))]
    for _ in range(hops):
        ancestors = [s.union(*(ancestors[a] for a, b in arrows if b == i)) for i, s in enumerate(ancestors)]
    return [min(s) for s in ancestors]


@program(range(2), max_len=6, graph=True, reference=_smallest_ancestor_reference, domain=SEARCH, tags=MULTI_HOP)
def component_label(tokens: SOp, indices: SOp, hops: int = 3) -> SOp:
    """The first node from which at most k edges lead here, by passing labels on: the same all over a component."""

    def smaller(label: SOp) -> SOp:
        heard = edges.min(label, default=None)
        return where(heard.defined(), where(heard < label, heard, label), label)

    return loop(hops, smaller, indices)


PROGRAMS = (
    has_in_neighbour,
    in_degree,
    out_degree,
    in_neighbour_max,
    in_neighbour_sum,
    in_neighbour_mean,
    two_hop_paths,
    colour_conflict,
    reachable_in_k,
    bfs_distance,
    component_label,
)
COLLECTED = {
    "graph.has_in_neighbour_valued0": (has_in_neighbour, range(6)),
    "graph.in_neighbour_max": (in_neighbour_max, range(6)),
    "graph.in_neighbour_sum": (in_neighbour_sum, range(6)),
    "graph.out_degree": (out_degree, range(6)),
    "graph.two_hop_paths": (two_hop_paths, range(6)),
}
