"""Pictures of programs and of their compiled models, as SVG; see `Picture`.

    from gaugeblock.pictures import draw

    draw("flow", gb.programs.get("sort"), [3, 1, 2])  # shows itself in a notebook; .save("sort.svg")

Each kind is one function in a module of its own, which can also be called with a program or model of your own.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from gaugeblock.pictures.drawing import KINDS, draw

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"drawing": ["KINDS", "draw"]})
