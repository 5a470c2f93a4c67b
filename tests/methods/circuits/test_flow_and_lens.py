"""Flow routes, lens scores and controls, written out with TransformerLens's own modules and hooks."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gaugeblock.compiled.edges.graph import Place, parse_edge
from gaugeblock.methods import check_method, run_method
from gaugeblock.methods.circuits.flow import information_flow_routes, proximity_shares
from gaugeblock.methods.circuits.lens import direct_logit_attribution, logit_lens
from gaugeblock.methods.task import Task
from support.naive import writers
from support.tasks import RANDOM, compiled_task, random_task


def cached(task: Task) -> Any:
    with torch.no_grad():
        return task.model.run_with_cache(task.clean)


def read_from(task: Task, cache: Any, reader: str) -> Tensor:
    """The residual stream that a reader reads on the clean run."""
    place = Place.of(reader)
    if place.kind == "logits":
        return cache[f"blocks.{task.model.cfg.n_layers - 1}.hook_resid_post"]
    return cache[f"blocks.{place.layer}.hook_resid_{'mid' if place.kind == 'mlp' else 'pre'}"]


# --- flow ----------------------------------------------------------------------------------------------------------


def test_flow_row_by_row(task: Task) -> None:
    scores, (_, cache), wrote = information_flow_routes(task), cached(task), writers(task.model, task.clean)
    for reader in task.graph.readers:
        place, stream = Place.of(reader), read_from(task, cache, reader)
        layers = task.model.cfg.n_layers if place.layer is None else place.layer + (place.kind == "mlp")
        bias = sum((block.attn.b_O.detach() for block in list(task.model.blocks)[:layers]), torch.zeros_like(stream))
        parts = {
            edge: bias if edge.startswith("bias") else wrote[parse_edge(edge)[0]]
            for edge in task.graph.incoming(reader)
        }
        where = task.positions if reader == "logits" else task.rows.clean
        means = dict.fromkeys(parts, 0.0)
        for i, rows in enumerate(where.tolist()):
            for p in (chosen := [p for p, yes in enumerate(rows) if yes]):
                y = stream[i, p].numpy()
                near = {
                    e: max(0.0, np.abs(y).sum() - np.abs(y - part[i, p].numpy()).sum()) for e, part in parts.items()
                }
                for edge, value in near.items():
                    means[edge] += value / (sum(near.values()) or 1.0) / len(chosen) / len(where)
        for edge, mean in means.items():
            assert scores[edge] == pytest.approx(0.0 if edge.startswith("bias") else mean, abs=1e-9), edge


def test_a_writer_that_is_the_whole_input_has_all_of_it_and_its_opposite_nothing() -> None:
    whole = torch.tensor([[1.0, -2.0], [0.0, 0.0]])
    parts = torch.stack([whole, -whole, torch.zeros_like(whole)])
    assert proximity_shares(parts, whole).tolist() == [[1, 0], [0, 0], [0, 0]]


# --- lens ----------------------------------------------------------------------------------------------------------


def answer_logit(task: Task, logits: Tensor) -> float:
    """The clean answer's logit above the mean logit, or the signed output."""
    total, clean = 0.0, task.model(task.clean).detach()
    other = task.model(task.corrupted).detach()
    for i, rows in enumerate(task.positions):
        values = []
        for p in rows.nonzero().squeeze(1).tolist():
            row = logits[i, p]
            if task.numeric:
                values.append(float(row[0] * torch.sign(clean[i, p, 0] - other[i, p, 0])))
            else:
                values.append(float(row[clean[i, p].argmax()] - row.mean()))
        total += float(np.mean(values)) / len(task.positions)
    return total


def test_direct_attribution_is_what_the_logit_loses_at_a_frozen_scale(task: Task) -> None:
    _, cache = cached(task)
    wrote, last = writers(task.model, task.clean), task.model.cfg.n_layers - 1
    scores, clean = direct_logit_attribution(task), answer_logit(task, task.model(task.clean).detach())
    assert scores.get("bias", 0.0) == 0.0
    for writer in task.graph.writers:
        if writer == "bias":
            continue
        hooks = [(f"blocks.{last}.hook_resid_post", lambda x, hook, part=wrote[writer]: x - part)]
        if task.model.cfg.normalization_type is not None:
            hooks.append(("ln_final.hook_scale", lambda x, hook: cache["ln_final.hook_scale"]))
        with torch.no_grad():
            without = task.model.run_with_hooks(task.clean, fwd_hooks=hooks)
        assert scores[writer] == pytest.approx(clean - answer_logit(task, without), abs=1e-8), writer


