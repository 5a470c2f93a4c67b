"""Compiled fragments: a program that reads variables from directions of a residual stream and writes to directions.

    fragment = compile_fragment(lambda sum, sum_2: sum + sum_2, reads=reads_of(model, "sum", "sum_2"),
                                writes=writes_of(model, "rank_onehot"))
    swapped = swap(model, {"m0": fragment})

The program goes through the stages of `compile` and becomes heads and hidden units of its own. They work on a small
residual stream of their own, in which every variable that is read stands as a one-hot value; what is read is rounded to
the nearest value, so that the inaccuracies of a trained model do not add up. Selectors such as `causal` and `local(5)`
go by position among the tokens of the input, position 0 being the first of them.

At BOS and PAD nothing is read, no head looks, and `absent` is written. In a causal model no head looks ahead, whatever
the program selects.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor

from gaugeblock.compiled.compiler import CompilePlan, check_values, plan_unchecked
from gaugeblock.compiled.lowered.operations import BOS, INDICES, PRESENT, TOKENS, Lowered
from gaugeblock.compiled.lowered.tables import is_number
from gaugeblock.compiled.stages.assemble import MAX_PARAMETERS, Weights, assemble, check_size
from gaugeblock.compiled.stages.infer import Inference
from gaugeblock.compiled.swapping.components import SwapError
from gaugeblock.compiled.swapping.fragments.layers import STACKED
from gaugeblock.compiled.swapping.fragments.ports import (
    Categorical,
    Line,
    Number,
    Reading,
    Vectors,
    Writing,
    values_text,
)
from gaugeblock.programs.errors import CompileError, UnknownName
from gaugeblock.programs.language.expression import Constant, Elementwise, Indices, SOp, Tokens
from gaugeblock.programs.language.operations import plain, value_key
from gaugeblock.programs.language.tree import located, postorder
from gaugeblock.programs.program import Program


@final
@dataclass(frozen=True, eq=False, repr=False)
class Fragment:
    """A program compiled for the inside of a model; `swap` puts it in.

    Attributes:
        reads, writes: by name, as given.
        lowered: its operations, as in a CompiledModel; what is read is called "{name} (read)".
        sites: operation -> `a{l}.h{h}` or `m{l}` of its own layers.
        tensors, settings: of the module that runs (see `FragmentLayers`).
    """

    name: str
    reads: Mapping[str, Reading]
    writes: Mapping[str, Writing]
    lowered: Lowered
    sites: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]

    @property
    def width(self) -> int:
        """d_model of the models that it fits in."""
        return self.tensors["writes"].shape[1]

    def __repr__(self) -> str:
        layers, heads, _, _ = self.tensors["W_Q"].shape
        shape = f"{layers} layers of {heads} heads and {self.tensors['W_in'].shape[2]} hidden units"
        return f"<Fragment {self.name}: {', '.join(self.reads) or 'indices'} -> {', '.join(self.writes)}; {shape}>"


def compile_fragment(
    program: Program | Callable[..., Any],
    reads: Mapping[str, Reading],
    writes: Writing | Mapping[str, Writing],
    *,
    max_len: int | None = None,
    bos: bool = True,
    absent: Sequence[int] = (),
    dtype: torch.dtype | None = None,
    max_parameters: int = MAX_PARAMETERS,
) -> Fragment:
    """Compile a program that runs on a residual stream, to be put into a model by `swap` at a head, an MLP or a block.

    Args:
        program: a function whose parameters are s-ops, named as what is read (`indices` need not be read, and is the
            position then), or a Program, whose `tokens` are read. It returns an s-op, or several in a dict or tuple.
            A function is not tried out on inputs: any combination of what it reads may occur, and where the keys that
            a `.get` selects disagree, something between their values is written, as in any compiled model.
        reads: variable -> how it is read (`reads_of` and `fitted_read` make them).
        writes: how the output is written, or output -> how (`writes_of` and `fitted_write` make them).
        max_len: the longest input; the Program's by default. A function needs it if it looks at other positions or at
            `indices`.
        bos: whether position 0 of the model holds a start token, which is no part of the program's input.
        absent: ids of tokens that are no part of the input either, such as padding. Of a compiled model BOS and PAD are
            known when the fragment is put in.
        dtype: the precision in which it runs at least; by default the lowest in which rounding changes no value.

    Raises SwapError where reads, program and writes do not fit together, and what `compile` raises.

    >>> import gaugeblock as gb
    >>> from gaugeblock.compiled import reads_of, swap, writes_of
    >>> model = gb.compile(gb.programs.get("sort").with_size(range(4), 4))
    >>> reads, writes = reads_of(model, "sum", "sum_2"), writes_of(model, "rank_onehot")
    >>> fragment = compile_fragment(lambda sum, sum_2: sum + sum_2, reads, writes)
    >>> tokens = model.encode([[3, 1, 2]])
    >>> model.decode(swap(model, {"m0": fragment})(tokens), tokens)
    [[1, 2, 3]]
    """
    if dtype not in (None, torch.float32, torch.float64):
        raise CompileError(f"dtype {dtype} is not supported; possible: torch.float32, torch.float64")
    name = program.name if isinstance(program, Program) else getattr(program, "__name__", "fragment")
    outputs = _outputs(program, name, reads)
    chosen = _named(writes, tuple(outputs))
    widths = [{key: port.width for key, port in ports.items()} for ports in (reads, chosen)]
    if len({width for by_name in widths for width in by_name.values()}) > 1:
        raise SwapError(f"the directions of a fragment have one d_model; reads have {widths[0]}, writes {widths[1]}")
    longest = _longest(program, name, outputs, max_len)
    if isinstance(program, Program) and INDICES not in reads:
        check_values(program if longest is None else program.with_size(max_len=longest))
    nodes = tuple(
        _keyed(node, key) if isinstance(write, Vectors) else node
        for (key, node), write in zip(outputs.items(), chosen.values(), strict=True)
    )
    root = nodes if len(nodes) > 1 else nodes[0]
    planned = plan_unchecked(Program(name, lambda tokens, indices: root, _vocab(reads), longest or 1), dtype)
    check_size(planned.parts, planned.lowered, max_parameters)
    _refuse_unknown_values(planned.known, chosen)
    built = assemble(planned.lowered, planned.placed, planned.where, planned.parts)
    used = {key: read for key, read in reads.items() if _called(key) in planned.lowered.variables}
    tensors = _marks(planned) | _stacked(built.weights) | _written(planned, chosen)
    for i, (key, read) in enumerate(used.items()):
        tensors |= {f"read{i}_{what}": tensor for what, tensor in _read(planned, key, read).items()}
    settings = {
        "above": [read.above if isinstance(read, Categorical) else None for read in used.values()],
        "bos": bos,
        "absent": sorted(map(int, absent)),
        "longest": longest,
        "causal": False,
        "dtype": str(planned.dtype).removeprefix("torch."),
    }
    return Fragment(name, dict(reads), chosen, planned.lowered, planned.placed.sites, tensors, settings)


# --- the program over what is read -----------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class _Field:
    """The i-th of the values that are read."""

    i: int

    def __call__(self, token: tuple[Any, ...]) -> Any:
        return token[self.i]


def _called(name: str) -> str:
    """The name of a variable that is read within the fragment, which none that it computes has."""
    return f"{name} (read)"


def _vocab(reads: Mapping[str, Reading]) -> tuple[tuple[Any, ...], ...]:
    """Tokens that stand for what is read, in which each value of each variable occurs; value sets need no more."""
    values = [tuple(map(plain, read.values)) for read in reads.values()]
    return tuple((*(each[i % len(each)] for each in values), i) for i in range(max(map(len, values), default=1)))


def _outputs(program: Program | Callable[..., Any], name: str, reads: Mapping[str, Reading]) -> dict[str, SOp]:
    """The program's outputs by name, over what is read."""
    leaves: dict[str, SOp] = {key: Tokens(_called(key), _Field(i)) for i, key in enumerate(reads)}
    function = program.build if isinstance(program, Program) else program
    keys: tuple[str, ...] = ()

    def build(tokens: Tokens, indices: Indices) -> Any:
        nonlocal keys
        if isinstance(program, Program):
            result = function(leaves.get(TOKENS, tokens), leaves.get(INDICES, indices), **program.arguments)
        else:
            sops = {INDICES: indices} | leaves
            result = function(**{parameter: sops[parameter] for parameter in parameters})
        keys = tuple(map(str, result)) if isinstance(result, Mapping) else ()
        return result

    if isinstance(program, Program):
        _check_program(program, reads)
    else:
        parameters = _parameters(name, program, reads)
    functools.update_wrapper(build, function, assigned=())  # for the names of its local variables
    both = [inspect.Parameter(p, inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in (TOKENS, INDICES)]
    build.__signature__ = inspect.Signature(both)  # type: ignore[attr-defined]
    nodes = Program(name, build, _vocab(reads), 1).outputs
    ours = {id(leaf) for leaf in leaves.values()}
    for node in postorder(*nodes):
        if isinstance(node, Tokens) and id(node) not in ours:
            raise SwapError(f"the program {name!r} uses {node.name!r}, and reads give only {_listed(reads)}")
    if not keys:
        named = [None if isinstance(node, Tokens) else node.name for node in nodes]
        alone = "output" if len(nodes) == 1 else None
        keys = tuple(key if key and named.count(key) == 1 else alone or f"output {i}" for i, key in enumerate(named))
    return dict(zip(keys, nodes, strict=True))


def _check_program(program: Program, reads: Mapping[str, Reading]) -> None:
    if program.graph:
        raise SwapError(f"{program.name!r} is a program over graphs, and a stream holds no edges")
    for key in reads:
        if key not in (TOKENS, INDICES):
            raise UnknownName(f"input of the program {program.name!r}", key, (TOKENS, INDICES))
    known = {value_key(token) for token in program.vocab}
    foreign = [value for value in getattr(reads.get(TOKENS), "values", ()) if value_key(plain(value)) not in known]
    if foreign:
        raise SwapError(
            f"{program.name!r} does not know the tokens {values_text(foreign)}; "
            f"its vocabulary is {values_text(program.vocab)}"
        )


def _parameters(name: str, program: Callable[..., Any], reads: Mapping[str, Reading]) -> tuple[str, ...]:
    parameters = inspect.signature(program).parameters
    for key in reads:
        if key not in parameters:
            raise UnknownName(f"parameter of {name!r}", key, parameters)
    taken = tuple(key for key, p in parameters.items() if p.default is p.empty or key in reads)
    for key in taken:
        if key not in reads and key != INDICES:
            raise SwapError(f"{name!r} reads {key!r}, and it is not said how; reads give {_listed(reads)}")
    return taken


def _longest(
    program: Program | Callable[..., Any], name: str, outputs: Mapping[str, SOp], max_len: int | None
) -> int | None:
    """The longest input, None where positions do not matter."""
    if all(isinstance(node, (Tokens, Constant, Elementwise)) for node in postorder(*outputs.values())):
        return None
    longest = program.max_len if max_len is None and isinstance(program, Program) else max_len
    if longest is None:
        raise SwapError(f"{name!r} looks at positions: say for how many tokens it is to be compiled, as max_len=...")
    return longest


def _named(writes: Writing | Mapping[str, Writing], outputs: tuple[str, ...]) -> dict[str, Writing]:
    """The way each output is written, in their order."""
    if not isinstance(writes, Mapping):
        if len(outputs) > 1:
            raise SwapError(f"the program has {len(outputs)} outputs; writes have to name each: {_listed(outputs)}")
        return {outputs[0]: writes}
    if len(writes) == len(outputs) == 1:
        return dict(writes)
    for key in writes:
        if key not in outputs:
            raise UnknownName("output of the program", key, outputs)
    if lacking := [key for key in outputs if key not in writes]:
        raise SwapError(f"it is not said how {_listed(lacking)} of the outputs {_listed(outputs)} is written")
    return {key: writes[key] for key in outputs}


def _keyed(node: SOp, name: str) -> SOp:
    """The output as something that is no number, so that it arrives as a one-hot value."""
    keyed = Elementwise(value_key, (node,))
    keyed.name, keyed.origin = node.name or name, node.origin
    return keyed


# --- tensors ---------------------------------------------------------------------------------------------------------


def _marks(planned: CompilePlan) -> dict[str, Tensor]:
    at = planned.where.directions
    return {"marks": torch.tensor([at[PRESENT][0], at[BOS][0]]), "indices": torch.tensor(at.get(INDICES, ())).long()}


def _stacked(weights: Weights) -> dict[str, Tensor]:
    layers = sum(name.endswith("attn.W_Q") for name in weights)
    return {
        name.partition(".")[2]: torch.stack([torch.from_numpy(weights[f"blocks.{i}.{name}"]) for i in range(layers)])
        for name in STACKED
    }


def _read(planned: CompilePlan, name: str, read: Reading) -> dict[str, Tensor]:
    """The tensors with which a variable is read (see `FragmentLayers`)."""
    variable = planned.lowered.variables[_called(name)]
    code = {value_key(value): i for i, value in enumerate(variable.values)}
    values: list[Any] = [plain(value) for value in read.values]
    if isinstance(read, Number):
        values.sort(key=float)
    directions = planned.where.directions[variable.name]
    at = torch.tensor([directions[code[value_key(value)]] for value in values])
    if isinstance(read, Categorical):
        bias = torch.zeros(len(values)) if read.bias is None else read.bias
        return {"directions": _exact(read.directions), "bias": _exact(bias), "at": at}
    along = [read.scale * _exact(read.direction), *([] if read.per is None else [_exact(read.per)])]
    steps = [(float(a) + float(b)) / 2 - read.offset for a, b in pairwise(values)]
    return {"directions": torch.stack(along), "steps": torch.tensor(steps, dtype=torch.float64), "at": at}


def _written(planned: CompilePlan, writes: Mapping[str, Writing]) -> dict[str, Tensor]:
    width = next(iter(writes.values())).width
    out = torch.zeros(len(planned.where.labels), width, dtype=torch.float64)
    base, elsewhere = torch.zeros_like(out[0]), torch.zeros_like(out[0])
    for (name, write), output in zip(writes.items(), planned.lowered.outputs, strict=True):
        directions = planned.where.directions[output.variable]
        elsewhere += 0 if write.absent is None else _exact(write.absent)
        if isinstance(write, Line):
            base += 0 if write.base is None else _exact(write.base)
            if output.numeric:
                out[directions[0]] += _exact(write.direction)
                continue
            if other := [v for v in output.values if v is not None and not is_number(v)]:
                raise SwapError(f"a Line writes numbers, and {name!r} can be {values_text(other)}; give Vectors")
            known = {value_key(v): float(v) * _exact(write.direction) for v in output.values if v is not None}
        else:
            known = dict(zip(map(value_key, map(plain, write.values)), _exact(write.vectors), strict=True))
        keys = [value_key(v) if isinstance(write, Line) else v for v in output.values]
        if lacking := [key[1] for key in dict.fromkeys(keys) if key not in known and key not in UNDEFINED]:
            raise SwapError(
                f"{name!r} can be {values_text(lacking)}, and there is no vector for that; vectors are given for "
                f"{values_text(getattr(write, 'values', ()))} (zeros write nothing)"
            )
        for direction, key in zip(directions, keys, strict=True):
            if key not in UNDEFINED:
                out[direction] += known[key]
    return {"writes": out, "base": base, "elsewhere": elsewhere}


UNDEFINED = (None, value_key(None))
"""The values of an undefined output."""


def _refuse_unknown_values(known: Inference, writes: Mapping[str, Writing]) -> None:
    """Raise SwapError for a value that is read, and for which the program has none."""
    for name, node in zip(writes, known.outputs, strict=True):
        fact = known[node]
        if fact.table is None or len(fact.reads) != 1 or not (fact.table.codes < 0).any():
            continue
        (read,) = fact.reads
        none = [value for value, code in zip(known[read].values, fact.table.codes.ravel(), strict=True) if code < 0]
        raise SwapError(f"the program does not know what {name!r} is where {located(read)} is {values_text(none)}")


def _exact(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"
