"""The variant `pad`: heads, neurons and layers that compute something from live variables for nobody graded.

Empty slots would betray the circuit, so every head slot and every neuron is filled. Padding reads what the circuit
reads and writes residual directions of its own, which only other padding reads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, final

import numpy as np
from jaxtyping import Bool, Float

from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.parts import HeadSlot, Layer, Neurons, put_together, take_apart
from gaugeblock.programs.errors import CompileError

PADDING_WIDTH = 8
"""Residual dimensions that padding writes."""

MIN_HEADS = 4
MIN_NEURONS = 24
MAX_TRIES = 50

Part = TypeVar("Part", HeadSlot, Neurons)
Stream = Float[np.ndarray, "input pos d_model"]


def pad(model: CompiledModel, rng: np.random.Generator) -> CompiledModel:
    """Fill up to at least four heads per layer and one MLP width everywhere, with zero or one extra layer.

    Effect on truth: padding adds edges, all of them not live. Each padding head's and MLP's output varies with the
    input, and its mean norm lies between the 10 % and 90 % quantiles of the norms of the circuit's outputs.
    """
    layers = take_apart(model)
    if rng.integers(2):
        layers.insert(int(rng.integers(len(layers) + 1)), Layer())
    n_heads = max(MIN_HEADS, 1 + max(len(layer.heads) for layer in layers))
    d_mlp = max(MIN_NEURONS, 4 + max(sum(len(n.b_in) for n in layer.neurons) for layer in layers))
    draw = _Draw(model, layers, rng)
    for layer in layers:
        before = draw.stream
        written = [_attention(head, before) for head in layer.heads]
        while len(layer.heads) < n_heads:
            head, output = draw.padding_head(before)
            layer.heads.append(head)
            written.append(output)
        draw.add(written)
        written = [_mlp(group, draw.stream) for group in layer.neurons]
        group, output = draw.padding_neurons(d_mlp - sum(len(n.b_in) for n in layer.neurons))
        layer.neurons.append(group)
        draw.add([*written, output])
    return put_together(model, layers, rng, n_heads=n_heads, d_mlp=d_mlp, padding=PADDING_WIDTH)


@final
@dataclass
class _Draw:
    """A drawing of padding, followed through the layers on sampled inputs, to see that it varies and its size."""

    model: CompiledModel
    layers: list[Layer]
    rng: np.random.Generator

    def __post_init__(self) -> None:
        model = self.model
        seed = int(self.rng.integers(2**32))
        tokens = model.encode(model.program.sample(np.random.default_rng(seed), 64)).cpu().numpy()
        W_E, W_pos = model.weights["embed.W_E"], model.weights["pos_embed.W_pos"]
        stream = W_E[tokens] + W_pos[: tokens.shape[1]]
        self.real: Bool[np.ndarray, "input pos"] = tokens < model.bos
        self.norms = self._circuit_norms(stream)
        self.stream: Stream = np.pad(stream, [(0, 0), (0, 0), (0, PADDING_WIDTH)])
        self.size = W_E.shape[1]
        labels = model.provenance.directions
        self.fixed = np.array([i for i, label in enumerate(labels) if label in ("present=True", "bos=True")])
        self.templates = [head for layer in self.layers for head in layer.heads if head.operation is not None]
        d_head = model.hooked.cfg.d_head
        self.averages = [_averaging_head(self.size, d_head, reads) for reads in (-1, *self.fixed.tolist())]
        self.templates = self.templates or self.averages[:1]
        self.layers[:] = [_widened(layer) for layer in self.layers]

    def _circuit_norms(self, stream: Stream) -> dict[str, tuple[float, float]]:
        """10 % and 90 % quantile of the norms that the circuit's heads, and its MLPs, write at real positions."""
        heads, mlps = [], []
        for layer in self.layers:
            outputs = [_attention(head, stream) for head in layer.heads]
            heads += [np.linalg.norm(o, axis=-1)[self.real] for o in outputs]
            stream = stream + sum(outputs, np.zeros_like(stream))
            written = sum((_mlp(group, stream) for group in layer.neurons), np.zeros_like(stream))
            if layer.neurons:
                mlps.append(np.linalg.norm(written, axis=-1)[self.real])
            stream = stream + written
        norms = {"head": np.concatenate(heads or mlps or [np.ones(1)])}
        norms["mlp"] = np.concatenate(mlps) if mlps else norms["head"]
        return {kind: (float(np.quantile(n, 0.1)), float(np.quantile(n, 0.9))) for kind, n in norms.items()}

    def add(self, outputs: list[Stream]) -> None:
        self.stream = self.stream + sum(outputs)

    def padding_head(self, before: Stream) -> tuple[HeadSlot, Stream]:
        """A circuit head that reads other directions and writes padding's own.

        Heads that count write little before W_O, as their sink outweighs the keys: where nothing else varies they keep
        the size of their W_O. Where no head of the circuit varies, a mean does: of a direction, or of presence.
        """

        def draw(heads: list[HeadSlot], own_size: bool = False) -> HeadSlot:
            template = heads[self.rng.integers(len(heads))].parameters
            parameters = {name: template[name] for name in ("b_Q", "b_K", "b_V")}
            for name in ("W_Q", "W_K", "W_V"):
                parameters[name] = self._redirected(template[name], before)
            d_head = template["W_O"].shape[0]
            parameters["W_O"] = np.zeros((d_head, self.size + PADDING_WIDTH))
            used = np.flatnonzero(np.abs(template["W_O"]).any(1))
            size = np.abs(template["W_O"]).max(1)[used] if own_size else 1.0
            parameters["W_O"][used, self._padding(len(used))] = self.rng.choice([-1.0, 1.0], len(used)) * size
            return HeadSlot(None, parameters)

        def scaled(head: HeadSlot, factor: float) -> HeadSlot:
            return replace(head, parameters=head.parameters | {"W_O": head.parameters["W_O"] * factor})

        draws = (
            lambda: draw(self.templates),
            lambda: draw(self.templates, own_size=True),
            lambda: draw(self.averages),
        )
        return self._varying("head", draws, lambda head: _attention(head, before), scaled)

    def padding_neurons(self, n: int) -> tuple[Neurons, Stream]:
        """Neurons that read two or three live directions each."""
        before = self.stream

        def draw() -> Neurons:
            wide = self.size + PADDING_WIDTH
            W_in, W_out = np.zeros((wide, n)), np.zeros((n, wide))
            available = self._available(before)
            for j in range(n):
                reads = self.rng.choice(
                    available, size=min(len(available), int(self.rng.integers(2, 4))), replace=False
                )
                W_in[reads, j] = self.rng.choice([-1.0, 1.0, 2.0], len(reads))
                W_out[j, self._padding(1)] = self.rng.choice([-1.0, 1.0])
            return Neurons(None, W_in, self.rng.choice([-1.0, -0.5, 0.0, 0.5], n), W_out)

        def scaled(group: Neurons, factor: float) -> Neurons:
            return replace(group, W_out=group.W_out * factor)

        return self._varying("mlp", (draw,), lambda group: _mlp(group, before), scaled)

    def _varying(
        self,
        kind: str,
        draws: Sequence[Callable[[], Part]],
        output_of: Callable[[Part], Stream],
        scaled: Callable[[Part, float], Part],
    ) -> tuple[Part, Stream]:
        """The first part drawn that varies, scaled; each kind of draw is tried MAX_TRIES times before the next one."""
        low, high = self.norms[kind]
        for draw in [draw for draw in draws for _ in range(MAX_TRIES)]:
            part = draw()
            output = output_of(part)
            norm = float(np.linalg.norm(output, axis=-1)[self.real].mean())
            if norm < 1e-3 or output[self.real].std(0).max() < 0.05 * norm:
                continue
            factor = _few_bits((low + (high - low) * self.rng.random()) / norm)
            return scaled(part, factor), output * factor
        raise CompileError(
            f"nothing in the stream of {self.model.program.name!r} varies enough with the input for a padding {kind}; "
            "pad needs inputs of several lengths, or several tokens and a program that reads them"
        )

    def _redirected(self, matrix: np.ndarray, before: Stream) -> np.ndarray:
        """The map with each row it uses moved to a random available direction; BOS and presence stay."""
        result = np.zeros((self.size + PADDING_WIDTH, matrix.shape[1]))
        result[self.fixed] = matrix[self.fixed]
        used = np.setdiff1d(np.flatnonzero(np.abs(matrix).any(1)), self.fixed)
        available = self._available(before)
        if len(available):
            targets = self.rng.choice(available, size=len(used), replace=len(used) > len(available))
            np.add.at(result, targets, matrix[used])
        return result

    def _available(self, before: Stream) -> np.ndarray:
        """Directions that vary over the sampled inputs, BOS and presence aside."""
        return np.setdiff1d(np.flatnonzero(before[self.real].std(0) > 0), self.fixed)

    def _padding(self, n: int) -> np.ndarray:
        return self.size + self.rng.integers(PADDING_WIDTH, size=n)


