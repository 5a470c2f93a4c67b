"""Programs that count and look up tokens."""

from collections import Counter
from itertools import groupby
from typing import Any

from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import causal, everything, key, query
from gaugeblock.programs.library.order import starting_with
from gaugeblock.programs.program import Program, program

BOS = "§"
"""The start token of those programs of the RASP paper whose inputs begin with one."""


def frac_prevs_of(token: Any, vocab: Any, name: str = "frac_prevs") -> Program:
    """`frac_prevs` for another token."""

    def reference(xs: list[Any]) -> list[float]:
        return [xs[: i + 1].count(token) / (i + 1) for i in range(len(xs))]

    @program(vocab, max_len=12, name=name, reference=reference, tags=("counting", "numeric", "causal"))
    def frac_prevs(tokens: SOp, indices: SOp) -> SOp:
        """The fraction of tokens so far, this one included, that are one given token."""
        return (key(indices) <= query(indices)).mean(tokens == token)

    return frac_prevs


def count_of(token: Any, vocab: Any, name: str) -> Program:
    """How often one token occurs in the whole input."""

    def reference(xs: list[Any]) -> list[int]:
        return [xs.count(token)] * len(xs)

    @program(vocab, max_len=10, name=name, reference=reference, tags=("counting", "count"))
    def count(tokens: SOp, indices: SOp) -> SOp:
        """How often one given token occurs in the whole input, at every position."""
        return everything.sum(tokens == token)

    return count


def _hist_reference(xs: list[Any]) -> list[int]:
    occurrences = Counter(xs)
    return [occurrences[x] for x in xs]


@program("abcd", max_len=10, reference=_hist_reference, tags=("counting", "count"))
def hist(tokens: SOp, indices: SOp) -> SOp:
    """How often the token at each position occurs in the whole input."""
    return (key(tokens) == query(tokens)).count()


def _hist_bos_reference(xs: list[Any]) -> list[int]:
    return [0, *(xs.count(x) for x in xs[1:])]


@program(
    [BOS, *"abcd"], max_len=10, reference=_hist_bos_reference, domain=starting_with(BOS), tags=("counting", "count")
)
def hist_bos(tokens: SOp, indices: SOp) -> SOp:
    """How often the token at each position occurs, after a start token that counts 0 itself."""
    return ((key(tokens) == query(tokens)) & key(tokens != BOS)).count()


@program("abcd", max_len=10, reference=lambda xs: [len(xs)] * len(xs), tags=("counting", "count"))
def length(tokens: SOp, indices: SOp) -> SOp:
    """The length of the input, at every position."""
    return everything.count()


@program("abcd", max_len=10, reference=lambda xs: [x in xs[:i] for i, x in enumerate(xs)], tags=("lookup", "causal"))
def has_prev(tokens: SOp, indices: SOp) -> SOp:
    """Whether the same token stands at an earlier position."""
    return ((key(tokens) == query(tokens)) & (key(indices) < query(indices))).any()


@program("abcd", max_len=10, reference=lambda xs: [xs[0]] * len(xs), tags=("lookup", "causal"))
def first_token(tokens: SOp, indices: SOp) -> SOp:
    """The first token, at every position."""
    return (key(indices) == 0).get(tokens)


@program("abcd", max_len=10, reference=lambda xs: (["?", *xs])[:-1], tags=("lookup", "causal"))
def prev_token(tokens: SOp, indices: SOp) -> SOp:
    """The token before each position, "?" at the first."""
    return (key(indices) == query(indices - 1)).get(tokens, default="?")


def _induction_reference(xs: list[Any]) -> list[Any]:
    result = []
    for i, x in enumerate(xs):
        earlier = [j for j in range(i) if xs[j] == x]
        result.append(xs[earlier[-1] + 1] if earlier else "?")
    return result


@program("abcd", max_len=10, reference=_induction_reference, tags=("lookup", "causal", "multi-hop"))
def induction(tokens: SOp, indices: SOp) -> SOp:
    """The token that followed the last earlier occurrence of this token, "?" where there is none."""
    previous = (key(indices) == query(indices - 1)).get(tokens, default=None)
    followers = (key(previous) == query(tokens)) & (key(indices) <= query(indices))
    return followers.best(indices).get(tokens, default="?")


