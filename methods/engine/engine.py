"""The patching engine: what the model says when edges carry ablated values.

A reader whose edges are ablated to the degree 1 - m sees  sum over writers w of  m[w]·current_w + (1 - m[w])·ablated_w,
where current_w is what w writes given the changes before it. `forward` is that pass for any m in [0, 1],
differentiable in m. `patch` is the exact case m in {0, 1} for sets of few edges: it restarts at the first changed
reader, follows changes instead of values, and drops every (set, pair) as soon as nothing in it changes any more.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gaugeblock.compiled.edges.graph import Graph, parse_edge
from gaugeblock.methods.engine.ablation import Rows, ablate
from gaugeblock.methods.engine.activations import Activations, run
from gaugeblock.methods.engine.edge_sets import ROWS_AT_ONCE, Changes, Functional
from gaugeblock.methods.engine.hard_masks import HardMasks
from gaugeblock.methods.engine.pruning import prune
from gaugeblock.methods.engine.single_edges import SingleEdges
from gaugeblock.methods.engine.soft_masks import SoftMasks
from gaugeblock.methods.engine.weights import Weights

CIRCUITS_AT_ONCE = 256


@final
class Engine:
    """Patched forward passes of one model on one set of pairs, under one ablation.

    Attributes:
        clean_run, corrupted_run: activations of both sides.
        ablated: what each writer is replaced by, in graph order.
        difference: ablated - clean.
        forwards, backwards: passes so far over all pairs; a patch counts the share of pairs and stages it recomputes.

    >>> import gaugeblock as gb
    >>> model = gb.compile(gb.programs.get("hist").with_size("ab", 3))
    >>> clean, corrupted = model.encode(["aab"]), model.encode(["abb"])
    >>> rows = Rows(torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool))
    >>> engine = Engine(model.hooked, model.graph, clean, corrupted, rows, "resample")
    >>> def answer(logits, pair):  # how often is the last token, "b", there?
    ...     return logits[:, -1].argmax(-1).float()
    >>> engine.patch([[], ["embed->a0.h0.k"]], answer).flatten().tolist()
    [1.0, 2.0]
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        model: nn.Module,
        graph: Graph,
        clean: Int[Tensor, "pair pos"],
        corrupted: Int[Tensor, "pair pos"],
        rows: Rows,
        ablation: str,
    ) -> None:
        self.graph = graph
        self.weights = Weights.of(model)
        with torch.no_grad():
            self.clean_run = run(self.weights, clean)
            self.corrupted_run = run(self.weights, corrupted)
            self.ablated: Float[Tensor, "writer pair pos d_model"] = ablate(
                ablation, self.clean_run, self.corrupted_run, rows
            )
            self.difference = self.ablated - self.clean_run.writers
        self.forwards = 2.0
        self.backwards = 0.0
        self._clean = clean
        self._made = self._kept()

    def changed(self) -> list[str]:
        """Which of the attributes that methods look at have been replaced, or written to, since the engine was made."""
        return [name for name, state in self._kept().items() if state != self._made[name]]

    def _kept(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """Where the tensors of each attribute are, and how often each was written to."""
        runs = {"clean_run": self.clean_run, "corrupted_run": self.corrupted_run}
        tensors = {"ablated": [self.ablated], "difference": [self.difference]}
        for name, run_ in runs.items():
            flat = (x for value in vars(run_).values() for x in (value if isinstance(value, tuple) else (value,)))
            tensors[name] = [x for x in flat if x is not None]
        return {name: tuple((x.data_ptr(), x._version) for x in some) for name, some in tensors.items()}

    @property
    def clean_logits(self) -> Float[Tensor, "pair pos vocab"]:
        return self.clean_run.logits

    @property
    def pruned(self) -> Weights:
        """What of the model can reach its logits; see `pruning`."""
        return self._pruned[0]

    @property
    def live(self) -> frozenset[str]:
        """The edges that can matter."""
        return self._pruned[1]

    @cached_property
    def pruned_run(self) -> Activations:
        """The clean run of `pruned`."""
        with torch.no_grad():
            return self.clean_run if self.pruned is self.weights else run(self.pruned, self._clean)

    @cached_property
    def _pruned(self) -> tuple[Weights, frozenset[str]]:
        return prune(self.weights)

    @cached_property
    def _soft_masks(self) -> SoftMasks:
        return SoftMasks(self.pruned, self.graph)

    @cached_property
    def _changes(self) -> Changes:
        return Changes(self.pruned, self.pruned_run, self.difference)

    def forward(
        self,
        masks: Float[Tensor, "mask edges"],
        pairs: Int[Tensor, " chosen"] | None = None,
        ablated: Float[Tensor, " writer #chosen #pos d_model"] | None = None,
    ) -> Float[Tensor, "mask chosen pos vocab"]:
        """Logits under each mask (1: clean edge, 0: ablated), differentiable in the masks and in `ablated`.

        Args:
            pairs: indices of the pairs to run; all by default.
            ablated: what the chosen pairs' writers are replaced by, instead of this engine's `ablated`.
        """
        clean = self.clean_run.writers if pairs is None else self.clean_run.writers[:, pairs]
        if ablated is None:
            ablated = self.ablated if pairs is None else self.ablated[:, pairs]
        self.forwards += len(masks) * clean.shape[1] / len(self.clean_logits)
        return self._soft_masks.run(masks.to(self.clean_logits), clean, ablated.expand_as(clean))

    def measure(self, masks: Bool[Tensor, "circuit edges"], functional: Functional) -> Float[Tensor, "circuit pair"]:
        """The functional of the logits of each circuit (True: clean edge), in blocks of bounded memory. No gradients.

        What circuits have in common is computed once, and an edge that cannot reach the logits costs nothing.
        """
        n_pairs = len(self.clean_logits)
        live = torch.zeros(masks.shape[1], dtype=torch.bool, device=masks.device)
        live[self.graph.indices(self.live)] = True
        values = []
        with torch.no_grad():
            for some in (masks & live).split(CIRCUITS_AT_ONCE):
                circuits = HardMasks(self.pruned, self.graph, some)
                blocks = []
                for pairs, logits in circuits.run(self.clean_run.writers, self.ablated):
                    number = torch.arange(n_pairs, device=logits.device)[pairs]
                    flat = functional(logits.flatten(0, 1), number.repeat(circuits.count))
                    blocks.append(flat.view(circuits.count, len(number)))
                values.append(torch.cat(blocks, 1)[circuits.logits.of_circuit])
                self.forwards += circuits.states / len(self.graph.writers)
        return torch.cat(values)

    def patch(
        self, sets: Sequence[Iterable[str]], functional: Functional, pairs: Int[Tensor, " chosen"] | None = None
    ) -> Float[Tensor, "set chosen"]:
        """The functional of the logits with each set of edges ablated. No gradients.

        pairs: indices of the pairs to run; all by default.

        Raises UnknownName for a name that is no edge.
        """
        cuts = [self._cut(edges) for edges in sets]
        with torch.no_grad():
            changes = self._changes if pairs is None else self._changes.on(pairs)
            everyone = torch.arange(len(self.clean_logits), device=self.clean_logits.device)
            number = everyone if pairs is None else pairs
            values, work = changes.values(cuts, functional, self.clean_logits[number], number)
        self.forwards += work * len(number) / len(everyone)
        return values

    def single_edges(self, functional: Functional) -> Float[Tensor, "edge pair"]:
        """`patch` for every edge alone, in the order of the graph's edges."""
        with torch.no_grad():
            every_pair = torch.arange(len(self.clean_logits), device=self.clean_logits.device)
            result = functional(self.clean_logits.clone(), every_pair).repeat(len(self.graph.edges), 1)
            changes = self._changes
            for ends in SingleEdges(changes.weights, changes.clean, changes.difference, ROWS_AT_ONCE).run():
                result[ends.edge, ends.pair] = functional(ends.logits, ends.pair.clone())
                self.forwards += ends.work
        return result

    def is_void(self, edge: str) -> bool:
        """Whether ablating the edge changes nothing, whatever else is ablated: it cannot reach the logits, or its
        writer is a source (`embed`, `pos`, `bias`), whose value never changes, and its reader sees no difference."""
        if edge not in self.live:
            return True
        writer, _ = parse_edge(edge)
        if writer == "bias":
            return True
        return writer in ("embed", "pos") and self.is_unchanged(edge)

    def is_unchanged(self, edge: str) -> bool:
        """Whether ablating the edge changes nothing for its reader, as long as all its writers are clean."""
        writer, reader = parse_edge(edge)
        if writer == "bias" or edge not in self.live:
            return True
        difference = self.difference[self.graph.writer_index[writer]]
        plain = self.weights.norm == "none"  # else other ablated edges into the reader would change the scale
        return not (self._changes.into(reader, difference) if plain else difference).any()

    def _cut(self, edges: Iterable[str]) -> list[tuple[str, int]]:
        """(reader, writer index) of each edge that can matter; the bias, replaced by itself, drops out."""
        names = list(edges)
        self.graph.indices(names)
        ends = [parse_edge(edge) for edge in names if edge in self.live]
        return [(reader, self.graph.writer_index[writer]) for writer, reader in ends if writer != "bias"]
