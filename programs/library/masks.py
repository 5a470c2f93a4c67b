"""Programs whose selectors look at positions only: the masks of transformers, and fixed or relative places."""

from itertools import pairwise
from typing import Any

from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import causal, everything, key, local, query, same_block, select, strided
from gaugeblock.programs.program import program

DIGITS = range(10)


@program("abcd", max_len=10, reference=lambda xs: list(range(len(xs))), tags=("masks", "count", "causal"))
def num_prevs(tokens: SOp, indices: SOp) -> SOp:
    """How many positions come before each."""
    return (key(indices) < query(indices)).count()


@program("abcd", max_len=10, reference=lambda xs: [*range(1, len(xs) + 1)], tags=("masks", "count", "causal"))
def causal_width(tokens: SOp, indices: SOp) -> SOp:
    """How many positions a causal mask lets each position see: its own counted from 1."""
    return causal.count()


def _causal_mean_reference(xs: list[Any]) -> list[float]:
    return [sum(xs[: i + 1]) / (i + 1) for i in range(len(xs))]


@program(DIGITS, max_len=10, reference=_causal_mean_reference, tags=("masks", "numeric", "causal"))
def causal_mean(tokens: SOp, indices: SOp) -> SOp:
    """The mean of the numbers so far: the mask of decoders."""
    return causal.mean(tokens)


def _band_mean_reference(xs: list[Any], width: int = 1) -> list[float]:
    windows = [xs[max(0, i - width) : i + width + 1] for i in range(len(xs))]
    return [sum(window) / len(window) for window in windows]


@program(DIGITS, max_len=10, reference=_band_mean_reference, tags=("masks", "numeric"))
def band_mean(tokens: SOp, indices: SOp, width: int = 1) -> SOp:
    """The mean of the numbers at most `width` positions away on either side."""
    band = select(indices, indices, lambda k, q: abs(k - q) <= width)
    return band.mean(tokens)


def _local_mean_reference(xs: list[Any], width: int = 5) -> list[float]:
    windows = [xs[max(0, i - width) : i + 1] for i in range(len(xs))]
    return [sum(window) / len(window) for window in windows]


@program(DIGITS, max_len=10, reference=_local_mean_reference, tags=("masks", "numeric", "causal"))
def local_mean(tokens: SOp, indices: SOp, width: int = 5) -> SOp:
    """The mean of the number at each position and the `width` before it: a sliding window."""
    return local(width).mean(tokens)


def _window_sum_reference(xs: list[Any], window: int = 3) -> list[int]:
    padded = [0] * (window - 1) + xs
    return [sum(padded[i : i + window]) for i in range(len(xs))]


@program(range(1, 6), max_len=10, reference=_window_sum_reference, tags=("masks", "numeric", "causal"))
def window_sum(tokens: SOp, indices: SOp, window: int = 3) -> SOp:
    """The sum of the last `window` numbers, that at each position included."""
    return local(window - 1).sum(tokens)


def _pairwise_max_reference(xs: list[Any]) -> list[Any]:
    return [xs[0], *(max(pair) for pair in pairwise(xs))]


@program(DIGITS, max_len=10, reference=_pairwise_max_reference, tags=("masks", "causal"))
def pairwise_max(tokens: SOp, indices: SOp) -> SOp:
    """The greater of the number at each position and the one before it."""
    return local(1).max(tokens)


def _strided_count_reference(xs: list[Any], token: Any = "a", stride: int = 4) -> list[int]:
    return [xs[i % stride : i + 1 : stride].count(token) for i in range(len(xs))]


@program("ab", max_len=12, reference=_strided_count_reference, tags=("masks", "count", "causal"))
def strided_count(tokens: SOp, indices: SOp, token: Any = "a", stride: int = 4) -> SOp:
    """How often a token stands here or any multiple of `stride` positions before (Child et al. 2019)."""
    return strided(stride).sum(tokens == token)


def _block_mean_reference(xs: list[Any], size: int = 4) -> list[float]:
    blocks = [xs[i : i + size] for i in range(0, len(xs), size)]
    return [sum(block) / len(block) for block in blocks for _ in block]


@program(DIGITS, max_len=10, reference=_block_mean_reference, tags=("masks", "numeric"))
def block_mean(tokens: SOp, indices: SOp, size: int = 4) -> SOp:
    """The mean of the numbers in the same block, where the input is cut into blocks from its beginning."""
    return same_block(size).mean(tokens)


def _sink_mean_reference(xs: list[Any], width: int = 2) -> list[float]:
    rows = [[*xs[:1], *xs[max(1, i - width) : i + 1]] for i in range(len(xs))]
    return [sum(row) / len(row) for row in rows]


@program(DIGITS, max_len=10, reference=_sink_mean_reference, tags=("masks", "numeric", "causal"))
def sink_mean(tokens: SOp, indices: SOp, width: int = 2) -> SOp:
    """The mean over a sliding window and the first position, the attention sink (Xiao et al. 2023)."""
    return (local(width) | key(indices == 0)).mean(tokens)


@program("abcd", max_len=10, reference=lambda xs: [xs[-1]] * len(xs), tags=("masks", "lookup"))
def last_token(tokens: SOp, indices: SOp) -> SOp:
    """The last token, at every position."""
    return everything.best(indices).get(tokens)


def _token_at_reference(xs: list[Any], location: int = 2) -> list[Any]:
    return [*xs, *[None] * location][location : location + 1] * len(xs)


@program("abcd", max_len=10, reference=_token_at_reference, tags=("masks", "lookup"))
def token_at(tokens: SOp, indices: SOp, location: int = 2) -> SOp:
    """The token at one given position, at every position; undefined where the input is too short."""
    return (key(indices) == location).get(tokens, default=None)


def _second_token_reference(xs: list[Any]) -> list[Any]:
    return [0] if len(xs) == 1 else [xs[1]] * len(xs)


@program("abcd", max_len=10, reference=_second_token_reference, tags=("masks", "lookup"))
def second_token(tokens: SOp, indices: SOp) -> SOp:
    """The second token, at every position; 0 if there is one only."""
    return (key(indices) == 1).get(tokens, default=0)


PROGRAMS = (
    num_prevs,
    causal_width,
    causal_mean,
    band_mean,
    local_mean,
    window_sum,
    pairwise_max,
    strided_count,
    block_mean,
    sink_mean,
    last_token,
    token_at,
    second_token,
)

_LETTERS = "abcdefghiloy"

COLLECTED = {
    "rasp.num_prevs": (num_prevs, _LETTERS),
    "rasp.last_token": (last_token, _LETTERS),
    "rasp.load_from_location2": (token_at, "abcdefghxyzilo"),
    "raspy.index1": (second_token, "ehlodgby"),
    "tracr.causal_select_all_width": (causal_width, "abcd"),
    "mask.causal_mean": (causal_mean, DIGITS),
    "mask.band1_mean": (band_mean, DIGITS),
    "mask.local5_mean": (local_mean, DIGITS),
    "mask.strided4_count_a": (strided_count, "ab"),
    "raspy.window_sum3": (window_sum, range(1, 6)),
    "tracrbench.pairwise_max": (pairwise_max, DIGITS),
}
