"""Stage 2: for each s-op when it can be known, what it is computed from, and which values it may take.

Time counts half layers: 0 is the embedding, 2l + 1 the attention of layer l, 2l + 2 its MLP. An elementwise
expression is computed in one MLP from the *variables* it reads: tokens, indices, attention outputs, and those
subexpressions that are ready earlier and become variables of their own.

Value sets cover every combination of values of the variables read, not only those that occur, so that a model in
which one read is replaced still computes the program with that read replaced.
"""

import operator
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np

from gaugeblock.compiled.tables import Column, elementwise, is_number, means, ordered, sums
from gaugeblock.compiled.trace import Trace
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.expression import Constant, Elementwise, Get, Indices, Mean, Select, SOp, Sum, Tokens
from gaugeblock.programs.operations import MISSING

Encoding = Literal["onehot", "scalar", "ratio"]

MAX_TABLE = 300_000
"""Largest number of entries of one elementwise table."""

MAX_VALUES = 20_000
"""Largest number of values of one variable."""


@final
@dataclass(frozen=True)
class Fact:
    """What is known of an s-op.

    Attributes:
        time: the earliest half layer after which it is in the residual stream (or, for a function of one
            one-hot variable, can be read from it).
        reads: the variables it is computed from. A variable reads itself.
        encoding: how it is written if it is a variable. `ratio` is (sum / (1 + count), 1 / (1 + count)).
        table: its value for each combination of the values of `reads`; None for attention outputs and sums of
            staircases, whose values are `values`.
        terms: for a sum of several staircase variables: the summands, each a function of one variable.
    """

    time: int
    reads: tuple[SOp, ...]
    encoding: Encoding
    values: tuple[Any, ...]
    table: Column | None = None
    terms: tuple[SOp, ...] | None = None


@final
@dataclass
class Inference:
    """Facts for every s-op of a trace; `decoded` holds the one-hot copies of staircase variables."""

    trace: Trace
    facts: dict[int, Fact] = field(default_factory=dict)
    decoded: dict[int, Elementwise] = field(default_factory=dict)

    def __getitem__(self, node: SOp) -> Fact:
        return self.facts[id(node)]

    def is_view(self, node: SOp) -> bool:
        """Whether the s-op is a function of at most one one-hot variable, readable without a table of its own."""
        reads = self[node].reads
        return not reads or (len(reads) == 1 and self[reads[0]].encoding == "onehot")

    def readable(self, node: SOp) -> SOp:
        """The s-op itself, or, where attention cannot read its encoding, its one-hot copy."""
        return node if self[node].encoding == "onehot" else self.decode(node)

    def decode(self, node: SOp) -> Elementwise:
        """The one-hot copy of a staircase variable."""
        if id(node) not in self.decoded:
            copy = Elementwise(_identity, (node,))
            copy.name = node.name and f"{node.name}_onehot"
            self.decoded[id(node)] = copy
            self.facts[id(copy)] = _elementwise(self, copy)
        return self.decoded[id(node)]


def infer(trace: Trace) -> Inference:
    """Facts for every s-op of the trace, operands first."""
    known = Inference(trace)
    for node in trace.order:
        known.facts[id(node)] = _fact(known, node)
    return known


def _identity(x: Any) -> Any:
    return x


def _fact(known: Inference, node: SOp) -> Fact:
    n = known.trace.program.max_len
    match node:
        case Tokens():
            return _variable(node, 0, "onehot", known.trace.program.vocab)
        case Indices():
            return _variable(node, 0, "onehot", tuple(range(n)))
        case Constant(value=value):
            return Fact(0, (), "onehot", (value,), Column(np.zeros((), dtype=np.int64), (value,)))
        case Elementwise():
            return _elementwise(known, node)
    assert isinstance(node, (Get, Mean, Sum))
    time = (max(_attention_reads(known, node)) + 1) // 2 * 2 + 1
    values = known[known.readable(node.value)].values
    default = () if isinstance(node, Sum) or node.default is MISSING else (node.default,)
    if isinstance(node, Get):
        return _variable(node, time, "onehot", ordered([*values, *default]))
    kind = "sum" if isinstance(node, Sum) else "mean"
    if bad := [v for v in (*values, *default) if not is_number(v)]:
        raise CompileError(f"{_called(node)} takes the {kind} of {bad[0]!r}, which is not a number")
    reachable = (sums if kind == "sum" else means)(values, n, MAX_VALUES)
    if reachable is None:
        raise CompileError(f"{_called(node)} may take more than {MAX_VALUES} values")
    return _variable(node, time, "ratio" if kind == "sum" else "scalar", ordered([*reachable, *default]))


def _variable(node: SOp, time: int, encoding: Encoding, values: tuple[Any, ...]) -> Fact:
    if len(values) > MAX_VALUES:
        raise CompileError(f"{_called(node)} may take {len(values)} values; at most {MAX_VALUES} are supported")
    return Fact(time, (node,), encoding, values)


