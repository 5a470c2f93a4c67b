"""The gallery: `python docs/scripts/make_gallery.py` draws every kind of picture and writes docs/gallery/README.md."""

import contextlib
import io
import shlex
from pathlib import Path

from gaugeblock.cases.case import case
from gaugeblock.cli import app
from gaugeblock.evaluation.evaluate import evaluate
from gaugeblock.pictures.circuits import circuit

FOLDER = Path(__file__).parents[1] / "gallery"
PAGE = FOLDER / "README.md"

HEAD = """# Gallery

Every kind of picture of a program, of the model it compiles to, or of a case. Each is an SVG file that follows the
reader's light or dark background; parts of it say more when they are pointed at. In a notebook,
`gaugeblock.pictures.draw(kind, program, xs)` shows itself. The command below a picture made it; all of them are made by
`python docs/scripts/make_gallery.py`.
"""

PICTURES = {
    "Selectors": (
        "Keys above, queries left; a filled cell is a key that the query selects. Values below, results right.",
        'gaugeblock show sort --picture selectors -i "3 1 2 1" -o sort-selectors.svg',
    ),
    "Flow": (
        "A program on one input from top to bottom, as RASP's `draw` shows it. Every head has its keys and values "
        "above, its queries and results below, and a line from each key to each query that selects it; what is "
        "computed position by position stands between the layers.",
        'gaugeblock show sort --picture flow -i "3 1 2 1" -o sort-flow.svg',
        'gaugeblock show dyck2 --picture flow -i "({a})" -o dyck2-flow.svg',
    ),
    "Attention": (
        "For each head the selector of the program, the attention pattern of the compiled model, and attention minus "
        "selector. BOS is the start token, to which a head attends that selects nothing. A head that sums attends to "
        "it so much that the rest could not be seen: its pattern is shown without it.",
        'gaugeblock show sort --picture attention -i "3 1 2 1" -o sort-attention.svg',
    ),
    "Circuit": (
        "The true edges of a model, each labelled with the variables it carries: information flows from bottom to top. "
        "Of a case, whose model has heads and neurons that compute nothing anybody needs, these are the edges that "
        "matter on its data.",
        "gaugeblock show sort --picture circuit -o sort-circuit.svg",
        "gaugeblock show hist/permute+pad#1 --picture circuit -o hist-permute-pad-circuit.svg",
    ),
    "Residual stream": (
        "Each variable, the dimensions that hold it, and a bar from the sublayer that writes it (●) to the last that "
        "reads it (○). Below, how many dimensions hold something that is still to be read.",
        "gaugeblock show dyck2 --picture stream -o dyck2-stream.svg",
    ),
    "Weights": (
        "All matrices, the residual stream downwards with its dimensions named; a positive weight is a square, a "
        "negative one a bar. `--which` shows one part, here the first MLP of `sort`: a pair of hidden units for each "
        "threshold between two ranks.",
        "gaugeblock show hist --picture weights -o hist-weights.svg",
        "gaugeblock show sort --picture weights --which m0 -o sort-weights-m0.svg",
    ),
}
"""Title: what the pictures show, and the commands that draw them."""

HITS = """## What a method found

The circuit of a case, with the top edges of `eap` as hits (thick, ✓), misses (dashed, ○) and false alarms (dotted).

```python
import gaugeblock as gb
from gaugeblock.pictures.circuits import circuit

of = gb.case("sort/permute+pad#1")
circuit(of, gb.evaluate("eap", of)).save("sort-eap.svg")
```

![The circuit of sort/permute+pad#1 with what eap found of it](sort-eap.svg)
"""


def main() -> None:
    parts = [HEAD]
    for title, (about, *commands) in PICTURES.items():
        parts.append(f"## {title}\n\n{about}\n")
        parts += [_drawn(command) for command in commands]
    of = case("sort/permute+pad#1")
    circuit(of, evaluate("eap", of)).save(FOLDER / "sort-eap.svg")
    PAGE.write_text("\n".join([*parts, HITS]), encoding="utf-8")
    print(PAGE)


def _drawn(command: str) -> str:
    """Carry out a command, in the gallery's folder; its entry in the page."""
    _, *arguments, name = shlex.split(command)
    with contextlib.redirect_stdout(io.StringIO()):
        app([*arguments, str(FOLDER / name)], standalone_mode=False)
    alt = name.removesuffix(".svg").replace("-", " ")
    return f"```sh\n{command}\n```\n\n![{alt}]({name})\n"


if __name__ == "__main__":
    main()
