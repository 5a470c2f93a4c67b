"""Programs that take several steps: following pointers, drawing conclusions, executing an instruction."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from gaugeblock.programs.domain import Domain, sample_tokens
from gaugeblock.programs.errors import InputError
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import everything, key, loop, map_n, query, select, where
from gaugeblock.programs.program import program

TAGS = ("reasoning", "multi-hop")

Tokens = list[Any]


def _follow_reference(xs: list[int], rounds: int = 2) -> list[int | None]:
    result: list[int | None] = []
    for i in range(len(xs)):
        at: int | None = i
        for _ in range(2**rounds):
            at = xs[at] if at is not None and at < len(xs) else None
        result.append(at)
    return result


@program(range(8), max_len=8, reference=_follow_reference, tags=TAGS)
def follow_pointers(tokens: SOp, indices: SOp, rounds: int = 2) -> SOp:
    """Where 2**rounds steps lead if each token points to a position; undefined where they leave the input.

    Each round doubles the length of the jumps.
    """
    return loop(rounds, lambda jump: (key(indices) == query(jump)).get(jump, default=None), tokens)


def _chained_pairs(parity: int, least: int) -> Any:
    """A sampler for pairs of tokens that often share a token with the pair before, and one or two tokens more."""

    def sample(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> Tokens:
        if max_len < least:
            raise InputError(f"there are no inputs of at most {max_len} tokens; the shortest have {least}")
        n = least + 2 * int(rng.integers((max_len - least) // 2 + 1))
        xs = sample_tokens(rng, vocab, n)
        for i in range(2, n - 2 + parity, 2):
            if rng.random() < 0.5:
                xs[i] = xs[i - 1]
        if rng.random() < 0.5:
            xs[n - 2 + parity] = xs[0]
        return xs

    return sample


FACTS_AND_TOKEN = Domain("pairs of tokens and one more", lambda xs: len(xs) % 2 == 1, _chained_pairs(1, 1))
FACTS_AND_PAIR = Domain("pairs of tokens", lambda xs: len(xs) % 2 == 0, _chained_pairs(0, 2))


def _k_hop_reference(xs: list[str], hops: int = 2) -> list[str]:
    table = dict(zip(xs[:-1:2], xs[1::2], strict=True))
    answer = xs[-1]
    for _ in range(hops):
        answer = table.get(answer, "?")
    return [answer] * len(xs)


@program("abcdef", max_len=11, reference=_k_hop_reference, domain=FACTS_AND_TOKEN, tags=(*TAGS, "lookup"))
def k_hop_lookup(tokens: SOp, indices: SOp, hops: int = 2) -> SOp:
    """In "abbca" a leads to b and b to c: where k (two) steps lead from the last token; "?" if nowhere.

    If a token leads to several, the last pair counts.
    """
    last = everything.count() - 1
    value = (key(indices) == query(indices + 1)).get(tokens, default=None)
    name = where((indices % 2 == 0) & (indices < last), tokens, None)
    question = (key(indices) == query(last)).get(tokens)
    return loop(hops, lambda x: (key(name) == query(x)).best(indices).get(value, default="?"), question)


def _transitive_reference(xs: list[str], hops: int = 3) -> list[bool]:
    *facts, (first, last) = zip(xs[::2], xs[1::2], strict=True)
    reached = {first}
    reachable = False
    for _ in range(hops):
        reached = {b for a, b in facts if a in reached}
        reachable = reachable or last in reached
    return [reachable] * len(xs)


@program("abcde", max_len=10, reference=_transitive_reference, domain=FACTS_AND_PAIR, tags=TAGS)
def transitive(tokens: SOp, indices: SOp, hops: int = 3) -> SOp:
    """In "abbcac" a is before b and b before c: whether the last pair follows from at most k (three) of the others."""
    length = everything.count()
    is_fact = (indices % 2 == 0) & (indices < length - 2)
    larger = (key(indices) == query(indices + 1)).get(tokens, default=None)
    first = (key(indices) == query(length - 2)).get(tokens)
    second = (key(indices) == query(length - 1)).get(tokens)

    def step(used: SOp) -> SOp:
        reached = where(used, larger, None)
        return used | is_fact & (key(reached) == query(tokens)).any()

    used = loop(hops - 1, step, is_fact & (tokens == first))
    reached = where(used, larger, None)
    return (key(reached) == query(second)).any()


def _subleq_reference(xs: list[int]) -> list[int]:
    counter, memory = xs[0], list(xs[1:])

    def read(address: int) -> int:
        return memory[address] if 0 <= address < len(memory) else 0

    a, b, c = (read(counter + k) for k in range(3))
    result = read(b) - read(a)
    if 0 <= b < len(memory):
        memory[b] = result
    return [c if result <= 0 else counter + 3, *memory]


def _sample_memory(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> Tokens:
    """A program counter and memory, most often with an instruction whose addresses exist."""
    xs = sample_tokens(rng, vocab, int(rng.integers(1, max_len + 1)))
    addresses = [v for v in vocab if 0 <= v < len(xs) - 1]
    starts = [v for v in addresses if v < len(xs) - 3]
    if starts and rng.random() < 0.8:
        xs[0] = starts[rng.integers(len(starts))]
        for k in (1, 2):
            xs[xs[0] + k] = addresses[rng.integers(len(addresses))]
    return xs


MEMORY = Domain("a program counter, then memory", sample=_sample_memory)


@program(range(-2, 6), max_len=8, reference=_subleq_reference, domain=MEMORY, tags=TAGS)
def subleq(tokens: SOp, indices: SOp) -> SOp:
    """One step of a computer with one instruction: the first token is the program counter, the others are memory.

    The instruction there, a b c, subtracts memory[a] from memory[b] and goes to c if the result is not positive,
    else to the next instruction. Addresses outside the memory hold 0.
    """
    is_counter = indices == 0
    address = where(is_counter, None, indices - 1)

    def read(at: SOp) -> SOp:
        return (key(address) == query(at)).get(tokens, default=0)

    counter = (key(indices) == 0).get(tokens)
    a, b, c = (read(counter + k) for k in range(3))
    # The program counter looks at both operands; memory looks at itself and, at address b, at what to subtract.
    minuend = read(where(is_counter, b, address))
    subtrahend = read(where(is_counter, a, where(address == b, a, None)))
    result = minuend - subtrahend
    target = where(is_counter, c, None)
    following = where(is_counter, tokens + 3, None)
    return where(is_counter, where(result <= 0, target, following), result)


# Rules about elements and sets (the program "rover" of Weiss et al. 2021)

ELEMENTS, SETS = "abcdef", "ABCDEF"
FACT = "[a-wyz][<#][A-WYZ]"
RULE = "x[<#][A-WYZ]:x[<#][A-WYZ]|[a-wyz][<#]X:[a-wyz][<#]X"
THEORY = re.compile(f"(({FACT}|{RULE}),)*{FACT}[?]")


def _atom(element: str, sign: str, set_name: str) -> str:
    """The three tokens together, "" if one is missing. Not both names are variables."""
    atom = element + sign + set_name
    return atom if len(atom) == 3 and atom[::2] != "xX" else ""


def negated(atom: str) -> str:
    """a#A for a<A, and the other way round."""
    return atom.translate({ord("<"): "#", ord("#"): "<"})


