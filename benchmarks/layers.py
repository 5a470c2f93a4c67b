"""Layers and heads per layer: ours, those of the RASP paper, and the fewest layers that the data flow allows.

python benchmarks/layers.py     # the table of docs/programs/compiler.md, in Markdown
"""

from gaugeblock.compiled.explain import explain
from gaugeblock.programs import get

PAPER = {
    "reverse": (2, 1),
    "hist": (1, 1),
    "double_hist": (2, 2),
    "sort": (2, 1),
    "most_frequent": (3, 2),
    "dyck1": (2, 1),
    "dyck2": (3, 1),
    "frac_prevs": (1, 1),
}
"""Weiss, Goldberg and Yahav, "Thinking Like Transformers" (2021): layers, and heads in the widest one."""


def main() -> None:
    print(
        "| program | ours: layers, heads in each | paper: layers, heads | lower bound: layers | parameters |\n"
        + "|---" * 5
        + "|"
    )
    for name, (layers, heads) in PAPER.items():
        explained = explain(get(name))
        ours = f"{explained.sizes.n_layers}, {' + '.join(map(str, explained.heads))}"
        print(f"| `{name}` | {ours} | {layers}, {heads} | {explained.bound.layers} | {explained.sizes.parameters:,} |")


if __name__ == "__main__":
    main()
