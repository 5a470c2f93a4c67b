"""How far an ablated model's output is from the clean one: what circuit searches keep small."""

from typing import final

from jaxtyping import Float, Int
from torch import Tensor

from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError


@final
class Objective:
    """(logits, pair index) -> distance from the clean output, 0 where nothing changed. Differentiable.

    Args:
        name: "divergence" (KL from the clean output, squared error for numeric outputs; mean over graded positions)
            or "metric" (what the task's metric loses).

    Raises MethodError for any other name.
    """

    def __init__(self, task: Task, name: str = "divergence") -> None:
        if name not in ("divergence", "metric"):
            raise MethodError(f"there is no objective {name!r}; possible: divergence, metric")
        self.task, self.name = task, name
        self.clean = task.engine.clean_logits
        self.log_clean = self.clean.log_softmax(-1)

    def __call__(self, logits: Float[Tensor, "item pos vocab"], pair: Int[Tensor, " item"]) -> Float[Tensor, " item"]:
        if self.name == "metric":
            return self.task.metric(self.clean[pair], pair) - self.task.metric(logits, pair)
        if self.task.numeric:
            distance = (logits - self.clean[pair]).square().sum(-1)
        else:
            log_clean = self.log_clean[pair]
            distance = (log_clean.exp() * (log_clean - logits.log_softmax(-1))).sum(-1)
        graded = self.task.positions[pair]
        return (distance * graded).sum(-1) / graded.sum(-1)
