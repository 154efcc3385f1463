"""Interval strips: one line of SVG that shows a value, its interval and its bound, at any width of the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tasks.figures import number, source, traced, unit
from tasks.findings import Finding
from tasks.metrics import REGISTRY
from tasks.verdict import FAIL, PASS

COLOURS = {PASS: "#1a7f5a", FAIL: "#b3372f"}
OPEN, PLAIN, BOUND = "#9a6206", "#1c2733", "#b3372f"
EDGE = 3.0  # per cent of the width that is left free on either side


@dataclass(frozen=True)
class Scale:
    """What the two ends of a strip stand for."""

    low: float
    high: float

    def place(self, value: float) -> str:
        """`41.20%` of the width."""
        share = (value - self.low) / (self.high - self.low)
        return f"{EDGE + (100 - 2 * EDGE) * min(max(share, 0.0), 1.0):.2f}%"


def scale_for(metric: str, values: Sequence[float]) -> Scale:
    """The range of some values with a tenth free on either side, within what the metric can be at all."""
    about = REGISTRY[metric]
    room = 0.1 * (max(values) - min(values)) or 0.01
    return Scale(max(min(values) - room, about.lowest), min(max(values) + room, about.highest))


def strip(shown: Any, scale: Scale, bound: float | None, outcome: str | None = None) -> Markup:
    """The strip of a Finding or a Judgement with figures; where no outcome is given, the bound has no say."""
    colour = PLAIN if outcome is None else COLOURS.get(outcome, OPEN)
    low, value, high = (scale.place(x) for x in (shown.low, shown.value, shown.high))
    tick = (
        ""
        if bound is None
        else Markup('<line x1="{0}" x2="{0}" y1="1" y2="19" stroke="{1}"/>').format(scale.place(bound), BOUND)
    )
    return Markup(
        '<svg class="strip" role="img" height="20"{}><title>{}</title>'
        '<line class="axis" x1="0" x2="100%" y1="10" y2="10"/>'
        '<line x1="{}" x2="{}" y1="10" y2="10" stroke="{}" class="bar"/>'
        '<circle cx="{}" cy="10" r="4.5" fill="{}"/>{}</svg>'
    ).format(traced(shown), source(shown), low, high, colour, value, colour, tick)


def ends(metric: str, scale: Scale) -> tuple[str, str]:
    """What to write at the two ends."""
    low, high = (f"{number(end, metric)}{unit(metric)}" for end in (scale.low, scale.high))
    return low, high


def strip_rows(findings: Sequence[Finding], bounds: dict[str, float], said: str) -> dict[str, Any] | None:
    """A table of strips on one scale, a row a finding of one metric; `bounds` are lower ones by slice, `said` what a
    mark on the strip means. None where no finding is a number."""
    shown = [f for f in findings if f.is_number]
    if not shown:
        return None
    metric = shown[0].metric
    scale = scale_for(metric, [x for f in shown for x in (f.low, f.high)] + list(bounds.values()))
    rows = [
        {"finding": f, "strip": strip(f, scale, bounds.get(f.slice), _outcome(f, bounds.get(f.slice)))} for f in shown
    ]
    return {"rows": rows, "ends": ends(metric, scale), "said": said}


def _outcome(finding: Finding, bound: float | None) -> str | None:
    if bound is None:
        return None
    return PASS if finding.low >= bound else FAIL if finding.high < bound else ""
