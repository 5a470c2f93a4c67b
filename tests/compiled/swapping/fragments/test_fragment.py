"""Programs compiled for the inside of a model: what plain Python says of the stream they read is what they write."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.swapping.components import Zero
from gaugeblock.compiled.swapping.files import load_swapped, save_swapped
from gaugeblock.compiled.swapping.fragments.directions import reads_of, writes_of
from gaugeblock.compiled.swapping.fragments.fragment import Fragment, compile_fragment
from gaugeblock.compiled.swapping.fragments.ports import Categorical, Line, Number, Vectors
from gaugeblock.compiled.swapping.swap import swap
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.errors import FileError
from gaugeblock.programs.language.functions import causal, indices, key, query
from gaugeblock.programs.registry import get
from support.fragments import TOKENS, everything_counted, ranked
from support.tasks import RANDOM, random_model

# --- in the place of what a compiled model computes ------------------------------------------------------------------


def smaller(tokens):
    return (key(tokens) < query(tokens)).count()


def equal_before(tokens):
    return ((key(tokens) == query(tokens)) & (key(indices) < query(indices))).count()


def fetched(tokens, rank_onehot):
    return (key(rank_onehot) == query(indices)).get(tokens)


SPECIFICATIONS: dict[str, dict[str, Any]] = {
    "sort": {"sum": smaller, "sum_2": equal_before, "rank_onehot": lambda sum, sum_2: sum + sum_2, "get": fetched},
    "hist": {"sum": lambda tokens: (key(tokens) == query(tokens)).count(), "map": lambda sum: sum.map(int)},
    "frac_prevs": {"mean": lambda tokens: causal.mean(tokens == "(")},
    "dyck2": {"depth": lambda tokens: causal.sum(tokens.isin("({") * 1 - tokens.isin(")}") * 1)},
}
WRONG = {"sum": 2, "sum_2": 1, "rank_onehot": 3, "get": 0, "map": 1, "mean": 0, "depth": 1}
"""A constant that is not always right."""


def always(value: Any) -> Any:
    return lambda tokens: tokens.map(lambda _: value)


def specified(model: Any, variable: str, program: Any = None) -> Fragment:
    program = program or SPECIFICATIONS[model.program.name][variable]
    names = program.__code__.co_varnames[: program.__code__.co_argcount]
    return compile_fragment(
        program, reads_of(model, *names), writes_of(model, variable), max_len=model.lowered.max_len
    )  # fmt: skip


@pytest.mark.parametrize("variants", [(), ("permute", "pad"), ("rotate",)], ids=["", "padded", "rotated"])
@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_a_part_replaced_by_what_it_computes_changes_nothing(name: str, variants: tuple[str, ...]) -> None:
    model = apply_variants(compile(get(name), dtype=torch.float64), variants, 0)
    inputs = model.program.sample(np.random.default_rng(3), 40)
    tokens = model.encode(inputs)
    expected = model.program.batch(inputs)
    reference = model.hooked(tokens)
    fragments = {model.subspaces[v].written: specified(model, v) for v in SPECIFICATIONS[name]}
    for replaced in [{site: fragment} for site, fragment in fragments.items()] + [fragments]:
        logits = swap(model, replaced)(tokens)
        assert model.decode(logits, tokens) == expected, replaced
        if "pad" not in variants:  # what else a part of a padded model may write is gone
            assert torch.allclose(logits, reference, atol=1e-6)
    for variable in SPECIFICATIONS[name]:
        wrong = specified(model, variable, always(WRONG[variable]))
        logits = swap(model, {model.subspaces[variable].written: wrong})(tokens)
        assert model.decode(logits, tokens) != expected, variable


def test_the_stream_is_the_same_at_bos_and_pad_too() -> None:
    model = compile(get("sort"), dtype=torch.float64)
    tokens = model.encode([[3, 1, 2, 1], [7], [5, 5, 0, 1, 2, 3, 4, 4, 1, 6]])
    expected = model.hooked.run_with_cache(tokens)[1]
    swapped = swap(model, {model.subspaces[v].written: specified(model, v) for v in SPECIFICATIONS["sort"]})
    cache = swapped.run_with_cache(tokens)[1]
    assert {k: v.shape for k, v in cache.items()} == {k: v.shape for k, v in expected.items()}
    stream, meant = (values["blocks.1.hook_resid_post"] for values in (cache, expected))
    assert torch.allclose(stream, meant, atol=1 / 64)
    assert torch.equal(stream.round(), meant.round())


def test_a_whole_program_stands_for_all_blocks_and_for_an_ov_map() -> None:
    model = compile(get("sort"), dtype=torch.float64)
    inputs = model.program.sample(np.random.default_rng(3), 40)
    tokens = model.encode(inputs)
    whole = compile_fragment(get("sort"), reads_of(model, "tokens"), writes_of(model, "get"), max_len=10)
    swapped = swap(model, {"b0": whole, "b1": Zero()})
    assert model.decode(swapped(tokens), tokens) == [sorted(xs) for xs in inputs]
    moved = compile_fragment(lambda tokens: tokens + 0, reads_of(model, "tokens"), writes_of(model, "get"))
    assert torch.allclose(swap(model, {"a1.h0.ov": moved})(tokens), model.hooked(tokens), atol=1e-9)


def test_gradients_are_those_of_the_part_that_was_there() -> None:
    """At the tokens of the input, to which they flow through what heads move; steps have none there or here."""
    model = compile(get("sort"), dtype=torch.float64)
    tokens = model.encode([[3, 1, 2, 1], [7, 0]])
    gradients = []
    for each in (model.hooked, swap(model, {"a1.h0": specified(model, "get")})):
        stream = model.hooked.run_with_cache(tokens)[1]["blocks.1.hook_resid_pre"].detach().requires_grad_()

        def put(value: Tensor, hook: Any, stream: Tensor = stream) -> Tensor:
            return stream

        logits = each.run_with_hooks(tokens, fwd_hooks=[("blocks.1.hook_resid_pre", put)])
        weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        gradients.append(torch.autograd.grad((logits * weights).sum(), stream)[0])
    directions = torch.from_numpy(model.subspaces["tokens"].directions)
    assert (gradients[0][:, 1:3] @ directions.mT).abs().max() > 1
    real = model.real(tokens)
    assert torch.allclose(gradients[0][real], gradients[1][real], atol=1e-9)


# --- in any model, with any directions -------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["plain", "causal gelu", "layer norm", "attention only"]),
    site=st.sampled_from(["m1", "a1.h0", "b2"]),
    bos=st.booleans(),
    absent=st.sets(st.integers(0, 8), max_size=4),
    wide=st.booleans(),
)
@example(seed=0, kind="plain", site="m1", bos=True, absent=set(), wide=True)
@settings(max_examples=15)
def test_what_is_written_is_what_plain_python_says(
    seed: int, kind: str, site: str, bos: bool, absent: set[int], wide: bool
) -> None:
    if kind == "attention only":
        site = site.replace("m1", "a2.h1")
    rng = np.random.default_rng(seed)
    model = random_model(RANDOM[kind], torch.float64 if wide else torch.float32, seed % 7)
    draw = lambda *shape: torch.tensor(rng.normal(size=shape))  # noqa: E731
    directions, bias, direction, vectors, elsewhere, along, base = (
        draw(3, 12), draw(3), draw(12), draw(4, 12), draw(12), draw(12), draw(12)
    )  # fmt: skip
    fragment = compile_fragment(
        ranked,
        reads={
            "group": Categorical(("p", "q", "r"), directions, bias, above=0.2),
            "level": Number((2, -1, 0.5), direction, scale=-0.7, offset=0.1),
        },
        writes={"name": Vectors(("p", "q", "many", "r"), vectors, absent=elsewhere), "total": Line(along, base)},
        max_len=7,
        bos=bos,
        absent=sorted(absent),
    )
    tokens = torch.tensor(rng.integers(0, 9, size=(4, 7)))
    swapped = swap(model, {site: fragment})
    swapped.set_use_attn_result(True)
    cache = swapped.run_with_cache(tokens)[1]
    layer = int(site[1])
    point = f"blocks.{layer}.hook_resid_{'mid' if site[0] == 'm' else 'pre'}"
    shown = f"blocks.{layer}." + {
        "m": "hook_mlp_out", "a": "attn.hook_result", "b": "hook_attn_out" if model.cfg.attn_only else "hook_mlp_out"
    }[site[0]]  # fmt: skip
    written = cache[shown][:, :, int(site[-1])] if site[0] == "a" else cache[shown]
    assert written.dtype == model.cfg.dtype
    limit = 1e-9 if wide else 1e-4
    for row, ids in enumerate(tokens.tolist()):
        real = [p for p, token in enumerate(ids) if not (bos and p == 0) and token not in absent]
        groups: dict[int, Any] = {}
        levels: dict[int, float] = {}
        for p in real:
            x = cache[point][row, p].double()
            scores = (directions @ x + bias).tolist()
            number = -0.7 * float(direction @ x) + 0.1
            if min(abs(a - b) for a, b in [(max(scores), 0.2), (number, -0.25), (number, 1.25)]) < 1e-5:
                assume(False)  # a tie, within rounding
            groups[p] = "pqr"[scores.index(max(scores))] if max(scores) > 0.2 else None
            levels[p] = min((2, -1, 0.5), key=lambda level: abs(level - number))
        for p in range(7):
            expected = elsewhere
            if p in groups:
                # a comparison with what is undefined selects nothing
                total = sum(levels[k] for k in real if k <= p and groups[k] == groups[p] and groups[p] is not None)
                name = "many" if total >= 2 else groups[p]
                expected = base + total * along
                if name is not None:
                    expected = expected + vectors[("p", "q", "many", "r").index(name)]
            assert torch.allclose(written[row, p].double(), expected, atol=limit, rtol=limit), (row, p)


def test_in_a_causal_model_nothing_looks_ahead() -> None:
    rng = np.random.default_rng(0)
    directions, along = torch.tensor(rng.normal(size=(3, 12))), torch.tensor(rng.normal(size=12))
    fragment = compile_fragment(everything_counted, {"group": Categorical("abc", directions)}, Line(along), max_len=7)
    tokens = torch.tensor(rng.integers(0, 9, size=(3, 7)))
    for kind in ("causal gelu", "plain"):
        swapped = swap(random_model(RANDOM[kind], torch.float64), {"m0": fragment})
        _, cache = swapped.run_with_cache(tokens)
        counted = (cache["blocks.0.hook_mlp_out"] @ along / (along @ along)).round().long()
        codes = (cache["blocks.0.hook_resid_mid"] @ directions.mT).argmax(-1).tolist()
        for row, groups in enumerate(codes):
            for p in range(1, 7):
                keys = range(1, p + 1 if kind == "causal gelu" else 7)
                assert counted[row, p] == sum(groups[k] == groups[p] for k in keys)
            assert counted[row, 0] == 0
        shorter = swapped(tokens[:, :4])
        assert torch.allclose(shorter, swapped(tokens)[:, :4]) == (kind == "causal gelu")


def test_positions_are_counted_among_the_tokens_of_the_input() -> None:
    along = torch.ones(12, dtype=torch.float64)
    tokens = torch.tensor([[0, 8, 3, 8, 3, 3, 3], [3, 3, 3, 3, 3, 3, 3]])
    model = random_model(RANDOM["plain"], torch.float64)
    for bos, expected in ((True, [[0, 0, 0, 0, 1, 2, 3], [0, 0, 1, 2, 3, 4, 5]]),
                          (False, [[0, 0, 1, 0, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6]])):  # fmt: skip
        place = compile_fragment(lambda indices: indices, {}, Line(along), max_len=7, bos=bos, absent=[8])
        written = swap(model, {"m1": place}).run_with_cache(tokens)[1]["blocks.1.hook_mlp_out"]
        assert torch.equal(written, torch.tensor(expected, dtype=torch.float64)[..., None].expand(2, 7, 12))


# --- a model like any other ------------------------------------------------------------------------------------------


def mixed() -> Fragment:
    rng = np.random.default_rng(5)
    group = Categorical("pqr", torch.tensor(rng.normal(size=(3, 12))))
    level = Number((0, 1, 2), torch.tensor(rng.normal(size=12)), per=torch.tensor(rng.normal(size=12)))
    return compile_fragment(
        lambda group, level: ((key(group) == query(group)) & causal).sum(level),
        {"group": group, "level": level}, Vectors(range(15), torch.tensor(rng.normal(size=(15, 12)))), max_len=7,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_and_loaded_bit_by_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    model = random_model(RANDOM["layer norm"], dtype)
    swapped = swap(model, {"m1": mixed(), "a2.h0": mixed(), "a0.h1": Zero()})
    save_swapped(swapped, tmp_path / "there")
    assert torch.equal(load_swapped(tmp_path / "there")(TOKENS), swapped(TOKENS))
    compiled = compile(get("sort"), dtype=dtype)
    tokens = compiled.encode(compiled.program.sample(np.random.default_rng(1), 20))
    whole = swap(compiled, {compiled.subspaces[v].written: specified(compiled, v) for v in SPECIFICATIONS["sort"]})
    save_swapped(whole, tmp_path / "there")
    assert torch.equal(load_swapped(tmp_path / "there")(tokens), whole(tokens))  # which knows BOS and PAD
    tensors = load_file(tmp_path / "there" / "swapped.safetensors")
    save_file({k: v for k, v in tensors.items() if k != "0.read0_at"}, tmp_path / "there" / "swapped.safetensors")
    with pytest.raises(FileError, match=r"missing: .*read0_at"):
        load_swapped(tmp_path / "there")


def test_hooks_gradients_precision_and_swapping_twice() -> None:
    model = random_model(RANDOM["causal gelu"], torch.float64)
    swapped = swap(model, {"m1": mixed()})
    reference, cache = swapped.run_with_cache(TOKENS)
    assert torch.allclose(torch.cat([swapped(row[None]) for row in TOKENS]), reference)

    def halved(value: Tensor, hook: Any) -> Tensor:
        return value / 2

    moved = swapped.run_with_hooks(TOKENS, fwd_hooks=[("blocks.0.hook_resid_post", halved)])
    expected = swapped(cache["blocks.0.hook_resid_post"] / 2, start_at_layer=1)
    assert torch.allclose(moved, expected)
    both = swap(swapped, {"a0.h0": mixed()})
    assert torch.allclose(both(TOKENS), swap(model, {"a0.h0": mixed(), "m1": mixed()})(TOKENS))
    assert torch.allclose(swap(both, {"a0.h0": Zero()})(TOKENS), swap(swapped, {"a0.h0": Zero()})(TOKENS))
    swapped(TOKENS).sum().backward()
    ((_, slots),) = swapped.swapped.sites.items()
    module = slots["whole"]
    assert module.writes.grad.abs().max() > 0
    assert module.read0_directions.grad is not None
    assert swapped.W_E.grad is not None
    for dtype, least in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        swapped.to(dtype)
        assert {p.dtype for p in module.parameters()} == {least}
        assert swapped(TOKENS).dtype == dtype


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    model = random_model(RANDOM["causal gelu"], torch.float64)
    swapped = swap(model, {"m1": mixed(), "a0.h1": mixed()})
    reference = swapped(TOKENS)
    assert torch.allclose(swapped.to("cuda")(TOKENS.cuda()).cpu(), reference, atol=1e-9)
