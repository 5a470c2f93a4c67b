"""The picture of the metric study."""

from collections.abc import Sequence

from gaugeblock.leaderboard.metric_study import SIGNS_ARE_TURNED, Finding
from gaugeblock.leaderboard.tables import interval_text, number
from gaugeblock.pictures.svg import Canvas, Picture, text_width


def plot(findings: Sequence[Finding], recovery: str) -> Picture:
    """Draw the correlation within cases of every metric, with its interval, on a line from −1 to 1."""
    overall = [f for f in findings if f.group == "all"]
    left = max(text_width(f.metric.label, 12) for f in overall) + 16
    width, row = 420.0, 24.0
    bottom = row * len(overall) + 8

    def at(value: float) -> float:
        return left + (value + 1) / 2 * width

    canvas = Canvas()
    canvas.text(0, -34, f"Spearman correlation with {recovery}, within cases", size=14, bold=True)
    for tick in (-1.0, -0.5, 0.0, 0.5, 1.0):
        canvas.line([(at(tick), 0), (at(tick), bottom)], thickness=2 if tick == 0 else 1)
        canvas.text(at(tick), -12, number(tick), anchor="middle", colour="soft", size=11)
    for i, finding in enumerate(overall):
        y = row * i + 16
        canvas.text(0, y, finding.metric.label)
        interval = None if finding.validity is None else finding.validity.within
        if interval is None:
            canvas.text(at(0.0), y, "undefined", anchor="middle", colour="soft", size=11)
            continue
        tip = f"{finding.metric.label}: {number(interval.estimate)}, {interval_text(interval)}"
        if interval.low is not None and interval.high is not None:
            canvas.line([(at(interval.low), y), (at(interval.high), y)], stroke="accent", thickness=3, tip=tip)
        canvas.circle(at(interval.estimate), y, 5, fill="accent", tip=tip)
    return canvas.picture(
        f"Validity of {len(overall)} metrics", f"Spearman correlation with {recovery} within cases. {SIGNS_ARE_TURNED}"
    )
