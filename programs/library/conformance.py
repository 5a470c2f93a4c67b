"""The library's programs under the names and alphabets they have in published collections.

The part before the dot names the collection: RASP (Weiss et al. 2021), RASPy, Tracr (Lindner et al. 2023), TracrBench,
ALTA, RASP-L and C-RASP, circuits known from language models, attention masks, graphs. Each module of the library says
which of its programs are COLLECTED under which names.
"""

from dataclasses import replace
from importlib import import_module

from gaugeblock.programs.library import LIBRARY

PROGRAMS = tuple(
    replace(program, name=name, vocab=tuple(vocab))
    for module in LIBRARY
    for name, (program, vocab) in import_module(f"gaugeblock.programs.library.{module}").COLLECTED.items()
)
