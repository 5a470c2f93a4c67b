"""The variant `camouflage`: edges that look live and are provably inert.

Whoever only looks at the weights sees neurons, heads and query terms that read what the circuit reads and write where
it writes. Each is of a construction (`gaugeblock.compiled.edges.inert`) that changes no logit, whatever is ablated, and
is listed in the model's provenance; the weights without these parts tell which edges are live.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from gaugeblock.compiled.edges.bounds import SURE_SCORE_GAP, StreamBounds, after_head, after_neurons, gap, start
from gaugeblock.compiled.edges.inert import TOLERANCE
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.parts import HeadSlot, Layer, Neurons, put_together, take_apart, wider
from gaugeblock.programs.errors import CompileError

N_BOS_HEADS = 3
"""Heads to add to each layer."""

MIN_NEURONS, MAX_NEURONS = 16, 64
"""Neurons to add to each layer: as many as there are, within these bounds."""

MAX_CONTENT = 1024.0
"""Directions whose content may be larger are not read; smaller numbers are read with so much less weight."""

MAX_READS, MAX_QUERY_READS = 3, 6
"""Most directions that a neuron reads, or the value of a head on BOS writes; that the query of a head reads."""

MAX_SHIFT = 40.0
"""How far a constant key may shift the scores of a query, at most."""


def camouflage(model: CompiledModel, rng: np.random.Generator) -> CompiledModel:
    """Add dead and twin neurons and heads that attend to BOS to every layer, and a constant key to every head.

    Effect on truth: edges that only these parts carry are live and not of the circuit. They are negatives where the
    proof holds for the ablation; under zero ablation, edges of heads that leave BOS are ignored. Raises CompileError
    for a model without ReLU.
    """
    if model.activation != "relu":
        raise CompileError(f"camouflage needs ReLU neurons; {model.program.name!r} has {model.activation} ones")
    layers = take_apart(model)
    d_head = 2 + model.hooked.cfg.d_head  # for queries and keys of a head that attends to BOS; for the constant key
    layers = [replace(layer, heads=[wider(head, d_head) for head in layer.heads]) for layer in layers]
    model = _with_constant(model)
    draw = _Draw(model, layers, rng)
    width = max(sum(len(n.b_in) for n in layer.neurons) for layer in layers)
    n_neurons = min(max(width, MIN_NEURONS), MAX_NEURONS)
    for i, layer in enumerate(layers):
        draw.heads(i, layer)
        draw.neurons(i, layer, n_neurons)
    return put_together(model, layers, rng)


def _with_constant(model: CompiledModel) -> CompiledModel:
    """The model's embedding with one more direction, which it writes for every token, BOS and PAD included."""
    grown = {"embed.W_E": (1, 1.0), "pos_embed.W_pos": (1, 0.0), "unembed.W_U": (0, 0.0)}
    weights = dict(model.weights)
    for name, (axis, value) in grown.items():
        array = weights[name]
        extra = np.full((len(array), 1) if axis else (1, array.shape[1]), value)
        weights[name] = np.concatenate([array, extra], axis)
    where = replace(model.provenance, directions=(*model.provenance.directions, "constant"))
    return replace(model, weights=weights, provenance=where)


