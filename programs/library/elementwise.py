"""Positionwise programs: no position looks at another. Controls, on which attention has nothing to do."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import map_n, where
from gaugeblock.programs.program import Build, Program, program


def positionwise(vocab: Iterable[Any], at: Callable[[Any, int], Any]) -> Callable[[Build], Program]:
    """`@program` for an elementwise map; its reference is at(token, position) for each position."""

    def reference(xs: list[Any]) -> list[Any]:
        return [at(x, i) for i, x in enumerate(xs)]

    return program(vocab, max_len=10, reference=reference, tags=("positionwise", "causal"))


@positionwise("abcd", lambda x, i: x)
def identity(tokens: SOp, indices: SOp) -> SOp:
    """The input itself."""
    return tokens


@positionwise("abcde", lambda x, i: x == "e")
def is_e(tokens: SOp, indices: SOp) -> SOp:
    """Whether the token is "e"."""
    return tokens == "e"


@positionwise("helo", lambda x, i: i == 1 or x == "l")
def is_l_or_second(tokens: SOp, indices: SOp) -> SOp:
    """Whether the token is "l" or stands at position 1."""
    return (tokens == "l") | (indices == 1)


@positionwise("helo", lambda x, i: {"h": "h", "l": "l"}.get(x, "q"))
def keep_h_and_l(tokens: SOp, indices: SOp) -> SOp:
    """The token where it is "h" or "l", else "q"."""
    return where(tokens.isin("hl"), tokens, "q")


@positionwise("abcd", lambda x, i: "a" if i & 1 else x)
def a_at_odd(tokens: SOp, indices: SOp) -> SOp:
    """The token at even positions, "a" at odd ones."""
    return where(indices % 2 == 0, tokens, "a")


@positionwise("12345", lambda x, i: (1, 2, 3, 5, 4)["12345".index(x)])
def dict_lookup(tokens: SOp, indices: SOp) -> SOp:
    """The number that a digit stands for in a dictionary, which has 4 and 5 change places."""
    numbers = {"1": 1, "2": 2, "3": 3, "4": 5, "5": 4}
    return tokens.map(numbers.get)


@positionwise("0123456789", lambda x, i: "0123456789".index(x))
def digit_value(tokens: SOp, indices: SOp) -> SOp:
    """The number that a digit stands for."""
    return tokens.map(int)


@positionwise(range(1, 6), lambda x, i: x + x - 1)
def twice_less_one(tokens: SOp, indices: SOp) -> SOp:
    """Twice the number, less 1."""
    return tokens * 2 - 1


@positionwise(range(30), lambda x, i: int([d for d in range(1, x + 1) if x % d == 0] == [1, x]))
def is_prime(tokens: SOp, indices: SOp) -> SOp:
    """1 where the number is prime, else 0."""
    return tokens.map(lambda n: int(n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))))


@positionwise(range(-5, 6), lambda x, i: math.e**x)
def exponential(tokens: SOp, indices: SOp) -> SOp:
    """e to the power of the number."""
    return tokens.map(math.exp)


@positionwise(range(-5, 6), lambda x, i: 1 - 2 / (math.e ** (2 * x) + 1))
def hyperbolic_tangent(tokens: SOp, indices: SOp) -> SOp:
    """tanh of the number."""
    return tokens.map(math.tanh)


@positionwise(range(-2, 8), lambda x, i: x if x > i else i)
def token_or_index(tokens: SOp, indices: SOp) -> SOp:
    """The number or its position, whichever is greater."""
    return map_n(max, tokens, indices)


@positionwise(range(10), lambda x, i: sum([x, *[1] * i]))
def token_plus_index(tokens: SOp, indices: SOp) -> SOp:
    """The number plus its position."""
    return tokens + indices


@positionwise(range(1, 6), lambda x, i: i - (5 - x))
def less_five_plus_index(tokens: SOp, indices: SOp) -> SOp:
    """The number, less 5, plus its position."""
    return tokens - 5 + indices


@positionwise("abcd", lambda x, i: i + i + i)
def thrice_index(tokens: SOp, indices: SOp) -> SOp:
    """Three times the position."""
    return 3 * indices


@positionwise("abcd", lambda x, i: i & 1)
def index_parity(tokens: SOp, indices: SOp) -> SOp:
    """0 at even positions, 1 at odd ones."""
    return indices % 2


@positionwise("abcd", lambda x, i: len(range(i + 1)))
def position(tokens: SOp, indices: SOp) -> SOp:
    """The position, counted from 1."""
    return indices + 1


PROGRAMS = (
    identity,
    is_e,
    is_l_or_second,
    keep_h_and_l,
    a_at_odd,
    dict_lookup,
    digit_value,
    twice_less_one,
    is_prime,
    exponential,
    hyperbolic_tangent,
    token_or_index,
    token_plus_index,
    less_five_plus_index,
    thrice_index,
    index_parity,
    position,
)

_LETTERS = "abcdefghiloy"
_HELLO = "ehloyaik"
_GOODBYE = "ehlodgby"

COLLECTED = {
    "rasp.dict_lookup": (dict_lookup, "12345"),
    "rasp.is_e": (is_e, _HELLO),
    "rasp.max_token_index": (token_or_index, range(-2, 8)),
    "rasp.ternary_odd_a": (a_at_odd, _HELLO),
    "rasp.three_x_indices": (thrice_index, _LETTERS),
    "rasp.tokens": (identity, _LETTERS),
    "raspy.atoi": (digit_value, "0123456789"),
    "raspy.is_l_or_index1": (is_l_or_second, _GOODBYE),
    "raspy.minus5_plus_indices": (less_five_plus_index, range(1, 6)),
    "raspy.times2_minus1": (twice_less_one, range(1, 6)),
    "raspy.where_hl_else_q": (keep_h_and_l, _GOODBYE),
    "tracrbench.check_prime": (is_prime, range(30)),
    "tracrbench.exponential": (exponential, range(-5, 6)),
    "tracrbench.hyperbolic_tangent": (hyperbolic_tangent, range(-5, 6)),
    "tracrbench.increment_by_index": (token_plus_index, range(10)),
    "tracrbench.index_parity": (index_parity, range(10)),
    "tracrbench.position": (position, [*range(11), 20, 30]),
}
