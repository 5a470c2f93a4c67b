"""A program: an expression with its vocabulary, size, domain, independent reference and source."""

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

import numpy as np

from gaugeblock.programs.domain import ALL_INPUTS, Domain
from gaugeblock.programs.errors import InputError, ProgramError
from gaugeblock.programs.expression import Indices, Selector, SOp, Tokens, indices, plain
from gaugeblock.programs.interpreter import interpret

Build = Callable[[SOp, SOp], SOp]


@final
@dataclass(frozen=True)
class Program:
    """A RASP program over the tokens of `vocab`, compiled for inputs of 1 to `max_len` tokens.

    Attributes:
        build: the function of (tokens, indices) that returns the output expression.
        reference: plain Python, list -> list, sharing no code with the program.
        domain: which inputs are meant.
        compare_from: first output position that counts.
    """

    name: str
    build: Build = field(repr=False)
    vocab: tuple[Any, ...]
    max_len: int
    description: str = ""
    reference: Callable[[list[Any]], list[Any]] | None = field(default=None, repr=False)
    domain: Domain = field(default=ALL_INPUTS, repr=False)
    tags: tuple[str, ...] = ()
    source: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocab", _tokens(self.name, self.vocab))
        if not self.vocab:
            raise ProgramError(f"program {self.name!r} has an empty vocabulary")
        if len(set(self.vocab)) != len(self.vocab):
            raise ProgramError(f"program {self.name!r} has a token twice in its vocabulary {self.vocab}")
        if self.max_len < 1:
            raise ProgramError(f"program {self.name!r} has max_len {self.max_len}; it must be at least 1")

    @cached_property
    def output(self) -> SOp:
        """The output expression; s-ops and selectors bound to local names carry these names."""
        result = _call_and_name_locals(self.build, Tokens(), indices)
        if not isinstance(result, SOp):
            kind = type(result).__name__
            raise ProgramError(f"program {self.name!r} returns {kind}, not an s-op (a value per position)")
        return result

    def __call__(self, xs: Any) -> list[Any]:
        """Run the interpreter on one input, a list of tokens of any length. Undefined positions are None."""
        return self.batch([xs])[0]

    def batch(self, inputs: Iterable[Any]) -> list[list[Any]]:
        """Run the interpreter on many inputs of mixed lengths."""
        return interpret(self, [self.check(xs) for xs in inputs])

    def check(self, xs: Any, max_len: int | None = None) -> list[Any]:
        """The input as a list of vocabulary tokens.

        Raises InputError if it is empty, longer than `max_len`, or outside the vocabulary or the domain.
        """
        try:
            given = list(xs)
        except TypeError:
            raise InputError(f"{xs!r} is not an input for {self.name!r}: give a list of tokens") from None
        if not given:
            raise InputError(f"an empty input was given to {self.name!r}; it needs a token or more")
        if max_len is not None and len(given) > max_len:
            raise InputError(f"{len(given)} tokens are too many for {self.name!r}: at most {max_len}")
        tokens = [self._token(x, i) for i, x in enumerate(given)]
        if not self.domain.contains(tokens):
            meant = self.domain.description
            raise InputError(f"the input {tokens!r} is outside the domain of {self.name!r}: {meant}")
        return tokens

    def _token(self, x: Any, i: int) -> Any:
        try:
            return self._known[x]
        except (KeyError, TypeError):
            known = _short(self.vocab)
            what = f"{x!r} at position {i} is not in the vocabulary of {self.name!r}"
            raise InputError(f"{what}: {known}") from None

    @cached_property
    def _known(self) -> dict[Any, Any]:
        return {token: token for token in self.vocab}

    def sample(self, rng: np.random.Generator, n: int) -> list[list[Any]]:
        """n inputs of the domain, of lengths up to max_len."""
        return [self.domain.sample(rng, self.vocab, self.max_len) for _ in range(n)]

    def with_size(self, vocab: Iterable[Any] | None = None, max_len: int | None = None) -> "Program":
        """The same program for another vocabulary or maximal length."""
        return replace(
            self,
            vocab=self.vocab if vocab is None else tuple(vocab),
            max_len=self.max_len if max_len is None else int(max_len),
        )


def program(
    vocab: Iterable[Any],
    max_len: int,
    *,
    name: str | None = None,
    reference: Callable[[list[Any]], list[Any]] | None = None,
    domain: Domain = ALL_INPUTS,
    tags: Iterable[str] = (),
) -> Callable[[Build], Program]:
    """Decorator: makes a Program of a function of (tokens, indices), whose docstring is the description."""

    def decorate(build: Build) -> Program:
        try:
            source = inspect.cleandoc(inspect.getsource(build))
        except (OSError, TypeError):
            source = ""
        return Program(
            name=name or build.__name__,
            build=build,
            vocab=tuple(vocab),
            max_len=max_len,
            description=inspect.cleandoc(build.__doc__ or ""),
            reference=reference,
            domain=domain,
            tags=tuple(tags),
            source=source,
        )

    return decorate


def _call_and_name_locals(build: Build, tokens: Tokens, positions: Indices) -> Any:
    """Call `build`, and give each s-op or selector bound to a local variable that variable's name."""
    code = getattr(inspect.unwrap(build), "__code__", None)
    previous = sys.getprofile()

    def on_return(frame: Any, event: str, arg: Any) -> None:
        if event == "return" and frame.f_code is code:
            for name, bound in frame.f_locals.items():
                if isinstance(bound, (SOp, Selector)) and bound.name is None:
                    bound.name = name

    sys.setprofile(on_return)
    try:
        return build(tokens, positions)
    finally:
        sys.setprofile(previous)


def _tokens(name: str, vocab: Iterable[Any]) -> tuple[Any, ...]:
    try:
        return tuple(plain(token) for token in vocab)
    except TypeError:
        raise ProgramError(f"the vocabulary of {name!r} is {vocab!r}, not hashable tokens") from None


def _short(tokens: Sequence[Any], limit: int = 30) -> str:
    shown = ", ".join(repr(v) for v in tokens[:limit])
    return shown + (f", … ({len(tokens)} tokens)" if len(tokens) > limit else "")