def test_the_lens_looks_before_and_after(task: Task) -> None:
    _, cache = cached(task)
    wrote, last = writers(task.model, task.clean), task.model.cfg.n_layers - 1
    pairs = torch.arange(len(task.clean))

    def seen(stream: Tensor) -> float:
        with torch.no_grad():
            hooks = [(f"blocks.{last}.hook_resid_post", lambda x, hook: stream)]
            return float(task.metric(task.model.run_with_hooks(task.clean, fwd_hooks=hooks), pairs).mean())

    for writer, score in logit_lens(task).items():
        place, before = Place.of(writer), torch.zeros_like(wrote["embed"])
        if place.layer is not None:
            before = read_from(task, cache, writer)
        elif writer == "pos":
            before = wrote["embed"]
        expected = 0.0 if writer == "bias" else seen(before + wrote[writer]) - seen(before)
        assert score == pytest.approx(expected, abs=1e-8), writer


# --- controls ------------------------------------------------------------------------------------------------------


def test_magnitude_is_the_change_of_what_a_reader_computes(task: Task) -> None:
    model, (_, cache) = task.model, cached(task)
    clean, corrupted = writers(model, task.clean), writers(model, task.corrupted)

    def computes(reader: str, stream: Tensor) -> Tensor:
        place = Place.of(reader)
        if place.kind == "logits":
            return model.unembed(model.ln_final(stream) if hasattr(model, "ln_final") else stream)
        block = model.blocks[place.layer]
        if place.kind == "mlp":
            mlp = block.mlp
            live = mlp.W_out.abs().sum(1) > 0  # a neuron that writes nothing is no part of the reader
            return (block.ln2(stream) @ mlp.W_in)[..., live]
        scale = model.cfg.attn_scale if place.port == "q" and model.cfg.use_attn_scale else 1.0
        return block.ln1(stream) @ getattr(block.attn, f"W_{str(place.port).upper()}")[place.head] / scale

    scores = run_method("magnitude", task)
    for edge in np.random.default_rng(0).choice(task.graph.edges, 25):
        writer, reader = parse_edge(str(edge))
        stream = read_from(task, cache, reader)
        change = torch.zeros_like(stream) if writer == "bias" else corrupted[writer] - clean[writer]
        with torch.no_grad():
            sizes = (computes(reader, stream + change) - computes(reader, stream)).norm(dim=-1)
        shown = [[True, *row[1:]] for row in task.rows.clean.tolist()]  # tokens and BOS
        moved = np.mean([float(size[row].mean()) for size, row in zip(sizes, shown, strict=True)])
        assert scores[edge] == pytest.approx(moved, abs=1e-8), edge


@pytest.mark.parametrize(
    "name", ["random", "all", "magnitude", "information_flow_routes", "direct_logit_attribution", "logit_lens"]
)
def test_they_keep_the_protocol_under_every_ablation(name: str) -> None:
    check_method(name)
    for ablation in ("mean", "zero"):
        for task in (
            random_task(RANDOM["attention only"], torch.float32, ablation),
            compiled_task("frac_prevs", torch.float32, ablation),
        ):
            one = Task.build(
                task.model, task.graph, task.clean[:1], task.corrupted[:1], task.positions[:1], ablation,
                numeric=task.numeric,
            )  # fmt: skip
            assert run_method(name, one).keys() == set(task.graph.edges)


def test_controls_know_nothing_of_the_answer() -> None:
    task = random_task({})
    assert set(run_method("all", task).values()) == {1.0}
    drawn = list(run_method("random", task).values())
    assert len(set(drawn)) == len(drawn)
    assert 0 <= min(drawn) < max(drawn) < 1
