"""Gradient methods against autograd through TransformerLens's own hooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gaugeblock.compiled import split_inputs
from gaugeblock.compiled.edges.graph import Place, owner, parse_edge
from gaugeblock.methods.check import check_method
from gaugeblock.methods.circuits.atp import atp_star, atp_star_nodes
from gaugeblock.methods.circuits.gradients import (
    attribution_patching,
    clean_corrupted,
    eap,
    eap_ig,
    eap_ig_activations,
    eap_ig_gauss,
    hisp,
    quadrature_points,
)
from gaugeblock.methods.circuits.patching import activation_patching, edge_patching
from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError
from support.naive import patched, writers
from support.tasks import RANDOM, compiled_task, random_model, random_task

EVERY = [eap, attribution_patching, eap_ig, eap_ig_gauss, clean_corrupted, eap_ig_activations, hisp]
EVERY += [atp_star, atp_star_nodes]
MODELS = [
    ("plain", "zero"), ("causal gelu", "mean"), ("layer norm", "resample"), ("rms norm", "donor"),
    ("attention only", "resample"),
]  # fmt: skip

Hooks = list[tuple[str, Callable[..., Any]]]
NO_HOOKS: Hooks = []


@pytest.fixture(params=MODELS, ids=lambda p: f"{p[0]}-{p[1]}")
def model_task(request: pytest.FixtureRequest) -> Task:
    name, ablation = request.param
    return random_task(RANDOM[name], ablation=ablation)


def gradients(task: Task, points: dict[str, str], tokens: Tensor, hooks: Hooks = NO_HOOKS) -> dict[str, Tensor]:
    """{name: gradient of the summed metric at its hook point} on a hooked run with split inputs."""
    kept: dict[str, Tensor] = {}

    def keep(value: Tensor, hook: Any) -> None:
        value.retain_grad()
        kept[hook.name] = value

    keeping = [(point, keep) for point in set(points.values())]
    with split_inputs(task.model):
        logits = task.model.run_with_hooks(tokens, fwd_hooks=[*hooks, *keeping])
        task.metric(logits, torch.arange(len(tokens))).sum().backward()
    at_points = {name: kept[point].grad for name, point in points.items()}
    task.model.zero_grad()
    return {name: torch.zeros_like(kept[points[name]]) if g is None else g for name, g in at_points.items()}


def at_readers(task: Task, tokens: Tensor, hooks: Hooks = NO_HOOKS) -> dict[str, Tensor]:
    """{reader: gradient at its own input [pair, pos, d_model]}."""
    places = {reader: task.graph.hook(reader, reads=True) for reader in task.graph.readers}
    at_points = gradients(task, {reader: point for reader, (point, _) in places.items()}, tokens, hooks)
    return {r: at_points[r] if head is None else at_points[r][:, :, head] for r, (_, head) in places.items()}


def mixed(task: Task, writer: str, x: float) -> tuple[str, Callable[..., Any]]:
    """A hook that writes the mixture of a writer's ablated (x = 0) and clean (x = 1) output."""
    point, head = task.graph.hook(writer)
    ablated = changed(task)[writer]
    clean = ablated + differences(task)[writer]

    def write(value: Tensor, hook: Any) -> Tensor:
        mixture = x * clean + (1 - x) * ablated
        if head is None:
            return mixture.expand_as(value).clone().requires_grad_()
        return torch.cat([value[:, :, :head], mixture[:, :, None], value[:, :, head + 1 :]], 2)

    return point, write


def changed(task: Task) -> dict[str, Tensor]:
    return dict(zip(task.graph.writers, task.engine.ablated, strict=True))


@lru_cache(maxsize=2)
def differences(task: Task) -> dict[str, Tensor]:
    clean = writers(task.model, task.clean)
    return {w: clean[w] - value for w, value in changed(task).items() if w != "bias"}


def product(difference: Tensor, gradient: Tensor) -> Tensor:
    return (difference * gradient).flatten(1).sum(1)


