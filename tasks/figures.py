"""Figures as a page shows them: a finding in words that names its metric and slice, so that it can be looked up."""

from typing import Any

from markupsafe import Markup

from tasks.findings import Finding
from tasks.metrics import DIFFERENCE, NUMBER, REGISTRY
from tasks.sentences import describe_place

UNKNOWN = "not assessable"


class Figure(str):
    """`91.4 % [88.7, 93.5]` as text; in a template an element that also holds the exact numbers and their source."""

    finding: Finding

    def __new__(cls, finding: Finding) -> "Figure":
        """The interval stays on one line."""
        value, low, high = (number(x, finding.metric) for x in (finding.value, finding.low, finding.high))
        figure = super().__new__(cls, f"{value}{unit(finding.metric)} [{low},\u00a0{high}]")
        figure.finding = finding
        return figure

    def __html__(self) -> str:
        return Markup("<span{}>{}</span>").format(traced(self.finding), str(self))


def tell(finding: Finding | None) -> str:
    """The figure, or that there is none."""
    return UNKNOWN if finding is None or not finding.is_number else Figure(finding)


def traced(finding: Any) -> Markup:
    """The attributes of an element that shows a finding, or the same figures of a judgement: which one, and exactly."""
    return Markup(
        ' data-metric="{}" data-slice="{}" data-value="{!r}" data-low="{!r}" data-high="{!r}" data-n="{}" title="{}"'
    ).format(finding.metric, finding.slice, finding.value, finding.low, finding.high, finding.n, source(finding))


def source(finding: Any) -> str:
    """What the pointer shows over a figure."""
    said = f"{describe_place(finding.metric, finding.slice)}, n = {finding.n}"
    return f"{said}, {100 * finding.level:g} % interval: {finding.method}" if isinstance(finding, Finding) else said


def number(value: float, metric: str) -> str:
    """`91.4`, `+3.0` for a difference that can be negative, `0.029` for what is no share."""
    about = REGISTRY[metric]
    if about.unit == NUMBER:
        return f"{value:.3f}"
    return f"{100 * value:{'+' if about.unit == DIFFERENCE and about.lowest < 0 else ''}.1f}"


def unit(metric: str) -> str:
    """What stands behind the number."""
    return {NUMBER: "", DIFFERENCE: "\u00a0points"}.get(REGISTRY[metric].unit, "\u00a0%")
