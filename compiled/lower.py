"""Stage 3: from s-ops to attention and MLP operations over named variables."""

from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np

from gaugeblock.compiled.infer import Inference
from gaugeblock.compiled.lowered import (
    BOS,
    INDICES,
    PRESENT,
    TOKENS,
    Attention,
    Condition,
    Lowered,
    Operation,
    Ranking,
    Read,
    Table,
    Total,
    Variable,
)  # fmt: skip
from gaugeblock.compiled.tables import Column, predicate_table, value_key
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.expression import Constant, Elementwise, Get, Indices, Mean, Select, SOp, Sum, Tokens
from gaugeblock.programs.operations import MISSING


@final
@dataclass(frozen=True)
class View:
    """An s-op as a function of one variable: its value for each of the variable's codes."""

    variable: Variable
    column: Column


def lower(known: Inference) -> Lowered:
    """The operations needed for the output, in order of time; equal selectors share a head."""
    lowering = _Lowering(known)
    output = known.trace.output
    numeric = known[output].encoding == "scalar" and isinstance(output, Mean)
    if numeric:
        variable = lowering.variable(output)
        view = View(variable, Column(np.arange(len(variable.values)), variable.values))
    else:
        view = lowering.view(output)
    operations = sorted(_share_heads(lowering.operations), key=lambda op: op.time)
    for op in operations:
        for out in op.outs:
            lowering.variables[out] = replace(lowering.variables[out], writer=op.name)
    used = {v for op in operations for v in _mentions(op)} | {view.variable.name, PRESENT, BOS}
    return Lowered(
        vocab=known.trace.program.vocab,
        max_len=known.trace.program.max_len,
        variables={name: v for name, v in lowering.variables.items() if name in used},
        operations=tuple(operations),
        output=view.variable.name,
        outputs=tuple(view.column.values[c] for c in view.column.codes),
        numeric=numeric,
    )


