"""Truth at other granularity than edges: nodes, the q, k and v of heads, and variables of the program.

Each follows from the edges' classes; a node is also ablated as a whole, since what it carries along two edges may
cancel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from gaugeblock.compiled.edges.graph import Graph, parse_edge


@final
@dataclass(frozen=True)
class Classes:
    """A partition of names into what matters, what cannot matter, and what is never scored."""

    positives: frozenset[str]
    negatives: frozenset[str]
    ignored: frozenset[str]

    def only(self, names: frozenset[str]) -> "Classes":
        """Return the classes where only these names may be positive; the other positives are ignored."""
        return Classes(self.positives & names, self.negatives, self.ignored | (self.positives - names))

    def to_dict(self) -> dict[str, list[str]]:
        """Return sorted lists, for JSON."""
        return {name: sorted(getattr(self, name)) for name in ("positives", "negatives", "ignored")}


def node_classes(graph: Graph, edges: Classes, matters: Mapping[str, bool]) -> tuple[Classes, frozenset[str]]:
    """Return (classes of the writers, cancelling ones).

    Positive: an edge out of it is, and ablating all of them together changes a graded logit. Where that changes
    nothing, the node is *cancelling*, and ignored. Negative: all edges out of it are.
    """
    true = {parse_edge(edge)[0] for edge in edges.positives}
    dead = {w for w in graph.writers if set(graph.outgoing(w)) <= edges.negatives}
    positives = frozenset(w for w in true if matters[w])
    return Classes(positives, frozenset(dead), frozenset(graph.writers) - positives - dead), frozenset(true - positives)


def port_classes(graph: Graph, edges: Classes) -> Classes:
    """Return the classes of every head's q, k and v: positive if an edge into it is, negative if all into it are."""
    ports = [reader for reader in graph.readers if reader[-2:] in (".q", ".k", ".v")]
    incoming = {port: frozenset(graph.incoming(port)) for port in ports}
    positives = frozenset(port for port, into in incoming.items() if into & edges.positives)
    negatives = frozenset(port for port, into in incoming.items() if into <= edges.negatives)
    return Classes(positives, negatives, frozenset(ports) - positives - negatives)


def variable_classes(reads: Mapping[str, tuple[tuple[str, str, str], ...]], edges: Classes) -> Classes:
    """Return the classes of the lowered program's variables: positive if a positive edge carries it, else ignored."""
    carried = {edge: {variable for _, _, variable in carries} for edge, carries in reads.items()}
    everything = frozenset[str]().union(*carried.values())
    positives = frozenset[str]().union(*(names for edge, names in carried.items() if edge in edges.positives))
    return Classes(positives, frozenset(), everything - positives)
