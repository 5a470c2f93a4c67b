"""The meaning of the language: the exact values of a program's expressions, for many inputs at once.

Inputs of one length are evaluated together. An s-op becomes a column, integer codes into the distinct values
it takes, and Python functions are called once per combination of values that occurs. A selector becomes a
boolean array [batch, query, key]. What does not depend on the input has a batch of 1 and is broadcast.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from numbers import Rational
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language.columns import CodedValues, Gathered, coded, combinations, looked_up
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import MISSING, Value, apply, plain, selects, surface, value_key
from gaugeblock.programs.language.selector import And, Get, Mean, Not, Or, Select, Sum
from gaugeblock.programs.language.tree import Node, children, located, postorder

PAIRS_AT_ONCE = 2**20
"""Inputs are evaluated in chunks of about so many (query, key) pairs."""

SHRINKING_STEPS = 500
"""How many smaller inputs are tried to simplify one on which a program fails."""

Mask = Bool[np.ndarray, "#batch pos pos"]


def interpret(
    output: SOp, inputs: Sequence[Sequence[Any]], name: str, meant: Callable[[list[Any]], bool]
) -> list[list[Any]]:
    """The value of an output expression for each input. Fractions are given as floats, undefined as None.

    Args:
        name: of the program, for messages.
        meant: whether an input is in the program's domain.

    Raises ProgramError where the output has no value, with a smallest input that is meant on which that happens.
    """
    try:
        (column,) = evaluate([output], inputs)
    except _Fault as fault:
        smallest = _shrink(output, fault, meant)
        raise ProgramError(f"program {name!r} has no value: {smallest}") from fault.__cause__
    values = [surface(v) for v in column.values]
    rows = column.codes.tolist()
    return [[values[c] for c in row[: len(xs)]] for row, xs in zip(rows, inputs, strict=True)]


def evaluate(
    nodes: Sequence[SOp],
    inputs: Sequence[Sequence[Any]],
    given: Mapping[SOp, Sequence[Sequence[Any]]] | None = None,
) -> list[CodedValues]:
    """The exact values of several s-ops on many inputs of mixed lengths.

    Args:
        nodes: what to evaluate; shared subexpressions are evaluated once.
        inputs: non-empty sequences of tokens.
        given: values (as long as the inputs) that some s-ops are set to instead of being computed.

    Returns:
        A column for each node. Raises ProgramError where one has no value.
    """
    given = given or {}
    order = list(postorder(*nodes, leaves=given))
    by_length: dict[int, list[int]] = {}
    for i, xs in enumerate(inputs):
        by_length.setdefault(len(xs), []).append(i)
    gathered = [Gathered(len(inputs), max(by_length, default=0)) for _ in nodes]
    for n in sorted(by_length):
        step = max(1, PAIRS_AT_ONCE // n**2)
        for start in range(0, len(by_length[n]), step):
            rows = by_length[n][start : start + step]
            fixed = {node: [values[i] for i in rows] for node, values in given.items()}
            columns = _block(order, nodes, [inputs[i] for i in rows], fixed)
            for target, column in zip(gathered, columns, strict=True):
                target.add(rows, column)
    return [target.column() for target in gathered]


class _Fault(ProgramError):
    """A node that has no value at a position of an input."""

    def __init__(self, node: Node, what: str, row: int, position: int) -> None:
        super().__init__(what)
        self.node, self.what, self.row, self.position = node, what, row, position
        self.xs: list[Any] = []

    def __str__(self) -> str:
        return f"{self.what}, at position {self.position} of the input {self.xs!r}"

    def __reduce__(self) -> Any:  # nodes hold functions, which cannot be sent to another process
        return ProgramError, (str(self),)


def _shrink(output: SOp, fault: _Fault, meant: Callable[[list[Any]], bool]) -> _Fault:
    """The same fault on an input from which no run of tokens can be dropped, within a number of steps."""
    candidates = _shorter(fault.xs)
    for _ in range(SHRINKING_STEPS):
        xs = next(candidates, None)
        if xs is None:
            break
        if meant(xs):
            try:
                evaluate([output], [xs])
            except _Fault as smaller:
                if smaller.node is fault.node:
                    fault, candidates = smaller, _shorter(xs)
    return fault


def _shorter(xs: list[Any]) -> Iterator[list[Any]]:
    """The list without each run of its elements, longest runs first; never empty."""
    for n in range(len(xs) - 1, 0, -1):
        for start in range(len(xs) - n + 1):
            yield xs[:start] + xs[start + n :]


def _block(
    order: list[Node],
    wanted: Sequence[SOp],
    inputs: list[Sequence[Any]],
    given: Mapping[Any, list[Sequence[Any]]],
) -> list[CodedValues]:
    """Columns of the wanted s-ops on inputs of one length; everything else is dropped after its last use."""
    results: dict[int, Any] = {}
    needed = [node for node in order if node not in given]
    uses = Counter(id(child) for node in needed for child in children(node))
    uses.update(id(node) for node in wanted)
    for node in order:
        try:
            results[id(node)] = coded(given[node]) if node in given else _value(node, results, inputs)
        except _Fault as fault:
            fault.xs = list(inputs[fault.row])
            raise
        for child in children(node) if node not in given else ():
            uses[id(child)] -= 1
            if not uses[id(child)]:
                del results[id(child)]
    return [results[id(node)] for node in wanted]


def _value(node: Node, results: dict[int, Any], inputs: list[Sequence[Any]]) -> Any:
    """The column of an s-op or the array of a selector, from those of its children."""
    parts = [results[id(child)] for child in children(node)]
    n = len(inputs[0])
    match node:
        case Tokens(part=None):
            return coded(inputs)
        case Tokens(part=part) if part is not None:
            return coded([[part(x) for x in xs] for xs in inputs])
        case Indices():
            return CodedValues(np.arange(n)[None], tuple(range(n)))
        case Constant(value=value):
            return CodedValues(np.zeros((1, n), dtype=int), (value,))
        case Elementwise(f=f):
            return looked_up(*_call(node, f, lambda *xs: apply(f, xs), [(c.codes, c.values) for c in parts]))
        case Select(predicate=f):
            keys, queries = parts
            pairs = [(keys.codes[:, None, :], keys.values), (queries.codes[:, :, None], queries.values)]
            ids, selected = _call(node, f, lambda k, q: selects(f, k, q), pairs)
            return np.array(selected, dtype=bool)[ids]
        case And():
            return reduce(np.logical_and, parts)
        case Or():
            return reduce(np.logical_or, parts)
        case Not():
            return ~parts[0]
        case Get():
            return _get(node, *parts)
        case Mean() | Sum():
            return _total(node, *parts)
    raise TypeError(f"{node!r} is not part of the language")


def _call(
    node: Node,
    f: Callable[..., Any],
    call: Callable[..., Any],
    operands: list[tuple[np.ndarray, tuple[Any, ...]]],
) -> tuple[np.ndarray, list[Any]]:
    """`call` on operands given as (codes, values): its results, and which of them belongs where."""
    occurring, ids = combinations([c for c, _ in operands], [len(v) for _, v in operands])
    results = []
    for which, combination in enumerate(occurring):
        arguments = [values[i] for (_, values), i in zip(operands, combination, strict=True)]
        try:
            results.append(call(*arguments))
        except Exception as error:  # whatever a user's function raises
            row, position, *_ = np.unravel_index(np.argmax(ids == which), ids.shape)
            shown = ", ".join(map(repr, arguments))
            what = f"{_function(f)}({shown}) in {located(node)} raised {type(error).__name__}: {error}"
            raise _Fault(node, what, int(row), int(position)) from error
    return ids, results


def _get(node: Get, selected: Mask, value: CodedValues, score: CodedValues | None = None) -> CodedValues:
    if score is not None:
        selected = _best(node, selected, score)
    missing = ~selected.any(-1)
    if node.default is MISSING and missing.any():
        row, query = np.argwhere(missing)[0].tolist()
        raise _Fault(node, f"{located(node)} selects no key and has no default", row, query)
    first = selected.argmax(-1)
    shape = np.broadcast_shapes(first.shape, value.codes.shape)
    codes = np.broadcast_to(value.codes, shape)
    picked = np.take_along_axis(codes, np.broadcast_to(first, shape), axis=1)
    if (selected.sum(-1) > 1).any():
        first_of: dict[Any, int] = {}
        classes = np.array([first_of.setdefault(value_key(v), i) for i, v in enumerate(value.values)])
        differs = selected & (classes[codes][:, None, :] != classes[picked][:, :, None])
        if differs.any():
            row, query, other = np.argwhere(differs)[0].tolist()
            a, b = (value.values[c] for c in (picked[row, query], codes[row, other]))
            one = int(np.broadcast_to(first, shape)[row, query])
            what = f"{located(node)} selects the keys {one} and {other}, whose values {a!r} and {b!r} differ"
            raise _Fault(node, what, row, query)
    if node.default is MISSING:
        return looked_up(picked, value.values)
    return looked_up(np.where(missing, len(value.values), picked), (*value.values, node.default))


def _best(node: Get, selected: Mask, score: CodedValues) -> Mask:
    """The selected keys that have the best score."""
    kinds: dict[Any, list[int]] = {}  # codes of values that can be compared with each other
    for code, value in enumerate(score.values):
        if value is not None:
            kinds.setdefault("number" if isinstance(value, (Rational, float)) else type(value), []).append(code)
    kind, rank = np.full(len(score.values), -1), np.full(len(score.values), -1)
    for number, codes in enumerate(kinds.values()):
        try:
            if any(score.values[code] != score.values[code] for code in codes):
                raise TypeError("nan is among them")
            ordered = sorted({score.values[code] for code in codes}, reverse=not node.largest)  # type: ignore[type-var]
        except TypeError as error:
            row, position = np.argwhere(np.isin(score.codes, codes))[0].tolist()
            raise _Fault(node, f"the scores of {located(node)} have no order: {error}", row, position) from error
        place = {value: i for i, value in enumerate(ordered)}
        kind[codes] = number
        rank[codes] = [place[score.values[code]] for code in codes]
    candidates = selected & (kind[score.codes] >= 0)[:, None, :]
    if len(kinds) > 1:
        kinds_met = [(candidates & (kind[score.codes] == number)[:, None, :]).any(-1) for number in range(len(kinds))]
        if (mixed := np.sum(kinds_met, axis=0) > 1).any():
            row, query = np.argwhere(mixed)[0].tolist()
            raise _Fault(node, f"the scores of {located(node)} have no order: they are of several kinds", row, query)
    ranks = np.where(candidates, rank[score.codes][:, None, :], -1)
    return candidates & (ranks == ranks.max(-1, keepdims=True))


_INTEGER, _FRACTION, _UNDEFINED, _OTHER = range(4)


def _total(node: Mean | Sum, selected: Mask, value: CodedValues) -> CodedValues:
    """Sums or means, in integer arithmetic over a common denominator."""
    exact = [_exact(v) for v in value.values]
    kinds = np.array([_kind(v, x) for v, x in zip(value.values, exact, strict=True)])
    kind = np.where(selected, kinds[value.codes][:, None, :], _INTEGER).max(-1)  # of the summands together
    if (kind == _OTHER).any():
        row, query = np.argwhere(kind == _OTHER)[0].tolist()
        codes = _row(value.codes, row)
        (culprit,) = codes[_row(selected, row)[query] & (kinds[codes] == _OTHER)][:1]
        what = f"{located(node)} meets {value.values[culprit]!r}, which is not a finite number"
        raise _Fault(node, what, row, query)
    counts = selected.sum(-1)
    default = None
    if isinstance(node, Mean):
        if node.default is MISSING and not counts.all():
            row, query = np.argwhere(counts == 0)[0].tolist()
            raise _Fault(node, f"{located(node)} selects no key and has no default", row, query)
        default = node.default
    scale = math.lcm(*(x.denominator for x in exact))
    numerators = [int(x * scale) for x in exact]
    small = max(map(abs, numerators)) * counts.shape[-1] < 2**62
    summands = np.array(numerators, dtype=np.int64 if small else object)[value.codes][:, None, :]
    totals, ids = np.unique(np.where(selected, summands, 0).sum(-1), return_inverse=True)

    def finish(total: int, count: int, kind: int) -> Any:
        if isinstance(node, Mean) and not count:
            return default
        if kind == _UNDEFINED:
            return None
        if isinstance(node, Mean):
            return plain(Fraction(total, scale * count))
        return total // scale if kind == _INTEGER else plain(Fraction(total, scale))

    shape = np.broadcast_shapes(selected.shape[:2], value.codes.shape)
    operands = [
        (ids.reshape(shape), tuple(totals.tolist())),
        (counts, tuple(range(counts.shape[-1] + 1))),
        (kind, (_INTEGER, _FRACTION, _UNDEFINED)),
    ]
    return looked_up(*_call(node, finish, finish, operands))


def _exact(value: Value) -> Fraction:
    """The value as a fraction; 0 for what cannot be added."""
    if isinstance(value, Rational) or (isinstance(value, float) and math.isfinite(value)):
        return Fraction(value)
    return Fraction(0)


def _kind(value: Value, exact: Fraction) -> int:
    if isinstance(value, int):
        return _INTEGER
    if value is None:
        return _UNDEFINED
    return _FRACTION if value == exact and isinstance(value, (Rational, float)) else _OTHER


def _row(array: np.ndarray, row: int) -> np.ndarray:
    """array[row], where a batch of 1 stands for all rows."""
    return array[row] if len(array) > 1 else array[0]


def _function(f: Callable[..., Any]) -> str:
    """The name by which a user finds a function, with the line of a lambda."""
    name = getattr(f, "__name__", repr(f))
    code = getattr(f, "__code__", None)
    if code and name == "<lambda>":
        return f"{name} ({Path(code.co_filename).name}, line {code.co_firstlineno})"
    return name
