"""Certificates: what the checker found out about a case, claim by claim."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

from gaugeblock.checker import Claim, check_labels, check_model
from gaugeblock.checker.evidence import Evidence, Labels
from gaugeblock.checker.variables import VariablePlace, check_variables
from gaugeblock.programs.errors import FileError
from gaugeblock.results import write_text
from gaugeblock.truth import ABLATIONS

if TYPE_CHECKING:
    from gaugeblock.cases import Case


@final
@dataclass(frozen=True)
class Certificate:
    """The claims about one case.

    Attributes:
        case, hash: the case's id, and the hash of what was certified.
        claims: in the order they were checked; those without an ablation first.
    """

    case: str
    hash: str
    ablations: tuple[str, ...]
    claims: tuple[Claim, ...]

    @property
    def ok(self) -> bool:
        """Whether every claim holds."""
        return bool(self.claims) and all(claim.ok for claim in self.claims)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, `ok` included."""
        return {
            "case": self.case,
            "hash": self.hash,
            "ablations": list(self.ablations),
            "claims": [asdict(claim) for claim in self.claims],
            "ok": self.ok,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Certificate":
        """The inverse of `to_dict`. Raises FileError where the data are no certificate or contradict themselves."""
        names = {field.name for field in fields(Claim)}
        try:
            if any(set(claim) != names for claim in data["claims"]):
                raise ValueError(f"claims have the fields {', '.join(sorted(names))}")
            claims = tuple(Claim(**claim) for claim in data["claims"])
            found = Certificate(str(data["case"]), str(data["hash"]), tuple(data["ablations"]), claims)
            if data["ok"] is not found.ok:
                raise ValueError(f"'ok' is {data['ok']!r}, but the claims say {found.ok}")
        except (KeyError, TypeError, ValueError) as e:
            raise FileError(f"these data are no certificate: {e}") from e
        return found

    def write(self, path: str | Path) -> None:
        """Write the certificate as JSON; the file appears whole or not at all."""
        write_text(path, json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def evidence_of(case: "Case") -> Evidence:
    """What the checker is given of a case, the labels aside."""
    model, pairs = case.model, case.pairs
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


def certify(case: "Case", ablations: Sequence[str] = ABLATIONS, n_samples: int = 10_000) -> Certificate:
    """Check every claim about a case anew.

    Args:
        ablations: whose label files are checked.
        n_samples: inputs on which the model is compared with the interpreter, where the domain is too large for all.
    """
    model, evidence = case.model, evidence_of(case)
    claims = list(check_model(evidence, model.dtype, n_samples))
    places = {name: cast(VariablePlace, subspace.to_dict()) for name, subspace in model.subspaces.items()}
    reads = {edge: [list(read) for read in found] for edge, found in model.edge_reads.items()}
    claims.append(check_variables(evidence, places, reads, soft=model.sharpness is not None))
    for ablation in ablations:
        claims += check_labels(evidence, cast(Labels, case.truth(ablation).to_dict()))
    return Certificate(case.id, case.hash, tuple(ablations), tuple(claims))
