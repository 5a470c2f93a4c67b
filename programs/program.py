"""A program: an expression with its vocabulary, size, domain, independent reference and source."""

import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from numbers import Integral
from pathlib import Path
from typing import Any, final

import numpy as np

from gaugeblock.programs.domain import ALL_INPUTS, GRAPHS, Domain, graph_tokens
from gaugeblock.programs.errors import InputError, ProgramError
from gaugeblock.programs.interpreter import interpret
from gaugeblock.programs.language.expression import Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.functions import indices
from gaugeblock.programs.language.operations import GraphNode, edge_targets, node_value, plain, together
from gaugeblock.programs.language.selector import Selector
from gaugeblock.programs.language.tree import postorder

Build = Callable[..., Any]
"""A function of (tokens, indices) and keyword arguments that returns an s-op, or several in a tuple or dict."""


@final
@dataclass(frozen=True)
class Program:
    """A RASP program over the tokens of `vocab`, compiled for inputs of 1 to `max_len` tokens.

    Attributes:
        build: the function of (tokens, indices) that returns the output expression, or several.
        reference: plain Python, list -> list, sharing no code with the program.
        domain: which inputs are meant.
        graph: whether inputs are graphs: `vocab` holds the values of nodes, `edges` selects along edges, and an
            input is {"nodes": [value, ...], "edges": [(from, to), ...]}.
        arguments: keyword arguments of `build`, and of `reference` as far as it takes them.
    """

    name: str
    build: Build = field(repr=False)
    vocab: tuple[Any, ...]
    max_len: int
    description: str = ""
    reference: Callable[..., list[Any]] | None = field(default=None, repr=False)
    domain: Domain = field(default=ALL_INPUTS, repr=False)
    tags: tuple[str, ...] = ()
    source: str = field(default="", repr=False)
    graph: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocab", _tokens(self.name, self.vocab))
        if not self.vocab:
            raise ProgramError(f"program {self.name!r} has an empty vocabulary")
        if len(set(self.vocab)) != len(self.vocab):
            raise ProgramError(f"program {self.name!r} has a token twice in its vocabulary {self.vocab}")
        if isinstance(self.max_len, bool) or not isinstance(self.max_len, Integral) or self.max_len < 1:
            raise ProgramError(f"program {self.name!r} has max_len {self.max_len!r}; it must be an integer, at least 1")
        object.__setattr__(self, "max_len", int(self.max_len))
        if self.reference is not None and not callable(self.reference):
            what = f"the reference of program {self.name!r} is {self.reference!r}"
            raise ProgramError(f"{what}; it must be a function of a list of tokens")
        if not isinstance(self.domain, Domain):
            raise ProgramError(f"the domain of program {self.name!r} is {self.domain!r}; it must be a Domain")
        if self.graph and self.domain is ALL_INPUTS:
            object.__setattr__(self, "domain", GRAPHS)

    @cached_property
    def output(self) -> SOp:
        """The output expression; s-ops and selectors bound to local names carry these names.

        Several outputs are one expression that puts them together in a tuple.

        >>> from gaugeblock.programs import get
        >>> get("above_average").output
        <Elementwise>
        """
        tokens = Tokens("tokens", node_value) if self.graph else Tokens()
        tokens.origin = None
        result = self._built(tokens)
        if isinstance(result, Mapping):
            for name, each in result.items():
                if isinstance(each, SOp) and each.name is None:
                    each.name = str(name)
            result = tuple(result.values())
        several = isinstance(result, (tuple, list))
        for each in result if several else (result,):
            if not isinstance(each, SOp):
                kind = type(each).__name__
                raise ProgramError(f"program {self.name!r} returns {kind}, not an s-op (a value per position)")
        if several and not result:
            raise ProgramError(f"program {self.name!r} returns no output at all")
        output = Elementwise(together, tuple(result)) if several else result
        if not self.graph and any(isinstance(n, Tokens) and n.part is edge_targets for n in postorder(output)):
            raise ProgramError(f"program {self.name!r} reads `edges`, but its inputs are no graphs: say graph=True")
        return output

    @property
    def outputs(self) -> tuple[SOp, ...]:
        """The output expressions: one, or several that the program gives as a tuple at each position.

        >>> ends = program("ab", max_len=4)(lambda tokens, indices: (tokens, indices))
        >>> ends.outputs
        (<Tokens tokens>, <Indices indices>)
        >>> ends(["a", "b"])
        [('a', 0), ('b', 1)]
        """
        match self.output:
            case Elementwise(f=f, operands=operands) if f is together:
                return operands
        return (self.output,)

    def _built(self, tokens: Tokens) -> Any:
        try:
            return _call_and_name_locals(self.build, self.arguments, tokens, indices)
        except RecursionError:
            raise ProgramError(
                f"program {self.name!r} calls itself without end: expressions have no value while they are built, "
                "so recursion cannot stop at one; use loop(n, step, init)"
            ) from None
        except ProgramError as error:
            raise ProgramError(f"program {self.name!r}{_line_in(self.build, error)}: {error}") from error
        except (AttributeError, NameError, KeyError) as error:
            what = f"{type(error).__name__}: {error}"
            raise ProgramError(f"program {self.name!r}{_line_in(self.build, error)}: {what}") from error
        except TypeError as error:
            try:
                inspect.signature(self.build).bind(tokens, indices, **self.arguments)
            except TypeError as mismatch:
                raise ProgramError(f"program {self.name!r} is a function of (tokens, indices): {mismatch}") from None
            raise ProgramError(f"program {self.name!r}{_line_in(self.build, error)}: {error}") from error

    def __call__(self, xs: Any) -> list[Any]:
        """Run the interpreter on one input, a list of tokens of any length. Undefined positions are None.

        >>> from gaugeblock.programs import get
        >>> get("sort")([3, 1, 2])
        [1, 2, 3]
        """
        return self.batch([xs])[0]

    def batch(self, inputs: Iterable[Any]) -> list[list[Any]]:
        """Run the interpreter on many inputs of mixed lengths.

        >>> from gaugeblock.programs import get
        >>> get("length").batch([["a"], ["a", "b"]])
        [[1], [2, 2]]
        """
        return self.interpret([self.check(xs) for xs in inputs])

    def interpret(self, inputs: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Run the interpreter on inputs that `check` has returned.

        >>> from gaugeblock.programs import get
        >>> program = get("reverse")
        >>> program.interpret([program.check("abc")])
        [['c', 'b', 'a']]
        """
        return interpret(self.output, inputs, self.name, self.domain.contains)

    def check(self, xs: Any, max_len: int | None = None) -> list[Any]:
        """The input as a list of vocabulary tokens.

        Raises InputError if it is empty, longer than `max_len`, or outside the vocabulary or the domain.

        >>> from gaugeblock.programs import get
        >>> get("reverse").check("abc")
        ['a', 'b', 'c']
        """
        try:
            sequence = graph_tokens(xs) if self.graph else list(xs)
        except TypeError as error:
            meant = "give a list of tokens"
            if self.graph:
                meant = f'give {{"nodes": [value, ...], "edges": [(from, to), ...]}}; {error}'
            raise InputError(f"{xs!r} is not an input for {self.name!r}: {meant}") from None
        if not sequence:
            raise InputError(f"an empty input was given to {self.name!r}; it needs a token or more")
        if max_len is not None and len(sequence) > max_len:
            raise InputError(f"{len(sequence)} tokens are too many for {self.name!r}: at most {max_len}")
        tokens = [self._token(x, i) for i, x in enumerate(sequence)]
        if not self.domain.contains(tokens):
            meant = self.domain.description
            raise InputError(f"the input {tokens!r} is outside the domain of {self.name!r}: {meant}")
        return tokens

    def _token(self, x: Any, i: int) -> Any:
        try:
            return GraphNode(self._known[x.value], x.targets) if self.graph else self._known[x]
        except (KeyError, TypeError):
            x = x.value if self.graph else x
            known = _short(self.vocab)
            what = f"{x!r} at position {i} is not in the vocabulary of {self.name!r}"
            raise InputError(f"{what}: {known}") from None

    @cached_property
    def _known(self) -> dict[Any, Any]:
        return {token: token for token in self.vocab}

    def sample(self, rng: np.random.Generator, n: int) -> list[list[Any]]:
        """n inputs of the domain, of lengths up to max_len.

        >>> from gaugeblock.programs import get
        >>> [len(xs) <= 10 for xs in get("sort").sample(np.random.default_rng(0), 2)]
        [True, True]
        """
        return [self.domain.sample(rng, self.vocab, self.max_len) for _ in range(n)]

    def with_size(self, vocab: Iterable[Any] | None = None, max_len: int | None = None) -> "Program":
        """The same program for another vocabulary or maximal length.

        >>> from gaugeblock.programs import get
        >>> smaller = get("sort").with_size(vocab=range(3), max_len=5)
        >>> smaller.vocab, smaller.max_len
        ((0, 1, 2), 5)
        """
        return replace(
            self,
            vocab=self.vocab if vocab is None else _tokens(self.name, vocab),
            max_len=self.max_len if max_len is None else max_len,
        )

    def with_arguments(self, **arguments: Any) -> "Program":
        """The same program with other values of some of its keyword arguments.

        Raises ProgramError for a name that is not one of them.

        >>> from gaugeblock.programs import get
        >>> third = get("kth_largest").with_arguments(k=3)
        >>> third.name, third([5, 1, 4, 2])
        ('kth_largest(k=3)', [2, 2, 2, 2])
        """
        for name in arguments:
            if name not in self.arguments:
                known = ", ".join(self.arguments) or "none"
                raise ProgramError(f"program {self.name!r} has no argument {name!r}; its arguments: {known}")
        changed = {**self.arguments, **arguments}
        shown = ", ".join(f"{k}={v!r}" for k, v in changed.items())
        reference = self.reference
        if reference is not None:
            takes = inspect.signature(inspect.unwrap(reference)).parameters
            original = reference.func if isinstance(reference, partial) else reference
            reference = partial(original, **{k: v for k, v in changed.items() if k in takes})
        name = f"{self.name.partition('(')[0]}({shown})"
        return replace(self, name=name, arguments=changed, reference=reference)


def program(
    vocab: Iterable[Any],
    max_len: int,
    *,
    name: str | None = None,
    reference: Callable[[list[Any]], list[Any]] | None = None,
    domain: Domain = ALL_INPUTS,
    tags: Iterable[str] = (),
    graph: bool = False,
) -> Callable[[Build], Program]:
    """Decorator: makes a Program of a function of (tokens, indices), whose docstring is the description.

    Further parameters of the function, with default values, are arguments of the program (`with_arguments`).

    >>> from gaugeblock.programs import key, query
    >>> @program(vocab="abc", max_len=4)
    ... def hist(tokens, indices):
    ...     '''How often each token occurs.'''
    ...     return (key(tokens) == query(tokens)).count()
    >>> hist.name, hist.description, hist(["a", "b", "a"])
    ('hist', 'How often each token occurs.', [2, 1, 2])
    """

    def decorate(build: Build) -> Program:
        its_name = name or getattr(build, "__name__", None)
        if not callable(build) or its_name is None:
            raise ProgramError(f"{build!r} is no function with a name; say program(..., name=...)(function)")
        try:
            source = inspect.cleandoc(inspect.getsource(build))
        except (OSError, TypeError):
            source = ""
        return Program(
            name=its_name,
            build=build,
            vocab=_tokens(its_name, vocab),
            max_len=max_len,
            description=inspect.cleandoc(build.__doc__ or ""),
            reference=reference,
            domain=domain,
            tags=tuple(tags),
            source=source,
            graph=graph,
            arguments=_defaults(build),
        )

    return decorate


def check_is_program(given: object) -> None:
    """Raises ProgramError, saying what to do, for anything but a Program."""
    if not isinstance(given, Program):
        how = f"get({given!r})" if isinstance(given, str) else "@program(vocab=..., max_len=...) above a function"
        raise ProgramError(f"{given!r} is no program; {how} makes one")


def _defaults(build: Build) -> dict[str, Any]:
    """The keyword arguments of a program, after (tokens, indices), with their default values."""
    parameters = list(inspect.signature(build).parameters.values())[2:]
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _line_in(build: Build, error: BaseException) -> str:
    """The last line of the user's program that the error passed through, as " (file, line n)"."""
    file = getattr(getattr(inspect.unwrap(build), "__code__", None), "co_filename", None)
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" ({Path(file).name}, line {lines[-1].lineno})" if file and lines else ""


def _call_and_name_locals(build: Build, arguments: Mapping[str, Any], tokens: Tokens, positions: Indices) -> Any:
    """Call `build`, and give each s-op or selector bound to a local variable that variable's name, in the functions
    of the same file that it calls too."""
    code = getattr(inspect.unwrap(build), "__code__", None)
    previous = sys.getprofile()
    if code is None or not (previous is None or callable(previous)):  # no locals, or a C profiler that is not ours
        return build(tokens, positions, **arguments)

    def on_return(frame: Any, event: str, arg: Any) -> None:
        returning = frame.f_code
        if event == "return" and returning.co_filename == code.co_filename:
            parameters = returning.co_argcount + returning.co_kwonlyargcount
            for name in (*returning.co_varnames[parameters:], *returning.co_cellvars):
                bound = frame.f_locals.get(name)
                if isinstance(bound, (SOp, Selector)) and bound.name is None:
                    bound.name = name

    sys.setprofile(on_return)
    try:
        return build(tokens, positions, **arguments)
    finally:
        sys.setprofile(previous)


def _tokens(name: str, vocab: Iterable[Any]) -> tuple[Any, ...]:
    try:
        return tuple(plain(token) for token in vocab)
    except TypeError:
        raise ProgramError(f"the vocabulary of {name!r} is {vocab!r}, not hashable tokens in a row") from None


def _short(tokens: Sequence[Any], limit: int = 30) -> str:
    shown = ", ".join(repr(v) for v in tokens[:limit])
    return shown + (f", … ({len(tokens)} tokens)" if len(tokens) > limit else "")
