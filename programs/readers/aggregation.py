"""From an expression of another dialect, in which `Mean` stands for that dialect's aggregation, to a program."""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

from gaugeblock.programs.errors import InputError
from gaugeblock.programs.language.expression import Constant, Elementwise, SOp
from gaugeblock.programs.language.functions import indices
from gaugeblock.programs.language.merging import Merger, merge, rebuilt
from gaugeblock.programs.language.operations import Value, plain, together
from gaugeblock.programs.language.selector import And, Get, Mean, Select, Selector
from gaugeblock.programs.language.tree import called_like, located, postorder
from gaugeblock.programs.program import Program
from gaugeblock.programs.proofs.facts import Facts
from gaugeblock.programs.proofs.uniqueness import at_most_one
from gaugeblock.programs.readers.numbers import NumberSearch

Aggregation = Callable[[Mean], SOp]
"""What the aggregation of a dialect is, in our language, where several keys may be selected and hold numbers."""


@final
class Lookups:
    """Tells which selectors select one key at most; what is proved for one of a text is kept for the next."""

    def __init__(self, vocab: tuple[Value, ...], max_len: int) -> None:
        self._merge = Merger()
        self._facts = Facts(vocab, max_len)
        self._answers: dict[SOp, bool] = {}

    def selects_at_most_one(self, selector: Selector) -> bool:
        """Whether it is proved that no query selects two keys, whose indices would differ."""
        (index,) = self._merge(Get(selector, indices, 0))
        if index not in self._answers:
            self._facts.add(index)
            self._answers[index] = at_most_one(self._facts, index) is not None
        return self._answers[index]


def settle(root: SOp, vocab: Iterable[Value], max_len: int, aggregation: Aggregation) -> SOp:
    """The expression in which each `Mean` is replaced.

    It becomes `.get(value, default, unique=True)` where it is proved that at most one key is selected, or where the
    values are not all numbers; else what `aggregation` makes of it. Names and lines are kept.
    """
    tokens = tuple(plain(v) for v in vocab)
    numbers, lookups = NumberSearch(tokens, max_len), Lookups(tokens, max_len)
    (merged,) = merge(root)
    new: dict[int, Any] = {}
    for node in postorder(merged):
        built = rebuilt(node, new)
        if isinstance(built, Mean):
            if not numbers.holds_numbers(built.value) or lookups.selects_at_most_one(built.selector):
                built = Get(built.selector, built.value, built.default, unique=True)
            else:
                built = aggregation(built)
        new[id(node)] = called_like(built, node)
    return new[id(merged)]


def program_of(
    root: SOp, vocab: Iterable[Any], max_len: int, aggregation: Aggregation, name: str, **options: Any
) -> Program:
    """The program that computes the expression; `options` are other fields of a Program."""
    tokens = tuple(vocab)
    output = settle(root, tokens, max_len, aggregation) if tokens else root  # Program refuses an empty vocabulary
    return Program(name, _Settled(output), tokens, max_len, **options)


@final
@dataclass(frozen=True, eq=False)
class _Settled:
    """The build of a program whose output is there already."""

    output: SOp

    def __call__(self, tokens: SOp, indices: SOp) -> SOp:
        return self.output


def values_on(root: SOp, xs: Iterable[Any], aggregation: Aggregation) -> list[Any]:
    """The expression's values on one input; undefined is None, fractions are floats."""
    tokens = list(xs)
    if not tokens:
        raise InputError("an empty input was given; an s-op needs a token or more")
    name = root.name or located(root)
    return program_of(root, dict.fromkeys(tokens), len(tokens), aggregation, name)(tokens)


def rows_on(selector: Selector, xs: Iterable[Any], aggregation: Aggregation) -> list[list[bool]]:
    """Which keys each query selects on one input, as [query][key]."""
    tokens = list(xs)
    at_key = [And((selector, Select(indices, Constant(j), operator.eq))) for j in range(len(tokens))]
    columns = tuple(Get(selected, Constant(True), False) for selected in at_key)
    return [list(row) for row in values_on(Elementwise(together, columns), tokens, aggregation)]