def _attention_reads(known: Inference, node: Get | Mean | Sum) -> list[int]:
    sops = [node.value]
    for select in node.selector.operands:  # type: ignore[attr-defined]
        assert isinstance(select, Select)
        sops += [select.key, select.query]
    if isinstance(node, Get) and node.score is not None:
        sops.append(node.score)
    return [known[known.readable(x)].time for x in sops]


def _elementwise(known: Inference, node: Elementwise) -> Fact:
    newest = max((known[v].time for c in node.operands for v in known[c].reads), default=0)
    time = newest // 2 * 2 + 2
    reads = _reads(known, node, time)
    if _staircases(known, reads) > 1:
        if (terms := _summands(known, node)) is not None:
            values = ordered(_sumset(node, [known[t].values for t in terms]))
            return Fact(time, (node,), "scalar", values, None, terms)
        time += 2  # one MLP turns the staircases into one-hot variables, the next combines them
        reads = _reads(known, node, time)
    table = _table(known, node, reads)
    if not reads or (len(reads) == 1 and known[reads[0]].encoding == "onehot"):
        time = max((known[v].time for v in reads), default=0)
    return Fact(time, reads, "onehot", table.values, table)


def _reads(known: Inference, node: Elementwise, time: int) -> tuple[SOp, ...]:
    """The variables read by an MLP at `time`: what is ready earlier enters as a variable of its own."""
    reads: dict[int, SOp] = {}
    for operand in node.operands:
        fact = known[operand]
        ready = fact.time < time and not known.is_view(operand)
        for variable in (operand,) if ready else fact.reads:
            reads[id(variable)] = variable
    if _staircases(known, tuple(reads.values())) > 1:
        for key, variable in list(reads.items()):
            if known[variable].encoding != "onehot" and known[variable].time + 1 < time:
                reads[key] = known.decode(variable)
    return tuple({id(v): v for v in reads.values()}.values())


def _staircases(known: Inference, reads: tuple[SOp, ...]) -> int:
    return sum(known[v].encoding != "onehot" for v in reads)


def _table(known: Inference, node: Elementwise, reads: tuple[SOp, ...]) -> Column:
    """The node's value for each combination of the values of `reads`."""
    sizes = [len(known[v].values) for v in reads]
    if int(np.prod(sizes, dtype=object)) > MAX_TABLE:
        worst = max(reads, key=lambda v: len(known[v].values))
        raise CompileError(
            f"{_called(node)} needs a table of {' x '.join(map(str, sizes))} entries (at most {MAX_TABLE}); "
            f"the variable to blame is {_called(worst)} with {len(known[worst].values)} values"
        )
    axes: dict[int, int] = {}
    for axis, variable in enumerate(reads):
        axes[id(variable)] = axis
        if isinstance(variable, Elementwise) and variable.f is _identity:  # a copy stands for its original
            axes.setdefault(id(variable.operands[0]), axis)
    column = elementwise(node.f, [_over(known, operand, axes, len(reads)) for operand in node.operands])
    return Column(np.broadcast_to(column.codes, sizes), column.values)


def _over(known: Inference, operand: SOp, axes: dict[int, int], n_axes: int) -> Column:
    """An operand's values over the grid of the variables read, of which it is one, or by its own table."""
    fact, shape = known[operand], [1] * n_axes
    if id(operand) in axes:
        shape[axes[id(operand)]] = len(fact.values)
        return Column(np.arange(len(fact.values)).reshape(shape), fact.values)
    assert fact.table is not None
    own = [axes[id(v)] for v in fact.reads]
    codes = fact.table.codes.transpose(np.argsort(own))
    for axis, size in zip(sorted(own), codes.shape, strict=True):
        shape[axis] = size
    return Column(codes.reshape(shape), fact.table.values)


def _summands(known: Inference, node: SOp) -> tuple[SOp, ...] | None:
    """The node as a sum of functions of one variable each, or None."""
    fact = known[node] if id(node) in known.facts else None
    if fact is not None and fact.terms is not None:
        return fact.terms
    if fact is not None and len(fact.reads) <= 1:
        return (node,)
    if isinstance(node, Elementwise) and node.f is operator.add:
        parts = [_summands(known, x) for x in node.operands]
        if all(p is not None for p in parts):
            return tuple(t for p in parts for t in p)  # type: ignore[union-attr]
    return None


def _sumset(node: SOp, sets: list[tuple[Any, ...]]) -> set[Any]:
    total: set[Any] = {0}
    for values in sets:
        if not all(is_number(v) for v in values):
            raise CompileError(f"{_called(node)} adds values that are not all numbers")
        total = {a + b for a in total for b in values}
        if len(total) > MAX_VALUES:
            raise CompileError(f"{_called(node)} may take more than {MAX_VALUES} values")
    return total


def _called(node: SOp) -> str:
    return repr(node.name) if node.name else f"an unnamed {type(node).__name__.lower()}"
