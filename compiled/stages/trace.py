"""Stage 1: the program's expression with equal subexpressions merged and every reduction over one conjunction."""

import operator
from dataclasses import dataclass
from typing import Any, final

from gaugeblock.compiled.lowered.selectors import Conjunction, disjoint_conjunctions, on_tuples
from gaugeblock.programs.domain import graph_vocabulary
from gaugeblock.programs.language.expression import Constant, Elementwise, SOp
from gaugeblock.programs.language.merging import merge, rebuilt
from gaugeblock.programs.language.operations import MISSING, divide, together
from gaugeblock.programs.language.selector import And, Get, Mean, Sum
from gaugeblock.programs.language.tree import Node, called_like, postorder
from gaugeblock.programs.program import Program

NO_KEY = "∅"
"""What one of several heads that share a `.get` says where it selects no key."""


@final
@dataclass(frozen=True)
class Trace:
    """A program whose equal subexpressions are merged.

    Attributes:
        program: what was traced.
        output: the merged output expression.
        order: its s-ops and selectors, operands before users; the selector of each reduction is an `And` of `Select`s.
    """

    program: Program
    output: SOp
    order: tuple[Node, ...]

    @property
    def tokens(self) -> tuple[Any, ...]:
        """The distinct inputs a position may hold."""
        program = self.program
        return graph_vocabulary(program.vocab, program.max_len) if program.graph else program.vocab


def trace(program: Program) -> Trace:
    """Merge equal subexpressions and unfold selectors."""
    (merged,) = merge(program.output)
    (unfolded,) = merge(_unfold(merged))
    return Trace(program, unfolded, tuple(postorder(unfolded)))


def _unfold(root: SOp) -> SOp:
    """Rewrite each reduction over several disjoint conjunctions into reductions over one each."""
    new: dict[int, Any] = {}
    for node in postorder(root):
        built = rebuilt(node, new)
        if isinstance(built, (Get, Mean, Sum)):
            terms = disjoint_conjunctions(built.selector, _most_heads(built))
            terms = [(on_tuples(built.selector),)] if terms is None else terms
            built = _over_terms(built, terms) if len(terms) != 1 else _over(built, terms[0])
        new[id(node)] = called_like(built, node)
    return new[id(root)]


def _most_heads(node: Get | Mean | Sum) -> int:
    """The most heads over which one reduction is spread. Sums just add up; what a `.get` finds in each of several heads
    is put together by a table of all combinations."""
    if isinstance(node, Sum):
        return 8
    if isinstance(node, Get) and node.score is None:
        return 6 if isinstance(node.value, Constant) else 3
    return 2


def _over(node: Get | Mean | Sum, term: Conjunction) -> SOp:
    selector = And(term)
    match node:
        case Get():
            return Get(selector, node.value, node.default, node.score, node.largest, node.unique)
        case Mean():
            return Mean(selector, node.value, node.default)
    return Sum(selector, node.value)


def _over_terms(node: Get | Mean | Sum, terms: list[Conjunction]) -> SOp:
    if not terms:  # a selector that holds nowhere
        return Constant(0) if isinstance(node, Sum) else Constant(None if node.default is MISSING else node.default)
    match node:
        case Sum():
            parts: list[SOp] = [Sum(And(t), node.value) for t in terms]
            total = parts[0]
            for part in parts[1:]:
                total = Elementwise(operator.add, (total, part))
            return total
        case Mean():
            total = _over_terms(Sum(node.selector, node.value), terms)
            count = _over_terms(Sum(node.selector, Constant(1)), terms)
            default = None if node.default is MISSING else node.default
            return Elementwise(lambda s, c: divide(s, c) if c else default, (total, count))
        case Get(score=None):
            gets = tuple(Get(And(t), node.value, NO_KEY, unique=node.unique) for t in terms)
            return Elementwise(_FirstSelected(node.default), gets)
    # with a score: each head reports its best (score, value) pair, and the best of them wins
    assert isinstance(node, Get)
    assert node.score is not None
    pair = Elementwise(together, (node.score, node.value))
    bests = tuple(Get(And(t), pair, NO_KEY, node.score, node.largest) for t in terms)
    return Elementwise(_BestSelected(node.default, node.largest), bests)


@final
@dataclass(frozen=True)
class _FirstSelected:
    default: Any

    def __call__(self, *values: Any) -> Any:
        for value in values:
            if value != NO_KEY:
                return value
        return None if self.default is MISSING else self.default


@final
@dataclass(frozen=True)
class _BestSelected:
    default: Any
    largest: bool

    def __call__(self, *pairs: Any) -> Any:
        selected = [p for p in pairs if p != NO_KEY]
        if not selected:
            return None if self.default is MISSING else self.default
        return (max if self.largest else min)(selected, key=lambda p: p[0])[1]
