"""Arithmetic on decimal digits."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from gaugeblock.programs.domain import Domain
from gaugeblock.programs.errors import InputError
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import everything, key, map_n, query, where
from gaugeblock.programs.program import Program, program

DIGITS = "0123456789"
TAGS = ("arithmetic",)


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


def pair_sums_of(tokens: SOp, indices: SOp) -> SOp:
    """Of "683+345": at each position the sum of both digits of its own significance, counted from the right end."""
    digit = tokens.map(lambda t: 0 if t == "+" else int(t))
    plus = (key(tokens) == "+").get(indices, unique=True)
    length = everything.count()
    # The digit of the second number is the position's own token, that of the first is looked up.
    # No key before the plus has a negative significance.
    significance = where(indices < plus, plus - 1 - indices, -1)
    first = (key(significance) == query(length - 1 - indices)).get(digit, default=0, unique=True)
    second = where(indices > plus, digit, 0)
    return first + second


def carry_of(pair: SOp, indices: SOp) -> SOp:
    """Whether there is a carry: the nearest lower pair that is not 9 decides, for nines pass it on."""
    lower = key(pair != 9) & (key(indices) > query(indices))
    return lower.best(indices, largest=False).get(pair > 9, default=False)


def _numbers(xs: list[str]) -> tuple[int, int]:
    a, b = "".join(xs).split("+")
    return int(a), int(b)


def _add_reference(xs: list[str]) -> list[int]:
    a, b = _numbers(xs)
    return [int(digit) for digit in str(a + b).rjust(len(xs), "0")]


def _pair_sums_reference(xs: list[str]) -> list[int]:
    a, b = (str(x).rjust(len(xs), "0") for x in _numbers(xs))
    return [int(x) + int(y) for x, y in zip(a, b, strict=True)]


def _carry_marks_reference(xs: list[str]) -> list[str]:
    return [("0" if s < 9 else "<" if s == 9 else "1") for s in _pair_sums_reference(xs)[1:]] + ["0"]


def _carries_reference(xs: list[str]) -> list[int]:
    a, b = _numbers(xs)
    powers = [10**n for n in reversed(range(len(xs)))]
    return [int(a % p + b % p >= p) for p in powers]


SUMS = Domain('sums of two numbers, like "683+345"', is_sum, sample_sum, all_sums, count_sums)


@program(DIGITS + "+", max_len=9, reference=_add_reference, domain=SUMS, tags=TAGS)
def add(tokens: SOp, indices: SOp) -> SOp:
    """The sum of two decimal numbers, "683+345": its digits, right-aligned over the input, zeros before."""
    pair = pair_sums_of(tokens, indices)
    carry = carry_of(pair, indices)
    return (pair + carry) % 10


@program(DIGITS + "+", max_len=9, reference=_pair_sums_reference, domain=SUMS, tags=TAGS)
def pair_sums(tokens: SOp, indices: SOp) -> SOp:
    """The first step of `add`: the digits of both numbers, aligned at the right end and added pair by pair."""
    return pair_sums_of(tokens, indices)


@program(DIGITS + "+", max_len=9, reference=_carry_marks_reference, domain=SUMS, tags=TAGS)
def carry_marks(tokens: SOp, indices: SOp) -> SOp:
    """The second step of `add`: a carry comes from the right ("1"), none ("0"), or the same as there ("<")."""
    pair = pair_sums_of(tokens, indices)
    right = (key(indices) == query(indices + 1)).get(pair, default=0)
    return where(right > 9, "1", where(right == 9, "<", "0"))


@program(DIGITS + "+", max_len=9, reference=_carries_reference, domain=SUMS, tags=TAGS)
def carries(tokens: SOp, indices: SOp) -> SOp:
    """The third step of `add`: 1 where a carry is added, else 0."""
    pair = pair_sums_of(tokens, indices)
    return carry_of(pair, indices).map(int)


def is_padded_sum(xs: list[Any]) -> bool:
    """ "s", digits, "+", as many digits, "e"."""
    n = len(xs) // 2
    return (
        len(xs) >= 5
        and len(xs) % 2 == 1
        and (xs[0], xs[n], xs[-1]) == ("s", "+", "e")
        and all(x in DIGITS for x in xs[1:n] + xs[n + 1 : -1])
    )


def sample_padded_sum(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[str]:
    """A sum of two numbers of equally many digits."""
    digits = [v for v in vocab if v in DIGITS]
    if not digits or not {"s", "+", "e"} <= set(vocab) or max_len < 5:
        raise InputError(f"there are no sums in the form s12+34e of at most {max_len} tokens over {vocab!r}")
    n = int(rng.integers(1, (max_len - 3) // 2 + 1))
    a, b = ([digits[i] for i in rng.integers(len(digits), size=n)] for _ in range(2))
    return ["s", *a, "+", *b, "e"]


PADDED_SUMS = Domain('sums of two numbers of as many digits, like "s683+345e"', is_padded_sum, sample_padded_sum)


def _unit(i: int, middle: int) -> int:
    """What a digit at position i of a padded sum counts for."""
    return 10 ** (middle - 1 - i) if 0 < i < middle else 10 ** (2 * middle - 1 - i) if middle < i < 2 * middle else 0


def _sum_value_reference(xs: list[str]) -> list[int]:
    return [sum(_numbers(xs[1:-1]))] * len(xs)


@program(DIGITS + "+se", max_len=7, reference=_sum_value_reference, domain=PADDED_SUMS, tags=(*TAGS, "numeric"))
def sum_value(tokens: SOp, indices: SOp) -> SOp:
    """The sum of two numbers of as many digits, "s12+34e", as one number, at every position."""
    middle = (everything.count() - 1) // 2  # where the plus is
    unit = map_n(_unit, indices, middle)
    digit = tokens.map(lambda t: int(t) if t in DIGITS else 0)
    return everything.sum(digit * unit)


def modular_addition(modulus: int) -> Program:
    """Addition modulo a number, in the form that grokking is studied with (Power et al. 2022): a b =."""

    def reference(xs: list[Any]) -> list[int]:
        a, b, _ = xs
        return [divmod(a + b, modulus)[1]] * 3

    def contains(xs: list[Any]) -> bool:
        return len(xs) == 3 and xs[2] == "=" and "=" not in xs[:2]

    def sample(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
        numbers = [v for v in vocab if v != "="]
        if not numbers or "=" not in vocab or max_len < 3:
            raise InputError(f"there are no inputs 'a b =' of at most {max_len} tokens over {vocab!r}")
        return [*(numbers[i] for i in rng.integers(len(numbers), size=2)), "="]

    domain = Domain("two numbers and an equals sign", contains, sample)
    name = f"add_mod{modulus}"

    @program([*range(modulus), "="], max_len=3, name=name, reference=reference, domain=domain, tags=TAGS)
    def add_modulo(tokens: SOp, indices: SOp) -> SOp:
        """The sum of the first two tokens modulo a number, at every position."""
        first, second = ((key(indices) == i).get(tokens) for i in range(2))
        return (first + second) % modulus

    return add_modulo


ROUNDS = 3


def is_product(xs: list[Any]) -> bool:
    """Digits, "*", one digit; not more than the rounds of `multiply_by_digit` suffice for."""
    *number, times, factor = xs if len(xs) > 2 else ("*",) * 3
    return times == "*" and "*" not in [*number, factor] and len(number) <= 2**ROUNDS


def sample_product(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[str]:
    """A number times a digit."""
    digits = [v for v in vocab if v != "*"]
    longest = min(max_len - 2, 2**ROUNDS)
    if not digits or "*" not in vocab or longest < 1:
        raise InputError(f"there are no products of at most {max_len} tokens over {vocab!r}")
    *number, factor = (digits[i] for i in rng.integers(len(digits), size=int(rng.integers(longest)) + 2))
    return [*number, "*", factor]


def _multiply_reference(xs: list[str], base: int = 4) -> list[int]:
    product = int("".join(xs[:-2]), base) * int(xs[-1], base)
    return [product // base**n % base for n in reversed(range(len(xs)))]


PRODUCTS = Domain(f'a number of at most {2**ROUNDS} digits times a digit, like "213*3"', is_product, sample_product)


@program("0123*", max_len=10, reference=_multiply_reference, domain=PRODUCTS, tags=TAGS)
def multiply_by_digit(tokens: SOp, indices: SOp, base: int = 4) -> SOp:
    """A number times a digit, "213*3", in base 4 unless told: its digits, right-aligned over the input, zeros before.

    What a run of digits makes of the carry it gets is a function; each round composes those of twice as many digits.
    """
    digit = tokens.map(lambda t: 0 if t == "*" else int(t))
    factor = (key(indices) == query(everything.count() - 1)).get(digit)
    own = (key(indices) == query(indices - 2)).get(digit, default=0)
    lower = (key(indices) == query(indices - 1)).get(digit, default=0)
    effect = map_n(lambda d, f: tuple((d * f + carry) // base for carry in range(base - 1)), lower, factor)
    for distance in (2**k for k in range(ROUNDS)):
        before = (key(indices) == query(indices + distance)).get(effect, default=tuple(range(base - 1)))
        effect = map_n(lambda first, then: tuple(then[carry] for carry in first), before, effect)
    carry = effect.map(lambda e: e[0])
    return (own * factor + carry) % base


add_mod11 = modular_addition(11)

PROGRAMS = (add, pair_sums, carry_marks, carries, sum_value, add_mod11, multiply_by_digit)
COLLECTED = {
    "rasp.long_addition": (add, add.vocab),
    "raspy.add": (add, add.vocab),
    "alta.addition": (sum_value, sum_value.vocab),
    "raspy.add_step0_pairsums": (pair_sums, pair_sums.vocab),
    "raspy.add_step1_carry_marks": (carry_marks, carry_marks.vocab),
    "raspy.add_step2_carries": (carries, carries.vocab),
}
