"""Methods on models that a user brings, with a metric of the user's own."""

import inspect
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

import gaugeblock as gb
from gaugeblock.compiled import split_inputs
from gaugeblock.compiled.edges.graph import Graph, parse_edge
from gaugeblock.methods.registry import get_method
from gaugeblock.programs.errors import GaugeblockError, InputError, MethodError, UnknownName
from support.naive import patched, writers

VOCAB, LONGEST, PAD = 11, 8, 0
MODELS: dict[str, dict[str, Any]] = {
    "layer norm, causal, gelu": {"n_layers": 2, "normalization_type": "LN", "act_fn": "gelu"},
    "attention only": {"n_layers": 2, "attn_only": True, "normalization_type": "LNPre", "dtype": torch.float32},
    "one layer": {"n_layers": 1, "normalization_type": None, "act_fn": "relu"},
    "one layer, one head, attention only": {"n_layers": 1, "n_heads": 1, "attn_only": True},
}
# Scores that are means over pairs of what one pair gives, whatever else is in the batch.
BY_PAIR = (
    "eap", "attribution_patching", "eap_ig", "eap_ig_gauss", "clean_corrupted", "eap_ig_activations", "atp_star",
    "atp_star_nodes", "information_flow_routes", "direct_logit_attribution", "logit_lens", "edge_patching",
    "edge_denoising", "activation_patching", "activation_denoising", "path_patching", "magnitude",
)  # fmt: skip


def brought(**settings: Any) -> Any:
    """A HookedTransformer as TransformerLens initialises it, with biases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        defaults = {"n_heads": 2, "act_fn": "gelu_new", "normalization_type": "LN", "dtype": torch.float64}
        config = HookedTransformerConfig(
            d_model=16, n_ctx=LONGEST, d_head=8, d_mlp=20, d_vocab=VOCAB, attention_dir="causal", device="cpu", seed=4,
            **(defaults | settings),
        )  # fmt: skip
        model = HookedTransformer(config, move_to_device=False)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "b_" in name or "pos" in name or "W_E" in name:
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data += 0.3 * noise.to(parameter)
    return model


def tokens(n_pairs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    drawn = np.random.default_rng(seed).integers(1, VOCAB, size=(2, n_pairs, LONGEST))
    return torch.tensor(drawn[0]), torch.tensor(drawn[1])


def logit_difference(clean: Tensor, corrupted: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Between two answers of each pair (its first tokens) at the last position."""

    def metric(logits: Tensor, pair: Tensor) -> Tensor:
        last = logits[:, -1]
        right, wrong = (last.gather(1, side[pair, 1:2]).squeeze(1) for side in (clean, corrupted))
        return right - wrong

    return metric


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As a user runs the code: our own messages, not jaxtyping's, meet a wrong shape."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


RUNS = [(kind, *rest) for kind, rest in zip(MODELS, (("mean", 4), ("resample", 3), ("donor", 1), ("zero", 1)))]


@pytest.mark.parametrize(("kind", "ablation", "n_pairs"), RUNS)
def test_every_method_scores_every_name(kind: str, ablation: str, n_pairs: int) -> None:
    model, (clean, corrupted) = brought(**MODELS[kind]), tokens(n_pairs)
    graph, moved = Graph.of(model), 0
    for name in gb.methods.method_names():
        known = inspect.signature(get_method(name).function).parameters
        few = {k: v for k, v in (("steps", 2), ("budget", 30)) if k in known and known[k].default > 20}
        metric = logit_difference(clean, corrupted)
        scores = gb.attribute(model, clean, corrupted, metric, name, ablation=ablation, **few)
        assert tuple(scores) == (graph.edges if get_method(name).level == "edges" else graph.writers), name
        assert np.isfinite(list(scores.values())).all(), name
        moved += len(set(scores.values())) > 1
    assert moved > len(BY_PAIR)


