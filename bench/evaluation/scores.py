"""The scores of a result: one row says what a score is called and means, how it is compared, and who shows it.

What compares edge scores with the truth is a matter of ranks: the same on every machine, and asked for to 1e-9
(`RANKS`). What runs circuits goes through float32 sums, whose order differs between processors: `BEHAVIOUR`. On 14
results of `quick` and `core`, kernels without vector instructions moved these by at most 9e-7, and float64 by 5e-6; but
float64 moved completeness and the independence statistic far in one whose attention is tied in all but the last digits.
Faithfulness per pair divides by what ablation does to that one pair, which may be little: it moved by up to 0.7 %
(`PAIRS`). p-values count permutations, and may differ by the few that are tied (`P_VALUES`).
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Final, Literal, NamedTuple, final

from gaugeblock.programs.errors import InputError

METRICS_VERSION = 1
"""Goes up whenever a score means something else or comes out differently; results of two versions never meet."""

ScoreTable = Literal["edges", "nodes", "method", "case", "card", "reference"]
"""Tables that show some of the scores: the rankings by edges and by nodes, the pages of a method and of a case, the
README of a submission, and the reference leaderboard of the documentation."""


class Tolerance(NamedTuple):
    """Two numbers agree if they differ by at most `absolute` + `relative` × the larger one."""

    absolute: float
    relative: float

    def agree(self, a: float | None, b: float | None) -> bool:
        """Return whether both numbers are undefined, or both are there and near enough."""
        if a is None or b is None:
            return a is b
        return abs(a - b) <= self.absolute + self.relative * max(abs(a), abs(b))


RANKS = Tolerance(1e-9, 1e-9)
BEHAVIOUR = Tolerance(1e-4, 1e-4)
PAIRS = Tolerance(1e-3, 0.02)
P_VALUES = Tolerance(0.02, 0.0)


@final
@dataclass(frozen=True)
class Score:
    """One row of `SCORES`.

    Attributes:
        name: its key in `Result.scores`.
        label, about: how tables head it and explain it.
        better: which values speak for a method; None where the score says something about the case.
        needs_truth: whether it compares with the true circuit, which only a compiled model has.
        tolerance: how far it may be off on another machine; None where nobody computes it anew.
        tables: the tables that show it; the files have all scores.
    """

    name: str
    label: str
    about: str
    better: Literal["higher", "lower"] | None = "higher"
    needs_truth: bool = True
    tolerance: Tolerance | None = RANKS
    tables: tuple[ScoreTable, ...] = ()


_measured = partial(Score, needs_truth=False, tolerance=BEHAVIOUR)
"""A score of what circuits do, which can be had on any model."""

_HEADLINE: Final = ("edges", "method", "case", "card", "reference")

# fmt: off
_ROWS = (
    Score("skill", "Skill",
        "2 × matched AUROC − 1: every true edge against false ones in the same place; chance 0, best 1",
        tables=("case", "card")),
    Score("comparators", "Comparators", "share of true edges that have a false edge in the same place", better=None),
    Score("matched_auroc", "Matched AUROC", "AUROC within strata of equal place; chance 0.5, best 1"),
    Score("auroc", "AUROC", "P(true edge above false edge), ties half; chance 0.5, best 1", tables=("case",)),
    Score("auroc_low", "AUROC, low", "AUROC with every tie against the method", tables=("case",)),
    Score("auroc_high", "AUROC, high", "AUROC with every tie for the method", tables=("case",)),
    Score("auprc", "AUPRC", "average precision; best 1", tables=_HEADLINE),
    Score("auprc_chance", "AUPRC by chance", "exact expectation of average precision under a random order",
        better=None),
    Score("precision_at_size", "Precision", "share of true edges among the top k, k the true number; best 1",
        tables=_HEADLINE),
    Score("best_f1", "Best F1", "of any threshold on the scores; best 1"),
    Score("node_skill", "Node skill", "skill over nodes, an edge method's scores pooled; chance 0, best 1",
        tables=("method", "case", "card", "reference")),
    Score("node_auprc", "Node AUPRC", "average precision over nodes; best 1", tables=("nodes",)),
    Score("port_skill", "q/k/v skill", "skill over the q, k and v of heads; chance 0, best 1",
        tables=("case", "reference")),
    Score("port_auprc", "q/k/v AUPRC", "average precision over the q, k and v of heads; best 1"),
    _measured("cpr", "CPR", "area under the faithfulness curve", tables=_HEADLINE),
    _measured("cmd", "CMD", "area between the faithfulness curve and 1; lower is better", better="lower",
        tables=_HEADLINE),
    _measured("log_cpr", "CPR, log k", "CPR with the number of edges on a logarithmic axis"),
    _measured("log_cmd", "CMD, log k", "CMD with the number of edges on a logarithmic axis; lower is better",
        better="lower", tables=("case",)),
    Score("regret", "Regret", "faithfulness of the true circuit − of the method's of equal size; best 0",
        better="lower", tolerance=BEHAVIOUR, tables=("case",)),
    Score("faithfulness_at_true_size", "Faithfulness", "of the method's circuit at the true number of edges",
        tolerance=BEHAVIOUR, tables=("case",)),
    Score("pair_faithfulness_at_true_size", "Faithfulness, per pair", "the same, as the mean of ratios over pairs",
        tolerance=PAIRS),
    _measured("circuit_size", "Circuit size", "edges of the chosen circuit, the smallest with faithfulness 0.9",
        better="lower", tolerance=RANKS, tables=("case",)),
    Score("circuit_precision", "Circuit precision", "share of the chosen circuit's edges that are true; best 1"),
    Score("circuit_recall", "Circuit recall", "share of true edges that are in the chosen circuit; best 1"),
    Score("circuit_f1", "Circuit F1", "of the chosen circuit; best 1", tables=("case", "reference")),
    Score("circuit_shd", "Hamming distance", "edges in either the chosen or the true circuit, not both; best 0",
        better="lower"),
    _measured("accuracy", "Accuracy", "share of graded positions with the model's answer, chosen circuit; best 1",
        tables=("case",)),
    _measured("kl", "KL", "KL divergence of the chosen circuit from the model, nats per position; best 0",
        better="lower", tables=("case",)),
    _measured("total_variation", "Total variation", "of the chosen circuit's outputs from the model's; best 0",
        better="lower"),
    _measured("squared_error", "Squared error", "of the chosen circuit's numbers; best 0", better="lower"),
    _measured("completeness", "Completeness",
        "largest |F(C∖K) − F(M∖K)| over sets K of the chosen circuit C, per |F(M) − F(∅)|; best 0", better="lower",
        tables=("case",)),
    _measured("minimality", "Minimality",
        "of the least needed edge of the chosen circuit: the most it changes, per |F(M) − F(∅)|", tables=("case",)),
    _measured("stability", "Stability",
        "mean Jaccard index of the top 5 % of edges on resamples of the pairs, if asked for; best 1", tolerance=None),
    _measured("equivalence_p", "Equivalence p", "p-value of: chosen circuit and model are equivalent",
        tolerance=P_VALUES),
    _measured("independence_p", "Independence p", "p-value of: what is left without the circuit is independent",
        tolerance=P_VALUES),
    _measured("independence_hsic", "Independence HSIC", "dependence of what is left on the model; best 0",
        better="lower"),
    _measured("minimality_p", "Minimality p", "p-value of: each edge of the circuit matters more than random ones",
        tolerance=P_VALUES),
)
# fmt: on

SCORES: dict[str, Score] = {score.name: score for score in _ROWS}
"""Every score, in the order of files and tables."""


@cache
def scores_of(table: ScoreTable) -> tuple[Score, ...]:
    """Return the scores that a table shows, in order.

    >>> [score.label for score in scores_of("edges")]
    ['AUPRC', 'Precision', 'CPR', 'CMD']
    """
    return tuple(score for score in _ROWS if table in score.tables)


def check_resamples(resamples: int) -> None:
    """Raise InputError for a number of resamples from which no stability follows.

    >>> check_resamples(2)
    """
    if resamples == 1 or resamples < 0:
        raise InputError(f"{resamples} resamples cannot be compared; give 0, or at least 2")
