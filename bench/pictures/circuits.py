"""The picture of a circuit: nodes by sublayer, edges with what they carry, and which of them a method finds."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from gaugeblock.cases.case import Case
from gaugeblock.compiled.model import CompiledModel
from gaugeblock.evaluation.ranking import NOISE, TopEdges, noise_floor, top_edges
from gaugeblock.pictures.circuit_drawing import drawing
from gaugeblock.pictures.svg import COLOURS, MARGIN, SANS, Picture, text_width
from gaugeblock.results.records import Result


def circuit(
    of: Case | CompiledModel,
    scores: Mapping[str, float] | Result | None = None,
    *,
    ablation: str = "resample",
    signed: bool = False,
    noise: float | None = None,
    ignored: bool = False,
) -> Picture:
    """Draw the circuit of a case, or of a model, as a layered graph; edges are labelled with the variables they carry.

    Of a case the true edges under `ablation` are drawn; of a model, all along which its program passes a variable.

    Args:
        scores: a method's score for each edge, or its result on the case: what it puts on top, as many edges as are
            true, is drawn as hits, misses and false alarms.
        signed: whether the score ranks edges, and not its size (a result knows).
        noise: scores closer than this tie; 1e-6 of the largest where not given.
        ignored: draw the edges that are not scored, too.
    """
    model = of.model if isinstance(of, Case) else of
    name = of.id if isinstance(of, Case) else of.program.name
    positives, negatives, unscored = _classes(of, ablation, all_of_them=scores is not None or ignored)
    outcome = None
    if isinstance(scores, Result):
        outcome = top_edges(scores.edge_scores, positives, negatives, signed=scores.signed, noise=scores.noise)
    elif scores is not None:
        floor = noise_floor(scores.values(), NOISE["float32"]) if noise is None else noise
        outcome = top_edges(scores, positives, negatives, signed=signed, noise=floor)
    kinds = dict.fromkeys(unscored, "ignored") if ignored else {}
    kinds |= dict.fromkeys(positives, "true")
    if outcome is not None:
        kinds |= dict.fromkeys(outcome.hits, "true hit") | dict.fromkeys(outcome.misses, "true miss")
        kinds |= dict.fromkeys(outcome.false_alarms, "alarm")
    variables = {edge: [v for _, _, v in reads] for edge, reads in model.edge_reads.items()}
    operations: dict[str, list[str]] = {}
    for operation, site in model.provenance.sites.items():
        operations.setdefault(site, []).append(operation)
    title = f"Circuit of {name}: {len(positives)} edges"
    return _framed(title, kinds, model.graph.writers, variables, operations, outcome)


def _classes(of: Case | CompiledModel, ablation: str, *, all_of_them: bool) -> tuple[list[str], list[str], list[str]]:
    """Positives, negatives and unscored edges, in the order of the graph; positives only where these will do."""
    if isinstance(of, Case):
        truth = of.truth(ablation)
        positives, negatives, edges = truth.positives, truth.negatives, of.model.graph.edges
    else:
        positives, edges = of.program_edges, of.graph.edges
        negatives = frozenset(edges) - of.live_edges - positives if all_of_them else frozenset()
    if not all_of_them:
        return [e for e in edges if e in positives], [], []
    return (
        [e for e in edges if e in positives],
        [e for e in edges if e in negatives],
        [e for e in edges if e not in positives and e not in negatives],
    )


def _framed(
    title: str,
    kinds: Mapping[str, str],
    writers: Sequence[str],
    variables: Mapping[str, Sequence[str]],
    operations: Mapping[str, Sequence[str]],
    outcome: TopEdges | None,
) -> Picture:
    """The drawing under a heading and a legend, with a style of its own."""
    picture, parts = drawing(kinds, writers, variables, operations)
    legend, legend_width = _legend(kinds, outcome)
    top = 62 if outcome and outcome.places else 44
    width = max(picture.width, legend_width, text_width(title, 14, bold=True) + 2 * MARGIN)
    height = picture.height + top
    shift = (width - picture.width) / 2
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gb-picture circuit" viewBox="0 0 {width:.1f} {height:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f'<rect class="paper" width="{width:.1f}" height="{height:.1f}" rx="8"/>'
        f'<text class="heading" x="{MARGIN / 2:g}" y="24">{escape(title)}</text>{legend}'
        f'<g transform="translate({shift:.1f} {top})">{"".join(parts)}</g></svg>'
    )
    return Picture(svg, width, height, title)


def _legend(kinds: Mapping[str, str], outcome: TopEdges | None) -> tuple[str, float]:
    """The legend: samples of the lines that are drawn, with their number; and its width."""
    names = {"true hit": "✓ found", "true miss": "○ missed", "alarm": "false alarm", "ignored": "ignored, not scored"}
    counts = {kind: sum(k == kind for k in kinds.values()) for kind in names}
    x, parts = MARGIN / 2, []
    for kind, count in counts.items():
        if not count and not (outcome and kind != "ignored"):
            continue
        text = f"{count} {names[kind]}"
        parts.append(f'<path class="edge {kind}" d="M{x:.1f} 42H{x + 36:.1f}"/>')
        parts.append(f'<text class="row" x="{x + 43:.1f}" y="46">{text}</text>')
        x += 43 + text_width(text, 12.5) + 18
    if outcome and outcome.places:
        left = "place" if outcome.places == 1 else f"{outcome.places} places"
        tie = f"{outcome.tied} edges tie for the last {left}; none of them counts as found"
        parts.append(f'<text class="row" x="{MARGIN / 2:g}" y="66">{tie}</text>')
        x = max(x, text_width(tie, 12.5) + MARGIN)
    return "".join(parts), x


def _style() -> str:
    def rules(version: int) -> str:
        colour = {role: colours[version] for role, colours in COLOURS.items()}
        filled = {
            ".paper,.carried rect": "paper",
            "text": "ink",
            "text.row,text.port,.quiet text,.node:not(.in-circuit) text": "soft",
            ".node rect": "tint",
        }
        drawn = {
            ".edge.true": "soft",
            ".edge.hit": "accent",
            ".edge.miss": "miss",
            ".edge.alarm": "alarm",
            ".edge.ignored,.node rect": "ignored",
            ".node.in-circuit rect": "soft",
        }
        return "".join(
            ",".join(f".gb-picture.circuit {part}" for part in selector.split(",")) + f"{{{what}:{colour[role]}}}"
            for what, table in (("fill", filled), ("stroke", drawn))
            for selector, role in table.items()
        )

    shapes = (
        f"text{{font-family:{SANS};font-size:13px}}|.heading{{font-size:14px;font-weight:600}}|"
        ".node text,.carried text{text-anchor:middle}|.carried text{font-size:11px}|text.port{font-size:9.5px}|"
        "text.row{font-size:12.5px}|text.remark{font-size:11px}|.edge{fill:none;stroke-width:1.6px}|"
        ".edge.hit{stroke-width:2.6px}|.edge.miss{stroke-width:2.2px;stroke-dasharray:9 5}|"
        ".edge.alarm{stroke-width:2px;stroke-dasharray:1.5 4.5;stroke-linecap:round}|"
        ".edge.ignored{stroke-width:1px;stroke-dasharray:2 3}|.node rect{stroke-dasharray:3 3}|"
        ".node.in-circuit rect{stroke-dasharray:none}|.edge:hover{stroke-width:5px}"
    )
    scoped = "".join(
        ",".join(f".gb-picture.circuit {part}" for part in rule.partition("{")[0].split(","))
        + "{"
        + rule.partition("{")[2]
        for rule in shapes.split("|")
    )
    return f"{scoped}{rules(0)}@media (prefers-color-scheme:dark){{{rules(1)}}}"


_STYLE: Final = _style()
