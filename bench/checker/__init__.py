"""The independent auditor of a case: claim by claim, from weights, tokens, the label file and the program alone.

It shares no code with what makes the labels. It sees nothing of how the model was compiled: what the weights do is
measured by `weights` and `evidence`, what they should do is computed by the lowered
program, run on values. The label file calls an edge positive if it is a program edge (it carries reads) and exercised,
negative if it is not live, else ignored.
"""

from gaugeblock.checker.claims import Claim
from gaugeblock.checker.labels import check_labels
from gaugeblock.checker.models import check_model

__all__ = ["Claim", "check_labels", "check_model"]