@final
@dataclass
class _Lowering:
    known: Inference
    variables: dict[str, Variable] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: {PRESENT, BOS, TOKENS, INDICES, "logits"})

    def __post_init__(self) -> None:
        for name in (PRESENT, BOS):
            self.variables[name] = Variable(name, (True,), "onehot", "embed", 0)

    def variable(self, node: SOp) -> Variable:
        """The variable that holds the s-op; makes the operation that writes it at its first use."""
        if id(node) not in self.names:
            variable = self._write(node)
            self.names[id(node)] = variable.name
            self.variables[variable.name] = variable
        return self.variables[self.names[id(node)]]

    def view(self, node: SOp) -> View:
        """The s-op as a function of one one-hot variable."""
        node = self.known.readable(node)
        fact = self.known[node]
        if not fact.reads:
            assert isinstance(node, Constant) or fact.table is not None
            return View(self.variables[PRESENT], Column(np.zeros(1, dtype=np.int64), fact.values))
        if self.known.is_view(node):
            variable = self.variable(fact.reads[0])
            column = fact.table or Column(np.arange(len(variable.values)), variable.values)
            return View(variable, column)
        variable = self.variable(node)
        return View(variable, Column(np.arange(len(variable.values)), variable.values))

    def _write(self, node: SOp) -> Variable:
        fact = self.known[node]
        match node:
            case Tokens():
                return Variable(TOKENS, fact.values, "onehot", "embed", 0)
            case Indices():
                return Variable(INDICES, fact.values, "onehot", "pos", 0)
            case Elementwise():
                return self._elementwise(node)
        assert isinstance(node, (Get, Mean, Sum))
        return self._attention(node)

    def _name(self, node: SOp, kind: str) -> str:
        base = node.name or kind
        name, n = base, 1
        while name in self.taken:
            n += 1
            name = f"{base}_{n}"
        self.taken.add(name)
        return name

    def _elementwise(self, node: Elementwise) -> Variable:
        fact = self.known[node]
        if fact.terms is not None:
            return self._total(node)
        reads = [self.variable(v) for v in fact.reads]
        assert fact.table is not None
        name = self._name(node, "map")
        table = fact.table.codes
        if not any(_silent_when_absent(v) for v in reads):
            reads = [self.variables[PRESENT], *reads]
            table = table[None]
        if sum(v.encoding != "onehot" for v in reads) > 1:
            raise AssertionError(f"{name!r} reads two staircase variables")
        op = Table(name, _even_after(reads), tuple(v.name for v in reads), table, name)
        self.operations.append(op)
        return Variable(name, fact.values, "onehot", name, op.time)

    def _total(self, node: Elementwise) -> Variable:
        fact = self.known[node]
        reads, amounts = [], []
        for term in fact.terms or ():
            term_fact = self.known[term]
            variable = self.variable(term_fact.reads[0])
            column = term_fact.table or Column(np.arange(len(variable.values)), variable.values)
            reads.append(variable)
            amounts.append(np.array([float(column.values[c]) for c in column.codes]))
        name = self._name(node, "total")
        op = Total(name, _even_after(reads), (PRESENT, *(v.name for v in reads)), tuple(amounts), name)
        self.operations.append(op)
        return Variable(name, fact.values, "scalar", name, op.time)

    def _attention(self, node: Get | Mean | Sum) -> Variable:
        name = self._name(node, type(node).__name__.lower())
        conditions = self._conditions(node, name)
        ranking = self._ranking(node)
        read, values = self._read(node, name)
        sources = [self.variables[c.key] for c in conditions]
        sources += [self.variables[c.query] for c in conditions if c.query is not None]
        sources += [self.variables[read.source]] + ([self.variables[ranking.variable]] if ranking else [])
        time = (max(v.time for v in sources) + 1) // 2 * 2 + 1
        head = Attention(f"{name}.head", time, conditions, ranking, (read,))
        self.operations.append(head)
        encoding = self.known[node].encoding
        empty = read.default if read.kind == "get" else _code(values, read.default)
        if read.kind == "sum":
            empty = _code(values, 0)
        return Variable(name, values, encoding, head.name, time, empty)

    def _conditions(self, node: Get | Mean | Sum, name: str) -> tuple[Condition, ...]:
        result = []
        for select in node.selector.operands:  # type: ignore[attr-defined]
            assert isinstance(select, Select)
            keys, queries = self.view(select.key), self.view(select.query)
            table = predicate_table(select.predicate, keys.column, queries.column)
            if table.all():
                continue
            key, query = keys.variable.name, queries.variable.name
            if (table == table[:, :1]).all():
                result.append(Condition(key, None, table[:, :1]))
            elif (table == table[:1]).all():
                result.append(Condition(PRESENT, query, table[:1]))
            else:
                result.append(Condition(key, query, table))
        if not any(_silent_when_absent(self.variables[c.key]) for c in result):
            result.append(Condition(PRESENT, None, np.ones((1, 1), dtype=bool)))
        return tuple(result)

    def _ranking(self, node: Get | Mean | Sum) -> Ranking | None:
        if not isinstance(node, Get) or node.score is None:
            return None
        view = self.view(node.score)
        if None in view.column.values:
            raise CompileError(f"the score of {node.name or 'a best-match get'!r} may be undefined")
        ranks = {
            i: r for r, i in enumerate(sorted(range(len(view.column.values)), key=lambda i: view.column.values[i]))
        }
        levels = np.array([ranks.get(int(c), 0) for c in view.column.codes])
        return Ranking(view.variable.name, levels if node.largest else levels.max() - levels)

    def _read(self, node: Get | Mean | Sum, name: str) -> tuple[Read, tuple[Any, ...]]:
        view = self.view(node.value)
        values = self.known[node].values
        if isinstance(node, Get):
            index = {value_key(v): i for i, v in enumerate(values)}
            mapping = np.array([-1 if c < 0 else index[value_key(view.column.values[c])] for c in view.column.codes])
            default = None if node.default is MISSING else index[value_key(node.default)]
            return Read("get", view.variable.name, mapping, name, default), values
        amounts = np.array([0.0 if c < 0 else float(view.column.values[c]) for c in view.column.codes])
        if isinstance(node, Sum):
            return Read("sum", view.variable.name, amounts, name), values
        mean = None if node.default is MISSING else float(node.default)  # type: ignore[arg-type]
        return Read("mean", view.variable.name, amounts, name, mean), values


def _silent_when_absent(variable: Variable) -> bool:
    """Whether the variable's directions are zero at BOS and PAD rows."""
    return variable.name != INDICES and variable.encoding == "onehot" and variable.empty is None


def _even_after(reads: list[Variable]) -> int:
    return max(v.time for v in reads) // 2 * 2 + 2


def _code(values: tuple[Any, ...], value: Any) -> int | None:
    return None if value is None else min(range(len(values)), key=lambda i: abs(float(values[i]) - float(value)))


def _share_heads(operations: list[Operation]) -> list[Operation]:
    """Merge heads with equal conditions, ranking and kind of sink; the merged head stands at the later time."""
    groups: dict[Any, Attention] = {}
    others: list[Operation] = []
    for op in operations:
        if not isinstance(op, Attention):
            others.append(op)
            continue
        conditions = frozenset((c.key, c.query, c.table.shape, c.table.tobytes()) for c in op.conditions)
        ranking = op.ranking and (op.ranking.variable, op.ranking.levels.tobytes())
        key = (conditions, ranking, op.counts_sink, op.time)
        if key in groups:
            first = groups[key]
            op = Attention(first.name, first.time, first.conditions, first.ranking, (*first.reads, *op.reads))
        groups[key] = op
    return [*groups.values(), *others]


def _mentions(op: Operation) -> list[str]:
    if isinstance(op, Attention):
        names = [name for c in op.conditions for name in (c.key, c.query) if name is not None]
        names += [op.ranking.variable] if op.ranking else []
        return names + [r.source for r in op.reads] + list(op.outs)
    return [*op.reads, *op.outs]
