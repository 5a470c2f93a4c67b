"""Arithmetic on decimal digits."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from gaugeblock.programs.domain import Domain
from gaugeblock.programs.errors import InputError
from gaugeblock.programs.expression import SOp
from gaugeblock.programs.language import everything, key, query, where
from gaugeblock.programs.program import program

DIGITS = "0123456789"


def is_sum(xs: list[Any]) -> bool:
    """Digits, one "+", digits."""
    if xs.count("+") != 1 or xs[0] == "+" or xs[-1] == "+":
        return False
    return all(x == "+" or x in DIGITS for x in xs)


def sample_sum(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[str]:
    """A sum of two numbers. Half of the time most aligned digits add up to 9, so that carries run far."""
    digits = [v for v in vocab if v in DIGITS]
    if not digits or "+" not in vocab or max_len < 3:
        raise InputError(f"there are no sums of at most {max_len} tokens over {vocab!r}")
    n = int(rng.integers(3, max_len + 1))
    plus = int(rng.integers(1, n - 1))
    xs = [digits[i] for i in rng.integers(len(digits), size=n)]
    xs[plus] = "+"
    if rng.random() < 0.5:
        for significance in range(min(plus, n - plus - 1)):
            nine = str(9 - int(xs[plus - 1 - significance]))
            if nine in digits and rng.random() < 0.8:
                xs[n - 1 - significance] = nine
    return xs


def all_sums(vocab: tuple[Any, ...], max_len: int) -> Iterator[list[str]]:
    """Every sum of at most max_len tokens, shortest first."""
    digits = [v for v in vocab if v in DIGITS]
    for n in range(3, max_len + 1):
        for plus in range(1, n - 1):
            for xs in itertools.product(digits, repeat=n - 1):
                yield [*xs[:plus], "+", *xs[plus:]]


def count_sums(vocab: tuple[Any, ...], max_len: int) -> int:
    """How many sums of at most max_len tokens there are."""
    digits = sum(v in DIGITS for v in vocab)
    return sum((n - 2) * digits ** (n - 1) for n in range(3, max_len + 1))


def _add_reference(xs: list[str]) -> list[int]:
    a, b = "".join(xs).split("+")
    return [int(digit) for digit in str(int(a) + int(b)).rjust(len(xs), "0")]


@program(
    DIGITS + "+",
    max_len=9,
    reference=_add_reference,
    domain=Domain('sums of two numbers, like "683+345"', is_sum, sample_sum, all_sums, count_sums),
    tags=("arithmetic",),
)
def add(tokens: SOp, indices: SOp) -> SOp:
    """The sum of two decimal numbers, "683+345": its digits, right-aligned over the input, zeros before."""
    digit = tokens.map(lambda t: 0 if t == "+" else int(t))
    plus = (key(tokens) == "+").get(indices, unique=True)
    length = everything.count()
    # Each position holds the digit of its own significance of both numbers: that of the second number is its
    # own token, that of the first is looked up. No key before the plus has a negative significance.
    significance = where(indices < plus, plus - 1 - indices, -1)
    first = (key(significance) == query(length - 1 - indices)).get(digit, default=0, unique=True)
    second = where(indices > plus, digit, 0)
    pair = first + second
    # The nearest lower pair that is not 9 decides whether there is a carry: nines pass it on.
    lower = key(pair != 9) & (key(indices) > query(indices))
    carry = lower.best(indices, largest=False).get(pair > 9, default=False)
    return (pair + carry) % 10


PROGRAMS = (add,)
