"""The examples do what they say."""

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from gaugeblock.evaluation.evaluate import evaluate
from gaugeblock.methods import check_method

ROOT = Path(__file__).resolve().parents[1]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_eap_by_hand_is_a_method_and_gives_what_eap_gives() -> None:
    method = f"{ROOT}/examples/eap_by_hand.py:eap_by_hand"
    check_method(method)
    by_hand, ours = (evaluate(m, "sort/permute+pad#1").edge_scores for m in (method, "eap"))
    assert by_hand == pytest.approx(ours, abs=1e-5)


def test_a_counting_head_of_sort_is_a_function_and_a_wrong_one_shows_where() -> None:
    right, wrong = example("swap_sort").main().values()
    assert right.accuracy.estimate == 1.0
    assert right.loss_recovered.estimate == pytest.approx(1.0, abs=1e-6)
    assert 0 < wrong.accuracy.estimate < 1
    off = {part.label for part in wrong.by_position if part.accuracy.estimate < 1}
    assert off == {part.label for part in wrong.by_position if part.label >= 6}  # place 6 is where counts of 5 go


def test_the_mlp_of_a_trained_model_is_a_function_of_the_sum_and_of_no_other_frequencies(tmp_path: Path) -> None:
    """A small model on few pairs: it fits what it was trained on, and generalises in part."""
    model, comparisons = example("swap_trained").main(["--p", "11", "--steps", "500", "--out", str(tmp_path)])
    known, known_wrong = comparisons["MLP: cos, sin of the sum"], comparisons["  wrong frequencies"]
    read, read_wrong = comparisons["MLP: angle doubled, length kept"], comparisons["  wrong frequencies, length kept"]
    for right, wrong in ((known, known_wrong), (read, read_wrong)):
        assert right.accuracy.estimate > wrong.accuracy.estimate + 0.2
        assert right.swapped_loss.estimate < wrong.swapped_loss.estimate - 0.5
        assert wrong.accuracy.estimate < 0.4
    for comparison in comparisons.values():  # each ran the model again: it is what it was
        np.testing.assert_array_equal(comparison.losses, known.losses)
    assert model(torch.tensor(known.tokens))[:, -1].argmax(-1).tolist() == list(known.answers)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["MLP: cos, sin of the sum"]["accuracy"]["estimate"] == known.accuracy.estimate
    assert len(list(tmp_path.glob("*.svg"))) == len(figures) == len(comparisons)


def test_twice_the_angle_of_two_points_is_the_angle_of_the_sum() -> None:
    """What the explanation of the MLP computes, on streams that hold exactly what it reads."""
    trained = example("swap_trained")
    p, frequencies = 13, [2, 5]
    pairs = torch.tensor([[a, b, p] for a in range(p) for b in range(p)])
    stream = (trained.points(pairs[:, 0], frequencies, p) + trained.points(pairs[:, 1], frequencies, p)) / 2
    angles = [[2 * math.pi * k * (a + b) / p for k in frequencies] for a, b, _ in pairs.tolist()]
    added = torch.tensor([[math.cos(u), math.cos(v), math.sin(u), math.sin(v)] for u, v in angles])
    said = trained.angle_doubled(trained.Seen(pairs, stream, added), frequencies, length=0)(stream[None])
    torch.testing.assert_close(said[0], added, atol=1e-4, rtol=0)
