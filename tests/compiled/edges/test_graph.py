"""The graph of a model: who writes, who reads, and what is left out."""

from contextlib import suppress

import pytest
import torch

from gaugeblock.compiled import split_inputs
from gaugeblock.compiled.edges.graph import Graph, Place, from_angle, owner, parse_edge, to_angle
from gaugeblock.programs.errors import InputError, UnknownName
from support.tasks import RANDOM, random_task


@pytest.fixture
def model():
    """A model whose slots are all in use, with every parameter random."""
    model = random_task({}).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return model


def expected(layers: int, heads: int) -> set[str]:
    """Every edge of a full graph, from the order in which things are written and read."""
    edges, writers = set(), ["embed", "pos"]
    for layer in range(layers):
        new = [f"a{layer}.h{head}" for head in range(heads)]
        bias = ["bias"] if layer else []  # b_O is first added behind the attention of layer 0
        edges |= {f"{w}->{head}.{port}" for head in new for port in "qkv" for w in writers + bias}
        writers += new
        edges |= {f"{w}->m{layer}" for w in [*writers, "bias"]}
        writers.append(f"m{layer}")
    return edges | {f"{w}->logits" for w in [*writers, "bias"]}


def test_a_full_model_has_every_edge_once_in_topological_order(model) -> None:
    graph, cfg = Graph.of(model), model.cfg
    assert set(graph.edges) == expected(cfg.n_layers, cfg.n_heads)
    assert len(set(graph.edges)) == len(graph.edges)
    places = [(graph.reader_index[r], graph.writer_index[w]) for w, r in map(parse_edge, graph.edges)]
    assert places == sorted(places)
    assert graph.writers[:3] == ("embed", "pos", "bias")
    assert [e for reader in graph.readers for e in graph.incoming(reader)] == list(graph.edges)
    assert sorted(e for writer in graph.writers for e in graph.outgoing(writer)) == sorted(graph.edges)


def test_slots_that_write_nothing_are_left_out(model) -> None:
    last = model.cfg.n_layers - 1
    with torch.no_grad():
        model.pos_embed.W_pos.zero_()
        for block in model.blocks:
            block.attn.b_O.zero_()
        model.blocks[0].attn.W_O[0] = 0
        model.blocks[last].attn.W_V[1] = 0
        model.blocks[last].attn.b_V[1] = 0
        model.blocks[0].mlp.W_out.zero_()
        model.blocks[0].mlp.b_out.zero_()
        model.blocks[last].mlp.W_out.zero_()  # its b_out still writes
    graph = Graph.of(model)
    gone = {"pos", "bias", "a0.h0", f"a{last}.h1", "m0"}
    assert not gone & {*graph.writers, *map(owner, graph.readers)}
    assert f"m{last}" in graph.writers
    heads = tuple(range(model.cfg.n_heads))
    assert graph.heads(0) == heads[1:]
    assert graph.heads(last) == tuple(h for h in heads if h != 1)
    whole = expected(model.cfg.n_layers, model.cfg.n_heads)
    assert set(graph.edges) == {e for e in whole if not gone & {parse_edge(e)[0], owner(parse_edge(e)[1])}}


def test_a_head_that_writes_only_its_value_bias_stays(model) -> None:
    with torch.no_grad():
        model.blocks[0].attn.W_V[0] = 0
    assert "a0.h0" in Graph.of(model).writers


def test_names() -> None:
    assert Place.of("a12.h3.k") == Place("head", 12, 3, "k")
    assert Place.of("m7") == Place("mlp", 7)
    assert (owner("a0.h1.q"), owner("m1"), owner("logits")) == ("a0.h1", "m1", "logits")
    assert to_angle("embed->a0.h1.q") == "embed->a0.h1<q>"
    for name in ("embed->a0.h1.q", "a0.h1->m1", "a0.h1.v", "logits"):
        assert from_angle(to_angle(name)) == name
    for wrong in ("a0.h1.x", "a0", "h1", "m", "resid"):
        with pytest.raises(UnknownName, match="writer or reader"):
            Place.of(wrong)
    with pytest.raises(InputError, match="'embed, logits'"):
        parse_edge("embed, logits")