def instance(atom: str, i: int) -> str:
    """The atom with the element or the set of number i for its variable; itself if it has none."""
    return atom.replace("x", ELEMENTS[i]).replace("X", SETS[i])


def _derived(conclusion: str, *premises_hold: bool) -> str:
    """The facts that a clause gives, with spaces between, if its premise holds of the i-th element or set."""
    if "x" not in conclusion and "X" not in conclusion:
        return conclusion
    return " ".join(instance(conclusion, i) for i, holds in enumerate(premises_hold) if holds)


def _contains(facts: str, atom: str) -> bool:
    return atom in facts.split()


def _implications(text: str) -> tuple[set[str], list[tuple[str, str]], str]:
    """Of a theory: its facts, its rules without variables and with contrapositives, and the question."""
    *clauses, question = text.rstrip("?").split(",")
    facts, rules = set(), []
    for clause in clauses:
        if ":" not in clause:
            facts.add(clause)
            continue
        variable = "x" if "x" in clause else "X"
        for constant in sorted({c for c in text if c.isalpha() and c not in "xX" and c.islower() == (variable == "x")}):
            first, second = clause.replace(variable, constant).split(":")
            rules += [(first, second), (_opposite(second), _opposite(first))]
    return facts, rules, question


def _opposite(fact: str) -> str:
    return fact.replace("<", "#") if "<" in fact else fact.replace("#", "<")


def _closure(facts: set[str], rules: list[tuple[str, str]]) -> set[str]:
    """Everything that follows."""
    while new := {b for a, b in rules if a in facts} - facts:
        facts = facts | new
    return facts


