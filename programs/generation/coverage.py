"""The constructs of the language that a program uses, how many operations it has, and how deep it is."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from gaugeblock.programs.errors import UnknownName
from gaugeblock.programs.interpreter import evaluate
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.selector import Get, Mean, Sum
from gaugeblock.programs.language.tree import children, postorder
from gaugeblock.programs.program import Program

_ARITHMETIC: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
_LOGIC: Final[dict[type[ast.operator], str]] = {ast.BitAnd: "&", ast.BitOr: "|"}
_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_UNARY: Final[dict[type[ast.unaryop], str]] = {ast.USub: "-x", ast.UAdd: "+x", ast.Invert: "~x"}
_SELECTORS: Final = ("everything", "causal", "edges", "local", "strided", "same_block", "select")
_REDUCTIONS: Final = ("get", "mean", "sum", "count", "any", "all", "max", "min", "best")
_WITH_DEFAULT: Final = ("get", "mean", "max", "min")

CONSTRUCTS: Final[tuple[str, ...]] = (
    *(f"x {op} y" for op in _ARITHMETIC.values()),
    *(f"1 {op} x" for op in _ARITHMETIC.values()),
    "-x",
    "+x",
    "abs",
    "round",
    *(f"x {op} y" for op in _COMPARISONS.values()),
    "x & y",
    "x | y",
    "~x",
    "map",
    *(f"map_n of {n}" for n in (1, 2, 3, 4)),
    "where",
    "isin",
    "defined",
    "None",
    *(f"key {op} query" for op in _COMPARISONS.values()),
    "query first",
    "key with constant",
    "query with constant",
    "key alone",
    "query alone",
    *_SELECTORS,
    "selector &",
    "selector |",
    "selector ~",
    *_REDUCTIONS,
    *(f"{name} default" for name in _WITH_DEFAULT),
    *(f"{name} default None" for name in _WITH_DEFAULT),
    "best smallest",
    "unique",
    "undefined scores",
    "undefined summands",
    "loop",
    "several outputs",
    "graph",
)
"""Every construct of the language, by the name that tables and options use."""


def check_constructs(names: Iterable[str]) -> None:
    """Raises UnknownName for the first that is no construct."""
    for name in names:
        if name not in CONSTRUCTS:
            raise UnknownName("construct", name, CONSTRUCTS)


def constructs(program: Program) -> frozenset[str]:
    """The `CONSTRUCTS` that the source of a program uses; what Python functions do inside is not looked at."""
    used = set(source_constructs(_function(program.source)))
    summands, scores = read_by_reductions(program.output)
    columns = evaluate([*summands, *scores], program.sample(np.random.default_rng(0), 30))
    undefined = [None in column.values for column in columns]
    used |= {"undefined summands"} if any(undefined[: len(summands)]) else set()
    used |= {"undefined scores"} if any(undefined[len(summands) :]) else set()
    return frozenset(used | ({"graph"} if program.graph else set()))


def operations(tree: ast.AST) -> int:
    """How many operations a source has: operators, reductions and other calls, `key` and `query` aside."""
    sides = {"key", "query", "program"}
    kinds = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call)
    return sum(
        isinstance(x, kinds) and not (isinstance(x, ast.Call) and _called(x) in sides) and not _is_literal(x)
        for x in walk(tree)
    )


def depth(output: SOp) -> int:
    """The longest chain of reductions below an s-op: the attention layers it needs."""
    depths: dict[int, int] = {}
    for node in postorder(output):
        below = max((depths[id(c)] for c in children(node)), default=0)
        depths[id(node)] = below + isinstance(node, (Get, Mean, Sum))
    return depths[id(output)]


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Every part of a source that is about s-ops and selectors, in order: not the insides of functions of values."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        below = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Call) and _called(node) in ("map", "map_n", "select"):
            below = [x for x in below if not isinstance(x, ast.Lambda)]
        left += below[::-1]


def read_by_reductions(output: SOp, leaves: Mapping[SOp, Any] | None = None) -> tuple[list[SOp], list[SOp]]:
    """The s-ops below an output that are summed or averaged, and those that are scores, no deeper than `leaves`."""
    nodes = list(postorder(output, leaves=leaves or {}))
    summands = [node.value for node in nodes if isinstance(node, (Mean, Sum))]
    return summands, [node.score for node in nodes if isinstance(node, Get) and node.score is not None]


def source_constructs(tree: ast.AST, selectors: frozenset[str] = frozenset()) -> frozenset[str]:
    """The constructs in a source of which some free names stand for selectors."""
    known = set(selectors)
    for node in walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _is_selector(node.value, known):
            known.add(node.targets[0].id)
    used = _sides_alone(tree)
    for node in walk(tree):
        used |= _here(node, known)
    return frozenset(used)


def _here(node: ast.AST, selectors: set[str]) -> set[str]:
    """The constructs of one node of the syntax tree, its children aside."""
    match node:
        case ast.BinOp(left=left, op=op) if type(op) in _LOGIC:
            sign = _LOGIC[type(op)]
            return {f"selector {sign}" if _is_selector(left, selectors) else f"x {sign} y"}
        case ast.BinOp(left=left, op=op) if type(op) in _ARITHMETIC:
            return {f"{'1' if _is_literal(left) else 'x'} {_ARITHMETIC[type(op)]} {'x' if _is_literal(left) else 'y'}"}
        case ast.UnaryOp(op=op, operand=operand) if not _is_literal(node):
            negated = isinstance(op, ast.Invert) and _is_selector(operand, selectors)
            return {"selector ~"} if negated else {_UNARY[type(op)]}
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _comparison(left, _COMPARISONS[type(op)], right)
        case ast.Name(id=name) if name in _SELECTORS:
            return {name}
        case ast.Call():
            return _call(node)
        case ast.Return(value=ast.Tuple() | ast.Dict()):
            return {"several outputs"}
    return set()


def _comparison(left: ast.expr, sign: str, right: ast.expr) -> set[str]:
    sides = [_called(x) if _called(x) in ("key", "query") else None for x in (left, right)]
    match sides:
        case ["key", "query"]:
            return {f"key {sign} query"}
        case ["query", "key"]:
            mirrored = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(sign, sign)
            return {f"key {mirrored} query", "query first"}
        case [None, None]:
            return {f"x {sign} y"}
    return {f"{sides[0] or sides[1]} with constant"}


def _call(node: ast.Call) -> set[str]:
    name = _called(node)
    keywords = {k.arg: k.value for k in node.keywords}
    if name == "map_n":
        return {f"map_n of {len(node.args) - 1}"}
    if name == "where":
        return {"where", *(["None"] if any(_is_none(x) for x in node.args) else [])}
    if name not in (*_REDUCTIONS, "abs", "round", "map", "isin", "defined", "loop"):
        return set()
    used = {name}
    defaults = [*node.args[1:2], *(keywords[x] for x in keywords if x == "default")]
    if name in _WITH_DEFAULT and defaults:
        used.add(f"{name} default None" if _is_none(defaults[0]) else f"{name} default")
    used |= {"unique"} if "unique" in keywords else set()
    return used | ({"best smallest"} if "largest" in keywords else set())


def _sides_alone(tree: ast.AST) -> set[str]:
    """`key alone` and `query alone`: a side that is a selector by itself."""
    compared = {id(x) for n in walk(tree) if isinstance(n, ast.Compare) for x in (n.left, *n.comparators)}
    calls = [n for n in walk(tree) if isinstance(n, ast.Call) and id(n) not in compared]
    return {f"{_called(n)} alone" for n in calls if _called(n) in ("key", "query")}


def _is_selector(node: ast.expr, selectors: set[str]) -> bool:
    match node:
        case ast.Name(id=name):
            return name in selectors or name in _SELECTORS
        case ast.Call():
            return _called(node) in (*_SELECTORS, "key", "query") and isinstance(node.func, ast.Name)
        case ast.Compare(left=left, comparators=[right]):
            return _is_selector(left, selectors) or _is_selector(right, selectors)
        case ast.BinOp(left=left):
            return _is_selector(left, selectors)
        case ast.UnaryOp(operand=operand):
            return _is_selector(operand, selectors)
    return False


def _called(node: ast.AST) -> str:
    """The name of the function or method called, or ""."""
    match node:
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name
    return ""


def _is_literal(node: ast.AST) -> bool:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_literal(operand)
    return isinstance(node, ast.Constant)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _function(source: str) -> ast.FunctionDef:
    return next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef))
