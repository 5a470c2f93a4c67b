"""Parts of a model that change no logit though they look live, and the ablations for which that is proved.

An ablation moves a part's content, never its map, and each construction cancels whatever contents it meets. So a
logit depends on no more than what the weights without these parts read, whatever set of edges is ablated.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from gaugeblock.compiled.stages.assemble import Weights

CONSTRUCTIONS: Mapping[str, frozenset[str]] = {
    "dead neurons": frozenset({"resample", "donor", "mean", "zero"}),
    "twin neurons": frozenset({"resample", "donor", "mean", "zero"}),
    "constant key": frozenset({"resample", "donor", "mean", "zero"}),
    "parked head": frozenset({"resample", "donor", "mean"}),
}
"""Construction -> the ablations for which its proof holds.

- dead neurons: what goes into the ReLU is at most 0, for any mixture of contents, each with zero added.
- twin neurons: relu of multiples of one number, with writes that cancel.
- constant key: a query term meets only a direction that embed writes alike for every token, BOS and PAD included, so
  it shifts all scores of a query alike.
- parked head: it attends to BOS, which leads all other keys by 60 or more for any contents, and has no value, even
  where writers before are zeroed. A zeroed embed at its own q or k takes the lead away.
"""

TOLERANCE = 1e-9


@final
@dataclass(frozen=True)
class Inert:
    """A part of a model that changes no logit.

    Attributes:
        construction: key of CONSTRUCTIONS.
        layer: where it stands.
        head: that attends to BOS ("parked head"), or the one with a constant key.
        neurons: hidden units of dead neurons, or of one set of twins.
    """

    construction: str
    layer: int
    head: int | None = None
    neurons: tuple[int, ...] = ()


def proved(parts: Iterable[Inert], ablation: str) -> tuple[Inert, ...]:
    """The parts whose proof holds under an ablation."""
    return tuple(part for part in parts if ablation in CONSTRUCTIONS[part.construction])


def without(weights: Weights, parts: Iterable[Inert]) -> Weights:
    """The weights with these parts taken out: zeros where a neuron or head was, no query term for a constant key."""
    left, keyed = dict(weights), []
    for part in parts:
        at = f"blocks.{part.layer}."
        if part.construction == "constant key" and part.head is not None:
            keyed.append((part.layer, part.head))
        elif part.head is not None:
            names = [name for name in weights if name.startswith(at + "attn.") and not name.endswith("b_O")]
            left |= {name: _zeroed(left[name], (part.head,)) for name in names}
        else:
            neurons = list(part.neurons)
            left |= {at + f"mlp.{name}": _zeroed(left[at + f"mlp.{name}"], neurons) for name in ("b_in", "W_out")}
            left[at + "mlp.W_in"] = _zeroed(left[at + "mlp.W_in"].T, neurons).T
    for layer, head in keyed:
        at = f"blocks.{layer}.attn."
        shared = constant_key(left, layer, head)
        for name in ("W_Q", "b_Q"):
            asked = left[at + name].copy()
            asked[head] -= np.multiply.outer(asked[head] @ shared, shared)
            left[at + name] = asked
    return left


def constant_key(weights: Weights, layer: int, head: int) -> Float[np.ndarray, " d_head"]:
    """The unit vector along which every key of a head is the same, whatever is ablated; zero where there is none.

    Keys differ by differences of what embed writes, and of what pos writes, and by anything that heads and MLPs write.
    """
    W_E, W_pos = weights["embed.W_E"], weights["pos_embed.W_pos"]
    W_K = weights[f"blocks.{layer}.attn.W_K"][head]
    vary = [W_E[:-1] - W_E[-1], W_pos[1:] - W_pos[:1]]
    for earlier in range(layer):
        at = f"blocks.{earlier}."
        W_V, b_V, W_O = (weights[f"{at}attn.{name}"] for name in ("W_V", "b_V", "W_O"))
        vary += [np.vstack([v, b]) @ o for v, b, o in zip(W_V, b_V, W_O, strict=True)]
        vary += [weights[f"{at}mlp.W_out"], weights[f"{at}mlp.b_out"][None]]
    differences = np.vstack(vary) @ W_K
    size = np.linalg.norm(differences, axis=1)
    kept = size > TOLERANCE * np.linalg.norm(W_K)
    _, values, basis = np.linalg.svd(differences[kept] / size[kept, None], full_matrices=False)
    basis = basis[values > TOLERANCE * values.max(initial=0)]
    shared = W_E[-1] @ W_K
    inside = shared @ basis.T @ basis
    if np.linalg.norm(inside) > TOLERANCE * np.linalg.norm(shared):  # else it stays as it is, to the last bit
        shared = shared - inside
    length = np.linalg.norm(shared)
    return shared / length if length > TOLERANCE * np.linalg.norm(W_K) else np.zeros_like(shared)


def _zeroed(array: np.ndarray, rows: Iterable[int]) -> np.ndarray:
    result = array.copy()
    result[list(rows)] = 0
    return result
