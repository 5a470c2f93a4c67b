"""Plain forward passes over a model's `Weights`, keeping what every writer wrote and every reader read."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaugeblock.methods.engine.weights import AttentionWeights, MlpWeights, Weights


@dataclass(frozen=True, eq=False)
class Activations:
    """One run of a model.

    Attributes:
        stream: residual stream in front of each stage (`Weights.stages` of them).
        writers: what each writer wrote, in graph order. The row of `bias` is zero: what it writes depends on
            the reader (see `compiled.graph`).
        qkv: per layer, the queries, keys and values of the kept heads; queries carry the attention scale.
        pattern, z: per layer, attention probabilities and mixed values.
        pre, post: per layer, MLP pre- and post-activations; None where the MLP slot is empty.
        logits: the output.
    """

    stream: tuple[Float[Tensor, "pair pos d_model"], ...]
    writers: Float[Tensor, "writer pair pos d_model"]
    qkv: tuple[Float[Tensor, "pair pos port _ d_head"], ...]
    pattern: tuple[Float[Tensor, "pair _ query key"], ...]
    z: tuple[Float[Tensor, "pair pos _ d_head"], ...]
    pre: tuple[Float[Tensor, "pair pos _"] | None, ...]
    post: tuple[Float[Tensor, "pair pos _"] | None, ...]
    logits: Float[Tensor, "pair pos vocab"]

    def on(self, pairs: Int[Tensor, " chosen"]) -> "Activations":
        """The same of some pairs."""
        return Activations(
            stream=tuple(x[pairs] for x in self.stream),
            writers=self.writers[:, pairs],
            qkv=tuple(x[pairs] for x in self.qkv),
            pattern=tuple(x[pairs] for x in self.pattern),
            z=tuple(x[pairs] for x in self.z),
            pre=tuple(None if x is None else x[pairs] for x in self.pre),
            post=tuple(None if x is None else x[pairs] for x in self.post),
            logits=self.logits[pairs],
        )


def normalise(weights: Weights, x: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """The model's normalisation without its gain and bias, which live in the maps behind it."""
    if weights.norm == "none":
        return x
    if weights.norm == "layer":
        x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + weights.eps).sqrt()


