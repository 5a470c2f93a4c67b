"""The checker's own proof that the parts of a model which a label file lists as inert change no logit.

Bounds hold for any contents: each writer's content, as any reader sees it, is a point of a sum of convex pieces, at the
BOS position and elsewhere. What an ablation puts there instead lies in the same pieces, or is zero.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gaugeblock.checker.claims import Claim, make_claim
from gaugeblock.checker.evidence import Evidence, Part
from gaugeblock.checker.weights import TOLERANCE, WeightsModel

MIN_LEAD = 60.0
"""Attention to a key whose score is lower by so much is below 1e-26."""

UNDER_EVERY_ABLATION = ("dead neurons", "twin neurons", "constant key")
"""Constructions whose proof holds under every ablation."""

ATTENDS_TO_BOS = "parked head"
"""Its proof needs the content of BOS to be there, so it does not hold where that is zeroed."""


Rows = Float[Tensor, "_ d_model"]


def check_inert(evidence: Evidence, parts: Sequence[Part], ablation: str) -> Claim:
    """Check that every part that a label file lists is what it is said to be. Under `zero`, too, a head that is said to
    attend to BOS must do so, though its edges are not negatives then."""
    key = repr(parts)
    if key not in evidence.proofs:  # the same under every ablation
        evidence.proofs[key] = _wrong_parts(evidence, parts)
    counts = Counter(part["construction"] for part in parts)
    shown = ", ".join(f"{n} × {name}" for name, n in sorted(counts.items())) or "no part is said to be inert"
    return make_claim("inert parts", ablation, len(parts), evidence.proofs[key], f"proved from the weights: {shown}")


def _wrong_parts(evidence: Evidence, parts: Sequence[Part]) -> list[str]:
    wrong = [fault for part in parts for fault in _misnamed(evidence.model, part)]
    wrong += [f"{what} is listed {times} times" for what, times in _members(parts).items() if times > 1]
    if not wrong and parts:
        at_hand, zeroed = _Pieces(evidence.model, zeroed=False), _Pieces(evidence.model, zeroed=True)
        for part in parts:
            wrong += [f"{_title(part)}: {fault}" for fault in _faults(evidence, part, at_hand, zeroed)]
    return wrong


def reduced(weights: Mapping[str, np.ndarray], parts: Sequence[Part], ablation: str | None) -> dict[str, np.ndarray]:
    """The weights without the parts that change no logit under an ablation; without all of them if it is None."""
    left = {name: np.array(array) for name, array in weights.items()}
    gone = [part for part in parts if part["construction"] in UNDER_EVERY_ABLATION or ablation != "zero"]
    for part in gone:
        at = f"blocks.{part['layer']}."
        if part["construction"] == ATTENDS_TO_BOS:
            for name in ("W_Q", "b_Q", "W_K", "b_K", "W_V", "b_V", "W_O"):
                left[f"{at}attn.{name}"][part["head"]] = 0
        elif part["construction"] != "constant key":
            left[at + "mlp.W_in"][:, part["neurons"]] = 0
            left[at + "mlp.b_in"][part["neurons"]] = 0
            left[at + "mlp.W_out"][part["neurons"]] = 0
    model = WeightsModel(left)
    for part in gone:
        if part["construction"] == "constant key" and part["head"] in model.heads[part["layer"]]:
            kept = _key_differences(model, part["layer"], part["head"])
            for name in ("W_Q", "b_Q"):
                queries = left[f"blocks.{part['layer']}.attn.{name}"]
                queries[part["head"]] = queries[part["head"]] @ kept @ kept.T
    return left


# --- what the parts are --------------------------------------------------------------------------------------------


def _misnamed(model: WeightsModel, part: Part) -> Iterator[str]:
    layer, head, neurons = part["layer"], part["head"], part["neurons"]
    if part["construction"] not in (*UNDER_EVERY_ABLATION, ATTENDS_TO_BOS):
        yield f"no construction is named {part['construction']!r}"
    elif not 0 <= layer < model.n_layers:
        yield f"there is no layer {layer}"
    elif part["construction"] in ("dead neurons", "twin neurons"):
        if head is not None or not neurons or not set(neurons) <= set(model.neurons[layer].tolist()):
            yield f"{part['construction']} of layer {layer} are not some of its neurons: {neurons}"
    elif neurons or head not in model.heads[layer]:
        yield f"{part['construction']} of layer {layer} is not one of its heads: {head}"


def _members(parts: Sequence[Part]) -> Counter[str]:
    named: Counter[str] = Counter()
    for part in parts:
        named.update(f"neuron {neuron} of layer {part['layer']}" for neuron in part["neurons"])
        if part["head"] is not None:
            named[_title(part)] += 1
    return named


def _title(part: Part) -> str:
    where = f"m{part['layer']}" if part["head"] is None else f"a{part['layer']}.h{part['head']}"
    return f"{part['construction']} in {where}"


def _faults(evidence: Evidence, part: Part, at_hand: "_Pieces", zeroed: "_Pieces") -> Iterator[str]:
    model, layer = evidence.model, part["layer"]
    if part["head"] is not None:
        if part["construction"] == ATTENDS_TO_BOS:
            yield from at_hand.not_at_bos(layer, part["head"])
            yield from zeroed.loud_at_bos(layer, part["head"])
        elif _key_differences(model, layer, part["head"], shared=True).shape[1] == 0:
            yield "no key direction is the same for every token"
        return
    if evidence.activation != "relu":
        yield f"the proof needs ReLU, not {evidence.activation}"
        return
    neurons = torch.tensor(part["neurons"])
    W_in, b_in, W_out = _mlp(model, layer, neurons)
    if part["construction"] == "dead neurons":
        highest = b_in + _top(zeroed.before_mlp[layer], W_in)
        for neuron in neurons[highest > 0].tolist():
            yield f"neuron {neuron} may read up to {float(highest[neurons == neuron]):.3g} above its threshold"
        return
    lengths = W_in.norm(dim=0)
    if not bool((lengths > 0).all()):
        yield "a twin reads nothing"
        return
    scale = lengths / lengths[0]
    if float((W_in / scale - W_in[:, :1]).norm(dim=0).max()) > TOLERANCE * float(lengths[0]):
        yield "twins do not read the same"
    if float((b_in / scale - b_in[0]).abs().max()) > TOLERANCE * float(lengths[0]):
        yield "twins have other thresholds"
    if float((scale @ W_out).norm()) > TOLERANCE * float((scale[:, None] * W_out).norm()):
        yield "what twins write does not cancel"


# --- bounds --------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class _Piece:
    """Corners of a convex set: of what a writer writes, or a part of it, at BOS and elsewhere."""

    bos: Rows
    other: Rows

    @property
    def anywhere(self) -> Rows:
        return torch.cat([self.bos, self.other])


@dataclass
class _Pieces:
    """The pieces whose sums bound the stream before the heads and before the MLP of each layer.

    zeroed: whether any writer may be replaced by zero.
    """

    model: WeightsModel
    zeroed: bool
    before_heads: list[list[_Piece]] = field(default_factory=list)
    before_mlp: list[list[_Piece]] = field(default_factory=list)

    def __post_init__(self) -> None:
        p, model = self.model.p, self.model
        bos = len(p["embed.W_E"]) - 2
        others = [token for token in range(bos + 2) if token != bos]
        pairs = [(p["embed.W_E"][[bos]], p["embed.W_E"][others]), (p["pos_embed.W_pos"][:1], p["pos_embed.W_pos"][1:])]
        stream = [self._piece(*pair) for pair in pairs]
        for layer, heads in enumerate(model.heads):
            self.before_heads.append(list(stream))
            stream += [piece for head in heads for piece in self._of_head(layer, head)]
            constant = model.attention(layer, "b_O")[None]
            stream += [self._piece(constant, constant)] if bool(constant.any()) else []
            self.before_mlp.append(list(stream))
            if model.has_mlp(layer):
                stream += list(self._of_mlp(layer, stream))

    def not_at_bos(self, layer: int, head: int) -> Iterator[str]:
        """What keeps a head from attending to BOS alone."""
        for at in ("bos", "other"):
            lead = self._lead(layer, head, at)
            if lead < MIN_LEAD:
                yield f"BOS may lead by no more than {lead:.4g} for a query {'at BOS' if at == 'bos' else 'elsewhere'}"

    def loud_at_bos(self, layer: int, head: int) -> Iterator[str]:
        """What keeps BOS from having no value."""
        W_V, b_V = self.model.attention(layer, "W_V")[head], self.model.attention(layer, "b_V")[head]
        loud = b_V.abs() + sum((piece.bos @ W_V).abs().amax(0) for piece in self.before_heads[layer])
        if float(loud.max()) > TOLERANCE:
            yield f"BOS may have a value of {float(loud.max()):.2g}"

    def _lead(self, layer: int, head: int, at: str) -> float:
        """By how much a head's score of BOS exceeds all others, at least, for queries at BOS or not."""
        W_Q, b_Q, W_K = (self.model.attention(layer, name)[head] for name in ("W_Q", "b_Q", "W_K"))
        pieces = self.before_heads[layer]
        queries, quiet = _split([b_Q[None], *((p.bos if at == "bos" else p.other) @ W_Q for p in pieces)], W_Q)
        others, few = _split([torch.cat([p.other, -p.bos]) @ W_K for p in pieces], W_K)
        sizes = [(len(p.other), len(p.bos)) for p in pieces]
        # each piece of the keys adds what its best other row leads its worst BOS row by
        queries = queries or [(0, b_Q[None])]
        asked, ends = torch.cat([rows for _, rows in queries]), [n for i, _ in others for n in sizes[i]]
        ahead = torch.cat([rows for _, rows in others]) @ asked.T if others else asked.new_zeros(0, len(asked))
        behind = _highest(_highest(ahead, ends).sum(0)[:, None], [len(rows) for _, rows in queries]).sum()
        # and what was left out adds at most the products of its lengths
        loud = sum(float(rows.norm(dim=1).max()) for _, rows in queries)
        heard = 2 * sum(float(rows.norm(dim=1).max()) for _, rows in others)
        slack = (loud + quiet) * 2 * few + quiet * heard
        return -(float(behind) + slack) / math.sqrt(W_Q.shape[1])

    def _of_head(self, layer: int, head: int) -> Iterator[_Piece]:
        carried = self.model.attention(layer, "W_V")[head] @ self.model.attention(layer, "W_O")[head]
        at_bos, elsewhere = (self._lead(layer, head, at) >= MIN_LEAD for at in ("bos", "other"))
        for piece in self.before_heads[layer]:
            values = _Piece(piece.bos @ carried, piece.other @ carried)
            if bool(values.anywhere.any()):
                mixed = values.anywhere
                yield self._piece(values.bos if at_bos else mixed, values.bos if elsewhere else mixed)
        constant = (self.model.attention(layer, "b_V")[head] @ self.model.attention(layer, "W_O")[head])[None]
        if bool(constant.any()):
            yield self._piece(constant, constant)

    def _of_mlp(self, layer: int, stream: Sequence[_Piece]) -> Iterator[_Piece]:
        """Neurons that read along one line write along a broken line: its bends and ends are corners."""
        model, neurons = self.model, self.model.neurons[layer]
        W_in, b_in, W_out = _mlp(model, layer, neurons)
        lengths = W_in.norm(dim=0)
        unit = W_in / lengths.clamp(min=1e-300)
        cosine = unit.T @ unit
        together = (cosine.abs() > 1 - 1e-12) | torch.eye(len(neurons), dtype=torch.bool)
        leader = together.int().argmax(0)
        leaders = leader.unique()
        lines = unit[:, leaders]
        ends = [(-_top(stream, -lines, at), _top(stream, lines, at)) for at in ("bos", "other")]
        for i, first in enumerate(leaders.tolist()):
            members = (leader == first).nonzero().flatten()
            slope = cosine[first, members].sign() * lengths[members]
            corners = []
            for low, high in ends:
                bends = -b_in[members] / slope
                at = torch.cat([low[i : i + 1], high[i : i + 1], bends[(bends > low[i]) & (bends < high[i])]])
                corners.append((at[:, None] * slope + b_in[members]).relu() @ W_out[members])
            if bool(torch.cat(corners).any()):
                yield self._piece(*corners)
        constant = model.mlp(layer, "b_out")[None]
        if bool(constant.any()):
            yield self._piece(constant, constant)

    def _piece(self, bos: Rows, other: Rows) -> _Piece:
        zero = torch.zeros_like(bos[:1])
        sides = [torch.cat([rows, zero]) if self.zeroed else rows for rows in (bos, other)]
        return _Piece(*(rows.unique(dim=0) for rows in sides))


