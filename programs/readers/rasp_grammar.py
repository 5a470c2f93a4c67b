"""The grammar of the RASP text language: text to statements.

Operators bind as in the language's own grammar, which differs from Python's in places. From tightest to loosest:
`f(x)` and `x[i]`; the prefixes `not`, `-`, `+`; `^`; `*` and `/`; `%`; `+` and `-`; comparisons; `and` and `or`;
`a if c else b`; `in`. All of them group to the left: `a or b and c` is `(a or b) and c`, `not a == b` is
`(not a) == b`, and `a if b else c if d else e` is `(a if b else c) if d else e`.
"""

import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, Final, final

from gaugeblock.programs.errors import ProgramError
from gaugeblock.programs.readers.rasp_tree import (
    Assign,
    Binary,
    Call,
    Choice,
    Comprehension,
    Define,
    Dict,
    Evaluate,
    Expression,
    For,
    Index,
    List,
    Literal,
    Load,
    Name,
    Prefix,
    Selection,
    Statement,
    Token,
)

COMPARISONS: Final = ("==", "!=", "<=", ">=", "<", ">")
BINDING_POWERS: Final = {
    "in": 1,
    "if": 2,
    **dict.fromkeys(("and", "or"), 3),
    **dict.fromkeys(COMPARISONS, 4),
    **dict.fromkeys("+-", 5),
    "%": 6,
    **dict.fromkeys("*/", 7),
    "^": 8,
}
PREFIX_POWER: Final = 9
GRAMMAR_WORDS: Final = frozenset(["if", "else", "not", "and", "or", "in", "for", "def", "return", "load", "draw"])
RESERVED_NAMES: Final = frozenset(
    [
        "out",
        "select",
        "aggregate",
        "indicator",
        "round",
        "range",
        "zip",
        "len",
        "get",
        "tokens_asis",
        "tokens_str",
        "tokens_int",
        "tokens_bool",
        "tokens_float",
        "indices",
        "True",
        "False",
    ]
)
"""What a text cannot give another meaning to, besides the words of the grammar."""


_LEXEME = re.compile(
    r"""(?P<command>^[ \t]*(?:set[ \t]+(?:(?:s-op|selector)[ \t]+)?example\b
                            |show[ \t]+(?:(?:s-op|selector)[ \t]+)?example\b
                            |(?:(?:s-op|selector)[ \t]+)?examples[ \t]+(?:on|off)\b
                            |full[ ]seq[ ]display[ \t]+(?:on|off)\b)[^\n]*)
      | (?P<exit>^[ \t]*(?:exit|quit)(?:\(\))?[ \t]*;?[ \t]*$)
      | (?P<space>\n|[^\S\n]+|\#[^\n]*)
      | (?P<number>[0-9]+(?:\.[0-9]+)?)
      | (?P<string>"[^"\r\n]*")
      | (?P<name>[a-zA-Z_][a-zA-Z_0-9]*)
      | (?P<sign>==|!=|<=|>=|[-+*/%^<>=(){}\[\],;:])""",
    re.VERBOSE | re.MULTILINE,
)


def tokenize(text: str) -> list[Token]:
    """The tokens of a text, without comments and commands to the interactive loop; the last one is the end.

    Raises ProgramError for a character that is not part of the language.
    """
    tokens, position, line, start = [], 0, 1, 0
    while position < len(text):
        lexeme_match = _LEXEME.match(text, position)
        column = position - start + 1
        if lexeme_match is None:
            at = Token("sign", text[position], line, column)
            raise syntax_error(text, at, f"{text[position]!r} is not part of the language{_hint(text[position])}")
        kind, lexeme = str(lexeme_match.lastgroup), lexeme_match.group()
        if kind == "exit":
            break
        if kind == "name" and lexeme in GRAMMAR_WORDS:
            kind = "word"
        if kind not in ("space", "command"):
            tokens.append(Token(kind, lexeme, line, column))
        position = lexeme_match.end()
        if lexeme == "\n":
            line, start = line + 1, position
    return [*tokens, Token("end", "the end of the text", line, position - start + 1)]


def _hint(character: str) -> str:
    if character == "'":
        return ': strings stand in double quotes, as "a"'
    return ": the string is not closed on this line" if character == '"' else ""


