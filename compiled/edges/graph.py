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
from typing import Any, Literal, NamedTuple

from gaugeblock.programs.errors import InputError, UnknownName

Kind = Literal["embed", "pos", "bias", "head", "mlp", "logits"]
SOURCES = ("embed", "pos", "bias")
PORTS = ("q", "k", "v")
PATTERN = ".pattern"
_HEAD = re.compile(r"a(\d+)\.h(\d+)(?:\.([qkv]))?")
_MLP = re.compile(r"m(\d+)")


@dataclass(frozen=True)
class Place:
    """The place of a writer or reader; `layer`, `head` and `port` are None where they have no meaning."""

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


class Hook(NamedTuple):
    """A hook point of TransformerLens, and the head among those that it shows; None where it shows no heads.

    What comes by is [batch, pos, d_model], with heads [batch, pos, head, d_model].
    """

    point: str
    head: int | None


def parse_edge(edge: str) -> tuple[str, str]:
    """Split an edge into its writer and its reader. Raises InputError where the arrow is missing.

    >>> parse_edge("embed->a0.h1.q")
    ('embed', 'a0.h1.q')
    """
    writer, arrow, reader = edge.partition("->")
    if not arrow:
        raise InputError(f"an edge is written 'writer->reader', got {edge!r}")
    return writer, reader


def owner(reader: str) -> str:
    """The node a reader belongs to; "m0" and "logits" are their own.

    >>> owner("a0.h1.q")
    'a0.h1'
    """
    return reader[:-2] if reader[-2:] in (".q", ".k", ".v") else reader


def to_angle(name: str) -> str:
    """The form of other circuit tools for a node or an edge.

    >>> to_angle("embed->a0.h1.q")
    'embed->a0.h1<q>'
    """
    return re.sub(r"\.([qkv])$", r"<\1>", name)


def from_angle(name: str) -> str:
    """The inverse of `to_angle`.

    >>> from_angle("embed->a0.h1<q>")
    'embed->a0.h1.q'
    """
    return re.sub(r"<([qkv])>$", r".\1", name)


def hook_of(name: str, n_layers: int, *, reads: bool = False) -> Hook:
    """The hook of a writer or reader in a model of so many layers; see `Graph.hook`."""
    place = Place.of(name.removesuffix(PATTERN))
    at = f"blocks.{place.layer}."
    match place.kind:
        case "head" if name.endswith(PATTERN):
            return Hook(at + "attn.hook_pattern", place.head)
        case "head":
            return Hook(at + (f"hook_{place.port}_input" if place.port else "attn.hook_result"), place.head)
        case "mlp":
            return Hook(at + ("hook_mlp_in" if reads else "hook_mlp_out"), None)
        case "logits":
            return Hook(f"blocks.{n_layers - 1}.hook_resid_post", None)
        case "bias":
            raise InputError("no hook point shows 'bias', the attention output biases b_O before a reader")
    return Hook("hook_embed" if place.kind == "embed" else "hook_pos_embed", None)


@dataclass(frozen=True)
class Graph:
    """Writers, readers and edges, each in topological order; edges are grouped by reader.

    Raises InputError where an edge names an unknown end, stands twice or is out of that order.

    Attributes:
        n_layers: of the model; layers in which nobody writes are in no name.

    >>> graph = Graph(("embed", "m0"), ("m0", "logits"), ("embed->m0", "embed->logits", "m0->logits"))
    >>> graph.incoming("logits")
    ('embed->logits', 'm0->logits')
    >>> graph.outgoing("embed")
    ('embed->m0', 'embed->logits')
    >>> graph.indices(["m0->logits"])
    [2]
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]
    edges: tuple[str, ...]
    n_layers: int = 0

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
        groups: dict[str, list[str]] = {name: [] for name in names}
        for edge in self.edges:
            groups[parse_edge(edge)[end]].append(edge)
        return {name: tuple(edges) for name, edges in groups.items()}

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
        """The places at which these edges stand in `edges`. Raises UnknownName for a name that is no edge."""
        indices = []
        for edge in edges:
            if edge not in self.edge_index:
                raise UnknownName("edge of this graph", edge, self.edges)
            indices.append(self.edge_index[edge])
        return indices

    def hook(self, name: str, *, reads: bool = False) -> Hook:
        """The place where TransformerLens shows what a writer writes, or what a reader reads.

        What a head writes has a hook point of its own, and so has what q, k, v and each MLP read, while inputs are
        split (`gaugeblock.compiled.split_inputs`): a change there is a change for that reader alone.

        Args:
            name: a writer or reader; or "a0.h1.pattern", the attention [batch, head, query, key] of a head.
            reads: for an MLP, which is both, the hook of what it reads instead of what it writes.

        Raises UnknownName for any other name, InputError for `bias`, which no hook point shows.

        >>> graph = Graph(("embed", "a0.h1", "m0"), ("a0.h1.q", "m0", "logits"), ())
        >>> graph.hook("a0.h1")
        Hook(point='blocks.0.attn.hook_result', head=1)
        >>> graph.hook("a0.h1.q")
        Hook(point='blocks.0.hook_q_input', head=1)
        >>> [graph.hook("m0").point, graph.hook("m0", reads=True).point, graph.hook("logits").point]
        ['blocks.0.hook_mlp_out', 'blocks.0.hook_mlp_in', 'blocks.0.hook_resid_post']
        """
        node = name.removesuffix(PATTERN)
        if not (name in self.reader_index or node in self.writer_index) or (node != name and node[0] != "a"):
            raise UnknownName("writer or reader of this graph", name, dict.fromkeys((*self.writers, *self.readers)))
        return hook_of(name, self._depth, reads=reads)

    @cached_property
    def _depth(self) -> int:
        return max(self.n_layers, *(1 + (Place.of(writer).layer or 0) for writer in self.writers))

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
        return Graph(tuple(writers), tuple(readers), tuple(edges), len(biased))


def _any(parameter: Any) -> bool:
    return bool(parameter.detach().any())


def _heads(attn: Any) -> list[int]:
    """The heads that write something on some input."""
    W_V, b_V, W_O = attn.W_V.detach(), attn.b_V.detach(), attn.W_O.detach()
    writes = (W_V @ W_O).flatten(1).any(-1) | (b_V[:, None] @ W_O).flatten(1).any(-1)
    return [head for head, does in enumerate(writes.tolist()) if does]
