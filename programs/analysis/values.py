"""The values that the s-ops of a program take, and how many keys its selectors select."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np

from gaugeblock.programs.analysis.inputs import MAX_INPUTS_ENUMERATED, chunks, domain_inputs
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.columns import CodedValues
from gaugeblock.programs.language.expression import Constant, SOp
from gaugeblock.programs.language.merging import merge
from gaugeblock.programs.language.operations import Value
from gaugeblock.programs.language.selector import Get, Mean, Selector, Sum
from gaugeblock.programs.language.tree import located, postorder
from gaugeblock.programs.program import Program


@final
@dataclass(frozen=True)
class Width:
    """How many keys a selector selects: the fewest and the most at any query.

    Attributes:
        label: its name, or that of the reduction that uses it, and the line.
        exact: whether every input of the domain was looked at; otherwise the numbers are those of samples.
    """

    selector: Selector
    label: str
    smallest: int
    largest: int
    exact: bool


@final
@dataclass(frozen=True)
class Reached:
    """The values that an s-op takes.

    Attributes:
        label: its name and line.
        values: all of them, in order where they have one.
        by_position: the values at each position; None where all positions that occur have the same.
        exact: whether every input of the domain was looked at; otherwise more values may be possible.
    """

    node: SOp
    label: str
    values: tuple[Value, ...]
    by_position: tuple[tuple[Value, ...], ...] | None
    exact: bool


def selector_widths(program: Program, enumerate_up_to: int = MAX_INPUTS_ENUMERATED) -> tuple[Width, ...]:
    """How many keys each selector that is reduced selects, in the order in which they are needed."""
    (output,) = merge(program.output)
    users: dict[Selector, SOp] = {}
    for node in postorder(output):
        if isinstance(node, (Get, Mean, Sum)):
            users.setdefault(node.selector, node)
    inputs, exact = domain_inputs(program, enumerate_up_to)
    seen = _observe([Sum(selector, Constant(1)) for selector in users], inputs, program.max_len)
    widths = []
    for (selector, user), positions in zip(users.items(), seen, strict=True):
        counts: list[Any] = [count for values in positions for _, count in values]
        label = located(selector) if selector.name else f"the selector of {located(user)}"
        widths.append(Width(selector, label, min(counts, default=0), max(counts, default=0), exact))
    return tuple(widths)


def reachable(program: Program, enumerate_up_to: int = MAX_INPUTS_ENUMERATED) -> tuple[Reached, ...]:
    """The values that each s-op of the program takes over the domain, operands first, constants left out."""
    (output,) = merge(program.output)
    nodes = [n for n in postorder(output) if isinstance(n, SOp) and not isinstance(n, Constant)]
    inputs, exact = domain_inputs(program, enumerate_up_to)
    reached = []
    for node, positions in zip(nodes, _observe(nodes, inputs, program.max_len), strict=True):
        occurring = [values for values in positions if values]
        same = all(values.keys() == occurring[0].keys() for values in occurring)
        everywhere = {key: value for values in occurring for key, value in values.items()}
        by_position = None if same else tuple(_ordered(values.values()) for values in positions)
        reached.append(Reached(node, located(node), _ordered(everywhere.values()), by_position, exact))
    return tuple(reached)


_Values = dict[tuple[type, Value], Value]
"""Values by type and value, since True == 1."""


def _observe(nodes: Sequence[SOp], inputs: Sequence[list[Any]], max_len: int) -> list[list[_Values]]:
    """For each s-op, the values it takes at each position."""
    seen: list[list[_Values]] = [[{} for _ in range(max_len)] for _ in nodes]
    for chunk in chunks(inputs):
        for positions, column in zip(seen, evaluate(nodes, chunk), strict=True):
            for position, values in enumerate(_by_position(column)):
                positions[position].update({(type(v), v): v for v in values})
    return seen


def _by_position(column: CodedValues) -> Iterator[Iterable[Value]]:
    for codes in column.codes.T:
        yield [column.values[c] for c in np.unique(codes) if c >= 0]


def _ordered(values: Iterable[Value]) -> tuple[Value, ...]:
    """Numbers first, in their order; then the rest by how they are written; undefined last."""

    def rank(value: Any) -> tuple[int, Any, str]:
        if isinstance(value, (int, float, Fraction)):
            return 0, value, type(value).__name__
        return 2 if value is None else 1, 0, repr(value)

    return tuple(sorted(values, key=rank))
