"""What a RASP text says, as a tree: statements and expressions, each with the place where it begins."""

from dataclasses import dataclass, field
from typing import Any, final


@final
@dataclass(frozen=True)
class Token:
    kind: str  # "word", "name", "number", "string", "sign" or "end"
    text: str
    line: int
    column: int


@dataclass(frozen=True)
class Expression:
    at: Token = field(repr=False, compare=False)


@final
@dataclass(frozen=True)
class Literal(Expression):
    value: Any


@final
@dataclass(frozen=True)
class Name(Expression):
    name: str


@final
@dataclass(frozen=True)
class Prefix(Expression):
    operator: str
    operand: Expression


@final
@dataclass(frozen=True)
class Binary(Expression):
    operator: str
    left: Expression
    right: Expression


@final
@dataclass(frozen=True)
class Choice(Expression):
    """then if condition else otherwise"""

    condition: Expression
    then: Expression
    otherwise: Expression


@final
@dataclass(frozen=True)
class Selection(Expression):
    """select(key, query, operator)"""

    key: Expression
    query: Expression
    operator: str


@final
@dataclass(frozen=True)
class Call(Expression):
    function: Expression
    arguments: tuple[Expression, ...]
    keywords: tuple[tuple[str, Expression], ...]


@final
@dataclass(frozen=True)
class Index(Expression):
    indexed: Expression
    index: Expression


@final
@dataclass(frozen=True)
class List(Expression):
    items: tuple[Expression, ...]


@final
@dataclass(frozen=True)
class Dict(Expression):
    items: tuple[tuple[Expression, Expression], ...]


@final
@dataclass(frozen=True)
class Comprehension(Expression):
    """[value for names in iterable], or with a key {key: value for names in iterable}"""

    key: Expression | None
    value: Expression
    names: tuple[str, ...]
    iterable: Expression


@final
@dataclass(frozen=True)
class Assign:
    names: tuple[str, ...]
    values: tuple[Expression, ...]
    at: Token = field(repr=False, compare=False)


@final
@dataclass(frozen=True)
class Define:
    name: str
    parameters: tuple[str, ...]
    defaults: tuple[Expression, ...]  # of the last parameters
    body: tuple["Statement", ...]
    result: tuple[Expression, ...]
    at: Token = field(repr=False, compare=False)


@final
@dataclass(frozen=True)
class For:
    names: tuple[str, ...]
    iterable: Expression
    body: tuple["Statement", ...]
    at: Token = field(repr=False, compare=False)


@final
@dataclass(frozen=True)
class Evaluate:
    expression: Expression
    at: Token = field(repr=False, compare=False)


@final
@dataclass(frozen=True)
class Load:
    library: str
    at: Token = field(repr=False, compare=False)


Statement = Assign | Define | For | Evaluate | Load
