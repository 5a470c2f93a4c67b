import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.metrics.ranking import round_to_noise, tie_groups

INF = float("inf")
NOISE = 1.0
scores_near_noise = st.lists(
    st.sampled_from([0.0, -0.0, 0.5, -0.5, 0.999, 1.0, 1.5, 3.0, 3.25, 7.0, INF, -INF])
    | st.floats(-20, 20, allow_nan=False),
    max_size=12,
).map(lambda values: np.array(values, dtype=float))


@given(scores_near_noise)
def test_rounding_ties_what_noise_cannot_part_and_orders_the_rest(scores: np.ndarray) -> None:
    rounded = round_to_noise(scores, NOISE)
    assert set(rounded) <= set(scores)
    assert np.array_equal(round_to_noise(rounded, NOISE), rounded)
    for i, a in enumerate(scores):
        for j, b in enumerate(scores):
            if a == b or abs(a - b) < NOISE:
                assert rounded[i] == rounded[j]
            elif a < b:
                # Only a chain of steps below the noise may join scores that lie further apart.
                inside = sorted(s for s in scores if a <= s <= b)
                chained = all(y == x or y - x < NOISE for x, y in itertools.pairwise(inside))
                assert (rounded[i] == rounded[j]) == chained
                assert rounded[i] <= rounded[j]


def test_float_dust_becomes_the_exact_zero_beside_it() -> None:
    rounded = round_to_noise(np.array([1e-17, 0.0, 3e-16, 0.3, 0.1 + 0.2]), 1e-12)
    assert rounded.tolist() == [0.0, 0.0, 0.0, 0.3, 0.3]


@pytest.mark.parametrize("noise", [-1.0, float("nan"), INF])
def test_an_impossible_noise_floor_is_refused(noise: float) -> None:
    with pytest.raises(ValueError, match="noise floor"):
        round_to_noise(np.array([1.0]), noise)


@given(scores_near_noise)
def test_tie_groups_are_the_distinct_scores_from_the_top(scores: np.ndarray) -> None:
    order, ends = tie_groups(scores)
    groups = [set(scores[part].tolist()) for part in np.split(order, ends)[:-1]]
    assert groups == [{s} for s in sorted(set(scores.tolist()), reverse=True)]
