"""Programs by name: the library, the names of published collections, and what the user registers."""

import ast
from functools import lru_cache
from typing import Any

from gaugeblock.programs.errors import ProgramError, UnknownName
from gaugeblock.programs.program import Program, check_is_program

_registered: dict[str, Program] = {}


def get(name: str) -> Program:
    """The program of that name: the library's own ("sort"), registered, or a collection's ("rasp.sort_int").

    "kth_largest(k=3)" is `kth_largest` with another argument, "season(seed=7,index=3)" a generated program of a season.
    Raises UnknownName, with the nearest names; ProgramError for arguments that the program does not have or that are
    not literals.

    >>> get("sort")([3, 1, 2])
    [1, 2, 3]
    >>> get("kth_largest(k=3)")([5, 1, 4, 2])
    [2, 2, 2, 2]
    """
    if name == "season" or name.startswith("season("):
        return _of_season(name)
    program = _registered.get(name) or _library().get(name) or _collected().get(name)
    if program is None and name.endswith(")"):
        return get(name.partition("(")[0]).with_arguments(**_arguments(name))
    if program is None:
        raise UnknownName("program", name, [*names(), *_collected()])
    return program


def names(*, collections: bool = False) -> list[str]:
    """The names of the library's and the registered programs, with `collections` those of collections too.

    >>> "sort" in names(), "rasp.sort_int" in names(), "rasp.sort_int" in names(collections=True)
    (True, False, True)
    """
    return [*_library(), *_registered, *(_collected() if collections else ())]


def library_names() -> list[str]:
    """The names of the library's programs, without what was registered."""
    return list(_library())


def register(program: Program) -> Program:
    """Make a program known to `get`; also usable as a decorator. Raises ProgramError if the name is taken.

    >>> from gaugeblock.programs.program import program
    >>> same_token = program("ab", max_len=4, name="same_token")(lambda tokens, indices: tokens)
    >>> register(same_token) is get("same_token")
    True
    """
    check_is_program(program)
    if program.name in _registered or program.name in _library() or program.name in _collected():
        raise ProgramError(f"there is a program named {program.name!r} already; give this one another name")
    _registered[program.name] = program
    return program


def _arguments(name: str) -> dict[str, Any]:
    """The arguments in a call like `kth_largest(k=3)`."""
    try:
        call = ast.parse(name, mode="eval").body
        assert isinstance(call, ast.Call)
        assert not call.args
        return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, AssertionError):
        raise ProgramError(f"{name!r} is no program with arguments; write them as in 'kth_largest(k=3)'") from None


@lru_cache(maxsize=64)
def _of_season(name: str) -> Program:
    from gaugeblock.programs.generation.season import season_program

    return season_program(name)


def _library() -> dict[str, Program]:
    from gaugeblock.programs import library

    return library.PROGRAMS


def _collected() -> dict[str, Program]:
    from gaugeblock.programs import library

    return library.COLLECTED