@pytest.mark.parametrize("kind", MODELS)
def test_eap_with_a_users_metric_as_with_hooks(kind: str) -> None:
    model, (clean, corrupted) = brought(**MODELS[kind]), tokens(5)
    metric, graph = logit_difference(clean, corrupted), Graph.of(model)
    scores = gb.attribute(model, clean, corrupted, metric, "eap")
    error = 1e-5 if model.cfg.dtype == torch.float32 else 1e-10

    wrote, other = writers(model, clean), writers(model, corrupted)
    kept: dict[str, Tensor] = {}

    def keep(gradient: Tensor, hook: Any) -> None:
        kept[hook.name] = gradient.detach().clone()

    with split_inputs(model):
        points = {graph.hook(reader, reads=True).point for reader in graph.readers}
        with model.hooks(bwd_hooks=[(point, keep) for point in points]):
            metric(model(clean), torch.arange(5)).sum().backward()
    for edge in scores:
        writer, reader = parse_edge(edge)
        expected = 0.0
        if writer != "bias":
            point, head = graph.hook(reader, reads=True)
            gradient = kept[point] if head is None else kept[point][:, :, head]
            expected = float(((wrote[writer] - other[writer]) * gradient).sum() / 5)
        assert scores[edge] == pytest.approx(expected, rel=error, abs=error), edge
    assert max(scores.values()) > 1e-2


@pytest.mark.parametrize("ablation", ["resample", "zero"])
def test_padded_pairs_as_each_alone_and_trimmed(ablation: str) -> None:
    model, (clean, corrupted) = brought(**MODELS["layer norm, causal, gelu"]), tokens(4)
    lengths = [(3, 3), (8, 8), (6, 4), (2, 5)]
    for i, (own, other) in enumerate(lengths):
        clean[i, own:], corrupted[i, other:] = PAD, PAD
    for name in BY_PAIR:
        whole = gb.attribute(model, clean, corrupted, method=name, ablation=ablation, pad_token=PAD)
        alone = [
            gb.attribute(
                model, clean[i : i + 1, :width], corrupted[i : i + 1, :width],
                method=name, ablation=ablation, pad_token=PAD,
            )
            for i, width in enumerate(map(max, lengths))
        ]  # fmt: skip
        assert whole == pytest.approx({e: np.mean([one[e] for one in alone]) for e in whole}, rel=1e-7, abs=1e-9), name


def test_positions_say_where_the_output_is_looked_at() -> None:
    model, (clean, corrupted) = brought(**MODELS["one layer"]), tokens(3)
    clean[1, 4:] = PAD
    last = torch.zeros(3, LONGEST, dtype=torch.bool)
    last[[0, 1, 2], [7, 3, 7]] = True
    scores = gb.attribute(model, clean, corrupted, pad_token=PAD)
    assert scores == gb.attribute(model, clean, corrupted, pad_token=PAD, positions=last)
    answers = model(clean).argmax(-1)

    def log_odds(logits: Tensor, pair: Tensor) -> Tensor:
        where = torch.tensor([7, 3, 7])[pair]
        p = logits[torch.arange(len(pair)), where].softmax(-1).gather(1, answers[pair, where][:, None])[:, 0]
        return p.log() - (1 - p).log()

    own = gb.attribute(model, clean, corrupted, log_odds, pad_token=PAD)
    assert scores == pytest.approx(own, rel=1e-9, abs=1e-12)


