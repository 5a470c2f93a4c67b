"""Programs that count and look up tokens."""

from collections import Counter
from typing import Any

from gaugeblock.programs.expression import SOp
from gaugeblock.programs.language import everything, key, query
from gaugeblock.programs.program import Program, program


def frac_prevs_of(token: Any, vocab: Any, name: str = "frac_prevs") -> Program:
    """`frac_prevs` for another token."""

    def reference(xs: list[Any]) -> list[float]:
        return [xs[: i + 1].count(token) / (i + 1) for i in range(len(xs))]

    @program(vocab, max_len=12, name=name, reference=reference, tags=("counting", "numeric"))
    def frac_prevs(tokens: SOp, indices: SOp) -> SOp:
        """The fraction of tokens so far, this one included, that are one given token."""
        return (key(indices) <= query(indices)).mean(tokens == token)

    return frac_prevs


def count_of(token: Any, vocab: Any, name: str) -> Program:
    """How often one token occurs in the whole input."""

    def reference(xs: list[Any]) -> list[int]:
        return [xs.count(token)] * len(xs)

    @program(vocab, max_len=10, name=name, reference=reference, tags=("counting", "numeric"))
    def count(tokens: SOp, indices: SOp) -> SOp:
        """How often one given token occurs in the whole input, at every position."""
        return everything.sum(tokens == token)

    return count


def _hist_reference(xs: list[Any]) -> list[int]:
    occurrences = Counter(xs)
    return [occurrences[x] for x in xs]


@program("abcd", max_len=10, reference=_hist_reference, tags=("counting", "numeric"))
def hist(tokens: SOp, indices: SOp) -> SOp:
    """How often the token at each position occurs in the whole input."""
    return (key(tokens) == query(tokens)).count()


@program("abcd", max_len=10, reference=lambda xs: [len(xs)] * len(xs), tags=("counting", "numeric"))
def length(tokens: SOp, indices: SOp) -> SOp:
    """The length of the input, at every position."""
    return everything.count()


@program("abcd", max_len=10, reference=lambda xs: [x in xs[:i] for i, x in enumerate(xs)], tags=("lookup",))
def has_prev(tokens: SOp, indices: SOp) -> SOp:
    """Whether the same token stands at an earlier position."""
    return ((key(tokens) == query(tokens)) & (key(indices) < query(indices))).any()


@program("abcd", max_len=10, reference=lambda xs: [xs[0]] * len(xs), tags=("lookup",))
def first_token(tokens: SOp, indices: SOp) -> SOp:
    """The first token, at every position."""
    return (key(indices) == 0).get(tokens)


@program("abcd", max_len=10, reference=lambda xs: (["?", *xs])[:-1], tags=("lookup",))
def prev_token(tokens: SOp, indices: SOp) -> SOp:
    """The token before each position, "?" at the first."""
    return (key(indices) == query(indices - 1)).get(tokens, default="?")


def _induction_reference(xs: list[Any]) -> list[Any]:
    result = []
    for i, x in enumerate(xs):
        earlier = [j for j in range(i) if xs[j] == x]
        result.append(xs[earlier[-1] + 1] if earlier else "?")
    return result


@program("abcd", max_len=10, reference=_induction_reference, tags=("lookup",))
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

    @program(vocab, max_len=10, name=f"detect_pattern_{pattern}", reference=reference, tags=("lookup",))
    def detect(tokens: SOp, indices: SOp) -> SOp:
        """Whether a given word ends here; undefined at positions before its length is reached."""
        found = tokens == pattern[-1]
        for distance, token in enumerate(reversed(pattern[:-1]), start=1):
            before = (key(indices) == query(indices - distance)).get(tokens, default=None)
            found = found & (before == token)
        return found

    return detect


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
)