def _averaging_head(d_model: int, d_head: int, reads: int) -> HeadSlot:
    """The pattern of padding where the circuit has no head of its own that serves: the mean of one direction."""
    shapes = dict.fromkeys(("W_Q", "W_K", "W_V"), (d_model, d_head)) | {"W_O": (d_head, d_model)}
    parameters: dict[str, np.ndarray] = {name: np.zeros(shape) for name, shape in shapes.items()}
    parameters |= {f"b_{x}": np.zeros(d_head) for x in "QKV"}
    parameters["W_V"][reads, 0] = parameters["W_O"][0, 0] = 1
    return HeadSlot(None, parameters)


def _widened(layer: Layer) -> Layer:
    """The layer over a stream with room for padding."""

    def rows(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(0, PADDING_WIDTH), (0, 0)])

    heads = [
        replace(head, parameters={n: rows(a) if n in ("W_Q", "W_K", "W_V") else a for n, a in head.parameters.items()})
        for head in layer.heads
    ]
    for head in heads:
        head.parameters["W_O"] = np.pad(head.parameters["W_O"], [(0, 0), (0, PADDING_WIDTH)])
    groups = [replace(g, W_in=rows(g.W_in), W_out=np.pad(g.W_out, [(0, 0), (0, PADDING_WIDTH)])) for g in layer.neurons]
    return Layer(heads, groups)


def _attention(head: HeadSlot, stream: Stream) -> Stream:
    p = head.parameters
    q, k, v = (stream @ p[f"W_{x}"] + p[f"b_{x}"] for x in "QKV")
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    return (weight / weight.sum(-1, keepdims=True)) @ v @ p["W_O"]


def _mlp(group: Neurons, stream: Stream) -> Stream:
    return np.maximum(stream @ group.W_in + group.b_in, 0) @ group.W_out


def _few_bits(x: float) -> float:
    """x rounded to seven significant bits, so that products with it stay exact."""
    mantissa, exponent = np.frexp(x)
    return float(np.ldexp(np.round(mantissa * 128) / 128, exponent))
