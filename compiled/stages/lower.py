"""Stage 3: from s-ops to attention and MLP operations over named variables."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np

from gaugeblock.compiled.lowered.operations import (
    BOS,
    INDICES,
    PRESENT,
    TOKENS,
    Attention,
    Condition,
    Form,
    Lowered,
    Operation,
    Output,
    Ranking,
    Read,
    Table,
    Total,
    Variable,
)
from gaugeblock.compiled.lowered.radix import radix_weights
from gaugeblock.compiled.lowered.tables import Column, predicate_table
from gaugeblock.compiled.stages.infer import MAX_VALUES, Inference, sumset
from gaugeblock.compiled.stages.sharing import heavy_sinks, share_heads
from gaugeblock.programs.errors import CompileError
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import MISSING, value_key
from gaugeblock.programs.language.selector import Get, Mean, Select, Sum
from gaugeblock.programs.language.tree import located

MAX_PREDICATE = 2_000_000
"""Largest number of entries of what a head's condition says of keys and queries."""


@final
@dataclass(frozen=True)
class View:
    """An s-op as a function of one variable: its value for each of the variable's codes."""

    variable: Variable
    column: Column


def lower(known: Inference, keep_variables: bool = False, sharp: bool = False) -> Lowered:
    """The operations needed for the outputs, readers after writers; equal selectors share a head.

    keep_variables: write every s-op of the program that has a name, also where nothing reads it from the stream.
    sharp: write every sum so that float32 tells its values apart best.
    """
    lowering = _Lowering(known)
    outputs = tuple(lowering.output(node) for node in known.outputs)
    if keep_variables:
        for node in known.named:
            lowering.variable(known.decode(node) if known[node].is_form else node)
    operations = share_heads(lowering.operations)
    sinks = heavy_sinks(operations, lowering.variables, known.max_len, sharp)
    operations = [replace(op, sink=sinks.get(op.name, 1.0)) if isinstance(op, Attention) else op for op in operations]
    variables = dict(lowering.variables)
    for op in operations:
        for out in op.outs:
            variables[out] = replace(variables[out], writer=op.name)
            if isinstance(op, Attention) and op.name in sinks:
                variables[out] = replace(variables[out], encoding="scalar")
    used = {v for op in operations for v in (*op.inputs, *op.outs)} | {o.variable for o in outputs} | {PRESENT, BOS}
    return Lowered(
        vocab=known.trace.tokens,
        max_len=known.max_len,
        variables={name: v for name, v in variables.items() if name in used},
        operations=tuple(operations),
        outputs=outputs,
    )