def _rover_reference(xs: list[str]) -> list[str]:
    facts, rules, question = _implications("".join(xs))
    known = _closure(facts, rules)
    answer = "T" if question in known else "F" if _opposite(question) in known else "?"
    return [answer] * len(xs)


def _clauses(rng: np.random.Generator, elements: list[str], sets: list[str]) -> Iterator[tuple[str, str]]:
    """Random clauses without end, each a rule and a fact."""

    def pick(options: list[str]) -> str:
        return options[rng.integers(len(options))]

    while True:
        if rng.random() < 0.5:
            rule = ":".join("x" + pick(["<", "#"]) + pick(sets) for _ in range(2))
        else:
            rule = ":".join(pick(elements) + pick(["<", "#"]) + "X" for _ in range(2))
        yield rule, pick(elements) + pick(["<", "#"]) + pick(sets)


def _sample_theory(rng: np.random.Generator, vocab: tuple[Any, ...], max_len: int) -> Tokens:
    """A theory and a question, two times in three one that it answers if it can."""
    elements = [v for v in vocab if v in ELEMENTS]
    sets = [v for v in vocab if v in SETS]
    if not elements or not sets or not set("xX<#:,?") <= set(vocab) or max_len < 4:
        raise InputError(f"there are no theories of at most {max_len} tokens over {vocab!r}")
    clauses = _clauses(rng, elements, sets)
    chosen: list[str] = []
    room = int(rng.integers(4, max_len + 1)) - 4
    while room >= 4:
        rule, fact = next(clauses)
        chosen.append(fact if room < 8 or (room >= 12 and rng.random() < 0.3) else rule)
        room -= len(chosen[-1]) + 1
    _, question = next(clauses)
    facts, rules, _ = _implications(",".join([*chosen, question]))
    known = sorted(_closure(facts, rules) - facts) or sorted(facts)
    if known and rng.random() < 0.67:
        question = known[rng.integers(len(known))]
        question = _opposite(question) if rng.random() < 0.5 else question
    order = rng.permutation(len(chosen))
    return list(",".join([*(chosen[i] for i in order), question]) + "?")


THEORIES = Domain(
    'theories with a question, like "a<A,x<A:x<B,a<B?"',
    lambda xs: THEORY.fullmatch("".join(xs)) is not None,
    _sample_theory,
)


@program("abABxX<#:,?", max_len=24, reference=_rover_reference, domain=THEORIES, tags=TAGS)
def rover(tokens: SOp, indices: SOp, names: int = 2) -> SOp:
    """Whether a question follows (T), its opposite (F) or neither (?) from facts and rules (Weiss et al. 2021).

    a<A says that a is in A, a#A that it is not. x<A:x<B is about all elements, a<X:b<X about all sets, and both hold
    backwards too (contrapositive). Everything that follows from facts about n elements and n sets (`names`) does so in
    2n² - 1 steps, a layer each.
    """

    def shifted(distance: int, wanted: str) -> SOp:
        """The token at a distance if it is one of those wanted, else ""."""
        value = where(tokens.isin(wanted), tokens, "")
        return (key(indices) == query(indices + distance)).get(value, default="")

    # Everything is kept at the middle of each atom: the two of a rule are four positions apart, and the first
    # stands for the rule read backwards.
    element, set_name, after = shifted(-1, "x" + ELEMENTS[:names]), shifted(1, "X" + SETS[:names]), shifted(2, ":?")
    sign = where(tokens.isin("<#"), tokens, "")
    atom = map_n(_atom, element, sign, set_name)
    is_first = after == ":"
    is_question = (after == "?") & (atom != "")
    other = (key(indices) == query(where(is_first, indices + 4, indices - 4))).get(atom, default="")
    conclusion = where(is_question, "", where(is_first, atom.map(negated), atom))
    premise = where(is_first, other.map(negated), other)
    premises = [map_n(instance, premise, i) for i in range(names)]

    def step(facts: SOp) -> SOp:
        holds = [select(facts, each, _contains).any() for each in premises]
        return map_n(_derived, conclusion, *holds)

    facts = loop(2 * names**2 - 1, step, conclusion.map(_derived))
    question = key(is_question).get(atom, unique=True)
    follows = select(facts, question, _contains).any()
    opposite_follows = select(facts, question.map(negated), _contains).any()
    return where(follows, "T", where(opposite_follows, "F", "?"))


PROGRAMS = (follow_pointers, k_hop_lookup, transitive, subleq, rover)
COLLECTED: dict[str, Any] = {"rasp.rover": (rover.with_arguments(names=3), "abcABCxX<#:,?")}
