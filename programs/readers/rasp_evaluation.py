"""From the statements of a RASP text to the expression of a program: s-ops are built, atoms and lists computed."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import PurePath
from typing import Any, Final, final

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.language.expression import Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.functions import everything, indices
from gaugeblock.programs.language.selector import Selector
from gaugeblock.programs.language.tree import Node, children, postorder
from gaugeblock.programs.readers import rasp_grammar as grammar
from gaugeblock.programs.readers import rasp_semantics as semantics
from gaugeblock.programs.readers import rasp_tree as tree
from gaugeblock.programs.readers.aggregation import Lookups
from gaugeblock.programs.readers.rasp_library import LIBRARIES

MAX_NESTED_CALLS: Final = 40
"""How many calls of functions may be inside one another."""


@final
@dataclass(frozen=True)
class Reading:
    """A parsed text: what a Program builds its expression with."""

    statements: tuple[tree.Statement, ...] = field(repr=False)
    text: str = field(repr=False)
    file: str
    vocab: tuple[Any, ...]
    max_len: int
    outputs: tuple[str, ...]  # none: what the last statement gives

    def __call__(self, tokens: Tokens, positions: Indices) -> SOp | tuple[SOp, ...]:
        sops = tuple(self.outputs_on(tokens).values())
        return sops if len(sops) > 1 else sops[0]

    def outputs_on(self, tokens: Tokens) -> dict[str, SOp]:
        """The s-ops that are the outputs, by name."""
        evaluation = _Evaluation(self, tokens)
        try:
            return evaluation.run()
        except RecursionError:
            raise ProgramError("the text is nested too deeply to be evaluated") from None


class _Placed(ProgramError):
    """An error whose message says the line already."""


@final
class Scope:
    """Names and what they stand for; what is missing is looked up in the scope outside."""

    def __init__(self, outside: "Scope | None" = None) -> None:
        self.values: dict[str, Any] = {}
        self.outside = outside

    def lookup(self, name: str) -> Any:
        """The value of a name. Raises ProgramError with the nearest names where there is none."""
        for scope in self.scopes():
            if name in scope.values:
                return scope.values[name]
        known = sorted({n for scope in self.scopes() for n in scope.values if not n.startswith("_")})
        close = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
        raise ProgramError(f"nothing is named {name!r}; {hint}")

    def scopes(self) -> "Iterator[Scope]":
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outside


@final
@dataclass(frozen=True, eq=False)
class TextFunction:
    """A function of the text or of a library, with the scope that it was defined in."""

    definition: tree.Define
    scope: Scope
    file: str


@final
@dataclass(frozen=True, eq=False)
class Builtin:
    name: str
    f: Callable[..., Any]


@cache
def _library(name: str) -> tuple[tree.Statement, ...]:
    return grammar.parse(LIBRARIES[name])


@final
class _Evaluation:
    """Evaluates the statements of a text over the tokens; s-ops are built, atoms and lists computed."""

    def __init__(self, reading: Reading, tokens: Tokens) -> None:
        self.reading = reading
        self.lookups = Lookups(reading.vocab, max(reading.max_len, 2))  # at one position, every selector would be one
        self.file, self.text = reading.file, reading.text
        self.at = tree.Token("end", "", 1, 1)
        self.calls: list[TextFunction] = []
        self.placed: set[Node] = {tokens, *postorder(indices, everything)}
        self.named: set[Node] = set(self.placed)
        self.base = Scope()
        self.user = Scope(self.base)
        self.result: dict[str, SOp] = {}
        self.inputs = _inputs(tokens, reading.vocab)
        self.base.values |= {b.name: b for b in self.builtins()}
        self.base.values |= {"indices": semantics.Sequence(indices, "number"), "tokens": self.inputs["tokens_str"]()}
        self.load("rasplib", self.base)

    def builtins(self) -> tuple[Builtin, ...]:
        lookups, converted = self.lookups, semantics.converted
        return (
            Builtin(
                "aggregate",
                lambda selector, values, default=None: semantics.aggregate(lookups, selector, values, default),
            ),
            Builtin("selector_width", lambda sel, assume_bos=False: semantics.selector_width(sel, assume_bos)),
            Builtin("indicator", lambda condition: semantics.indicator(condition)),
            Builtin("round", lambda number: semantics.rounded(number)),
            Builtin("range", lambda *bounds: semantics.in_range(*bounds)),
            Builtin("zip", lambda *lists: semantics.zipped(*lists)),
            Builtin("len", lambda list: semantics.length_of(list)),
            Builtin("str", lambda value: converted(semantics.as_text, "text", value)),
            Builtin("int", lambda value: converted(int, "number", value)),
            Builtin("float", lambda value: converted(semantics.exact, "number", value)),
            Builtin("bool", lambda value: converted(bool, "boolean", value)),
            Builtin("abs", lambda number: converted(abs, "number", number)),
        )

    def run(self) -> dict[str, SOp]:
        """Evaluate the text; gives its outputs by name."""
        for statement in self.reading.statements:
            self.execute(statement, self.user)
        if self.reading.outputs:
            return {name: self.output(name) for name in self.reading.outputs}
        if not self.result:
            raise ProgramError("no statement gives an s-op, which a program needs as its output")
        return self.result

    def output(self, name: str) -> SOp:
        value = self.user.lookup(name)
        if not isinstance(value, semantics.Sequence):
            raise ProgramError(f"the output {name!r} is {semantics.described(value)}, not an s-op")
        return value.sop

    def load(self, name: str, into: Scope) -> None:
        """Evaluate a library; its names come into the scope, except those that begin with an underscore."""
        library = PurePath(name).name
        if library not in LIBRARIES:
            raise ProgramError(f"there is no library {name!r}; built in: {', '.join(LIBRARIES)}")
        kept = self.file, self.text, self.at
        self.file, self.text = library, LIBRARIES[library]
        scope = Scope(self.base)
        for statement in _library(library):
            self.execute(statement, scope)
        self.file, self.text, self.at = kept
        into.values |= {n: v for n, v in scope.values.items() if not n.startswith("_")}

    # statements

    def execute(self, statement: tree.Statement, scope: Scope) -> None:
        match statement:
            case tree.Assign(names=names, values=values):
                results = [self.expression(e, scope) for e in values]
                value = results[0] if len(results) == 1 else results
                self.bind(names, value, scope, statement.at)
                self.keep(scope, value if len(names) > 1 else [value], names)
            case tree.Define(name=name):
                scope.values[name] = TextFunction(statement, scope, self.file)
            case tree.For(names=names, iterable=iterable, body=body):
                for element in self.elements(iterable, scope):
                    self.bind(names, element, scope, statement.at)
                    for inner in body:
                        self.execute(inner, scope)
            case tree.Evaluate(expression=expression):
                if not self.is_application(expression, scope):
                    self.keep(scope, [self.expression(expression, scope)], ["out"])
            case tree.Load(library=library):
                self.locally(statement.at, lambda: self.load(library, scope))

    def keep(self, scope: Scope, values: Iterable[Any], names: Iterable[str]) -> None:
        """Remember a statement's value as `out`, and as the output of the program if it is an s-op."""
        if scope is not self.user:
            return
        for value, name in zip(values, names, strict=True):
            scope.values["out"] = value
            if isinstance(value, semantics.Sequence):
                self.result = {name: value.sop}

    def is_application(self, expression: tree.Expression, scope: Scope) -> bool:
        """Whether a statement only shows what an s-op gives on an input."""
        if not isinstance(expression, tree.Call):
            return False
        function = self.expression(expression.function, scope)
        return isinstance(function, (semantics.Sequence, Selector))

    def bind(self, names: Sequence[str], value: Any, scope: Scope, at: tree.Token) -> None:
        if len(names) == 1:
            values = [value]
        elif isinstance(value, list) and len(value) == len(names):
            values = value
        else:
            what = f"{len(value)} values" if isinstance(value, list) else semantics.described(value)
            raise self.error(at, f"{len(names)} names ({', '.join(names)}) stand for {what}")
        for name, each in zip(names, values, strict=True):
            scope.values[name] = each
            self.give_name(each, name, last=scope is self.user)

    def give_name(self, value: Any, name: str, *, last: bool) -> None:
        """Name a node; the first name outside of functions stays."""
        node = value.sop if isinstance(value, semantics.Sequence) else value
        if isinstance(node, (SOp, Selector)) and node not in self.named:
            node.name = name if last or node.name is None else node.name
            if last:
                self.named.add(node)

    # expressions

    def expression(self, e: tree.Expression, scope: Scope) -> Any:
        """The value of an expression; what it builds knows its line."""
        return self.locally(e.at, lambda: self.evaluate(e, scope))

    def locally(self, at: tree.Token, compute: Callable[[], Any]) -> Any:
        """The result of `compute`, with errors and nodes placed here; in a library's function, at its call."""
        previous = self.at
        if not self.calls or self.calls[-1].file == self.file:
            self.at = at
        try:
            value = compute()
        except _Placed:
            raise
        except (ProgramError, TypeError, ValueError, ArithmeticError) as error:
            what = "division by zero" if isinstance(error, ZeroDivisionError) else str(error)
            raise self.error(self.at, what) from error
        self.place(value.sop if isinstance(value, semantics.Sequence) else value)
        self.at = previous
        return value

    def error(self, at: tree.Token, what: str) -> _Placed:
        return _Placed(str(grammar.syntax_error(self.text, at, what)))

    def place(self, value: Any) -> None:
        if isinstance(value, (SOp, Selector)) and value not in self.placed:
            self.placed.add(value)
            value.origin = self.file, self.at.line
            for child in children(value):
                self.place(child)

    def evaluate(self, e: tree.Expression, scope: Scope) -> Any:
        match e:
            case tree.Literal(value=value):
                return value
            case tree.Name(name=name):
                return self.inputs[name]() if name in self.inputs else scope.lookup(name)
            case tree.Prefix(operator=sign, operand=operand):
                return semantics.prefix(sign, self.expression(operand, scope))
            case tree.Binary(operator=sign, left=left, right=right):
                return semantics.binary(sign, self.expression(left, scope), self.expression(right, scope))
            case tree.Choice():
                return self.choice(e, scope)
            case tree.Selection(key=key, query=query, operator=sign):
                return semantics.select(self.expression(key, scope), self.expression(query, scope), sign)
            case tree.Index(indexed=indexed, index=index):
                x, i = self.expression(indexed, scope), self.expression(index, scope)
                return semantics.indexed(self.lookups, x, i, self.base.values["length"])
            case tree.List(items=items):
                return [self.expression(x, scope) for x in items]
            case tree.Dict(items=items):
                return {self.key(k, scope): self.expression(v, scope) for k, v in items}
            case tree.Comprehension():
                return self.comprehension(e, scope)
            case tree.Call(function=function, arguments=arguments, keywords=keywords):
                called = self.expression(function, scope)
                positional = [self.expression(x, scope) for x in arguments]
                named = {k: self.expression(x, scope) for k, x in keywords}
                return self.call(called, positional, named)
        raise TypeError(f"{e!r} is not part of the language")

    def choice(self, e: tree.Choice, scope: Scope) -> Any:
        condition = self.expression(e.condition, scope)
        if isinstance(condition, Selector):
            raise ProgramError("the condition of a conditional expression is a selector, not an s-op or an atom")
        if not isinstance(condition, semantics.Sequence):  # only the branch that is taken is evaluated
            return self.expression(e.then if condition else e.otherwise, scope)
        return semantics.choice(condition, self.expression(e.then, scope), self.expression(e.otherwise, scope))

    def key(self, e: tree.Expression, scope: Scope) -> Any:
        key = self.expression(e, scope)
        if not semantics.is_atom(key):
            raise ProgramError(f"the keys of a dict are atoms, not {semantics.described(key)}")
        return key

    def comprehension(self, e: tree.Comprehension, scope: Scope) -> list[Any] | dict[Any, Any]:
        pairs = []
        for element in self.elements(e.iterable, scope):
            inner = Scope(scope)
            self.bind(e.names, element, inner, e.at)
            pairs.append((None if e.key is None else self.key(e.key, inner), self.expression(e.value, inner)))
        return [value for _, value in pairs] if e.key is None else dict(pairs)

    def elements(self, e: tree.Expression, scope: Scope) -> list[Any]:
        container = self.expression(e, scope)
        if not isinstance(container, (list, dict)):
            raise self.error(e.at, f"`for` goes through a list or dict, not {semantics.described(container)}")
        return list(container)

    def call(self, called: Any, positional: list[Any], named: dict[str, Any]) -> Any:
        if isinstance(called, (semantics.Sequence, Selector)):
            what = semantics.described(called)
            raise ProgramError(f"{what} is given an input, which is possible only in a statement of its own")
        if isinstance(called, Builtin):
            try:
                inspect.signature(called.f).bind(*positional, **named)
            except TypeError as error:
                raise ProgramError(f"{called.name}: {error}") from None
            return called.f(*positional, **named)
        if not isinstance(called, TextFunction):
            raise ProgramError(f"{semantics.described(called)} is called, but is not a function")
        definition = called.definition
        scope = Scope(called.scope)
        scope.values |= self.arguments(definition, called.scope, positional, named)
        if len(self.calls) >= MAX_NESTED_CALLS:
            raise ProgramError(
                f"{definition.name!r} is called inside more than {MAX_NESTED_CALLS} calls of functions: recursion has "
                "no end, as s-ops have no value yet when a text is read"
            )
        self.calls.append(called)
        for statement in definition.body:
            self.execute(statement, scope)
        results = [self.expression(e, scope) for e in definition.result]
        self.calls.pop()
        return results[0] if len(results) == 1 else results

    def arguments(self, f: tree.Define, scope: Scope, positional: list[Any], named: dict[str, Any]) -> dict[str, Any]:
        """The values of a function's parameters."""
        bound = dict(zip(f.parameters, positional, strict=False))
        defaults = dict(zip(f.parameters[len(f.parameters) - len(f.defaults) :], f.defaults, strict=True))
        missing = [p for p in f.parameters if p not in bound and p not in named and p not in defaults]
        wrong = [n for n in named if n not in f.parameters or n in bound]
        if len(positional) > len(f.parameters) or missing or wrong:
            got = ", ".join(
                [*map(semantics.described, positional), *(f"{n}={semantics.described(v)}" for n, v in named.items())]
            )
            raise ProgramError(f"{f.name}({', '.join(f.parameters)}) is called with {got or 'no arguments'}")
        late = {p: self.expression(e, scope) for p, e in defaults.items() if p not in bound and p not in named}
        return bound | named | late


