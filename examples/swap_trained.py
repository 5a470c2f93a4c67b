"""A transformer trained on modular addition, whose MLP and attention patterns are replaced by what they are said to do.

python examples/swap_trained.py --out trained/    # a minute on one core

One layer reads `a b =` and says (a + b) mod p behind `=`. Trained with weight decay it generalises, and keeps its
numbers as points on a few circles: cos and sin of 2πkn/p for some frequencies k (Nanda et al., 2023). It is said that
heads then average the points of a and b; this points to half the angle of the sum, or opposite, and the MLP doubles the
angle (Zhong et al., 2023). Explanations are fitted on the pairs that the model was trained on, and judged on others.
"""

import argparse
import json
import math
import warnings
from pathlib import Path
from typing import NamedTuple

import torch

import gaugeblock as gb
from gaugeblock.compiled import Linear, Mean, swap

HEADS = [f"a0.h{head}" for head in range(4)]


def sums(pairs):
    """What is to be said of each row a, b, p; p stands for `=`."""
    return (pairs[:, 0] + pairs[:, 1]) % pairs[:, 2]


def trained(p, steps, seed):
    """The model, the pairs it was trained on (three of four), and the others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the retirement of HookedTransformer
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        config = {"n_layers": 1, "n_heads": len(HEADS), "d_model": 64, "d_head": 16, "d_mlp": 256, "act_fn": "relu"}
        sizes = {"n_ctx": 3, "d_vocab": p + 1, "d_vocab_out": p, "normalization_type": None}
        model = HookedTransformer(HookedTransformerConfig(**config, **sizes, seed=seed, device="cpu"))
    pairs = torch.tensor([[a, b, p] for a in range(p) for b in range(p)])
    pairs = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))]
    train, test = pairs[: len(pairs) * 3 // 4], pairs[len(pairs) * 3 // 4 :]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1.0)
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model(train)[:, -1], sums(train))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False), train, test


def power(model):
    """How much of the embedding varies with each frequency 1, 2, … of the numbers."""
    numbers = model.W_E[:-1]
    strength = torch.fft.rfft(numbers - numbers.mean(0), dim=0).abs().square().sum(1)[1:]
    return strength / strength.sum()


def points(numbers, frequencies, p):
    """Where numbers [n] are on the circles: cosines, then sines [n, 2 * frequencies]."""
    angles = 2 * math.pi / p * numbers[:, None] * torch.tensor(frequencies)
    return torch.cat([angles.cos(), angles.sin()], -1)


def fitted(x, y):
    """The affine map from rows of x to rows of y that fits best."""

    def one(x):
        return torch.cat([x, torch.ones_like(x[..., :1])], -1)

    weights = torch.linalg.lstsq(one(x).double(), y.double(), driver="gelsd").solution.float()
    return lambda x: one(x) @ weights


class Seen(NamedTuple):
    """What the MLP reads and adds behind `=` of some pairs."""

    pairs: torch.Tensor
    stream: torch.Tensor
    added: torch.Tensor

    @staticmethod
    def of(model, pairs):
        _, cache = model.run_with_cache(pairs)
        return Seen(pairs, cache["resid_mid", 0][:, -1], cache["mlp_out", 0][:, -1])


def sum_known(train, known, frequencies):
    """The MLP adds a vector for each cos and sin of the sum. It is told the sum, by looking the stream up."""
    p = int(train.pairs[0, 2])
    write = fitted(points(sums(train.pairs), frequencies, p), train.added)
    table = points(sums(known.pairs), frequencies, p)
    return lambda stream: write(table[torch.cdist(stream, known.stream).argmin(-1)])


def angle_doubled(train, frequencies, length):
    """The MLP finds the cos and sin of the sum itself: it reads the points of a and b, added, and doubles their angle.

    cos u + cos v = 2 cos((u − v) / 2) cos((u + v) / 2), and so for sin. The factor they share is the length of what is
    read: it is divided out (length 0), or it stays (length 1).
    """
    p = int(train.pairs[0, 2])
    read = fitted(train.stream, points(train.pairs[:, 0], frequencies, p) + points(train.pairs[:, 1], frequencies, p))

    def doubled(stream):
        cos, sin = read(stream).chunk(2, -1)
        scale = torch.hypot(cos, sin).clamp(min=1e-6) ** (length - 2)
        return torch.cat([(cos.square() - sin.square()) * scale, 2 * cos * sin * scale], -1)

    write = fitted(doubled(train.stream), train.added)
    return lambda stream: write(doubled(stream))


def shown(interval):
    if interval is None or interval.low is None:
        return "–" if interval is None else f"{interval.estimate:.3f}"
    return f"{interval.estimate:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--p", type=int, default=31, help="the modulus, odd")
    parser.add_argument("--steps", type=int, default=2000, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for figures.json and a picture of each comparison")
    options = parser.parse_args(arguments)

    model, train, test = trained(options.p, options.steps, options.seed)
    strength = power(model)
    keys = [k for k, share in enumerate(strength.tolist(), 1) if share > strength.mean()]
    weakest = (strength.argsort()[: len(keys)] + 1).tolist()  # frequencies that the model does not use: a control
    right = model(test)[:, -1].argmax(-1) == sums(test)
    mirrored = (test[:, None] == train[None][..., [1, 0, 2]]).all(-1).any(1)
    print(f"right on {int(right.sum())} of {len(test)} pairs held out; of those trained in neither order on ", end="")
    print(f"{int(right[~mirrored].sum())} of {int((~mirrored).sum())}")
    print(f"frequencies {keys} have {strength[[k - 1 for k in keys]].sum():.0%} of the embedding; control: {weakest}")

    seen, every = Seen.of(model, train), Seen.of(model, torch.cat([train, test]))
    half = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0.5, 0.5, 0]])  # behind `=`: half on a, half on b
    patterns = {f"{head}.pattern": half for head in HEADS}
    averaged = seen._replace(stream=Seen.of(swap(model, patterns), train).stream)  # the MLP adds what it did
    candidates = {
        "MLP: Linear, at all positions": {"m0": Linear(train)},
        "MLP: linear map at =": {"m0": fitted(seen.stream, seen.added)},
        "MLP: cos, sin of the sum": {"m0": sum_known(seen, every, keys)},
        "  wrong frequencies": {"m0": sum_known(seen, every, weakest)},
        "MLP: angle doubled": {"m0": angle_doubled(seen, keys, length=0)},
        "MLP: angle doubled, length kept": {"m0": angle_doubled(seen, keys, length=1)},
        "  wrong frequencies, length kept": {"m0": angle_doubled(seen, weakest, length=1)},
        "patterns: half on a, half on b": patterns,
        "patterns half, MLP: angle doubled": {**patterns, "m0": angle_doubled(averaged, keys, length=0)},
        "patterns half, MLP: linear map": {**patterns, "m0": fitted(averaged.stream, averaged.added)},
    }
    targets = torch.zeros_like(test)
    targets[:, -1] = sums(test)
    last = torch.tensor([False, False, True])
    comparisons = {}
    print(f"\n{'':34}{'accuracy':>22}{'KL':>9}{'loss recovered':>27}")
    for name, parts in candidates.items():
        ablated = swap(model, {part.removesuffix(".pattern"): Mean(train) for part in parts})
        comparison = gb.compare(model, swap(model, parts), test, baseline=ablated, positions=last, targets=targets)
        comparisons[name] = comparison
        accuracy, recovered = shown(comparison.accuracy), shown(comparison.loss_recovered)
        print(f"{name:34}{accuracy:>22}{comparison.divergence.estimate:9.3f}{recovered:>27}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        figures = {name.strip(): comparison.to_dict() for name, comparison in comparisons.items()}
        (options.out / "figures.json").write_text(json.dumps(figures, indent=1))
        for i, comparison in enumerate(comparisons.values()):
            comparison.picture().save(options.out / f"{i}.svg")
    return model, comparisons


if __name__ == "__main__":
    torch.set_num_threads(1)  # the same figures whatever the machine has
    main()
