"""Stage 2: for each s-op when it can be known, what it is computed from, and which values it may take.

Time counts half layers: 0 is the embedding, 2l + 1 the attention of layer l, 2l + 2 its MLP. An elementwise
expression is computed in one MLP from the *variables* it reads: tokens, indices, attention outputs, and those
subexpressions that are ready earlier and become variables of their own.

Value sets cover every combination of values of the variables read, not only those that occur, so that a model in
which one read is replaced still computes the program with that read replaced.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, final

import numpy as np

from gaugeblock.compiled.lowered.operations import Encoding
from gaugeblock.compiled.lowered.radix import radix_weights
from gaugeblock.compiled.lowered.tables import Column, elementwise, is_number, is_plain_number, means, ordered, sums
from gaugeblock.compiled.stages.trace import Trace
from gaugeblock.compiled.stages.undefined import guarded
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.merging import rebuilt
from gaugeblock.programs.language.operations import MISSING, divide, together
from gaugeblock.programs.language.selector import Get, Mean, Select, Sum
from gaugeblock.programs.language.tree import located, postorder

MAX_TABLE = 300_000
"""Largest number of entries of one elementwise table."""

MAX_VALUES = 20_000
"""Largest number of values of one variable."""

COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)


@final
@dataclass(frozen=True)
class Fact:
    """The facts that are known of an s-op.

    Attributes:
        time: the earliest half layer after which it is in the residual stream (or, for a function of one
            one-hot variable or a form, can be read from it).
        reads: the variables it is computed from. A variable reads itself.
        encoding: how it is written if it is a variable.
        table: its value for each combination of the values of `reads`; None for variables.
        terms: for a sum of functions of one variable each, in which several are staircases: the summands.
        is_form: whether those are linear in every staircase, so that whoever needs the sum reads the variables
            themselves and nothing is written.
    """

    time: int
    reads: tuple[SOp, ...]
    encoding: Encoding
    values: tuple[Any, ...]
    table: Column | None = None
    terms: tuple[SOp, ...] | None = None
    is_form: bool = False


@final
@dataclass
class Inference:
    """Facts for every s-op of a program; `decoded` holds the one-hot copies of staircase variables.

    A variable written as a number is called a staircase: what reads it tells values apart by thresholds.
    """

    trace: Trace
    outputs: tuple[SOp, ...] = ()
    named: tuple[SOp, ...] = ()
    facts: dict[SOp, Fact] = field(default_factory=dict)
    decoded: dict[SOp, Elementwise] = field(default_factory=dict)

    def __getitem__(self, node: SOp) -> Fact:
        return self.facts[node]

    @property
    def max_len(self) -> int:
        return self.trace.program.max_len

    def is_view(self, node: SOp) -> bool:
        """Whether the s-op is a function of at most one one-hot variable, readable without a table of its own."""
        reads = self[node].reads
        return not reads or (len(reads) == 1 and self[reads[0]].encoding == "onehot")

    def is_scalar(self, node: SOp) -> bool:
        """Whether the s-op is a variable that is written as its value, so that attention can move it as it is."""
        fact = self[node]
        return fact.encoding == "scalar" and not fact.is_form and fact.reads[0] is node

    def readable(self, node: SOp) -> SOp:
        """The s-op itself, or, where attention cannot read its encoding, its one-hot copy."""
        return node if self[node].encoding == "onehot" else self.decode(node)

    def movable(self, reader: Get | Mean | Sum) -> SOp:
        """The s-op that a head moves for a reduction: its value if that is one-hot or a scalar, or its one-hot copy."""
        fits = not isinstance(reader, Get) or reader.default is MISSING or is_plain_number(reader.default)
        return reader.value if self.is_scalar(reader.value) and fits else self.readable(reader.value)

    def linear_terms(self, node: SOp) -> tuple[SOp, ...] | None:
        """The s-op as a sum of functions of one variable each, if it is one that reads numbers; None otherwise."""
        fact = self[node]
        if fact.terms is None and len(fact.reads) == 1 and self.is_scalar(fact.reads[0]) and is_linear(self, node):
            return (node,)
        return fact.terms

    def decode(self, node: SOp) -> Elementwise:
        """The one-hot copy of a staircase variable."""
        if node not in self.decoded:
            copy = Elementwise(_identity, (node,))
            copy.name, copy.origin = node.name and f"{node.name}_onehot", node.origin
            self.decoded[node] = copy
            self.facts[copy] = _elementwise(self, copy)
        return self.decoded[node]

    def learn(self, *nodes: SOp) -> None:
        """Facts for these s-ops and whatever below them has none."""
        for node in postorder(*nodes, leaves=self.facts):
            if isinstance(node, SOp) and node not in self.facts:
                self.facts[node] = _fact(self, node)


def infer(trace: Trace) -> Inference:
    """Facts for every s-op of the trace, operands first; where a value may be undefined, reductions are guarded."""
    known = Inference(trace)
    new: dict[int, Any] = {}
    for node in trace.order:
        built = rebuilt(node, new)
        if isinstance(built, (Get, Mean, Sum)):
            built = guarded(built, lambda x: known[x].values)
        several = node is trace.output and isinstance(built, Elementwise) and built.f is together
        if isinstance(built, SOp) and not several:
            known.learn(built)
        new[id(node)] = built
    match new[id(trace.output)]:
        case Elementwise(f=f, operands=operands) if f is together:
            known.outputs = operands
        case output:
            known.outputs = (output,)
    known.named = tuple(new[id(n)] for n in trace.order if isinstance(n, SOp) and n.name and n is not trace.output)
    return known


def _identity(x: Any) -> Any:
    return x


def _fact(known: Inference, node: SOp) -> Fact:
    n = known.max_len
    match node:
        case Tokens(part=None):
            return _variable(node, 0, "onehot", known.trace.program.vocab)
        case Tokens(part=part) if part is not None:
            return _variable(node, 0, "onehot", ordered(part(token) for token in known.trace.tokens))
        case Indices():
            return _variable(node, 0, "onehot", tuple(range(n)))
        case Constant(value=value):
            return Fact(0, (), "onehot", (value,), Column(np.zeros((), dtype=np.int64), (value,)))
        case Elementwise():
            return _elementwise(known, node)
    assert isinstance(node, (Get, Mean, Sum))
    time = (max(_attention_reads(known, node)) + 1) // 2 * 2 + 1
    value = known.movable(node)
    values = known[value].values
    default = () if isinstance(node, Sum) or node.default is MISSING else (node.default,)
    if isinstance(node, Get):
        return _variable(node, time, known[value].encoding, ordered([*values, *default]))
    kind = "sum" if isinstance(node, Sum) else "mean"
    if bad := [v for v in (*values, *default) if not is_number(v)]:
        raise CompileError(f"{located(node)} takes the {kind} of {bad[0]!r}, which is not a number")
    reachable = (sums if kind == "sum" else means)(values, n, MAX_VALUES)
    if reachable is None:
        raise CompileError(f"{located(node)} may take more than {MAX_VALUES} values")
    return _variable(node, time, "ratio" if kind == "sum" else "scalar", ordered([*reachable, *default]))


def _variable(node: SOp, time: int, encoding: Encoding, values: tuple[Any, ...]) -> Fact:
    if len(values) > MAX_VALUES:
        raise CompileError(f"{located(node)} may take {len(values)} values; at most {MAX_VALUES} are supported")
    if encoding != "onehot":
        _refuse_equal_doubles(node, values)
    return Fact(time, (node,), encoding, values)


def _refuse_equal_doubles(node: SOp, values: tuple[Any, ...]) -> None:
    for a, b in pairwise(values):
        if float(a) >= float(b):
            raise CompileError(f"float64 cannot hold {located(node)}: it cannot tell {a!r} from {b!r}")


def _attention_reads(known: Inference, node: Get | Mean | Sum) -> list[int]:
    sops = []
    for select in node.selector.operands:  # type: ignore[attr-defined]
        assert isinstance(select, Select)
        sops += [select.key, select.query]
    if isinstance(node, Get) and node.score is not None:
        sops.append(node.score)
    return [known[known.movable(node)].time, *(known[known.readable(x)].time for x in sops)]


def _elementwise(known: Inference, node: Elementwise) -> Fact:
    newest = max((known[v].time for c in node.operands for v in known[c].reads), default=0)
    time = newest // 2 * 2 + 2
    reads = _reads(known, node, time)
    if len(staircases := _staircases(known, reads)) > 1:
        if (sum_of := _as_sum(known, node, time)) is not None:
            return sum_of
        if (compared := _as_comparison(known, node)) is not None:
            return _elementwise(known, compared)
        apart = radix_weights([known[v].values for v in staircases]) is not None
        if not apart or _size(known, reads) > MAX_TABLE:
            time += 2  # one MLP turns the staircases into one-hot variables, the next combines them
            reads = _reads(known, node, time)
    table = _table(known, node, reads)
    if not reads or (len(reads) == 1 and known[reads[0]].encoding == "onehot"):
        time = max((known[v].time for v in reads), default=0)
    return Fact(time, reads, "onehot", table.values, table)


def _as_sum(known: Inference, node: Elementwise, time: int) -> Fact | None:
    """The fact of a sum that reads several staircases, or None."""
    terms = _summands(known, node)
    if terms is None or not all(is_number(v) for t in terms for v in known[t].values):
        return None
    values = sumset([known[t].values for t in terms])
    if values is None:
        return None
    if all(is_linear(known, term) for term in terms):
        _refuse_equal_doubles(node, values)
        newest = max(known[v].time for t in terms for v in known[t].reads)
        return Fact(newest, (node,), "scalar", values, None, terms, is_form=True)
    if _size(known, _reads(known, node, time)) <= MAX_TABLE:
        return None  # a table is exact, and no slower
    return Fact(time, (node,), "scalar", values, None, terms)


def is_linear(known: Inference, term: SOp) -> bool:
    """Whether a function of one variable is linear in it, or the variable one-hot."""
    fact = known[term]
    if not fact.reads or known[fact.reads[0]].encoding == "onehot" or fact.table is None:
        return True
    if (fact.table.codes < 0).any() or not all(map(is_number, fact.table.values)):
        return False
    y = [fact.table.values[c] for c in fact.table.codes]
    x = known[fact.reads[0]].values
    if len(x) == 1:
        return True
    slope = divide(y[-1] - y[0], x[-1] - x[0])
    return slope != 0 and all(b - y[0] == slope * (a - x[0]) for a, b in zip(x, y, strict=True))


def _as_comparison(known: Inference, node: Elementwise) -> Elementwise | None:
    """a < b as a - b < 0, if a - b can be read as a form."""
    if node.f not in COMPARISONS or len(node.operands) != 2:
        return None
    difference = Elementwise(operator.sub, node.operands)
    if not all(is_number(v) for x in node.operands for v in known[x].values):
        return None
    known.learn(difference)
    return Elementwise(node.f, (difference, _zero(known))) if known[difference].is_form else None


def _zero(known: Inference) -> SOp:
    zero = Constant(0)
    known.learn(zero)
    return zero


def _reads(known: Inference, node: Elementwise, time: int) -> tuple[SOp, ...]:
    """The variables read by an MLP at `time`: what is ready earlier enters as a variable of its own."""
    reads: dict[int, SOp] = {}
    for operand in node.operands:
        fact = known[operand]
        ready = fact.time < time and not known.is_view(operand) and not fact.is_form
        for variable in (operand,) if ready else fact.reads:
            reads[id(variable)] = variable
    staircases = _staircases(known, tuple(reads.values()))
    if len(staircases) > 1:
        for variable in staircases:
            if known[variable].time + 1 < time:
                reads[id(variable)] = known.decode(variable)
    return tuple({id(v): v for v in reads.values()}.values())


def _staircases(known: Inference, reads: tuple[SOp, ...]) -> list[SOp]:
    return [v for v in reads if known[v].encoding != "onehot"]


def _size(known: Inference, reads: tuple[SOp, ...]) -> int:
    return int(np.prod([len(known[v].values) for v in reads], dtype=object))


def _table(known: Inference, node: Elementwise, reads: tuple[SOp, ...]) -> Column:
    """The node's value for each combination of the values of `reads`."""
    sizes = [len(known[v].values) for v in reads]
    if _size(known, reads) > MAX_TABLE:
        worst = max(reads, key=lambda v: len(known[v].values))
        raise CompileError(
            f"{located(node)} needs a table of {' x '.join(map(str, sizes))} entries (at most {MAX_TABLE}); "
            f"the variable to blame is {located(worst)} with {len(known[worst].values)} values"
        )
    axes: dict[int, int] = {}
    for axis, variable in enumerate(reads):
        axes[id(variable)] = axis
        if isinstance(variable, Elementwise) and variable.f is _identity:  # a copy stands for its original
            axes.setdefault(id(variable.operands[0]), axis)
    column = elementwise(node.f, [_over(known, operand, axes, len(reads)) for operand in node.operands])
    if not column.values:
        raise CompileError(f"{located(node)} has no value for any combination of what it is computed from")
    return Column(np.broadcast_to(column.codes, sizes), column.values)