def _inputs(tokens: Tokens, vocab: tuple[Any, ...]) -> dict[str, Callable[[], semantics.Sequence]]:
    """The base s-ops over the tokens."""

    @cache
    def read(name: str, f: Callable[[Any], Any], kind: semantics.Kind, *types: type) -> semantics.Sequence:
        if all(type(token) in types for token in vocab):
            return semantics.Sequence(tokens, kind)
        for token in vocab:
            try:
                f(token)
            except (TypeError, ValueError):
                raise ProgramError(f"{name} cannot read the token {token!r} of the vocabulary") from None
        sop = Elementwise(f, (tokens,))
        sop.name = name
        return semantics.Sequence(sop, kind)

    def as_is() -> semantics.Sequence:
        kinds = {semantics.kind_of(token) for token in vocab if semantics.is_atom(token)}
        if len(kinds) != 1 or not all(map(semantics.is_atom, vocab)):
            raise ProgramError("tokens_asis needs a vocabulary of one kind: numbers, booleans or text")
        return semantics.Sequence(tokens, kinds.pop())

    return {
        "tokens_str": lambda: read("tokens_str", semantics.as_text, "text", str),
        "tokens_int": lambda: read("tokens_int", int, "number", int),
        "tokens_float": lambda: read("tokens_float", semantics.exact, "number", int),
        "tokens_bool": lambda: read("tokens_bool", bool, "boolean", bool),
        "tokens_asis": as_is,
    }