def normalise_change(
    weights: Weights, x: Float[Tensor, "*rows d_model"], change: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows d_model"]:
    """norm(x + change) − norm(x); the change itself where there is no normalisation, so zeros stay exact."""
    return change if weights.norm == "none" else normalise(weights, x + change) - normalise(weights, x)


def normalise_pullback(
    weights: Weights, x: Float[Tensor, "*rows d_model"], grad: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows d_model"]:
    """The gradient in front of the normalisation from the gradient behind it, at x."""
    if weights.norm == "none":
        return grad
    if weights.norm == "layer":
        x = x - x.mean(-1, keepdim=True)
    scale = (x.square().mean(-1, keepdim=True) + weights.eps).sqrt()
    unit = x / scale
    grad = (grad - unit * (unit * grad).mean(-1, keepdim=True)) / scale
    return grad - grad.mean(-1, keepdim=True) if weights.norm == "layer" else grad


def causal_mask(weights: Weights, pos: int) -> Float[Tensor, "query key"] | None:
    """What to add to attention scores: −inf at later keys; None for bidirectional attention."""
    if not weights.causal:
        return None
    return torch.full((pos, pos), -torch.inf, dtype=weights.W_U.dtype, device=weights.W_U.device).triu(1)


def softmax(scores: Float[Tensor, "*rows axis"]) -> Float[Tensor, "*rows axis"]:
    """Softmax over the last axis. torch's own is many times slower on CPU for axes under 16."""
    if scores.shape[-1] > 16 or scores.is_cuda:
        return scores.softmax(-1)
    weight = (scores - scores.detach().amax(-1, keepdim=True)).exp()
    return weight / weight.sum(-1, keepdim=True)


def logsumexp(values: Float[Tensor, "*rows axis"]) -> Float[Tensor, "*rows"]:
    """log Σ exp over the last axis, finite for −inf entries as long as one is finite."""
    top = values.detach().amax(-1, keepdim=True)
    return (values - top).exp().sum(-1).log() + top.squeeze(-1)


def attend(
    q: Float[Tensor, "*batch pos d_head"],
    k: Float[Tensor, "*batch pos d_head"],
    v: Float[Tensor, "*batch pos d_head"],
    mask: Float[Tensor, "pos pos"] | None,
) -> tuple[Float[Tensor, "*batch pos d_head"], Float[Tensor, "*batch pos pos"]]:
    """(mixed values, pattern) of attention with scaled queries."""
    scores = q @ k.transpose(-1, -2)
    pattern = softmax(scores if mask is None else scores + mask)
    return pattern @ v, pattern


def project(
    attention: AttentionWeights, x: Float[Tensor, "item pos d_model"]
) -> Float[Tensor, "item pos 3 heads d_head"]:
    """q, k and v of every head from normalised inputs."""
    flat = torch.addmm(attention.b_qkv, x.flatten(0, 1), attention.W_qkv)
    return flat.view(*x.shape[:2], 3, len(attention.heads), attention.W_O.shape[1])


def neurons(mlp: MlpWeights, x: Float[Tensor, "item pos d_model"]) -> Float[Tensor, "item pos neuron"]:
    """Pre-activations from normalised inputs."""
    return torch.addmm(mlp.b_in, x.flatten(0, 1), mlp.W_in).view(*x.shape[:2], -1)


def embed(weights: Weights, tokens: Int[Tensor, "pair pos"]) -> list[Float[Tensor, "pair pos d_model"]]:
    """What `embed` and, where the model has it, `pos` write."""
    token = weights.W_E[tokens]
    if weights.W_pos is None:
        return [token]
    return [token, weights.W_pos[: tokens.shape[1]].expand_as(token)]


def run(weights: Weights, tokens: Int[Tensor, "pair pos"]) -> Activations:
    """The clean forward pass on tokens."""
    return run_from(weights, embed(weights, tokens))


def run_from(weights: Weights, sources: list[Float[Tensor, "pair pos d_model"]]) -> Activations:
    """The forward pass from what the sources (`embed`, `pos`) write; differentiable."""
    stream = [torch.stack(sources).sum(0)]
    written = list(sources)
    if "bias" in weights.graph.writer_index:
        written.append(torch.zeros_like(sources[0]))
    mask = causal_mask(weights, sources[0].shape[1])
    qkv, patterns, zs, pres, posts = [], [], [], [], []
    for attention, mlp in zip(weights.attention, weights.mlp, strict=True):
        qkv.append(project(attention, normalise(weights, stream[-1])))
        q, k, v = qkv[-1].permute(2, 0, 3, 1, 4)
        z, pattern = attend(q, k, v, mask)
        patterns.append(pattern)
        zs.append(z.transpose(1, 2))
        heads = (z @ attention.W_O).unbind(1)
        written += heads
        stream.append(sum(heads, stream[-1] + attention.b_O))
        pre = post = None
        after = stream[-1]
        if mlp is not None:
            pre = neurons(mlp, normalise(weights, after))
            post = weights.activation(pre)
            written.append(post @ mlp.W_out + mlp.b_out)
            after = after + written[-1]
        pres.append(pre)
        posts.append(post)
        stream.append(after)
    return Activations(
        stream=tuple(stream),
        writers=torch.stack(written),
        qkv=tuple(qkv),
        pattern=tuple(patterns),
        z=tuple(zs),
        pre=tuple(pres),
        post=tuple(posts),
        logits=normalise(weights, stream[-1]) @ weights.W_U + weights.b_U,
    )


def real_positions(tokens: Int[Tensor, "pair pos"], pad_token: int | None) -> Bool[Tensor, "pair pos"]:
    """Rows that hold a token of the input: not the first position (BOS) and not PAD."""
    real = torch.ones_like(tokens, dtype=torch.bool) if pad_token is None else tokens != pad_token
    real[:, 0] = False
    return real
