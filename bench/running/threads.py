"""Threads and time: one thread of torch for a job, and a limit on how long it takes."""

import ctypes
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class JobTimeout(BaseException):
    """The time of a job is over. Not an Exception, so that no handler of the method's own holds it up."""


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch inside, for work beside other work of its kind; afterwards as many as before."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def time_limit(seconds: float | int | None) -> Iterator[None]:
    """Raises JobTimeout in the body when its time is over, and again every second, should the first get lost.

    In the main thread by a signal, which also wakes a sleep. In another thread between two steps of Python: what is
    inside a library then is stopped when it returns.
    """
    if seconds is None:
        yield
    elif threading.current_thread() is threading.main_thread():
        with _alarm(seconds):
            yield
    else:
        with _watch(seconds):
            yield


@contextmanager
def _alarm(seconds: float | int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise JobTimeout

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextmanager
def _watch(seconds: float | int) -> Iterator[None]:
    worker = ctypes.c_ulong(threading.get_ident())
    raise_there = ctypes.pythonapi.PyThreadState_SetAsyncExc
    over, one_at_a_time = threading.Event(), threading.Lock()

    def stop() -> None:
        wait = float(seconds)
        while not over.wait(wait):
            with one_at_a_time:
                if not over.is_set():
                    raise_there(worker, ctypes.py_object(JobTimeout))
            wait = 1.0

    threading.Thread(target=stop, daemon=True).start()
    try:
        yield
    finally:
        while not over.is_set():
            with suppress(JobTimeout), one_at_a_time:
                over.set()
        # One may still be on its way. CPython cannot take it back: it would go on looking for it, and a thread with a
        # profiler would hang. So another takes its place, and arrives here.
        with suppress(JobTimeout):
            raise_there(worker, ctypes.py_object(JobTimeout))
            while True:
                time.sleep(0)
