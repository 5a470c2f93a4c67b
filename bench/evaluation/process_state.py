"""What all of a process shares and a method may change: after each run of one it is as before.

The working directory, environment variables, torch's default dtype and device, gradient mode, threads and deterministic
flags, numpy's reaction to floating-point errors, filters of warnings, and the random generators that need no handle.
"""

import gc
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import numpy as np
import torch

_Part = tuple[Callable[[], Any], Callable[[Any], object]]
"""How to read some state, and how to set it."""


def _folder() -> str | None:
    with suppress(OSError):  # it is gone
        return os.getcwd()
    return None


def _enter(folder: str | None) -> None:
    if folder is not None:
        with suppress(OSError):
            os.chdir(folder)


def _set_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # so that it is seen that they are others now
    vars(warnings)["filters"] = filters


def _attribute(owner: Any, name: str) -> _Part:
    return (lambda: getattr(owner, name)), (lambda value: setattr(owner, name, value))


_SHARED: Final[tuple[_Part, ...]] = (
    (_folder, _enter),
    (lambda: dict(os.environ), _set_environment),
    (torch.get_default_dtype, torch.set_default_dtype),
    (_deterministic, lambda on: torch.use_deterministic_algorithms(on[0], warn_only=on[1])),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    *(_attribute(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (lambda: list(warnings.filters), _set_filters),
    (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    (sys.getrecursionlimit, sys.setrecursionlimit),
)
"""What all threads share."""

_OWN: Final[tuple[_Part, ...]] = (
    (torch.get_default_device, _set_device),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (np.geterr, lambda errors: np.seterr(**errors)),
)
"""What each thread has for itself."""

_lock = threading.Lock()
_under_way: list[list[Any]] = []
"""What was shared before the first of the blocks that are under way, once for each of them."""
_this_thread = threading.local()


def _put_back(parts: tuple[_Part, ...], before: list[Any]) -> None:
    for (read, write), value in zip(parts, before, strict=True):
        if read() != value:
            write(value)


@contextmanager
def kept_state(*seed: int) -> Iterator[None]:
    """Put the state of the process back when the block ends, however it ends; a block inside another leaves it to that.

    Args:
        seed: random generators of `random`, numpy and torch start from it in the block, so that a method which draws
            from them draws the same whatever ran before, and other numbers for each case; as they are without one.

    Where blocks overlap in threads, what threads share is put back to what was before the first of them, and random
    generators are left alone.
    """
    if getattr(_this_thread, "inside", False):
        yield
        return
    with _lock:
        alone = not _under_way
        shared = [read() for read, _ in _SHARED] if alone else _under_way[0]
        _under_way.append(shared)
    own = [read() for read, _ in _OWN]
    drawn = _generators() if alone else None
    if seed and alone:
        _seed(seed)
    _this_thread.inside = True
    try:
        yield
    finally:
        _this_thread.inside = False
        with _lock:
            _under_way.pop()
            _put_back(_SHARED, shared)
        _put_back(_OWN, own)
        if drawn is not None:
            random.setstate(drawn[0])
            np.random.set_state(drawn[1])
            torch.set_rng_state(drawn[2])
            if drawn[3] is not None:
                torch.cuda.set_rng_state_all(drawn[3])


def _generators() -> tuple[Any, Any, torch.Tensor, list[torch.Tensor] | None]:
    on_devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), on_devices


def _seed(seed: tuple[int, ...]) -> None:
    first, second, third = (int(word) for word in np.random.SeedSequence([*map(abs, seed)]).generate_state(3))
    random.seed(first)
    np.random.seed(second)
    torch.default_generator.manual_seed(third)  # `torch.manual_seed` takes milliseconds where there is no CUDA device
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(third)
