"""How many layers a program has as RASP counts them, and how many it needs at least."""

import operator
from dataclasses import dataclass
from typing import Any, final

from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.merging import merge
from gaugeblock.programs.language.operations import divide, together
from gaugeblock.programs.language.selector import Get, Mean, Sum
from gaugeblock.programs.language.tree import Node, children, postorder
from gaugeblock.programs.program import Program
from gaugeblock.programs.proofs.facts import Facts
from gaugeblock.programs.proofs.uniqueness import at_most_one


@final
@dataclass(frozen=True)
class RaspDepth:
    """Layers of a RASP program and the heads in each, as its authors count them (`rasp_depth`)."""

    layers: int
    heads: tuple[int, ...]


def rasp_depth(program: Program) -> RaspDepth:
    """Layers and heads as RASP counts them (Weiss et al. 2021, section 3).

    Every reduction stands in the first layer after those of the reductions that its keys, queries, scores and values
    are computed from; elementwise operations need no layer of their own. The heads of a layer are the different
    selectors that are reduced in it, each counted once however many values are read with it; a selector narrowed by
    `.best` is one of its own. How selectors are combined from comparisons does not count.

    >>> from gaugeblock.programs import get
    >>> rasp_depth(get("sort"))
    RaspDepth(layers=2, heads=(1, 1))
    """
    (output,) = merge(program.output)
    layer: dict[int, int] = {}
    heads: dict[int, set[tuple[Any, ...]]] = {}
    for node in postorder(output):
        below = max((layer[id(child)] for child in children(node)), default=0)
        if isinstance(node, (Get, Mean, Sum)):
            below += 1
            score = (id(node.score), node.largest) if isinstance(node, Get) and node.score is not None else ()
            heads.setdefault(below, set()).add((id(node.selector), *score))
        layer[id(node)] = below
    layers = layer[id(output)]
    return RaspDepth(layers, tuple(len(heads[i]) for i in range(1, layers + 1)))


@final
@dataclass(frozen=True)
class LowerBound:
    """The fewest half layers for a program (`depth_lower_bound`).

    Attributes:
        half_layers: attention sublayers are the 1st, 3rd, ..., MLPs the 2nd, 4th, ...
        attention: attention sublayers among them.
        chain: the s-ops that force it, in order: each waits for the one before.
    """

    half_layers: int
    attention: int
    chain: tuple[SOp, ...]

    @property
    def layers(self) -> int:
        """Layers of attention and MLP; the last one may have no use for its MLP."""
        return (self.half_layers + 1) // 2


@final
@dataclass(frozen=True)
class _Ready:
    """When an s-op stands in the residual stream: after how many half layers, and which s-op it waited for.

    Attributes:
        linear: ready as directions that a linear map can read, by attention or as output.
        raw: ready in any form that an MLP can use. The sum of several selected values is raw first: attention
            averages, so that an MLP has to multiply by how many were selected.
    """

    linear: int
    raw: int
    after: SOp | None


def depth_lower_bound(program: Program) -> LowerBound:
    """The fewest half layers in which attention and MLPs alternate, attention first, that can hold the program.

    It is a bound under these assumptions:

    - the data flow is that of the program as written, equal subexpressions merged: no algebra, and outputs as numbers
      or one-hot;
    - a reduction is one attention sublayer, whatever its selector, once all it reads stand in the stream in a form
      that a linear map can read;
    - the embedding holds every function of the token or of the position alone, but none of both;
    - what is selected from one key at most stands there as one-hot after attention, and any function of it alone can
      be read linearly; a mean over more keys stands there as a number; a sum or count over more needs the MLP that
      follows, because attention averages;
    - sums, differences and constant multiples are read linearly. Any other function of two s-ops, or of a mean, is
      one MLP, together with everything elementwise below it.
    """
    (output,) = merge(program.output)
    one_hot = _from_one_key(program, output)
    ready: dict[int, _Ready] = {}
    variables: dict[int, frozenset[SOp]] = {}  # what an s-op is computed from elementwise
    for node in postorder(output):
        variables[id(node)] = _variables(node, variables)
        ready[id(node)] = _ready(node, ready, variables[id(node)], one_hot)
    end = ready[id(output)]
    chain: list[SOp] = [output] if end.linear else []
    while chain and (before := ready[id(chain[-1])].after) is not None:
        chain.append(before)
    attention = sum(isinstance(node, (Get, Mean, Sum)) for node in chain)
    return LowerBound(end.linear, attention, tuple(reversed(chain)))


def _from_one_key(program: Program, output: SOp) -> frozenset[SOp]:
    """The reductions that are certain to select one key at most, and every `.get`."""
    totals = [node for node in postorder(output) if isinstance(node, (Mean, Sum))]
    merged = merge(output, *(Get(node.selector, Indices()) for node in totals))  # equal values: the same key
    facts = Facts.of(program, *merged)
    gets = [node for node in postorder(output) if isinstance(node, Get)]
    single = [node for node, get in zip(totals, merged[1:], strict=True) if at_most_one(facts, get)]
    return frozenset((*gets, *single))


def _variables(node: Node, variables: dict[int, frozenset[SOp]]) -> frozenset[SOp]:
    if isinstance(node, Constant) or not isinstance(node, SOp):
        return frozenset()
    if isinstance(node, Elementwise):
        return frozenset().union(*(variables[id(o)] for o in node.operands))
    return frozenset([node])


def _ready(node: Node, ready: dict[int, _Ready], variables: frozenset[SOp], one_hot: frozenset[SOp]) -> _Ready:
    below = [(ready[id(child)], child) for child in children(node)]
    last, waited = max(((r.linear, child) for r, child in below), key=lambda pair: pair[0], default=(0, None))
    after = None if not last or waited is None else waited if isinstance(waited, SOp) else ready[id(waited)].after
    if isinstance(node, (Get, Mean, Sum)):
        time = last + 1 + last % 2
        needs_mlp = isinstance(node, Sum) and node not in one_hot
        return _Ready(time + needs_mlp, time, after)
    if isinstance(node, Elementwise) and variables and not _is_read_linearly(node, variables, one_hot):
        raw, slowest = max(((ready[id(v)].raw, v) for v in variables), key=lambda pair: pair[0])
        time = raw + 2 - raw % 2
        return _Ready(time, time, slowest if raw else None)
    return _Ready(last, last, after)


def _is_read_linearly(node: Elementwise, variables: frozenset[SOp], one_hot: frozenset[SOp]) -> bool:
    """Whether a linear map can read the node from its operands, or from the one variable it is a function of."""
    if all(isinstance(v, Tokens) for v in variables):
        return True
    if len(variables) == 1 and all(isinstance(v, Indices) or v in one_hot for v in variables):
        return True
    constant = [isinstance(x, Constant) for x in node.operands]
    if node.f in (together, operator.add, operator.sub, operator.neg):
        return True
    return (node.f is operator.mul and any(constant)) or (node.f is divide and constant[1])
