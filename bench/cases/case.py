"""A case: a program at a size, in a variant, with its pairs, its truth under each ablation and its certificate."""

import hashlib
import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import cast, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gaugeblock.cases.certificate import Certificate, certify
from gaugeblock.cases.pairs import Pairs, make_pairs
from gaugeblock.cases.positions import input_positions
from gaugeblock.cases.recipe import CaseError, Recipe
from gaugeblock.cases.truth import ABLATIONS, Truth, label
from gaugeblock.checker.evidence import Evidence, Labels
from gaugeblock.checker.variables import VariablePlace
from gaugeblock.compiled.compiler import compile
from gaugeblock.compiled.lowered import semantics
from gaugeblock.compiled.lowered.operations import Attention
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.compiled.variants.registry import apply_variants
from gaugeblock.methods.engine.ablation import check_ablation
from gaugeblock.programs.domain import everywhere
from gaugeblock.programs.program import Program
from gaugeblock.programs.registry import get


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
        """Return the classes of all edges under an ablation. Raises UnknownName.

        >>> sorted(case("frac_prevs@v3n4").truth("resample").positives)
        ['a0.h0->logits', 'embed->a0.h0.v']
        """
        check_ablation(ablation)
        if ablation not in self._truths:
            self._truths[ablation] = label(self.model, self.pairs, ablation)
        return self._truths[ablation]

    @cached_property
    def _truths(self) -> dict[str, Truth]:
        return {}

    @cached_property
    def input_positions(self) -> Bool[Tensor, "pair pos pos"]:
        """Of the clean inputs, [pair, output position, input position]: whether some other token there, and nothing
        else changed, changes the output here. False in the rows and columns of BOS and PAD.

        `gaugeblock.cases.positions.input_positions` says which tokens are tried.
        """
        rows, vocab = self.pairs.clean.cpu(), self.model.lowered.vocab
        depends = torch.zeros(*rows.shape, rows.shape[1], dtype=torch.bool)
        inputs = [[vocab[token] for token in row if token < self.model.bos] for row in rows.tolist()]
        for pair, inner in enumerate(input_positions(self.program, inputs)):
            depends[pair, 1 : len(inner) + 1, 1 : len(inner) + 1] = torch.from_numpy(inner)
        return depends

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
    def certificate(self) -> Certificate:
        """Every claim about this case, checked anew."""
        return self.certify()

    def certify(self, ablations: Sequence[str] = ABLATIONS, n_samples: int = 10_000) -> Certificate:
        """Check claims about this case anew.

        Args:
            ablations: whose labels are checked.
            n_samples: inputs on which the model is compared with the interpreter, where the domain is too large for
                all.
        """
        model = self.model
        return certify(
            self.id,
            self.hash,
            self.evidence,
            model.dtype,
            labels={ablation: cast(Labels, self.truth(ablation).to_dict()) for ablation in ablations},
            places={name: cast(VariablePlace, subspace.to_dict()) for name, subspace in model.subspaces.items()},
            reads={edge: [list(read) for read in reads] for edge, reads in model.edge_reads.items()},
            n_samples=n_samples,
        )

    @property
    def evidence(self) -> Evidence:
        """What the checker is given of this case, the labels aside."""
        model, pairs = self.model, self.pairs
        return Evidence(
            weights=model.weights,
            lowered=model.lowered,
            program=model.program,
            clean=pairs.clean.cpu(),
            corrupted=pairs.corrupted.cpu(),
            positions=pairs.positions.cpu(),
            activation=model.activation,
            sharpness=model.sharpness,
        )

    @cached_property
    def weights_hash(self) -> str:
        """Of the model: its weights, layout and program."""
        return self.model.hash

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
    """Return the case of an id. Raises CaseError or UnknownName.

    >>> small = case("frac_prevs@v3n4")
    >>> small.model(["(", "a", "("])
    [1, 0.5, 0.6666666666666666]
    """
    recipe = Recipe.parse(case_id)
    program = get(recipe.program)
    if recipe.size is not None:
        program = resized(program, *recipe.size)
    if len(program.outputs) > 1:
        raise CaseError(f"{recipe.program!r} has {len(program.outputs)} outputs; a case needs a program with one")
    return Case(recipe, program, apply_variants(compile(program), recipe.variants, recipe.seed))


def resized(program: Program, n_tokens: int, max_len: int) -> Program:
    """Return the program with n tokens: more neutral letters or larger numbers, or fewer from the end."""
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
