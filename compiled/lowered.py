"""The lowered program: attention and MLP operations over named variables. Plain data, no functions of the user's.

Codes stand for values: a variable's code c means `values[c]`. Two implicit variables are written by the embedding:
`present` (not BOS, not PAD) and `bos`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Bool, Int

from gaugeblock.compiled.infer import Encoding
from gaugeblock.compiled.tables import ordered

PRESENT, BOS, TOKENS, INDICES = "present", "bos", "tokens", "indices"

Port = Literal["q", "k", "v", "mlp", "logits"]


@final
@dataclass(frozen=True)
class Variable:
    """A value per position, held in the residual stream.

    Attributes:
        writer: `embed`, `pos`, or the name of the operation that writes it.
        time: half layer at which it is written.
        empty: code held at BOS and PAD rows; None where nothing is written there (a zero vector).
    """

    name: str
    values: tuple[Any, ...]
    encoding: Encoding
    writer: str
    time: int
    empty: int | None = None


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
    """What a head moves: `source` through `mapping` into `out`.

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

    The sink (BOS) stands at the level of the selected keys where a read needs 1 / (1 + count), else between
    selected and unselected keys, so that it takes over exactly when none is selected.
    """

    name: str
    time: int
    conditions: tuple[Condition, ...]
    ranking: Ranking | None
    reads: tuple[Read, ...]

    @property
    def counts_sink(self) -> bool:
        return self.reads[0].kind == "sum"

    @property
    def outs(self) -> tuple[str, ...]:
        return tuple(read.out for read in self.reads)


@final
@dataclass(frozen=True)
class Table:
    """One MLP operation: the output's code for each combination of codes of the variables read (-1: none)."""

    name: str
    time: int
    reads: tuple[str, ...]
    table: Int[np.ndarray, "..."]
    out: str

    @property
    def outs(self) -> tuple[str, ...]:
        return (self.out,)


@final
@dataclass(frozen=True)
class Total:
    """One MLP operation: the number sum_i amounts[i][code of reads[i]]. It also reads `present`."""

    name: str
    time: int
    reads: tuple[str, ...]
    amounts: tuple[np.ndarray, ...]
    out: str

    @property
    def outs(self) -> tuple[str, ...]:
        return (self.out,)


Operation = Attention | Table | Total


@final
@dataclass(frozen=True)
class Lowered:
    """Attributes:
    vocab, max_len: the tokens in order of their ids, and the longest input.
    variables: by name, in the order of writing.
    operations: in order of time.
    output: the variable read by the unembedding.
    outputs: the program's output for each of its codes.
    numeric: whether the output is one number instead of a choice.
    """

    vocab: tuple[Any, ...]
    max_len: int
    variables: dict[str, Variable]
    operations: tuple[Operation, ...]
    output: str
    outputs: tuple[Any, ...]
    numeric: bool

    @cached_property
    def columns(self) -> tuple[Any, ...]:
        """The output for each logit column (one entry, unused, for a numeric output)."""
        return ("number",) if self.numeric else ordered(self.outputs)

    @cached_property
    def flow(self) -> tuple[tuple[str, Port, str], ...]:
        """Every read: (operation or "logits", port, variable). The implicit ones included."""
        found: dict[tuple[str, Port, str], None] = {}
        for op in self.operations:
            if isinstance(op, Attention):
                found[op.name, "q", PRESENT] = None
                found[op.name, "k", BOS] = None
                for c in op.conditions:
                    found[op.name, "k", c.key] = None
                    if c.query is not None:
                        found[op.name, "q", c.query] = None
                if op.ranking is not None:
                    found[op.name, "k", op.ranking.variable] = None
                for read in op.reads:
                    found[op.name, "v", read.source] = None
                    if read.kind == "sum" or read.default is not None or self.variables[read.source].empty is not None:
                        found[op.name, "v", BOS] = None
            else:
                for name in op.reads:
                    found[op.name, "mlp", name] = None
        found["logits", "logits", self.output] = None
        return tuple(found)
