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

__all__ = sorted(name for name, value in vars().items() if str(getattr(value, "__module__", "")).startswith(__name__))
