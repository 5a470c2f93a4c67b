"""The programs that ship with gaugeblock, one module per topic.

Each module lists its own as PROGRAMS, and as COLLECTED those that stand in published collections under other names and
alphabets: RASP (Weiss et al. 2021), RASPy, Tracr (Lindner et al. 2023), TracrBench, ALTA, RASP-L and C-RASP, circuits
known from language models, attention masks, graphs. The part of such a name before the dot is the collection.
"""

from dataclasses import replace

from gaugeblock.programs.loading import submodules
from gaugeblock.programs.program import Program

TOPICS = submodules(__name__, __path__)
"""Its modules, each with what its programs teach."""

PROGRAMS: dict[str, Program] = {program.name: program for topic in TOPICS for program in topic.PROGRAMS}

COLLECTED: dict[str, Program] = {
    name: replace(program, name=name, vocab=tuple(vocab))
    for topic in TOPICS
    for name, (program, vocab) in topic.COLLECTED.items()
}