def _over(known: Inference, operand: SOp, axes: dict[int, int], n_axes: int) -> Column:
    """An operand's values over the grid of the variables read, of which it is one, or by its own table."""
    fact, shape = known[operand], [1] * n_axes
    if id(operand) in axes:
        shape[axes[id(operand)]] = len(fact.values)
        return Column(np.arange(len(fact.values)).reshape(shape), fact.values)
    assert fact.table is not None
    own_axes = [axes[id(v)] for v in fact.reads]
    codes = fact.table.codes.transpose(np.argsort(own_axes))
    for axis, size in zip(sorted(own_axes), codes.shape, strict=True):
        shape[axis] = size
    return Column(codes.reshape(shape), fact.table.values)


def _summands(known: Inference, node: SOp) -> tuple[SOp, ...] | None:
    """The node as a sum of functions of one variable each, or None."""
    fact = known.facts.get(node)
    if fact is not None and fact.terms is not None:
        return fact.terms
    if fact is not None and len(fact.reads) <= 1:
        return (node,)
    if not isinstance(node, Elementwise):
        return None
    match node.f, node.operands:
        case operator.add, (a, b):
            return _joined(_summands(known, a), _summands(known, b))
        case operator.sub, (a, b):
            return _joined(_summands(known, a), _each(known, operator.neg, _summands(known, b)))
        case operator.neg, (a,):
            return _each(known, operator.neg, _summands(known, a))
        case (operator.mul, (a, Constant() as b)) | (operator.mul, (Constant() as b, a)):
            return _each(known, operator.mul, _summands(known, a), b)
    if node.f is divide and isinstance(node.operands[1], Constant) and node.operands[1].value:
        return _each(known, divide, _summands(known, node.operands[0]), node.operands[1])
    return None


def _joined(a: tuple[SOp, ...] | None, b: tuple[SOp, ...] | None) -> tuple[SOp, ...] | None:
    return None if a is None or b is None else a + b


def _each(known: Inference, f: Callable[..., Any], terms: tuple[SOp, ...] | None, *rest: SOp) -> tuple[SOp, ...] | None:
    if terms is None or not all(is_number(v) for t in terms for v in known[t].values):
        return None
    changed = tuple(Elementwise(f, (term, *rest)) for term in terms)
    known.learn(*changed)
    return changed


def sumset(sets: list[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    """All sums of one number of each set, ascending; None if there are too many."""
    total: set[Any] = {0}
    for values in sets:
        more: set[Any] = set()
        for b in values:  # one at a time: there may be far more pairs than sums are allowed
            more.update(a + b for a in total)
            if len(more) > MAX_VALUES:
                return None
        total = more
    return ordered(total)