@final
@dataclass
class _Lowering:
    known: Inference
    variables: dict[str, Variable] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    names: dict[SOp, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: {PRESENT, BOS, TOKENS, INDICES, "logits"})

    def __post_init__(self) -> None:
        for name in (PRESENT, BOS):
            self.variables[name] = Variable(name, (True,), "onehot", "embed")

    def output(self, node: SOp) -> Output:
        """The output of the model: a number where a mean arrives, on its own or in a sum, else a choice."""
        known = self.known
        terms = known.linear_terms(node)
        if known.is_scalar(node):
            variable = self.variable(node)
            return Output(variable.name, variable.values, numeric=True)
        if terms and any(known.is_scalar(v) for t in terms for v in known[t].reads):
            number = Constant(None)  # of its own, beside the one-hot variable that others may read
            number.name = node.name
            variable = self._write(number, self._total, terms)
            return Output(variable.name, variable.values, numeric=True)
        view = self.view(node)
        return Output(view.variable.name, tuple(view.column.values[c] for c in view.column.codes), numeric=False)

    def variable(self, node: SOp) -> Variable:
        """The variable that holds the s-op; makes the operation that writes it at its first use."""
        match node:
            case Tokens() | Indices():
                return self._write(node, self._embedded)
            case Elementwise():
                terms = self.known[node].terms
                return self._write(node, self._total, terms) if terms else self._write(node, self._elementwise)
        return self._write(node, self._attention)

    def _write(self, node: SOp, write: Callable[..., Variable], *arguments: Any) -> Variable:
        if node not in self.names:
            variable = write(node, *arguments)
            self.names[node] = variable.name
            self.variables[variable.name] = variable
        return self.variables[self.names[node]]

    def view(self, node: SOp) -> View:
        """The s-op as a function of one one-hot variable."""
        node = self.known.readable(node)
        fact = self.known[node]
        if not fact.reads:
            assert fact.table is not None
            return View(self.variables[PRESENT], Column(np.zeros(1, dtype=np.int64), fact.values))
        if self.known.is_view(node):
            return self._function(node)
        variable = self.variable(node)
        return View(variable, Column(np.arange(len(variable.values)), variable.values))

    def _function(self, node: SOp) -> View:
        """A function of at most one variable, by the variable's codes."""
        fact = self.known[node]
        variable = self.variable(fact.reads[0]) if fact.reads else self.variables[PRESENT]
        if fact.table is not None:
            return View(variable, Column(fact.table.codes.reshape(len(variable.values)), fact.table.values))
        return View(variable, Column(np.arange(len(variable.values)), variable.values))

    def _embedded(self, node: Tokens | Indices) -> Variable:
        values = self.known[node].values
        if isinstance(node, Indices):
            return Variable(INDICES, values, "onehot", "pos")
        if node.part is None:
            return Variable(TOKENS, values, "onehot", "embed", of_token=np.arange(len(values)))
        code = {value_key(v): i for i, v in enumerate(values)}
        of_token = np.array([code[value_key(node.part(token))] for token in self.known.trace.tokens])
        name = TOKENS if node.name == TOKENS else self._name(node, "part")
        return Variable(name, values, "onehot", "embed", of_token=of_token)

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
        assert fact.table is not None
        staircases = [v for v in fact.reads if self.known[v].encoding != "onehot"]
        gates = [v for v in fact.reads if self.known[v].encoding == "onehot"]
        axis = {id(v): i for i, v in enumerate(fact.reads)}
        table = fact.table.codes.transpose([axis[id(v)] for v in (*gates, *staircases)])
        shape = [len(self.known[v].values) for v in gates]
        form = self._form(staircases)
        names = [self.variable(v) for v in gates]
        if not any(v.is_silent_when_absent for v in names):
            names, shape = [self.variables[PRESENT], *names], [1, *shape]
        table = table.reshape([*shape, len(form.values)] if form else shape)
        name = self._name(node, "map")
        self.operations.append(Table(name, tuple(v.name for v in names), form, table, name))
        return Variable(name, fact.values, "onehot", name)

    def _form(self, staircases: list[SOp]) -> Form | None:
        """The number that tells the values of the staircases apart, read as it is or as a sum of several."""
        if not staircases:
            return None
        if len(staircases) == 1:
            (node,) = staircases
            if (terms := self.known[node].terms) is not None and self.known[node].is_form:
                return self._sum(terms, self.known[node].values)
            variable = self.variable(node)
            return Form((variable.name,), (_floats(variable.values),), variable.values)
        sets = [self.known[v].values for v in staircases]
        weights = radix_weights(sets)
        assert weights is not None
        values = [sum(w * float(x) for w, x in zip(weights, xs, strict=True)) for xs in itertools.product(*sets)]
        scaled = [self._form([v]) for v in staircases]
        reads: dict[str, np.ndarray] = {}
        for weight, form in zip(weights, scaled, strict=True):
            assert form is not None
            for name, amounts in zip(form.reads, form.amounts, strict=True):
                reads[name] = reads.get(name, 0.0) + weight * amounts
        return Form(tuple(reads), tuple(reads.values()), tuple(values))

    def _amounts(self, terms: tuple[SOp, ...]) -> dict[str, np.ndarray]:
        """The number that each code of each variable adds."""
        reads: dict[str, np.ndarray] = {}
        for term in terms:
            view = self._function(term)
            amounts = _floats(view.column.values[c] if c >= 0 else 0 for c in view.column.codes)
            reads[view.variable.name] = reads.get(view.variable.name, 0.0) + amounts
        return reads

    def _sum(self, terms: tuple[SOp, ...], values: tuple[Any, ...]) -> Form:
        reads = self._amounts(terms)
        return Form(tuple(reads), tuple(reads.values()), values)

    def _total(self, node: SOp, terms: tuple[SOp, ...]) -> Variable:
        reads = self._amounts(terms)
        name = self._name(node, "total")
        self.operations.append(Total(name, tuple(reads), tuple(reads.values()), name))
        values = sumset([self.known[t].values for t in terms])
        if values is None:
            raise CompileError(f"{located(node)} may take more than {MAX_VALUES} values")
        return Variable(name, values, "scalar", name)

    def _attention(self, node: SOp) -> Variable:
        assert isinstance(node, (Get, Mean, Sum))
        name = self._name(node, type(node).__name__.lower())
        conditions = self._conditions(node)
        ranking = self._ranking(node)
        read, values = self._read(node, name)
        self.operations.append(Attention(f"{name}.head", conditions, ranking, (read,)))
        # what stands in empty rows: where nothing is selected, a sum is 0 and the others are their default
        empty = read.default if read.kind == "get" else _code(values, 0 if read.kind == "sum" else read.default)
        return Variable(name, values, self.known[node].encoding, f"{name}.head", empty)

    def _conditions(self, node: Get | Mean | Sum) -> tuple[Condition, ...]:
        result = []
        for select in node.selector.operands:  # type: ignore[attr-defined]
            assert isinstance(select, Select)
            keys, queries = self.view(select.key), self.view(select.query)
            if (size := len(keys.column.values) * len(queries.column.values)) > MAX_PREDICATE:
                raise CompileError(
                    f"{located(node)} selects by a table of {len(keys.column.values)} x {len(queries.column.values)} = "
                    f"{size:,} entries (at most {MAX_PREDICATE:,}); the variable to blame is {keys.variable.name!r}"
                )
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
        if not any(self.variables[c.key].is_silent_when_absent for c in result):
            result.append(Condition(PRESENT, None, np.ones((1, 1), dtype=bool)))
        return tuple(result)

    def _ranking(self, node: Get | Mean | Sum) -> Ranking | None:
        if not isinstance(node, Get) or node.score is None:
            return None
        view = self.view(node.score)
        try:
            ascending = sorted(range(len(view.column.values)), key=lambda i: view.column.values[i])
        except TypeError as error:
            raise CompileError(f"the scores of {located(node)} have no order: {error}") from None
        rank = {code: level for level, code in enumerate(ascending)}
        levels = np.array([rank.get(int(c), 0) for c in view.column.codes])
        return Ranking(view.variable.name, levels if node.largest else levels.max() - levels)

    def _read(self, node: Get | Mean | Sum, name: str) -> tuple[Read, tuple[Any, ...]]:
        movable = self.known.movable(node)
        view = self._function(movable) if self.known.is_scalar(movable) else self.view(movable)
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


def _floats(values: Iterable[Any]) -> np.ndarray:
    return np.array([float(v) for v in values])


def _code(values: tuple[Any, ...], value: Any) -> int | None:
    return None if value is None else min(range(len(values)), key=lambda i: abs(float(values[i]) - float(value)))
