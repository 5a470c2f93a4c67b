"""AtP*: attribution patching that sees through saturated attention and through effects that cancel.

Two corrections of (ablated - clean) · gradient:

- QK fix: what is read into q or k is not taken to first order. The attention pattern is computed with the ablated
  query or key, and the gradient is taken at the pattern behind it, where the metric is far from saturated.
- GradDrop: an effect along one path can cancel that along another. So the gradient is taken once for every layer,
  with what that layer adds to the residual stream held at its clean value, and the |effects| are averaged.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gaugeblock.compiled.edges.graph import Place
from gaugeblock.methods.circuits.gradients import by_edge, clean_graph, effects, no_totals, pulled, writers_before
from gaugeblock.methods.engine.activations import Activations, causal_mask, normalise_change, softmax
from gaugeblock.methods.registry import method
from gaugeblock.methods.task import Task

NUMBERS_AT_ONCE = 2**24
"""Numbers in queries, keys or patterns that a block of writers holds."""


@method()
def atp_star(task: Task, qk_fix: bool = True, grad_drop: bool = True) -> dict[str, float]:
    """AtP*: mean over pairs of the mean over dropped layers of |effect of the edge to first order|.

    The effect of w -> r is (pattern with q or k ablated - clean pattern) · d metric / d pattern where r is a q or a
    k, else (ablated_w - clean_w) · d metric / d (input of r). GradDrop takes the gradient once for each layer, with
    what that layer adds to the stream held fixed. The layer of r itself, where this leaves nothing, is left out of
    the mean; so one divides by layers - 1, and by all layers for edges into `logits`. A model of one layer has
    nothing to drop and keeps the plain gradient.

    Source: Kramár et al. 2024, for nodes q, k, v and MLP neurons, each at one position. Here an edge replaces what a
    reader reads at all positions together, so that all keys move at once, and the paper's cheaper way for single
    keys has nothing to save. The paper divides by layers - 1 for every node. Cost: one forward and (layers + 1) / 2
    backward passes, and an attention pattern for every edge into q or k.

    Args:
        qk_fix: recompute patterns; False takes q and k to first order as well.
        grad_drop: average over dropped layers; False takes the plain gradient.
    """
    totals = no_totals(task)
    drops = _drops(task, grad_drop)
    for group in _effects(task, qk_fix, drops, joint=False):
        size = group.effect.abs().double().mean(-1)
        values = [size[i] for i in (group.variant(drop, task) for drop in drops) if i is not None]
        rows = [task.graph.reader_index[reader] for reader in group.readers]
        totals[rows, : size.shape[-1]] = torch.stack(values).mean(0)
    return by_edge(task, totals)


@method(level="nodes")
def atp_star_nodes(task: Task, qk_fix: bool = True, grad_drop: bool = True) -> dict[str, float]:
    """AtP* of what a writer writes, for all its readers together.

    For each dropped layer the effects on the writer's readers are added up, with the query and the key of a head
    replaced together; then |sum|, its mean over dropped layers other than the writer's own, and over pairs.

    Source: Kramár et al. 2024; see `atp_star`. The paper scores a head by its q, k and v, we by what it writes. Cost:
    one forward and (layers + 1) / 2 backward passes, and an attention pattern for every writer and later head.

    Args:
        qk_fix: recompute patterns; False takes q and k to first order as well.
        grad_drop: average over dropped layers; False takes the plain gradient.
    """
    drops = _drops(task, grad_drop)
    sums = task.engine.difference.new_zeros(len(drops), len(task.graph.writers), len(task.clean), dtype=torch.float64)
    for group in _effects(task, qk_fix, drops, joint=True):
        for total, drop in zip(sums, drops, strict=True):
            if (i := group.variant(drop, task)) is not None:
                total[: group.effect.shape[2]] += group.effect[i].double().sum(0)
    scores = {}
    for w, size in zip(task.graph.writers, sums.abs().mean(-1).unbind(1), strict=True):
        others = [i for i, drop in enumerate(drops) if drop is None or drop != Place.of(w).layer]
        scores[w] = float(size[others].mean())
    return scores


def _drops(task: Task, grad_drop: bool) -> list[int | None]:
    """The layers to drop, one at a time; [None] for the plain gradient."""
    n_layers = task.engine.weights.n_layers
    return list(range(n_layers)) if grad_drop and n_layers > 1 else [None]


class _Effects(NamedTuple):
    """Effects of ablating what some readers of one layer read, by variant of the gradient (see `_backward`).

    `layer` is the number of layers for the logits. Where q and k are replaced together, `readers` names heads.
    """

    layer: int
    readers: list[str]
    effect: Float[Tensor, "variant reader writer pair"]

    def variant(self, drop: int | None, task: Task) -> int | None:
        """Which variant of the gradient a dropped layer gives here; None where it gives none at all."""
        if drop is None or drop < self.layer:
            return 0
        return None if drop == self.layer else task.engine.weights.n_layers - drop


class _Gradients(NamedTuple):
    """Gradients at one layer's q, k, v, patterns and MLP, one row for each variant. `pre` is None without an MLP."""

    layer: int
    qkv: Float[Tensor, "variant pair pos port head d_head"]
    pattern: Float[Tensor, "variant pair head query key"]
    pre: Float[Tensor, "variant pair pos neuron"] | None


