"""Parts put in by name: their own specification changes nothing, anything else what plain arithmetic says."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gaugeblock.cases.case import case
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.swapping.components import From, Linear, Mean, Pattern, SwapError, Zero
from gaugeblock.compiled.swapping.swap import swap
from gaugeblock.programs.language.functions import local
from gaugeblock.programs.registry import get
from gaugeblock.suites.suites import suite
from support.tasks import RANDOM, random_model

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
        logits, seen = swapped.run_with_cache(TOKENS)
        assert torch.allclose(logits, reference, atol=1e-12)
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
    replaced = [{site: From(model, site)} for site in sites] + [{site: From(model, site) for site in sites[:-1]}]
    assert all(torch.allclose(swap(model, each)(TOKENS), reference, atol=1e-12) for each in replaced)

    model.set_use_attn_result(True)
    for site, hook, head in (("a0.h1", "blocks.0.attn.hook_result", 1), ("m2", "blocks.2.hook_mlp_out", None)):

        def zero(value: Tensor, hook: Any, head: int | None = head) -> Tensor:
            return value.index_fill(2, torch.tensor(head), 0.0) if head is not None else torch.zeros_like(value)

        expected = model.run_with_hooks(TOKENS, fwd_hooks=[(hook, zero)])
        assert torch.allclose(swap(model, {site: Zero()})(TOKENS), expected, atol=1e-12)
        assert not torch.allclose(expected, reference, atol=1e-3)


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
    smaller = swap(compiled, {"a0.h0": lambda tokens: [sum(a < b for a in tokens) for b in tokens]})
    later = swap(smaller, {"a0.h1": lambda tokens: [tokens[:i].count(b) for i, b in enumerate(tokens)]})
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
