from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from gaugeblock.metrics.paths import random_paths


def test_random_paths_are_uniform_over_the_paths_outside_the_circuit() -> None:
    edges = [
        "embed->a0.h0.q", "embed->a0.h0.v", "pos->a0.h0.q", "a0.h0->m0", "embed->m0", "a0.h0->logits",
        "m0->logits", "embed->logits", "bias->m1", "a0.h1->logits",
    ]  # fmt: skip
    circuit = np.array([e == "embed->logits" for e in edges])
    paths = random_paths(edges, circuit, 3000, seed=1)
    counts = Counter(tuple(edges[i] for i in np.flatnonzero(path)) for path in paths)
    into_head = ["embed->a0.h0.q", "embed->a0.h0.v", "pos->a0.h0.q"]
    expected = {(first, "a0.h0->logits") for first in into_head}
    expected |= {(first, "a0.h0->m0", "m0->logits") for first in into_head} | {("embed->m0", "m0->logits")}
    assert set(counts) == expected
    assert chisquare(list(counts.values())).pvalue > 0.001
    assert random_paths(edges, np.ones(10, dtype=bool), 5).shape == (0, 10)


def test_an_edge_without_an_arrow_is_refused() -> None:
    with pytest.raises(ValueError, match="'embed' is no edge name"):
        random_paths(["embed"], np.zeros(1, dtype=bool), 1)
