"""How far something long has come: a bar on a terminal, elsewhere (a log, a notebook's server) a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tqdm import tqdm

SECONDS_BETWEEN_LINES: Final = 30


@contextmanager
def progress(doing: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Say on stderr how far it is: what the block gets is called with how many more are done.

    On a terminal that is a bar. Elsewhere a line at the start, "building 20 cases …", and later at most one every
    SECONDS_BETWEEN_LINES.
    """
    if sys.stderr.isatty():
        with tqdm(total=total, unit=unit, desc=doing) as bar:
            yield bar.update
        return
    print(f"{doing} {total} {unit}{'s' * (total != 1)} …", file=sys.stderr, flush=True)
    start = said = time.monotonic()
    done = 0

    def update(more: int) -> None:
        nonlocal done, said
        done, now = done + more, time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES and done < total:
            said = now
            print(f"{doing}: {done} of {total} {unit}s after {now - start:.0f} s", file=sys.stderr, flush=True)

    yield update
