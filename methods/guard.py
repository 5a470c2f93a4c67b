"""A method gets the model itself, which later methods get too: what it changes is put back, and said."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from gaugeblock.methods.task import Task
from gaugeblock.programs.errors import MethodError

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

_FLAGS = ("use_attn_result", "use_split_qkv_input", "use_hook_mlp_in", "use_attn_in")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def left_unchanged(model: "HookedTransformer", called: str) -> Iterator[None]:
    """Puts weights, hooks and hook settings back as they were when the block ends, however it ends.

    Raises MethodError, which says what `called` had changed, where the block itself raises nothing.
    """
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    flags = {flag: getattr(model.cfg, flag, None) for flag in _FLAGS}
    hooks = [
        (there, tuple(there)) for module in model.modules() for there in (getattr(module, kind) for kind in _HOOKS)
    ]
    listed = [(point, len(point.fwd_hooks), len(point.bwd_hooks)) for point in model.hook_points()]
    changed: list[str] = []
    try:
        yield
    finally:
        with torch.no_grad():
            now = dict(model.named_parameters())
            for name, value in weights.items():
                if name not in now or not torch.equal(now[name], value):
                    changed.append(name)
                    if name in now and (now[name].shape, now[name].dtype) == (value.shape, value.dtype):
                        now[name].copy_(value)  # in place, for whoever holds a view of it
                    elif name in now:
                        now[name].data = value
        for flag, was in flags.items():
            if getattr(model.cfg, flag, None) != was:
                changed.append(f"cfg.{flag}")
                setattr(model.cfg, flag, was)
        new = [(there, key) for there, known in hooks for key in there if key not in known]
        for there, key in new:
            del there[key]
        for point, forward, backward in listed:
            del point.fwd_hooks[forward:], point.bwd_hooks[backward:]
        if new:
            changed.append(f"{len(new)} hooks left behind")
    if changed:
        raise MethodError(f"{called} leaves the model changed: {', '.join(changed[:3])}")


@contextmanager
def task_unchanged(task: Task, called: str) -> Iterator[None]:
    """Puts the task's tokens and positions, and what its engine keeps, back as they were when the block ends.

    Raises MethodError, which says what `called` had changed, where the block itself raises nothing.
    """
    held = {"clean": task.clean, "corrupted": task.corrupted, "positions": task.positions}
    before = {name: value.clone() for name, value in held.items()}
    changed: list[str] = []
    try:
        yield
    finally:
        for name, value in held.items():
            if not torch.equal(value, before[name]):
                changed.append(name)
                value.copy_(before[name])
        if (engine := vars(task).get("engine")) is not None and (written := engine.changed()):
            changed += [f"engine.{name}" for name in written]
            for name in ("engine", "_answer", "_without_answer", "_direction"):
                vars(task).pop(name, None)  # made again when they are asked for
    if changed:
        raise MethodError(f"{called} leaves the task changed: {', '.join(changed[:3])}; work on a clone")
