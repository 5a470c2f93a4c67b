"""The trace of a program on one input: the heads of its layers, what each selects and reads, the values between."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.merging import merge
from gaugeblock.programs.language.operations import node_value
from gaugeblock.programs.language.selector import Get, Mean, Select, Selector, Sum
from gaugeblock.programs.language.tree import Node, children, postorder
from gaugeblock.programs.printing import Printer, is_any, is_count
from gaugeblock.programs.program import Program

MAX_POSITIONS_DRAWN: Final = 40
"""Inputs that are drawn have no more positions than this."""


@final
@dataclass(frozen=True)
class Row:
    """An s-op's values, one per position; `name` is what to call it, `formula` how it is computed."""

    name: str
    formula: str
    values: tuple[Any, ...]
    constant: bool = False


@final
@dataclass(frozen=True)
class Reduction:
    """One read-out of a head: what it reads and gives, `result = selector.get(value)` and the like."""

    name: str
    value: Row
    result: Row


@final
@dataclass(frozen=True)
class Head:
    """A selector with the reductions over it in one layer, as RASP counts heads.

    Attributes:
        name: unique among the heads of a program.
        layer: 1, 2, ...
        selector: the selector's name, if it has one.
        formula: how the selector is computed.
        keys, queries: the s-ops that the selector compares.
        score: what the selected keys are ranked by, in a head that takes the best.
        selected: [query, key]; only the best keys, in a head that takes those.
        candidates: [query, key] before the best are taken.
    """

    name: str
    layer: int
    selector: str | None
    formula: str
    keys: tuple[Row, ...]
    queries: tuple[Row, ...]
    score: Row | None
    reductions: tuple[Reduction, ...]
    selected: Bool[np.ndarray, "query key"]
    candidates: Bool[np.ndarray, "query key"]


@final
@dataclass(frozen=True)
class RunTrace:
    """The run of a program on one input.

    Attributes:
        tokens: the input.
        inputs: what else is read from the input: indices, edges.
        between: elementwise results after each layer, from 0 (before the first): those with a name and those that
            heads read, outputs aside.
        heads: in order of their layers.
        outputs: as rows.
    """

    program: Program
    tokens: Row
    inputs: tuple[Row, ...]
    between: tuple[tuple[Row, ...], ...]
    heads: tuple[Head, ...]
    outputs: tuple[Row, ...]

    @property
    def length(self) -> int:
        return len(self.tokens.values)


_Group = list[Get | Mean | Sum]


def trace(program: Program, xs: Any) -> RunTrace:
    """Run a program on one input, keeping everything. Raises InputError and ProgramError as the program does."""
    tokens = program.check(xs)
    if len(tokens) > MAX_POSITIONS_DRAWN:
        raise ProgramError(f"an input of {len(tokens)} tokens is too long to be drawn: at most {MAX_POSITIONS_DRAWN}")
    output, inputs = merge(program.output, _input_of(program))
    layers: dict[Node, int] = {}
    groups: dict[tuple[Any, ...], _Group] = {}
    for node in postorder(output, inputs):
        below = max((layers[child] for child in children(node)), default=0)
        layers[node] = below + isinstance(node, (Get, Mean, Sum))
        if isinstance(node, (Get, Mean, Sum)):
            ranked = (node.score, node.largest) if isinstance(node, Get) and node.score is not None else ()
            groups.setdefault((layers[node], node.selector, *ranked), []).append(node)
    selections = _selections(tokens, [group[0].selector for group in groups.values()])
    outputs = output.operands if len(program.outputs) > 1 else (output,)
    names = _names([n for group in groups.values() for n in group], outputs)
    printer = Printer(names)
    rows = _rows(tokens, [n for n in layers if isinstance(n, SOp)], printer)
    heads = []
    for group, candidates in zip(groups.values(), selections, strict=True):
        heads.append(_head(group, layers[group[0]], rows, printer, candidates))
    read = {id(x) for n in layers if isinstance(n, (Get, Mean, Sum)) for x in _read(n)}
    between: list[list[Row]] = [[] for _ in range(layers[output] + 1)]
    for node in layers:
        is_drawn = isinstance(node, Elementwise) and (node.name is not None or id(node) in read)
        if is_drawn and all(node is not x for x in outputs):
            between[layers[node]].append(rows[id(node)])
    read_inputs = [n for n in layers if isinstance(n, (Tokens, Indices)) and id(n) in read and n is not inputs]
    return RunTrace(
        program,
        tokens=rows[id(inputs)],
        inputs=tuple(rows[id(n)] for n in read_inputs),
        between=tuple(map(tuple, between)),
        heads=tuple(sorted(heads, key=lambda head: head.layer)),
        outputs=tuple(rows[id(node)] for node in outputs),
    )


