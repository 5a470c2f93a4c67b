"""Where the models of a run are: on the CPU, or on CUDA devices, one job at a time on each."""

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from gaugeblock.programs.errors import GaugeblockError

_FORM = re.compile(r"cpu|cuda(:\d+)?")


def chosen_device(asked: str, *, here: bool = True) -> str:
    """The device that was asked for; "auto" is "cuda" where this machine has CUDA devices, else "cpu".

    >>> chosen_device("cpu")
    'cpu'

    Args:
        asked: "cpu", "cuda" (all devices of a machine), "cuda:1" (that one) or "auto".
        here: whether the jobs run on this machine, so that what it lacks is an error now.
    """
    if asked == "auto":
        return "cuda" if visible_devices() else "cpu"
    if not _FORM.fullmatch(asked):
        raise GaugeblockError(f"device {asked[:40]!r} is not possible; give cpu, cuda, cuda:0, cuda:1, … or auto")
    if here:
        devices_of(asked)
    return asked


def devices_of(device: str) -> tuple[str, ...]:
    """The devices of this machine that a choice stands for. Raises GaugeblockError where it has none such."""
    if device == "cpu":
        return ("cpu",)
    there = visible_devices()
    chosen = there if device == "cuda" else tuple(d for d in there if d == device)
    if not chosen:
        has = f"its CUDA devices are {', '.join(there)}" if there else "it has no CUDA device that torch can use"
        raise GaugeblockError(f"device {device!r} is not on this machine: {has}")
    return chosen


def visible_devices() -> tuple[str, ...]:
    """The CUDA devices that torch sees in this process."""
    import torch

    return tuple(f"cuda:{i}" for i in range(torch.cuda.device_count()))


@contextmanager
def held_device(device: str) -> Iterator[str]:
    """One of the devices of a choice, which no other job of this user on this machine has; waits until one is free.

    The system releases the device of a process that dies.
    """
    if device == "cpu":
        yield device
        return
    locks = {one: FileLock(_lock_file(one)) for one in devices_of(device)}
    while True:
        for free, lock in locks.items():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                yield free
            finally:
                lock.release()
            return
        time.sleep(0.05)


def _lock_file(device: str) -> Path:
    """One file for one piece of hardware in all processes, though each may count its visible devices from 0."""
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    index = int(device.partition(":")[2])
    name = visible[index] if index < len(visible) else str(index)
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    folder = Path(tempfile.gettempdir()) / f"gaugeblock-devices-{user}"
    folder.mkdir(exist_ok=True)
    return folder / f"{name.replace('/', '-')}.lock"
