"""What can be said of a program besides its output: whether it is causal, its depth, what its parts take and select."""

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, final

import numpy as np

from gaugeblock.programs.interpreter import Column, evaluate
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.merging import merge
from gaugeblock.programs.language.operations import Value, divide, together
from gaugeblock.programs.language.selector import Get, Mean, Selector, Sum
from gaugeblock.programs.language.tree import Node, children, located, postorder
from gaugeblock.programs.program import Program
from gaugeblock.programs.proofs.facts import Facts
from gaugeblock.programs.proofs.uniqueness import at_most_one, smaller_inputs

ENUMERATED: Final = 100_000
"""Inputs that are gone through, if the domain has no more."""

SAMPLED: Final = 2_000
"""Inputs that are sampled where the domain has more."""

CHUNK: Final = 5_000
"""Inputs evaluated at a time."""

EXCHANGED: Final = 500
"""Samples whose beginnings and ends are exchanged to look for an output that depends on what follows."""

# causality


@final
@dataclass(frozen=True)
class Counterexample:
    """Two inputs that are equal up to `position`, at which the outputs differ."""

    input: list[Any]
    other: list[Any]
    position: int
    output: Value
    other_output: Value

    def __str__(self) -> str:
        outputs = f"{self.output!r} for {self.input!r}, {self.other_output!r} for {self.other!r}"
        return f"at position {self.position} the output is {outputs}"


@final
@dataclass(frozen=True)
class Causality:
    """Whether the output at each position depends on tokens up to that position only.

    Attributes:
        causal: false if a counterexample was found.
        how: "by construction": every selector selects keys up to the query only. "enumerated": seen on every input
            of the domain. "observed": no counterexample was found, which proves nothing. Of a program that is not
            causal, which inputs the counterexample was found among.
        inputs: how many inputs were looked at.
        counterexample: a smallest one among those inputs.
    """

    causal: bool
    how: Literal["by construction", "enumerated", "observed"]
    inputs: int
    counterexample: Counterexample | None

    def __str__(self) -> str:
        if self.counterexample is not None:
            return f"not causal: {self.counterexample}"
        if self.how == "by construction":
            return "causal by construction"
        return f"causal on {'all' if self.how == 'enumerated' else 'the'} {self.inputs:,} inputs looked at"


def is_causal(program: Program, enumerate_up_to: int = ENUMERATED) -> Causality:
    """Whether what follows a position has no influence on the output there; how long the input is included.

    Looks at all inputs of the domain up to `enumerate_up_to`; else at small ones, and at samples that are cut off or
    continued differently.
    """
    (output,) = merge(program.output)
    if _looks_back_only(Facts(program, output), output):
        return Causality(True, "by construction", 0, None)
    everything = program.domain.enumerate(program.vocab, program.max_len, enumerate_up_to)
    inputs = list(_with_other_ends(program, enumerate_up_to) if everything is None else everything)
    found = _first_difference(output, sorted(inputs, key=len))
    how: Literal["enumerated", "observed"] = "observed" if everything is None else "enumerated"
    return Causality(found is None, how, len(inputs), found)


def _looks_back_only(facts: Facts, output: SOp) -> bool:
    """Whether no reduction selects a key after its query, as far as comparisons of positions tell."""
    return all(facts.looks_back(node.selector) for node in postorder(output) if isinstance(node, (Get, Mean, Sum)))


def _with_other_ends(program: Program, limit: int) -> Iterator[list[Any]]:
    """Small inputs, and samples in the beginnings of which other samples go on, or nothing does."""
    yield from smaller_inputs(program, min(limit, 2 * CHUNK))
    rng = np.random.default_rng(0)
    samples = program.sample(rng, EXCHANGED)
    yield from samples
    for xs, other in itertools.pairwise(samples):
        cut = int(rng.integers(1, len(xs) + 1))
        for changed in (xs[:cut], xs[:cut] + other[cut:]):
            if program.domain.contains(changed):
                yield changed


def _first_difference(output: SOp, inputs: Sequence[list[Any]]) -> Counterexample | None:
    """The first input, in the order given, whose output differs from an earlier one's although the tokens so far agree.

    Its partner is the shortest, and the position the first.
    """
    first: dict[tuple[Any, ...], tuple[Value, list[Any]]] = {}
    for xs, row in _rows(output, inputs):
        for position, value in enumerate(row):
            expected, other = first.setdefault(tuple(xs[: position + 1]), (value, xs))
            if expected != value:
                return Counterexample(other, xs, position, expected, value)
    return None


def _rows(output: SOp, inputs: Sequence[list[Any]]) -> Iterator[tuple[list[Any], list[Value]]]:
    for chunk in _chunks(inputs):
        (column,) = evaluate([output], chunk)
        for xs, codes in zip(chunk, column.codes.tolist(), strict=True):
            yield xs, [column.values[c] for c in codes[: len(xs)]]


