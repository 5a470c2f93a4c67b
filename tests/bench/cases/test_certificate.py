"""The certificate as a file."""

import json
from pathlib import Path

import pytest

from gaugeblock.cases.certificate import Certificate, certify
from gaugeblock.methods.engine.ablation import ABLATIONS
from gaugeblock.programs.errors import FileError
from support.audits import sample


def test_a_certificate_survives_json(tmp_path: Path) -> None:
    small = sample("frac_prevs")
    places = {name: subspace.to_dict() for name, subspace in small.model.subspaces.items()}
    reads = {edge: [list(read) for read in carried] for edge, carried in small.model.edge_reads.items()}
    dtype = small.model.dtype
    certificate = certify("frac_prevs", "abc", small.evidence, dtype, small.labels, places, reads, n_samples=100)
    assert certificate.ok
    assert {claim.ablation for claim in certificate.claims} == {None, *ABLATIONS}
    certificate.write(tmp_path / "certificate.json")
    assert Certificate.from_dict(json.loads((tmp_path / "certificate.json").read_text())) == certificate
    for damage in ({"ok": False}, {"claims": [{"claim": "x"}]}, {"claims": None}):
        with pytest.raises(FileError, match="no certificate"):
            Certificate.from_dict({**certificate.to_dict(), **damage})
    with pytest.raises(FileError, match="no certificate"):
        Certificate.from_dict({"case": "x"})
