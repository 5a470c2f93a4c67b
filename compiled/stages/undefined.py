"""Reductions over values that may be undefined, or with defaults that are no numbers, as ones over numbers."""

import operator
from collections.abc import Callable
from typing import Any

from gaugeblock.compiled.lowered.tables import is_plain_number
from gaugeblock.programs.language.expression import Constant, Elementwise, SOp
from gaugeblock.programs.language.operations import MISSING, choose, is_defined, key_holds
from gaugeblock.programs.language.selector import And, Get, Mean, Select, Selector, Sum
from gaugeblock.programs.language.tree import called_like


def guarded(node: Get | Mean | Sum, values: Callable[[SOp], tuple[Any, ...]]) -> SOp:
    """The same s-op, in which no score, sum or mean meets an undefined value.

    `values` tells which values an s-op may take.
    """
    if isinstance(node, Get):
        return _with_defined_score(node, values)
    result: SOp = node
    if not isinstance(node, Sum) and node.default is not MISSING and not is_plain_number(node.default):
        result = _choose(
            _any(node.selector, Constant(True)), Mean(node.selector, node.value, 0), Constant(node.default)
        )
    if None not in values(node.value):
        return called_like(result, node)
    # a sum over values some of which are undefined is undefined where one of these is selected
    known = _choose(Elementwise(is_defined, (node.value,)), node.value, Constant(0))
    over: SOp
    if isinstance(node, Sum):
        over = Sum(node.selector, known)
    else:
        over = guarded(Mean(node.selector, known, node.default), lambda x: (0,))
    spoilt = _any(node.selector, Elementwise(operator.not_, (Elementwise(is_defined, (node.value,)),)))
    return called_like(_choose(spoilt, Constant(None), over), node)


def _with_defined_score(node: Get, values: Callable[[SOp], tuple[Any, ...]]) -> SOp:
    if node.score is None or None not in values(node.score):
        return node
    defined = Elementwise(is_defined, (node.score,))
    lowest = min((v for v in values(node.score) if v is not None), default=0)
    score = _choose(defined, node.score, Constant(lowest))
    selector = _narrowed(node.selector, defined)
    return called_like(Get(selector, node.value, node.default, score, node.largest, node.unique), node)


def _any(selector: Selector, value: SOp) -> SOp:
    return Get(_narrowed(selector, value), Constant(True), False)


def _narrowed(selector: Selector, value: SOp) -> And:
    assert isinstance(selector, And)
    return And((*selector.operands, Select(value, Constant(True), key_holds)))


def _choose(condition: SOp, a: SOp, b: SOp) -> SOp:
    return Elementwise(choose, (condition, a, b))
