"""Does every `.get` of a program select what it has to: keys whose values agree, and one at least?

That is proved by a rule if possible (`uniqueness`, `existence`), else by running every input of the domain, else
assumed. The rules are sound: what they prove holds for all inputs of at most `max_len` tokens of the vocabulary,
whatever the domain.
"""

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.merging import merge
from gaugeblock.programs.language.operations import MISSING
from gaugeblock.programs.language.selector import Get
from gaugeblock.programs.language.tree import located, postorder
from gaugeblock.programs.program import Program
from gaugeblock.programs.proofs.existence import at_least_one
from gaugeblock.programs.proofs.facts import Facts
from gaugeblock.programs.proofs.uniqueness import at_most_one

MAX_INPUTS_ENUMERATED: Final = 100_000
"""Inputs that are gone through where no rule proves what a `.get` needs, if the domain has no more."""

MAX_SMALL_INPUTS: Final = 20_000
"""Inputs of smaller sizes among which a counterexample is looked for where the domain has more."""

FULL_SIZE_SAMPLES: Final = 300
"""Inputs of the full size that are sampled besides."""

_CHECKED: Final[dict[int, dict[int, tuple["GetClaim", ...]]]] = {}
"""The answers of `check_gets` about each program, by its id, and limit; forgotten with the program."""


@final
@dataclass(frozen=True)
class Verdict:
    """How something is known of a `.get`, and why: the rule, or the inputs it was seen on."""

    how: Literal["rule", "enumerated", "assumed", "default"]
    why: str

    def __str__(self) -> str:
        return "has a default" if self.how == "default" else f"{self.how}: {self.why}"


@final
@dataclass(frozen=True)
class GetClaim:
    """What is known of one `.get` (`any`, `all`, `max` and `min` are made of them).

    Attributes:
        node: the `.get`, of the program's merged expression.
        label: its name and the line it was written in.
        at_most_one: that the keys it selects have one value.
        at_least_one: that it selects a key.
        asserted: whether the program says `unique=True`.
    """

    node: Get
    label: str
    at_most_one: Verdict
    at_least_one: Verdict
    asserted: bool

    @property
    def assumed(self) -> bool:
        """Whether any of it is not known for every input of the domain."""
        return "assumed" in (self.at_most_one.how, self.at_least_one.how)


def check_gets(program: Program, enumerate_up_to: int = MAX_INPUTS_ENUMERATED) -> tuple[GetClaim, ...]:
    """A claim for each `.get` of the program, operands first. The answer is kept as long as the program.

    Raises ProgramError where one selects no key or keys that differ, with a smallest input on which it does.

    >>> from gaugeblock.programs import key, query, program
    >>> @program(vocab="abc", max_len=5)
    ... def previous(tokens, indices):
    ...     return (key(indices) == query(indices - 1)).get(tokens, "-")
    >>> (claim,) = check_gets(previous)
    >>> print(claim.at_most_one)
    rule: by position, no query selects two keys at any length
    >>> print(claim.at_least_one)
    has a default
    """
    if id(program) not in _CHECKED:  # not in a WeakKeyDictionary: programs with arguments cannot be hashed
        _CHECKED[id(program)] = {}
        weakref.finalize(program, _CHECKED.pop, id(program))
    answers = _CHECKED[id(program)]
    if enumerate_up_to not in answers:
        answers[enumerate_up_to] = _check_gets(program, enumerate_up_to)
    return answers[enumerate_up_to]


def _check_gets(program: Program, enumerate_up_to: int) -> tuple[GetClaim, ...]:
    (output,) = merge(program.output)
    gets = [node for node in postorder(output) if isinstance(node, Get)]
    if not gets:
        return ()
    facts = Facts.of(program, output)
    proofs = [(at_most_one(facts, get), _some_key(facts, get)) for get in gets]
    unproved = [get for get, (most, least) in zip(gets, proofs, strict=True) if most is None or least is None]
    seen = _seen(program, unproved, enumerate_up_to) if unproved else None
    return tuple(
        GetClaim(get, located(get), _verdict(most, seen), least or _verdict(None, seen), get.unique)
        for get, (most, least) in zip(gets, proofs, strict=True)
    )


def _some_key(facts: Facts, get: Get) -> Verdict | None:
    if get.default is not MISSING:
        return Verdict("default", repr(get.default))
    reason = at_least_one(facts, get)
    return None if reason is None else Verdict("rule", reason)


def _verdict(reason: str | None, seen: Verdict | None) -> Verdict:
    if reason is not None:
        return Verdict("rule", reason)
    assert seen is not None
    return seen


# on inputs


def _seen(program: Program, gets: list[Get], limit: int) -> Verdict:
    """Run the program's gets on all inputs, or on many if there are more than `limit`."""
    inputs = program.domain.enumerate(program.vocab, program.max_len, limit)
    if inputs is not None:
        everything = list(inputs)
        _run(program, gets, everything)
        return Verdict("enumerated", f"all {len(everything):,} inputs")
    small = list(smaller_inputs(program, min(limit, MAX_SMALL_INPUTS)))
    _run(program, gets, small)  # first, since counterexamples among them are small
    _run(program, gets, program.sample(np.random.default_rng(0), FULL_SIZE_SAMPLES))
    return Verdict("assumed", f"no exception on {len(small):,} smaller inputs and {FULL_SIZE_SAMPLES} samples")


def _run(program: Program, gets: list[Get], inputs: list[list[Any]]) -> None:
    try:
        evaluate(gets, inputs)
    except ProgramError:
        program.interpret(inputs)  # raises the same, about the program as it was written
        raise


def smaller_inputs(program: Program, limit: int) -> Iterator[list[Any]]:
    """Inputs of the domain, shortest first: all over the whole vocabulary up to some length, then longer ones over
    a part of it. No more than `limit` are gone through.
    """
    domain, vocab = program.domain, program.vocab
    longest = 0
    for n in range(1, program.max_len + 1):
        if domain.size(vocab, n) <= limit // 2:
            longest = n
    if longest:
        yield from domain.enumerate(vocab, longest, limit) or ()
    for size in range(len(vocab), 0, -1):
        chosen = np.linspace(0, len(vocab) - 1, size).round().astype(int)  # the first and the last among them
        part = tuple(vocab[i] for i in chosen)
        inputs = domain.enumerate(part, program.max_len, limit // 2)
        if inputs is not None:
            yield from (xs for xs in inputs if len(xs) > longest)
            return
