"""Smaller versions of a generated program, for finding a minimal one that still fails."""

import ast
import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, final

from gaugeblock.programs.generation.generator import built, inlined, rendered
from gaugeblock.programs.program import Program

_LEAVES: Final = ("tokens", "indices", "everything", "causal", "True", "0", "1", "None")


@final
@dataclass(frozen=True)
class _Parts:
    """A source taken apart: what the decorator says, and the statements of the function."""

    program: Program
    body: tuple[ast.stmt, ...]

    def source(self) -> str:
        p = self.program
        return rendered(p.name, p.vocab, p.max_len, p.graph, [ast.unparse(s) for s in self.body])


def shrink(program: Program, fails: Callable[[Program], bool], steps: int = 500) -> Program:
    """A program, no larger, on which `fails` still holds, and of which no simple reduction does.

    Args:
        program: one with a `source` as generated programs have it.
        fails: whether a program shows the failure; False for one that makes no sense.
        steps: how many programs are tried at most.
    """
    tried = {program.source}
    left = steps
    while left > 0:
        for source in _smaller(program):
            if source in tried:
                continue
            tried.add(source)
            left -= 1
            candidate = _built(source)
            if candidate is not None and fails(candidate):
                program = candidate
                break
            if left <= 0:
                break
        else:
            break
    return program


def _built(source: str) -> Program | None:
    try:
        program = built(source)
        return program if program.outputs else None
    except Exception:  # most ways of cutting a program down give none
        return None


def _weight(parts: _Parts) -> tuple[int, int, int | float]:
    """The measure of a program for shrinking: the syntax tree with the sizes, then the text, then the numbers in it."""
    nodes = [x for s in parts.body for x in ast.walk(s)]
    numbers = [x.value for x in nodes if isinstance(x, ast.Constant) and isinstance(x.value, (int, float))]
    sizes = len(nodes) + len(parts.program.vocab) + parts.program.max_len
    return sizes, sum(len(ast.unparse(s)) for s in parts.body), sum(map(abs, numbers))


def _smaller(program: Program) -> Iterator[str]:
    """Sources that are smaller than the program's, the boldest cuts first."""
    function = next(n for n in ast.parse(program.source).body if isinstance(n, ast.FunctionDef))
    parts = _Parts(program, tuple(function.body))
    weight = _weight(parts)
    for candidate in itertools.chain(_outputs(parts), _sizes(parts), _inlined(parts), _expressions(parts)):
        candidate = _without_unused(candidate)
        if _weight(candidate) < weight:
            yield candidate.source()


def _outputs(parts: _Parts) -> Iterator[_Parts]:
    """Fewer outputs, or a name instead of them."""
    *before, last = parts.body
    assert isinstance(last, ast.Return)
    match last.value:
        case ast.Tuple(elts=several) | ast.Dict(values=several):
            values: list[ast.expr] = [*several, *(ast.Tuple([x], ast.Load()) for x in several)]
        case _:
            values = []
    targets = [s.targets[0] for s in before if isinstance(s, ast.Assign)]
    values += [ast.Name(x.id, ast.Load()) for x in targets if isinstance(x, ast.Name)]
    for value in values:
        yield _Parts(parts.program, (*before, ast.Return(value)))


def _sizes(parts: _Parts) -> Iterator[_Parts]:
    """A smaller vocabulary or length."""
    p = parts.program
    for n in (1, 2, p.max_len // 2, p.max_len - 1):
        if 0 < n < p.max_len:
            yield _Parts(p.with_size(max_len=n), parts.body)
    vocabularies = [p.vocab[:1], p.vocab[:2], p.vocab[: len(p.vocab) // 2]]
    vocabularies += [p.vocab[:i] + p.vocab[i + 1 :] for i in range(len(p.vocab))]
    for vocab in vocabularies:
        if 0 < len(vocab) < len(p.vocab):
            yield _Parts(p.with_size(vocab=vocab), parts.body)


def _inlined(parts: _Parts) -> Iterator[_Parts]:
    """The statements with one name replaced by what it stands for, one name at a time."""
    for i, statement in enumerate(parts.body):
        if isinstance(statement, ast.Assign):
            (target,) = statement.targets
            assert isinstance(target, ast.Name)
            rest = [inlined(s, {target.id: statement.value}) for s in parts.body[i + 1 :]]
            yield _Parts(parts.program, (*parts.body[:i], *rest))


def _expressions(parts: _Parts) -> Iterator[_Parts]:
    """One expression replaced by a part of it or by something simple, the largest first."""
    places = []
    for i, statement in enumerate(parts.body):
        functions = {id(x.func) for x in ast.walk(statement) if isinstance(x, ast.Call)}
        for j, x in enumerate(ast.walk(statement)):
            stored = isinstance(getattr(x, "ctx", None), ast.Store)
            if isinstance(x, ast.expr) and not stored and id(x) not in functions:
                places.append((len(list(ast.walk(x))), i, j))
    for _, i, j in sorted(places, key=lambda place: (-place[0], *place[1:])):
        old = list(ast.walk(parts.body[i]))[j]
        inside = [x for x in ast.iter_child_nodes(old) if isinstance(x, ast.expr)]
        inside += [x.value for x in ast.iter_child_nodes(old) if isinstance(x, ast.keyword)]
        if isinstance(old, ast.Call):  # x.f(...) → x, too
            inside = [x for x in inside if x is not old.func]
            inside += [old.func.value] if isinstance(old.func, ast.Attribute) else []
            yield from (_with(parts, i, j, fewer) for fewer in _calls_with_less(old))
        for new in (*inside, *(ast.parse(leaf, mode="eval").body for leaf in _LEAVES)):
            yield _with(parts, i, j, new)


def _calls_with_less(call: ast.Call) -> Iterator[ast.Call]:
    for k in range(len(call.keywords)):
        yield ast.Call(call.func, call.args, call.keywords[:k] + call.keywords[k + 1 :])
    for k in range(len(call.args)):
        yield ast.Call(call.func, call.args[:k] + call.args[k + 1 :], call.keywords)


def _with(parts: _Parts, i: int, j: int, new: ast.expr) -> _Parts:
    """The parts with the j-th node of statement i replaced."""
    statement = copy.deepcopy(parts.body[i])
    old = list(ast.walk(statement))[j]
    replaced = _Replace(old, new).visit(statement)
    return _Parts(parts.program, (*parts.body[:i], replaced, *parts.body[i + 1 :]))


@final
class _Replace(ast.NodeTransformer):
    def __init__(self, old: Any, new: ast.expr) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def _without_unused(parts: _Parts) -> _Parts:
    """The parts without assignments that nothing reads."""
    kept: list[ast.stmt] = []
    used: set[str] = set()
    for statement in reversed(parts.body):
        names = {x.id for x in ast.walk(statement) if isinstance(x, ast.Name) and not isinstance(x.ctx, ast.Store)}
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if not targets or any(isinstance(t, ast.Name) and t.id in used for t in targets):
            kept.append(statement)
            used |= names
    return _Parts(parts.program, tuple(reversed(kept)))
