"""Programs about numbers: sums, means, extremes, order statistics, and what compares them."""

from fractions import Fraction
from itertools import accumulate, cycle, islice, pairwise
from statistics import median as plain_median
from typing import Any

import numpy as np

from gaugeblock.programs.domain import Domain, all_inputs, sample_sequence, sample_tokens
from gaugeblock.programs.errors import InputError
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import causal, everything, key, map_n, query, select, where
from gaugeblock.programs.library.order import comes_before
from gaugeblock.programs.program import program

DIGITS = range(10)


def _average_reference(xs: list[Any]) -> list[float]:
    return [sum(xs) / len(xs)] * len(xs)


@program(range(-2, 8), max_len=10, reference=_average_reference, tags=("statistics", "numeric"))
def average(tokens: SOp, indices: SOp) -> SOp:
    """The mean of all numbers, at every position."""
    return everything.mean(tokens)


def _frac_reference(xs: list[Any], token: Any = "a") -> list[float]:
    return [xs.count(token) / len(xs)] * len(xs)


@program("abcd", max_len=10, reference=_frac_reference, tags=("statistics", "numeric"))
def frac(tokens: SOp, indices: SOp, token: Any = "a") -> SOp:
    """The fraction of all tokens that are one given token, at every position."""
    return everything.mean(tokens == token)


def _pair_balance_reference(xs: list[Any]) -> list[float]:
    return [(xs[:n].count("(") - xs[:n].count(")")) / n for n in range(1, len(xs) + 1)]


@program("()ab", max_len=12, reference=_pair_balance_reference, tags=("statistics", "numeric", "causal"))
def pair_balance(tokens: SOp, indices: SOp) -> SOp:
    """The fraction of opening brackets so far, less that of closing ones."""
    return causal.mean((tokens == "(") - (tokens == ")"))


def _bigram_frequency_reference(xs: list[Any], token: Any = "a") -> list[float]:
    result = []
    for i, x in enumerate(xs):
        followers = [after for before, after in pairwise(xs[: i + 1]) if before == x]
        result.append(followers.count(token) / len(followers) if followers else 0.0)
    return result


@program(
    "abc", max_len=10, reference=_bigram_frequency_reference, tags=("statistics", "numeric", "causal", "multi-hop")
)
def bigram_frequency(tokens: SOp, indices: SOp, token: Any = "a") -> SOp:
    """The fraction of followers of the token at each position so far that were "a", 0 without any."""
    # A statistical induction head (Edelman et al. 2024).
    previous = (key(indices) == query(indices - 1)).get(tokens, default=None)
    followers = (key(previous) == query(tokens)) & causal
    return followers.mean(tokens == token, default=0)


def _majority_token_reference(xs: list[Any]) -> list[Any]:
    return [next((x for x in xs if 2 * xs.count(x) > len(xs)), "?")] * len(xs)


@program("abc", max_len=9, reference=_majority_token_reference, tags=("statistics", "count", "multi-hop"))
def majority_token(tokens: SOp, indices: SOp) -> SOp:
    """The token that holds more than half of all positions, "?" if none does."""
    hist = (key(tokens) == query(tokens)).count()
    length = everything.count()
    return key(2 * hist > length).max(tokens, default="?")


@program(range(-2, 6), max_len=10, reference=lambda xs: list(accumulate(xs)), tags=("statistics", "numeric", "causal"))
def cumulative_sum(tokens: SOp, indices: SOp) -> SOp:
    """The sum of the numbers so far."""
    return causal.sum(tokens)


def _cumulative_rest_reference(xs: list[Any]) -> list[int]:
    return list(accumulate(range(len(xs), 0, -1)))


@program("abcd", max_len=10, reference=_cumulative_rest_reference, tags=("statistics", "numeric", "multi-hop"))
def cumulative_rest(tokens: SOp, indices: SOp) -> SOp:
    """The sum, over the positions so far, of how many tokens there are from that position on."""
    length = everything.count()
    return causal.sum(length - indices)


@program(DIGITS, max_len=10, reference=lambda xs: [min(xs)] * len(xs), tags=("statistics", "lookup"))
def minimum(tokens: SOp, indices: SOp) -> SOp:
    """The smallest token, at every position."""
    return everything.min(tokens)


@program(DIGITS, max_len=10, reference=lambda xs: [max(xs)] * len(xs), tags=("statistics", "lookup"))
def maximum(tokens: SOp, indices: SOp) -> SOp:
    """The greatest token, at every position."""
    return everything.max(tokens)


@program(DIGITS, max_len=10, reference=lambda xs: list(accumulate(xs, min)), tags=("statistics", "lookup", "causal"))
def running_min(tokens: SOp, indices: SOp) -> SOp:
    """The smallest number so far."""
    return causal.min(tokens)


def _value_range_reference(xs: list[Any]) -> list[int]:
    ascending = sorted(xs)
    return [ascending[-1] - ascending[0]] * len(xs)


