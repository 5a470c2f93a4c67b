"""A counting head of a compiled `sort`, replaced by a Python function: by the right one, then by a wrong one.

python examples/swap_sort.py
"""

import gaugeblock as gb
from gaugeblock.compiled import Mean, swap


def smaller(tokens):
    """How many tokens of the input are smaller, for each token: what head a0.h0 of `sort` counts."""
    return [sum(other < token for other in tokens) for token in tokens]


def up_to_five(tokens):
    """The same, but who counted stopped at five."""
    return [min(count, 5) for count in smaller(tokens)]


def main():
    case = gb.case("sort")
    tokens = case.pairs.clean
    baseline = swap(case.model, {"a0.h0": Mean(tokens)})
    comparisons = {}
    for function in (smaller, up_to_five):
        swapped = swap(case.model, {"a0.h0": function})
        comparisons[function.__name__] = gb.compare(case.model, swapped, tokens, baseline=baseline)
        print(f"\n--- a0.h0 replaced by {function.__name__} ---")
        print(comparisons[function.__name__])
    return comparisons


if __name__ == "__main__":
    main()
