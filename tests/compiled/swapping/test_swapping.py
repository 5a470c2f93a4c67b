"""Parts put in by name: their own specification changes nothing, anything else what plain arithmetic says."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gaugeblock.cases.case import case
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.lowered.operations import Attention
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.swapping.components import (
    From,
    Linear,
    Mean,
    Pattern,
    SwapError,
    Values,
    Zero,
)
from gaugeblock.compiled.swapping.files import load_swapped, save_swapped
from gaugeblock.compiled.swapping.swap import swap
from gaugeblock.programs.errors import FileError, UnknownName
from gaugeblock.programs.language.expression import Tokens
from gaugeblock.programs.language.functions import causal, indices, key, local, query
from gaugeblock.programs.registry import get
from gaugeblock.suites.suites import suite
from support.tasks import RANDOM, random_model

ids = Tokens()
TOKENS = torch.tensor(np.random.default_rng(0).integers(0, 9, size=(5, 7)))


LONG = ("add/", "dyck2/")


def sites_of(model: Any) -> list[str]:
    cfg = model.cfg
    names = ["embed", "pos"]
    for layer in range(cfg.n_layers):
        names += [f"a{layer}.h{head}{part}" for head in range(cfg.n_heads) for part in ("", ".pattern", ".ov")]
        names += [f"b{layer}"] + ([] if cfg.attn_only else [f"m{layer}", f"m{layer}.n0,2-{cfg.d_mlp - 1}"])
    return names


def own_function(model: Any, site: str) -> Any:
    """What a part computes, from its weights: written out for models without layer norm, with relu."""
    if site in ("embed", "pos"):
        W = model.W_E if site == "embed" else model.W_pos
        return lambda tokens: W[tokens] if site == "embed" else W[: tokens.shape[1]].expand(*tokens.shape, -1)
    layer = int(site[1:].partition(".")[0])
    block = model.blocks[layer]

    def mlp(x: Tensor) -> Tensor:
        return torch.relu(x @ block.mlp.W_in + block.mlp.b_in)

    def pattern(x: Tensor, head: int) -> Tensor:
        q, k = (x @ getattr(block.attn, f"W_{p}")[head] + getattr(block.attn, f"b_{p}")[head] for p in "QK")
        return (q @ k.mT / model.cfg.d_head**0.5).softmax(-1)

    def ov(x: Tensor, head: int) -> Tensor:
        return (x @ block.attn.W_V[head] + block.attn.b_V[head]) @ block.attn.W_O[head]

    def attention(x: Tensor) -> Tensor:
        return sum((pattern(x, h) @ ov(x, h) for h in range(model.cfg.n_heads)), block.attn.b_O)

    def whole(x: Tensor) -> Tensor:
        mid = x + attention(x)
        return attention(x) + mlp(mid) @ block.mlp.W_out + block.mlp.b_out

    if site[0] == "b":
        return whole
    if site[0] == "m":
        chosen = [0, *range(2, model.cfg.d_mlp)]
        return (lambda x: mlp(x)[..., chosen]) if ".n" in site else lambda x: mlp(x) @ block.mlp.W_out + block.mlp.b_out
    head, part = int(site.split(".")[1][1:]), site.split(".")[2:]
    if part == ["pattern"]:
        return lambda x: pattern(x, head)
    return (lambda x: ov(x, head)) if part else lambda x: pattern(x, head) @ ov(x, head)


@pytest.mark.parametrize(
    "case_id", [pytest.param(c, marks=pytest.mark.slow if c.startswith(LONG) else ()) for c in suite("quick")]
)
def test_its_own_specification_changes_nothing_and_a_random_one_does(case_id: str) -> None:
    c = case(case_id)
    model, tokens = c.model.to(dtype=torch.float64), c.pairs.clean[::12]
    before, reference = deepcopy(model.hooked.state_dict()), model.hooked(tokens)
    scale = 1e-9 * (1 + reference.abs().max())
    for site in sites_of(model.hooked):
        if ".n" not in site or model.hooked.cfg.d_mlp > 2:
            swapped = swap(model, {site: own_function(model.hooked, site)})
            assert (swapped(tokens) - reference).abs().max() < scale, site
    for part in ("", ".pattern", ".ov"):
        parts = [site + part for site in sites_of(model.hooked) if site[0] == "a" and "." not in site[3:]]
        swapped = swap(model, {site: From(model, site) for site in parts})
        assert (swapped(tokens) - reference).abs().max() < scale, part
    generator = torch.Generator().manual_seed(0)
    for node in c.truth("resample").nodes.positives:

        def noise(x: Tensor) -> Tensor:
            return 3 * torch.randn(*x.shape[:2], model.hooked.cfg.d_model, generator=generator, dtype=torch.float64)

        assert (swap(model, {node: noise})(tokens) - reference).abs().max() > 1e-3, node
    assert all(torch.equal(value, before[name]) for name, value in model.hooked.state_dict().items())
    assert not any(point.has_hooks() for point in model.hooked.hook_dict.values())


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("flags", [False, True], ids=["", "split"])
def test_parts_of_any_model_put_in_where_they_were_change_nothing(name: str, flags: bool) -> None:
    model = random_model(RANDOM[name], torch.float64)
    reference, cache = model.run_with_cache(TOKENS)
    sites = [site for site in sites_of(model) if site[0] != "b"]
    heads = {site: From(model, site) for site in sites if site.count(".") == 1 and site[0] == "a" and "h2" not in site}
    parts = {site: From(model, site) for site in sites if "h2." in site}
    rest = {site: From(model, site) for site in sites if ".n" in site or site in ("embed", "pos")}
    for swapped in (swap(model, heads | parts | rest), swap(model, {"b0": From(model, "b0"), "b2": From(model, "b2")})):
        if flags:
            for flag in ("attn_result", "split_qkv_input", *([] if model.cfg.attn_only else ["hook_mlp_in"])):
                getattr(swapped, f"set_use_{flag}")(True)
        found, seen = swapped.run_with_cache(TOKENS)
        assert torch.allclose(found, reference, atol=1e-12)
        if not flags:
            assert {k: v.shape for k, v in seen.items()} == {k: v.shape for k, v in cache.items()}
            assert list(swapped.hook_dict) == list(model.hook_dict)
            assert swapped.state_dict().keys() == model.state_dict().keys()
            assert torch.allclose(seen["blocks.2.hook_resid_post"], cache["blocks.2.hook_resid_post"], atol=1e-12)
            stream = sum(v for k, v in seen.items() if k.endswith(("embed", "_attn_out", "mlp_out")))
            assert torch.allclose(stream, seen["blocks.2.hook_resid_post"], atol=1e-12)  # it still adds up
    assert not model.cfg.use_attn_result


OTHERS = {
    "grouped queries": {"n_key_value_heads": 1, "attention_dir": "causal"},
    "rotary positions": {"positional_embedding_type": "rotary", "rotary_dim": 4, "attention_dir": "causal"},
    "parallel attention": {"parallel_attn_mlp": True, "normalization_type": "LN"},
    "gated MLP": {"gated_mlp": True, "act_fn": "silu", "normalization_type": "RMS"},
}
"""Architectures that the engine does not know; parts can be replaced in them all the same."""


@pytest.mark.parametrize("name", OTHERS)
def test_architectures_that_the_engine_does_not_know(name: str) -> None:
    model = random_model(OTHERS[name], torch.float64)
    reference = model(TOKENS)
    sites = ("a0.h1", "a1.h0.pattern", "a2.h2.ov", "m0", "embed", "b1")
    found = [swap(model, {site: From(model, site)})(TOKENS) for site in sites]
    found.append(swap(model, {site: From(model, site) for site in sites[:-1]})(TOKENS))
    assert all(torch.allclose(logits, reference, atol=1e-12) for logits in found)

    model.set_use_attn_result(True)
    for site, hook, head in (("a0.h1", "blocks.0.attn.hook_result", 1), ("m2", "blocks.2.hook_mlp_out", None)):

        def zero(value: Tensor, hook: Any, head: int | None = head) -> Tensor:
            return value.index_fill(2, torch.tensor(head), 0.0) if head is not None else torch.zeros_like(value)

        expected = model.run_with_hooks(TOKENS, fwd_hooks=[(hook, zero)])
        assert torch.allclose(swap(model, {site: Zero()})(TOKENS), expected, atol=1e-12)
        assert not torch.allclose(expected, reference, atol=1e-3)


# --- patterns --------------------------------------------------------------------------------------------------------


def test_a_compiled_head_attends_as_its_selector_says() -> None:
    model = compile(get("sort"), dtype=torch.float64)
    tokens = model.encode(model.program.sample(np.random.default_rng(0), 50))
    smaller = key(ids) < query(ids)
    earlier = (key(ids) == query(ids)) & (key(indices) < query(indices))
    place = smaller.count() + earlier.count()
    selectors = {"sum": smaller, "sum_2": earlier, "get": key(place) == query(indices)}
    heads = {read.out: op for op in model.lowered.operations if isinstance(op, Attention) for read in op.reads}
    replaced = {}
    for variable, selector in selectors.items():
        op = heads[variable]
        replaced[model.provenance.sites[op.name]] = Pattern(selector, sink=op.sink if op.counts_sink else 0.0)
    swapped = swap(model, replaced)
    logits, cache = swapped.run_with_cache(tokens)
    reference, own = model.hooked.run_with_cache(tokens)
    assert torch.allclose(logits, reference, atol=1e-9)
    for name in ("blocks.0.attn.hook_pattern", "blocks.1.attn.hook_pattern"):
        used = slice(0, 2 if "0" in name else 1)
        assert torch.allclose(cache[name][:, used], own[name][:, used], atol=1e-9)
    assert model.decode(logits, tokens) == [
        sorted(xs) for xs in model.batch(model.program.sample(np.random.default_rng(0), 50))
    ]


def test_selectors_tensors_and_functions_as_patterns() -> None:
    model = random_model(RANDOM["layer norm"], torch.float64)
    matrix = torch.randn(12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    fixed = torch.rand(7, 7, dtype=torch.float64)
    swapped = swap(
        model,
        {
            "a0.h0": Pattern(key(ids) == query(ids), ov=matrix),
            "a0.h1.pattern": local(2),
            "a0.h2.pattern": fixed,
            "a1.h0": Pattern(lambda tokens: torch.eye(tokens.shape[1]).expand(len(tokens), -1, -1)),
            "a1.h1.pattern": Pattern(causal, bos=False),
        },
    )
    swapped.set_use_attn_result(True)
    _, cache = swapped.run_with_cache(TOKENS)
    seen = cache["blocks.0.attn.hook_pattern"]
    for row, tokens in enumerate(TOKENS.tolist()):
        for q in range(7):
            alike = [k for k in range(1, q + 1) if q and tokens[k] == tokens[q]] or [0]
            near = [k for k in range(1, q + 1) if q - k <= 2] or [0]
            for head, keys in enumerate((alike, near)):
                assert seen[row, head, q].tolist() == pytest.approx([(k in keys) / len(keys) for k in range(7)])
    assert torch.equal(seen[:, 2], fixed.expand(5, 7, 7))
    normal = cache["blocks.0.ln1.hook_normalized"] * model.blocks[0].ln1.w + model.blocks[0].ln1.b
    assert torch.allclose(cache["blocks.0.attn.hook_result"][:, :, 0], seen[:, 0] @ normal @ matrix)
    assert torch.equal(cache["blocks.1.attn.hook_pattern"][0, 0], torch.eye(7, dtype=torch.float64))
    means = torch.ones(7, 7).tril() / torch.arange(1, 8)[:, None]
    assert torch.allclose(cache["blocks.1.attn.hook_pattern"][0, 1], means.double())
    shorter = swapped(TOKENS[:, :4])  # the model is causal, and so is all that was put in but `fixed`
    assert shorter.shape == (5, 4, 5)


# --- constants and linear maps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "layer norm"])
def test_means_zeros_and_linear_maps_against_hooks(name: str) -> None:
    model = random_model(RANDOM[name], torch.float64)
    model.set_use_attn_result(True)
    data = torch.tensor(np.random.default_rng(1).integers(0, 9, size=(60, 7)))
    _, cache = model.run_with_cache(data)
    patterns = cache["blocks.1.attn.hook_pattern"].mean(0)
    result, mid, post = (cache[f"blocks.1.{n}"] for n in ("attn.hook_result", "hook_resid_mid", "mlp.hook_post"))
    design = torch.cat([mid, torch.ones_like(mid[..., :1])], -1).flatten(0, 1)
    fit = torch.linalg.lstsq(design, cache["blocks.1.hook_mlp_out"].flatten(0, 1)).solution

    def fitted(value: Tensor, hook: Any) -> Tensor:
        return torch.cat([seen["mid"], torch.ones_like(seen["mid"][..., :1])], -1) @ fit

    def remember(value: Tensor, hook: Any) -> None:
        seen["mid"] = value

    def put(index: Any, new: Tensor) -> Any:
        def hooked(value: Tensor, hook: Any) -> Tensor:
            value = value.clone()
            value[index] = new
            return value

        return hooked

    seen: dict[str, Tensor] = {}
    at = "blocks.1."
    expected = [
        ({"a1.h0": Mean(data)}, [("attn.hook_result", put((..., 0, slice(None)), result[:, :, 0].mean(0)))]),
        (
            {"a1.h0": Mean(data, per_position=False)},
            [("attn.hook_result", put((..., 0, slice(None)), result[:, :, 0].mean((0, 1))))],
        ),
        ({"a1.h1": Zero()}, [("attn.hook_result", put((..., 1, slice(None)), torch.zeros(12)))]),
        ({"m1.n3,5-6": Mean(data)}, [("mlp.hook_post", put((..., [3, 5, 6]), post[..., [3, 5, 6]].mean(0)))]),
        ({"a1.h1.pattern": Mean(data)}, [("attn.hook_pattern", put((slice(None), 1), patterns[1]))]),
        ({"m1": Linear(data)}, [("hook_resid_mid", remember), ("hook_mlp_out", fitted)]),
    ]  # fmt: skip
    for replaced, hooks in expected:
        reference = model.run_with_hooks(TOKENS, fwd_hooks=[(at + point, hook) for point, hook in hooks])
        assert torch.allclose(swap(model, replaced)(TOKENS), reference, atol=1e-10), replaced
    assert (swap(model, {"embed": Zero(), "pos": Zero(), "b0": Zero()})(TOKENS) - model(TOKENS)).abs().max() > 1e-3


def test_padding_is_left_out_of_means() -> None:
    model = compile(get("hist"), dtype=torch.float64)
    data = model.encode([[model.program.vocab[0]], list(model.program.vocab[:3])])
    _, cache = model.hooked.run_with_cache(data)
    swapped = swap(model, {"m0": Mean(data)}).run_with_cache(data)[1]["blocks.0.hook_mlp_out"]
    out = cache["blocks.0.hook_mlp_out"]
    assert torch.allclose(swapped[0], torch.stack([out[:, 0].mean(0), out[:, 1].mean(0), out[1, 2], out[1, 3]]))
    short = model.encode([[model.program.vocab[0]]] * 2)
    padded = torch.cat([short, torch.full_like(short, model.pad)], 1)
    swapped = swap(model, {"m0": Mean(padded)}).run_with_cache(data)[1]["blocks.0.hook_mlp_out"]
    known = swap(model, {"m0": Mean(short)}).run_with_cache(short)[1]["blocks.0.hook_mlp_out"][0]
    assert torch.allclose(swapped[0], torch.stack([*known, known.mean(0), known.mean(0)])), (
        "no position is 0 by default"
    )


# --- program variables -----------------------------------------------------------------------------------------------


def depth(tokens: list[str]) -> list[int]:
    total, found = 0, []
    for token in tokens:
        total += (token in "({") - (token in ")}")
        found.append(total)
    return found


BY_HAND: dict[str, dict[str, Any]] = {
    "sort": {
        "sum": lambda tokens: [sum(a < b for a in tokens) for b in tokens],
        "sum_2": lambda tokens: [tokens[:i].count(b) for i, b in enumerate(tokens)],
        "rank_onehot": lambda sum, sum_2: sum + sum_2,
        "get": Values(lambda tokens, **ranks: [tokens[ranks["rank_onehot"].index(i)] for i in range(len(tokens))],
                      reads=("tokens", "rank_onehot")),
    },
    "hist": {"sum": lambda tokens: [tokens.count(x) for x in tokens], "map": Values(lambda sum: sum)},
    "frac_prevs": {"mean": lambda tokens: [tokens[: i + 1].count("(") / (i + 1) for i in range(len(tokens))]},
    "dyck2": {"depth": lambda tokens: depth(tokens)},
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_functions_of_variables_are_read_and_written_as_the_model_does(name: str) -> None:
    model = compile(get(name), dtype=torch.float64)
    inputs = model.program.sample(np.random.default_rng(3), 60)
    tokens = model.encode(inputs)
    places = model.subspaces
    for replaced in [{v: f} for v, f in BY_HAND[name].items()] + [BY_HAND[name]]:
        swapped = swap(model, {places[variable].written: function for variable, function in replaced.items()})
        assert model.decode(swapped(tokens), tokens) == model.program.batch(inputs), replaced
    wrong = swap(model, {places[next(iter(BY_HAND[name]))].written: Values(lambda tokens: [0] * len(tokens))})
    assert model.decode(wrong(tokens), tokens) != model.program.batch(inputs)


def test_what_is_written_is_what_was_written() -> None:
    """Not only are outputs the same: the stream is, BOS and PAD rows included."""
    model = compile(get("sort"), dtype=torch.float64)
    tokens = model.encode(model.program.sample(np.random.default_rng(3), 60))
    own = model.hooked.run_with_cache(tokens)[1]["blocks.1.hook_resid_post"]
    replaced = {model.subspaces[v].written: f for v, f in BY_HAND["sort"].items()}
    found = swap(model, replaced).run_with_cache(tokens)[1]["blocks.1.hook_resid_post"]
    assert torch.allclose(found, own, atol=1 / 64)  # sums arrive up to a fraction of their gaps
    assert torch.equal(found.round(), own.round())


# --- a model like any other ------------------------------------------------------------------------------------------


def squashed(x: Tensor) -> Tensor:
    return torch.tanh(x.cumsum(1))


def test_hooks_gradients_precision_copies_and_generation() -> None:
    model = random_model(RANDOM["causal gelu"], torch.float64)
    swapped = swap(model, {"a1.h0": squashed, "m0": squashed, "m1.n2-4": lambda x: x[..., :3], "a2.h1.ov": squashed})
    reference = swapped(TOKENS)
    assert torch.allclose(torch.cat([swapped(row[None]) for row in TOKENS]), reference)

    def doubled(value: Tensor, hook: Any) -> Tensor:
        return 2 * value

    moved = swapped.run_with_hooks(TOKENS, fwd_hooks=[("blocks.1.hook_resid_pre", doubled)])
    stream = swapped.run_with_cache(TOKENS)[1]["blocks.0.hook_resid_post"]
    assert torch.allclose(moved, swapped(2 * stream, start_at_layer=1))  # what a hook changes reaches the component
    swapped.blocks[1].hook_attn_out.add_hook(doubled, prepend=True)
    hooked = swapped(TOKENS)
    assert (hooked - reference).abs().max() > 1e-3
    swapped.reset_hooks(including_permanent=True)
    assert torch.equal(swapped(TOKENS), reference)

    swapped(TOKENS).square().sum().backward()
    for parameter in (swapped.W_E, swapped.blocks[0].attn.W_O, swapped.blocks[2].attn.W_Q):
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        ends = []
        for step in (1e-5, -2e-5, 1e-5):
            parameter.data += step * direction
            ends.append(swapped(TOKENS).square().sum().item())
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx((parameter.grad * direction).sum().item(), rel=1e-5)

    again = deepcopy(swapped).to(torch.float32, print_details=False)
    assert again(TOKENS).dtype == torch.float32
    assert torch.allclose(again(TOKENS).double(), reference, atol=1e-4)
    again.W_E.data.zero_()
    assert torch.allclose(swapped(TOKENS), reference)
    longer = swapped.generate(
        TOKENS[:, :3], max_new_tokens=3, do_sample=False, stop_at_eos=False, verbose=False, return_type="tokens"
    )
    longer = longer.clone()  # made in inference mode
    for at in range(3, 6):
        assert torch.equal(longer[:, at], swapped(longer[:, :at])[:, -1].argmax(-1))


def test_hooks_of_the_original_stay_there() -> None:
    model = random_model(RANDOM["plain"], torch.float64)
    calls: list[str] = []
    model.blocks[0].hook_mlp_out.add_hook(lambda value, hook: calls.append("passing"))
    model.blocks[0].hook_mlp_out.add_perma_hook(lambda value, hook: calls.append("permanent"))
    reference = model(TOKENS)
    assert torch.allclose(swap(model, {"m0": From(model, "m0")})(TOKENS), reference)
    assert calls == ["passing", "permanent", "permanent"]
    model(TOKENS)
    assert calls[3:] == ["passing", "permanent"]
    swapped = swap(model, {"a1.h1": squashed})
    with pytest.raises(SwapError, match="use no key-value cache"):
        swapped.generate(TOKENS, max_new_tokens=1, use_past_kv_cache=True, stop_at_eos=False, verbose=False)


def test_swapping_twice_is_swapping_once() -> None:
    model = random_model(RANDOM["layer norm"], torch.float64)
    data = TOKENS[:3]
    first = {"a0.h0": squashed, "m0.n1-3": Zero(), "a1.h1": Pattern(local(1)), "b2": Mean(data)}
    second = {"m0.n3,1-2": Mean(data), "a1.h1": Linear(data), "a1.h0.ov": squashed}
    twice, once = (
        swap(swap(model, first), second),
        swap(model, {**{k: v for k, v in first.items() if k != "m0.n1-3"}, **second}),
    )
    assert torch.equal(twice(TOKENS), once(TOKENS))
    partly = swap(model, first)
    held = From(partly, "a0.h1")  # a part of a swapped model that is its own
    assert torch.allclose(swap(model, {"a0.h1": held})(TOKENS), model(TOKENS), atol=1e-12)
    compiled = compile(get("sort"))
    later = swap(swap(compiled, {"a0.h0": BY_HAND["sort"]["sum"]}), {"a0.h1": BY_HAND["sort"]["sum_2"]})
    tokens = compiled.encode([[2, 1, 1]])
    assert compiled.decode(later(tokens), tokens) == [[1, 1, 2]]


@pytest.mark.gpu
def test_cuda() -> None:
    model = random_model(RANDOM["layer norm"], torch.float64)
    parts = {"a0.h0": squashed, "m0": Linear(TOKENS), "a1.h1": local(2), "b2": From(model, "b2"), "pos": Mean(TOKENS)}
    swapped = swap(model, parts)
    moved = deepcopy(swapped).to("cuda", print_details=False)
    assert torch.allclose(moved(TOKENS).cpu(), swapped(TOKENS), atol=1e-9)
    there = swap(model.to("cuda", print_details=False), parts)
    assert torch.allclose(there(TOKENS).cpu(), swapped(TOKENS), atol=1e-9)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RANDOM)
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model, other = (random_model(RANDOM[name], torch.float64, seed) for seed in (0, 1))
    parts: dict[str, Any] = {
        "a0.h0": From(other, "a2.h1"), "a0.h1": Linear(TOKENS), "a1.h0": Pattern(torch.eye(7), ov=torch.eye(12)),
        "b2": From(other, "b0"), "embed": From(other, "embed"), "pos": Mean(TOKENS, per_position=False),
    }  # fmt: skip
    swapped = swap(model, parts | ({} if model.cfg.attn_only else {"m1.n2,4": Zero(), "m0": Mean(TOKENS)}))
    save_swapped(swapped, tmp_path / "there")
    assert torch.allclose(load_swapped(tmp_path / "there")(TOKENS), swapped(TOKENS), atol=1e-12)
    for source in (squashed, local(1)):
        with pytest.raises(SwapError, match=r"what stands at a1.h0 is Python code"):
            save_swapped(swap(swapped, {"a1.h0": source}), tmp_path / "there")
    assert torch.allclose(load_swapped(tmp_path / "there")(TOKENS), swapped(TOKENS), atol=1e-12)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no saved swapped model"):
        load_swapped(tmp_path / "nowhere")
    with pytest.raises(SwapError, match="not made by `swap`"):
        save_swapped(random_model({}, torch.float32), tmp_path / "there")
    save_swapped(swap(random_model({}, torch.float32), {"m1": Zero()}), tmp_path / "there")
    for name, content in {"swapped.json": '{"format": 1}', "swapped.safetensors": "no"}.items():
        kept = (tmp_path / "there" / name).read_bytes()
        (tmp_path / "there" / name).write_text(content)
        with pytest.raises(FileError, match="is damaged"):
            load_swapped(tmp_path / "there")
        (tmp_path / "there" / name).write_bytes(kept)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replaced", "error", "message"),
    [
        ({"a0.h7": Zero()}, UnknownName, r"no part of this model is named 'a0.h7'; did you mean a0.h\d"),
        ({"m0.n9-12": Zero()}, UnknownName, r"m0.n0-9"),
        ({"m0.n5-2": Zero()}, UnknownName, r"no part of this model is named 'm0.n5-2'"),
        ({"m0": Mean(TOKENS * 0 + 3, pad=3)}, SwapError, "there is no mean to stand at m0"),
        ({"m0": Linear(TOKENS, alpha=-1.0)}, SwapError, "alpha -1 is not possible"),
        ({"m0": Zero(), "b0": Zero()}, SwapError, "b0 and m0 overlap"),
        ({"m0.n1-3": Zero(), "m0.n3": Zero()}, SwapError, "m0.n3 and m0.n1-3 overlap"),
        ({"m0": local(2)}, SwapError, "an attention pattern cannot stand at m0"),
        ({"a0.h0.pattern": Pattern(causal, ov=torch.eye(12))}, SwapError, "with an OV matrix write 'a0.h0'"),
        ({"a0.h0": Pattern(causal, ov=torch.eye(5))}, SwapError, r"has the shape \[5, 5\]; it must be \[12, 12\]"),
        ({"a0.h0": 3}, SwapError, "3 cannot stand at a0.h0: give a function"),
        ({"embed": Linear(TOKENS)}, SwapError, "no linear map can stand at embed"),
        ({"a0.h0": Values(depth)}, SwapError, "only at a head or MLP of a CompiledModel"),
        ({"m0": From(random_model({}, torch.float64), "a0.h0")}, SwapError, "is a head that reads 12 .* here is a mlp"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(replaced: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        swap(random_model({}, torch.float64), replaced)


@pytest.mark.parametrize(
    ("site", "component", "message"),
    [
        ("a0.h0", lambda x: x[..., :3], r"a0.h0 returned the shape \[5, 7, 3\]; it must be \[5, 7, 12\]"),
        ("m1.n2,4", lambda x: x, r"m1.n2,4 returned the shape \[5, 7, 12\]; it must be \[5, 7, 2\]"),
        ("a0.h1.pattern", lambda x: x, r"must be \[5, 7, 7\]"),
        ("m0", lambda x: x / 0 * 0, "what stands in for m0 returned NaN"),
        ("b1", lambda x: None, "b1 returned NoneType, not a tensor"),
        ("pos", Mean(TOKENS[:, :4]), "at pos: it is known at 4 positions, and the input has 7"),
    ],
)
def test_what_misbehaves_at_run_time_is_named(site: str, component: Any, message: str) -> None:
    swapped = swap(random_model({}, torch.float64), {site: component})
    with pytest.raises(SwapError, match=message):
        swapped(TOKENS)


def test_functions_of_variables_that_do_not_fit() -> None:
    model: CompiledModel = compile(get("sort"))
    tokens = model.encode([[2, 1, 1]])
    for replaced, error, message in [
        ({"a0.h0": lambda rank_onehot: []}, SwapError, "'rank_onehot' is not there at a0.h0: m0 writes it"),
        ({"a0.h0": Values(depth, reads=("token",))}, UnknownName, "did you mean tokens"),
    ]:
        with pytest.raises(error, match=message):
            swap(model, replaced)
    for replaced, message in [
        ({"m0": lambda tokens: float("nan")}, "the function returned nan for 'rank_onehot'; it must be finite"),
        ({"m0": lambda tokens: 99}, "at m0: the function returned 99; 'rank_onehot' can be 0, 1"),
        ({"a0.h0": lambda tokens: [1]}, r"returned 1 values for '\w+'; it must be a list of 3"),
        ({"a0.h0": lambda tokens: ["x"] * 3}, r"returned 'x'; '\w+' is a number"),
    ]:
        with pytest.raises(SwapError, match=message):
            swap(model, replaced)(tokens)
    with pytest.raises(SwapError, match="run from a later layer"):
        swap(model, {"a1.h0": local(2)})(torch.zeros(1, 4, model.hooked.cfg.d_model), start_at_layer=0)
    with pytest.raises(ZeroDivisionError) as caught:
        swap(model, {"m0": lambda tokens: 1 / 0})(tokens)
    assert "stands in for m0" in caught.value.__notes__[0]
