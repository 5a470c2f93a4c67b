"""The suite `stress`: for each way in which methods fail, cases that show it, each with what was measured of it.

All are under `resample` unless the family says otherwise. Superposition has no family: no variant stores more variables
than there are directions for them.
"""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Family:
    """Cases that show one way in which methods fail.

    Attributes:
        shows: the property that all cases of the family have; tests measure it.
        cases: case id -> why it is there.
    """

    shows: str
    cases: dict[str, str]


STRESS: dict[str, Family] = {
    "saturation": Family(
        "at least half of the true edges have a gradient (EAP) below 1e-4",
        {
            "bracket_depth/permute+pad+rotate#1": "a staircase hides the only head",
            "unique_count/permute+pad+rotate#1": "two staircases in a row",
            "sort/permute+pad+rotate#1": "one-hot attention by rank behind two counts",
            "double_hist/permute+pad+camouflage+rotate#1": "a count of counts, among parts that look live",
        },
    ),
    "cancellation": Family(
        "a node with true edges changes nothing when it is ablated as a whole",
        {
            "self_check/permute+pad+rotate#1": "a head is compared with a copy of itself",
            "self_check/permute+pad+camouflage+rotate#1": "the same among parts that look live",
        },
    ),
    "or": Family(
        "of two true edges either is enough: on 5 % of pairs or more both together matter and neither alone, where the "
        "output is true or no edge alone ever matters",
        {
            "two_of_three/permute+pad+rotate#1": "three heads vote: none matters alone, on any input",
            "two_of_three/permute+pad+camouflage+rotate#1": "the same among parts that look live",
            "reachable_in_k/permute+pad+rotate#1": "a node may be reached in several ways",
        },
    ),
    "and": Family(
        "both of two true edges are needed: on 5 % of pairs or more both together matter and neither alone, where the "
        "output is false",
        {
            "alternating/permute+pad+rotate#1": "all neighbours have to differ",
            "is_increasing/permute+pad+rotate#1": "all neighbours have to be in order",
        },
    ),
    "suppressors": Family(
        "ablating some true edge raises the metric, by 5 % or more of the largest effect",
        {
            "median/permute+pad+rotate#1": "what one of the two middle values gains, the count for the other loses",
        },
    ),
    "decoys": Family(
        "of the edges that change most what they are read by, as many as there are true ones, at least half are false",
        {
            "last_seen/permute+pad+decoy+rotate#1": "beside two true edges another whole program",
            "greater_than/permute+pad+decoy+rotate#1": "the circuit of greater-than, and another",
            "anbn/permute+pad+decoy+rotate#1": "counts, and another program's",
        },
    ),
    "off-distribution": Family(
        "under `zero`, at least 60 % of the true edges are not true under `resample`; run it with `--ablation zero`",
        {
            "tomita4/permute+pad+rotate#1": "masks and sinks, which no token changes",
            "run_length/permute+pad+rotate#1": "a count whose sink zero takes away",
            "dyck1/permute+pad+rotate#1": "balance by a count that is read off the sink",
        },
    ),
    "long-chains": Family(
        "a path of true edges passes eight nodes or more",
        {
            "follow_pointers(rounds=8)/permute+pad+rotate#1": "eight hops by doubling",
            "transitive/permute+pad+rotate#1": "reasoning in three hops",
            "shell_game/permute+pad+rotate#1": "composition of permutations",
        },
    ),
    "rare-edges": Family(
        "some true edge matters on 1 in 16 pairs or fewer",
        {
            "most_frequent_bos/permute+pad+rotate": "what breaks a tie between ties",
            "kth_largest/permute+pad+rotate#1": "ties at the rank that is asked for",
            "sort_by_frequency/permute+pad+rotate#1": "order among words that are equally frequent",
            "palindrome/permute+pad+rotate#1": "only the middle is left to be compared",
        },
    ),
}
