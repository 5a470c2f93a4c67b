"""One honest submission, which tests copy and tamper with."""

import shutil
from functools import partialmethod
from pathlib import Path

import pytest

from gaugeblock.cases.case import Case
from gaugeblock.running import pictures
from gaugeblock.submissions import submit, verify
from support.submissions import CASES, CODE


@pytest.fixture(scope="session")
def honest(tmp_path_factory) -> Path:
    """A submission that verifies: one result. Nobody changes it: see `folder`."""
    home = tmp_path_factory.mktemp("home")
    (home / "mine.py").write_text(CODE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Case, "certify", partialmethod(Case.certify, n_samples=50))
        patch.setattr(pictures, "write_pictures", lambda case, out: [])
        out = submit(f"{home / 'mine.py'}:lucky", CASES[1], home / "out", workers=1)
    assert verify(out, rerun_own=True).ok
    return out


@pytest.fixture
def folder(honest, tmp_path) -> Path:
    """A copy of the submission, to be tampered with."""
    return shutil.copytree(honest, tmp_path / "copy")