def naive_edges(task: Task, path: list[tuple[float, float]]) -> dict[str, float]:
    """Gradients at every reader on runs from mixed embeddings, one point after the other."""
    scores = dict.fromkeys(task.graph.edges, 0.0)
    sources = [w for w in ("embed", "pos") if w in task.graph.writers]
    for x, weight in path:
        at_reader = at_readers(task, task.clean, [mixed(task, w, x) for w in sources])
        for edge in task.graph.edges:
            writer, reader = parse_edge(edge)
            if writer != "bias":
                scores[edge] += weight * float(product(differences(task)[writer], at_reader[reader]).mean())
    return scores


def close(scores: dict[str, float], expected: dict[str, float]) -> None:
    assert max(map(abs, expected.values())) > 1e-4
    assert scores == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_eap_by_hooks(model_task: Task) -> None:
    close(eap(model_task), naive_edges(model_task, [(1.0, 1.0)]))


@pytest.mark.parametrize(
    ("run", "path"),
    [
        (lambda task: eap_ig(task, steps=4), [(k / 4, 1 / 4) for k in range(4)]),
        (lambda task: eap_ig_gauss(task, steps=2), [(0.5 - 12**-0.5, 0.5), (0.5 + 12**-0.5, 0.5)]),
        (clean_corrupted, [(0.0, 0.5), (1.0, 0.5)]),
    ],
    ids=["eap_ig", "eap_ig_gauss", "clean_corrupted"],
)
def test_edges_on_the_path_of_the_embeddings(run: Any, path: list[tuple[float, float]]) -> None:
    task = random_task(RANDOM["layer norm"], ablation="mean")
    close(run(task), naive_edges(task, path))


def test_clean_corrupted_is_what_both_plain_runs_say() -> None:
    task = random_task(RANDOM["layer norm"])
    both_runs = [at_readers(task, tokens) for tokens in (task.clean, task.corrupted)]
    expected = {
        edge: sum(float(product(differences(task)[w], g[r]).mean()) for g in both_runs) / 2 if w != "bias" else 0.0
        for edge, (w, r) in ((edge, parse_edge(edge)) for edge in task.graph.edges)
    }
    close(clean_corrupted(task), expected)


def test_a_node_is_the_sum_of_its_edges_and_the_gradient_at_its_output(model_task: Task) -> None:
    task, edges = model_task, eap(model_task)
    places = {w: task.graph.hook(w) for w in task.graph.writers if w != "bias"}
    at_writers = gradients(task, {w: point for w, (point, _) in places.items()}, task.clean)
    expected = {"bias": 0.0} if "bias" in task.graph.writers else {}
    for w, (_, head) in places.items():
        gradient = at_writers[w] if head is None else at_writers[w][:, :, head]
        expected[w] = float(product(differences(task)[w], gradient).mean())
    nodes = attribution_patching(task)
    close(nodes, expected)
    close(nodes, {w: sum(edges[e] for e in task.graph.outgoing(w)) for w in task.graph.writers})


def test_activations_are_integrated_over_their_own_writers_path(model_task: Task, monkeypatch: Any) -> None:
    task = model_task
    expected = dict.fromkeys(task.graph.edges, 0.0)
    for w in task.graph.writers:
        for x in (0.0, 0.5) if w != "bias" else ():
            at_reader = at_readers(task, task.clean, [mixed(task, w, x)])
            for edge in task.graph.outgoing(w):
                expected[edge] += float(product(differences(task)[w], at_reader[parse_edge(edge)[1]]).mean()) / 2
    close(eap_ig_activations(task, steps=2), expected)
    monkeypatch.setattr("gaugeblock.methods.circuits.gradients.NUMBERS_AT_ONCE", 1)
    close(eap_ig_activations(task, steps=2), expected)


