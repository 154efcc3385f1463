"""The words of a verdict: one sentence a criterion, the same in the log, the alert, the card and the record."""

from tasks.findings import Finding
from tasks.metrics import DIFFERENCE, LABELS, NUMBER, REGISTRY
from tasks.plan import Criterion
from tasks.verdict import FAIL, INCONCLUSIVE, NOT_APPLICABLE, PASS, Judgement

MOST_DECIMALS = 6
SCAFFOLD = "the plan is a scaffold, whose bounds its owner has yet to set"


def describe_place(metric: str, place: str) -> str:
    """`accuracy on mirror/condition=faded`."""
    return f"{REGISTRY[metric].title} on {place}"


def describe_finding(finding: Finding, bound: float) -> str:
    """`61.2 % [55.1, 67.0] (n = 260)`, with as many decimals as it takes to tell each figure from the bound.

    Where images are not independent it says from how many units they are.
    """
    unit = REGISTRY[finding.metric].unit
    figures = (finding.value, finding.low, finding.high)
    decimals = _decimals(figures, bound, unit)
    value, low, high = (_number(x, unit, decimals) for x in figures)
    units = f" from {finding.clusters} units" if finding.clusters < finding.n else ""
    return f"{value}{_suffix(unit)} [{low}, {high}] (n = {finding.n}{units})"


def describe_demand(criterion: Criterion) -> str:
    """`at least 75 %`."""
    unit = REGISTRY[criterion.metric].unit
    scaled = round(criterion.bound * _scale(unit), 10)
    return f"{criterion.direction.replace('_', ' ')} {scaled:{'+' if unit == DIFFERENCE else ''}g}{_suffix(unit)}"


def describe_terms(criterion: Criterion) -> str:
    """All that a criterion asks for: place, bound, images and whether it is a warning only."""
    place = describe_place(criterion.metric, criterion.slice)
    warns = ", a warning only" if criterion.severity == "warn" else ""
    return f"{place} must be {describe_demand(criterion)}, n at least {criterion.minimum_n}{warns}"


def describe_value(metric: str, value: float) -> str:
    """`88.4 %`, or `+3.0 points` for a difference."""
    unit = REGISTRY[metric].unit
    return f"{_number(value, unit, 3 if unit == NUMBER else 1)}{_suffix(unit)}"


def describe_settling(outcome: str, finding: Finding, criterion: Criterion, more: int | None) -> str:
    """Which end of the interval decided, or what it would take to decide."""
    above = criterion.at_least is not None
    if outcome == PASS:
        return "the lower end reaches it" if above else "the upper end stays within it"
    if outcome == FAIL:
        return "the upper end lies below it" if above else "the lower end lies above it"
    if more is None:
        return f"the value sits on the bound, so no number of {_counted(finding)} settles it"
    settled = PASS if (finding.value > criterion.bound) == above else FAIL
    return (
        f"the bound lies inside the interval; about {more} more {_counted(finding)} in {finding.slice} "
        f"would make it a {settled} if the value holds"
    )


def describe_shortage(finding: Finding, least: int) -> str:
    """What a finding lacks that rests on fewer than a criterion asks for."""
    counted = _counted(finding)
    of, do = ("images", "label") if counted == LABELS else (counted, "take")
    return f"not assessable: {finding.n} of {least} {of}, {do} {least - finding.n} more"


def describe_correction(
    outcome: str, criterion: Criterion, finding: Finding, slices: int, p: float, error: float, more: int | None
) -> str:
    """What Holm's correction over a criterion's slices makes of one that misses the bound on its own."""
    end = describe_settling(FAIL, finding, criterion, None)
    figures = f"p = {p:.2g} after Holm's correction over {slices} slices"
    if outcome == FAIL:
        return f"{end} ({figures})"
    return (
        f"{end}, which one of {slices} good slices may do by chance ({figures}, at most {error:g} needed); "
        f"about {more} more {_counted(finding)} in {finding.slice} would make it a FAIL if the value holds"
    )


def describe_overall(overall: str, judgements: list[Judgement], scaffold: bool) -> str:
    """One sentence for the whole verdict; warnings are named beside it, and that nobody has set the bounds yet."""
    blocking = [j for j in judgements if j.severity == "block" and j.outcome != NOT_APPLICABLE]
    warned = [j for j in judgements if j.severity == "warn" and j.outcome in (FAIL, INCONCLUSIVE)]
    decisive = [j for j in blocking if j.outcome == overall]
    if not blocking and overall == PASS:
        text = "nothing was to be shown"
    elif not blocking:
        text = "no blocking criterion applies, so nothing has been shown"
    elif overall == PASS:
        text = f"{_count(len(blocking), 'blocking judgement')}, all met"
    else:
        verb = "failed" if overall == FAIL else "left open"
        text = f"{len(decisive)} of {_count(len(blocking), 'blocking judgement')} {verb}: {_places(decisive)}"
    text += f"; {_count(len(warned), 'warning')}: {_places(warned)}" if warned else ""
    return f"{overall}: {text}" + (f"; {SCAFFOLD}" if scaffold else "")


def _places(judgements: list[Judgement]) -> str:
    rest = f" and {len(judgements) - 3} more" if len(judgements) > 3 else ""
    return ", ".join(describe_place(j.metric, j.slice) for j in judgements[:3]) + rest


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _counted(finding: Finding) -> str:
    return REGISTRY[finding.metric].counted


def _scale(unit: str) -> int:
    return 1 if unit == NUMBER else 100


def _suffix(unit: str) -> str:
    return {NUMBER: "", DIFFERENCE: " points"}.get(unit, " %")


def _number(figure: float, unit: str, decimals: int) -> str:
    return f"{figure * _scale(unit):{'+' if unit == DIFFERENCE else ''}.{decimals}f}"


def _decimals(figures: tuple[float, ...], bound: float, unit: str) -> int:
    """The fewest decimals at which no figure looks like the bound without being it."""
    scale = _scale(unit)
    for decimals in range(3 if unit == NUMBER else 1, MOST_DECIMALS):
        shown = [round(x * scale, decimals) for x in figures]
        if all(s != round(bound * scale, 10) or abs(x - bound) <= 1e-9 for s, x in zip(shown, figures, strict=True)):
            return decimals
    return MOST_DECIMALS