def syntax_error(text: str, at: Token, what: str) -> ProgramError:
    """An error that shows its line."""
    lines = text.split("\n")
    shown = lines[at.line - 1].strip() if at.line <= len(lines) else ""
    return ProgramError(f"line {at.line}, column {at.column}, `{shown}`: {what}")


def parse(text: str) -> tuple[Statement, ...]:
    """The statements of a text. `draw(...)` and commands to the interactive loop are left out.

    Raises ProgramError with the line, the column and what was expected there.
    """
    try:
        return _Parser(text).statements()
    except RecursionError:
        raise ProgramError("the text is nested too deeply to be read") from None


@final
class _Parser:
    """Recursive descent; operators by precedence climbing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.next = 0

    @property
    def at(self) -> Token:
        return self.tokens[self.next]

    def sees(self, *texts: str, ahead: int = 0) -> bool:
        token = self.tokens[min(self.next + ahead, len(self.tokens) - 1)]
        return token.kind in ("word", "sign") and token.text in texts

    def accept(self, *texts: str) -> bool:
        if not self.sees(*texts):
            return False
        self.next += 1
        return True

    def expect(self, text: str, why: str = "") -> Token:
        if not self.sees(text):
            raise self.unexpected(f"{text!r}{why}")
        self.next += 1
        return self.tokens[self.next - 1]

    def take(self, kind: str, expected: str) -> str:
        if self.at.kind != kind:
            raise self.unexpected(expected)
        self.next += 1
        return self.tokens[self.next - 1].text

    def unexpected(self, expected: str) -> ProgramError:
        instead = self.at.text if self.at.kind == "end" else repr(self.at.text)
        return syntax_error(self.text, self.at, f"{expected} is expected, not {instead}")

    # statements

    def statements(self, *ends: str) -> tuple[Statement, ...]:
        """Statements up to one of the words or signs, or to the end of the text."""
        statements: list[Statement] = []
        while self.at.kind != "end" and not self.sees(*ends):
            statement = self.statement()
            if statement is not None:
                statements.append(statement)
        return tuple(statements)

    def statement(self) -> Statement | None:
        at = self.at
        if self.accept("def"):
            return self.definition(at)
        if self.accept("for"):
            names = self.names()
            self.expect("in")
            iterable = self.expression()
            self.expect("{")
            body = self.statements("}")
            self.expect("}")
            return For(names, iterable, body, at)
        if self.sees("return"):
            raise syntax_error(self.text, at, "`return` stands only once, at the end of a function")
        statement: Statement | None
        if self.accept("load"):
            statement = Load(self.take("string", "the name of a library in quotes")[1:-1], at)
        elif self.accept("draw"):
            self.expect("(")
            self.separated(self.expression, ")")
            statement = None
        elif self.assigns():
            names = self.names()
            self.expect("=")
            statement = Assign(names, self.expressions(), at)
        else:
            statement = Evaluate(self.expression(), at)
        self.expect(";", why=" at the end of the statement")
        return statement

    def assigns(self) -> bool:
        """Whether names and a single `=` come next."""
        ahead = 1
        while self.sees(",", ahead=ahead):
            ahead += 2
        return self.at.kind == "name" and self.sees("=", ahead=ahead)

    def definition(self, at: Token) -> Define:
        name = self.name("the name of the function")
        self.expect("(")
        parameters = self.separated(self.parameter, ")")
        defaults = tuple(default for _, default in parameters if default is not None)
        if any(default is None for _, default in parameters[len(parameters) - len(defaults) :]):
            raise syntax_error(self.text, at, "parameters with a default come after those without")
        self.expect("{")
        body = self.statements("return", "}")
        self.expect("return", why=f", which ends the function {name!r},")
        result = self.expressions()
        self.expect(";", why=" at the end of the statement")
        self.expect("}", why=" after `return`")
        return Define(name, tuple(p for p, _ in parameters), defaults, body, result, at)

    def parameter(self) -> tuple[str, Expression | None]:
        name = self.name("the name of a parameter")
        return name, self.expression() if self.accept("=") else None

    def names(self) -> tuple[str, ...]:
        names = [self.name("a name")]
        while self.accept(","):
            names.append(self.name("a name"))
        return tuple(names)

    def name(self, expected: str) -> str:
        at = self.at
        name = self.take("name", expected)
        if name in RESERVED_NAMES:
            raise syntax_error(self.text, at, f"{name!r} has a meaning of its own and cannot get another")
        return name

    # expressions

    def expressions(self) -> tuple[Expression, ...]:
        expressions = [self.expression()]
        while self.accept(","):
            expressions.append(self.expression())
        return tuple(expressions)

    def expression(self, least: int = 0) -> Expression:
        left = self.operand()
        while (power := self.power()) > least:
            at, self.next = self.at, self.next + 1
            if at.text == "if":
                condition = self.expression()
                self.expect("else", why=" of a conditional expression")
                left = Choice(at, condition, left, self.expression(power))
            else:
                left = Binary(at, at.text, left, self.expression(power))
        return left

    def power(self) -> int:
        return BINDING_POWERS.get(self.at.text, 0) if self.at.kind in ("word", "sign") else 0

    def operand(self) -> Expression:
        at = self.at
        if self.accept("not", "-", "+"):
            return Prefix(at, at.text, self.expression(PREFIX_POWER))
        value = self.atom()
        while True:
            at = self.at
            if self.accept("("):
                value = self.call(at, value)
            elif self.accept("["):
                value = Index(at, value, self.expression())
                self.expect("]")
            else:
                return value

    def call(self, at: Token, function: Expression) -> Expression:
        if function == Name(at, "select"):
            key = self.expression()
            self.expect(",")
            query = self.expression()
            self.expect(",")
            if not self.sees(*COMPARISONS):
                raise self.unexpected(f"one of {' '.join(COMPARISONS)}")
            comparison, self.next = self.at.text, self.next + 1
            self.expect(")")
            return Selection(function.at, key, query, comparison)
        given = self.separated(self.argument, ")")
        arguments = tuple(value for name, value in given if name is None)
        if any(name is not None for name, _ in given[: len(arguments)]):
            raise syntax_error(self.text, at, "arguments with a name come after those without")
        return Call(function.at, function, arguments, tuple((name, value) for name, value in given if name is not None))

    def argument(self) -> tuple[str | None, Expression]:
        named = self.at.kind == "name" and self.sees("=", ahead=1)
        if named:
            name = self.take("name", "a name")
            self.expect("=")
            return name, self.expression()
        return None, self.expression()

    def atom(self) -> Expression:
        at = self.at
        if at.kind in ("number", "string", "name"):
            self.next += 1
            return _atom(at)
        if self.accept("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if self.accept("["):
            return self.bracketed(at)
        if self.accept("{"):
            return self.braced(at)
        raise self.unexpected("a value")

    def bracketed(self, at: Token) -> Expression:
        if self.accept("]"):
            return List(at, ())
        first = self.expression()
        if self.sees("for"):
            return self.comprehension(at, None, first, "]")
        rest = self.separated(self.expression, "]") if self.accept(",") else self.closed("]")
        return List(at, (first, *rest))

    def braced(self, at: Token) -> Expression:
        if self.accept("}"):
            return Dict(at, ())
        key, value = self.entry()
        if self.sees("for"):
            return self.comprehension(at, key, value, "}")
        rest = self.separated(self.entry, "}") if self.accept(",") else self.closed("}")
        return Dict(at, ((key, value), *rest))

    def entry(self) -> tuple[Expression, Expression]:
        key = self.expression()
        self.expect(":")
        return key, self.expression()

    def comprehension(self, at: Token, key: Expression | None, value: Expression, end: str) -> Expression:
        self.expect("for")
        names = self.names()
        self.expect("in")
        iterable = self.expression()
        self.expect(end)
        return Comprehension(at, key, value, names, iterable)

    def separated(self, element: Callable[[], Any], end: str) -> tuple[Any, ...]:
        """Elements between commas, up to and including the closing sign."""
        if self.accept(end):
            return ()
        elements = [element()]
        while self.accept(","):
            elements.append(element())
        self.expect(end)
        return tuple(elements)

    def closed(self, end: str) -> tuple[Any, ...]:
        self.expect(end)
        return ()


def _atom(at: Token) -> Expression:
    if at.kind == "string":
        return Literal(at, at.text[1:-1])
    if at.kind == "number":  # decimals are exact, as means are
        return Literal(at, Fraction(at.text) if "." in at.text else int(at.text))
    if at.text in ("True", "False"):
        return Literal(at, at.text == "True")
    return Name(at, at.text)


def leading_comment(text: str) -> str:
    """The comment a text begins with, which describes it."""
    lines: Iterable[str] = text.strip().split("\n")
    comment = []
    for line in map(str.strip, lines):
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("#").strip())
    return "\n".join(comment)