def test_a_writers_integrated_edges_add_up_to_its_exact_effect() -> None:
    task = random_task(RANDOM["causal gelu"], ablation="donor")
    edges = eap_ig_activations(task, steps=12, quadrature="gauss")
    exact = activation_patching(task)
    assert {w: sum(edges[e] for e in task.graph.outgoing(w)) for w in exact} == pytest.approx(exact, abs=1e-6)


def test_head_importance_is_the_gradient_of_a_gate() -> None:
    """Michel et al. 2019: under zero ablation, |d metric / d gate| of a gate on what a node writes."""
    task = random_task(RANDOM["layer norm"], ablation="zero")
    expected = {}
    for w in task.graph.writers:
        gate = torch.ones(len(task.clean), dtype=torch.float64, requires_grad=True)
        if w != "bias":
            point, head = task.graph.hook(w)

            def close_gate(value: Tensor, hook: Any, head: int | None = head, gate: Tensor = gate) -> Tensor:
                if head is None:
                    return value * gate[:, None, None]
                chosen = (torch.arange(value.shape[2]) == head)[:, None]
                return torch.where(chosen, value * gate[:, None, None, None], value)

            with split_inputs(task.model):
                logits = task.model.run_with_hooks(task.clean, fwd_hooks=[(point, close_gate)])
            task.metric(logits, torch.arange(len(task.clean))).sum().backward()
        expected[w] = 0.0 if gate.grad is None else float(gate.grad.abs().mean())
    task.model.zero_grad()
    close(hisp(task, normalise=False), expected)
    layers = {w: Place.of(w).layer for w in expected}
    sizes = {n: float(np.linalg.norm([expected[w] for w in expected if layers[w] == n])) for n in set(layers.values())}
    close(hisp(task), {w: value / sizes[layers[w]] for w, value in expected.items()})


@contextmanager
def watched(model: Any, layer: int, kept: list[Tensor]) -> Iterator[None]:
    """Keep a layer's attention patterns of every run inside the block."""
    with model.hooks(
        fwd_hooks=[(f"blocks.{layer}.attn.hook_pattern", lambda value, hook: kept.append(value.detach()))]
    ):
        yield


def naive_atp(task: Task, ends: list[list[str]], qk_fix: bool, dropped: int | None) -> list[Tensor]:
    """Per set of edges with one writer: the sum of the edges' effects on each pair, by hooks.

    Edges into q and k of one head are patched together, in a run of their own that is watched up to the pattern.
    """
    model, names = task.model, ("hook_attn_out", "hook_mlp_out")[: 1 if task.model.cfg.attn_only else 2]
    drop: Hooks = []
    if dropped is not None:
        drop = [(f"blocks.{dropped}.{name}", lambda value, hook: value.detach()) for name in names]
    at_inputs = at_readers(task, task.clean, drop)
    layers = range(model.cfg.n_layers)
    at_patterns = gradients(task, {str(i): f"blocks.{i}.attn.hook_pattern" for i in layers}, task.clean, drop)
    results = []
    for edges in ends:
        total = torch.zeros(len(task.clean), dtype=torch.float64)
        rerouted: dict[str, list[str]] = {}
        for edge in edges:
            writer, reader = parse_edge(edge)
            if writer == "bias":
                continue
            if qk_fix and reader[-1] in "qk":
                rerouted.setdefault(owner(reader), []).append(edge)
            else:
                total -= product(differences(task)[writer], at_inputs[reader])
        for head, pair in rerouted.items():
            place, kept = Place.of(head), []
            with watched(model, place.layer, kept):
                model(task.clean)
                patched(model, task.clean, changed(task), pair)
            change = (kept[1] - kept[0])[:, place.head] * at_patterns[str(place.layer)][:, place.head]
            total += change.flatten(1).sum(1)
        results.append(total)
    return results


