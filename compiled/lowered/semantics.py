"""The values that the lowered program computes, variable by variable, also when some of its reads are replaced.

Works on codes of values, never on weights: `codes[input, position]`, BOS at position 0. NOTHING stands for a zero
vector (what BOS and PAD rows hold), UNKNOWN for what the program does not define, such as a `.get` at which two
selected keys disagree; whatever depends on it is unknown too.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from gaugeblock.compiled.lowered.operations import (
    BOS,
    INDICES,
    PRESENT,
    Attention,
    Form,
    Lowered,
    Port,
    Read,
    Table,
    Total,
)

NOTHING = -1
UNKNOWN = -2

Codes = Int[np.ndarray, "input pos"]
Reads = Mapping[tuple[str, Port, str], np.ndarray]
See = Callable[[Port, str], Codes]
"""(port, variable) -> the codes that an operation sees."""


def token_codes(lowered: Lowered, tokens: Int[np.ndarray, "input pos"]) -> dict[str, Codes]:
    """Return the codes of the variables that the embeddings write, for token ids with BOS first and PAD last."""
    size = len(lowered.vocab)
    positions = np.broadcast_to(np.arange(tokens.shape[1]) - 1, tokens.shape)
    codes = {
        PRESENT: np.where(tokens < size, 0, NOTHING),
        BOS: np.where(tokens == size, 0, NOTHING),
        INDICES: positions.copy(),  # -1, nothing, at BOS
    }
    for variable in lowered.variables.values():
        if variable.of_token is not None:
            of_token = variable.of_token[np.minimum(tokens, size - 1)]
            codes[variable.name] = np.where(tokens < size, of_token, NOTHING)
    return codes


def run(lowered: Lowered, tokens: Int[np.ndarray, "input pos"], replaced: Reads | None = None) -> dict[str, Codes]:
    """Return the codes of every variable.

    Args:
        tokens: token ids, BOS at position 0, PAD after the input.
        replaced: (operation, port, variable) -> the codes which this one read sees instead of the variable's.
            The read ("logits", "logits", output) replaces what the unembedding sees, returned under "logits" for
            a program with one output.
    """
    replaced = replaced or {}
    codes = token_codes(lowered, tokens)
    for op in lowered.operations:
        if isinstance(op, Attention):
            codes.update(_attend(lowered, op, codes, replaced))
        else:
            seen = {name: replaced.get((op.name, "mlp", name), codes[name]) for name in op.inputs}
            codes[op.out] = _table(lowered, op, seen) if isinstance(op, Table) else _total(lowered, op, seen)
    if len(lowered.outputs) == 1:
        output = lowered.output.variable
        codes["logits"] = replaced.get(("logits", "logits", output), codes[output])
    return codes


def pattern(
    op: Attention, codes: Mapping[str, Codes], real: Bool[np.ndarray, "input query"]
) -> tuple[Float[np.ndarray, "input query key"], Bool[np.ndarray, "input query"]]:
    """The attention of a saturated head: its selector at real queries, scaled to 1, with BOS as key 0.

    Args:
        codes: of every variable, as `run` gives them.
        real: where the inputs have a token. What is returned for other queries means nothing.

    Returns:
        (the weights, queries at which they are not known because some code is unknown).
    """
    selected, unknown = _selection(op, lambda port, name: codes[name], real[:, :, None] & real[:, None, :])
    weights = selected.astype(float)
    weights[:, :, 0] = op.sink if op.counts_sink else ~selected.any(2)
    return weights / weights.sum(2, keepdims=True), np.asarray(unknown.any(2))


def _selection(
    op: Attention, see: See, possible: Bool[np.ndarray, "input query key"]
) -> tuple[Bool[np.ndarray, "input query key"], Bool[np.ndarray, "input query key"]]:
    """The keys that each query selects among the possible ones, and which of these an unknown code leaves open."""
    selected, unknown = possible.copy(), np.zeros_like(possible)
    for condition in op.conditions:
        keys = see("k", condition.key)[:, None, :]
        queries = np.zeros_like(keys) if condition.query is None else see("q", condition.query)[:, :, None]
        holds = condition.table[np.maximum(keys, 0), np.maximum(queries, 0)] & (keys >= 0) & (queries >= 0)
        is_open = (keys == UNKNOWN) | (queries == UNKNOWN)
        unknown |= is_open
        selected &= holds | is_open
    unknown &= selected  # a key that fails another condition is not selected, whatever the unknown one says
    if op.ranking is not None:
        levels = see("k", op.ranking.variable)[:, None, :]
        height = np.where(levels >= 0, op.ranking.levels[np.maximum(levels, 0)], 0)
        unknown |= selected & (levels == UNKNOWN)
        best = np.where(selected, height, -1).max(-1, keepdims=True)
        selected &= (height == best) | unknown
    return selected, unknown


def _attend(lowered: Lowered, op: Attention, codes: Mapping[str, Codes], replaced: Reads) -> dict[str, Codes]:
    def see(port: Port, name: str) -> Codes:
        return replaced.get((op.name, port, name), codes[name])

    present = see("q", PRESENT)
    possible = np.repeat((present == 0)[:, :, None], present.shape[1], axis=2)
    possible[:, :, 0] = False  # BOS is the sink
    selected, unknown = _selection(op, see, possible)
    doubtful = unknown.any(-1)
    doubtful |= ~_sink_holds(lowered, op, see)[:, None] & (op.counts_sink | ~selected.any(-1))
    return {r.out: np.where(doubtful, UNKNOWN, _move(lowered, r, see("v", r.source), selected)) for r in op.reads}


def _sink_holds(lowered: Lowered, op: Attention, see: See) -> Bool[np.ndarray, " input"]:
    """Whether BOS holds what makes it the sink: without that, it is not defined what a query that selects nothing sees.

    Variables hold nothing there, or what they hold anyway is subtracted, so that it has to be there.
    """
    holds = (see("k", BOS)[:, 0] == 0) & (see("v", BOS)[:, 0] == 0)
    keys: list[tuple[Port, str]] = [("k", c.key) for c in op.conditions] + [("v", r.source) for r in op.reads]
    keys += [("k", op.ranking.variable)] if op.ranking is not None else []
    for port, name in keys:
        held = lowered.variables[name].empty
        holds &= see(port, name)[:, 0] == (NOTHING if held is None else held)
    return holds


def _move(lowered: Lowered, read: Read, source: Codes, selected: Bool[np.ndarray, "input query key"]) -> Codes:
    count = selected.sum(-1)
    undefined = (selected & (source == UNKNOWN)[:, None, :]).any(-1)
    if read.kind == "get":
        moved = np.where(source >= 0, read.mapping[np.maximum(source, 0)], source)[:, None, :]
        high = np.where(selected, moved, -9).max(-1)
        low = np.where(selected, moved, np.iinfo(np.int64).max).min(-1)
        nothing = NOTHING if lowered.variables[read.out].encoding == "onehot" else UNKNOWN
        default = nothing if read.default is None else read.default
        result = np.where(count == 0, default, np.where(high == low, high, UNKNOWN))
    else:
        variable = lowered.variables[read.out]
        amounts = np.where(source >= 0, read.mapping[np.maximum(source, 0)], 0.0)
        total = np.einsum("bqk,bk->bq", selected.astype(float), amounts)
        if read.kind == "mean":
            default = np.nan if read.default is None else read.default
            total = np.where(count == 0, default, total / np.maximum(count, 1))
        result = _nearest(np.array([float(v) for v in variable.values]), total)
    return np.where(undefined, UNKNOWN, result)


def _nearest(values: np.ndarray, numbers: np.ndarray) -> Codes:
    """Codes of the values that equal the numbers up to rounding; UNKNOWN where none does."""
    numbers = np.where(np.isnan(numbers), np.inf, numbers)
    i = np.clip(np.searchsorted(values, numbers), 0, len(values) - 1)
    j = np.maximum(i - 1, 0)
    best = np.where(np.abs(values[j] - numbers) < np.abs(values[i] - numbers), j, i)
    return np.where(np.abs(values[best] - numbers) <= 1e-9 * (1 + np.abs(values[best])), best, UNKNOWN)


def _table(lowered: Lowered, op: Table, seen: Mapping[str, Codes]) -> Codes:
    gates = [seen[name] for name in op.gates]
    codes = gates if op.form is None else [*gates, _form(lowered, op.form, seen)]
    result = op.table[tuple(np.maximum(code, 0) for code in codes)]
    unknown = np.any([code < 0 for code in codes], axis=0) | (result < 0)
    silent = np.any([gate == NOTHING for gate in gates], axis=0)  # no hidden unit fires
    return np.where(silent, NOTHING, np.where(unknown, UNKNOWN, result))


def _total(lowered: Lowered, op: Total, seen: Mapping[str, Codes]) -> Codes:
    form = Form(op.reads, op.amounts, lowered.variables[op.out].values)
    present = seen[PRESENT]
    result = np.where(present == UNKNOWN, UNKNOWN, _form(lowered, form, seen))
    return np.where(present == NOTHING, NOTHING, result)


def _form(lowered: Lowered, form: Form, seen: Mapping[str, Codes]) -> Codes:
    """Codes into the form's values. A one-hot summand that holds nothing adds nothing."""
    total, doubtful = np.zeros(()), np.zeros((), dtype=bool)
    for name, amounts in zip(form.reads, form.amounts, strict=True):
        codes, is_one_hot = seen[name], lowered.variables[name].encoding == "onehot"
        total = total + np.where(codes == NOTHING, 0.0, amounts[np.maximum(codes, 0)])
        doubtful = doubtful | (codes == UNKNOWN) | ((codes == NOTHING) & (not is_one_hot))
    return np.where(doubtful, UNKNOWN, _nearest(np.array([float(v) for v in form.values]), total))
