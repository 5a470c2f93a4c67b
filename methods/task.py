"""What a method gets: a model, pairs of inputs, what to measure and what an ablated edge carries."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gaugeblock.compiled.edges.graph import Graph
from gaugeblock.methods.engine.ablation import Rows, check_ablation
from gaugeblock.methods.engine.activations import logsumexp, real_positions
from gaugeblock.methods.engine.edge_sets import Functional
from gaugeblock.methods.engine.engine import Engine
from gaugeblock.programs.errors import InputError, check_seed

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer


@final
@dataclass(frozen=True, eq=False)
class Task:
    """One problem for a method. Built with `Task.build`; knows nothing of the true circuit.

    Attributes:
        model: a HookedTransformer; leave it as it is.
        graph: writers, readers and edges to score.
        clean, corrupted: token ids of both sides of each pair.
        positions: graded positions.
        ablation: what an ablated edge carries: "resample", "donor", "mean" or "zero".
        numeric: whether the output is one number instead of a choice.
        rng: for whatever the method draws at random.
        own_metric: what `metric` is, where it is not the default one.

    >>> import gaugeblock as gb
    >>> model = gb.compile(gb.programs.get("hist").with_size("ab", 3))
    >>> clean, corrupted = model.encode(["aab"]), model.encode(["abb"])
    >>> task = Task.build(model.hooked, model.graph, clean, corrupted, model.real(clean))
    >>> task.ablation, len(task.graph.edges)
    ('resample', 8)
    >>> task.metric(task.engine.clean_logits, torch.tensor([0])).round()  # log-odds of the clean answer
    tensor([9.])
    """

    model: "HookedTransformer"
    graph: Graph
    clean: Int[Tensor, "pair pos"]
    corrupted: Int[Tensor, "pair pos"]
    positions: Bool[Tensor, "pair pos"]
    ablation: str
    numeric: bool
    rng: np.random.Generator
    rows: Rows = field(repr=False)
    own_metric: Functional | None = None

    @staticmethod
    @torch.inference_mode(False)
    def build(
        model: "HookedTransformer",
        graph: Graph,
        clean: Int[Tensor, "pair pos"],
        corrupted: Int[Tensor, "pair pos"],
        positions: Bool[Tensor, "pair pos"],
        ablation: str = "resample",
        *,
        numeric: bool = False,
        pad_token: int | None = None,
        pad_replaced: bool = True,
        donor_seed: int = 0,
        seed: int = 0,
        stream: str = "",
        metric: Functional | None = None,
    ) -> "Task":
        """A task on the model's own device, with copies of the tokens.

        Args:
            pad_token: id that fills up shorter inputs; None if there is none.
            pad_replaced: whether "resample" replaces a token by PAD, or PAD by a token, where one side of a pair is
                longer; if not, both stay clean.
            donor_seed: of the sources of `donor` ablation, which are part of the data.
            seed: of `rng`.
            stream: of `rng` too, such as the id of a case: draws of different streams are independent.
            metric: (logits [n, pos, vocab], pair index [n]) -> [n], larger where the model does more of what it does
                on the clean input; by default `Task.metric` says what.

        Raises InputError where no position of some pair is graded, or for a negative seed; UnknownName for an ablation
        that there is none of.
        """
        check_ablation(ablation)
        if not len(clean) or not bool(positions.any(1).all()):
            raise InputError("a task needs at least one pair, and at least one graded position in every pair")
        check_seed(seed)
        device = model.W_E.device
        clean, corrupted, positions = (x.to(device, copy=True) for x in (clean, corrupted, positions))
        rows = Rows(real_positions(clean, pad_token), real_positions(corrupted, pad_token), donor_seed, pad_replaced)
        rng = np.random.default_rng([seed, *stream.encode()] if stream else seed)
        return Task(model, graph, clean, corrupted, positions, ablation, numeric, rng, rows, metric)

    @cached_property
    def engine(self) -> Engine:
        """Patched forward passes of the model on these pairs."""
        return Engine(self.model, self.graph, self.clean, self.corrupted, self.rows, self.ablation)

    def metric(
        self, logits: Float[Tensor, "item pos vocab"], pair_index: Int[Tensor, " item"]
    ) -> Float[Tensor, " item"]:
        """How clearly the model gives its clean answer; the mean over graded positions. Differentiable.

        The task's own metric, if it has one. Else, categorical: the log-odds of the clean answer, log p/(1 - p);
        numeric: the output, with the sign that makes clean larger than corrupted (0 where they agree). Unlike KL and
        squared error, these have gradients at the clean point.
        """
        if self.own_metric is not None:
            return _own(self.own_metric, logits, pair_index)
        graded = self.positions.index_select(0, pair_index)
        if self.numeric:
            value = logits[..., 0] * self._direction.index_select(0, pair_index)
        else:
            answer = self._answer.index_select(0, pair_index)[..., None]
            others = logits + self._without_answer.index_select(0, pair_index)
            value = logits.gather(-1, answer)[..., 0] - logsumexp(others)
        return (value * graded).sum(-1) / graded.sum(-1)

    def gradient_fault(self) -> str | None:
        """What is wrong with the gradient of the task's own metric on the clean run; None where nothing is.

        >>> import gaugeblock as gb
        >>> model = gb.compile(gb.programs.get("hist").with_size("ab", 3))
        >>> clean, corrupted = model.encode(["aab"]), model.encode(["abb"])
        >>> def answer(logits, pair):
        ...     return logits[:, -1].argmax(-1)
        >>> task = Task.build(model.hooked, model.graph, clean, corrupted, model.real(clean), metric=answer)
        >>> task.gradient_fault()
        'the metric has no gradient: its result is detached, of integers, or a choice such as argmax'
        """
        if self.own_metric is None:
            return None
        with torch.inference_mode(False), torch.enable_grad():
            logits = self.engine.clean_logits.clone().requires_grad_()
            try:
                values = self.metric(logits, torch.arange(len(logits), device=logits.device))
                if not values.requires_grad:
                    return "the metric has no gradient: its result is detached, of integers, or a choice such as argmax"
                (gradient,) = torch.autograd.grad(values.sum(), logits, materialize_grads=True)
            except Exception as error:
                return f"the metric's gradient cannot be taken: {error}"
        return None if bool(gradient.isfinite().all()) else "the metric's gradient is NaN or infinite on the clean run"

    @cached_property
    def _answer(self) -> Int[Tensor, "pair pos"]:
        return self.engine.clean_logits.argmax(-1)

    @cached_property
    def _without_answer(self) -> Float[Tensor, "pair pos vocab"]:
        """-inf at the clean answer, 0 elsewhere."""
        zero = torch.zeros_like(self.engine.clean_logits)
        return zero.scatter(-1, self._answer[..., None], -torch.inf)

    @cached_property
    def _direction(self) -> Float[Tensor, "pair pos"]:
        return (self.engine.clean_logits - self.engine.corrupted_run.logits)[..., 0].sign()


def _own(metric: Functional, logits: Tensor, pair_index: Tensor) -> Tensor:
    """A user's metric of copies, for it may work in place on what the engine keeps, and a copy of what it returns, for
    it may return one buffer each time; whole numbers as floats.

    Raises InputError where the metric does not give one real number for each item.
    """
    values: object = metric(logits.clone(), pair_index.clone())
    n = len(pair_index)
    shape = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
    if not isinstance(values, Tensor) or shape != [n] or values.is_complex():
        got = f"{shape} of complex numbers" if shape == [n] else shape
        raise InputError(f"the metric gave {got} for {n} items; it gives one number for each, a tensor [{n}]")
    return values.to(logits.device, values.dtype if values.is_floating_point() else logits.dtype, copy=True)
