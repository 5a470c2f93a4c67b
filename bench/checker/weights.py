"""The checker's own reading of a model: its edges, which of them are live, and patched forwards, from weights alone.

Nothing here is shared with what makes the labels. Models: no normalisation, ReLU or GELU, bidirectional attention,
scores divided by sqrt(d_head). A writer or reader is named as in edges: `embed`, `a0.h1`, `a0.h1.q`, `m0`, `logits`.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TOLERANCE = 1e-9

Rows = Float[Tensor, "pair pos d_model"]


@dataclass(eq=False)
class Run:
    """What one forward pass leaves behind, by name of writer, head or reader.

    `ports`: what a head's q, k and v maps make of the stream. `weights`: attention, [pair, query, key].
    `mixed`: attention times values. `pre`: what goes into the hidden units.
    """

    written: dict[str, Rows] = field(default_factory=dict)
    ports: dict[str, Float[Tensor, "pair pos d_head"]] = field(default_factory=dict)
    weights: dict[str, Float[Tensor, "pair query key"]] = field(default_factory=dict)
    mixed: dict[str, Float[Tensor, "pair pos d_head"]] = field(default_factory=dict)
    pre: dict[str, Float[Tensor, "pair pos neuron"]] = field(default_factory=dict)
    logits: Float[Tensor, "pair pos out"] = field(default_factory=lambda: torch.zeros(0, 0, 0))

    def on(self, pairs: Int[Tensor, " some"]) -> "Run":
        """The same on some of the pairs."""

        def some(of: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[pairs] for name, tensor in of.items()}

        return Run(
            some(self.written),
            some(self.ports),
            some(self.weights),
            some(self.mixed),
            some(self.pre),
            self.logits[pairs],
        )


class WeightsModel:
    """A transformer as its weights define it. Slots and neurons that write exactly nothing are left out.

    Args:
        weights: HookedTransformer's parameters by name.
        dtype: to compute in.
        activation: of the hidden units, "relu" or "gelu".
    """

    def __init__(
        self, weights: Mapping[str, np.ndarray], dtype: torch.dtype = torch.float64, activation: str = "relu"
    ) -> None:
        self.activation = {"relu": torch.relu, "gelu": torch.nn.functional.gelu}[activation]
        self.p = {name: torch.as_tensor(np.asarray(array)).to(dtype) for name, array in weights.items()}
        self.n_layers = sum(name.endswith(".attn.W_Q") for name in weights)
        self.heads: list[list[int]] = []
        self.neurons: list[Tensor] = []
        for layer in range(self.n_layers):
            W_V, b_V, W_O = (self.attention(layer, name) for name in ("W_V", "b_V", "W_O"))
            writes = torch.cat([W_V, b_V[:, None]], 1) @ W_O
            self.heads.append(writes.flatten(1).any(1).nonzero().flatten().tolist())
            self.neurons.append(self.mlp(layer, "W_out").any(1).nonzero().flatten())

    def attention(self, layer: int, name: str) -> Tensor:
        return self.p[f"blocks.{layer}.attn.{name}"]

    def mlp(self, layer: int, name: str) -> Tensor:
        return self.p[f"blocks.{layer}.mlp.{name}"]

    def has_mlp(self, layer: int) -> bool:
        return len(self.neurons[layer]) > 0 or bool(self.mlp(layer, "b_out").any())

    def attention_bias(self, layers: int) -> Float[Tensor, " d_model"]:
        """Sum of the attention output biases of the first layers: what `bias` writes."""
        return sum((self.attention(layer, "b_O") for layer in range(layers)), torch.zeros_like(self.p["embed.W_E"][0]))

    # --- the graph --------------------------------------------------------------------------------------------

    @cached_property
    def earlier(self) -> dict[str, tuple[str, ...]]:
        """Reader -> the writers strictly before it; both in the order of computation."""
        written = ["embed"] + ["pos"] * bool(self.p["pos_embed.W_pos"].any())
        earlier: dict[str, tuple[str, ...]] = {}

        def read(reader: str, layers: int) -> None:
            biased = any(bool(self.attention(layer, "b_O").any()) for layer in range(layers))
            earlier[reader] = tuple(written + ["bias"] * biased)

        for layer, heads in enumerate(self.heads):
            for head in heads:
                for port in "qkv":
                    read(f"a{layer}.h{head}.{port}", layer)
            written += [f"a{layer}.h{head}" for head in heads]
            if self.has_mlp(layer):
                read(f"m{layer}", layer + 1)
                written.append(f"m{layer}")
        read("logits", self.n_layers)
        return earlier

    @cached_property
    def writers(self) -> tuple[str, ...]:
        """All writers."""
        return self.earlier["logits"]

    @cached_property
    def edges(self) -> tuple[str, ...]:
        return tuple(f"{writer}->{reader}" for reader, writers in self.earlier.items() for writer in writers)

    @cached_property
    def live(self) -> frozenset[str]:
        """Edges on the backward slice from the unembedding; the others change no logit, whatever they carry.

        Neurons are live where their writes meet what a later live reader reads; a head's v in the directions that
        W_V·W_O carries to live readers; q and k of a head whose v is live, each in the directions that the other
        side's content reaches through W_Q·W_Kᵀ.
        """
        reads = {"logits": _basis(self.p["unembed.W_U"])}
        for layer in reversed(range(self.n_layers)):
            if self.has_mlp(layer):
                live = _meets(self.mlp(layer, "W_out"), _joined(reads))
                reads[f"m{layer}"] = _basis(self.mlp(layer, "W_in")[:, live])
            later = _joined(reads)
            for head in self.heads[layer]:
                name = f"a{layer}.h{head}"
                W_Q, b_Q, W_K, W_V, W_O = (self.attention(layer, x)[head] for x in ("W_Q", "b_Q", "W_K", "W_V", "W_O"))
                moved = W_V @ W_O
                v = _basis(moved @ later, scale=float(moved.norm()))
                if not v.shape[1]:
                    continue  # what it writes for live readers is the same everywhere
                content = self.content(name)
                asked, offered = torch.cat([content @ W_Q, b_Q[None]]), content @ W_K
                # b_K adds the same to the scores of all keys, so it does not count
                q = _basis(W_Q @ offered.T, scale=float(W_Q.norm() * W_K.norm()))
                k = _basis(W_K @ asked.T, scale=float(W_K.norm() * torch.cat([W_Q, b_Q[None]]).norm()))
                reads |= {f"{name}.q": q, f"{name}.k": k, f"{name}.v": v}
        return frozenset(
            f"{writer}->{reader}"
            for reader, directions in reads.items()
            for writer in self.earlier[reader]
            if _meets(self.output_rows(writer, reader), directions).any()
        )

    @cached_property
    def live_writers(self) -> frozenset[str]:
        """Writers with a live edge."""
        return frozenset(edge.partition("->")[0] for edge in self.live)

    def content(self, head: str) -> Float[Tensor, "rank d_model"]:
        """Orthonormal rows that span all that can stand in the stream before a head."""
        reader = f"{head}.v"
        return _basis(torch.cat([self.output_rows(writer, reader) for writer in self.earlier[reader]]).T).T

    def output_rows(self, writer: str, reader: str) -> Float[Tensor, "rows d_model"]:
        """Rows that span what a writer can write for a reader."""
        if writer in ("embed", "pos"):
            return self.p["embed.W_E" if writer == "embed" else "pos_embed.W_pos"]
        if writer == "bias":
            return self.attention_bias(_layers_before(reader, self.n_layers))[None]
        layer, head = _place(writer)
        if head is None:
            return torch.cat([self.mlp(layer, "W_out"), self.mlp(layer, "b_out")[None]])
        W_V, b_V, W_O = (self.attention(layer, name)[head] for name in ("W_V", "b_V", "W_O"))
        return torch.cat([W_V, b_V[None]]) @ W_O

    def read_by(self, reader: str) -> Float[Tensor, "d_model read"]:
        """The weights through which a reader sees the stream; of an MLP, those of neurons that write."""
        if reader == "logits":
            return self.p["unembed.W_U"]
        layer, head = _place(reader)
        if head is None:
            return self.mlp(layer, "W_in")[:, self.neurons[layer]]
        return self.attention(layer, f"W_{reader[-1].upper()}")[head]

    # --- forwards ---------------------------------------------------------------------------------------------

    def run(self, tokens: Int[Tensor, "pair pos"]) -> Run:
        """A plain forward pass."""
        run = Run()
        embed = self.p["embed.W_E"][tokens]
        pos = self.p["pos_embed.W_pos"][: tokens.shape[1]].expand_as(embed)
        run.written |= {"embed": embed, "pos": pos}
        stream = embed + pos
        for layer, heads in enumerate(self.heads):
            before = stream
            stream = stream + self.attention(layer, "b_O")
            for head in heads:
                name = f"a{layer}.h{head}"
                for port in "qkv":
                    W, b = (self.attention(layer, f"{x}_{port.upper()}")[head] for x in "Wb")
                    run.ports[f"{name}.{port}"] = before @ W + b
                run.weights[name], run.mixed[name] = _mix(*(run.ports[f"{name}.{port}"] for port in "qkv"))
                run.written[name] = run.mixed[name] @ self.attention(layer, "W_O")[head]
                stream = stream + run.written[name]
            if self.has_mlp(layer):
                kept, name = self.neurons[layer], f"m{layer}"
                run.pre[name] = stream @ self.mlp(layer, "W_in")[:, kept] + self.mlp(layer, "b_in")[kept]
                after = self.activation(run.pre[name])
                run.written[name] = after @ self.mlp(layer, "W_out")[kept] + self.mlp(layer, "b_out")
                stream = stream + run.written[name]
        run.logits = stream @ self.p["unembed.W_U"] + self.p["unembed.b_U"]
        return run

    def patched(
        self, run: Run, difference: Mapping[str, Rows], edges: Iterable[str], nodes: Collection[str] | None = None
    ) -> Float[Tensor, "pair pos out"]:
        """Change of the logits where the readers of some edges see other values of the edges' writers.

        Args:
            run: of the clean tokens.
            difference: writer -> what is put in its place minus what it wrote in the clean run. A writer that is
                missing is replaced by what it wrote in the clean run.
            edges: the ablated ones. All other edges carry current values.
            nodes: heads and MLPs to compute; the others keep their clean values. All if None.
        """
        nodes = self.writers if nodes is None else nodes
        replaced = defaultdict(set)
        for edge in edges:
            writer, _, reader = edge.partition("->")
            replaced[reader].add(writer)
        change: dict[str, Rows] = {}  # current value minus clean one, of writers that changed

        def seen(reader: str) -> Rows | None:
            """How much the reader's input changed; None if it did not."""
            kept = [c for writer, c in change.items() if writer not in replaced[reader]]
            return _sum(kept + [difference[writer] for writer in sorted(replaced[reader]) if writer in difference])

        for layer, heads in enumerate(self.heads):
            moved = {
                name: self._head_change(run, layer, head, {port: seen(f"{name}.{port}") for port in "qkv"})
                for head in heads
                if (name := f"a{layer}.h{head}") in nodes
            }
            change |= {name: value for name, value in moved.items() if value is not None}
            if f"m{layer}" in nodes and (read := seen(f"m{layer}")) is not None:
                change[f"m{layer}"] = self._mlp_change(run, layer, read)
        read = seen("logits")
        return torch.zeros_like(run.logits) if read is None else read @ self.p["unembed.W_U"]

    def _head_change(self, run: Run, layer: int, head: int, seen: Mapping[str, Rows | None]) -> Rows | None:
        touched = [moved.abs().amax((1, 2)) > 0 for moved in seen.values() if moved is not None]
        if not touched:
            return None
        name, pairs = f"a{layer}.h{head}", torch.stack(touched).any(0).nonzero().flatten()
        ports = []
        for port in "qkv":
            value, moved = run.ports[f"{name}.{port}"][pairs], seen[port]
            W = self.attention(layer, f"W_{port.upper()}")[head]
            ports.append(value if moved is None else value + moved[pairs] @ W)
        _, mixed = _mix(*ports)
        change = torch.zeros_like(run.written[name])
        change[pairs] = (mixed - run.mixed[name][pairs]) @ self.attention(layer, "W_O")[head]
        return change

    def _mlp_change(self, run: Run, layer: int, seen: Rows) -> Rows:
        kept, rows, name = self.neurons[layer], seen.abs().amax(2) > 0, f"m{layer}"
        before = run.pre[name][rows]
        after = before + seen[rows] @ self.mlp(layer, "W_in")[:, kept]
        change = torch.zeros_like(run.written[name])
        change[rows] = (self.activation(after) - self.activation(before)) @ self.mlp(layer, "W_out")[kept]
        return change


