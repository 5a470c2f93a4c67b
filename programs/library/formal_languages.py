"""Brackets and counting: languages beyond the regular ones. In bracket languages all other tokens are neutral."""

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import Any

import numpy as np

from gaugeblock.programs.domain import Sampler, all_inputs, sample_sequence, sample_tokens
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import causal, everything, key, map_n, query, where
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

    @program(_vocab(pairs), max_len, name=name, reference=reference, domain=domain, tags=(*TAGS, "causal"))
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


BRACKETS = all_inputs(bracket_sampler(["()"], nested=True))


def _dyck1_reference(xs: list[str]) -> list[str]:
    result, depth, broken = [], 0, False
    for x in xs:
        depth += {"(": 1, ")": -1}.get(x, 0)
        broken = broken or depth < 0
        result.append("F" if broken else "P" if depth else "T")
    return result


@program("()a", max_len=10, reference=_dyck1_reference, domain=BRACKETS, tags=(*TAGS, "causal"))
def dyck1(tokens: SOp, indices: SOp) -> SOp:
    """Whether the brackets so far are balanced (T), can be completed (P), or neither (F) (Weiss et al. 2021)."""
    depth = causal.sum((tokens == "(") - (tokens == ")"))
    broken = causal.any(depth < 0)
    return where(broken, "F", where(depth == 0, "T", "P"))


def _dyck1_prefix_reference(xs: list[str]) -> list[bool]:
    result = []
    for n in range(1, len(xs) + 1):
        word = "".join(x for x in xs[:n] if x in "()")
        while "()" in word:
            word = word.replace("()", "")
        result.append(not word)
    return result


@program("()", max_len=12, reference=_dyck1_prefix_reference, domain=BRACKETS, tags=(*TAGS, "causal"))
def dyck1_prefix(tokens: SOp, indices: SOp) -> SOp:
    """Whether the brackets so far are balanced."""
    depth = causal.sum((tokens == "(") - (tokens == ")"))
    broken = causal.any(depth < 0)
    return ~broken & (depth == 0)


def _matching_bracket_reference(xs: list[str]) -> list[int]:
    result, stack = [-1] * len(xs), []
    for i, x in enumerate(xs):
        if x == "(":
            stack.append(i)
        elif x == ")" and stack:
            result[i] = stack.pop()
            result[result[i]] = i
    return result


@program("()a", max_len=10, reference=_matching_bracket_reference, domain=BRACKETS, tags=(*TAGS, "lookup"))
def matching_bracket(tokens: SOp, indices: SOp) -> SOp:
    """The position of the bracket that closes or opens this one; -1 where there is none."""
    depth = causal.sum((tokens == "(") - (tokens == ")"))
    # A bracket and its partner are on the same level, and no other opening bracket of that level is between them.
    opens = where(tokens == "(", depth, None)
    closes = where(tokens == ")", depth + 1, None)
    earlier = (key(opens) == query(closes)) & (key(indices) < query(indices))
    later = (key(closes) == query(opens)) & (key(indices) > query(indices))
    opener = earlier.best(indices).get(indices, default=-1)
    closer = later.best(indices, largest=False).get(indices, default=-1)
    return map_n(max, opener, closer)


def _blocks_sampler(letters: str) -> Sampler:
    """A sampler for words like aabbcc: uniform tokens, words of the language, and such with one token changed."""

    def sample(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> list[Any]:
        most = max_len // len(letters)
        kind = rng.integers(3)
        if kind == 0 or not most or not set(letters) <= set(vocab):
            return sample_sequence(rng, vocab, max_len)
        n = int(rng.integers(1, most + 1))
        word = [letter for letter in letters for _ in range(n)]
        if kind == 2:
            word[rng.integers(len(word))] = sample_tokens(rng, vocab, 1)[0]
        return word

    return sample


def blocks(letters: str, name: str, max_len: int) -> Program:
    """Blocks of equal length, one for each letter: aabb, aabbcc."""

    def reference(xs: list[str]) -> list[bool]:
        prefixes = ["".join(xs[:n]) for n in range(1, len(xs) + 1)]
        return [w == "".join(letter * (len(w) // len(letters)) for letter in letters) for w in prefixes]

    domain = all_inputs(_blocks_sampler(letters))

    @program(letters, max_len, name=name, reference=reference, domain=domain, tags=(*TAGS, "causal", "count"))
    def equal_blocks(tokens: SOp, indices: SOp) -> SOp:
        """Whether the tokens so far are n of the first letter, then n of each further letter in turn, n at least 1."""
        counts = [causal.sum(tokens == letter) for letter in letters]
        descends = (causal & (key(tokens) > query(tokens))).any()
        equal = [a == b for a, b in itertools.pairwise(counts)]
        return reduce(and_, equal) & ~causal.any(descends)

    return equal_blocks


@program(
    "ab",
    max_len=12,
    reference=lambda xs: [2 * xs[: i + 1].count("a") > i + 1 for i in range(len(xs))],
    tags=(*TAGS, "causal", "count"),
)
def majority(tokens: SOp, indices: SOp) -> SOp:
    """Whether more than half of the tokens so far are a."""
    return causal.mean(tokens == "a") > 0.5


dyck2 = dyck(["()", "{}"], "dyck2")
dyck3 = dyck(["()", "{}", "[]"], "dyck3")
shuffle_dyck1 = shuffle_dyck(["()"], "shuffle_dyck1")
shuffle_dyck2 = shuffle_dyck(["()", "{}"], "shuffle_dyck2")
shuffle_dyck3 = shuffle_dyck(["()", "{}", "[]"], "shuffle_dyck3")

anbn = blocks("ab", "anbn", max_len=12)
anbncn = blocks("abc", "anbncn", max_len=12)


def _bracket_depth_reference(xs: list[Any]) -> list[int]:
    depths = [0]
    for x in xs:
        depths.append(depths[-1] + {"(": 1, ")": -1}.get(x, 0))
    return depths[1:]


@program("()a", max_len=10, reference=_bracket_depth_reference, tags=("counting", "count", "causal"))
def bracket_depth(tokens: SOp, indices: SOp) -> SOp:
    """How many more brackets have opened than closed so far."""
    return causal.sum((tokens == "(") - (tokens == ")"))


PROGRAMS = (
    dyck1,
    dyck1_prefix,
    dyck2,
    dyck3,
    shuffle_dyck1,
    shuffle_dyck2,
    shuffle_dyck3,
    matching_bracket,
    bracket_depth,
    majority,
    anbn,
    anbncn,
)
COLLECTED = {
    "rasp.dyck1_ptf": (dyck1, dyck1.vocab),
    "rasp.dyck2_ptf": (dyck2, dyck2.vocab),
    "rasp.dyck3_ptf": (dyck3, dyck3.vocab),
    "rasp.shuffle_dyck1": (shuffle_dyck1, shuffle_dyck1.vocab),
    "rasp.shuffle_dyck2": (shuffle_dyck2, "(){}ads"),
    "rasp.shuffle_dyck3": (shuffle_dyck3, shuffle_dyck3.vocab),
    "tracr.shuffle_dyck2_int": (shuffle_dyck(("()", "{}"), "shuffle_dyck2_int", as_int=True), "(){}a"),
    "crasp.anbncn": (anbncn, "abc"),
    "extra.bracket_depth": (bracket_depth, "()a"),
    "crasp.dyck1_prefix": (dyck1_prefix, "()"),
}
