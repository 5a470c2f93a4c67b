"""ACDC: greedy removal of edges from the output backwards.

Readers are decided one after the other. What makes that cheap:

- While a reader is being decided, everything before it is clean: a trial starts at that reader and touches one node of
  its layer.
- A cut edge carries its writer's ablated value, whatever happens in front of that writer later in the search. So a
  reader's accepted cuts add a constant to its clean input (`Stage.values`), and what changes otherwise reaches it only
  from the writers that it still reads.
- Nodes that nobody reads any more are left out, and so are the pairs in which a trial does not change its node.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gaugeblock.compiled.edges.graph import PORTS, parse_edge
from gaugeblock.methods.engine.activations import Activations, attend, causal_mask, normalise
from gaugeblock.methods.engine.edge_sets import moved, take
from gaugeblock.methods.engine.objective import Objective
from gaugeblock.methods.engine.weights import MlpWeights, Weights
from gaugeblock.methods.registry import method
from gaugeblock.methods.task import Task

THRESHOLDS = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)

ROWS_ON_CPU = 2**9
ROWS_ON_GPU = 2**14
"""Token rows of a block of pairs."""


@method()
def acdc(task: Task, thresholds: Sequence[float] = THRESHOLDS, objective: str = "divergence") -> dict[str, float]:
    """The largest threshold at which an edge survives ACDC; 0 where it survives none.

    For one threshold: readers from the output backwards, and each reader's edges from the latest writer backwards;
    an edge is removed (ablated for good) if that raises the objective by less than the threshold.

    Source: Conmy et al. 2023. Cost: one forward pass per edge and threshold in principle. Edges whose removal cannot
    change anything are removed without a run: those into a node all of whose outgoing edges are gone, and those whose
    ablated value the reader cannot tell from the clean one.

    Args:
        thresholds: the sweep.
        objective: "divergence" (KL from the clean output, squared error for numeric outputs; mean over graded
            positions and pairs) or "metric" (loss of the task's metric).
    """
    scores = dict.fromkeys(task.graph.edges, 0.0)
    for threshold in sorted(thresholds):
        for edge in survivors(task, threshold, objective):
            scores[edge] = threshold
    return scores


@method()
def acdc_metric(task: Task, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, float]:
    """`acdc` with the loss of the task's metric as objective, as the published code offers beside KL.

    Unlike KL, the loss falls where a removal makes the model surer of its answer; such edges go at any threshold.
    Source and cost: as `acdc`.
    """
    return acdc(task, thresholds, "metric")


def survivors(task: Task, threshold: float, objective: str = "divergence") -> list[str]:
    """The circuit that ACDC keeps at one threshold, in the order of the graph's edges."""
    return search(task, Objective(task, objective), threshold)[0]


def search(task: Task, objective: Objective, threshold: float) -> tuple[list[str], Float[Tensor, " pair"]]:
    """(edges that stay, in the order of the graph; the objective of every pair with all others ablated).

    An edge goes if that raises the mean of the objective by less than the threshold. Readers go from the output
    backwards, and so do each reader's edges. Edges whose ablation cannot matter go without a trial: they do not reach
    the logits, their node is no longer read, or their reader cannot tell the ablated value from the clean one.
    """
    with torch.no_grad():
        return _search(task, objective, threshold)


def _search(task: Task, objective: Objective, threshold: float) -> tuple[list[str], Tensor]:
    graph, engine = task.graph, task.engine
    removed = {edge for edge in graph.edges if edge.startswith("bias->") or edge not in engine.live}
    value = objective(engine.clean_logits, torch.arange(len(task.clean), device=task.clean.device))
    later: list[Stage] = []
    for whole in reversed(stages(engine.pruned, engine.pruned_run)):
        read = [n == "logits" or not removed.issuperset(graph.outgoing(n)) for n in whole.nodes]
        for slot, _, reader in whole.backwards():
            removed.update(() if read[slot] else graph.incoming(reader))
        if not any(read):
            continue
        stage = whole.only([slot for slot, is_read in enumerate(read) if is_read])
        deciding = Deciding(stage, later, removed, objective)
        for slot, port, reader in stage.backwards():
            for edge in reversed(graph.incoming(reader)):
                if edge in removed:
                    continue
                writer = graph.writer_index[parse_edge(edge)[0]]
                change = stage.into(engine.difference[writer], (port, slot))
                if bool(change.any()):
                    trial = deciding.try_cut(slot, port, change, value)
                    engine.forwards += len(trial.pairs) / len(value) * (1 + len(later)) / engine.weights.stages
                    if float(trial.objective.mean()) - float(value.mean()) >= threshold:
                        continue
                    deciding.accept(trial)
                    value = trial.objective
                removed.add(edge)
        later.insert(0, stage)
    return [edge for edge in graph.edges if edge not in removed], value


# --- what one more cut does to a model whose later edges are decided -----------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Stage:
    """Nodes that read at the same place: the heads of a layer, an MLP, or the logits.

    Attributes:
        nodes: their names.
        readers: per port (q, k and v of heads; else one), the reader of each node.
        maps, bias: what each reader does to its normalised input; to its plain input where there is no normalisation.
        values: what each reader gets from clean writers and its own cuts, behind `maps` or, in front of a
            normalisation, as residual stream. Accepted cuts are added in place.
        mix: from what the readers compute to what the nodes write, in front of `W_out`.
        clean: `mix` on the clean run. None for the logits, as is `W_out`.
    """

    weights: Weights
    nodes: tuple[str, ...]
    readers: tuple[tuple[str, ...], ...]
    maps: Float[Tensor, "port node d_model width"]
    bias: Float[Tensor, "port node 1 1 width"]
    values: Float[Tensor, "port node pair pos _"]
    mix: Callable[[Tensor], Tensor]
    clean: Float[Tensor, "node pair pos inner"] | None
    W_out: Float[Tensor, "node inner d_model"] | None

    def only(self, nodes: slice | list[int]) -> "Stage":
        """Some of the nodes; `values` are shared with this stage for a slice, and copied for a list."""
        chosen = range(len(self.nodes))[nodes] if isinstance(nodes, slice) else nodes
        return replace(
            self,
            nodes=tuple(self.nodes[i] for i in chosen),
            readers=tuple(tuple(readers[i] for i in chosen) for readers in self.readers),
            maps=self.maps[:, nodes],
            bias=self.bias[:, nodes],
            values=self.values[:, nodes],
            clean=None if self.clean is None else self.clean[nodes],
            W_out=None if self.W_out is None else self.W_out[nodes],
        )

    def backwards(self) -> Iterator[tuple[int, int, str]]:
        """(number of the node, port, name) of each reader, from the last one in the graph's order."""
        for slot in reversed(range(len(self.nodes))):
            for port in reversed(range(len(self.readers))):
                yield slot, port, self.readers[port][slot]

    def into(self, change: Float[Tensor, "*reader item pos d_model"], reader: tuple[int, ...] = ()) -> Tensor:
        """What changes of the readers' inputs add to `values`; reader: (port, node) for one of them alone."""
        return _product(change, self.maps[reader]) if self.weights.norm == "none" else change

    def write(
        self, values: Float[Tensor, "port node item pos _"], pairs: Int[Tensor, " item"]
    ) -> Float[Tensor, "node item pos _"]:
        """Change of what the nodes write, given these values; the logits themselves for the logits."""
        if self.weights.norm != "none":
            values = _product(normalise(self.weights, values), self.maps) + self.bias
        inner = self.mix(values)
        if self.clean is None or self.W_out is None:
            return inner
        return _product(inner - self.clean.index_select(1, pairs), self.W_out)


def _product(x: Tensor, maps: Tensor) -> Tensor:
    """x[…, item, pos, :] @ maps[…] as one product of matrices for each map."""
    return (x.flatten(-3, -2) @ maps).unflatten(-2, x.shape[-3:-1])


def stages(weights: Weights, clean: Activations) -> list[Stage]:
    """Every stage of a model that has nodes, first to last."""
    chain = []
    for layer in range(weights.n_layers):
        if weights.attention[layer].heads:
            chain.append(_attention(weights, clean, layer))
        mlp = weights.mlp[layer]
        if mlp is not None and len(mlp.W_out):
            chain.append(_mlp(weights, clean, layer, mlp))
    maps, bias = weights.W_U[None, None], weights.b_U[None, None, None, None]
    values = _values(weights, clean.stream[-1], clean.logits[None, None])
    chain.append(Stage(weights, ("logits",), (("logits",),), maps, bias, values, lambda values: values[0], None, None))
    return chain


def _attention(weights: Weights, clean: Activations, layer: int) -> Stage:
    attention, causal = weights.attention[layer], causal_mask(weights, clean.logits.shape[1])
    nodes = tuple(f"a{layer}.h{head}" for head in attention.heads)
    maps = attention.maps.permute(1, 2, 0, 3).contiguous()
    return Stage(
        weights=weights,
        nodes=nodes,
        readers=tuple(tuple(f"{node}.{port}" for node in nodes) for port in PORTS),
        maps=maps,
        bias=attention.b_qkv.view(*maps.shape[:2], 1, 1, -1),
        values=_values(weights, clean.stream[2 * layer], clean.qkv[layer].permute(2, 3, 0, 1, 4)),
        mix=lambda values: attend(values[0], values[1], values[2], causal)[0],
        clean=clean.z[layer].permute(2, 0, 1, 3).contiguous(),
        W_out=attention.W_O,
    )


def _mlp(weights: Weights, clean: Activations, layer: int, mlp: MlpWeights) -> Stage:
    pre, post = clean.pre[layer], clean.post[layer]
    assert pre is not None
    assert post is not None
    return Stage(
        weights=weights,
        nodes=(f"m{layer}",),
        readers=((f"m{layer}",),),
        maps=mlp.W_in[None, None],
        bias=mlp.b_in[None, None, None, None],
        values=_values(weights, clean.stream[2 * layer + 1], pre[None, None]),
        mix=lambda values: weights.activation(values[0]),
        clean=post[None],
        W_out=mlp.W_out[None],
    )


def _values(weights: Weights, stream: Tensor, linear: Float[Tensor, "port node pair pos width"]) -> Tensor:
    """What the readers get from clean writers, as `Stage.values` has it."""
    return linear.contiguous() if weights.norm == "none" else stream.expand(*linear.shape[:2], -1, -1, -1)


@final
@dataclass(frozen=True, eq=False)
class Trial:
    """One more cut: what it adds to a reader's `values`, and what its node then writes in the pairs where that differs.

    objective: of every pair with the cut.
    """

    slot: int
    port: int
    change: Float[Tensor, "pair pos _"]
    pairs: Int[Tensor, " item"]
    written: Float[Tensor, "item pos _"]
    objective: Float[Tensor, " pair"]


@final
class Deciding:
    """A stage whose readers are being decided; all that is before it is clean, all that is after it is decided.

    `written` is what each of its nodes writes, by its own accepted cuts.

    Args:
        later: the stages behind it, first to last, reduced to nodes that are still read.
        removed: the edges that are cut.
    """

    def __init__(self, stage: Stage, later: Sequence[Stage], removed: Collection[str], objective: Objective) -> None:
        self.stage, self.objective = stage, objective
        if stage.W_out is None:
            self.written = objective.clean[None].clone()
        else:
            self.written = stage.values.new_zeros(*stage.values.shape[1:4], stage.W_out.shape[-1])
        nodes = list(stage.nodes)
        self.later: list[tuple[Stage, Tensor]] = []
        for behind in later:  # with which of the nodes from this stage on each of its readers reads
            reads = [[f"{node}->{r}" not in removed for node in nodes] for readers in behind.readers for r in readers]
            self.later.append((behind, stage.values.new_tensor(reads)))
            nodes += behind.nodes
        rows = ROWS_ON_GPU if stage.values.is_cuda else ROWS_ON_CPU
        self.n_nodes, self.pairs_at_once = len(nodes), max(1, rows // stage.values.shape[3])

    def try_cut(self, slot: int, port: int, change: Tensor, objective: Float[Tensor, " pair"]) -> Trial:
        """The cut that adds `change` to a reader's `values`; `objective` is that of every pair without it."""
        node = self.stage.only(slice(slot, slot + 1))
        pairs = moved(change).nonzero().squeeze(1)
        values = node.values.index_select(2, pairs)
        values[port, 0] += take(change, pairs)
        written = node.write(values, pairs)[0]
        differs = moved(written - take(self.written[slot], pairs)).nonzero().squeeze(1)
        pairs, written, tried = take(pairs, differs), take(written, differs), objective.clone()
        for block, new in zip(pairs.split(self.pairs_at_once), written.split(self.pairs_at_once), strict=True):
            tried[block] = self.objective(self._logits(slot, new, block), block)
        return Trial(slot, port, change, pairs, written, tried)

    def accept(self, trial: Trial) -> None:
        self.stage.values[trial.port, trial.slot] += trial.change
        self.written[trial.slot, trial.pairs] = trial.written

    def _logits(self, slot: int, written: Tensor, pairs: Tensor) -> Tensor:
        """The logits of these pairs where one node of this stage writes something else."""
        if not self.later:
            return written
        count = len(self.stage.nodes)
        changes = written.new_empty(self.n_nodes, *written.shape)
        changes[:count] = self.written.index_select(1, pairs)
        changes[slot] = written
        for stage, reads in self.later:
            into = (reads @ changes[:count].flatten(1)).view(*stage.values.shape[:2], *written.shape)
            values = stage.into(into) + stage.values.index_select(2, pairs)
            out = stage.write(values, pairs)
            if stage.W_out is not None:
                changes[count : count + len(out)] = out
                count += len(out)
        return out[0]
