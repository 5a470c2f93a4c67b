"""Pairs: each edge matters on its share of them, whatever the placement, and they are what their tags say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaugeblock.cases.candidates import strata
from gaugeblock.cases.edits import EDITS, GRAPH_EDITS
from gaugeblock.cases.pairs import Pairs, kappas, make_pairs
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.programs.domain import sample_graph
from gaugeblock.programs.registry import get
from support.naive import patched, writers

# before edges had quotas, some edge of each mattered on less than 3 % of the pairs
RARE = ["majority_token", "palindrome", "has_in_neighbour"]


def inputs_of(model: CompiledModel, tokens: torch.Tensor) -> list[list[object]]:
    vocab = model.lowered.vocab
    return [[vocab[i] for i in row if i < len(vocab)] for row in tokens.tolist()]


def both_sides(model: CompiledModel, pairs: Pairs) -> list[tuple[list[object], list[object]]]:
    return list(zip(inputs_of(model, pairs.clean), inputs_of(model, pairs.corrupted), strict=True))


@pytest.mark.parametrize("name", RARE)
def test_every_edge_that_matters_does_so_on_a_twentieth_of_the_pairs(name: str) -> None:
    model = compile(get(name))
    pairs = make_pairs(model)
    assert len(pairs) == 128
    shares = kappas(model, pairs)
    assert min(share for share in shares.values() if share > 0) >= 0.05
    writer_of = model.provenance.sites
    for operation, port, writer in pairs.unexercised:
        edge = f"{writer_of.get(writer, writer)}->{writer_of.get(operation, operation)}"
        alone = (edge + (f".{port}" if port in "qkv" else "")) in shares
        assert alone, (operation, port, writer)


def test_shares_are_those_of_the_patched_transformer() -> None:
    model = compile(get("majority_token"))
    pairs = make_pairs(model)
    hooked = model.to(dtype=torch.float64).hooked
    source, clean = writers(hooked, pairs.corrupted), hooked(pairs.clean).detach()
    for edge, share in kappas(model, pairs).items():
        change = (patched(hooked, pairs.clean, source, [edge]) - clean).abs() * pairs.positions[..., None]
        assert float((change.flatten(1).amax(1) > 1e-6).double().mean()) == share, edge


@pytest.mark.parametrize("name", ["sort", "reachable_in_k"])
def test_pairs_do_not_depend_on_where_the_model_has_its_parts(name: str) -> None:
    plain = compile(get(name))
    pairs = make_pairs(plain, seed=2)
    for variants in (("pad", "decoy"), ("permute", "pad", "rotate")):
        other = make_pairs(apply_variants(plain, variants, 5), seed=2)
        assert torch.equal(pairs.clean, other.clean)
        assert torch.equal(pairs.corrupted, other.corrupted)
        assert (pairs.tags, pairs.unexercised) == (other.tags, other.unexercised)
    assert not torch.equal(pairs.clean, make_pairs(plain, seed=3).clean)


@pytest.mark.parametrize("name", ["ioi", "in_degree"])
def test_pairs_are_different_inputs_of_the_domain_and_none_comes_twice(name: str) -> None:
    p = get(name)
    model = compile(p)
    inputs = both_sides(model, make_pairs(model))
    assert all(p.domain.contains(clean) and p.domain.contains(corrupted) for clean, corrupted in inputs)
    assert all(clean != corrupted for clean, corrupted in inputs)
    assert len({(*clean, None, *corrupted) for clean, corrupted in inputs}) == len(inputs)


def test_a_small_domain_gives_all_it_has() -> None:
    model = compile(get("hist").with_size(vocab="ab", max_len=2))
    pairs = make_pairs(model)
    assert 20 <= len(pairs) <= 30  # six inputs
    only = make_pairs(compile(get("identity").with_size(vocab="ab", max_len=1)))
    assert sorted((int(a), int(b)) for a, b in zip(only.clean[:, 1], only.corrupted[:, 1], strict=True)) == [
        (0, 1),
        (1, 0),
    ]


def depths(xs: list[object]) -> list[int]:
    change = {"(": 1, "{": 1, ")": -1, "}": -1}
    return np.cumsum([change.get(str(x), 0) for x in xs]).tolist()


def test_variables_differ_where_it_is_said() -> None:
    model = compile(get("dyck2"))
    pairs = make_pairs(model)
    for i, (clean, corrupted) in enumerate(both_sides(model, pairs)):
        common = min(len(clean), len(corrupted))
        assert bool(pairs.differs["tokens"][i]) == (clean[:common] != corrupted[:common])
        assert bool(pairs.differs["depth"][i]) == (depths(clean)[:common] != depths(corrupted)[:common])
    output = pairs.differs[model.lowered.output.variable]
    assert 0.2 < output.double().mean() < 0.8
    for tag, differs in zip(pairs.tags, output.tolist(), strict=True):
        assert not (tag.endswith("the output does not") and differs)


def test_default_branches_are_taken_in_one_input_only() -> None:
    model = compile(get("induction"))
    pairs = make_pairs(model)
    tagged = [
        pair for pair, tag in zip(both_sides(model, pairs), pairs.tags, strict=True) if "selects nothing in one" in tag
    ]
    assert len(tagged) >= 5

    def seen_before(xs: list[object]) -> list[bool]:
        return [x in xs[:i] for i, x in enumerate(xs)]

    assert all(any(a != b for a, b in zip(*map(seen_before, pair), strict=False)) for pair in tagged)


def test_strata_hold_each_read_once() -> None:
    lowered = compile(get("add")).lowered
    reads = [read for group in strata(lowered).values() for read in group]
    assert sorted(reads) == sorted(lowered.flow)


@given(xs=st.lists(st.sampled_from("abc"), min_size=1, max_size=8), seed=st.integers(0, 2**32 - 1))
def test_edits_leave_the_input_and_stay_in_the_vocabulary(xs: list[str], seed: int) -> None:
    for name, edit in EDITS.items():
        before = list(xs)
        edited = edit(xs, tuple("abc"), np.random.default_rng(seed))
        assert xs == before, name
        assert set(edited) <= set("abc"), name
        assert len(edited) <= len(xs) + 1, name


@given(seed=st.integers(0, 2**32 - 1))
def test_edits_of_graphs_name_only_nodes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    xs = sample_graph(rng, (0, 1), 4)
    for name, edit in GRAPH_EDITS.items():
        before = list(xs)
        edited = edit(xs, (0, 1), rng)
        assert xs == before, name
        assert all(target < len(edited) for node in edited for target in node.targets), name