def test_a_users_file_is_run_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from pathlib import Path\n"
        "from gaugeblock.methods import method\n"
        "with (Path(__file__).parent / 'log').open('a') as log: log.write('x')\n"
        "@method(level='nodes')\n"
        "def mine(task, scale=1.0): return {w: scale * i for i, w in enumerate(task.graph.writers)}\n"
    )
    model = brought(**MODELS["one layer"])
    scores = gb.attribute(model, *tokens(2), method=f"{file}:mine", scale=2.0)
    assert scores == {w: 2.0 * i for i, w in enumerate(Graph.of(model).writers)}
    assert (tmp_path / "log").read_text() == "x"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"corrupted": tokens(3)[0][:, :5]}, InputError, ["[3, 8]", "[3, 5]", "alike"]),
        ({"clean": tokens(3)[0][0], "corrupted": tokens(3)[0][0]}, InputError, ["[pair, pos]", "[8]"]),
        ({"clean": torch.zeros(0, 8).long(), "corrupted": torch.zeros(0, 8).long()}, InputError, ["not empty"]),
        ({"clean": torch.ones(3, 9).long(), "corrupted": torch.ones(3, 9).long()}, InputError, ["9 tokens", "takes 8"]),
        ({"corrupted": tokens(3)[0] + 5}, InputError, ["0 to 10", "corrupted", "15"]),
        ({"clean": tokens(3)[0] * 1.0}, InputError, ["integers", "clean", "float32"]),
        ({"clean": tokens(3)[0] > 2}, InputError, ["integers", "clean", "bool"]),
        ({"corrupted": tokens(3)[0] * 1j}, InputError, ["integers", "corrupted", "complex64"]),
        ({"clean": "abc", "corrupted": "abd"}, InputError, ["clean", "text, 'abc'", "to_tokens"]),
        ({"corrupted": ["abc", "abd"]}, InputError, ["corrupted", "text, ['abc', 'abd']"]),
        ({"clean": [[1, 2], [1]]}, InputError, ["clean", "all rows alike", "[[1, 2], [1]]"]),
        ({"clean": None}, InputError, ["clean must be a tensor, an array or lists of token ids", "None"]),
        ({"clean": [], "corrupted": []}, InputError, ["not empty", "[0]"]),
        ({"positions": "last"}, InputError, ["positions", "lists of bool", "'last'"]),
        ({"pad_token": "PAD"}, InputError, ["pad_token is the id of a token", "'PAD'"]),
        ({"model": 3}, InputError, ["takes a HookedTransformer, not int"]),
        ({"model": gb.compile(gb.programs.get("hist").with_size("ab", 3))}, InputError, ["CompiledModel", "`hooked`"]),
        ({"method": 3}, MethodError, ["a method is a name", "not 3"]),
        ({"pad_token": 3, "clean": torch.full((3, 8), 3)}, InputError, ["clean input 0", "pad_token 3"]),
        ({"positions": torch.ones(3, 7, dtype=torch.bool)}, InputError, ["positions", "[3, 8]", "[3, 7]"]),
        ({"positions": torch.ones(3, 8)}, InputError, ["positions", "bool", "float32"]),
        ({"positions": torch.zeros(3, 8, dtype=torch.bool)}, InputError, ["graded position in every pair"]),
        ({"method": "eapp"}, UnknownName, ["'eapp'", "eap"]),
        ({"method": "random", "ablation": "resampel"}, UnknownName, ["'resampel'", "resample"]),
        ({"method": "eap_ig", "steps": 0}, MethodError, ["at least one step", "0"]),
        ({"metric": lambda logits, pair: logits[:, -1, 0] / 0}, InputError, ["inf", "pair 0", "finite"]),
        ({"metric": lambda logits, pair: logits[:, -1, 0] * (pair - 1).double().log()}, InputError, ["nan", "pair 0"]),
        ({"metric": lambda logits, pair: logits[:, -1, 0].mean()}, InputError, ["[]", "3 items", "[3]"]),
        ({"metric": lambda logits, pair: 1.0}, InputError, ["float", "3 items"]),
        ({"metric": lambda logits, pair: logits[:, -1, 0] - torch.ones(3)}, InputError, ["[3] for 1 items"]),
        ({"metric": lambda logits, pair: logits[:, -1, 0] - torch.ones(5)}, InputError, ["RuntimeError", "[n]"]),
        ({"metric": lambda logits, pair: logits[:, -1, 0] - logits[0, 0, 0]}, InputError, ["alone", "pair index"]),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_error(change: dict[str, Any], error: type[GaugeblockError], words: list[str]) -> None:
    clean, corrupted = tokens(3)
    given: dict[str, Any] = {"model": None, "clean": clean, "corrupted": corrupted} | change
    given["model"] = given["model"] or brought(**MODELS["one layer"])
    with pytest.raises(error) as raised:
        gb.attribute(**given)
    assert all(word in str(raised.value) for word in words), raised.value


def test_tokens_in_lists_and_arrays_of_any_integers() -> None:
    model, (clean, corrupted) = brought(**MODELS["one layer"]), tokens(3)
    last = [[False] * 7 + [True]] * 3
    expected = gb.attribute(model, clean, corrupted)
    for kind in (np.uint8, np.int16, np.uint16, np.int64):
        assert gb.attribute(model, clean.numpy().astype(kind), corrupted.tolist(), positions=last) == expected
    assert gb.attribute(model, clean.to(torch.uint8), corrupted.int(), positions=np.array(last)) == expected


