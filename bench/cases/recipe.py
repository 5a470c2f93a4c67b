"""The id of a case: `program[@v10n20][/variant+variant][#seed]`."""

import re
from dataclasses import dataclass
from typing import final

from gaugeblock.compiled.variants.registry import VARIANTS
from gaugeblock.programs.errors import GaugeblockError, UnknownName

_ID = re.compile(r"(?P<program>[^@/#]+)(@v(?P<vocab>\d+)n(?P<length>\d+))?(/(?P<variants>[^#]+))?(#(?P<seed>\d+))?")


class CaseError(GaugeblockError):
    """A case id that cannot be read or built."""


@final
@dataclass(frozen=True)
class Recipe:
    """The parts of a case id: `program[@v10n20][/variant+variant][#seed]`; no variant means plain."""

    program: str
    size: tuple[int, int] | None = None
    variants: tuple[str, ...] = ()
    seed: int = 0

    @staticmethod
    def parse(case_id: str) -> "Recipe":
        """Read a case id. Raises CaseError for another form, UnknownName for an unknown variant.

        >>> recipe = Recipe.parse("sort@v10n20/permute+pad+rotate#3")
        >>> recipe.program, recipe.size, recipe.variants, recipe.seed
        ('sort', (10, 20), ('permute', 'pad', 'rotate'), 3)
        """
        match = _ID.fullmatch(case_id)
        if match is None:
            raise CaseError(
                f"{case_id[:100]!r} is not a case id; the form is program[@v10n20][/variant+variant][#seed]"
            )
        variants = tuple((match["variants"] or "").split("+")) if match["variants"] else ()
        for name in variants:
            if name not in VARIANTS:
                raise UnknownName("variant", name, VARIANTS)
        size = (int(match["vocab"]), int(match["length"])) if match["vocab"] else None
        return Recipe(match["program"], size, variants, int(match["seed"] or 0))

    @property
    def id(self) -> str:
        """The case id, in the one way that it is written."""
        size = f"@v{self.size[0]}n{self.size[1]}" if self.size else ""
        variants = "/" + "+".join(self.variants) if self.variants else ""
        return f"{self.program}{size}{variants}" + (f"#{self.seed}" if self.seed else "")
