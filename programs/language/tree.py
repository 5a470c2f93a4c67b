"""An expression as the tree (or rather the graph) of its nodes: what is below a node, and how to name it to a user."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gaugeblock.programs.language.expression import Elementwise, SOp
from gaugeblock.programs.language.selector import And, Get, Mean, Not, Or, Select, Selector, Sum

Node = SOp | Selector


def children(node: Node) -> tuple[Node, ...]:
    """The nodes that a node is computed from, selectors included."""
    match node:
        case Elementwise(operands=operands):
            return operands
        case And(operands=selectors) | Or(operands=selectors):
            return selectors
        case Get():
            scores = () if node.score is None else (node.score,)
            return node.selector, node.value, *scores
        case Mean() | Sum():
            return node.selector, node.value
        case Select():
            return node.key, node.query
        case Not():
            return (node.operand,)
    return ()


def postorder(*roots: Node, leaves: Mapping[Any, Any] | frozenset[Any] = frozenset()) -> Iterator[Node]:
    """Every node below the roots once, children first, going no deeper than `leaves`.

    No recursion, so that chains may be thousands long.
    """
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            if node not in leaves:
                stack.extend((child, False) for child in reversed(children(node)) if id(child) not in seen)


def called_like(result: Any, node: Node) -> Any:
    """`result`, which stands for `node`, with its name and its line."""
    if result is not node:
        result.name, result.origin = node.name, node.origin
    return result


def located(node: Node) -> str:
    """A phrase that tells a user which expression is meant: its kind, its name, and the line it was written in."""
    kinds = {Get: "`.get`", Mean: "`.mean`", Sum: "`.sum`"}
    kind = kinds.get(type(node), "the selector" if isinstance(node, Selector) else "the s-op")
    name = repr(node.name) if node.name else "without a name"
    place = f" ({Path(node.origin[0]).name}, line {node.origin[1]})" if node.origin else ""
    return f"{kind} {name}{place}"
