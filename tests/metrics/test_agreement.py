import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, mean_absolute_error, mean_squared_error

from gaugeblock.metrics.agreement import (
    absolute_error,
    accuracy,
    kl_divergence,
    pair_accuracy,
    pair_total_variation,
    squared_error,
    total_variation,
)

RNG = np.random.default_rng(0)
MODEL, CIRCUIT = RNG.normal(size=(2, 6, 5, 4)).astype(np.float32)
GRADED = RNG.random((6, 5)) < 0.6
GRADED[2] = False
MODEL[~GRADED], CIRCUIT[~GRADED] = np.nan, np.inf  # padding is not looked at
COUNTED = [i for i in range(6) if GRADED[i].any()]


def test_categories_are_compared_as_scipy_and_scikit_learn_do() -> None:
    answers = MODEL[GRADED].argmax(-1), CIRCUIT[GRADED].argmax(-1)
    assert accuracy(MODEL, CIRCUIT, GRADED) == pytest.approx(accuracy_score(*answers))
    whole = [np.array_equal(MODEL[i, GRADED[i]].argmax(-1), CIRCUIT[i, GRADED[i]].argmax(-1)) for i in COUNTED]
    assert pair_accuracy(MODEL, CIRCUIT, GRADED) == pytest.approx(np.mean(whole))

    p, q = softmax(MODEL[GRADED].astype(float), axis=-1), softmax(CIRCUIT[GRADED].astype(float), axis=-1)
    assert kl_divergence(MODEL, CIRCUIT, GRADED) == pytest.approx(entropy(p, q, axis=-1).mean())
    subsets = [[bool(s >> v & 1) for v in range(4)] for s in range(16)]
    distances = np.max([np.abs(p[:, s].sum(-1) - q[:, s].sum(-1)) for s in subsets], axis=0)
    assert total_variation(MODEL, CIRCUIT, GRADED) == pytest.approx(distances.mean())
    by_pair = pair_total_variation(MODEL, CIRCUIT, GRADED)
    pairs = np.nonzero(GRADED)[0]
    assert [by_pair[i] for i in COUNTED] == pytest.approx([distances[pairs == i].mean() for i in COUNTED])
    assert np.isnan(by_pair[2])


def test_probabilities_give_what_their_logits_give() -> None:
    p, q = (softmax(np.where(GRADED[..., None], x, 0.0), axis=-1) for x in (MODEL, CIRCUIT))
    for metric in (kl_divergence, total_variation):
        assert metric(p, q, GRADED, logits=False) == pytest.approx(metric(MODEL, CIRCUIT, GRADED), rel=1e-5)


def test_numbers_are_compared_as_scikit_learn_does() -> None:
    model, circuit = MODEL[..., 0], CIRCUIT[..., 0]
    assert squared_error(model, circuit, GRADED) == pytest.approx(mean_squared_error(model[GRADED], circuit[GRADED]))
    assert absolute_error(model, circuit, GRADED) == pytest.approx(mean_absolute_error(model[GRADED], circuit[GRADED]))


def test_ties_and_zero_probabilities() -> None:
    clear, tied, flat = np.array([1.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.0]), np.full(3, 1 / 3)
    one = np.ones((1, 1), dtype=bool)

    def of(metric, p: np.ndarray, q: np.ndarray, **options: bool) -> float:
        return metric(p[None, None], q[None, None], one, **options)

    assert of(accuracy, tied, tied) == 1.0
    assert of(accuracy, clear, tied) == 0.5
    assert of(accuracy, clear, flat) == pytest.approx(1 / 3)
    assert of(kl_divergence, clear, tied, logits=False) == pytest.approx(np.log(2))
    assert of(kl_divergence, tied, clear, logits=False) == np.inf
    assert of(kl_divergence, tied, tied, logits=False) == 0.0
    assert of(total_variation, clear, flat, logits=False) == pytest.approx(2 / 3)
    never = np.array([0.0, 0.0, -np.inf])
    assert of(kl_divergence, never, never) == 0.0
    assert of(total_variation, never, np.array([0.0, -np.inf, 0.0])) == pytest.approx(0.5)
    two = np.stack([clear, tied])[None]
    assert pair_accuracy(two, np.stack([tied, clear])[None], np.ones((1, 2), dtype=bool)) == 0.25


def test_no_graded_position_is_undefined() -> None:
    nothing = np.zeros((6, 5), dtype=bool)
    for metric in (accuracy, pair_accuracy, kl_divergence, total_variation):
        assert metric(MODEL, CIRCUIT, nothing) is None
    for metric in (squared_error, absolute_error):
        assert metric(MODEL[..., 0], CIRCUIT[..., 0], nothing) is None
    assert np.isnan(pair_total_variation(MODEL, CIRCUIT, nothing)).all()


@pytest.mark.usefixtures("without_shape_checks")
def test_bad_input_is_named() -> None:
    everything = np.ones((6, 5), dtype=bool)
    with pytest.raises(ValueError, match="of the model's 120 outputs"):
        kl_divergence(MODEL, CIRCUIT, everything)
    with pytest.raises(ValueError, match=r"circuit \(6, 5\)"):
        accuracy(MODEL, CIRCUIT[..., 0], GRADED)
    with pytest.raises(ValueError, match="sum to 1"):
        total_variation(MODEL, CIRCUIT, GRADED, logits=False)
    with pytest.raises(ValueError, match="every logit"):
        kl_divergence(np.full((1, 1, 2), -np.inf), np.zeros((1, 1, 2)), np.ones((1, 1), dtype=bool))