@program(DIGITS, max_len=10, reference=_value_range_reference, tags=("statistics", "lookup"))
def value_range(tokens: SOp, indices: SOp) -> SOp:
    """How far apart the greatest and the smallest number are."""
    return everything.max(tokens) - everything.min(tokens)


def _median_reference(xs: list[Any]) -> list[int | float]:
    return [plain_median(xs)] * len(xs)


@program(range(8), max_len=10, reference=_median_reference, tags=("statistics", "numeric", "count", "multi-hop"))
def median(tokens: SOp, indices: SOp) -> SOp:
    """The median: the middle number in ascending order, or the mean of the middle two."""
    rank = comes_before(tokens, indices).count()
    length = everything.count()
    middle = select(rank, length, lambda k, n: (n - 1) // 2 <= k <= n // 2)
    return middle.mean(tokens)


def _above_average_reference(xs: list[Any]) -> list[bool]:
    return [len(xs) * x > sum(xs) for x in xs]


@program(range(5), max_len=8, reference=_above_average_reference, tags=("statistics", "numeric"))
def above_average(tokens: SOp, indices: SOp) -> SOp:
    """Whether each number is greater than the mean of all."""
    return tokens > everything.mean(tokens)


def _scale_by_max_reference(xs: list[Any]) -> list[float]:
    return [x / max(xs) if max(xs) else 0.0 for x in xs]


@program(DIGITS, max_len=10, reference=_scale_by_max_reference, tags=("statistics", "numeric"))
def scale_by_max(tokens: SOp, indices: SOp) -> SOp:
    """Each number divided by the greatest; 0 if that is 0."""
    greatest = everything.max(tokens)
    return map_n(lambda x, m: Fraction(x, m) if m else 0, tokens, greatest)


@program(DIGITS, max_len=10, reference=lambda xs: [x / len(xs) for x in xs], tags=("statistics", "numeric", "count"))
def divide_by_length(tokens: SOp, indices: SOp) -> SOp:
    """Each number divided by the length of the input."""
    return tokens / everything.count()


@program(DIGITS, max_len=10, reference=lambda xs: [x * len(xs) for x in xs], tags=("statistics", "numeric", "count"))
def multiply_by_length(tokens: SOp, indices: SOp) -> SOp:
    """Each number times the length of the input."""
    return tokens * everything.count()


def _difference_to_next_reference(xs: list[Any]) -> list[int]:
    return [*(b - a for a, b in pairwise(xs)), 0]


@program(DIGITS, max_len=10, reference=_difference_to_next_reference, tags=("statistics", "lookup"))
def difference_to_next(tokens: SOp, indices: SOp) -> SOp:
    """How much greater the next number is than that at each position; 0 at the last."""
    following = (key(indices) == query(indices + 1)).get(tokens, default=None)
    return where(following.defined(), following - tokens, 0)


def _product_with_next_reference(xs: list[Any]) -> list[int]:
    return [*(a * b for a, b in pairwise(xs)), xs[-1] ** 2]


@program(DIGITS, max_len=10, reference=_product_with_next_reference, tags=("statistics", "lookup"))
def product_with_next(tokens: SOp, indices: SOp) -> SOp:
    """The number at each position times the next; the last is squared."""
    following = (key(indices) == query(indices + 1)).get(tokens, default=None)
    return tokens * where(following.defined(), following, tokens)


def _last_to_front_reference(xs: list[Any]) -> list[int]:
    return [xs[-1], *[0] * (len(xs) - 1)]


@program(DIGITS, max_len=10, reference=_last_to_front_reference, tags=("statistics", "lookup"))
def last_to_front(tokens: SOp, indices: SOp) -> SOp:
    """The last number at the first position, 0 elsewhere."""
    last = everything.best(indices).get(tokens)
    return where(indices == 0, last, 0)


def sample_two_or_more(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
    """Two tokens or more."""
    if max_len < 2:
        raise InputError("inputs of two tokens or more do not fit into one")
    return sample_tokens(rng, vocab, int(rng.integers(2, max_len + 1)), few=bool(rng.random() < 0.3))


TWO_OR_MORE = Domain("inputs of two tokens or more", lambda xs: len(xs) > 1, sample_two_or_more)


@program(
    DIGITS,
    max_len=10,
    reference=lambda xs: [xs[-1] + xs[-2]] * len(xs),
    domain=TWO_OR_MORE,
    tags=("statistics", "numeric", "count", "multi-hop"),
)
def sum_of_last_two(tokens: SOp, indices: SOp) -> SOp:
    """The sum of the last two numbers, at every position."""
    length = everything.count()
    return (key(indices) >= query(length - 2)).sum(tokens)


@program(range(4), max_len=10, reference=lambda xs: [int(len(set(xs)) == 1)] * len(xs), tags=("statistics", "lookup"))
def all_equal(tokens: SOp, indices: SOp) -> SOp:
    """1 everywhere if all tokens are equal, else 0."""
    differs = (key(tokens) != query(tokens)).any()
    return (~differs).map(int)


def _last_two_equal_reference(xs: list[Any]) -> list[int]:
    return [int(len(xs) > 1 and xs[-1] == xs[-2])] * len(xs)


@program(range(5), max_len=10, reference=_last_two_equal_reference, tags=("statistics", "lookup", "multi-hop"))
def last_two_equal(tokens: SOp, indices: SOp) -> SOp:
    """1 everywhere if the last two tokens are equal, else 0."""
    repeats = ((key(indices) == query(indices - 1)) & (key(tokens) == query(tokens))).any()
    return everything.best(indices).get(repeats).map(int)


def _multiple_of_first_reference(xs: list[Any]) -> list[int]:
    multiples = {xs[0] * factor for factor in range(-max(map(abs, xs)), max(map(abs, xs)) + 1)} if xs[0] else set()
    return [int(x in multiples) for x in xs]


@program(DIGITS, max_len=10, reference=_multiple_of_first_reference, tags=("statistics", "lookup", "causal"))
def multiple_of_first(tokens: SOp, indices: SOp) -> SOp:
    """1 where the number is a multiple of the first one, else 0; nothing counts as a multiple of 0."""
    first = (key(indices) == 0).get(tokens)
    return map_n(lambda x, f: int(f != 0 and x % f == 0), tokens, first)


def _is_number(token: Any) -> bool:
    return not isinstance(token, str)


def sample_spans(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
    """Half of the time uniform tokens, else spans "from", number, "to", number, one after the other."""
    numbers = [v for v in vocab if _is_number(v)]
    if rng.random() < 0.5 or not numbers or not {"from", "to"} <= set(vocab):
        return sample_sequence(rng, vocab, max_len)
    n = int(rng.integers(1, max_len + 1))
    words = islice(cycle(["from", None, "to", None]), n)
    return [numbers[rng.integers(len(numbers))] if word is None else word for word in words]


def _greater_than_reference(xs: list[Any]) -> list[bool | None]:
    result: list[bool | None] = []
    start = None
    for i, x in enumerate(xs):
        number = x if _is_number(x) else None
        if i and xs[i - 1] == "from":
            start = number
        result.append(None if number is None or start is None else number > start)
    return result


@program(
    [*range(6), "from", "to"],
    max_len=9,
    reference=_greater_than_reference,
    domain=all_inputs(sample_spans),
    tags=("statistics", "lookup", "causal", "multi-hop"),
)
def greater_than(tokens: SOp, indices: SOp) -> SOp:
    """Whether each number may end a span "from 3 to 5": is it greater than the one after the last "from"?"""
    # After Hanna et al. 2023: "The war lasted from the year 1732 to the year 17". Undefined at words.
    number = tokens.map(lambda t: t if _is_number(t) else None)
    after_from = ((key(indices) == query(indices - 1)) & key(tokens == "from")).any()
    start = (causal & key(after_from)).best(indices).get(number, default=None)
    return number > start


PROGRAMS = (
    average,
    frac,
    pair_balance,
    bigram_frequency,
    majority_token,
    cumulative_sum,
    cumulative_rest,
    minimum,
    maximum,
    running_min,
    value_range,
    median,
    above_average,
    scale_by_max,
    divide_by_length,
    multiply_by_length,
    difference_to_next,
    product_with_next,
    last_to_front,
    sum_of_last_two,
    all_equal,
    last_two_equal,
    multiple_of_first,
    greater_than,
)

COLLECTED = {
    "rasp.average": (average, range(-2, 8)),
    "rasp.frac_e": (frac.with_arguments(token="e"), "abcdehloyik"),
    "rasp.pair_balance": (pair_balance, "()abchelo"),
    "raspy.cumsum": (cumulative_sum, range(-2, 6)),
    "raspy.cumsum_length_minus_indices": (cumulative_rest, range(1, 6)),
    "raspy.minimum": (minimum, range(1, 6)),
    "raspy.minimum_str": (minimum, "ehlodgby"),
    "raspl.running_min": (running_min, DIGITS),
    "tracrbench.check_all_equal": (all_equal, range(4)),
    "tracrbench.check_last_two_equal": (last_two_equal, [0, 1, 2, 3, 4, 5, 7]),
    "tracrbench.check_multiple_of_first": (multiple_of_first, DIGITS),
    "tracrbench.compute_median": (median, DIGITS),
    "tracrbench.difference_to_next": (difference_to_next, DIGITS),
    "tracrbench.divide_by_length": (divide_by_length, DIGITS),
    "tracrbench.last_element": (last_to_front, DIGITS),
    "tracrbench.max_element": (maximum, DIGITS),
    "tracrbench.multiply_by_length": (multiply_by_length, DIGITS),
    "tracrbench.product_with_next": (product_with_next, DIGITS),
    "tracrbench.scale_by_max": (scale_by_max, DIGITS),
    "tracrbench.sum_of_last_two": (sum_of_last_two, DIGITS),
}