@final
@dataclass
class _Draw:
    """A drawing of parts, layer by layer, that bounds what the stream can hold.

    `real`: bounds that hold unless something is zeroed; `any`: always. `weight`: with how much weight a direction is
    read, a power of two, less for larger contents.
    """

    model: CompiledModel
    layers: list[Layer]
    rng: np.random.Generator

    def __post_init__(self) -> None:
        weights, labels = self.model.weights, self.model.provenance.directions
        self.size = len(labels)
        self.constant = self.size - 1
        self.bos = labels.index("bos=True")
        self.fixed = np.array([i for i, name in enumerate(labels) if name in ("present=True", "bos=True", "constant")])
        self.real, self.any = (start(weights, zeroed) for zeroed in (False, True))
        self.layers[:] = [_widened(layer, self.size) for layer in self.layers]
        self.templates = [h.parameters for layer in self.layers for h in layer.heads if h.operation is not None]
        groups = [group for layer in self.layers for group in layer.neurons if group.operation is not None]
        self.reads = _sizes([group.W_in for group in groups])
        self.writes = _sizes([group.W_out for group in groups])
        self.weight = np.ones(self.size)
        self.sources = [
            self._varying(StreamBounds((b,), (o,))) for b, o in zip(self.any.bos, self.any.other, strict=True)
        ]

    # --- heads --------------------------------------------------------------------------------------------------

    def heads(self, i: int, layer: Layer) -> None:
        """Give each head of the layer a constant key, and add heads that attend to BOS."""
        near = self._readable()
        if len(near):
            layer.heads[:] = [self._with_constant_key(head, near) for head in layer.heads]
            added = (self._bos_head(i, near) for _ in range(N_BOS_HEADS if self.templates else 0))
            layer.heads += [self._with_constant_key(head, near) for head in added if head is not None]
        real = [after_head(self.real, head.parameters) for head in layer.heads]
        any_ = [after_head(self.any, head.parameters) for head in layer.heads]
        self.real, self.any = self.real.plus(*real), self.any.plus(*any_)
        self.sources += [self._varying(content) for content in any_]

    def _with_constant_key(self, head: HeadSlot, near: np.ndarray) -> HeadSlot:
        p = {name: array.copy() for name, array in head.parameters.items()}
        reads = self._pick(near, MAX_QUERY_READS)
        p["W_K"][self.constant, -1] = 1.0
        p["W_Q"][reads, -1] = self._signed(reads)
        span = np.abs(self.any.highest(p["W_Q"][:, -1:])[0]) + np.abs(self.any.highest(-p["W_Q"][:, -1:])[0])
        p["W_Q"][:, -1] *= MAX_SHIFT / max(span, 1.0) * math.sqrt(p["W_Q"].shape[1])
        return replace(head, parameters=p, inert=(*head.inert, "constant key"))

    def _bos_head(self, i: int, near: np.ndarray) -> HeadSlot | None:
        """A circuit head that reads other directions, with so much weight on BOS that no key can win.

        None where nothing is zero at BOS, or where no later reader is left to be written for.
        """
        template = self.templates[self.rng.integers(len(self.templates))]
        silent = self._silent_at_bos(near)
        targets = self._later_reads(i, after_heads=True)
        column = _bos_column(template["W_K"], self.bos)
        if not len(silent) or not targets or column is None:
            return None
        p = {name: template[name].copy() for name in ("b_Q", "b_K")}
        for name in ("W_Q", "W_K"):
            p[name] = np.zeros_like(template[name])
            p[name][self.fixed] = template[name][self.fixed]
            self._redirect(template[name], p[name], near, spare=-2)
        p["W_V"], p["b_V"] = np.zeros_like(template["W_V"]), np.zeros_like(template["b_V"])
        self._redirect(template["W_V"], p["W_V"], silent, spare=0)
        p["W_O"] = np.zeros_like(template["W_O"])
        for row in np.flatnonzero(p["W_V"].any(0)):
            length = np.linalg.norm(template["W_O"][row]) or 1.0
            for _ in range(MAX_READS):
                p["W_O"][row, self._target(targets)] = self.rng.choice([-1.0, 1.0]) * length
        behind = min(gap(self.real, p, query) for query in ("bos", "other"))
        lead = math.ceil(max(0.0, SURE_SCORE_GAP + 1 - behind)) / p["W_K"][self.bos, column]
        p["b_Q"][column] += lead * math.sqrt(len(p["b_Q"]))
        return HeadSlot(None, p, ("parked head",))

    def _redirect(self, matrix: np.ndarray, into: np.ndarray, available: np.ndarray, spare: int) -> None:
        """Add each row of the map, but for BOS, presence and the constant, to the row of a random direction."""
        used = np.setdiff1d(np.flatnonzero(np.abs(matrix).any(1)), self.fixed)
        if not len(used):  # a map that asks for no more than presence: read something in an inner direction to spare
            reads = self._pick(available, MAX_QUERY_READS)
            into[reads, spare] = (np.abs(matrix).max() or 1.0) * self.weight[reads]
            return
        allowed = self._shuffled(available)
        n = max(MAX_QUERY_READS, len(used))
        reads, rows = np.resize(allowed, n), np.resize(self.rng.permutation(used), n)
        np.add.at(into, reads, matrix[rows] * self.weight[reads, None])

    def _silent_at_bos(self, near: np.ndarray) -> np.ndarray:
        """The directions that hold zero at BOS, also where something before is zeroed and heads look elsewhere."""
        loud = sum((np.abs(vertices).max(0) for vertices in self.any.bos), np.zeros(self.size))
        return near[loud[near] <= TOLERANCE / 100]

    # --- neurons ------------------------------------------------------------------------------------------------

    def neurons(self, i: int, layer: Layer, n: int) -> None:
        """Add n dead and twin neurons, or fewer where there is nothing to read or to write for."""
        near, targets = self._readable(), self._later_reads(i, after_heads=False)
        if len(near) and targets:
            n_twins = n // 2
            while n_twins >= 2:
                twins = self._twins(near, targets, n_twins if n_twins < 4 else int(self.rng.integers(2, 4)))
                layer.neurons.append(twins)
                n_twins -= len(twins.b_in)
            layer.neurons.append(self._dead(near, targets, n - n // 2))
        real, any_ = (
            [after_neurons(before, group.W_in, group.b_in, group.W_out) for group in layer.neurons]
            for before in (self.real, self.any)
        )
        self.real, self.any = self.real.plus(*real), self.any.plus(*any_)
        self.sources += [self._varying(StreamBounds().plus(*any_))]

    def _dead(self, near: np.ndarray, targets: Sequence[np.ndarray], n: int) -> Neurons:
        """Neurons that nothing can wake: each bias is just below what the reads can add up to."""
        W_in, W_out = np.zeros((self.size, n)), np.zeros((n, self.size))
        for j in range(n):
            reads = self._pick(near)
            W_in[reads, j] = self._signed(reads) * self.rng.choice(self.reads)
            W_out[j, self._target(targets)] = self.rng.choice([-1.0, 1.0]) * self.rng.choice(self.writes)
        slack = self.rng.choice([0.5, 1.0, 2.0], n)
        return Neurons(None, W_in, -np.ceil(self.any.highest(W_in)) - slack, W_out, "dead neurons")

    def _twins(self, near: np.ndarray, targets: Sequence[np.ndarray], n: int) -> Neurons:
        """Two or three neurons that say the same on different scales, and take it back together."""
        read, reads = np.zeros(self.size), self._pick(near)
        read[reads] = self._signed(reads) * self.rng.choice(self.reads)
        scales = self.rng.choice([0.5, 1.0, 2.0], n)
        bias = float(self.rng.choice([-1.0, -0.5, 0.0, 0.5]) * np.abs(read).max())
        W_out = np.zeros((n, self.size))
        for j in range(n - 1):
            W_out[j, self._target(targets)] += self.rng.choice([-1.0, 1.0]) * self.rng.choice(self.writes)
        if not (scales[:-1] @ W_out[:-1]).any():  # two of three that cancel already
            W_out[0] *= 2
        W_out[-1] = -(scales[:-1] @ W_out[:-1]) / scales[-1]
        return Neurons(None, read[:, None] * scales, bias * scales, W_out, "twin neurons")

    # --- what can be read, and where it is read --------------------------------------------------------------------

    def _readable(self) -> np.ndarray:
        """Directions that vary, and not by too much; not BOS, presence and the constant."""
        low, high = self.any.extent()
        self.weight = 2.0 ** -np.ceil(np.log2(np.maximum(np.maximum(high, -low) / 2, 1)))
        varying = np.flatnonzero((high - low > TOLERANCE) & (high <= MAX_CONTENT) & (low >= -MAX_CONTENT))
        return np.setdiff1d(varying, self.fixed)

    def _varying(self, content: StreamBounds) -> np.ndarray:
        if not content.bos:
            return np.zeros(0, int)
        low, high = content.extent()
        return np.setdiff1d(np.flatnonzero(high - low > TOLERANCE), self.fixed)

    def _shuffled_sources(self) -> list[np.ndarray]:
        """The directions of each writer so far, in random order."""
        return [self.rng.permutation(self.sources[s]) for s in self.rng.permutation(len(self.sources))]

    def _signed(self, reads: np.ndarray) -> np.ndarray:
        return self.rng.choice([-1.0, 1.0], len(reads)) * self.weight[reads]

    def _pick(self, available: np.ndarray, n: int = MAX_READS) -> np.ndarray:
        """Between two and n of these directions, of different writers as far as there are."""
        return self._shuffled(available)[: self.rng.integers(2, n + 1)]

    def _shuffled(self, available: np.ndarray) -> np.ndarray:
        """These directions in random order: one of each writer so far first, then another of each, and so on."""
        columns = [s[np.isin(s, available)] for s in self._shuffled_sources()]
        turns = range(max(map(len, columns), default=0))
        return np.array(list(dict.fromkeys(column[turn] for turn in turns for column in columns if turn < len(column))))

    def _later_reads(self, i: int, after_heads: bool) -> list[np.ndarray]:
        """The directions that each reader of the circuit after this place reads."""
        maps = [self.model.weights["unembed.W_U"]]
        for later, layer in enumerate(self.layers[i:], i):
            if later > i or after_heads:
                groups = [group.W_in for group in layer.neurons if group.operation is not None]
                maps += [np.hstack(groups)] if groups else []
            if later > i:
                heads = [head.parameters for head in layer.heads if head.operation is not None]
                maps += [p[name] for p in heads for name in ("W_Q", "W_K", "W_V")]
        reads = (np.setdiff1d(np.flatnonzero(np.abs(matrix).any(1)), self.fixed) for matrix in maps)
        return [directions for directions in reads if len(directions)]

    def _target(self, targets: Sequence[np.ndarray]) -> int:
        return int(self.rng.choice(targets[int(self.rng.integers(len(targets)))]))


def _widened(layer: Layer, size: int) -> Layer:
    """The layer over a stream of more directions."""

    def along(array: np.ndarray, axis: int) -> np.ndarray:
        return np.pad(array, [(0, size - array.shape[axis] if a == axis else 0) for a in range(array.ndim)])

    axes = {"W_Q": 0, "W_K": 0, "W_V": 0, "W_O": 1}
    heads = [
        replace(h, parameters={name: along(a, axes[name]) if name in axes else a for name, a in h.parameters.items()})
        for h in layer.heads
    ]
    groups = [replace(group, W_in=along(group.W_in, 0), W_out=along(group.W_out, 1)) for group in layer.neurons]
    return Layer(heads, groups)


def _bos_column(W_K: np.ndarray, bos: int) -> int | None:
    """The inner direction of a head in which its keys say that this is BOS, and nothing else."""
    alone = (np.abs(W_K).astype(bool).sum(0) == 1) & (W_K[bos] != 0)
    return int(alone.argmax()) if alone.any() else None


def _sizes(maps: Sequence[np.ndarray]) -> np.ndarray:
    """The sizes of a map's entries, as powers of two, which multiply exactly; 1 where there is none, none above 8."""
    entries = np.concatenate([np.zeros(0), *(np.abs(matrix[matrix != 0]) for matrix in maps)])
    return 2.0 ** np.clip(np.round(np.log2(entries)), -3, 3) if len(entries) else np.ones(1)