def test_padding_on_the_left_is_refused() -> None:
    """A model with causal attention would read it, and what is looked at would not be where it seems."""
    model, (clean, corrupted) = brought(**MODELS["one layer"]), tokens(3)
    for side, place in (("clean", 1), ("clean", 4), ("corrupted", 2)):
        padded = {"clean": clean.clone(), "corrupted": corrupted.clone()}
        padded[side][1, place] = PAD
        with pytest.raises(InputError, match=rf"{side} input 1 has pad_token 0 at position {place}, in front of other"):
            gb.attribute(model, **padded, pad_token=PAD)
        assert gb.attribute(model, **padded)
    clean[:, 0] = corrupted[:, 0] = PAD  # BOS may be the same token
    clean[:, 6:] = corrupted[:, 6:] = PAD
    trimmed = gb.attribute(model, clean[:, :6], corrupted[:, :6], pad_token=PAD)
    assert gb.attribute(model, clean, corrupted, pad_token=PAD) == pytest.approx(trimmed, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", ["layer norm, causal, gelu", "attention only"])
def test_pad_is_never_patched_into_tokens(kind: str) -> None:
    """Pairs of different lengths: against hooks that replace only what both sides have a token for."""
    model, (clean, corrupted) = brought(**MODELS[kind] | {"dtype": torch.float64}), tokens(4)
    for i, (own, other) in enumerate([(5, 8), (8, 4), (6, 6), (8, 3)]):
        clean[i, own:], corrupted[i, other:] = PAD, PAD
    alike = ((clean == PAD) == (corrupted == PAD))[..., None]
    wrote, other_run = writers(model, clean), writers(model, corrupted)
    carried = {name: torch.where(alike, other_run[name], value) for name, value in wrote.items()}
    metric, graph = logit_difference(clean, corrupted), Graph.of(model)
    scores = gb.attribute(model, clean, corrupted, metric, "edge_patching", pad_token=PAD)
    with torch.no_grad():
        pairs = torch.arange(4)
        base = metric(model(clean), pairs)
        for edge in np.random.default_rng(0).choice([e for e in graph.edges if "bias" not in e], 15, replace=False):
            expected = (base - metric(patched(model, clean, carried, [str(edge)]), pairs)).mean()
            assert scores[str(edge)] == pytest.approx(float(expected), abs=1e-9), edge
    assert max(map(abs, scores.values())) > 1e-2


def test_a_metric_that_is_finite_only_on_the_clean_run_is_the_methods_error() -> None:
    model, (clean, corrupted) = brought(**MODELS["one layer"]), tokens(3)
    answers = model(clean)[:, -1].detach()

    def metric(logits: Tensor, pair: Tensor) -> Tensor:
        return torch.where((logits[:, -1] - answers[pair]).abs().amax(-1) < 1e-6, logits[:, -1, 0], torch.nan)

    with pytest.raises(MethodError, match=r"'edge_patching' gave \d+ edges NaN or infinity"):
        gb.attribute(model, clean, corrupted, metric, "edge_patching")


def test_a_model_that_is_not_what_its_weights_say_is_refused() -> None:
    model, (clean, corrupted) = brought(**MODELS["layer norm, causal, gelu"]), tokens(3)
    swapped = gb.compiled.swap(model, {"m1": gb.compiled.Zero()})
    with pytest.raises(MethodError, match=r"logits differ by up to [\d.]+ .* do not see swapped parts and hooks"):
        gb.attribute(swapped, clean, corrupted, method="edge_patching")
    model.add_perma_hook("blocks.0.hook_mlp_out", lambda value, hook: value * 0)
    with pytest.raises(MethodError, match="do not see swapped parts and hooks"):
        gb.attribute(model, clean, corrupted, method="eap")
    rotary = brought(n_layers=1, positional_embedding_type="rotary", rotary_dim=8)
    with pytest.raises(MethodError, match="positional_embedding_type='rotary'"):
        gb.attribute(rotary, clean, corrupted, method="eap")