def detect_pattern(pattern: str, vocab: Any = "abcd") -> Program:
    """Where a fixed word ends."""

    def reference(xs: list[Any]) -> list[bool | None]:
        n = len(pattern)
        return [None if i < n - 1 else xs[i - n + 1 : i + 1] == list(pattern) for i in range(len(xs))]

    @program(vocab, max_len=10, name=f"detect_pattern_{pattern}", reference=reference, tags=("lookup", "causal"))
    def detect(tokens: SOp, indices: SOp) -> SOp:
        """Whether a given word ends here; undefined at positions before its length is reached."""
        found = tokens == pattern[-1]
        for distance, token in enumerate(reversed(pattern[:-1]), start=1):
            before = (key(indices) == query(indices - distance)).get(tokens, default=None)
            found = found & (before == token)
        return found

    return detect


def _double_hist_reference(xs: list[Any]) -> list[int]:
    occurrences = Counter(xs)
    frequencies = Counter(occurrences.values())
    return [frequencies[occurrences[x]] for x in xs]


@program("abcd", max_len=10, reference=_double_hist_reference, tags=("counting", "count", "multi-hop"))
def double_hist(tokens: SOp, indices: SOp) -> SOp:
    """How many different tokens occur as often as the one at each position."""
    hist = (key(tokens) == query(tokens)).count()
    as_frequent = (key(hist) == query(hist)).count()
    return as_frequent // hist  # each of these tokens holds `hist` of these positions


@program(
    [BOS, *"abcd"],
    max_len=10,
    reference=lambda xs: [0, *_double_hist_reference(xs[1:])],
    domain=starting_with(BOS),
    tags=("counting", "count", "multi-hop"),
)
def double_hist_bos(tokens: SOp, indices: SOp) -> SOp:
    """`double_hist` after a start token that counts 0; with `first`, as in the RASP paper."""
    same = key(tokens) == query(tokens)
    first = ~(same & (key(indices) < query(indices))).any()
    hist = (same & key(tokens != BOS)).count()
    return ((key(hist) == query(hist)) & key(first & (tokens != BOS))).count()


def _count_seen_reference(xs: list[Any]) -> list[int]:
    return [xs[: i + 1].count(x) for i, x in enumerate(xs)]


@program("abcd", max_len=10, reference=_count_seen_reference, tags=("counting", "count", "causal"))
def count_seen(tokens: SOp, indices: SOp) -> SOp:
    """How often the token at each position has occurred so far, this time included."""
    return ((key(tokens) == query(tokens)) & causal).count()


def _prev_copies_reference(xs: list[Any]) -> list[int]:
    return [sum(y == x for y in xs[:i]) for i, x in enumerate(xs)]


@program("abcd", max_len=10, reference=_prev_copies_reference, tags=("counting", "count", "causal"))
def prev_copies(tokens: SOp, indices: SOp) -> SOp:
    """How often the token at each position has occurred before."""
    return ((key(tokens) == query(tokens)) & (key(indices) < query(indices))).count()


def _ngram_count_reference(xs: list[Any], n: int = 2) -> list[int]:
    ngrams = [tuple(xs[i - n + 1 : i + 1]) for i in range(n - 1, len(xs))]
    counts = [ngrams[: i + 1].count(ngram) for i, ngram in enumerate(ngrams)]
    return ([0] * (n - 1) + counts)[: len(xs)]


@program("abc", max_len=10, reference=_ngram_count_reference, tags=("counting", "count", "causal", "multi-hop"))
def ngram_count(tokens: SOp, indices: SOp, n: int = 2) -> SOp:
    """How often the n tokens that end at each position have stood next to each other so far; 0 before the nth."""
    same = (key(tokens) == query(tokens)) & causal
    for distance in range(1, n):
        before = (key(indices) == query(indices - distance)).get(tokens, default=None)
        same = same & (key(before) == query(before))
    return same.count()


def _count_greater_reference(xs: list[Any]) -> list[int]:
    descending = sorted(xs, reverse=True)
    return [descending.index(x) for x in xs]


@program(range(8), max_len=10, reference=_count_greater_reference, tags=("counting", "count"))
def count_greater(tokens: SOp, indices: SOp) -> SOp:
    """How many tokens are greater than the one at each position."""
    return (key(tokens) > query(tokens)).count()


def _count_rare_reference(xs: list[Any], n: int = 2) -> list[int]:
    return [sum(c for c in Counter(xs).values() if c <= n)] * len(xs)


