"""A selector as a boolean function of the comparisons it combines."""

import itertools
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Int

from gaugeblock.programs.language.expression import Constant, Elementwise, SOp
from gaugeblock.programs.language.operations import key_holds, query_holds
from gaugeblock.programs.language.selector import And, Or, Select, Selector
from gaugeblock.programs.language.tree import children, postorder
from gaugeblock.programs.proofs.functions import gives_boolean, is_boolean


@final
@dataclass(frozen=True)
class Formula:
    """A selector as a boolean function of its `atoms`.

    Attributes:
        holds: bool, one axis of length 2 per atom: whether the selector selects.
        possible: whether a key and a query exist for which the atoms have these values (true if unknown).
        known: for some atoms, by their number, whether they hold: [query, key] for each length from 1.
    """

    atoms: tuple[Select, ...]
    holds: Bool[np.ndarray, "..."]
    possible: Bool[np.ndarray, "..."]
    known: dict[int, list[Bool[np.ndarray, "_ _"]]]

    def codes(self, n: int) -> Int[np.ndarray, "pos pos"]:
        """The values of the known atoms for each query and key of an input of length n, as one number."""
        code = np.zeros((n, n), dtype=int)
        for masks in self.known.values():
            code = 2 * code + masks[n - 1]
        return code


def selects_of(selector: Selector) -> tuple[Select, ...]:
    """The comparisons that a selector combines, each once."""
    selects: dict[int, Select] = {}
    seen: set[int] = set()
    stack: list[Any] = [selector]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Select):
            selects[id(node)] = node
        else:
            stack.extend(reversed(children(node)))
    return tuple(selects.values())


def condition_on_key(atom: Select) -> SOp | None:
    """What an atom looks at, if it looks at the key only."""
    return atom.key if isinstance(atom.query, Constant) else None


def condition_on_query(atom: Select) -> SOp | None:
    """What an atom looks at, if it looks at the query only."""
    return atom.query if isinstance(atom.key, Constant) or atom.predicate is query_holds else None


def fixed_by(atom: Select) -> tuple[SOp, ...]:
    """S-ops that are certain to be equal at any two keys for which the atom holds of the same query."""
    if atom.predicate is operator.eq:
        return (atom.key,)
    if atom.predicate is not key_holds:
        return ()
    equal: list[SOp] = []
    stack = [atom.key]
    while stack:
        match stack.pop():
            case Elementwise(f=f, operands=operands) as x if gives_boolean(f):
                equal.append(x)
                if f is operator.eq:
                    equal += [a for a, b in itertools.permutations(operands) if isinstance(b, Constant)]
            case Elementwise(f=operator.and_, operands=operands) if all(map(is_boolean, operands)):
                stack.extend(operands)
    return tuple(equal)


def boolean(selector: Selector, atoms: Iterable[Select], values: dict[int, Any]) -> Any:
    """The selector's value, given those of its atoms as arrays that broadcast."""
    values = dict(values)
    for node in postorder(selector, leaves=frozenset(atoms)):
        if id(node) not in values:
            parts = [values[id(child)] for child in children(node)]
            match node:
                case And():
                    values[id(node)] = reduce(np.logical_and, parts)
                case Or():
                    values[id(node)] = reduce(np.logical_or, parts)
                case _:
                    values[id(node)] = ~parts[0]
    return values[id(selector)]


def along(values: np.ndarray, i: int, m: int) -> np.ndarray:
    """`values` along axis i of m."""
    return values.reshape([len(values) if j == i else 1 for j in range(m)])