def _chunks(inputs: Sequence[list[Any]]) -> Iterator[Sequence[list[Any]]]:
    for start in range(0, len(inputs), CHUNK):
        yield inputs[start : start + CHUNK]


# depth


@final
@dataclass(frozen=True)
class RaspDepth:
    """Layers of a RASP program and the heads in each, as its authors count them (`rasp_depth`)."""

    layers: int
    heads: tuple[int, ...]


def rasp_depth(program: Program) -> RaspDepth:
    """Layers and heads as RASP counts them (Weiss et al. 2021, section 3).

    Every reduction stands in the first layer after those of the reductions that its keys, queries, scores and values
    are computed from; elementwise operations need no layer of their own. The heads of a layer are the different
    selectors that are reduced in it, each counted once however many values are read with it; a selector narrowed by
    `.best` is one of its own. How selectors are combined from comparisons does not count.
    """
    (output,) = merge(program.output)
    layer: dict[int, int] = {}
    heads: dict[int, set[tuple[Any, ...]]] = {}
    for node in postorder(output):
        below = max((layer[id(child)] for child in children(node)), default=0)
        if isinstance(node, (Get, Mean, Sum)):
            below += 1
            score = (id(node.score), node.largest) if isinstance(node, Get) and node.score is not None else ()
            heads.setdefault(below, set()).add((id(node.selector), *score))
        layer[id(node)] = below
    layers = layer[id(output)]
    return RaspDepth(layers, tuple(len(heads[i]) for i in range(1, layers + 1)))


@final
@dataclass(frozen=True)
class LowerBound:
    """The fewest half layers for a program (`depth_lower_bound`).

    Attributes:
        half_layers: attention sublayers are the 1st, 3rd, ..., MLPs the 2nd, 4th, ...
        attention: attention sublayers among them.
        chain: the s-ops that force it, in order: each waits for the one before.
    """

    half_layers: int
    attention: int
    chain: tuple[SOp, ...]

    @property
    def layers(self) -> int:
        """Layers of attention and MLP; the last one may have no use for its MLP."""
        return (self.half_layers + 1) // 2


@final
@dataclass(frozen=True)
class _Ready:
    """When an s-op stands in the residual stream: after how many half layers, and which s-op it waited for.

    Attributes:
        linear: ready as directions that a linear map can read, by attention or as output.
        raw: ready in any form that an MLP can use. The sum of several selected values is raw first: attention
            averages, so that an MLP has to multiply by how many were selected.
    """

    linear: int
    raw: int
    after: SOp | None


def depth_lower_bound(program: Program) -> LowerBound:
    """The fewest half layers in which attention and MLPs alternate, attention first, that can hold the program.

    It is a bound under these assumptions:

    - the data flow is that of the program as written, equal subexpressions merged: no algebra, and outputs as numbers
      or one-hot;
    - a reduction is one attention sublayer, whatever its selector, once all it reads stand in the stream in a form
      that a linear map can read;
    - the embedding holds every function of the token or of the position alone, but none of both;
    - what is selected from one key at most stands there as one-hot after attention, and any function of it alone can
      be read linearly; a mean over more keys stands there as a number; a sum or count over more needs the MLP that
      follows, because attention averages;
    - sums, differences and constant multiples are read linearly. Any other function of two s-ops, or of a mean, is
      one MLP, together with everything elementwise below it.
    """
    (output,) = merge(program.output)
    one_hot = _from_one_key(program, output)
    ready: dict[int, _Ready] = {}
    variables: dict[int, frozenset[SOp]] = {}  # what an s-op is computed from elementwise
    for node in postorder(output):
        variables[id(node)] = _variables(node, variables)
        ready[id(node)] = _ready(node, ready, variables[id(node)], one_hot)
    end = ready[id(output)]
    chain: list[SOp] = [output] if end.linear else []
    while chain and (before := ready[id(chain[-1])].after) is not None:
        chain.append(before)
    attention = sum(isinstance(node, (Get, Mean, Sum)) for node in chain)
    return LowerBound(end.linear, attention, tuple(reversed(chain)))


def _from_one_key(program: Program, output: SOp) -> frozenset[SOp]:
    """The reductions that are certain to select one key at most, and every `.get`."""
    totals = [node for node in postorder(output) if isinstance(node, (Mean, Sum))]
    merged = merge(output, *(Get(node.selector, Indices()) for node in totals))  # equal values: the same key
    facts = Facts(program, *merged)
    gets = [node for node in postorder(output) if isinstance(node, Get)]
    single = [node for node, get in zip(totals, merged[1:], strict=True) if at_most_one(facts, get)]
    return frozenset((*gets, *single))


def _variables(node: Node, variables: dict[int, frozenset[SOp]]) -> frozenset[SOp]:
    if isinstance(node, Constant) or not isinstance(node, SOp):
        return frozenset()
    if isinstance(node, Elementwise):
        return frozenset().union(*(variables[id(o)] for o in node.operands))
    return frozenset([node])


