"""Truth about input positions: which single tokens each output depends on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from gaugeblock.programs.language.operations import GraphNode
from gaugeblock.programs.program import Program

MAX_SUBSTITUTES = 64


def input_positions(program: Program, inputs: Sequence[Sequence[Any]], seed: int = 0) -> list[Bool[np.ndarray, "n n"]]:
    """Return for each input, [output position, input position], whether some other token there changes the output here.

    One token is replaced at a time, by every other token of the vocabulary (by a random 64 of them where there are
    more), as long as the input stays in the domain; its length never changes. In a graph the value of a node is
    replaced and its edges stay. Computed by the interpreter.

    >>> from gaugeblock.programs.registry import get
    >>> input_positions(get("identity"), [["a", "b"]])[0].tolist()
    [[True, False], [False, True]]
    """
    rng = np.random.default_rng(seed)
    changed: list[list[Any]] = []
    where: list[tuple[int, int]] = []
    for number, xs in enumerate(inputs):
        for position, token in enumerate(xs):
            for substitute in _substitutes(program, token, rng):
                edited = [*xs[:position], substitute, *xs[position + 1 :]]
                if program.domain.contains(edited):
                    changed.append(edited)
                    where.append((number, position))
    outputs = program.batch([list(xs) for xs in inputs])
    depends = [np.zeros((len(xs), len(xs)), dtype=bool) for xs in inputs]
    for (number, position), output in zip(where, program.batch(changed), strict=True):
        depends[number][:, position] |= np.array(
            [a != b for a, b in zip(output, outputs[number], strict=True)], dtype=bool
        )
    return depends


def _substitutes(program: Program, token: Any, rng: np.random.Generator) -> list[Any]:
    if isinstance(token, GraphNode):
        return [GraphNode(value, token.targets) for value in _others(program, token.value, rng)]
    return _others(program, token, rng)


def _others(program: Program, value: Any, rng: np.random.Generator) -> list[Any]:
    others = [v for v in program.vocab if v != value]
    if len(others) <= MAX_SUBSTITUTES:
        return others
    return [others[i] for i in rng.choice(len(others), MAX_SUBSTITUTES, replace=False)]
