"""The scores of a result: what each is called and says."""

from typing import NamedTuple

METRICS_VERSION = 1
"""Goes up whenever a score means something else or comes out differently; results of two versions never meet."""


class ScoreInfo(NamedTuple):
    label: str
    about: str


SCORES: dict[str, ScoreInfo] = {
    "skill": ScoreInfo(
        "Skill",
        "2 × matched AUROC − 1: every true edge against false ones in the same place; chance 0, best 1",
    ),
    "comparators": ScoreInfo("Comparators", "share of true edges that have a false edge in the same place"),
    "matched_auroc": ScoreInfo("Matched AUROC", "AUROC within strata of equal place; chance 0.5, best 1"),
    "auroc": ScoreInfo("AUROC", "P(true edge above false edge), ties half; chance 0.5, best 1"),
    "auroc_low": ScoreInfo("AUROC, low", "AUROC with every tie against the method"),
    "auroc_high": ScoreInfo("AUROC, high", "AUROC with every tie for the method"),
    "auprc": ScoreInfo("AUPRC", "average precision; best 1"),
    "auprc_chance": ScoreInfo("AUPRC by chance", "exact expectation of average precision under a random order"),
    "precision_at_size": ScoreInfo("Precision", "share of true edges among the top k, k the true number; best 1"),
    "best_f1": ScoreInfo("Best F1", "of any threshold on the scores; best 1"),
    "node_skill": ScoreInfo("Node skill", "skill over nodes, an edge method's scores pooled; chance 0, best 1"),
    "node_auprc": ScoreInfo("Node AUPRC", "average precision over nodes; best 1"),
    "port_skill": ScoreInfo("q/k/v skill", "skill over the q, k and v of heads; chance 0, best 1"),
    "port_auprc": ScoreInfo("q/k/v AUPRC", "average precision over the q, k and v of heads; best 1"),
    "cpr": ScoreInfo("CPR", "area under the faithfulness curve"),
    "cmd": ScoreInfo("CMD", "area between the faithfulness curve and 1; lower is better"),
    "log_cpr": ScoreInfo("CPR, log k", "CPR with the number of edges on a logarithmic axis"),
    "log_cmd": ScoreInfo("CMD, log k", "CMD with the number of edges on a logarithmic axis; lower is better"),
    "regret": ScoreInfo("Regret", "faithfulness of the true circuit − of the found one of equal size; best 0"),
    "faithfulness_at_true_size": ScoreInfo("Faithfulness", "of the found circuit at the true number of edges"),
    "pair_faithfulness_at_true_size": ScoreInfo("Faithfulness, per pair", "the same, as the mean of ratios over pairs"),
    "circuit_size": ScoreInfo("Circuit size", "edges of the chosen circuit, the smallest with faithfulness 0.9"),
    "circuit_precision": ScoreInfo("Circuit precision", "share of the chosen circuit's edges that are true; best 1"),
    "circuit_recall": ScoreInfo("Circuit recall", "share of true edges that are in the chosen circuit; best 1"),
    "circuit_f1": ScoreInfo("Circuit F1", "of the chosen circuit; best 1"),
    "circuit_shd": ScoreInfo("Hamming distance", "edges in either the chosen or the true circuit, not both; best 0"),
    "accuracy": ScoreInfo("Accuracy", "share of graded positions with the model's answer, chosen circuit; best 1"),
    "kl": ScoreInfo("KL", "KL divergence of the chosen circuit from the model, nats per position; best 0"),
    "total_variation": ScoreInfo("Total variation", "of the chosen circuit's outputs from the model's; best 0"),
    "squared_error": ScoreInfo("Squared error", "of the chosen circuit's numbers; best 0"),
    "completeness": ScoreInfo(
        "Completeness", "largest |F(C∖K) − F(M∖K)| over sets K of the chosen circuit C, per |F(M) − F(∅)|; best 0"
    ),
    "minimality": ScoreInfo(
        "Minimality", "of the least needed edge of the chosen circuit: the most it changes, per |F(M) − F(∅)|"
    ),
    "stability": ScoreInfo(
        "Stability", "mean Jaccard index of the top 5 % of edges on resamples of the pairs, if asked for; best 1"
    ),
    "equivalence_p": ScoreInfo("Equivalence p", "p-value of: chosen circuit and model are equivalent"),
    "independence_p": ScoreInfo("Independence p", "p-value of: what is left without the circuit is independent"),
    "independence_hsic": ScoreInfo("Independence HSIC", "dependence of what is left on the model; best 0"),
    "minimality_p": ScoreInfo("Minimality p", "p-value of: each edge of the circuit matters more than random ones"),
}
