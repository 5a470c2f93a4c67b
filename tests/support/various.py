"""A few programs of every shape, for tests that are too long for the whole library."""

VARIOUS = (
    "frac_prevs", "hist", "double_hist", "length", "has_prev", "prev_token", "induction", "detect_pattern_ab", "sort",
    "reverse", "most_frequent", "dyck1", "dyck2", "shuffle_dyck2", "add", "pair_balance", "reachable_in_k",
    "in_neighbour_mean", "swap_min_max", "median", "follow_pointers", "matching_bracket",
)  # fmt: skip
