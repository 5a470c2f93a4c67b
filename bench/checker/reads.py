"""Which reads of the program the edges carry, according to a label file."""

from collections import Counter

from gaugeblock.checker.claims import named, some
from gaugeblock.checker.evidence import Evidence, Labels


def wrong_reads(evidence: Evidence, labels: Labels) -> list[str]:
    """Every read of the program is carried by one edge, from the node that writes the variable to the one that reads
    it, where each operation stands at one node."""
    lowered, edges = evidence.lowered, set(evidence.model.edges)
    wrong = named("reads of an edge that does not exist", set(labels["reads"]) - edges)
    carried = Counter(tuple(read) for reads in labels["reads"].values() for read in reads)
    wrong += named("reads of the program that no edge carries", map(str, set(lowered.flow) - set(carried)))
    wrong += named("carried, but not read by the program", map(str, set(carried) - set(lowered.flow)))
    wrong += named("reads carried twice", (str(read) for read, times in carried.items() if times > 1))
    if wrong:
        return wrong
    site_of = places(labels)
    wrong = [f"{op} stands at {some(sorted(nodes))}" for op, nodes in site_of.items() if len(nodes) > 1]
    for edge, reads in labels["reads"].items():
        for read in reads:
            writer = lowered.variables[read[2]].writer
            if edge.partition("->")[0] not in site_of.get(writer, {writer}) or _port(edge) != read[1]:
                wrong.append(f"{edge} does not carry {read}")
    return wrong


def places(labels: Labels) -> dict[str, set[str]]:
    """Operation -> the nodes at which its reads arrive; one, if all is well."""
    nodes: dict[str, set[str]] = {}
    for edge, reads in labels["reads"].items():
        reader = edge.partition("->")[2]
        for operation, port, _ in reads:
            nodes.setdefault(operation, set()).add(reader.removesuffix(f".{port}"))
    return nodes


def _port(edge: str) -> str:
    reader = edge.partition("->")[2]
    if reader == "logits":
        return "logits"
    return "mlp" if reader.startswith("m") else reader[-1:]
