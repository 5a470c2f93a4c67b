"""The programs that ship with gaugeblock, one module per topic."""

LIBRARY = (
    "counting",
    "order",
    "selection",
    "copying",
    "statistics",
    "masks",
    "formal_languages",
    "automata",
    "arithmetic",
    "graphs",
    "reasoning",
    "elementwise",
    "redundancy",
)
"""Its modules, each with what its programs teach."""
