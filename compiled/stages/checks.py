"""Programs that compute something, but surely not what was meant."""

import operator
from typing import Any

from gaugeblock.compiled.stages.infer import Inference
from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language.expression import Constant, Elementwise, SOp, Tokens
from gaugeblock.programs.language.selector import Select
from gaugeblock.programs.language.tree import Node, located


def refuse_empty_comparisons(known: Inference) -> None:
    """Raise ProgramError for `==` or `!=` between values of kinds that are never equal, such as 1 and "1", and for
    tokens compared with what is no token of the vocabulary."""
    for node in known.facts:
        if isinstance(node, Elementwise) and node.f in (operator.eq, operator.ne):
            _check(known, node, *node.operands)
    for selector in known.trace.order:
        if isinstance(selector, Select) and selector.predicate in (operator.eq, operator.ne):
            _check(known, selector, selector.key, selector.query)


def _check(known: Inference, node: Node, a: SOp, b: SOp) -> None:
    if a not in known.facts or b not in known.facts:
        return
    one, other = known[a].values, known[b].values
    token = next((x for x in (a, b) if isinstance(x, Tokens)), None)
    constant = next((x for x in (a, b) if isinstance(x, Constant)), None)
    no_token = token is not None and constant is not None and not set(one) & set(other)
    kinds = [{_kind(v) for v in values if v is not None} for values in (one, other)]
    if no_token or (all(kinds) and not kinds[0] & kinds[1]):
        raise ProgramError(
            f"{located(node)} compares {_values_text(a, one)} with {_values_text(b, other)}: they are never equal, "
            "so it has the same result everywhere"
        )


def _kind(value: Any) -> str:
    return "number" if isinstance(value, (bool, int, float)) or hasattr(value, "denominator") else type(value).__name__


def _values_text(node: SOp, values: tuple[Any, ...]) -> str:
    listed = ", ".join(repr(v) for v in values[:6]) + (", …" if len(values) > 6 else "")
    return listed if isinstance(node, Constant) else f"{node.name or 'values'} ({listed})"
