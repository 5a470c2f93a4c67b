"""Does an expression hold numbers? Followed through a few hundred made-up positions.

Dialects of RASP have one aggregation whose meaning depends on the values: numbers are averaged or summed, anything
else is copied from the one key selected. Here tokens and indices are drawn at random, functions are called, reductions
draw from the values they read. An expression holds numbers if every value that turned up is one (booleans are 0 and
1). A rare text may be missed; the sum or mean that is then built says so when it meets that text. Nothing is ever
quietly wrong.
"""

import random
from collections.abc import Sequence
from numbers import Real
from typing import Any, Final, final

from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import MISSING, Value, apply, divide
from gaugeblock.programs.language.selector import Get, Mean, Sum
from gaugeblock.programs.language.tree import Node, postorder

MADE_UP_POSITIONS: Final = 256
"""How many positions are made up, or as many as there are tokens or indices."""


@final
class NumberSearch:
    """Made-up values of expressions over some tokens, at lengths up to `max_len`; drawn once per node."""

    def __init__(self, vocab: Sequence[Value], max_len: int) -> None:
        self._vocab = vocab
        self._max_len = max(max_len, 2)
        self._random = random.Random(0)
        self._count = max(MADE_UP_POSITIONS, len(vocab), self._max_len)
        self._examples: dict[Node, list[Value]] = {}

    def holds_numbers(self, sop: SOp) -> bool:
        """Whether the values are numbers or booleans, as far as they turned up."""
        for node in postorder(sop, leaves=self._examples):
            if node not in self._examples:
                self._examples[node] = self._made_up(node) if isinstance(node, SOp) else []
        return all(isinstance(v, Real) for v in self._examples[sop] if v is not None)

    def _made_up(self, node: SOp) -> list[Value]:
        n, rng = self._count, self._random
        match node:
            case Tokens():
                return self._shuffled(self._vocab)
            case Indices():
                return self._shuffled(range(self._max_len))
            case Constant(value=value):
                return [value] * n
            case Elementwise(f=f, operands=operands):
                rows = zip(*(self._examples[x] for x in operands), strict=True)
                return [_attempt(f, values) for values in rows]
            case Get() | Mean() | Sum():
                pool = [v for v in self._examples[node.value] if v is not None]
                drawn = [self._reduced(node, pool) for _ in range(n)]
                default = MISSING if isinstance(node, Sum) else node.default
                return drawn if default is MISSING else [default if rng.random() < 0.25 else v for v in drawn]
        raise TypeError(f"{node!r} is not part of the language")

    def _shuffled(self, values: Sequence[Value]) -> list[Value]:
        repeated = [values[i % len(values)] for i in range(self._count)]
        self._random.shuffle(repeated)
        return repeated

    def _reduced(self, node: Get | Mean | Sum, pool: list[Any]) -> Value:
        """What the reduction might give for some of the values in the pool."""
        if isinstance(node, Get):
            return self._random.choice(pool) if pool else None
        least = 0 if isinstance(node, Sum) else 1
        summands = self._random.choices(pool, k=self._random.randint(least, self._max_len)) if pool else []
        if not all(isinstance(v, Real) for v in summands):
            return None
        total = sum(summands)
        return total if isinstance(node, Sum) or not summands else divide(total, len(summands))


def _attempt(f: Any, values: tuple[Any, ...]) -> Value:
    """The result, or undefined where the function does not take made-up values."""
    try:
        return apply(f, values)
    except Exception:  # whatever a user's function raises
        return None
