"""The lowered program: attention and MLP operations over named variables. Plain data, no functions of the user's.

Codes stand for values: a variable's code c means `values[c]`. Two implicit variables are written by the embedding:
`present` (not BOS, not PAD) and `bos`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Bool, Int

from gaugeblock.compiled.lowered.tables import ordered

PRESENT, BOS, TOKENS, INDICES = "present", "bos", "tokens", "indices"

Encoding = Literal["onehot", "scalar", "ratio"]
"""How a variable is written: one direction per value; its value; or (sum / (1 + count), 1 / (1 + count))."""

MIN_RELATIVE_MARGIN = 2.0**-14
"""Smallest distance of a number from a threshold, relative to the numbers' size, that float32 is trusted with."""

Port = Literal["q", "k", "v", "mlp", "logits"]


@final
@dataclass(frozen=True)
class Variable:
    """A value per position, held in the residual stream.

    Attributes:
        writer: `embed`, `pos`, or the name of the operation that writes it.
        empty: code held at BOS and PAD rows; None where nothing is written there (a zero vector).
        of_token: for what `embed` writes: the code for each token id of the vocabulary.
    """

    name: str
    values: tuple[Any, ...]
    encoding: Encoding
    writer: str
    empty: int | None = None
    of_token: Int[np.ndarray, " tokens"] | None = None

    @property
    def is_silent_when_absent(self) -> bool:
        """Whether its directions are zero at BOS and PAD rows."""
        return self.name != INDICES and self.encoding == "onehot" and self.empty is None


@final
@dataclass(frozen=True)
class Condition:
    """One conjunct of a selector: key variable (`present` if it does not matter), query variable (None if it
    does not matter), and for which codes it holds."""

    key: str
    query: str | None
    table: Bool[np.ndarray, "key query"]


@final
@dataclass(frozen=True)
class Ranking:
    """Selected keys with the highest level win. Levels are 0, 1, ... by code of the variable."""

    variable: str
    levels: Int[np.ndarray, " codes"]


@final
@dataclass(frozen=True)
class Read:
    """A value that a head moves: `source` through `mapping` into `out`. A scalar source is moved as it is.

    Attributes:
        kind: `get`, `mean` or `sum`.
        mapping: per code of the source the code of the output (`get`), or the number to add or average.
        default: code (`get`) or number (`mean`) where no key is selected; None for "nothing".
    """

    kind: Literal["get", "mean", "sum"]
    source: str
    mapping: np.ndarray
    out: str
    default: Any = None


@final
@dataclass(frozen=True)
class Attention:
    """One head: keys that meet all conditions, of these the highest ranked; several reads share it.

    The sink (BOS) stands between selected and unselected keys, so that it takes over exactly when none is selected.
    In a head that sums it stands at the level of the selected keys and weighs as much as `sink` of them: the sum s of
    c keys arrives as s / (sink + c). With a sink of 1 the reader needs 1 / (1 + c) too; with a heavy sink the result,
    times `sink`, is the sum up to rounding.
    """

    name: str
    conditions: tuple[Condition, ...]
    ranking: Ranking | None
    reads: tuple[Read, ...]
    sink: float = 1.0

    @property
    def counts_sink(self) -> bool:
        return self.reads[0].kind == "sum"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The variables it reads, implicit ones aside."""
        names = [name for c in self.conditions for name in (c.key, c.query) if name is not None]
        names += [self.ranking.variable] if self.ranking else []
        return (*names, *(r.source for r in self.reads))

    @property
    def outs(self) -> tuple[str, ...]:
        return tuple(read.out for read in self.reads)


@final
@dataclass(frozen=True)
class Form:
    """The number sum_i amounts[i][code of reads[i]], linear in each variable that is a staircase.

    Attributes:
        values: the numbers it may be, ascending; a table has one entry for each.
    """

    reads: tuple[str, ...]
    amounts: tuple[np.ndarray, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """One MLP operation: the output's code for each combination of the codes of the `gates`, which are one-hot, and
    the values of `form`, if there is one; -1 where nothing leads."""

    name: str
    gates: tuple[str, ...]
    form: Form | None
    table: Int[np.ndarray, "..."]
    out: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.gates, *(self.form.reads if self.form else ()))

    @property
    def outs(self) -> tuple[str, ...]:
        return (self.out,)


@final
@dataclass(frozen=True)
class RestoringTable(Table):
    """A table whose hidden units, two for each of a table's, pass on no error of its gates."""