def _effects(task: Task, qk_fix: bool, drops: list[int | None], joint: bool) -> Iterator[_Effects]:
    """The effects on every reader. joint: the q and k of a head are replaced together."""
    engine = task.engine
    weights, clean = engine.weights, engine.clean_run
    run, total = clean_graph(task)
    (end,) = torch.autograd.grad(total, run.stream[-1], retain_graph=True)
    yield _Effects(weights.n_layers, ["logits"], effects(engine.difference, end[None])[None])
    for gradients in _backward(task, run, end, drops):
        layer, mlp, heads = gradients.layer, weights.mlp[gradients.layer], weights.attention[gradients.layer].heads
        if mlp is not None and gradients.pre is not None:
            maps = mlp.W_in.expand(len(gradients.pre), *mlp.W_in.shape)
            gradient = pulled(weights, clean.stream[2 * layer + 1], maps, gradients.pre)
            seen = writers_before(task, 2 * layer + 1)
            yield _Effects(layer, [f"m{layer}"], effects(engine.difference[:seen], gradient)[:, None])
        if not heads:
            continue
        linear = {port: _linear(task, gradients, i) for i, port in enumerate("qkv") if port == "v" or not qk_fix}
        yield _Effects(layer, [f"a{layer}.h{head}.v" for head in heads], linear["v"])
        for ports in ["qk"] if joint else ["q", "k"]:
            effect = _rerouted(task, gradients, ports) if qk_fix else torch.stack([linear[p] for p in ports]).sum(0)
            names = [f"a{layer}.h{head}" if joint else f"a{layer}.h{head}.{ports}" for head in heads]
            yield _Effects(layer, names, effect)


def _backward(task: Task, run: Activations, end: Tensor, drops: list[int | None]) -> Iterator[_Gradients]:
    """Gradients on the clean run, from the last layer to the first.

    Variant 0 is the plain gradient, variant i > 0 that with layer n_layers - i dropped: in front of that layer it is
    the gradient behind it. Layers before a reader do not change its gradient, so each layer has one more variant
    than the layer after it.
    """
    n_layers = task.engine.weights.n_layers
    variants = [end]
    for layer in reversed(range(n_layers)):
        inner = [run.stream[2 * layer], run.qkv[layer], run.pattern[layer]]
        if (pre := run.pre[layer]) is not None:
            inner.append(pre)
        by_variant = [
            torch.autograd.grad(run.stream[2 * layer + 2], inner, g, retain_graph=True, materialize_grads=True)
            for g in variants
        ]
        task.engine.backwards += len(variants) / n_layers
        stream, qkv, pattern, *rest = (torch.stack(x) for x in zip(*by_variant, strict=True))
        yield _Gradients(layer, qkv, pattern, rest[0] if rest else None)
        variants = [*stream, variants[0]] if drops != [None] else list(stream)


def _linear(task: Task, gradients: _Gradients, port: int) -> Float[Tensor, "variant head writer pair"]:
    """Effects on every head's q (0), k (1) or v (2) to first order."""
    engine, layer = task.engine, gradients.layer
    maps = engine.weights.attention[layer].maps[:, port].transpose(0, 1)
    inside = gradients.qkv[..., port, :, :].permute(0, 3, 1, 2, 4)
    difference = engine.difference[: writers_before(task, 2 * layer)]
    stream = engine.clean_run.stream[2 * layer]
    return torch.stack([effects(difference, pulled(engine.weights, stream, maps, one)) for one in inside])


def _rerouted(task: Task, gradients: _Gradients, ports: str) -> Float[Tensor, "variant head writer pair"]:
    """Effects of every head's pattern with these ports ("q", "k" or "qk") ablated, to first order in the pattern."""
    engine, layer = task.engine, gradients.layer
    weights, clean = engine.weights, engine.clean_run
    stream, pattern = clean.stream[2 * layer], clean.pattern[layer]
    q, k = clean.qkv[layer][:, :, :2].permute(2, 0, 3, 1, 4)
    maps = weights.attention[layer].maps
    mask = causal_mask(weights, stream.shape[1])
    per_block = max(1, NUMBERS_AT_ONCE // max(pattern.numel(), q.numel(), stream.numel()))
    blocks = []
    for difference in engine.difference[: writers_before(task, 2 * layer)].split(per_block):
        change = normalise_change(weights, stream.expand_as(difference), difference)
        ends = [
            end + torch.einsum("wpsd,dhe->wphse", change, maps[:, i]) if port in ports else end
            for i, (port, end) in enumerate(zip("qk", (q, k), strict=True))
        ]
        scores = ends[0] @ ends[1].transpose(-1, -2)
        moved = softmax(scores if mask is None else scores + mask) - pattern
        blocks.append(torch.einsum("vphst,wphst->vhwp", gradients.pattern, moved))
    return torch.cat(blocks, 2)
