"""Programs that compare tokens: sorting, ranks, extremes, and whether an input is in order."""

import itertools
from collections import Counter
from collections.abc import Iterator
from math import comb, perm
from typing import Any

import numpy as np

from gaugeblock.programs.domain import Domain, all_inputs, sample_sequence, sample_tokens
from gaugeblock.programs.errors import InputError
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import causal, everything, key, query, where
from gaugeblock.programs.language.selector import Selector
from gaugeblock.programs.program import program


def comes_before(score: SOp, indices: SOp, descending: bool = False) -> Selector:
    """The keys that come before the query in a stable sort by a score."""
    ahead = key(score) > query(score) if descending else key(score) < query(score)
    return ahead | ((key(score) == query(score)) & (key(indices) < query(indices)))


def starting_with(bos: Any) -> Domain:
    """Inputs that begin with a start token, which stands nowhere else."""

    def contains(xs: list[Any]) -> bool:
        return xs[0] == bos and bos not in xs[1:]

    def others(vocab: tuple[Any, ...]) -> tuple[Any, ...]:
        if bos not in vocab:
            raise InputError(f"no input over {vocab!r} begins with {bos!r}")
        return tuple(v for v in vocab if v != bos)

    def sample(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
        rest = others(vocab)
        return [bos, *(sample_sequence(rng, rest, max_len - 1) if max_len > 1 and rest else [])]

    def generate(vocab: tuple[Any, ...], max_len: int) -> Iterator[list[Any]]:
        rest = others(vocab)
        for n in range(max_len):
            yield from ([bos, *xs] for xs in itertools.product(rest, repeat=n))

    def size(vocab: tuple[Any, ...], max_len: int) -> int:
        return sum(len(others(vocab)) ** n for n in range(max_len))

    return Domain(f"inputs that begin with {bos!r}, which stands nowhere else", contains, sample, generate, size)


def _sample_distinct(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
    n = int(rng.integers(1, min(max_len, len(vocab)) + 1))
    return [vocab[i] for i in rng.permutation(len(vocab))[:n]]


def _all_distinct(vocab: tuple[Any, ...], max_len: int) -> Iterator[list[Any]]:
    for n in range(1, min(max_len, len(vocab)) + 1):
        yield from map(list, itertools.permutations(vocab, n))


DISTINCT = Domain(
    "inputs without repeated tokens",
    lambda xs: len(set(xs)) == len(xs),
    _sample_distinct,
    _all_distinct,
    lambda vocab, max_len: sum(perm(len(vocab), n) for n in range(1, max_len + 1)),
)


def _sample_halves(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
    xs = sample_sequence(rng, vocab, max_len)
    half = len(xs) // 2
    return sorted(xs[:half]) + sorted(xs[half:])


def _all_halves(vocab: tuple[Any, ...], max_len: int) -> Iterator[list[Any]]:
    ascending = itertools.combinations_with_replacement
    for n in range(1, max_len + 1):
        for first in ascending(sorted(vocab), n // 2):
            yield from ([*first, *second] for second in ascending(sorted(vocab), n - n // 2))


def _count_halves(vocab: tuple[Any, ...], max_len: int) -> int:
    def ascending(n: int) -> int:
        return comb(len(vocab) + n - 1, n)

    return sum(ascending(n // 2) * ascending(n - n // 2) for n in range(1, max_len + 1))


SORTED_HALVES = Domain(
    "inputs whose two halves are each in ascending order",
    lambda xs: sorted(xs[: len(xs) // 2]) + sorted(xs[len(xs) // 2 :]) == xs,
    _sample_halves,
    _all_halves,
    _count_halves,
)


def _sample_often_sorted(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
    xs = sample_sequence(rng, vocab, max_len)
    kind = rng.integers(3)
    if kind:
        xs.sort()
    if kind == 2:
        xs[rng.integers(len(xs))] = sample_tokens(rng, vocab, 1)[0]
    return xs


OFTEN_SORTED = all_inputs(_sample_often_sorted)


@program(range(8), max_len=10, reference=sorted, tags=("order", "count", "lookup"))
def sort(tokens: SOp, indices: SOp) -> SOp:
    """The tokens in ascending order; equal tokens keep their order."""
    before = (key(tokens) < query(tokens)) | ((key(tokens) == query(tokens)) & (key(indices) < query(indices)))
    rank = before.count()
    return (key(rank) == query(indices)).get(tokens)


@program(range(8), max_len=7, reference=sorted, domain=DISTINCT, tags=("order", "count", "lookup"))
def sort_unique(tokens: SOp, indices: SOp) -> SOp:
    """Tokens that are all different, in ascending order."""
    rank = (key(tokens) < query(tokens)).count()
    return (key(rank) == query(indices)).get(tokens, unique=True)


@program(
    "§abcdef",
    max_len=10,
    reference=lambda xs: [xs[0], *sorted(xs[1:])],
    domain=starting_with("§"),
    tags=("order", "count", "lookup"),
)
def sort_bos(tokens: SOp, indices: SOp) -> SOp:
    """The tokens in ascending order behind a start token, which stays where it is."""
    letter = where(tokens == "§", "", tokens)  # "" comes before every other string
    rank = comes_before(letter, indices).count()
    return (key(rank) == query(indices)).get(tokens)


def _by_frequency_reference(xs: list[Any], descending: bool = False) -> list[Any]:
    return sorted(xs, key=lambda x: -xs.count(x) if descending else xs.count(x))


@program("abcd", max_len=8, reference=_by_frequency_reference, tags=("order", "count", "lookup", "multi-hop"))
def sort_by_frequency(tokens: SOp, indices: SOp, descending: bool = False) -> SOp:
    """The tokens from rare to frequent (or the other way round); equally frequent ones keep their order."""
    count = (key(tokens) == query(tokens)).count()
    rank = comes_before(count, indices, descending).count()
    return (key(rank) == query(indices)).get(tokens)


def _most_frequent_reference(xs: list[Any], pad: Any = "_") -> list[Any]:
    distinct = [x for x, _ in Counter(xs).most_common()]  # of equally frequent ones the first seen comes first
    return distinct + [pad] * (len(xs) - len(distinct))


@program("abcd", max_len=8, reference=_most_frequent_reference, tags=("order", "count", "lookup", "multi-hop"))
def most_frequent(tokens: SOp, indices: SOp, pad: Any = "_") -> SOp:
    """The different tokens, the most frequent first (of equals the one seen first), then padding (RASP's most_freq)."""
    same = key(tokens) == query(tokens)
    repeat = (same & (key(indices) < query(indices))).any()
    count = where(repeat, 0, same.count())  # repeats come last
    rank = comes_before(count, indices, descending=True).count()
    return (key(rank) == query(indices)).get(where(repeat, pad, tokens))


@program(
    "§abcd",
    max_len=8,
    reference=lambda xs: [xs[0], *_most_frequent_reference(xs[1:], xs[0])],
    domain=starting_with("§"),
    tags=("order", "count", "lookup", "multi-hop"),
)
def most_frequent_bos(tokens: SOp, indices: SOp) -> SOp:
    """The different tokens, the most frequent first, between a start token and as many copies of it as are missing."""
    same = key(tokens) == query(tokens)
    repeat = (same & (key(indices) < query(indices))).any()
    count = where(repeat | (tokens == "§"), 0, same.count())
    rank = comes_before(count, indices, descending=True).count()
    return (key(rank) == query(indices - 1)).get(where(repeat, "§", tokens), default="§")


@program("abcd", max_len=10, reference=lambda xs: xs[::-1], tags=("order", "lookup"))
def reverse(tokens: SOp, indices: SOp) -> SOp:
    """The tokens in reverse order."""
    length = everything.count()
    return (key(indices) == query(length - 1 - indices)).get(tokens)


@program(
    range(6),
    max_len=8,
    reference=lambda xs: xs[::-1] if sorted(xs) == xs else xs,
    domain=OFTEN_SORTED,
    tags=("order", "count", "lookup"),
)
def reverse_if_sorted(tokens: SOp, indices: SOp) -> SOp:
    """The tokens in reverse order if they are in ascending order, else as they are."""
    drop = ((key(indices) == query(indices - 1)) & (key(tokens) > query(tokens))).any()
    length = everything.count()
    mirrored = (key(indices) == query(length - 1 - indices)).get(tokens)
    return where(everything.any(drop), tokens, mirrored)


@program(
    range(8),
    max_len=10,
    reference=lambda xs: [xs[: i + 1] == sorted(xs[: i + 1]) for i in range(len(xs))],
    domain=OFTEN_SORTED,
    tags=("order", "causal"),
)
def sorted_so_far(tokens: SOp, indices: SOp) -> SOp:
    """Whether the tokens up to each position are in ascending order."""
    drop = ((key(indices) == query(indices - 1)) & (key(tokens) > query(tokens))).any()
    return ~causal.any(drop)


@program(
    range(8),
    max_len=10,
    reference=lambda xs: [0 if i and x < xs[i - 1] else x for i, x in enumerate(xs)],
    tags=("order", "causal"),
)
def zero_drops(tokens: SOp, indices: SOp) -> SOp:
    """The tokens, with 0 for each that is smaller than the one before it."""
    drop = ((key(indices) == query(indices - 1)) & (key(tokens) > query(tokens))).any()
    return where(drop, 0, tokens)


@program(
    range(8),
    max_len=10,
    reference=lambda xs: [{max(xs): min(xs), min(xs): max(xs)}.get(x, x) for x in xs],
    tags=("order", "lookup"),
)
def swap_min_max(tokens: SOp, indices: SOp) -> SOp:
    """The tokens, with the smallest for each that is largest, and the other way round."""
    smallest, largest = everything.min(tokens), everything.max(tokens)
    return where(tokens == smallest, largest, where(tokens == largest, smallest, tokens))


@program(range(8), max_len=10, reference=lambda xs: [sorted(xs).index(x) for x in xs], tags=("order", "count"))
def rank(tokens: SOp, indices: SOp) -> SOp:
    """How many tokens are smaller than the one at each position."""
    return (key(tokens) < query(tokens)).count()


def _kth_largest_reference(xs: list[Any], k: int = 2) -> list[Any]:
    return [sorted(xs)[-k] if k <= len(xs) else None] * len(xs)


@program(range(8), max_len=10, reference=_kth_largest_reference, tags=("order", "count", "lookup"))
def kth_largest(tokens: SOp, indices: SOp, k: int = 2) -> SOp:
    """The k-th largest token, equal ones counted each; undefined where there are fewer than k."""
    rank = comes_before(tokens, indices, descending=True).count()
    return (key(rank) == query(k - 1)).get(tokens, default=None)


def _next_larger_reference(xs: list[Any]) -> list[Any]:
    return [next((y for y in xs[i + 1 :] if y > x), None) for i, x in enumerate(xs)]


@program(range(6), max_len=10, reference=_next_larger_reference, tags=("order", "lookup"))
def next_larger(tokens: SOp, indices: SOp) -> SOp:
    """The nearest later token that is larger; undefined where there is none."""
    larger = (key(tokens) > query(tokens)) & (key(indices) > query(indices))
    return larger.best(indices, largest=False).get(tokens, default=None)


@program(
    range(5),
    max_len=8,
    reference=sorted,
    domain=SORTED_HALVES,
    tags=("order", "count", "lookup", "multi-hop"),
)
def merge(tokens: SOp, indices: SOp) -> SOp:
    """Two halves, each in ascending order, merged: each token moves past the smaller ones of the other half."""
    half = everything.count() // 2
    first = indices < half
    # Of equal tokens, those of the first half come first.
    from_first = key(first) & query(~first) & (key(tokens) <= query(tokens))
    from_second = key(~first) & query(first) & (key(tokens) < query(tokens))
    rank = where(first, indices, indices - half) + from_first.count() + from_second.count()
    return (key(rank) == query(indices)).get(tokens, unique=True)


def nearly_sorted(descending: bool) -> Domain:
    """All inputs; two samples in five are sorted, two sorted but for a token or two, one is barely sorted."""

    def sample(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
        xs = sample_sequence(rng, vocab, max_len)
        changes = int(rng.choice([0, 0, 1, 2, len(xs)]))
        ordered = sorted(xs, reverse=descending)
        for i in rng.integers(len(xs), size=changes).tolist():
            ordered[i] = xs[i]
        return ordered

    return all_inputs(sample)


def _increasing_reference(xs: list[Any]) -> list[int]:
    return [int(xs == sorted(xs))] * len(xs)


@program(
    range(8),
    max_len=10,
    reference=_increasing_reference,
    domain=nearly_sorted(descending=False),
    tags=("statistics", "lookup", "multi-hop"),
)
def is_increasing(tokens: SOp, indices: SOp) -> SOp:
    """1 everywhere if no number is smaller than one before it, else 0."""
    falls = ((key(indices) < query(indices)) & (key(tokens) > query(tokens))).any()
    return (~everything.any(falls)).map(int)


def _descending_reference(xs: list[Any]) -> list[int]:
    return [int(xs == sorted(xs, reverse=True))] * len(xs)


@program(
    range(8),
    max_len=10,
    reference=_descending_reference,
    domain=nearly_sorted(descending=True),
    tags=("statistics", "lookup", "multi-hop"),
)
def is_descending(tokens: SOp, indices: SOp) -> SOp:
    """1 everywhere if no number is greater than one before it, else 0."""
    rises = ((key(indices) < query(indices)) & (key(tokens) < query(tokens))).any()
    return (~everything.any(rises)).map(int)


PROGRAMS = (
    sort,
    sort_unique,
    sort_bos,
    sort_by_frequency,
    most_frequent,
    most_frequent_bos,
    reverse,
    reverse_if_sorted,
    sorted_so_far,
    zero_drops,
    swap_min_max,
    rank,
    kth_largest,
    next_larger,
    merge,
    is_increasing,
    is_descending,
)

COLLECTED = {
    "rasp.reverse": (reverse, "abcdefghiloy"),
    "raspy.flip": (reverse, "ehlodgby"),
    "rasp.sort": (sort, "abcdefghiloy"),
    "rasp.sort_int": (sort, range(-3, 9)),
    "tracr.sort": (sort, range(1, 5)),
    "rasp.most_freq": (most_frequent.with_arguments(pad="§"), "abcde"),
    "rasp.most_freq_bos": (most_frequent_bos, "§abcdehlo"),
    "rasp.sort_bos": (sort_bos, "§abcdefghlo"),
    "rasp.sort_by_freq_stable": (sort_by_frequency, "abcd"),
    "tracr.sort_freq": (sort_by_frequency.with_arguments(descending=True), range(1, 5)),
    "tracr.sort_keys_desc_index": (reverse, "abcd"),
    "tracr.sort_unique": (sort_unique, range(1, 21)),
    "extra.is_sorted_prefix": (sorted_so_far, range(10)),
    "tracrbench.check_descending": (is_descending, range(10)),
    "tracrbench.check_increasing": (is_increasing, range(10)),
    "tracrbench.invert_if_sorted": (reverse_if_sorted, range(10)),
    "tracrbench.swap_min_max": (swap_min_max, range(10)),
    "tracrbench.zero_if_less_than_previous": (zero_drops, range(10)),
}