def _ready(node: Node, ready: dict[int, _Ready], variables: frozenset[SOp], one_hot: frozenset[SOp]) -> _Ready:
    below = [(ready[id(child)], child) for child in children(node)]
    last, waited = max(((r.linear, child) for r, child in below), key=lambda pair: pair[0], default=(0, None))
    after = None if not last or waited is None else waited if isinstance(waited, SOp) else ready[id(waited)].after
    if isinstance(node, (Get, Mean, Sum)):
        time = last + 1 + last % 2
        needs_mlp = isinstance(node, Sum) and node not in one_hot
        return _Ready(time + needs_mlp, time, after)
    if isinstance(node, Elementwise) and variables and not _is_read_linearly(node, variables, one_hot):
        raw, slowest = max(((ready[id(v)].raw, v) for v in variables), key=lambda pair: pair[0])
        time = raw + 2 - raw % 2
        return _Ready(time, time, slowest if raw else None)
    return _Ready(last, last, after)


def _is_read_linearly(node: Elementwise, variables: frozenset[SOp], one_hot: frozenset[SOp]) -> bool:
    """Whether a linear map can read the node from its operands, or from the one variable it is a function of."""
    if all(isinstance(v, Tokens) for v in variables):
        return True
    if len(variables) == 1 and all(isinstance(v, Indices) or v in one_hot for v in variables):
        return True
    constant = [isinstance(x, Constant) for x in node.operands]
    if node.f in (together, operator.add, operator.sub, operator.neg):
        return True
    return (node.f is operator.mul and any(constant)) or (node.f is divide and constant[1])


# observed values


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


def selector_widths(program: Program, enumerate_up_to: int = ENUMERATED) -> tuple[Width, ...]:
    """How many keys each selector that is reduced selects, in the order in which they are needed."""
    (output,) = merge(program.output)
    users: dict[Selector, SOp] = {}
    for node in postorder(output):
        if isinstance(node, (Get, Mean, Sum)):
            users.setdefault(node.selector, node)
    inputs, exact = _inputs(program, enumerate_up_to)
    seen = _observe([Sum(selector, Constant(1)) for selector in users], inputs, program.max_len)
    widths = []
    for (selector, user), positions in zip(users.items(), seen, strict=True):
        counts: list[Any] = [count for values in positions for _, count in values]
        label = located(selector) if selector.name else f"the selector of {located(user)}"
        widths.append(Width(selector, label, min(counts, default=0), max(counts, default=0), exact))
    return tuple(widths)


def reachable(program: Program, enumerate_up_to: int = ENUMERATED) -> tuple[Reached, ...]:
    """The values that each s-op of the program takes over the domain, operands first, constants left out."""
    (output,) = merge(program.output)
    nodes = [n for n in postorder(output) if isinstance(n, SOp) and not isinstance(n, Constant)]
    inputs, exact = _inputs(program, enumerate_up_to)
    found = []
    for node, positions in zip(nodes, _observe(nodes, inputs, program.max_len), strict=True):
        occurring = [values for values in positions if values]
        same = all(values.keys() == occurring[0].keys() for values in occurring)
        everywhere = {key: value for values in occurring for key, value in values.items()}
        by_position = None if same else tuple(_ordered(values.values()) for values in positions)
        found.append(Reached(node, located(node), _ordered(everywhere.values()), by_position, exact))
    return tuple(found)


def _inputs(program: Program, limit: int) -> tuple[list[list[Any]], bool]:
    """Every input of the domain, or samples; and whether it is every one."""
    everything = program.domain.enumerate(program.vocab, program.max_len, limit)
    if everything is not None:
        return list(everything), True
    return program.sample(np.random.default_rng(0), SAMPLED), False


_Values = dict[tuple[type, Value], Value]
"""Values by type and value, since True == 1."""


def _observe(nodes: Sequence[SOp], inputs: Sequence[list[Any]], max_len: int) -> list[list[_Values]]:
    """For each s-op, the values it takes at each position."""
    seen: list[list[_Values]] = [[{} for _ in range(max_len)] for _ in nodes]
    for chunk in _chunks(inputs):
        for positions, column in zip(seen, evaluate(nodes, chunk), strict=True):
            for position, values in enumerate(_by_position(column)):
                positions[position].update({(type(v), v): v for v in values})
    return seen


def _by_position(column: Column) -> Iterator[Iterable[Value]]:
    for codes in column.codes.T:
        yield [column.values[c] for c in np.unique(codes) if c >= 0]


def _ordered(values: Iterable[Value]) -> tuple[Value, ...]:
    """Numbers first, in their order; then the rest by how they are written; undefined last."""

    def rank(value: Any) -> tuple[int, Any, str]:
        if isinstance(value, (int, float, Fraction)):
            return 0, value, type(value).__name__
        return 2 if value is None else 1, 0, repr(value)

    return tuple(sorted(values, key=rank))
