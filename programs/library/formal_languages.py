"""Membership in bracket languages; tokens that are no brackets are neutral."""

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any

import numpy as np

from gaugeblock.programs.domain import Sampler, all_inputs, sample_sequence, sample_tokens
from gaugeblock.programs.expression import SOp
from gaugeblock.programs.language import causal, everything, key, map_n, query, where
from gaugeblock.programs.program import Program, program

TAGS = ("formal language",)

Pairs = Sequence[str]
"""Kinds of brackets, each a string of an opening and a closing character: ["()", "{}"]."""


def dyck(pairs: Pairs, name: str, max_len: int = 10) -> Program:
    """Properly nested brackets of the given kinds; output P, T or F at each position (Weiss et al. 2021)."""
    partner = {pair[1]: pair[0] for pair in pairs}  # of each closing bracket
    openings = set(partner.values())

    def reference(xs: list[Any]) -> list[str]:
        result, stack, broken = [], [], False
        for x in xs:
            if x in openings:
                stack.append(x)
            elif x in partner:
                broken = broken or not stack or stack.pop() != partner[x]
            result.append("F" if broken else "P" if stack else "T")
        return result

    domain = all_inputs(bracket_sampler(pairs, nested=True))

    @program(_vocab(pairs), max_len, name=name, reference=reference, domain=domain, tags=TAGS)
    def nested_brackets(tokens: SOp, indices: SOp) -> SOp:
        """Whether the brackets so far are properly nested (T), can be completed (P), or neither (F)."""
        is_open, is_close = tokens.isin(openings), tokens.isin(partner)
        depth = causal.sum(is_open - is_close)
        # A closing bracket belongs to the last bracket before it that opened the same level. In a word that
        # is not broken yet those levels are at least 1; the -1 and 0 of all other tokens match nothing.
        opens = where(is_open, depth, -1)
        closes = where(is_close, depth + 1, 0)
        same_level = (key(opens) == query(closes)) & (key(indices) < query(indices))
        opener = same_level.best(indices).get(tokens, default="")
        wrong = map_n(lambda t, o: t in partner and o != partner[t], tokens, opener)
        broken = causal.any(wrong)
        return where(broken, "F", where(depth == 0, "T", "P"))

    return nested_brackets


def shuffle_dyck(pairs: Pairs, name: str, max_len: int = 8, as_int: bool = False) -> Program:
    """Interleaved brackets, each kind balanced on its own (Weiss et al. 2021)."""

    def reference(xs: list[Any]) -> list[Any]:
        counts: Counter[Any] = Counter()
        fits = True
        for x in xs:
            counts[x] += 1
            fits = fits and all(counts[pair[1]] <= counts[pair[0]] for pair in pairs)
        balanced = fits and all(counts[pair[0]] == counts[pair[1]] for pair in pairs)
        return [int(balanced) if as_int else balanced] * len(xs)

    domain = all_inputs(bracket_sampler(pairs, nested=False))

    @program(_vocab(pairs), max_len, name=name, reference=reference, domain=domain, tags=TAGS)
    def shuffled_brackets(tokens: SOp, indices: SOp) -> SOp:
        """Whether each kind of bracket is balanced on its own in the whole input, at every position."""
        conditions = []
        for opening, close in map(tuple, pairs):
            sign = (tokens == opening) - (tokens == close)
            balance = causal.sum(sign)
            negative = everything.any(balance < 0)
            total = everything.sum(sign)
            conditions += [~negative, total == 0]
        result = reduce(and_, conditions)
        return result.map(int) if as_int else result

    return shuffled_brackets


def bracket_sampler(pairs: Pairs, nested: bool) -> Sampler:
    """A sampler for bracket languages: uniform tokens, words of the language and their beginnings, and such
    words with one token changed, a third each. Uniform tokens alone are nearly always wrong.
    """
    brackets = set("".join(pairs))

    def sample(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
        usable = [pair for pair in pairs if set(pair) <= set(vocab)]
        kind = rng.integers(3)
        if kind == 0 or not usable:
            return sample_sequence(rng, vocab, max_len)
        neutral = [v for v in vocab if v not in brackets]
        word = _word(rng, usable, neutral, int(rng.integers(1, max_len + 1)), nested)
        if kind == 2:
            word[rng.integers(len(word))] = sample_tokens(rng, vocab, 1)[0]
        return word

    return sample


def _word(rng: np.random.Generator, pairs: Pairs, neutral: list[Any], n: int, nested: bool) -> list[Any]:
    """A random word of n tokens: complete seven times in ten if n and the tokens allow it, else begun."""
    complete = rng.random() < 0.7
    p_neutral = rng.choice([0.0, 0.2, 0.5])
    due: list[str] = []  # the closing brackets of what is open
    word: list[Any] = []
    while len(word) < n:
        spare = n - len(word) - len(due) if complete else n
        if spare and neutral and (spare == 1 or rng.random() < p_neutral):
            word.append(neutral[rng.integers(len(neutral))])
        elif due and (not spare or rng.random() < 0.5):
            word.append(due.pop(-1 if nested else int(rng.integers(len(due)))))
        else:
            opening, close = tuple(pairs[int(rng.integers(len(pairs)))])
            word.append(opening)
            due.append(close)
    return word


def _vocab(pairs: Pairs) -> str:
    return "".join(pairs) + "a"


dyck1 = dyck(["()"], "dyck1")
dyck2 = dyck(["()", "{}"], "dyck2")
dyck3 = dyck(["()", "{}", "[]"], "dyck3")
shuffle_dyck1 = shuffle_dyck(["()"], "shuffle_dyck1")
shuffle_dyck2 = shuffle_dyck(["()", "{}"], "shuffle_dyck2")
shuffle_dyck3 = shuffle_dyck(["()", "{}", "[]"], "shuffle_dyck3")

PROGRAMS = (dyck1, dyck2, dyck3, shuffle_dyck1, shuffle_dyck2, shuffle_dyck3)
