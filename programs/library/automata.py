"""Regular languages and finite automata: parities, Tomita's languages, and automata run in logarithmic depth."""

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gaugeblock.programs.domain import Domain, all_inputs, sample_sequence, sample_tokens
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import causal, everything, key, local, map_n, query, where
from gaugeblock.programs.program import Program, program

TAGS = ("automata",)

Tokens = list[Any]


def sum_modulo(modulus: int, name: str) -> Program:
    """The sum of the whole input modulo a number."""

    def reference(xs: list[int]) -> list[int]:
        return [sum(xs) % modulus] * len(xs)

    @program(range(modulus), max_len=12, name=name, reference=reference, tags=(*TAGS, "count"))
    def sum_of_all(tokens: SOp, indices: SOp) -> SOp:
        """The sum of all tokens modulo the size of the vocabulary, at every position."""
        return everything.sum(tokens) % modulus

    return sum_of_all


@program(
    (0, 1),
    max_len=12,
    reference=lambda xs: [sum(xs[: i + 1]) % 2 for i in range(len(xs))],
    tags=(*TAGS, "causal", "count"),
)
def prefix_parity(tokens: SOp, indices: SOp) -> SOp:
    """The parity of the number of ones so far."""
    return causal.sum(tokens) % 2


def automaton(transitions: Mapping[Any, tuple[int, ...]], name: str, description: str, rounds: int = 4) -> Program:
    """An automaton that starts in state 0. `transitions[token][state]` is the next state.

    What a token does is a function of the state. Each round composes the functions of twice as many tokens, so
    that `rounds` layers run the automaton over 2**rounds tokens.
    """
    longest = 2**rounds
    nothing = tuple(range(len(next(iter(transitions.values())))))

    def reference(xs: Tokens) -> list[int]:
        states = itertools.accumulate(xs, lambda state, x: transitions[x][state], initial=0)
        return list(states)[1:]

    def sample(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> Tokens:
        return sample_sequence(rng, vocab, min(max_len, longest))

    domain = Domain(f"inputs of at most {longest} tokens", lambda xs: len(xs) <= longest, sample)

    @program(transitions, max_len=12, name=name, reference=reference, domain=domain, tags=(*TAGS, "causal"))
    def state(tokens: SOp, indices: SOp) -> SOp:
        # What a run of tokens does: the state after it for each state before it.
        effect = tokens.map(lambda token: transitions[token])
        for distance in (2**k for k in range(rounds)):
            before = (key(indices) == query(indices - distance)).get(effect, default=nothing)
            effect = map_n(lambda first, then: tuple(then[s] for s in first), before, effect)
        return effect.map(lambda e: e[0])

    return replace(state, description=description)


def sample_patterned(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> Tokens:
    """Uniform tokens, a few different ones in turns, or a few long runs; at times with one token changed."""
    n = int(rng.integers(1, max_len + 1))
    kind = rng.integers(3)
    if kind == 0:
        return sample_tokens(rng, vocab, n)
    if kind == 1:
        word = [vocab[i] for i in rng.permutation(len(vocab))[: int(rng.integers(1, 4))]]
        xs = (word * n)[:n]
    else:
        cuts = np.sort(rng.integers(0, n + 1, size=int(rng.integers(4))))
        kinds = sample_tokens(rng, vocab, len(cuts) + 1)
        xs = [kinds[int(np.searchsorted(cuts, i, side="right"))] for i in range(n)]
    if rng.random() < 0.3:
        xs[rng.integers(n)] = sample_tokens(rng, vocab, 1)[0]
    return xs


WORDS = all_inputs(sample_patterned)


def _prefixes(accepts: Callable[[str], Any]) -> Callable[[list[str]], list[bool]]:
    """The reference of a language: whether each prefix belongs to it."""
    return lambda xs: [bool(accepts("".join(xs[: i + 1]))) for i in range(len(xs))]


def _tomita(accepts: Callable[[str], Any]) -> dict[str, Any]:
    """The settings of a language over 0 and 1 (Tomita 1982), decided for each prefix."""
    return {
        "vocab": "01",
        "max_len": 12,
        "reference": _prefixes(accepts),
        "domain": WORDS,
        "tags": (*TAGS, "causal"),
    }


@program(**_tomita(lambda w: "0" not in w))
def tomita1(tokens: SOp, indices: SOp) -> SOp:
    """Whether all tokens so far are 1."""
    return causal.all(tokens == "1")


@program(**_tomita(lambda w: re.fullmatch("(10)*", w)))
def tomita2(tokens: SOp, indices: SOp) -> SOp:
    """Whether the tokens so far are 10 repeated."""
    is_odd = indices % 2 == 1
    fits = (tokens == "0") == is_odd
    return causal.all(fits) & is_odd


def _no_odd_ones_then_odd_zeros(word: str) -> bool:
    runs = [(token, len(list(run))) for token, run in itertools.groupby(word)]
    return not any(a[0] == "1" and a[1] % 2 and b[1] % 2 for a, b in itertools.pairwise(runs))


@program(**_tomita(_no_odd_ones_then_odd_zeros))
def tomita3(tokens: SOp, indices: SOp) -> SOp:
    """Whether no run of an odd number of ones so far is followed by a run of an odd number of zeros."""
    others = (key(tokens) != query(tokens)) & (key(indices) < query(indices))
    end_of_run_before = others.best(indices).get(indices, default=-1)
    is_odd = (indices - end_of_run_before) % 2 == 1
    run_before_is_odd = (key(indices) == query(end_of_run_before)).get(is_odd, default=False)
    wrong_if_last = (tokens == "0") & is_odd & run_before_is_odd
    wrong_before = (key(indices) == query(indices - 1)).get(wrong_if_last, default=False)
    wrong_run = causal.any(wrong_before & (tokens == "1"))
    return ~(wrong_run | wrong_if_last)


@program(**_tomita(lambda w: "000" not in w))
def tomita4(tokens: SOp, indices: SOp) -> SOp:
    """Whether there are no three zeros in a row so far."""
    three_zeros = (indices >= 2) & local(2).all(tokens == "0")
    return ~causal.any(three_zeros)


@program(**_tomita(lambda w: w.count("0") % 2 == 0 and w.count("1") % 2 == 0))
def tomita5(tokens: SOp, indices: SOp) -> SOp:
    """Whether the zeros so far and the ones so far are both even in number."""
    ones = causal.sum(tokens == "1")
    return (ones % 2 == 0) & (indices % 2 == 1)


@program(**_tomita(lambda w: (w.count("0") - w.count("1")) % 3 == 0))
def tomita6(tokens: SOp, indices: SOp) -> SOp:
    """Whether the numbers of zeros and of ones so far differ by a multiple of three."""
    return causal.sum(where(tokens == "0", 1, -1)) % 3 == 0


@program(**_tomita(lambda w: re.fullmatch("0*1*0*1*", w)))
def tomita7(tokens: SOp, indices: SOp) -> SOp:
    """Whether the tokens so far are zeros, ones, zeros, ones, each any number of times."""
    previous = (key(indices) == query(indices - 1)).get(tokens, default="0")
    return causal.sum(tokens != previous) <= 3


parity = sum_modulo(2, "parity")
sum_mod3 = sum_modulo(3, "sum_mod3")
binary_mod3 = automaton(
    {"0": (0, 2, 1), "1": (1, 0, 2)}, "binary_mod3", "The binary number so far modulo 3, by an automaton of 3 states."
)
shell_game = automaton(
    {"l": (1, 0, 2), "r": (0, 2, 1), "c": (1, 2, 0)},
    "shell_game",
    "Under which of three cups the ball is that starts under the left one; l and r swap neighbours, c cycles all.",
)

PROGRAMS = (
    parity,
    sum_mod3,
    prefix_parity,
    binary_mod3,
    shell_game,
    tomita1,
    tomita2,
    tomita3,
    tomita4,
    tomita5,
    tomita6,
    tomita7,
)
COLLECTED = {"alta.parity": (parity, (0, 1)), "alta.sum_mod3": (sum_mod3, range(3))}
