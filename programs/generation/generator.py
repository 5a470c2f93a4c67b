"""Random programs over the whole language: well typed, not degenerate, and the same for the same seed everywhere."""

import ast
import copy
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, final

import numpy as np

from gaugeblock.programs.domain import GRAPHS, sample_tokens
from gaugeblock.programs.errors import ProgramError, check_seed
from gaugeblock.programs.generation.attending import REDUCTIONS, selector
from gaugeblock.programs.generation.coverage import (
    CONSTRUCTS,
    check_constructs,
    operations,
    read_by_reductions,
    source_constructs,
)
from gaugeblock.programs.generation.draw import Draw, Impossible, Kind, Value
from gaugeblock.programs.generation.productions import ELEMENTWISE
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language import functions as language
from gaugeblock.programs.language.expression import SOp, Tokens
from gaugeblock.programs.language.operations import node_value
from gaugeblock.programs.language.tree import Node, postorder
from gaugeblock.programs.program import Program

ATTEMPTS_PER_PROGRAM: Final = 60
N_PROBE_INPUTS: Final = 32
"""How many inputs are drawn to see whether an expression depends on its input."""

_SURFACE: Final = {
    name: getattr(language, name)
    for name in (
        "causal", "edges", "everything", "key", "local", "loop", "map_n", "query", "same_block", "select", "strided",
        "where",
    )
}  # fmt: skip


def generate(
    seed: int,
    *,
    size: int | None = None,
    depth: int | None = None,
    vocab: Iterable[Any] | None = None,
    max_len: int | None = None,
    constructs: Collection[str] | None = None,
    without: Collection[str] = (),
) -> Program:
    """A random program, whose `source` can be pasted and run.

    It has a value on every input, and its output depends on its input.

    Args:
        seed: the same seed gives the same program in every process.
        size: about how many operations it has (see `coverage.operations`).
        depth: the longest chain of reductions, which is how many attention layers it needs.
        vocab: booleans, numbers or strings.
        max_len: the longest input it is compiled for.
        constructs: those it may use, of `coverage.CONSTRUCTS`; all by default.
        without: those it may not use.

    Raises ProgramError where what is asked for is impossible, InputError for a negative seed, UnknownName for a
    construct there is not.

    >>> program = generate(3, size=3, depth=1, vocab="ab", max_len=4, without=("graph",))
    >>> program.name, program.vocab, len(program(["a", "b"]))
    ('generated_3', ('a', 'b'), 2)
    """
    check_seed(seed)
    check_constructs((*(constructs or ()), *without))
    allowed = frozenset(CONSTRUCTS if constructs is None else constructs) - frozenset(without)
    tokens = None if vocab is None else tuple(vocab)
    for attempt in range(ATTEMPTS_PER_PROGRAM):
        rng = np.random.default_rng([seed, attempt])
        plan = _plan(rng, f"generated_{seed}", size, depth, tokens, max_len, allowed)
        writer = _Writer(rng, plan)
        try:
            return built(writer.write())
        except Impossible:
            continue
    raise ProgramError(
        f"no program of size {size}, depth {depth} and max_len {max_len} was found for the seed {seed}: "
        "ask for another size or depth, or allow more constructs"
    )


def built(source: str) -> Program:
    """The program that a source, as generated programs have it, defines."""
    names: dict[str, Any] = {}
    exec(compile(source, "<generated>", "exec"), names)
    (program,) = [x for x in names.values() if isinstance(x, Program)]
    return replace(program, source=source)


@final
@dataclass(frozen=True)
class Plan:
    """The properties that a program is to have; `entries` bounds the tables of its elementwise expressions."""

    name: str
    vocab: tuple[Any, ...]
    max_len: int
    size: int
    depth: int
    graph: bool
    outputs: int
    entries: int
    allowed: frozenset[str]


def _plan(
    rng: np.random.Generator,
    name: str,
    size: int | None,
    depth: int | None,
    vocab: tuple[Any, ...] | None,
    max_len: int | None,
    allowed: frozenset[str],
) -> Plan:
    graph = bool(rng.random() < 0.1) and {"graph", "edges"} <= allowed
    longest = rng.integers(2, 6) if graph else rng.integers(9, 13) if rng.random() < 0.1 else rng.integers(3, 9)
    return Plan(
        name=name,
        vocab=_vocabulary(rng) if vocab is None else vocab,
        max_len=int(longest) if max_len is None else max_len,
        size=int(rng.integers(2, 16)) if size is None else size,
        depth=int(rng.choice(5, p=[0.05, 0.3, 0.4, 0.2, 0.05])) if depth is None else depth,
        graph=graph,
        outputs=int(rng.integers(2, 4)) if rng.random() < 0.15 and "several outputs" in allowed else 1,
        entries=int(rng.choice([200, 600, 3000], p=[0.6, 0.3, 0.1])),
        allowed=allowed,
    )