def _mlp(model: WeightsModel, layer: int, neurons: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """W_in, b_in and W_out of some neurons."""
    return model.mlp(layer, "W_in")[:, neurons], model.mlp(layer, "b_in")[neurons], model.mlp(layer, "W_out")[neurons]


def _split(groups: Sequence[Tensor], matrix: Tensor) -> tuple[list[tuple[int, Tensor]], float]:
    """(groups of rows that are more than rounding, with their places; the sum of the others' largest lengths)."""
    longest = [float(rows.norm(dim=1).max()) for rows in groups]
    small = [length <= TOLERANCE * float(matrix.norm()) for length in longest]
    kept = [(i, rows) for i, rows in enumerate(groups) if not small[i]]
    return kept, math.fsum(length for length, is_small in zip(longest, small, strict=True) if is_small)


def _highest(rows: Float[Tensor, "row n"] | np.ndarray, sizes: Sequence[int]) -> Float[np.ndarray, "group n"]:
    """The largest entries of each group of rows; groups of these sizes stand one behind the other."""
    values = np.asarray(rows)
    return np.maximum.reduceat(values, np.cumsum([0, *sizes[:-1]]), axis=0) if len(values) else values


def _top(stream: Sequence[_Piece], reads: Float[Tensor, "d_model n"], at: str = "anywhere") -> Float[Tensor, " n"]:
    """The most that each of some reads of the stream can be."""
    total = torch.zeros(reads.shape[1], dtype=reads.dtype)
    for piece in stream:
        total = total + (getattr(piece, at) @ reads).amax(0)
    return total


def _key_differences(model: WeightsModel, layer: int, head: int, shared: bool = False) -> np.ndarray:
    """Orthonormal columns that span the differences between a head's keys; if `shared`, what embed adds to all alike
    and no difference has a part in. Keys differ as tokens do, as positions do, and in all that heads and MLPs write."""
    W_K = model.attention(layer, "W_K")[head]
    tokens, places = model.p["embed.W_E"], model.p["pos_embed.W_pos"]
    rows = [tokens - tokens[:1], places - places[:1]]
    rows += [model.output_rows(w, f"a{layer}.h{head}.k") for w in model.earlier[f"a{layer}.h{head}.k"] if w[0] in "am"]
    differences = torch.cat(rows) @ W_K
    differences = differences[differences.norm(dim=1) > TOLERANCE * W_K.norm()]
    differences = differences / differences.norm(dim=1, keepdim=True)
    _, sizes, basis = torch.linalg.svd(differences, full_matrices=False)
    basis = basis[sizes > TOLERANCE * max(1.0, float(sizes.max()) if len(sizes) else 0.0)].T
    if shared:
        key = tokens[0] @ W_K
        rest = key - basis @ (basis.T @ key)
        return rest[:, None].numpy()[:, : int(float(rest.norm()) > TOLERANCE * float(W_K.norm()))]
    return basis.numpy()
