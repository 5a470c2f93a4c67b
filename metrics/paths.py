"""Random paths through a graph, for circuits that are inflated by them."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool


def random_paths(
    edges: Sequence[str], circuit: Bool[np.ndarray, " edges"], n_paths: int, seed: int = 0
) -> Bool[np.ndarray, "paths edges"]:
    """Paths from the inputs (embed, pos, bias) to the logits that share no edge with the circuit.

    For `minimality_test`. Drawn independently and uniformly from all such paths; q, k and v of a head are different
    edges. Shi et al. inflate with such paths too, found by a random search that is not uniform.

    Args:
        edges: names "writer->reader" of all edges of `run`.
        circuit: bool per edge.
        n_paths: how many.
        seed: of the draw.

    Returns:
        One row per path; no rows where there is no such path.

    Raises:
        ValueError: an edge without an arrow, or lengths that differ.

    >>> random_paths(["embed->m0", "m0->logits", "embed->logits"], np.array([False, False, True]), n_paths=1).tolist()
    [[True, True, False]]
    """
    if circuit.shape != (len(edges),):
        raise ValueError(f"{len(edges)} edges but a circuit of shape {circuit.shape}; give one bool per edge")
    leaving: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for i, edge in enumerate(edges):
        writer, arrow, reader = edge.partition("->")
        if not arrow:
            raise ValueError(f'{edge!r} is no edge name; write "writer->reader", such as "a0.h1->a2.h0.k"')
        if not circuit[i]:
            stem, _, port = reader.rpartition(".")
            leaving[writer].append((i, stem if port in ("q", "k", "v") else reader))

    @cache
    def n_paths_from(node: str) -> int:
        return 1 if node == "logits" else sum(n_paths_from(end) for _, end in leaving.get(node, ()))

    rng = np.random.default_rng(seed)
    starts = [(-1, source) for source in ("embed", "pos", "bias") if n_paths_from(source)]
    paths = np.zeros((n_paths if starts else 0, len(edges)), dtype=bool)
    for path in paths:
        steps = starts
        while True:
            counts = [n_paths_from(end) for _, end in steps]
            total = sum(counts)
            taken, node = steps[rng.choice(len(steps), p=[count / total for count in counts])]
            if taken >= 0:
                path[taken] = True
            if node == "logits":
                break
            steps = leaving[node]
    return paths
