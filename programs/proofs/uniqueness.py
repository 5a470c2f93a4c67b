"""Does every `.get` of a program select what it has to: keys whose values agree, and one at least?

That is proved by a rule if possible, else by running every input of the domain, else assumed. The rules are sound:
what they prove holds for all inputs of at most `max_len` tokens of the vocabulary, whatever the domain.

At most one key. Take any two keys that one query selects both, and suppose the truth values of the selector's
comparisons are such that this is possible. Their values agree if one of these holds (`_Pair`):

- nothing is possible: where comparisons look at positions only, they are gone through for each length;
- something that is equal at both keys, because of `key(x) == query(y)` or as the score of `.best`, differs between
  any two positions: an index, a function of it that repeats no value, the rank in a total order;
- the value is computed from such things, or is the same at all positions (`.any`, `.max`, `.min`);
- going through all values of the tokens, ranks and counts that the keys and the value are computed from finds no
  two positions at which they would be selected and differ.

At least one key. For each length, position and truth value of the comparisons that look at the query only, the
selector holds of some key whatever the comparisons on tokens say. Such a key may be the query's own position
(`key(x) <= query(x)`), or the one that has the value looked for, where x takes all values that y can have.
"""

import itertools
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, final

import numpy as np

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import Elementwise, SOp
from gaugeblock.programs.language.merging import merge
from gaugeblock.programs.language.operations import MISSING, selects
from gaugeblock.programs.language.selector import And, Get, Select, Selector
from gaugeblock.programs.language.tree import located, postorder
from gaugeblock.programs.program import Program
from gaugeblock.programs.proofs.facts import Facts, Row
from gaugeblock.programs.proofs.formulas import Formula, condition_on_key, condition_on_query, fixed_by
from gaugeblock.programs.proofs.functions import COMPARISONS, respects_equality

ENUMERATED: Final = 100_000
"""Inputs that are gone through where no rule proves what a `.get` needs, if the domain has no more."""

SEARCHED: Final = 20_000
"""Inputs of smaller sizes among which a counterexample is looked for where the domain has more."""

SAMPLED: Final = 300
"""Inputs of the full size that are sampled besides."""


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
class Claim:
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


def check_gets(program: Program, enumerate_up_to: int = ENUMERATED) -> tuple[Claim, ...]:
    """A claim for each `.get` of the program, operands first. The answer is kept with the program.

    Raises ProgramError where one selects no key or keys that differ, with a smallest input on which it does.
    """
    kept: dict[int, tuple[Claim, ...]] = program.__dict__.setdefault("_checked_gets", {})
    if enumerate_up_to not in kept:
        kept[enumerate_up_to] = _check_gets(program, enumerate_up_to)
    return kept[enumerate_up_to]


