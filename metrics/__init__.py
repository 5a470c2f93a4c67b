"""Pure functions from scores and labels to numbers: recovery and faithfulness, with their intervals."""

if __name__ == "metrics":
    raise ImportError("'metrics/' is the package gaugeblock.metrics: import gaugeblock.metrics")

from gaugeblock.metrics.bootstrap import Interval, mean_interval, paired_interval
from gaugeblock.metrics.faithfulness import FaithfulnessCurve, cmd, cpr, faithfulness_curve, regret
from gaugeblock.metrics.ranking import round_to_noise
from gaugeblock.metrics.recovery import (
    auprc,
    auprc_chance,
    auroc,
    auroc_bounds,
    matched_auroc,
    precision_at_size,
    skill,
    stratum,
)

__all__ = [
    "FaithfulnessCurve",
    "Interval",
    "auprc",
    "auprc_chance",
    "auroc",
    "auroc_bounds",
    "cmd",
    "cpr",
    "faithfulness_curve",
    "matched_auroc",
    "mean_interval",
    "paired_interval",
    "precision_at_size",
    "regret",
    "round_to_noise",
    "skill",
    "stratum",
]
