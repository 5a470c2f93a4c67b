"""The computational graph of a HookedTransformer: which writer's value reaches which reader.

Writers: `embed`, `pos`, `bias`, `a{l}.h{h}`, `m{l}`. Readers: `a{l}.h{h}.q`, `.k`, `.v`, `m{l}`, `logits`.
An edge is written "writer->reader" and joins every reader to every writer strictly earlier than it (the
heads of a layer come before its MLP and do not see each other). It is the finest graph that the hooks of
HookedTransformer can patch.

- A head writes z · W_O[h], without b_O. An MLP writes its output, b_out included.
- `bias` stands for the sum of the attention output biases b_O added before a reader, so what it writes
  depends on the reader's layer. It is a writer only where some b_O is nonzero.
- b_Q, b_K, b_V, b_in and b_U belong to their readers and are no edges.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from gaugeblock.programs.errors import InputError, UnknownName

Kind = Literal["embed", "pos", "bias", "head", "mlp", "logits"]
SOURCES = ("embed", "pos", "bias")
PORTS = ("q", "k", "v")
_HEAD = re.compile(r"a(\d+)\.h(\d+)(?:\.([qkv]))?")
_MLP = re.compile(r"m(\d+)")


@dataclass(frozen=True)
class Place:
    """Where a writer or reader stands; `layer`, `head` and `port` are None where they have no meaning."""

    kind: Kind
    layer: int | None = None
    head: int | None = None
    port: str | None = None

    @staticmethod
    def of(name: str) -> "Place":
        """Parse a writer's or reader's name. Raises UnknownName for any other text."""
        if name in (*SOURCES, "logits"):
            return Place(name)  # type: ignore[arg-type]
        if match := _HEAD.fullmatch(name):
            return Place("head", int(match[1]), int(match[2]), match[3])
        if match := _MLP.fullmatch(name):
            return Place("mlp", int(match[1]))
        raise UnknownName("writer or reader", name, [*SOURCES, "a0.h0", "a0.h0.q", "m0", "logits"])


def parse_edge(edge: str) -> tuple[str, str]:
    """("embed", "a0.h1.q") of "embed->a0.h1.q". Raises InputError where the arrow is missing."""
    writer, arrow, reader = edge.partition("->")
    if not arrow:
        raise InputError(f"an edge is written 'writer->reader', got {edge!r}")
    return writer, reader


def owner(reader: str) -> str:
    """The node a reader belongs to: "a0.h1" of "a0.h1.q"; "m0" and "logits" are their own."""
    return reader[:-2] if reader[-2:] in (".q", ".k", ".v") else reader


def to_angle(name: str) -> str:
    """The form of other circuit tools for a node or an edge: "embed->a0.h1<q>" of "embed->a0.h1.q"."""
    return re.sub(r"\.([qkv])$", r"<\1>", name)


def from_angle(name: str) -> str:
    """The inverse of `to_angle`: "embed->a0.h1.q" of "embed->a0.h1<q>"."""
    return re.sub(r"<([qkv])>$", r".\1", name)


@dataclass(frozen=True)
class Graph:
    """Writers, readers and edges, each in topological order; edges are grouped by reader.

    Raises InputError where an edge names an unknown end, stands twice or is out of that order.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]
    edges: tuple[str, ...]

    def __post_init__(self) -> None:
        places = [self._place(edge) for edge in self.edges]
        for before, after, edge in zip(places, places[1:], self.edges[1:], strict=False):
            if not before < after:
                raise InputError(f"edge {edge!r} stands twice or out of order (by reader, then by writer)")

    def _place(self, edge: str) -> tuple[int, int]:
        writer, reader = parse_edge(edge)
        if writer not in self.writer_index or reader not in self.reader_index:
            raise InputError(f"edge {edge!r} joins no writer and reader of this graph")
        return self.reader_index[reader], self.writer_index[writer]

    @cached_property
    def writer_index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.writers)}

    @cached_property
    def reader_index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.readers)}

    @cached_property
    def edge_index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.edges)}

    @cached_property
    def _by_reader(self) -> dict[str, tuple[str, ...]]:
        return self._grouped(self.readers, 1)

    @cached_property
    def _by_writer(self) -> dict[str, tuple[str, ...]]:
        return self._grouped(self.writers, 0)

    def _grouped(self, names: Sequence[str], end: int) -> dict[str, tuple[str, ...]]:
        """The edges that have each name as their writer (end 0) or reader (end 1)."""
        found: dict[str, list[str]] = {name: [] for name in names}
        for edge in self.edges:
            found[parse_edge(edge)[end]].append(edge)
        return {name: tuple(edges) for name, edges in found.items()}

    def incoming(self, reader: str) -> tuple[str, ...]:
        """The edges into a reader. Raises UnknownName."""
        if reader not in self.reader_index:
            raise UnknownName("reader", reader, self.readers)
        return self._by_reader[reader]

    def outgoing(self, writer: str) -> tuple[str, ...]:
        """The edges out of a writer. Raises UnknownName."""
        if writer not in self.writer_index:
            raise UnknownName("writer", writer, self.writers)
        return self._by_writer[writer]

    def heads(self, layer: int) -> tuple[int, ...]:
        """The heads of a layer that are in the graph."""
        places = (Place.of(name) for name in self.writers)
        return tuple(p.head for p in places if p.kind == "head" and p.layer == layer and p.head is not None)

    def indices(self, edges: Iterable[str]) -> list[int]:
        """Where these edges stand in `edges`. Raises UnknownName for a name that is no edge."""
        found = []
        for edge in edges:
            if edge not in self.edge_index:
                raise UnknownName("edge of this graph", edge, self.edges)
            found.append(self.edge_index[edge])
        return found

    @staticmethod
    def of(hooked: Any) -> "Graph":
        """The graph of a HookedTransformer, or of any module with its parameter names.

        Slots that write exactly nothing are left out, as writers and as readers: a head with
        W_V[h]·W_O[h] = 0 and b_V[h]·W_O[h] = 0, an MLP with W_out = 0 and b_out = 0, `pos` with W_pos = 0.
        """
        writers = ["embed"]
        if hasattr(hooked, "pos_embed") and _any(hooked.pos_embed.W_pos):
            writers.append("pos")
        biased = [_any(block.attn.b_O) for block in hooked.blocks]
        if any(biased):
            writers.append("bias")
        readers: list[str] = []
        edges: list[str] = []

        def read(reader: str, layers_before: int, written: Sequence[str]) -> None:
            has_bias = any(biased[:layers_before])
            readers.append(reader)
            edges.extend(f"{w}->{reader}" for w in written if w != "bias" or has_bias)

        for layer, block in enumerate(hooked.blocks):
            before = tuple(writers)
            for head in _heads(block.attn):
                for port in PORTS:
                    read(f"a{layer}.h{head}.{port}", layer, before)
                writers.append(f"a{layer}.h{head}")
            if not hooked.cfg.attn_only and (_any(block.mlp.W_out) or _any(block.mlp.b_out)):
                read(f"m{layer}", layer + 1, tuple(writers))
                writers.append(f"m{layer}")
        read("logits", len(biased), tuple(writers))
        return Graph(tuple(writers), tuple(readers), tuple(edges))


def _any(parameter: Any) -> bool:
    return bool(parameter.detach().any())


def _heads(attn: Any) -> list[int]:
    """The heads that write something on some input."""
    W_V, b_V, W_O = attn.W_V.detach(), attn.b_V.detach(), attn.W_O.detach()
    writes = (W_V @ W_O).flatten(1).any(-1) | (b_V[:, None] @ W_O).flatten(1).any(-1)
    return [head for head, does in enumerate(writes.tolist()) if does]
