"""Pure functions from arrays to numbers: recovery, faithfulness, agreement, tests, stability, with their intervals."""

if __name__ == "metrics":
    raise ImportError("'metrics/' is the package gaugeblock.metrics: import gaugeblock.metrics")

from gaugeblock.metrics.agreement import (
    absolute_error,
    accuracy,
    kl_divergence,
    pair_accuracy,
    pair_total_variation,
    squared_error,
    total_variation,
)
from gaugeblock.metrics.bootstrap import Interval, mean_interval, paired_interval
from gaugeblock.metrics.causal import Completeness, Minimality, completeness, minimality
from gaugeblock.metrics.circuits import (
    CircuitMatch,
    circuit_match,
    normalised_hamming_distance,
    structural_hamming_distance,
)
from gaugeblock.metrics.faithfulness import FaithfulnessCurve, cmd, cpr, faithfulness_curve, log_cmd, log_cpr, regret
from gaugeblock.metrics.hypothesis_tests import (
    EquivalenceTest,
    IndependenceTest,
    MinimalityTest,
    equivalence_test,
    hsic,
    independence_test,
    minimality_test,
)
from gaugeblock.metrics.paths import random_paths
from gaugeblock.metrics.ranking import round_to_noise
from gaugeblock.metrics.recovery import (
    auprc,
    auprc_chance,
    auroc,
    auroc_bounds,
    best_f1,
    matched_auroc,
    precision_at_size,
    skill,
    stratum,
)
from gaugeblock.metrics.stability import BootstrapScores, bootstrap_scores, jaccard, top_k_shares
from gaugeblock.metrics.validity import Validity, rank_validity, spearman

__all__ = [
    "BootstrapScores",
    "CircuitMatch",
    "Completeness",
    "EquivalenceTest",
    "FaithfulnessCurve",
    "IndependenceTest",
    "Interval",
    "Minimality",
    "MinimalityTest",
    "Validity",
    "absolute_error",
    "accuracy",
    "auprc",
    "auprc_chance",
    "auroc",
    "auroc_bounds",
    "best_f1",
    "bootstrap_scores",
    "circuit_match",
    "cmd",
    "completeness",
    "cpr",
    "equivalence_test",
    "faithfulness_curve",
    "hsic",
    "independence_test",
    "jaccard",
    "kl_divergence",
    "log_cmd",
    "log_cpr",
    "matched_auroc",
    "mean_interval",
    "minimality",
    "minimality_test",
    "normalised_hamming_distance",
    "pair_accuracy",
    "pair_total_variation",
    "paired_interval",
    "precision_at_size",
    "random_paths",
    "rank_validity",
    "regret",
    "round_to_noise",
    "skill",
    "spearman",
    "squared_error",
    "stratum",
    "structural_hamming_distance",
    "top_k_shares",
    "total_variation",
]
