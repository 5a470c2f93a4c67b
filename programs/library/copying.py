"""Programs that copy tokens to other positions."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gaugeblock.programs.domain import Domain, all_inputs, sample_sequence, sample_tokens
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import causal, everything, key, query, where
from gaugeblock.programs.program import program


def _one_in_two(sample: Callable[[np.random.Generator, tuple[Any, ...], int], list[Any] | None]) -> Domain:
    """A domain of all inputs, half of which are drawn by `sample` where it can give one."""

    def mixed(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
        drawn = sample(rng, vocab, max_len) if rng.random() < 0.5 else None
        return drawn or sample_sequence(rng, vocab, max_len)

    return all_inputs(mixed)


def _shift_right_reference(xs: list[Any], n: int = 1, default: Any = "_") -> list[Any]:
    return ([default] * n + xs)[: len(xs)]


@program("abcd", max_len=10, reference=_shift_right_reference, tags=("copying", "lookup", "causal"))
def shift_right(tokens: SOp, indices: SOp, n: int = 1, default: Any = "_") -> SOp:
    """All tokens n positions to the right, a default before them."""
    return (key(indices) == query(indices - n)).get(tokens, default=default)


def _shift_left_reference(xs: list[Any], n: int = 1, default: Any = "_") -> list[Any]:
    return xs[n:] + [default] * min(n, len(xs))


@program("abcd", max_len=10, reference=_shift_left_reference, tags=("copying", "lookup"))
def shift_left(tokens: SOp, indices: SOp, n: int = 1, default: Any = "_") -> SOp:
    """All tokens n positions to the left, a default after them."""
    return (key(indices) == query(indices + n)).get(tokens, default=default)


def _rotate_reference(xs: list[Any], n: int = 1) -> list[Any]:
    n %= len(xs)
    return xs[len(xs) - n :] + xs[: len(xs) - n]


@program("abcd", max_len=10, reference=_rotate_reference, tags=("copying", "lookup"))
def rotate(tokens: SOp, indices: SOp, n: int = 1) -> SOp:
    """All tokens n positions to the right; those that leave at the end come back at the beginning."""
    length = everything.count()
    return (key(indices) == query((indices - n) % length)).get(tokens)


def _swap_reference(xs: list[Any], a: int = 0, b: int = 1) -> list[Any]:
    result = list(xs)
    if max(a, b) < len(xs):
        result[a], result[b] = xs[b], xs[a]
    return result


@program(range(8), max_len=8, reference=_swap_reference, tags=("copying", "lookup"))
def swap(tokens: SOp, indices: SOp, a: int = 0, b: int = 1) -> SOp:
    """The tokens, with those at two positions swapped if the input reaches that far."""
    source = where(indices == a, b, where(indices == b, a, indices))
    other = (key(indices) == query(source)).get(tokens, default=None)
    return where(other.defined(), other, tokens)


def _swap_pairs_reference(xs: list[Any]) -> list[Any]:
    return [x for i in range(0, len(xs), 2) for x in reversed(xs[i : i + 2])]


@program(range(8), max_len=8, reference=_swap_pairs_reference, tags=("copying", "lookup"))
def swap_pairs(tokens: SOp, indices: SOp) -> SOp:
    """The first and second token swapped, the third and fourth, and so on; a last one without partner stays."""
    partner = where(indices % 2 == 0, indices + 1, indices - 1)
    other = (key(indices) == query(partner)).get(tokens, default=None)
    return where(other.defined(), other, tokens)


def _repeat_first_half_reference(xs: list[Any]) -> list[Any]:
    half, odd = divmod(len(xs), 2)
    return xs[: half + odd] + xs[:half]


@program("abcd", max_len=10, reference=_repeat_first_half_reference, tags=("copying", "lookup"))
def repeat_first_half(tokens: SOp, indices: SOp) -> SOp:
    """The first half twice; between the two stays the middle token of an input of odd length."""
    length = everything.count()
    start = length - length // 2
    source = where(indices < start, indices, indices - start)
    return (key(indices) == query(source)).get(tokens)


def _insert_zeros_reference(xs: list[Any]) -> list[Any]:
    return [y for x in xs for y in (x, 0)][: len(xs)]


@program(range(8), max_len=10, reference=_insert_zeros_reference, tags=("copying", "lookup", "causal"))
def insert_zeros(tokens: SOp, indices: SOp) -> SOp:
    """The tokens with a 0 after each; what does not fit any more is dropped."""
    spread = (key(indices) == query(indices // 2)).get(tokens)
    return where(indices % 2 == 0, spread, 0)


def _sample_padded(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any] | None:
    letters = tuple(v for v in vocab if v != "_")
    if "_" not in vocab or not letters:
        return None
    xs = sample_sequence(rng, letters, max_len)
    pads = int(rng.integers(len(xs) + 1))
    return xs[: len(xs) - pads] + ["_"] * pads


def _right_align_reference(xs: list[Any]) -> list[Any]:
    pads = xs.count("_")
    return ["-"] * pads + xs[: len(xs) - pads]


@program(
    "abc_",
    max_len=10,
    reference=_right_align_reference,
    domain=_one_in_two(_sample_padded),
    tags=("copying", "count", "lookup"),
)
def right_align(tokens: SOp, indices: SOp) -> SOp:
    """An input that is padded with "_" at its end, moved to the right by as many positions; "-" before it."""
    pads = everything.sum(tokens == "_")
    return (key(indices) == query(indices - pads)).get(tokens, default="-")


def _sample_with_plus(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any] | None:
    letters = tuple(v for v in vocab if v != "+")
    if "+" not in vocab or not letters:
        return None
    xs = sample_sequence(rng, letters, max_len)
    xs[rng.integers(len(xs))] = "+"
    return xs


WITH_PLUS = _one_in_two(_sample_with_plus)


def _split_first_reference(xs: list[Any]) -> list[Any]:
    plus = xs.index("+") if "+" in xs else 0
    return ["0"] * (len(xs) - plus) + xs[:plus]


@program("abc+", max_len=10, reference=_split_first_reference, domain=WITH_PLUS, tags=("copying", "lookup"))
def split_first(tokens: SOp, indices: SOp) -> SOp:
    """What stands before the first "+" (nothing if there is none), at the right end of the output, "0" before it."""
    plus = (key(tokens) == "+").best(indices, largest=False).get(indices, default=0)
    to_plus, to_end = plus - indices, everything.count() - indices
    return (key(to_plus) == query(to_end)).get(tokens, default="0")


def _split_second_reference(xs: list[Any]) -> list[Any]:
    plus = xs.index("+") if "+" in xs else len(xs) - 1
    return ["0"] * (plus + 1) + xs[plus + 1 :]


@program("abc+", max_len=10, reference=_split_second_reference, domain=WITH_PLUS, tags=("copying", "causal"))
def split_second(tokens: SOp, indices: SOp) -> SOp:
    """What stands after the first "+", where it is; "0" before it."""
    after = (key(indices) < query(indices)).any(tokens == "+")
    return where(after, tokens, "0")


def _distinct_reference(xs: list[Any]) -> list[Any]:
    distinct = list(dict.fromkeys(xs))
    return distinct + ["_"] * (len(xs) - len(distinct))


@program("abcd", max_len=8, reference=_distinct_reference, tags=("copying", "count", "lookup", "multi-hop"))
def distinct(tokens: SOp, indices: SOp) -> SOp:
    """The different tokens in the order in which they first occur, then "_"."""
    repeat = ((key(tokens) == query(tokens)) & (key(indices) < query(indices))).any()
    seen = causal.sum(~repeat)
    return (key(seen) == query(indices + 1)).best(indices, largest=False).get(tokens, default="_")


def _selective_copy_reference(xs: list[Any]) -> list[Any]:
    return [x for x in xs if x != "_"] + ["_"] * xs.count("_")


@program("abc_", max_len=10, reference=_selective_copy_reference, tags=("copying", "count", "lookup"))
def selective_copy(tokens: SOp, indices: SOp) -> SOp:
    """All tokens but the blanks "_", moved together at the beginning (the selective copying task)."""
    seen = causal.sum(tokens != "_")
    return (key(seen) == query(indices + 1)).best(indices, largest=False).get(tokens, default="_")


def _sample_copy_task(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any] | None:
    letters = tuple(v for v in vocab if v not in "_|")
    if not {"_", "|"} <= set(vocab) or not letters or max_len < 3:
        return None
    n = int(rng.integers(1, (max_len + 1) // 2))
    return [*sample_tokens(rng, letters, n), "|", *["_"] * min(n, max_len - n - 1)]


def _copy_task_reference(xs: list[Any]) -> list[Any]:
    start = xs.index("|") + 1 if "|" in xs else len(xs)
    return ["_"] * start + xs[: len(xs) - start]


@program(
    "abcd_|",
    max_len=11,
    reference=_copy_task_reference,
    domain=_one_in_two(_sample_copy_task),
    tags=("copying", "lookup", "causal"),
)
def copy_task(tokens: SOp, indices: SOp) -> SOp:
    """After a "|" the input from its beginning on, "_" up to it (the copying task of recurrent networks)."""
    bars = (key(tokens) == "|") & (key(indices) < query(indices))
    bar = bars.best(indices, largest=False).get(indices, default=None)
    source = indices - bar - 1
    return (key(indices) == query(source)).get(tokens, default="_")


def _sample_docstring(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any] | None:
    names = tuple(v for v in vocab if v != ":")
    most = min(len(names), (max_len + 1) // 3)
    if ":" not in vocab or most < 1:
        return None
    arguments = [names[i] for i in rng.permutation(len(names))[: rng.integers(1, most + 1)]]
    described = [x for name in arguments for x in (":", name)]
    return arguments + described[: len(described) - 1]


def _docstring_reference(xs: list[Any]) -> list[Any]:
    result, slot = [], 0
    for x in xs:
        result.append(xs[slot] if x == ":" else "?")
        slot += x == ":"
    return result


@program(
    "abcdef:",
    max_len=11,
    reference=_docstring_reference,
    domain=_one_in_two(_sample_docstring),
    tags=("copying", "count", "lookup", "causal"),
)
def docstring(tokens: SOp, indices: SOp) -> SOp:
    """At the k-th ":" the k-th token: the argument that a docstring has to describe next; "?" at other tokens.

    "abc:a:b:" is a function of a, b and c whose docstring has come to c.
    """
    param = tokens == ":"
    slot = causal.sum(param) - 1
    argument = (key(indices) == query(slot)).get(tokens, default="?")
    return where(param, argument, "?")


def _sample_often_palindrome(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
    xs = sample_sequence(rng, vocab, max_len)
    for i in range(len(xs) // 2):
        xs[-1 - i] = xs[i]
    if rng.random() < 0.3:
        xs[rng.integers(len(xs))] = sample_tokens(rng, vocab, 1)[0]
    return xs


@program(
    range(4),
    max_len=10,
    reference=lambda xs: [int(xs == xs[::-1])] * len(xs),
    domain=_one_in_two(_sample_often_palindrome),
    tags=("copying", "lookup", "multi-hop"),
)
def palindrome(tokens: SOp, indices: SOp) -> SOp:
    """1 if the input reads the same from both ends, else 0, at every position."""
    length = everything.count()
    mirrored = (key(indices) == query(length - 1 - indices)).get(tokens)
    return everything.all(mirrored == tokens).map(int)


PROGRAMS = (
    shift_right,
    shift_left,
    rotate,
    swap,
    swap_pairs,
    repeat_first_half,
    insert_zeros,
    right_align,
    split_first,
    split_second,
    distinct,
    selective_copy,
    copy_task,
    docstring,
    palindrome,
)

_ALPHANUMERIC = "abcdefghijklmnopqrstxyz0123456789+"

COLLECTED = {
    "rasp.shift_left2": (shift_left.with_arguments(n=2), "abcdefghiloy"),
    "rasp.shift_right1": (shift_right, "abcdefghiloy"),
    "raspy.shift2": (shift_right.with_arguments(n=2), "ehlodgby"),
    "raspy.shift_minus1": (shift_left.with_arguments(default="0"), "0123456789"),
    "raspy.ralign": (right_align, "abcdefghxyz_"),
    "raspy.split_first": (split_first, _ALPHANUMERIC),
    "raspy.split_second": (split_second, _ALPHANUMERIC),
    "tracr.shift_by1": (shift_right.with_arguments(default=None), "abcd"),
    "tracr.shift_by2": (shift_right.with_arguments(n=2, default=None), "abcd"),
    "tracr.shift_by_minus1": (shift_left.with_arguments(default=None), "abcd"),
    "extra.copy_second_half_from_first": (repeat_first_half, "abcd"),
    "extra.dedup_compact": (distinct, "abcd_"),
    "tracrbench.check_palindrome": (palindrome, range(4)),
    "tracrbench.insert_zeros": (insert_zeros, range(10)),
    "tracrbench.swap_consecutive": (swap_pairs, range(10)),
    "tracrbench.swap_elements_0_1": (swap, range(10)),
}