@final
@dataclass(frozen=True)
class Total:
    """One MLP operation: the number sum_i amounts[i][code of reads[i]], written as a scalar where `present`.

    Each summand may be any function of its variable.
    """

    name: str
    reads: tuple[str, ...]
    amounts: tuple[np.ndarray, ...]
    out: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return (PRESENT, *self.reads)

    @property
    def outs(self) -> tuple[str, ...]:
        return (self.out,)


Operation = Attention | Table | Total


@final
@dataclass(frozen=True)
class Output:
    """A variable that the unembedding reads.

    Attributes:
        variable: read from the stream.
        values: the program's output for each of its codes.
        numeric: whether the output is one number instead of a choice.
    """

    variable: str
    values: tuple[Any, ...]
    numeric: bool

    @cached_property
    def columns(self) -> tuple[Any, ...]:
        """The output for each logit column (one entry, unused, for a numeric output)."""
        return ("number",) if self.numeric else ordered(self.values)


@final
@dataclass(frozen=True)
class Lowered:
    """A program as attention and MLP operations.

    Attributes:
        vocab, max_len: the tokens in order of their ids, and the longest input.
        variables: by name.
        operations: readers after writers.
        outputs: one, or several that the program gives as a tuple; their logit columns stand side by side.
    """

    vocab: tuple[Any, ...]
    max_len: int
    variables: dict[str, Variable]
    operations: tuple[Operation, ...]
    outputs: tuple[Output, ...]

    @property
    def output(self) -> Output:
        """The only output. Benchmark cases have one."""
        (only,) = self.outputs
        return only

    @cached_property
    def sums(self) -> frozenset[str]:
        """Variables that are sums over keys: as scalars they are right only up to a fraction of their gaps."""
        heads = [op for op in self.operations if isinstance(op, Attention) and op.counts_sink]
        return frozenset(read.out for op in heads for read in op.reads)

    @cached_property
    def needed(self) -> frozenset[str]:
        """Operations that some output depends on; the others write variables that only a reader of the stream sees."""
        wanted = {output.variable for output in self.outputs}
        names = set()
        for op in reversed(self.operations):
            if wanted & set(op.outs):
                names.add(op.name)
                wanted |= set(op.inputs)
        return frozenset(names)

    @cached_property
    def flow(self) -> tuple[tuple[str, Port, str], ...]:
        """Every read on which an output depends: (operation or "logits", port, variable), implicit ones included."""
        reads: dict[tuple[str, Port, str], None] = {}
        for op in self.operations:
            if op.name not in self.needed:
                continue
            if isinstance(op, Attention):
                reads |= dict.fromkeys(self._attention_flow(op))
            else:
                reads |= dict.fromkeys((op.name, "mlp", name) for name in op.inputs)
        reads |= dict.fromkeys(("logits", "logits", output.variable) for output in self.outputs)
        return tuple(reads)

    def _attention_flow(self, op: Attention) -> Iterator[tuple[str, Port, str]]:
        yield op.name, "q", PRESENT
        yield op.name, "k", BOS
        for c in op.conditions:
            yield op.name, "k", c.key
            if c.query is not None:
                yield op.name, "q", c.query
        if op.ranking is not None:
            yield op.name, "k", op.ranking.variable
        for read in op.reads:
            yield op.name, "v", read.source
            if self._reads_bos(read):
                yield op.name, "v", BOS

    def _reads_bos(self, read: Read) -> bool:
        """Whether what a head moves from BOS differs from what the source holds there anyway."""
        source, out = self.variables[read.source], self.variables[read.out]
        if out.encoding == "ratio":  # 1 / (1 + count) is the weight of BOS
            return True
        nothing = None if read.kind == "get" and out.encoding == "onehot" else 0.0
        held, moved = nothing, nothing if read.default is None else read.default
        if source.empty is not None:
            held = read.mapping[source.empty]
            held = nothing if read.kind == "get" and held < 0 else held
        if read.kind == "get" and out.encoding == "scalar":
            held, moved = (0.0 if c is nothing or c is None else float(out.values[int(c)]) for c in (held, moved))
        return bool(held != moved)
