"""Submissions: a method's results on a suite as one folder, with a manifest, that anyone can check.

`submit` runs and packs, `verify` checks without trusting a number, `push` sends the folder to the Hugging Face hub;
`gaugeblock.submissions.exchange` carries scores of edges over from other tools and back.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from gaugeblock.submissions.hub import push
    from gaugeblock.submissions.manifest import Disclosure, Manifest
    from gaugeblock.submissions.packing import pack, submit
    from gaugeblock.submissions.reading import Submission, read_submission
    from gaugeblock.submissions.verification import Check, Verification, read_verification
    from gaugeblock.submissions.verifying import verify

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "hub": ["push"],
        "manifest": ["Disclosure", "Manifest"],
        "packing": ["pack", "submit"],
        "reading": ["Submission", "read_submission"],
        "verification": ["Check", "Verification", "read_verification"],
        "verifying": ["verify"],
    },
)
