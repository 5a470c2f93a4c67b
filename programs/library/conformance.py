"""The library's programs under the names and alphabets they have in published collections.

The part before the dot names the collection: RASP (Weiss et al. 2021), RASPy, Tracr (Lindner et al. 2023),
TracrBench, and circuits known from language models.
"""

from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from typing import Any

from gaugeblock.programs.library import LIBRARY, arithmetic, counting, formal_languages, order
from gaugeblock.programs.program import Program

_LETTERS = "abcdefghiloy"
_HELLO = "ehloyaik"


def _entries() -> Iterable[tuple[str, Program, Iterable[Any]]]:
    c, f, o = counting, formal_languages, order
    yield "rasp.frac_prevs", c.frac_prevs, "()abchelo"
    yield "rasp.frac_prevs_l", c.frac_prevs_of("l", _HELLO), _HELLO
    yield "rasp.hist", c.hist, _LETTERS
    yield "raspy.hist", c.hist, "ehlodgby"
    yield "tracrbench.count_occurrences", c.hist, range(10)
    yield "rasp.count_e", c.count_of("e", _HELLO, "count_e"), _HELLO
    yield "tracr.count_a", c.count_a, "abc"
    yield "rasp.length", c.length, _LETTERS
    yield "rasp.has_prev", c.has_prev, "abchelo"
    yield "rasp.first_token", c.first_token, _LETTERS
    yield "circuits.prev_token", c.prev_token, "abcd"
    yield "circuits.induction", c.induction, "abcd"
    for pattern in ("a", "ab", "abc"):
        yield f"tracr.detect_pattern_{pattern}", c.detect_pattern(pattern), "abcd"
    yield "rasp.reverse", o.reverse, _LETTERS
    yield "raspy.flip", o.reverse, "ehlodgby"
    yield "rasp.sort", o.sort, _LETTERS
    yield "rasp.sort_int", o.sort, range(-3, 9)
    yield "tracr.sort", o.sort, range(1, 5)
    yield "rasp.dyck1_ptf", f.dyck1, f.dyck1.vocab
    yield "rasp.dyck2_ptf", f.dyck2, f.dyck2.vocab
    yield "rasp.dyck3_ptf", f.dyck3, f.dyck3.vocab
    yield "rasp.shuffle_dyck1", f.shuffle_dyck1, f.shuffle_dyck1.vocab
    yield "rasp.shuffle_dyck2", f.shuffle_dyck2, "(){}ads"
    yield "rasp.shuffle_dyck3", f.shuffle_dyck3, f.shuffle_dyck3.vocab
    int_version = f.shuffle_dyck(("()", "{}"), "shuffle_dyck2_int", as_int=True)
    yield "tracr.shuffle_dyck2_int", int_version, int_version.vocab
    yield "rasp.long_addition", arithmetic.add, arithmetic.add.vocab
    yield "raspy.add", arithmetic.add, arithmetic.add.vocab


def _collected() -> Iterable[tuple[str, Program, Iterable[Any]]]:
    yield from _entries()
    for module in LIBRARY:
        found = getattr(import_module(f"gaugeblock.programs.library.{module}"), "COLLECTED", {})
        yield from ((id, program, vocab) for id, (program, vocab) in found.items())


PROGRAMS = tuple(replace(program, name=id, vocab=tuple(vocab)) for id, program, vocab in _collected())