def _input_of(program: Program) -> SOp:
    """The program's own `tokens`; for graphs, the values of the nodes."""
    named = [n for n in postorder(program.output) if isinstance(n, Tokens) and n.name == "tokens"]
    if named:
        return named[0]
    return Tokens("tokens", node_value) if program.graph else Tokens()


def _rows(tokens: list[Any], nodes: Sequence[SOp], printer: Printer) -> dict[int, Row]:
    rows = {}
    for node, column in zip(nodes, evaluate(nodes, [tokens]), strict=True):
        values = tuple(column.values[c] for c in column.codes[0].tolist())
        rows[id(node)] = Row(printer.label(node), printer.formula(node), values, isinstance(node, Constant))
    return rows


def _selections(tokens: list[Any], selectors: Sequence[Selector]) -> list[np.ndarray]:
    """The matrix [query, key] of each selector: each key is a binary digit of a sum over the selected keys."""
    digits = Elementwise(_power_of_two, (Indices(),))
    columns = evaluate([Sum(selector, digits) for selector in selectors], [tokens])
    n = len(tokens)
    selections = []
    for column in columns:
        sums: list[Any] = [column.values[c] for c in column.codes[0].tolist()]
        selections.append(np.array([[bool(total >> k & 1) for k in range(n)] for total in sums]))
    return selections


def _power_of_two(n: int) -> int:
    return 1 << n


def _head(group: _Group, layer: int, rows: dict[int, Row], printer: Printer, candidates: np.ndarray) -> Head:
    first = group[0]
    selected, score = candidates, None
    if isinstance(first, Get) and first.score is not None:
        score = rows[id(first.score)]
        selected = np.array([_best(row, score.values, first.largest) for row in candidates])
    compared = [n for n in postorder(first.selector, leaves=_sops(first.selector)) if isinstance(n, Select)]
    keys = {id(s.key): rows[id(s.key)] for s in compared if not isinstance(s.key, Constant)}
    queries = {id(s.query): rows[id(s.query)] for s in compared if not isinstance(s.query, Constant)}
    reductions = tuple(Reduction(printer.names[id(n)], rows[id(n.value)], rows[id(n)]) for n in group)
    return Head(
        name=reductions[0].name,
        layer=layer,
        selector=first.selector.name,
        formula=printer.formula(first.selector),
        keys=tuple(keys.values()),
        queries=tuple(queries.values()),
        score=score,
        reductions=reductions,
        selected=selected,
        candidates=candidates,
    )


def _sops(selector: Selector) -> frozenset[SOp]:
    """The s-ops that a selector compares."""
    return frozenset(x for n in postorder(selector) if isinstance(n, Select) for x in (n.key, n.query))


def _best(candidates: np.ndarray, scores: tuple[Any, ...], largest: bool) -> list[bool]:
    known = [scores[k] for k in np.flatnonzero(candidates) if scores[k] is not None]
    if not known:
        return [False] * len(scores)
    best = max(known) if largest else min(known)
    return [bool(c) and s is not None and s == best for c, s in zip(candidates, scores, strict=True)]


def _read(node: Get | Mean | Sum) -> list[SOp]:
    """The s-ops that a reduction reads, constants aside."""
    read = [*_sops(node.selector), node.value]
    if isinstance(node, Get) and node.score is not None:
        read.append(node.score)
    return [x for x in read if not isinstance(x, Constant)]


def _names(reductions: Sequence[Get | Mean | Sum], outputs: Sequence[SOp]) -> dict[int, str]:
    """A name of its own for each reduction: the program's where it has one."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for node in reductions:
        kind = "any" if is_any(node) else "count" if is_count(node) else type(node).__name__.lower()
        first = node.name or ("output" if any(node is x for x in outputs) else kind)
        name, number = first, 1
        while name in taken:
            number += 1
            name = f"{first} {number}"
        taken.add(name)
        names[id(node)] = name
    return names