@pytest.mark.parametrize(
    ("name", "ablation", "qk_fix", "grad_drop"),
    [
        ("layer norm", "resample", True, True),
        ("plain", "zero", True, True),
        ("attention only", "donor", True, False),
        ("rms norm", "mean", False, True),
        ("causal gelu", "resample", False, False),
    ],
)
def test_atp_star_by_hooks(name: str, ablation: str, qk_fix: bool, grad_drop: bool) -> None:
    task = random_task(RANDOM[name], ablation=ablation)
    edges = np.random.default_rng(3).choice(task.graph.edges, 20, replace=False).tolist()
    nodes = ["embed", "a0.h1", "a1.h0", task.graph.writers[-1]]
    sets = [*([e] for e in edges), *(list(task.graph.outgoing(w)) for w in nodes)]
    own = [Place.of(parse_edge(e)[1]).layer for e in edges] + [Place.of(w).layer for w in nodes]
    everywhere = range(task.model.cfg.n_layers) if grad_drop else [None]
    by_drop = {drop: naive_atp(task, sets, qk_fix, drop) for drop in everywhere}
    expected = [
        float(np.mean([float(by_drop[d][i].abs().mean()) for d in by_drop if d is None or d != layer]))
        for i, layer in enumerate(own)
    ]
    scores = {**atp_star(task, qk_fix, grad_drop), **atp_star_nodes(task, qk_fix, grad_drop)}
    close({name: scores[name] for name in [*edges, *nodes]}, dict(zip([*edges, *nodes], expected, strict=True)))


def test_the_qk_fix_sees_what_saturation_hides() -> None:
    """Compiled attention is saturated: where exact patching finds a large effect of a q or k, EAP finds none."""
    task = compiled_task("sort")
    exact, fixed, plain = edge_patching(task), atp_star(task), eap(task)
    into = [edge for edge in task.graph.edges if edge[-2:] in (".q", ".k") and exact[edge] > 1]
    last = [edge for edge in into if Place.of(parse_edge(edge)[1]).layer == task.engine.weights.n_layers - 1]
    assert last
    assert max(abs(plain[edge]) for edge in into) < 1e-9
    assert min(fixed[edge] for edge in last) > 1


def test_blocks_of_writers_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    task = random_task(RANDOM["causal gelu"])
    together = atp_star(task), atp_star_nodes(task)
    monkeypatch.setattr("gaugeblock.methods.circuits.atp.NUMBERS_AT_ONCE", 1)
    close(atp_star(task), together[0])
    close(atp_star_nodes(task), together[1])


@pytest.mark.parametrize("function", EVERY)
def test_every_preset_keeps_the_protocol_on_small_and_odd_tasks(function: Any) -> None:
    check_method(function)
    full = random_task(RANDOM["attention only"], torch.float32, "mean")
    one_pair = Task.build(full.model, full.graph, full.clean[:1], full.corrupted[:1], full.positions[:1])
    for task in (one_pair, compiled_task("dyck2", torch.float32, "donor", n=3)):
        scores = function(task)
        assert all(np.isfinite(score) for score in scores.values())
        assert any(scores.values())


def test_a_model_of_one_layer_has_nothing_to_drop() -> None:
    task = random_task({})
    model = random_model({}, torch.float64)
    model.blocks = model.blocks[:1]
    model.cfg.n_layers = 1
    graph = type(task.graph).of(model)
    small = Task.build(model, graph, task.clean, task.corrupted, task.positions)
    assert atp_star(small) == atp_star(small, grad_drop=False)
    assert atp_star_nodes(small) == atp_star_nodes(small, grad_drop=False)
    for function in EVERY:
        assert any(function(small).values())


def test_gauss_is_closer_to_the_integral() -> None:
    task = random_task(RANDOM["causal gelu"])
    fine = eap_ig(task, steps=200, quadrature="midpoint")
    errors = [max(abs(scores[e] - fine[e]) for e in fine) for scores in (eap_ig(task), eap_ig_gauss(task))]
    assert errors[1] < errors[0] / 10


def test_there_is_at_least_one_step() -> None:
    with pytest.raises(MethodError, match="at least one step, got 0"):
        quadrature_points(0, "gauss")
