"""One call for every kind of picture."""

from typing import Any

from gaugeblock.cases.case import Case
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.pictures.attention import attention
from gaugeblock.pictures.circuits import circuit
from gaugeblock.pictures.flow import flow
from gaugeblock.pictures.selector_grid import selector_grid
from gaugeblock.pictures.stream import residual_stream
from gaugeblock.pictures.svg import Picture
from gaugeblock.pictures.weights import weights
from gaugeblock.programs.errors import UnknownName
from gaugeblock.programs.program import Program

KINDS: dict[str, Any] = {
    "selectors": selector_grid,
    "flow": flow,
    "attention": attention,
    "circuit": circuit,
    "stream": residual_stream,
    "weights": weights,
}
"""What each shows: keys and queries of every selector on one input; layers and heads on one input; selectors beside
the model's attention on one input; the circuit; where variables are written and read; the weights."""

OF_AN_INPUT = ("selectors", "flow", "attention")
OF_A_MODEL = ("attention", "circuit", "stream", "weights")
OF_ONE_PART = ("selectors", "attention", "weights")


def draw(kind: str, of: Program | CompiledModel | Case, xs: Any = None, which: str | None = None) -> Picture:
    """Draw a program or the model it compiles to, or a model or a case that there is.

    Args:
        kind: one of KINDS.
        of: of a case the circuit is drawn as its truth has it, under the ablation `resample`.
        xs: the input, for the kinds that are OF_AN_INPUT.
        which: the selector, head or part to show, for the kinds that are OF_ONE_PART; all if not given.

    Raises UnknownName for another kind, and what the kind's function raises.

    >>> from gaugeblock.programs.registry import get
    >>> draw("flow", get("sort"), [3, 1, 2]).title
    'How sort works on 3 1 2'
    """
    if kind not in KINDS:
        raise UnknownName("picture", kind, KINDS)
    arguments: list[Any] = [_subject(kind, of)]
    arguments += [xs] if kind in OF_AN_INPUT else []
    arguments += [which] if which is not None and kind in OF_ONE_PART else []
    picture: Picture = KINDS[kind](*arguments)
    return picture


def _subject(kind: str, of: Program | CompiledModel | Case) -> Any:
    """The program, model or case that the function of a kind takes."""
    if kind not in OF_A_MODEL:
        return of if isinstance(of, Program) else of.program
    if isinstance(of, Program):
        return compile(of)
    return of if isinstance(of, CompiledModel) or kind == "circuit" else of.model
