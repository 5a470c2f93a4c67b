"""The RASP language, its exact interpreter, and the library of programs. Free of torch."""

if __name__ == "programs":
    raise ImportError("'programs/' is the package gaugeblock.programs: import gaugeblock.programs")

from gaugeblock.programs.domain import ALL_INPUTS, Domain
from gaugeblock.programs.generation.generator import generate
from gaugeblock.programs.language.expression import SOp
from gaugeblock.programs.language.functions import (
    causal,
    edges,
    everything,
    indices,
    key,
    local,
    loop,
    map_n,
    query,
    same_block,
    select,
    strided,
    where,
)
from gaugeblock.programs.language.selector import Selector
from gaugeblock.programs.program import Program, program
from gaugeblock.programs.readers.rasp import from_rasp
from gaugeblock.programs.registry import get, names, register

__all__ = [
    "ALL_INPUTS",
    "Domain",
    "Program",
    "SOp",
    "Selector",
    "causal",
    "edges",
    "everything",
    "from_rasp",
    "generate",
    "get",
    "indices",
    "key",
    "local",
    "loop",
    "map_n",
    "names",
    "program",
    "query",
    "register",
    "same_block",
    "select",
    "strided",
    "where",
]
