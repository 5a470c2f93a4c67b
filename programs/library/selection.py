"""Programs that find a token by what it is or where it stands, and decide or compute with it."""

from itertools import groupby, pairwise
from typing import Any

import numpy as np

from gaugeblock.programs.domain import all_inputs, sample_sequence, sample_tokens
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import causal, everything, key, map_n, query, where
from gaugeblock.programs.program import program


def _induction_first_reference(xs: list[Any]) -> list[Any]:
    follower: dict[Any, Any] = {}
    result = []
    for i, x in enumerate(xs):
        if i:
            follower.setdefault(xs[i - 1], x)
        result.append(follower.get(x, "?"))
    return result


@program("abcd", max_len=10, reference=_induction_first_reference, tags=("selection", "lookup", "causal"))
def induction_first(tokens: SOp, indices: SOp) -> SOp:
    """The token that followed the first earlier occurrence of this token, "?" where there is none."""
    previous = (key(indices) == query(indices - 1)).get(tokens, default=None)
    followers = (key(previous) == query(tokens)) & (key(indices) <= query(indices))
    return followers.best(indices, largest=False).get(tokens, default="?")


def _sample_recall(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
    letters, digits = ([v for v in vocab if v.isdigit() == kind] for kind in (False, True))
    if not letters or not digits or rng.random() < 0.3:
        return sample_sequence(rng, vocab, max_len)
    n = int(rng.integers(1, max_len + 1))
    return [str(rng.choice(digits if i % 2 else letters)) for i in range(n)]


def _recall_reference(xs: list[Any]) -> list[Any]:
    stored: dict[Any, Any] = {}
    result = []
    for before, x in zip([None, *xs], xs, strict=False):
        if x.isdigit():
            stored[before] = x
        result.append("?" if x.isdigit() else stored.get(x, "?"))
    return result


@program(
    "abc012",
    max_len=11,
    reference=_recall_reference,
    domain=all_inputs(_sample_recall),
    tags=("selection", "lookup", "causal"),
)
def associative_recall(tokens: SOp, indices: SOp) -> SOp:
    """At each letter the digit that last followed it: "a1b2a" ends in "1"; "?" at digits and at unknown letters."""
    is_value = tokens.map(str.isdigit)
    previous = (key(indices) == query(indices - 1)).get(tokens, default=None)
    stored = (key(where(is_value, previous, None)) == query(tokens)) & causal
    value = stored.best(indices).get(tokens, default="?")
    return where(is_value, "?", value)


def _successors_reference(xs: list[Any]) -> list[Any]:
    following = [chr(ord(x) + 1) for x in xs]
    return ["?" if y in xs[:i] else y for i, y in enumerate(following)]


@program("abcdef", max_len=10, reference=_successors_reference, tags=("selection", "causal"))
def copy_suppression(tokens: SOp, indices: SOp) -> SOp:
    """The next letter of the alphabet (a successor head), "?" if it occurred before (copy suppression)."""
    successor = tokens.map(lambda letter: chr(ord(letter) + 1))
    seen = ((key(tokens) == query(successor)) & (key(indices) < query(indices))).any()
    return where(seen, "?", successor)


def _sample_names(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
    names = [v for v in vocab if v.isupper()]
    fillers = tuple(v for v in vocab if not v.isupper())
    if len(names) < 2 or not fillers or max_len < 4 or rng.random() < 0.3:
        return sample_sequence(rng, vocab, max_len)
    n = int(rng.integers(4, max_len + 1))
    a, b = (str(x) for x in rng.permutation(names)[:2])
    xs = sample_tokens(rng, fillers, n)
    places = np.sort(rng.permutation(n)[:3])
    for place, name in zip(places, [a, b, (a, b)[rng.integers(2)]], strict=True):
        xs[place] = name
    return xs


NAMES = all_inputs(_sample_names)


def _single_name_reference(xs: list[Any]) -> list[Any]:
    single = [x for x in sorted(set(xs)) if x.isupper() and xs.count(x) == 1]
    return [single[0] if len(single) == 1 else "?"] * len(xs)


@program("ABCx", max_len=10, reference=_single_name_reference, domain=NAMES, tags=("selection", "count", "lookup"))
def single_name(tokens: SOp, indices: SOp) -> SOp:
    """The only name (capital letter) that occurs exactly once in the input, "?" if there is not one or are several."""
    count = (key(tokens) == query(tokens)).count()
    single = tokens.map(str.isupper) & (count == 1)
    name = key(single).best(indices).get(tokens, default="?")
    return where(everything.sum(single) == 1, name, "?")


def _ioi_reference(xs: list[Any]) -> list[Any]:
    result, seen, subject = [], [], ""
    for x in xs:
        if x.isupper():
            subject = x if x in seen else subject
            seen.append(x)
        others = [y for y in seen if y != subject]
        result.append(others[-1] if subject and others else "?")
    return result


@program(
    "ABCxy", max_len=9, reference=_ioi_reference, domain=NAMES, tags=("selection", "lookup", "causal", "multi-hop")
)
def ioi(tokens: SOp, indices: SOp) -> SOp:
    """The last name (capital letter) so far that is not the one repeated last, "?" before a name is repeated.

    As in indirect object identification (Wang et al. 2023): a head that finds duplicates, one that tells later
    positions which name to avoid, and one that moves another name.
    """
    is_name = tokens.map(str.isupper)
    duplicate = is_name & ((key(tokens) == query(tokens)) & (key(indices) < query(indices))).any()
    subject = (key(duplicate) & causal).best(indices).get(tokens, default=None)
    others = key(is_name) & (key(tokens) != query(subject)) & causal
    return others.best(indices).get(tokens, default="?")


@program("abc", max_len=10, reference=lambda xs: [x == xs[0] for x in xs], tags=("selection", "lookup", "causal"))
def equals_first(tokens: SOp, indices: SOp) -> SOp:
    """Whether each token is the same as the first."""
    return (key(indices) == 0).get(tokens) == tokens


def _previous_is_reference(xs: list[Any], token: Any = "a") -> list[bool]:
    return [False] + [x == token for x in xs[:-1]]


@program("ab", max_len=10, reference=_previous_is_reference, tags=("selection", "lookup", "causal"))
def previous_is(tokens: SOp, indices: SOp, token: Any = "a") -> SOp:
    """Whether the token before each position is a given one."""
    return (key(indices) == query(indices - 1)).any(tokens == token)


def _flip_flop_reference(xs: list[Any]) -> list[str]:
    bit, result = "0", []
    for x in xs:
        bit = {"w": "0", "W": "1"}.get(x, bit)
        result.append(bit)
    return result


@program("wWi", max_len=10, reference=_flip_flop_reference, tags=("selection", "lookup", "causal"))
def flip_flop(tokens: SOp, indices: SOp) -> SOp:
    """A memory of one bit: "w" writes 0, "W" writes 1, other tokens leave it as it is; "0" at first."""
    writes = tokens.isin("wW")
    bit = where(tokens == "W", "1", "0")
    return (key(writes) & causal).best(indices).get(bit, default="0")


def _fill_left_reference(xs: list[Any]) -> list[Any]:
    result, nearest = [], "<"
    for x in reversed(xs):
        nearest = nearest if x == "<" else x
        result.append(nearest)
    return result[::-1]


@program("abc<", max_len=10, reference=_fill_left_reference, tags=("selection", "lookup"))
def fill_left(tokens: SOp, indices: SOp) -> SOp:
    """The tokens, with the nearest other token to the right for each "<", if there is one (RASPy's slide)."""
    others = key(tokens != "<") & (key(indices) >= query(indices))
    return others.best(indices, largest=False).get(tokens, default="<")


@program(
    range(1, 7),
    max_len=10,
    reference=lambda xs: [0 if x in xs[:i] else x for i, x in enumerate(xs)],
    tags=("selection", "causal"),
)
def zero_repeats(tokens: SOp, indices: SOp) -> SOp:
    """The tokens, with 0 for each that occurred before."""
    repeat = ((key(tokens) == query(tokens)) & (key(indices) < query(indices))).any()
    return where(repeat, 0, tokens)


@program(
    range(1, 7),
    max_len=10,
    reference=lambda xs: [0 if xs.count(x) > 1 else x for x in xs],
    tags=("selection", "count"),
)
def zero_duplicates(tokens: SOp, indices: SOp) -> SOp:
    """The tokens, with 0 for each that occurs more than once."""
    count = (key(tokens) == query(tokens)).count()
    return where(count > 1, 0, tokens)


@program(
    "abc",
    max_len=10,
    reference=lambda xs: [i + 1 for _, run in groupby(xs) for i, _ in enumerate(run)],
    tags=("selection", "lookup", "causal"),
)
def run_length(tokens: SOp, indices: SOp) -> SOp:
    """How many tokens in a row, up to each position, are the same."""
    continues = ((key(indices) == query(indices - 1)) & (key(tokens) == query(tokens))).any()
    start = (key(~continues) & causal).best(indices).get(indices, default=0)
    return indices - start + 1


def _xor_reference(xs: list[int]) -> list[int]:
    return [xs[0]] + [a ^ b for a, b in pairwise(xs)]


@program(range(2), max_len=12, reference=_xor_reference, tags=("selection", "lookup", "causal"))
def xor_previous(tokens: SOp, indices: SOp) -> SOp:
    """Each bit xor the one before it; the first as it is."""
    previous = (key(indices) == query(indices - 1)).get(tokens, default=0)
    return (previous + tokens) % 2


def _sample_often_alternating(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
    xs = sample_sequence(rng, vocab, max_len)
    even, odd = ([v for v in vocab if v % 2 == parity] for parity in (0, 1))
    if even and odd and rng.random() < 0.5:
        first = int(rng.integers(2))
        xs = [int(rng.choice((even, odd)[(first + i) % 2])) for i in range(len(xs))]
        if rng.random() < 0.3:
            xs[rng.integers(len(xs))] = sample_tokens(rng, vocab, 1)[0]
    return xs


@program(
    range(6),
    max_len=10,
    reference=lambda xs: [int(all((a - b) % 2 for a, b in pairwise(xs)))] * len(xs),
    domain=all_inputs(_sample_often_alternating),
    tags=("selection", "lookup"),
)
def alternating(tokens: SOp, indices: SOp) -> SOp:
    """1 if even and odd numbers take turns in the whole input, else 0, at every position."""
    parity = tokens % 2
    clash = ((key(indices) == query(indices - 1)) & (key(parity) == query(parity))).any()
    return (~everything.any(clash)).map(int)


def _halve_reference(xs: list[Any]) -> list[Any]:
    half = len(xs) // 2
    return xs[:half] + [x * 0.5 for x in xs[half:]]


@program(range(8), max_len=10, reference=_halve_reference, tags=("selection", "count", "numeric"))
def halve_second_half(tokens: SOp, indices: SOp) -> SOp:
    """The numbers, with those of the second half of the input (the middle one included) halved."""
    length = everything.count()
    return where(indices < length // 2, tokens, tokens / 2)


def _polynomial_reference(xs: list[int]) -> list[int]:
    x, *coefficients = xs
    value = 0
    for c in coefficients:
        value = value * x + c
    return [value] * len(xs)


@program(range(3), max_len=6, reference=_polynomial_reference, tags=("selection", "lookup", "numeric", "multi-hop"))
def polynomial(tokens: SOp, indices: SOp) -> SOp:
    """The polynomial with the second and later numbers as coefficients, highest power first, at the first number."""
    x = (key(indices) == 0).get(tokens)
    length = everything.count()
    term = map_n(lambda c, x, i, n: c * x ** (n - 1 - i) if 0 < i < n else 0, tokens, x, indices, length)
    return everything.sum(term)


PROGRAMS = (
    induction_first,
    associative_recall,
    copy_suppression,
    single_name,
    ioi,
    equals_first,
    previous_is,
    flip_flop,
    fill_left,
    zero_repeats,
    zero_duplicates,
    run_length,
    xor_previous,
    alternating,
    halve_second_half,
    polynomial,
)

COLLECTED = {
    "raspy.slide": (fill_left, "abcdehlqxyz01<"),
    "circuits.induction_first": (induction_first, "abcd"),
    "circuits.ioi_like": (single_name, "ABCx"),
    "crasp.first_equals_current": (equals_first, "abc"),
    "crasp.prev_is_a": (previous_is, "ab"),
    "crasp.flip_flop": (flip_flop, "wWi"),
    "extra.xor_prev": (xor_previous, (0, 1)),
    "extra.zero_repeats_keep_first": (zero_repeats, range(1, 10)),
    "tracrbench.check_alternating": (alternating, range(10)),
    "tracrbench.halve_second_half": (halve_second_half, range(10)),
    "tracrbench.polynomial": (polynomial.with_size(max_len=4), range(5)),
    "tracrbench.remove_duplicates": (zero_duplicates, range(1, 10)),
}