def _sum(parts: list[Rows]) -> Rows | None:
    """None for zero."""
    if not parts:
        return None
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total if float(total.abs().max()) != 0 else None


def _mix(
    q: Float[Tensor, "pair query d_head"], k: Float[Tensor, "pair key d_head"], v: Float[Tensor, "pair key d_head"]
) -> tuple[Float[Tensor, "pair query key"], Float[Tensor, "pair query d_head"]]:
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    raised = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = raised / raised.sum(-1, keepdim=True)
    return weights, weights @ v


def _basis(columns: Float[Tensor, "d n"], scale: float = 0.0) -> Float[Tensor, "d rank"]:
    """Orthonormal columns with the same span; columns that are tiny beside `scale` count as zero."""
    size = columns.norm(dim=0)
    keep = size > TOLERANCE * scale
    left, values, _ = torch.linalg.svd(columns[:, keep] / size[keep], full_matrices=False)
    return left[:, values > TOLERANCE * values.max()] if len(values) else left


def _joined(reads: Mapping[str, Tensor]) -> Float[Tensor, "d rank"]:
    return _basis(torch.cat(list(reads.values()), 1))


def _meets(rows: Float[Tensor, "n d"], basis: Float[Tensor, "d rank"]) -> Bool[Tensor, " n"]:
    """Which rows have a part in the span, relative to their length."""
    return (rows @ basis).norm(dim=1) > TOLERANCE * rows.norm(dim=1)


def _place(node: str) -> tuple[int, int | None]:
    """(layer, head or None) of a head or MLP, its readers included."""
    layer, _, head = node[1:].partition(".h")
    return int(layer), int(head.split(".")[0]) if head else None


def _layers_before(reader: str, n_layers: int) -> int:
    """How many attention layers have written before a reader."""
    if reader == "logits":
        return n_layers
    layer, head = _place(reader)
    return layer + 1 if head is None else layer