def _check_gets(program: Program, enumerate_up_to: int) -> tuple[Claim, ...]:
    (output,) = merge(program.output)
    gets = [node for node in postorder(output) if isinstance(node, Get)]
    if not gets:
        return ()
    facts = Facts(program, output)
    proofs = [(at_most_one(facts, get), _some_key(facts, get)) for get in gets]
    unproved = [get for get, (most, least) in zip(gets, proofs, strict=True) if most is None or least is None]
    seen = _seen(program, unproved, enumerate_up_to) if unproved else None
    return tuple(
        Claim(get, located(get), _verdict(most, seen), least or _verdict(None, seen), get.unique)
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
    small = list(smaller_inputs(program, min(limit, SEARCHED)))
    _run(program, gets, small)  # first, since counterexamples among them are small
    _run(program, gets, program.sample(np.random.default_rng(0), SAMPLED))
    return Verdict("assumed", f"no exception on {len(small):,} smaller inputs and {SAMPLED} samples")


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
    for kinds in range(len(vocab), 0, -1):
        chosen = np.linspace(0, len(vocab) - 1, kinds).round().astype(int)  # the first and the last among them
        part = tuple(vocab[i] for i in chosen)
        found = domain.enumerate(part, program.max_len, limit // 2)
        if found is not None:
            yield from (xs for xs in found if len(xs) > longest)
            return


# at most one


@final
@dataclass(frozen=True)
class _Pair:
    """What is known of two keys that a query selects.

    Attributes:
        both: comparisons that hold of both.
        first, second: comparisons that look at the key only, and whether they hold.
    """

    both: tuple[Select, ...]
    first: tuple[tuple[Select, bool], ...]
    second: tuple[tuple[Select, bool], ...]


def at_most_one(facts: Facts, get: Get) -> str | None:
    """Why all keys that a query selects have one value; None if no rule proves it."""
    if facts.uniform(get.value):
        return "the value is the same at all positions"
    if get.score is not None and (reason := _agree(facts, get, _Pair((), (), ()))):
        return reason
    for selector in (get.selector, *_conjuncts(get.selector)):
        formula = facts.formula(selector)
        pairs = None if formula is None else _pairs(facts, formula)
        if pairs is not None:
            reasons = [_agree(facts, get, pair) for pair in pairs]
            if all(reasons):
                found = dict.fromkeys(reason for reason in reasons if reason)
                return "; ".join(found) or "by position, no query selects two keys at any length"
    return None


def _conjuncts(selector: Selector) -> Iterator[Selector]:
    """The parts that a selector is a conjunction of, if it is one."""
    stack = list(reversed(selector.operands)) if isinstance(selector, And) else []
    while stack:
        part = stack.pop()
        if isinstance(part, And):
            stack.extend(reversed(part.operands))
        else:
            yield part


def _pairs(facts: Facts, formula: Formula) -> list[_Pair] | None:
    """Every kind of pair of keys that a query may select; None if there are too many."""
    free = [i for i in range(len(formula.atoms)) if i not in formula.known]
    queries = [i for i in free if condition_on_query(formula.atoms[i]) is not None]
    fixing = [i for i in range(len(formula.atoms)) if fixed_by(formula.atoms[i])]
    on_key = [i for i in free if (x := condition_on_key(formula.atoms[i])) is not None and facts.table(x) is not None]
    columns = list(dict.fromkeys([*formula.known, *queries, *fixing, *on_key]))
    selected = np.argwhere(formula.holds & formula.possible)
    states = np.unique(selected[:, columns], axis=0) if len(selected) else selected
    if len(states) > 200:
        return None
    meet = _codes_that_meet(facts, formula)
    t = len(formula.known)
    codes = states[:, :t] @ (2 ** np.arange(t)[::-1])
    found: dict[_Pair, None] = {}
    for (a, b), (x, y) in zip(
        itertools.combinations_with_replacement(codes.tolist(), 2),
        itertools.combinations_with_replacement(states.tolist(), 2),
        strict=True,
    ):
        first, second = dict(zip(columns, x, strict=True)), dict(zip(columns, y, strict=True))
        if meet[a, b] and all(first[i] == second[i] for i in queries):
            both = tuple(formula.atoms[i] for i in fixing if first[i] and second[i])
            at = [tuple((formula.atoms[i], bool(bits[i])) for i in on_key) for bits in (first, second)]
            found[_Pair(both, *at)] = None
    return list(found)


def _codes_that_meet(facts: Facts, formula: Formula) -> np.ndarray:
    """Which two combinations of known comparisons occur at two keys of one query."""
    kinds = 2 ** len(formula.known)
    meet = np.zeros((kinds, kinds), dtype=bool)
    if not formula.known:  # of any length
        return ~meet
    for n in facts.lengths:
        counts = np.stack([(formula.codes(n) == kind).sum(1) for kind in range(kinds)], axis=1)
        present = (counts > 0).astype(int)
        meet |= (present.T @ present > 0) & ~np.eye(kinds, dtype=bool)
        meet |= np.diag((counts > 1).any(0))
    return meet


def _agree(facts: Facts, get: Get, pair: _Pair) -> str | None:
    """Why the values at such two keys are equal; None if no rule proves it."""
    scores = () if get.score is None else (get.score,)
    fixed = list({id(x): x for x in (*scores, *(x for atom in pair.both for x in fixed_by(atom)))}.values())
    for x in fixed:
        if facts.distinct(x):
            return f"no two positions have the same {_called(x)}"
    names = " and ".join(_called(x) for x in fixed) or "condition"
    if fixed and _computed_from(facts, get.value, fixed):
        return f"the value is computed from the same {names}"
    known = [x for x in fixed if facts.table(x) is not None]
    watched = {id(x): x for atom, _ in (*pair.first, *pair.second) if (x := condition_on_key(atom)) is not None}
    xs = [*{id(x): x for x in (*known, *watched.values())}.values()]
    place = {id(x): i for i, x in enumerate(xs)}

    def may_be(conditions: tuple[tuple[Select, bool], ...]) -> Callable[[int, Row], bool]:
        def check(n: int, row: Row) -> bool:
            for atom, holds in conditions:
                if any(
                    selects(atom.predicate, row.values[place[id(atom.key)]], c) != holds for c in constant[id(atom)]
                ):
                    return False
            return all(row.values[place[i]] in sought[n] for i, sought in targets)

        return check

    constant = {id(atom): facts.values(atom.query, 1) or () for atom, _ in (*pair.first, *pair.second)}
    targets = [(id(a.key), values) for a in pair.both if id(a.key) in place and (values := _sought(facts, a))]
    first, second = may_be(pair.first), may_be(pair.second)

    def same(row: Row) -> Any:
        return tuple(row.values[place[id(x)]] for x in known)

    if not xs:
        return None
    table = facts.table(*xs, get.value)
    if table is not None and facts.separate(table, same, lambda row: row.values[-1], first, second):
        return f"going through all values, the same {names} always comes with the same value"
    table = facts.table(*xs)
    if table is not None and facts.separate(table, same, lambda row: row.position, first, second):
        return f"going through all values, no two positions have the same {names}"
    return None


def _sought(facts: Facts, atom: Select) -> dict[int, set[Any]] | None:
    """The values that a key must have to equal the query, for each length."""
    found = {n: facts.values(atom.query, n) for n in facts.lengths}
    if atom.predicate is not operator.eq or any(values is None for values in found.values()):
        return None
    return {n: set(values or ()) for n, values in found.items()}


def _computed_from(facts: Facts, value: SOp, fixed: list[SOp]) -> bool:
    """Whether the value at a position follows from those of `fixed` there, as they are compared."""
    known = {id(x) for x in fixed}
    stack = [(value, False)]
    seen: set[tuple[int, bool]] = set()
    while stack:
        x, exactly = stack.pop()  # exactly: a function may tell apart values that are equal
        if (
            (id(x), exactly) in seen
            or facts.uniform(x)
            or (id(x) in known and not (exactly and not facts.told_apart(x)))
        ):
            continue
        seen.add((id(x), exactly))
        if not isinstance(x, Elementwise):
            return False
        stack += [(o, exactly or not respects_equality(x.f)) for o in x.operands]
    return True


def _called(x: SOp) -> str:
    return x.name or "value"


# at least one


def at_least_one(facts: Facts, get: Get) -> str | None:
    """Why every query selects a key; None if no rule proves it."""
    if get.score is not None and not facts.defined(get.score):
        return None
    formula = facts.formula(get.selector)
    if formula is None:
        return None
    atoms = formula.atoms
    free = [i for i in range(len(atoms)) if i not in formula.known]
    queries = [i for i in free if condition_on_query(atoms[i]) is not None]
    own = {
        i: bool(atoms[i].predicate(0, 0))
        for i in free
        if atoms[i].key is atoms[i].query and atoms[i].predicate in COMPARISONS and facts.equals_itself(atoms[i].key)
    }
    met = [i for i in free if i not in queries and _is_met(facts, atoms[i])]
    somewhere, itself = _certain(formula, queries, {}), _certain(formula, queries, own)
    found = [_certain(formula, queries, {i: True}) for i in met]
    by_position = by_itself = True
    for n in facts.lengths:
        codes = formula.codes(n)
        selected = somewhere[codes].any(1)
        by_position = by_position and bool(selected.all())
        selected |= itself[codes.diagonal()]
        by_itself = by_itself and bool(selected.all())
        for certain in found:
            selected |= certain[codes].all(1)
        if not selected.all():
            return None
    if by_position:
        return "by position, every query selects a key at every length"
    if by_itself:
        return "every position selects itself"
    return " and ".join(f"{_called(atoms[i].key)} takes every value that is looked for" for i in met)


def _certain(formula: Formula, queries: list[int], given: dict[int, bool]) -> np.ndarray:
    """Whether the selector holds whatever the other comparisons say: [code of the known ones, of those on queries]."""
    m = len(formula.atoms)
    holds = formula.holds | ~formula.possible
    for i, value in given.items():
        holds = np.repeat(holds.take([int(value)], axis=i), 2, axis=i)
    first = [*formula.known, *queries]
    holds = holds.transpose([*first, *(i for i in range(m) if i not in first)])
    return holds.reshape(2 ** len(formula.known), 2 ** len(queries), -1).all(-1)


def _is_met(facts: Facts, atom: Select) -> bool:
    """Whether for every value that the query may have, some key is certain to have one that fits."""
    for n in facts.lengths:
        wanted, taken = facts.values(atom.query, n), facts.taken(atom.key, n)
        if wanted is None or not taken or len(wanted) * len(taken) > 10_000:
            return False
        try:
            if not all(any(selects(atom.predicate, k, q) for k in taken) for q in wanted):
                return False
        except Exception:  # a predicate that raises on values that perhaps never meet
            return False
    return True
