"""How far a circuit's outputs are from the model's, at the graded positions.

`model` and `circuit` are outputs on the same inputs: [pair, pos, vocab] for categories (logits, or probabilities where
`logits=False`), [pair, pos] for numbers. `graded` says which positions count; whatever stands at the others is not
looked at. Means run over positions, each of equal weight, unless a function says "pair". None where no position is
graded. NaN at a graded position, and shapes that differ, raise `ValueError`.
"""

import numpy as np
from jaxtyping import Bool, Float

Outputs = Float[np.ndarray, "pair pos vocab"]
Numbers = Float[np.ndarray, "pair pos"]
Graded = Bool[np.ndarray, "pair pos"]


def accuracy(model: Outputs, circuit: Outputs, graded: Graded) -> float | None:
    """Share of graded positions at which circuit and model give the same answer, the largest entry.

    Range 0 to 1, higher is better. Where largest entries tie, the overlap |A ∩ B| / |A ∪ B| of the two sets of
    largest entries counts: 1 where they are the same, 1/|V| where a constant output meets one clear answer.

    >>> model, circuit = np.array([[[0.0, 1.0], [1.0, 0.0]]]), np.array([[[0.0, 2.0], [0.0, 1.0]]])
    >>> accuracy(model, circuit, np.array([[True, True]]))
    0.5
    """
    agreed = _agreement(*_graded(model, circuit, graded, dim=3))
    return float(agreed.mean()) if len(agreed) else None


def pair_accuracy(model: Outputs, circuit: Outputs, graded: Graded) -> float | None:
    """Share of pairs in which *every* graded position agrees; with ties, the product of `accuracy`'s overlaps.

    Range 0 to 1, higher is better, at most `accuracy` where all pairs have equally many positions. Pairs without a
    graded position are left out.

    >>> model, circuit = np.array([[[0.0, 1.0], [1.0, 0.0]]]), np.array([[[0.0, 2.0], [0.0, 1.0]]])
    >>> pair_accuracy(model, circuit, np.array([[True, True]]))
    0.0
    """
    agreed = _agreement(*_graded(model, circuit, graded, dim=3))
    whole = np.ones(len(graded))
    np.multiply.at(whole, np.nonzero(graded)[0], agreed)
    counted = graded.any(axis=1)
    return float(whole[counted].mean()) if counted.any() else None


def kl_divergence(model: Outputs, circuit: Outputs, graded: Graded, *, logits: bool = True) -> float | None:
    """KL(model ‖ circuit) = Σ_v p(v) ln(p(v) / q(v)) in nats, mean over graded positions.

    Range 0 to ∞, lower is better; infinite where the circuit gives 0 to something the model does not. Not divided by
    |V|, as a mean reduction over all entries of the tensor would do. Source: Kullback & Leibler (1951); in this
    direction Conmy et al. (2023).

    >>> model, circuit = np.array([[[1.0, 0.0]]]), np.array([[[0.5, 0.5]]])
    >>> round(kl_divergence(model, circuit, np.array([[True]]), logits=False), 3)  # ln 2
    0.693
    """
    log_p, log_q = _log_probabilities(*_graded(model, circuit, graded, dim=3), logits)
    if len(log_p) == 0:
        return None
    p = np.exp(log_p)
    with np.errstate(invalid="ignore"):  # p = 0 adds nothing, also where q = 0
        terms = np.where(p > 0, p * (log_p - log_q), 0.0)
    return max(0.0, float(terms.sum(axis=-1).mean()))


def total_variation(model: Outputs, circuit: Outputs, graded: Graded, *, logits: bool = True) -> float | None:
    """½ Σ_v |p(v) − q(v)|, mean over graded positions.

    The largest difference in probability that the two give to any set of answers. Range 0 to 1, lower is better.

    >>> model, circuit = np.array([[[1.0, 0.0]]]), np.array([[[0.5, 0.5]]])
    >>> total_variation(model, circuit, np.array([[True]]), logits=False)
    0.5
    """
    distances = _total_variations(model, circuit, graded, logits)
    return float(distances.mean()) if len(distances) else None