@program("abcd", max_len=10, reference=_count_rare_reference, tags=("counting", "count", "multi-hop"))
def count_rare(tokens: SOp, indices: SOp, n: int = 2) -> SOp:
    """How many positions hold a token that occurs n times at most."""
    hist = (key(tokens) == query(tokens)).count()
    return everything.sum(hist <= n)


@program("abcd", max_len=10, reference=lambda xs: [len(set(xs))] * len(xs), tags=("counting", "count", "multi-hop"))
def unique_count(tokens: SOp, indices: SOp) -> SOp:
    """How many different tokens there are."""
    repeats = ((key(tokens) == query(tokens)) & (key(indices) < query(indices))).any()
    return everything.sum(~repeats)


def _num_runs_reference(xs: list[Any]) -> list[int]:
    return [len(list(groupby(xs)))] * len(xs)


@program("abc", max_len=10, reference=_num_runs_reference, tags=("counting", "count", "multi-hop"))
def num_runs(tokens: SOp, indices: SOp) -> SOp:
    """How many runs of equal tokens the input consists of."""
    continues = ((key(indices) == query(indices - 1)) & (key(tokens) == query(tokens))).any()
    return everything.sum(~continues)


def _longest_run_reference(xs: list[Any]) -> list[int]:
    return [max(len(list(run)) for _, run in groupby(xs))] * len(xs)


@program("abc", max_len=10, reference=_longest_run_reference, tags=("counting", "multi-hop"))
def longest_run(tokens: SOp, indices: SOp) -> SOp:
    """The length of the longest run of equal tokens."""
    # The run that a position belongs to starts after the last other token before it.
    other = (key(tokens) != query(tokens)) & (key(indices) < query(indices))
    run = indices - other.best(indices).get(indices, default=-1)
    return everything.max(run)


@program("ab", max_len=12, reference=lambda xs: [xs.count("a") % 2] * len(xs), tags=("counting", "count"))
def count_parity(tokens: SOp, indices: SOp) -> SOp:
    """Whether "a" occurs an odd (1) or even (0) number of times."""
    return everything.sum(tokens == "a") % 2


def _contains_reference(xs: list[Any], token: Any = "a") -> list[bool]:
    return [token in xs] * len(xs)


@program("abcd", max_len=10, reference=_contains_reference, tags=("lookup",))
def contains(tokens: SOp, indices: SOp, token: Any = "a") -> SOp:
    """Whether one given token occurs anywhere, at every position."""
    return everything.any(tokens == token)


def _mark_first_reference(xs: list[Any], token: Any = "a") -> list[bool]:
    return [x == token and i == xs.index(token) for i, x in enumerate(xs)]


@program("abc", max_len=10, reference=_mark_first_reference, tags=("lookup", "causal"))
def mark_first(tokens: SOp, indices: SOp, token: Any = "a") -> SOp:
    """True at the first occurrence of one given token only."""
    return (tokens == token) & ~(key(indices) < query(indices)).any(tokens == token)


def _mark_last_reference(xs: list[Any], token: Any = "a") -> list[bool]:
    return [x == token and token not in xs[i + 1 :] for i, x in enumerate(xs)]


@program("abc", max_len=10, reference=_mark_last_reference, tags=("lookup",))
def mark_last(tokens: SOp, indices: SOp, token: Any = "a") -> SOp:
    """True at the last occurrence of one given token only."""
    return (tokens == token) & ~(key(indices) > query(indices)).any(tokens == token)


def _skip_trigram_reference(xs: list[Any], first: Any = "a", second: Any = "b") -> list[bool]:
    return [x == second and first in xs[:i] for i, x in enumerate(xs)]


@program("abc", max_len=10, reference=_skip_trigram_reference, tags=("lookup", "causal"))
def skip_trigram(tokens: SOp, indices: SOp, first: Any = "a", second: Any = "b") -> SOp:
    """True where the token is "b" and an "a" has come before (Elhage et al. 2021)."""
    return (tokens == second) & (key(indices) < query(indices)).any(tokens == first)


def _next_same_reference(xs: list[Any]) -> list[int]:
    return [xs.index(x, i + 1) if x in xs[i + 1 :] else -1 for i, x in enumerate(xs)]


