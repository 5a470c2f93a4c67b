"""Certificates: what the checker found out about a case, claim by claim."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, final

import torch

from gaugeblock.checker import Claim, check_labels, check_model
from gaugeblock.checker.evidence import Evidence, Labels
from gaugeblock.checker.variables import VariablePlace, check_variables
from gaugeblock.compiled.writing import write_text
from gaugeblock.programs.errors import FileError


@final
@dataclass(frozen=True)
class Certificate:
    """Claims about one case, with what each rests on.

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
        """Return plain data for JSON, `ok` included."""
        return {
            "case": self.case,
            "hash": self.hash,
            "ablations": list(self.ablations),
            "claims": [asdict(claim) for claim in self.claims],
            "ok": self.ok,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Certificate":
        """Return the certificate that `to_dict` was called on.

        Raises FileError where the data are no certificate or contradict themselves.
        """
        names = {field.name for field in fields(Claim)}
        try:
            if any(set(claim) != names for claim in data["claims"]):
                raise ValueError(f"claims have the fields {', '.join(sorted(names))}")
            claims = tuple(Claim(**claim) for claim in data["claims"])
            certificate = Certificate(str(data["case"]), str(data["hash"]), tuple(data["ablations"]), claims)
            if data["ok"] is not certificate.ok:
                raise ValueError(f"'ok' is {data['ok']!r}, but the claims say {certificate.ok}")
        except (KeyError, TypeError, ValueError) as e:
            raise FileError(f"these data are no certificate: {e}") from e
        return certificate

    def write(self, path: str | Path) -> None:
        """Write the certificate as JSON; the file appears whole or not at all."""
        write_text(path, json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def certify(
    case: str,
    case_hash: str,
    evidence: Evidence,
    dtype: torch.dtype,
    labels: Mapping[str, Labels],
    places: Mapping[str, VariablePlace],
    reads: Mapping[str, list[list[str]]],
    n_samples: int = 10_000,
) -> Certificate:
    """Check every claim about a case anew. The checker sees what is given here and nothing else.

    Args:
        dtype: the precision the model ships with.
        labels: ablation -> its label file.
        places: variable -> where it is said to be.
        reads: program edge -> the reads it is said to carry.
        n_samples: inputs on which the model is compared with the interpreter, where the domain is too large for all.
    """
    claims = list(check_model(evidence, dtype, n_samples))
    claims.append(check_variables(evidence, places, reads, soft=evidence.sharpness is not None))
    for of_ablation in labels.values():
        claims += check_labels(evidence, of_ablation)
    return Certificate(case, case_hash, tuple(labels), tuple(claims))