def pair_total_variation(
    model: Outputs, circuit: Outputs, graded: Graded, *, logits: bool = True
) -> Float[np.ndarray, " pair"]:
    """`total_variation` of each pair: mean over its own graded positions, NaN for a pair that has none.

    >>> model, circuit = np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), np.array([[[0.5, 0.5]], [[0.0, 1.0]]])
    >>> pair_total_variation(model, circuit, np.array([[True], [True]]), logits=False).tolist()
    [0.5, 0.0]
    """
    distances = _total_variations(model, circuit, graded, logits)
    counts = graded.sum(axis=1)
    sums = np.bincount(np.nonzero(graded)[0], weights=distances, minlength=len(graded))
    return np.divide(sums, counts, out=np.full(len(graded), np.nan), where=counts > 0)


def squared_error(model: Numbers, circuit: Numbers, graded: Graded) -> float | None:
    """Mean of (model − circuit)² over graded positions, in the squared unit of the output; lower is better, 0 best.

    >>> squared_error(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]), np.array([[True, True]]))
    2.0
    """
    p, q = _graded(model, circuit, graded, dim=2)
    return float(np.mean((p - q) ** 2)) if len(p) else None


def absolute_error(model: Numbers, circuit: Numbers, graded: Graded) -> float | None:
    """Mean of |model − circuit| over graded positions, in the unit of the output; lower is better, 0 best.

    >>> absolute_error(np.array([[1.0, 2.0]]), np.array([[1.0, 4.0]]), np.array([[True, True]]))
    1.0
    """
    p, q = _graded(model, circuit, graded, dim=2)
    return float(np.mean(np.abs(p - q))) if len(p) else None


def _graded(model: np.ndarray, circuit: np.ndarray, graded: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Both outputs at the graded positions, in float64."""
    if model.shape != circuit.shape or model.ndim != dim or graded.shape != model.shape[:2]:
        expected = "[pair, pos, vocab]" if dim == 3 else "[pair, pos]"
        raise ValueError(
            f"model {model.shape}, circuit {circuit.shape} and graded {graded.shape} do not fit; "
            f"give two outputs {expected} and one bool per [pair, pos]"
        )
    p, q = np.asarray(model[graded], dtype=np.float64), np.asarray(circuit[graded], dtype=np.float64)
    for name, values in (("model", p), ("circuit", q)):
        if bad := int((np.isnan(values) | np.isposinf(values)).sum()):
            raise ValueError(f"{bad} of the {name}'s {values.size} outputs at graded positions are NaN or infinite")
    return p, q


def _agreement(p: np.ndarray, q: np.ndarray) -> Float[np.ndarray, " positions"]:
    largest_p, largest_q = p == p.max(axis=-1, keepdims=True), q == q.max(axis=-1, keepdims=True)
    return (largest_p & largest_q).sum(axis=-1) / (largest_p | largest_q).sum(axis=-1)


def _log_probabilities(p: np.ndarray, q: np.ndarray, logits: bool) -> tuple[np.ndarray, np.ndarray]:
    return (_log_softmax(p), _log_softmax(q)) if logits else (_log(p), _log(q))


def _log_softmax(x: np.ndarray) -> np.ndarray:
    largest = x.max(axis=-1, keepdims=True)
    if np.isneginf(largest).any():
        raise ValueError("every logit of some graded position is -inf; one must be finite")
    shifted = x - largest
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _log(probabilities: np.ndarray) -> np.ndarray:
    sums = probabilities.sum(axis=-1)
    if (probabilities < 0).any() or (np.abs(sums - 1) > 1e-4).any():
        raise ValueError("probabilities must be ≥ 0 and sum to 1 at every graded position; for logits set logits=True")
    with np.errstate(divide="ignore"):
        return np.log(probabilities / sums[..., None])


def _total_variations(
    model: np.ndarray, circuit: np.ndarray, graded: np.ndarray, logits: bool
) -> Float[np.ndarray, " positions"]:
    log_p, log_q = _log_probabilities(*_graded(model, circuit, graded, dim=3), logits)
    return np.abs(np.exp(log_p) - np.exp(log_q)).sum(axis=-1) / 2