@program("abcd", max_len=10, reference=_next_same_reference, tags=("lookup",))
def next_same(tokens: SOp, indices: SOp) -> SOp:
    """The position at which the same token occurs next, -1 where it does not."""
    later = (key(tokens) == query(tokens)) & (key(indices) > query(indices))
    return later.best(indices, largest=False).get(indices, default=-1)


def _last_seen_reference(xs: list[Any], token: Any = "a") -> list[int]:
    return ["".join("x" if x == token else "-" for x in xs[: i + 1]).rfind("x") for i in range(len(xs))]


@program("abc", max_len=10, reference=_last_seen_reference, tags=("lookup", "causal"))
def last_seen(tokens: SOp, indices: SOp, token: Any = "a") -> SOp:
    """The position at which one given token has occurred last, -1 before it does."""
    return (causal & key(tokens == token)).best(indices).get(indices, default=-1)


def _find_first_reference(xs: list[Any], token: Any = "a", absent: int = 99) -> list[int]:
    return [xs.index(token) if token in xs else absent] * len(xs)


@program("abcd", max_len=10, reference=_find_first_reference, tags=("lookup",))
def find_first(tokens: SOp, indices: SOp, token: Any = "a", absent: int = 99) -> SOp:
    """The position at which one given token occurs first, at every position; 99 if it does not."""
    return key(tokens == token).best(indices, largest=False).get(indices, default=absent)


frac_prevs = frac_prevs_of("(", vocab="()abc")
count_a = count_of("a", vocab="abc", name="count_a")
detect_pattern_ab = detect_pattern("ab")

PROGRAMS = (
    frac_prevs,
    hist,
    count_a,
    length,
    has_prev,
    first_token,
    prev_token,
    induction,
    detect_pattern_ab,
    hist_bos,
    double_hist,
    double_hist_bos,
    count_seen,
    prev_copies,
    ngram_count,
    count_greater,
    count_rare,
    unique_count,
    num_runs,
    longest_run,
    count_parity,
    contains,
    mark_first,
    mark_last,
    skip_trigram,
    next_same,
    last_seen,
    find_first,
)

_LETTERS = "abcdefghiloy"
_HELLO = "ehloyaik"

COLLECTED = {
    "rasp.frac_prevs": (frac_prevs, "()abchelo"),
    "rasp.frac_prevs_l": (frac_prevs_of("l", _HELLO), _HELLO),
    "rasp.hist": (hist, _LETTERS),
    "raspy.hist": (hist, "ehlodgby"),
    "tracrbench.count_occurrences": (hist, range(10)),
    "rasp.count_e": (count_of("e", _HELLO, "count_e"), _HELLO),
    "tracr.count_a": (count_a, "abc"),
    "rasp.length": (length, _LETTERS),
    "rasp.has_prev": (has_prev, "abchelo"),
    "rasp.first_token": (first_token, _LETTERS),
    "circuits.prev_token": (prev_token, "abcd"),
    "circuits.induction": (induction, "abcd"),
    "tracr.detect_pattern_a": (detect_pattern("a"), "abcd"),
    "tracr.detect_pattern_ab": (detect_pattern("ab"), "abcd"),
    "tracr.detect_pattern_abc": (detect_pattern("abc"), "abcd"),
    "rasp.hist_bos": (hist_bos, [BOS, *"abcdehlo"]),
    "rasp.hist2": (double_hist, "abcd"),
    "rasp.hist2_bos": (double_hist_bos, [BOS, *"abcd"]),
    "rasp.prev_copies": (prev_copies, "abchelo"),
    "rasp.contains_e": (contains.with_arguments(token="e"), "ehloyaik"),
    "rasp.mark_first_a": (mark_first, "abc"),
    "rasp.mark_last_a": (mark_last, "abc"),
    "rasp.next_identical_index": (next_same, "abchelo"),
    "raspy.earlier_equal_count": (prev_copies, "ehlodgby"),
    "raspy.first_l": (find_first.with_arguments(token="l"), "ehlodgby"),
    "raspl.count_seen": (count_seen, "abc"),
    "raspl.last_index_of_a": (last_seen, "abc"),
    "tracr.count_less_freq2": (count_rare, "abcd"),
    "tracrbench.count_greater_than": (count_greater, range(10)),
    "extra.unique_count": (unique_count, "abcd"),
    "extra.num_runs": (num_runs, "abc"),
    "extra.longest_run": (longest_run, "abc"),
    "extra.skip_trigram_a_b": (skip_trigram, "abc"),
}
