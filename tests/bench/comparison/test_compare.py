"""Comparing a model with a swapped one, against plain numpy, and searching for what can stand for a part."""

import copy
import json
from io import StringIO
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn

import gaugeblock as gb
from gaugeblock.comparison import question
from gaugeblock.comparison.compare import compare
from gaugeblock.comparison.figures import N_WORST
from gaugeblock.comparison.search import MEAN, ZERO, search_table, swap_search
from gaugeblock.compiled.swapping.components import From, Mean, Zero
from gaugeblock.metrics.agreement import accuracy, kl_divergence
from gaugeblock.programs.errors import InputError, UnknownName
from support.pictures import assert_readable, marked

VOCAB, N, POS = 5, 7, 6


class Table(nn.Module):
    """Logits that depend on the token and its position, as a table says."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.as_tensor(table))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table[tokens, torch.arange(tokens.shape[1])]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def sort() -> Any:
    return gb.case("sort@v5n6")


def broken(model: Any, scale: float = 0.6) -> Any:
    """The compiled sort with a weaker counting head."""
    other = copy.deepcopy(model.hooked)
    with torch.no_grad():
        other.blocks[0].attn.W_O[0] *= scale
    return other


def put_by_hand(model: Any, replaced: dict[str, Any]) -> Any:
    """A copy with the weights of a head or MLP set to nothing, or to its mean over all positions; a function edits."""
    ((site, component),) = replaced.items()
    other = copy.deepcopy(model.hooked)
    layer, _, head = site[1:].partition(".h")
    block = other.blocks[int(layer)]
    if isinstance(component, Mean):
        other.set_use_attn_result(True)
        _, cache = other.run_with_cache(component.tokens)
        other.set_use_attn_result(False)
        name = f"blocks.{layer}.attn.hook_result" if head else f"blocks.{layer}.hook_mlp_out"
        written = cache[name][component.tokens != component.pad].mean(0)
        written = written[int(head)] if head else written
    elif isinstance(component, Zero):
        written = 0.0
    else:
        return component(other, site)
    with torch.no_grad():
        if head:
            block.attn.W_O[int(head)] = 0
            block.attn.b_O += written
        else:
            block.mlp.W_out.zero_()
            block.mlp.b_out.copy_(torch.as_tensor(written).expand_as(block.mlp.b_out))
    return other


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), targets=st.sampled_from([None, "next", "given"]), ties=st.booleans())
def test_every_figure_is_what_numpy_says(seed: int, targets: Any, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    tables = rng.normal(size=(3, VOCAB, POS, VOCAB)) * 2
    tables = np.round(tables) if ties else tables
    tokens, graded = rng.integers(VOCAB, size=(N, POS)), rng.random((N, POS)) < 0.7
    graded[0, 0] = True
    wanted = rng.integers(VOCAB, size=(N, POS))
    model, swapped, baseline = (Table(t) for t in tables)
    p, q, b = (t[tokens, np.arange(POS)] for t in tables)
    right = {"given": wanted, "next": np.roll(tokens, -1, 1), None: p.argmax(-1)}[targets]
    comparison = compare(
        model, swapped, torch.tensor(tokens), baseline=baseline, positions=torch.tensor(graded),
        targets=torch.tensor(wanted) if targets == "given" else targets,
    )  # fmt: skip
    if targets == "next":
        graded[:, -1] = False
    assert comparison.accuracy.estimate == pytest.approx(accuracy(p, q, graded))
    assert comparison.kl is not None
    assert comparison.kl.estimate == pytest.approx(kl_divergence(p, q, graded))

    def loss(x: np.ndarray) -> np.ndarray:
        if targets is None and ties:
            largest = p == p.max(-1, keepdims=True)
            return -(np.log(softmax(x)) * largest).sum(-1) / largest.sum(-1)
        return -np.log(np.take_along_axis(softmax(x), right[..., None], -1)[..., 0])

    of_model, of_swapped, of_baseline = (float(loss(x)[graded].mean()) for x in (p, q, b))
    assert comparison.loss.estimate == pytest.approx(of_model)
    assert comparison.swapped_loss.estimate == pytest.approx(of_swapped)
    if of_baseline > of_model:
        recovered = comparison.loss_recovered
        assert recovered is not None
        assert recovered.estimate == pytest.approx((of_baseline - of_swapped) / (of_baseline - of_model))
        assert recovered.low is None or recovered.low <= recovered.estimate <= recovered.high
    else:
        assert comparison.loss_recovered is None

    def part(where: np.ndarray) -> tuple[int, Any, Any]:
        return int(where.sum()), accuracy(p, q, where), kl_divergence(p, q, where)

    columns = [i for i in range(POS) if graded[:, i].any()]
    assert [x.label for x in comparison.by_position] == columns
    groups = [(x, graded & (np.arange(POS) == x.label)) for x in comparison.by_position]
    groups += [(x, graded & (p.argmax(-1) == x.label)) for x in comparison.by_output]
    for x, where in groups:
        assert (x.n, x.accuracy.estimate, x.divergence.estimate) == pytest.approx(part(where))
    assert sum(x.n for x in comparison.by_output) == graded.sum()

    means = [kl_divergence(p[i : i + 1], q[i : i + 1], graded[i : i + 1]) or 0.0 for i in range(N)]
    order = sorted(range(N), key=lambda i: (-means[i], i))[:N_WORST]
    assert [x.index for x in comparison.worst] == [i for i in order if means[i] > 0]
    for x in comparison.worst:
        assert x.tokens == tuple(tokens[x.index])
        assert x.answers == {
            i: (p[x.index, i].argmax(), q[x.index, i].argmax()) for i in range(POS) if graded[x.index, i]
        }


def test_intervals_are_those_of_a_bootstrap_over_examples() -> None:
    rng = np.random.default_rng(0)
    model, swapped, baseline = (Table(t) for t in rng.normal(size=(3, VOCAB, POS, VOCAB)))
    tokens = torch.tensor(rng.integers(VOCAB, size=(200, POS)))
    one = compare(model, swapped, tokens, baseline=baseline)
    again = compare(model, swapped, tokens, baseline=baseline)
    other = compare(model, swapped, tokens, baseline=baseline, seed=1)
    assert one.loss_recovered == again.loss_recovered != other.loss_recovered
    lost = (one.baseline_losses - one.losses).reshape(200, POS).sum(1)
    kept = (one.baseline_losses - one.swapped_losses).reshape(200, POS).sum(1)
    ratio = kept.sum() / lost.sum()  # the delta method, an independent way to the same interval
    spread = np.std(kept - ratio * lost) / np.sqrt(200) / abs(lost.mean())
    recovered = one.loss_recovered
    assert (recovered.low, recovered.high) == pytest.approx(
        (ratio - 1.96 * spread, ratio + 1.96 * spread), abs=0.3 * spread
    )
    halfway = np.std(one.agreed.reshape(200, POS).mean(1)) / np.sqrt(200) * 1.96
    assert one.accuracy.high - one.accuracy.low == pytest.approx(2 * halfway, rel=0.15)
    alike = compare(model, swapped, tokens[:1].repeat(30, 1), baseline=baseline)
    rest = 1 - 0.025 ** (1 / 30)  # of other examples there may be this share, on which anything may be answered
    assert alike.accuracy.low == pytest.approx(max(0, alike.accuracy.estimate - rest))
    assert alike.accuracy.high == pytest.approx(min(1, alike.accuracy.estimate + rest))
    assert alike.divergence.low is None  # a divergence has no largest value
    assert compare(model, swapped, tokens[:1]).accuracy.low is None


def test_nothing_is_lost_by_an_equal_model(sort: Any) -> None:
    for data in (sort, sort.pairs.clean):
        same = compare(sort.model, copy.deepcopy(sort.model.hooked), data, baseline=broken(sort.model, 0.0))
        assert (same.accuracy.estimate, same.kl.estimate, same.loss_recovered.estimate) == (1, 0, 1)
        assert same.worst == ()
    assert "no example diverges" in str(same)
    assert_readable(same.picture())
    assert compare(sort.model, sort.model, sort).loss_recovered is None
    assert compare(sort.model, sort.model, sort, baseline=sort.model).loss_recovered is None
    assert same.loss.estimate < 1e-2  # the model's own answers are right


def test_a_wrong_swap_is_shown_where_it_is_wrong(sort: Any) -> None:
    model, other = sort.model, broken(sort.model)
    inputs = [xs for n in range(1, 7) for xs in sort.program.sample(np.random.default_rng(n), 20) if len(xs) == n]
    tokens = model.encode(inputs)
    comparison = compare(model, other, tokens, baseline=broken(model, 0.0))
    right = [sort.program.reference(xs) for xs in inputs]
    decoded = model.decode(other(tokens).detach(), tokens)
    same = [(i + 1, a, a == b) for xs, ys in zip(right, decoded) for i, (a, b) in enumerate(zip(xs, ys))]
    assert comparison.accuracy.estimate == pytest.approx(np.mean([ok for _, _, ok in same]))
    assert 0 < comparison.accuracy.estimate < 1
    for part in comparison.by_position:
        assert part.accuracy.estimate == pytest.approx(np.mean([ok for at, _, ok in same if at == part.label]))
    assert {part.label for part in comparison.by_output} == {a for _, a, _ in same}
    for part in comparison.by_output:
        assert part.accuracy.estimate == pytest.approx(np.mean([ok for _, a, ok in same if a == part.label]))
    for example in comparison.worst:
        xs = inputs[example.index]
        assert example.tokens == ("BOS", *xs)
        answers = [example.answers[i + 1] for i in range(len(xs))]
        assert answers == list(zip(right[example.index], decoded[example.index]))


def test_undefined_answers_are_answers_of_their_own() -> None:
    case = gb.case("kth_largest@v4n5")
    noisy = copy.deepcopy(case.model.hooked)
    with torch.no_grad():
        noisy.unembed.b_U += 1e-3 * torch.randn(noisy.unembed.b_U.shape, generator=torch.Generator().manual_seed(0))
    comparison = compare(case.model, noisy, case)
    assert None in comparison.answers
    assert comparison.accuracy.estimate == 1
    assert any(part.label is None for part in comparison.by_output)
    assert comparison.loss.estimate == pytest.approx(comparison.swapped_loss.estimate, abs=1e-3)
    assert json.loads(json.dumps(comparison.to_dict(), allow_nan=False))["accuracy"]["estimate"] == 1


def test_numbers_are_compared_as_numbers() -> None:
    case = gb.case("frac_prevs@v3n5")
    model, other = case.model, copy.deepcopy(case.model.hooked)
    with torch.no_grad():
        other.unembed.W_U *= 0.8
    comparison = compare(model, other, case, baseline=1.0)
    positions = case.pairs.positions
    numbers, swapped = (m(case.pairs.clean).detach()[..., 0].double()[positions].numpy() for m in (model.hooked, other))
    assert comparison.kl is None
    assert comparison.divergence.estimate == pytest.approx(np.mean((numbers - swapped) ** 2))
    assert comparison.loss_recovered.estimate == pytest.approx(1 - np.mean((numbers - swapped) ** 2))
    decoded = [model.decode(m(case.pairs.clean).detach(), case.pairs.clean) for m in (model.hooked, other)]
    flat = [[y for ys in rows for y in ys] for rows in decoded]
    graded = positions[model.real(case.pairs.clean)].tolist()
    assert comparison.accuracy.estimate == pytest.approx(np.mean([a == b for a, b, g in zip(*flat, graded) if g]))
    plain = compare(model.hooked, other, case.pairs.clean, positions=positions, numeric=True)
    assert plain.accuracy.estimate == pytest.approx(np.mean(np.abs(numbers - swapped) <= 1e-5))
    assert "squared difference" in str(comparison)
    assert_readable(comparison.picture())


def test_batches_and_equal_positions_change_nothing(sort: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare(sort.model, broken(sort.model), sort, baseline=9.0)
    monkeypatch.setattr(question, "MAX_NUMBERS_AT_ONCE", 1)
    single = compare(sort.model, broken(sort.model), sort, baseline=9.0)
    assert (single.answers, single.swapped_answers) == (whole.answers, whole.swapped_answers)
    np.testing.assert_allclose(single.divergences, whole.divergences, atol=1e-5)
    first = compare(sort.model.hooked, broken(sort.model), sort.pairs.clean, positions=torch.arange(7) == 1)
    assert [part.label for part in first.by_position] == [1]
    assert len(first.examples) == len(sort.pairs)


def test_a_search_ranks_candidates_at_every_site(sort: Any) -> None:
    model, sites = sort.model, [w for w in sort.model.graph.writers if w not in ("embed", "pos")]

    def weaker(other: Any, site: str) -> Any:
        if not site.startswith("a"):
            raise InputError(f"{site} is no head\nand more")
        with torch.no_grad():
            other.blocks[int(site[1])].attn.W_O[int(site[-1])] *= 0.9
        return other

    replacements = swap_search(model, {"itself": lambda other, site: other, "weaker": weaker}, sort, swap=put_by_hand)
    assert list(dict.fromkeys(f.site for f in replacements)) == sites
    assert len(replacements) == 4 * len(sites)
    for site in sites:
        at_site = [f for f in replacements if f.site == site]
        assert at_site[0].name == "itself"
        assert at_site[0].comparison.kl.estimate == 0
        divergences = [f.comparison.kl.estimate for f in at_site if f.comparison is not None]
        assert divergences == sorted(divergences)
        assert [(f.name, f.reason) for f in at_site if f.comparison is None] == (
            [] if site.startswith("a") else [("weaker", f"{site} is no head")]
        )
        mean = put_by_hand(model, {site: Mean(sort.pairs.clean, pad=model.pad)})
        expected = {MEAN: mean, ZERO: put_by_hand(model, {site: Zero()})}
        if site.startswith("a"):
            expected["weaker"] = weaker(copy.deepcopy(model.hooked), site)
        for name, other in expected.items():
            alone = compare(model, other, sort, baseline=mean)
            beside = next(f.comparison for f in at_site if f.name == name)
            np.testing.assert_array_equal(beside.divergences, alone.divergences)
            np.testing.assert_array_equal(beside.baseline_losses, alone.baseline_losses)
            assert beside.loss_recovered == alone.loss_recovered
    out = StringIO()
    Console(file=out, width=100).print(search_table(replacements))
    text = out.getvalue()
    assert all(site in text for site in sites)
    assert "m0 by weaker does not fit: m0 is no head" in text
    assert "neither" not in text
    assert {f.site for f in swap_search(model, {}, sort, sites=["m0"], swap=put_by_hand)} == {"m0"}
    raising = swap_search(model, {"raising": lambda other, site: 1 / 0}, sort, sites=["m0"], swap=put_by_hand)
    assert [f.reason for f in raising if f.name == "raising"] == ["ZeroDivisionError: division by zero"]
    with pytest.raises(UnknownName, match=r"'a9\.h9'"):
        swap_search(model, {}, sort, sites=["a9.h9"], swap=put_by_hand)
    with pytest.raises(InputError, match="call it otherwise"):
        swap_search(model, {ZERO: Zero()}, sort, swap=put_by_hand)


@pytest.mark.parametrize("compiled", [True, False])
def test_each_part_is_best_explained_by_itself(sort: Any, compiled: bool) -> None:
    model = sort.model if compiled else sort.model.hooked
    sites = [w for w in sort.model.graph.writers if w not in ("embed", "pos")]
    replacements = swap_search(model, {f"as {site}": From(sort.model, site) for site in sites}, sort.pairs.clean)
    for site in sites:
        at_site = [f for f in replacements if f.site == site]
        kind = site[0]
        assert at_site[0].name == f"as {site}"
        assert at_site[0].comparison.kl.estimate < 1e-6
        assert at_site[0].comparison.accuracy.estimate == 1
        assert at_site[0].comparison.loss_recovered.estimate == pytest.approx(1, abs=1e-4)
        assert {f.name for f in at_site if f.comparison is None} == {f"as {x}" for x in sites if x[0] != kind}
        assert all(f.reason for f in at_site if f.comparison is None)
        assert next(f for f in at_site if f.name == MEAN).comparison.loss_recovered.estimate == 0
        zero = next(f for f in at_site if f.name == ZERO).comparison
        by_hand = compare(model, put_by_hand(sort.model, {site: Zero()}), sort.pairs.clean)
        np.testing.assert_allclose(zero.divergences, by_hand.divergences, atol=1e-5)


def test_the_picture_and_the_record_say_the_same(sort: Any) -> None:
    comparison = compare(sort.model, broken(sort.model), sort, baseline=12.0)
    picture, record = comparison.picture(), json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert_readable(picture)
    for measure, key in (("accuracy", "accuracy"), ("KL, nats", "divergence")):
        bars = [b for b in marked(picture, "measure") if b["measure"] == measure]
        assert [(int(b["position"]), float(b["value"])) for b in bars] == [
            (p["position"], pytest.approx(p[key]["estimate"], rel=1e-5)) for p in record["by_position"]
        ]
    differing = [m for m in marked(picture, "differs") if m["differs"] == "True"]
    assert len(differing) == sum(a != b for e in record["worst"] for a, b in zip(e["model"], e["swapped"]))
    text = str(comparison)
    assert all(f"example {e['index']}:" in text for e in record["worst"])
    assert max(map(len, text.splitlines())) <= 100


def test_long_rows_are_cut_around_what_is_worst() -> None:
    table = np.zeros((VOCAB, 300, VOCAB))
    other = table.copy()
    table[..., 0], other[..., 0] = 9, 9
    other[:, 250, 1] = 20
    comparison = compare(Table(table), Table(other), torch.full((2, 300), 3))
    assert [example.worst for example in comparison.worst] == [250, 250]
    picture, text = comparison.picture(), str(comparison)
    assert_readable(picture)
    assert picture.width < 1500
    (differing, _) = [int(m["place"]) for m in marked(picture, "differs") if m["differs"] == "True"]
    assert differing == 250
    assert text.count("[1]") == 2
    assert max(map(len, text.splitlines())) <= 100
    assert "288 more, which diverge less" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": torch.zeros(3, dtype=torch.long)}, r"token ids \[n, pos\].*int64 of shape \[3\]"),
        ({"data": torch.zeros(2, 9, dtype=torch.long)}, "rows of 9 tokens are too long: the model takes 7"),
        ({"data": torch.full((2, 3), 40)}, "from 40 to 40 were given; the model knows 0 to 6"),
        ({"positions": torch.ones(2, 2, dtype=torch.bool)}, r"tokens' shape \[4, 4\].*bool of shape \[2, 2\]"),
        ({"positions": torch.zeros(4, 4, dtype=torch.bool)}, "no position to compare"),
        ({"positions": torch.ones(4, 4, dtype=torch.bool)}, "hold BOS or PAD"),
        ({"targets": torch.full((4, 4), 5)}, "output ids from 0 to 4"),
        ({"targets": torch.zeros(4, 3, dtype=torch.long)}, r"shape \[4, 3\] do not fit tokens of shape \[4, 4\]"),
        ({"targets": "last"}, "targets='last'"),
        ({"numeric": True}, "the output of 'sort' is a choice"),
        ({"swapped": Table(np.zeros((7, 4, 3)))}, r"swapped model gives logits of shape \[4, 4, 3\].*\[4, 4, 5\]"),
        ({"swapped": Table(np.full((7, 4, 5), np.nan))}, "swapped model gives logits that are NaN.* 12 of 12"),
        ({"baseline": Table(np.full((7, 4, 5), np.inf))}, "baseline gives logits that are NaN or infinite"),
    ],
)
def test_what_does_not_fit_is_refused(sort: Any, arguments: dict[str, Any], message: str) -> None:
    tokens = sort.model.encode([[1, 0, 2]] * 4)
    called = {"model": sort.model, "swapped": sort.model, "data": tokens, **arguments}
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)  # as a user runs it
    try:
        with pytest.raises(InputError, match=message):
            compare(**called)
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
