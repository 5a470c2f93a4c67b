"""A case: a program at a size, in a variant, with its pairs, its truth under each ablation and its certificate."""

import hashlib
import json
import re
import string
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gaugeblock.compiled import semantics
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.files import content_hash
from gaugeblock.compiled.lowered import Attention
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.registry import VARIANTS, apply_variants
from gaugeblock.inputs import input_positions
from gaugeblock.pairs import Pairs, make_pairs
from gaugeblock.programs.domain import everywhere
from gaugeblock.programs.errors import GaugeblockError, UnknownName
from gaugeblock.programs.program import Program
from gaugeblock.programs.registry import get
from gaugeblock.truth import ABLATIONS, Truth, label

if TYPE_CHECKING:
    from gaugeblock.certificate import Certificate

_ID = re.compile(r"(?P<program>[^@/#]+)(@v(?P<vocab>\d+)n(?P<length>\d+))?(/(?P<variants>[^#]+))?(#(?P<seed>\d+))?")


class CaseError(GaugeblockError):
    """A case id that cannot be read or built."""


@final
@dataclass(frozen=True)
class Recipe:
    """What a case id says: `program[@v10n20][/variant+variant][#seed]`; no variant means plain."""

    program: str
    size: tuple[int, int] | None = None
    variants: tuple[str, ...] = ()
    seed: int = 0

    @staticmethod
    def parse(case_id: str) -> "Recipe":
        """Raises CaseError for another form, UnknownName for an unknown variant."""
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
        size = f"@v{self.size[0]}n{self.size[1]}" if self.size else ""
        variants = "/" + "+".join(self.variants) if self.variants else ""
        return f"{self.program}{size}{variants}" + (f"#{self.seed}" if self.seed else "")


@final
@dataclass(frozen=True, eq=False)
class Case:
    """One model with known circuit. Everything is computed at first use and kept.

    Truth and pairs are float64 facts; `model` runs in float32 unless its margins need more.
    """

    recipe: Recipe
    program: Program
    model: CompiledModel

    @property
    def id(self) -> str:
        return self.recipe.id

    @cached_property
    def pairs(self) -> Pairs:
        """The data: clean and corrupted inputs and the graded positions."""
        return make_pairs(self.model, self.recipe.seed)

    def truth(self, ablation: str = "resample") -> Truth:
        """Classes of all edges under an ablation. Raises UnknownName."""
        if ablation not in ABLATIONS:
            raise UnknownName("ablation with known truth", ablation, ABLATIONS)
        return self._truths.setdefault(ablation, None) or self._label(ablation)

    @cached_property
    def _truths(self) -> dict[str, Truth | None]:
        return {}

    def _label(self, ablation: str) -> Truth:
        truth = label(self.model, self.pairs, ablation)
        self._truths[ablation] = truth
        return truth

    @cached_property
    def input_positions(self) -> Bool[Tensor, "pair pos pos"]:
        """Of the clean inputs, [pair, output position, input position]: whether some other token there, and nothing
        else changed, changes the output here. False in the rows and columns of BOS and PAD.

        `gaugeblock.inputs.input_positions` says which tokens are tried.
        """
        rows, vocab = self.pairs.clean.cpu(), self.model.lowered.vocab
        found = torch.zeros(*rows.shape, rows.shape[1], dtype=torch.bool)
        inputs = [[vocab[token] for token in row if token < self.model.bos] for row in rows.tolist()]
        for pair, depends in enumerate(input_positions(self.program, inputs)):
            found[pair, 1 : len(depends) + 1, 1 : len(depends) + 1] = torch.from_numpy(depends)
        return found

    @cached_property
    def attention_patterns(self) -> dict[str, Float[Tensor, "pair query key"]]:
        """Head that carries out part of the program -> whom it attends to on the clean inputs, as the program says.

        The normalised selector, BOS included as key 0; a `soft` model comes near it. NaN at queries that hold no
        token, or where the program does not say.
        """
        lowered, rows = self.model.lowered, self.pairs.clean.cpu()
        codes, real = semantics.run(lowered, rows.numpy()), self.model.real(rows).numpy()
        patterns = {}
        for op in lowered.operations:
            if isinstance(op, Attention) and op.name in lowered.needed:
                weights, doubtful = semantics.pattern(op, codes, real)
                weights[doubtful | ~real] = np.nan
                patterns[self.model.provenance.sites[op.name]] = torch.from_numpy(weights)
        return patterns

    @cached_property
    def certificate(self) -> "Certificate":
        """Every claim about this case, checked anew."""
        from gaugeblock.certificate import certify

        return certify(self)

    @cached_property
    def weights_hash(self) -> str:
        """Of the model: its weights, layout and program."""
        return content_hash(self.model)

    @cached_property
    def hash(self) -> str:
        """Covers the recipe, the weights, the pairs and the truth; names a version of the case."""
        digest = hashlib.sha256(f"{self.id} {self.weights_hash}".encode())
        for tokens in (self.pairs.clean, self.pairs.corrupted, self.pairs.positions):
            digest.update(json.dumps(tokens.long().tolist()).encode())
        for ablation in ABLATIONS:
            truth = self.truth(ablation)
            digest.update(
                json.dumps([sorted(truth.positives), sorted(truth.negatives), sorted(truth.ignored)]).encode()
            )
        return digest.hexdigest()


@lru_cache(maxsize=8)
def case(case_id: str) -> Case:
    """The case of an id. Raises CaseError or UnknownName."""
    recipe = Recipe.parse(case_id)
    program = get(recipe.program)
    if recipe.size is not None:
        program = resized(program, *recipe.size)
    if len(program.outputs) > 1:
        raise CaseError(f"{recipe.program!r} has {len(program.outputs)} outputs; a case needs a program with one")
    return Case(recipe, program, apply_variants(compile(program), recipe.variants, recipe.seed))


def resized(program: Program, n_tokens: int, max_len: int) -> Program:
    """The program for a vocabulary of n tokens: more neutral letters or larger numbers, or fewer from the end."""
    vocab = program.vocab
    if n_tokens == len(vocab):
        return program.with_size(max_len=max_len)
    if program.domain.contains is not everywhere:
        raise CaseError(
            f"program {program.name!r} has a fixed vocabulary of {len(vocab)} tokens, {n_tokens} were asked for; "
            f"write @v{len(vocab)}n{max_len}"
        )
    more: list[object]
    if all(isinstance(token, int) for token in vocab):
        more = [i for i in range(min(vocab), min(vocab) + n_tokens + len(vocab)) if i not in vocab]
    else:
        more = [letter for letter in string.ascii_letters if letter not in vocab]
    return program.with_size(vocab=(*vocab, *more)[:n_tokens], max_len=max_len)
