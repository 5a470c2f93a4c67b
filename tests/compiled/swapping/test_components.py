"""What replaces a part: patterns, constants, linear maps and functions of variables do what plain arithmetic says."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.lowered.operations import Attention
from gaugeblock.compiled.swapping.components import Linear, Mean, Pattern, Values, Zero
from gaugeblock.compiled.swapping.swap import swap
from gaugeblock.programs.language.expression import Tokens
from gaugeblock.programs.language.functions import causal, indices, key, local, query
from gaugeblock.programs.registry import get
from support.tasks import RANDOM, random_model

ids = Tokens()
TOKENS = torch.tensor(np.random.default_rng(0).integers(0, 9, size=(5, 7)))


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
    reference, expected = model.hooked.run_with_cache(tokens)
    assert torch.allclose(logits, reference, atol=1e-9)
    for name in ("blocks.0.attn.hook_pattern", "blocks.1.attn.hook_pattern"):
        used = slice(0, 2 if "0" in name else 1)
        assert torch.allclose(cache[name][:, used], expected[name][:, used], atol=1e-9)
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
    total, depths = 0, []
    for token in tokens:
        total += (token in "({") - (token in ")}")
        depths.append(total)
    return depths


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
    expected = model.hooked.run_with_cache(tokens)[1]["blocks.1.hook_resid_post"]
    replaced = {model.subspaces[v].written: f for v, f in BY_HAND["sort"].items()}
    stream = swap(model, replaced).run_with_cache(tokens)[1]["blocks.1.hook_resid_post"]
    assert torch.allclose(stream, expected, atol=1 / 64)  # sums arrive up to a fraction of their gaps
    assert torch.equal(stream.round(), expected.round())