def test_wrong_names_and_orders_are_refused(model) -> None:
    graph = Graph.of(model)
    for ask, name in (
        (graph.incoming, "a0.h0"),
        (graph.outgoing, "a0.h0.q"),
        (lambda e: graph.indices([e]), "pos->a0.h0"),
    ):
        with pytest.raises(UnknownName, match=name):
            ask(name)
    ends = ("embed", "pos"), ("m0", "logits")
    with pytest.raises(InputError, match="joins no writer and reader"):
        Graph(*ends, ("embed->m1",))
    for edges in (("pos->m0", "embed->m0"), ("embed->logits", "embed->m0"), ("embed->m0", "embed->m0")):
        with pytest.raises(InputError, match="twice or out of order"):
            Graph(*ends, edges)
    assert Graph(*ends, ("embed->m0", "pos->logits")) == Graph(*ends, ("embed->m0", "pos->logits"))


# --- hooks of TransformerLens --------------------------------------------------------------------------------------

TOKENS = torch.tensor([[1, 2, 3, 4, 5, 6, 7], [3, 1, 4, 1, 5, 2, 6]])


def at(cache, hook):
    return cache[hook.point] if hook.head is None else cache[hook.point][:, :, hook.head]


@pytest.mark.parametrize("kind", RANDOM)
def test_what_a_reader_reads_is_the_sum_of_what_is_written_before_it(kind: str) -> None:
    """At the hooks of both ends, in a model whose first MLP and one head are empty; biases aside, which have none."""
    model = random_task(RANDOM[kind]).model
    graph = Graph.of(model)
    with split_inputs(model), torch.no_grad():
        _, cache = model.run_with_cache(TOKENS)
    for reader in graph.readers:
        place = Place.of(reader)
        before = model.cfg.n_layers if place.layer is None else place.layer + (place.kind == "mlp")
        total = sum((block.attn.b_O for block in model.blocks[:before]), torch.zeros(model.cfg.d_model))
        for writer in {parse_edge(edge)[0] for edge in graph.incoming(reader)} - {"bias"}:
            total = total + at(cache, graph.hook(writer))
        torch.testing.assert_close(at(cache, graph.hook(reader, reads=True)), total.detach().expand(2, 7, -1))


def test_a_change_at_the_hook_of_a_reader_is_one_for_that_reader_alone() -> None:
    model = random_task(RANDOM["plain"]).model
    graph = Graph.of(model)
    change = torch.randn(7, model.cfg.d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    maps = {"q": "hook_q", "k": "hook_k", "v": "hook_v"}
    with split_inputs(model), torch.no_grad():
        _, before = model.run_with_cache(TOKENS)
        for reader in ("a1.h0.q", "a1.h1.k", "a1.h0.v", "m1"):
            point, head = graph.hook(reader, reads=True)

            def changed(value, hook, head=head):
                value = value.clone()
                value[..., slice(None) if head is None else head, :] += change
                return value

            with model.hooks(fwd_hooks=[(point, changed)]):
                _, after = model.run_with_cache(TOKENS)
            for port, name in maps.items():
                moved = (after[f"blocks.1.attn.{name}"] - before[f"blocks.1.attn.{name}"]).abs().amax((0, 1, 3)) > 1e-9
                assert moved.tolist() == [f"a1.h{h}.{port}" == reader for h in range(model.cfg.n_heads)]
            moved = (after["blocks.1.mlp.hook_pre"] - before["blocks.1.mlp.hook_pre"]).abs().max() > 1e-9
            assert moved  # of the MLP itself, or behind the head


def test_hooks_of_patterns_and_of_the_logits_behind_empty_layers(model) -> None:
    last = model.cfg.n_layers - 1
    with torch.no_grad():
        model.blocks[last].attn.W_O.zero_()
        model.blocks[last].mlp.W_out.zero_()
        model.blocks[last].mlp.b_out.zero_()
    graph = Graph.of(model)
    assert graph.hook("logits") == (f"blocks.{last}.hook_resid_post", None)
    assert graph.hook("a1.h2.pattern") == ("blocks.1.attn.hook_pattern", 2)
    assert Graph(("embed", "m3"), ("m3", "logits"), ()).hook("logits").point == "blocks.3.hook_resid_post"
    for name in (f"a{last}.h0", "a0.h0.q.pattern", "m0.pattern", "a0.h0.z", "input"):
        with pytest.raises(UnknownName, match="writer or reader of this graph"):
            graph.hook(name)
    with pytest.raises(InputError, match="no hook point shows 'bias'"):
        graph.hook("bias")


def test_splitting_inputs_ends_with_the_block(model) -> None:
    flags = ("use_attn_result", "use_split_qkv_input", "use_hook_mlp_in")
    model.set_use_attn_result(True)
    with suppress(RuntimeError), split_inputs(model):
        assert all(getattr(model.cfg, flag) for flag in flags)
        raise RuntimeError
    assert [getattr(model.cfg, flag) for flag in flags] == [True, False, False]
