"""Programs that put tokens in another order."""

from gaugeblock.programs.expression import SOp
from gaugeblock.programs.language import everything, key, query
from gaugeblock.programs.program import program


@program(range(8), max_len=10, reference=sorted, tags=("order",))
def sort(tokens: SOp, indices: SOp) -> SOp:
    """The tokens in ascending order; equal tokens keep their order."""
    before = (key(tokens) < query(tokens)) | ((key(tokens) == query(tokens)) & (key(indices) < query(indices)))
    rank = before.count()
    return (key(rank) == query(indices)).get(tokens)


@program("abcd", max_len=10, reference=lambda xs: xs[::-1], tags=("order",))
def reverse(tokens: SOp, indices: SOp) -> SOp:
    """The tokens in reverse order."""
    length = everything.count()
    return (key(indices) == query(length - 1 - indices)).get(tokens)


PROGRAMS = (sort, reverse)
