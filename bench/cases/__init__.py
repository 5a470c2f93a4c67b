"""What is asked and what is right: cases, their pairs, their truth and their certificates."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from gaugeblock.cases.case import Case, case
    from gaugeblock.cases.certificate import Certificate
    from gaugeblock.cases.pairs import Pairs
    from gaugeblock.cases.recipe import CaseError, Recipe
    from gaugeblock.cases.truth import Truth

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "case": ["Case", "case"],
        "certificate": ["Certificate"],
        "pairs": ["Pairs"],
        "recipe": ["CaseError", "Recipe"],
        "truth": ["Truth"],
    },
)