def _vocabulary(rng: np.random.Generator) -> tuple[Any, ...]:
    n = int(rng.integers(7, 13)) if rng.random() < 0.1 else int(rng.integers(2, 7))
    kind = rng.choice(["letters", "numbers", "shifted", "floats", "booleans"], p=[0.45, 0.25, 0.15, 0.1, 0.05])
    match kind:
        case "letters":
            return tuple("abcdefghijkl"[:n])
        case "numbers":
            return tuple(range(n))
        case "shifted":
            return tuple(range(-2, n - 2))
        case "floats":
            return (-1.5, 0.25, 0, 2, 0.1, 3.5)[: min(n, 6)]
    return (False, True)


def _probes(rng: np.random.Generator, plan: Plan) -> list[list[Any]]:
    """Inputs of a few lengths, most of them as long as can be."""
    if plan.graph:
        return [GRAPHS.sample(rng, plan.vocab, plan.max_len) for _ in range(N_PROBE_INPUTS)]
    lengths = [1, *[(plan.max_len + 1) // 2] * (N_PROBE_INPUTS // 4)]
    lengths += [plan.max_len] * (N_PROBE_INPUTS - len(lengths))
    return [sample_tokens(rng, plan.vocab, n, few=i % 2 == 0) for i, n in enumerate(lengths)]


def _tokens_value(vocab: tuple[Any, ...]) -> Value:
    """The value `tokens`, with what is known of it."""
    kinds = {type(x) for x in vocab}
    kind: Kind = "any"
    for candidate, types in (("bool", {bool}), ("int", {int}), ("num", {int, float}), ("sym", {str})):
        if kinds <= types:
            kind = candidate  # type: ignore[assignment]
            break
    numbers = vocab if kind in ("bool", "int", "num") else (0,)
    symbols = vocab if kind == "sym" else ()
    reads = frozenset({("tokens", len(vocab))})
    return Value("tokens", kind, min(numbers), max(numbers), symbols, len(vocab), reads)


@final
@dataclass(frozen=True)
class _Statement:
    """A name, what it is bound to, its operations, and the names it is computed from, itself included."""

    name: str
    tree: ast.expr
    operations: int
    above: frozenset[str]


@final
@dataclass
class _Writer:
    """Writes one program, statement by statement, each of which is tried on some inputs."""

    rng: np.random.Generator
    plan: Plan
    statements: dict[str, _Statement] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    values: dict[SOp, list[list[Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plan = self.plan
        positions = frozenset({("indices", plan.max_len)})
        top = plan.max_len - 1
        indices = Value("indices", "int", 0, top, (), plan.max_len, positions, distinct=True, position=True)
        values = [_tokens_value(plan.vocab), indices]
        self.draw = Draw(self.rng, values, plan.max_len, plan.entries, plan.depth, plan.graph)
        tokens = Tokens("tokens", node_value) if plan.graph else Tokens()
        self.nodes |= {"tokens": tokens, "indices": language.indices}
        self.probes = _probes(self.rng, plan)

    def write(self) -> str:
        """The source of a program."""
        for _ in range(40 + 12 * self.plan.size):
            try:
                self._step()
            except Impossible:
                continue
            outputs = self._outputs()
            if outputs:
                return self._source(outputs)
        raise Impossible

    def _step(self) -> None:
        """Write one more statement."""
        draw, deepest = self.draw, self.draw.deepest
        if deepest and draw.chance(0.1):
            chosen = selector(draw)
            statement, node = self._statement("s", chosen.text)
            self._keep(statement, node)
            draw.selectors.append(replace(chosen, text=statement.name))
            return
        reached = max(v.depth for v in draw.values)
        rules = REDUCTIONS if deepest and draw.chance(0.35 if reached == deepest else 0.55) else ELEMENTWISE
        value = draw.weighted(rules)(draw)
        statement, node = self._statement("v", value.text)
        self._try(node)
        self._keep(statement, node)
        reads = frozenset({(statement.name, value.size)}) if value.reads is None else value.reads
        draw.values.append(replace(value, text=statement.name, reads=reads))

    def _statement(self, letter: str, text: str) -> tuple[_Statement, Any]:
        """The text as a statement, and the s-op or selector it makes."""
        tree = ast.parse(text, mode="eval").body
        selectors = frozenset(s.text for s in self.draw.selectors)
        if isinstance(tree, ast.Name) or text in self.texts:
            raise Impossible
        if not source_constructs(tree, selectors) <= self.plan.allowed:
            raise Impossible
        self.texts.add(text)
        node = eval(compile(ast.Expression(tree), "<generated>", "eval"), {**_SURFACE, **self.nodes})
        name = f"{letter}{len(self.statements) + 1}"
        used = {x.id for x in ast.walk(tree) if isinstance(x, ast.Name)} & set(self.statements)
        above = frozenset({name}).union(*(self.statements[x].above for x in used))
        self.draw.unused -= used
        return _Statement(name, tree, operations(tree), above), node.selector() if letter == "s" else node

    def _keep(self, statement: _Statement, node: Node) -> None:
        self.statements[statement.name] = statement
        self.nodes[statement.name] = node
        self.draw.unused.add(statement.name)

    def _try(self, node: SOp) -> None:
        """Raise Impossible where the s-op is constant, undefined nearly everywhere, or not allowed."""
        summands, scores = read_by_reductions(node, self.values)
        below = [x for x in postorder(node, leaves=self.values) if isinstance(x, SOp)]
        known = {x: self.values[x] for x in below if x in self.values}
        columns = evaluate([node, *summands, *scores], self.probes, known)
        met = {"undefined summands": columns[1 : 1 + len(summands)], "undefined scores": columns[1 + len(summands) :]}
        if any(None in c.values and name not in self.plan.allowed for name, several in met.items() for c in several):
            raise Impossible
        rows = [[columns[0].values[c] for c in row if c >= 0] for row in columns[0].codes]
        undefined = sum(row.count(None) for row in rows)
        if len(columns[0].values) < 2 or undefined > 0.75 * sum(map(len, rows)):
            raise Impossible
        self.values[node] = rows

    def _size(self, values: Sequence[Value]) -> int:
        return sum(self.statements[x].operations for x in self._above(values))

    def _above(self, values: Sequence[Value]) -> frozenset[str]:
        return frozenset().union(*(self.statements[v.text].above for v in values))

    def _outputs(self) -> list[Value]:
        """The values to return if there are enough by now: the newest, perhaps with others."""
        newest, plan = self.draw.values[-1], self.plan
        if newest.depth != plan.depth or newest.text not in self.statements:
            return []
        others = [v for v in self.draw.values[2:-1] if v.text not in self._above([newest])]
        outputs = [newest, *others[len(others) - plan.outputs + 1 :]] if plan.outputs > 1 else [newest]
        enough = plan.size <= self._size(outputs) <= plan.size + max(plan.size // 2, 4 * plan.depth) + 3
        return outputs if enough and len(outputs) == plan.outputs and self._depends(newest) else []

    def _depends(self, value: Value) -> bool:
        """Whether the value differs between inputs of the same length, and not only on a few of them."""
        node = self.nodes[value.text]
        assert isinstance(node, SOp)
        rows = [row for row in self.values[node] if len(row) == self.plan.max_len]
        commonest = max(Counter(map(tuple, rows)).values(), default=0)
        return commonest <= 0.8 * len(rows)

    def _source(self, outputs: list[Value]) -> str:
        """A function that returns the outputs, with some names that are used once replaced by what they stand for."""
        needed = [s for s in self.statements.values() if s.name in self._above(outputs)]
        returned: ast.expr
        returned, *others = [ast.Name(v.text, ast.Load()) for v in outputs]
        if others and self.draw.chance(0.3):
            returned = ast.Dict([ast.Constant(f"part_{i}") for i in range(len(outputs))], [returned, *others])
        elif others:
            returned = ast.Tuple([returned, *others], ast.Load())
        trees = [*(s.tree for s in needed), returned]
        uses = Counter(x.id for tree in trees for x in ast.walk(tree) if isinstance(x, ast.Name))
        inline: dict[str, ast.expr] = {}
        body = []
        for statement in needed:
            tree = inlined(statement.tree, inline)
            if uses[statement.name] == 1 and self.draw.chance(0.5):
                inline[statement.name] = tree
            else:
                body.append(f"{statement.name} = {ast.unparse(tree)}")
        body.append(f"return {ast.unparse(inlined(returned, inline))}")
        return rendered(self.plan.name, self.plan.vocab, self.plan.max_len, self.plan.graph, body)


Syntax = TypeVar("Syntax", bound=ast.AST)


def inlined(tree: Syntax, known: dict[str, ast.expr]) -> Syntax:
    """A copy of the tree with expressions in the place of names."""
    return _Inline(known).visit(copy.deepcopy(tree))


@final
class _Inline(ast.NodeTransformer):
    """Puts expressions in the place of names."""

    def __init__(self, known: dict[str, ast.expr]) -> None:
        self.known = known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.known.get(node.id, node)


def rendered(name: str, vocab: tuple[Any, ...], max_len: int, graph: bool, body: Sequence[str]) -> str:
    """The source of a program with these statements."""
    text = "\n".join(f"    {line}" for line in body)
    names = {x.id for x in ast.walk(ast.parse(f"def f():\n{text}")) if isinstance(x, ast.Name)}
    imported = ", ".join(["program", *sorted(names & set(_SURFACE))])
    options = f"{list(vocab)!r}, max_len={max_len}, name={name!r}, tags=('generated',)"
    return (
        f"from gaugeblock.programs import {imported}\n\n\n"
        f"@program({options}{', graph=True' if graph else ''})\n"
        f"def generated(tokens, indices):\n{text}\n"
    )
