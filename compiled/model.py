"""The compiled model: a HookedTransformer together with what each of its parts is for."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaugeblock.compiled.edges.graph import Graph, Place
from gaugeblock.compiled.edges.inert import Inert, proved, without
from gaugeblock.compiled.edges.live import live_edges, structural_edges
from gaugeblock.compiled.files import content_hash, plain, save
from gaugeblock.compiled.lowered.operations import Lowered, Output
from gaugeblock.compiled.stages.assemble import LOGIT, Weights
from gaugeblock.compiled.stages.hooked import Activation, hooked
from gaugeblock.compiled.stages.layout import layout
from gaugeblock.programs.language.operations import surface
from gaugeblock.programs.program import Program

if TYPE_CHECKING:
    from gaugeblock.compiled.stages.hooked import HookedTransformer


@final
@dataclass(frozen=True)
class Provenance:
    """The purpose of each part of a model.

    Attributes:
        directions: label of each residual dimension; "" for one the circuit does not use.
        sites: operation -> the node that carries it out, `a{l}.h{h}` or `m{l}`.
        neurons: MLP operation -> indices of its hidden units.
        basis: orthonormal rows, row i the residual direction that `directions[i]` names; None for the unit vectors.
        inert: parts that look live and are proved to change no logit.
    """

    directions: tuple[str, ...]
    sites: dict[str, str]
    neurons: dict[str, tuple[int, ...]]
    basis: Float[np.ndarray, "d_model d_model"] | None = None
    inert: tuple[Inert, ...] = ()


@final
@dataclass(frozen=True)
class Subspace:
    """The place of a variable in the residual stream.

    Attributes:
        directions: orthonormal rows: one per value (one-hot), one (scalar), or two (ratio: the sum over 1 + count, and
            1 over 1 + count, which the sums of one head share).
        written: the node that writes it, `embed`, `pos`, `a{l}.h{h}` or `m{l}`.
        read: the last node that reads it, or `logits`; None where no output depends on it.
    """

    directions: Float[np.ndarray, "direction d_model"]
    written: str
    read: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"directions": self.directions.tolist(), "written": self.written, "read": self.read}


@final
@dataclass(frozen=True)
class CompiledModel:
    """A program as a transformer. Compiled by `gaugeblock.compile`, changed by variants, never in place.

    >>> import gaugeblock as gb
    >>> model = gb.compile(gb.programs.get("hist"))
    >>> model("abca")
    [2, 1, 1, 2]
    >>> model.batch(["ab", "aaa"])
    [[1, 1], [3, 3, 3]]
    >>> tokens = model.encode(["ab", "aaa"])
    >>> tokens.tolist()  # 4 is BOS, 5 is PAD
    [[4, 0, 1, 5], [4, 0, 0, 0]]
    >>> model.decode(model.hooked(tokens), tokens)
    [[1, 1], [3, 3, 3]]

    Attributes:
        program: the program, at the compiled size.
        lowered: its operations over named variables.
        weights: HookedTransformer's parameters, float64.
        provenance: what each residual direction, head and neuron is for.
        margins: MLP operation -> smallest distance of a number it reads from a threshold, relative to their size.
        error_bound: how far rounding in `dtype` can move a logit, of 10 for a choice.
        activation: of the hidden units, "relu" or "gelu".
        sharpness: gap between score levels of a `soft` model; None where attention is saturated.
    """

    program: Program
    lowered: Lowered
    weights: Weights
    provenance: Provenance
    margins: dict[str, float]
    error_bound: float
    activation: Activation = "relu"
    sharpness: float | None = None
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    @cached_property
    def hooked(self) -> "HookedTransformer":
        """The model itself."""
        return hooked(self.weights, self.program.name, self.device, self.dtype, self.activation)

    @cached_property
    def graph(self) -> Graph:
        """Writers, readers and edges; empty slots are left out."""
        return Graph.of(self.hooked)

    @property
    def bos(self) -> int:
        """Token id of the start token, always at position 0."""
        return len(self.lowered.vocab)

    @property
    def pad(self) -> int:
        """Token id that fills up shorter inputs."""
        return len(self.lowered.vocab) + 1

    @cached_property
    def edge_reads(self) -> dict[str, tuple[tuple[str, str, str], ...]]:
        """Program edges: edge -> the (operation, port, variable) reads it carries out, implicit variables too."""
        sites = self.provenance.sites
        reads: dict[str, list[tuple[str, str, str]]] = {}
        for operation, port, name in self.lowered.flow:
            writer = self.lowered.variables[name].writer
            source = sites.get(writer, writer)
            site = sites.get(operation, operation)
            reader = f"{site}.{port}" if port in "qkv" else site
            reads.setdefault(f"{source}->{reader}", []).append((operation, port, name))
        return {edge: tuple(carried) for edge, carried in reads.items()}

    @property
    def program_edges(self) -> frozenset[str]:
        """Edges along which the lowered program passes a variable."""
        return frozenset(self.edge_reads)

    @cached_property
    def subspaces(self) -> dict[str, Subspace]:
        """The place of each variable of the lowered program in the stream, implicit ones included."""
        where, sites, basis = layout(self.lowered).directions, self.provenance.sites, self.provenance.basis
        axes = np.eye(self.weights["embed.W_E"].shape[1]) if basis is None else basis
        readers: dict[str, list[str]] = {name: [] for name in where}
        for operation, _, name in self.lowered.flow:
            readers[name].append(sites.get(operation, operation))
        return {
            name: Subspace(
                directions=axes[list(where[name])],
                written=sites.get(variable.writer, variable.writer),
                read=max(readers[name], key=lambda node: (_half_layer(node), node), default=None),
            )
            for name, variable in self.lowered.variables.items()
        }

    @cached_property
    def structural_edges(self) -> frozenset[str]:
        """Edges whose writer's output directions meet the reader's input map."""
        return structural_edges(self.weights, self.graph)

    @cached_property
    def live_edges(self) -> frozenset[str]:
        """Edges on the backward slice from the unembedding; no other can change a logit."""
        return live_edges(self.weights, self.graph)

    def live_edges_under(self, ablation: str | None) -> frozenset[str]:
        """Live edges of the weights without the parts that are proved inert under an ablation; without any if None.

        No set of other edges changes a logit, whatever else is ablated.
        """
        parts = self.provenance.inert if ablation is None else proved(self.provenance.inert, ablation)
        if parts not in self._reduced:
            self._reduced[parts] = live_edges(without(self.weights, parts), self.graph) if parts else self.live_edges
        return self._reduced[parts]

    @cached_property
    def _reduced(self) -> dict[tuple[Inert, ...], frozenset[str]]:
        return {}

    def to(self, device: str | None = None, dtype: torch.dtype | None = None) -> "CompiledModel":
        """The same model on another device or in another precision."""
        return replace(self, device=device or self.device, dtype=dtype or self.dtype)

    def encode(self, inputs: Iterable[Any]) -> Int[Tensor, "batch pos"]:
        """Token ids with BOS at position 0 and PAD after the input. Raises InputError for what the program refuses."""
        checked = [self.program.check(xs, self.lowered.max_len) for xs in inputs]
        ids = {token: i for i, token in enumerate(self.lowered.vocab)}
        width = 1 + max((len(xs) for xs in checked), default=0)
        tokens = torch.full((len(checked), width), self.pad, dtype=torch.long)
        tokens[:, 0] = self.bos
        for row, xs in enumerate(checked):
            tokens[row, 1 : len(xs) + 1] = torch.tensor([ids[x] for x in xs])
        return tokens.to(self.device)

    def real(self, tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
        """The positions that hold a token of the input (not BOS, not PAD)."""
        return tokens < self.bos

    def decode(self, logits: Float[Tensor, "batch pos out"], tokens: Int[Tensor, "batch pos"]) -> list[list[Any]]:
        """The outputs at the real positions, tuples where there are several; None where an output is undefined."""
        values = logits.detach().double().cpu().numpy()
        real, first, decoded = self.real(tokens).cpu().numpy(), 0, []
        for output in self.lowered.outputs:
            columns = values[..., first : first + len(output.columns)]
            first += len(output.columns)
            codes = _nearest(output, columns[..., 0]) if output.numeric else _chosen(columns)
            shown = [surface(v) for v in (output.values if output.numeric else output.columns)]
            rows = [[None if c < 0 else shown[c] for c in row[mask]] for row, mask in zip(codes, real, strict=True)]
            decoded.append(rows)
        if len(decoded) == 1:
            return decoded[0]
        return [list(zip(*rows, strict=True)) for rows in zip(*decoded, strict=True)]

    def batch(self, inputs: Iterable[Any], batch_size: int | None = None) -> list[list[Any]]:
        """Run the model on inputs of mixed lengths, as many at once as some 100 MB of activations hold by default."""
        inputs = list(inputs)
        cfg = self.hooked.cfg
        widest = max(cfg.d_model, cfg.d_mlp or 0, cfg.n_heads * max(cfg.d_head, cfg.n_ctx), cfg.d_vocab_out)
        batch_size = batch_size or int(np.clip(2**24 // (cfg.n_ctx * widest), 1, 4096))
        outputs: list[list[Any]] = []
        for start in range(0, len(inputs), batch_size):
            tokens = self.encode(inputs[start : start + batch_size])
            with torch.no_grad():
                outputs += self.decode(self.hooked(tokens), tokens)
        return outputs

    def __call__(self, xs: Any) -> list[Any]:
        """Run the model on one input."""
        return self.batch([xs])[0]

    def save(self, path: str | Path) -> None:
        """Write the folder `path`: model.safetensors and model.json."""
        save(self.weights, self.record, Path(path))

    @property
    def record(self) -> dict[str, Any]:
        """Everything but the weights, as plain data for JSON."""
        return {
            "program": {"name": self.program.name, "description": self.program.description},
            "dtype": str(self.dtype).removeprefix("torch."),
            "margins": self.margins,
            "error_bound": self.error_bound,
            "activation": self.activation,
            "sharpness": self.sharpness,
            "provenance": {
                "directions": list(self.provenance.directions),
                "sites": self.provenance.sites,
                "neurons": {k: list(v) for k, v in self.provenance.neurons.items()},
                "basis": None if self.provenance.basis is None else self.provenance.basis.tolist(),
                "inert": plain(self.provenance.inert),
            },
            "lowered": plain(self.lowered),
        }

    @cached_property
    def hash(self) -> str:
        """The content hash of the weights and of what they are for."""
        return content_hash(self.weights, self.record)


def _half_layer(node: str) -> float:
    """The time at which a node computes: heads of layer l at 2l, its MLP at 2l + 1, the logits last."""
    place = Place.of(node)
    if place.kind == "logits":
        return math.inf
    return -1.0 if place.layer is None else 2.0 * place.layer + (place.kind == "mlp")


def _chosen(logits: np.ndarray) -> np.ndarray:
    """Column of the highest logit; -1 (undefined) where the model says nothing."""
    return np.where(logits.max(-1) > LOGIT / 4, logits.argmax(-1), -1)


def _nearest(output: Output, numbers: np.ndarray) -> np.ndarray:
    known = np.array([float(v) for v in output.values])
    order = np.argsort(known)
    middles = (known[order][1:] + known[order][:-1]) / 2
    return order[np.searchsorted(middles, numbers)]
