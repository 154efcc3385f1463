"""The brief: one page for people who decide and do not read code; short sentences, and each figure traced."""

import datetime as dt
from typing import Any

import pandas as pd
from markupsafe import Markup

from tasks.dossier import Dossier
from tasks.figures import traced
from tasks.findings import Finding
from tasks.slices import JUDGED
from tasks.verdict import FAIL, INCONCLUSIVE, PASS, Judgement

MOST = 4  # lines of a list, so that all fits a page
RIGHT = ("accuracy", "group_accuracy", "weak_slice_accuracy", "recall", "selective_accuracy", "worst_group_accuracy")
DECISIONS = {
    PASS: "The new model may be used: it has shown all that was demanded of it beforehand.",
    FAIL: "The new model must not be used: it falls short of what was demanded beforehand.",
    INCONCLUSIVE: "The new model may not be used yet: the evidence is too thin to decide.",
}
UNSET = " But nobody has yet set these demands for this use: they are a starting point that suits no one in particular."
DEMANDS = {  # what the criteria of a section ask for, to people who do not know their names
    "standard": "enough right answers",
    "champion": "answers no worse than those of the model in use",
    "calibration": "confidence that can be taken at its word",
    "fairness": "answers as good for one group as for another",
    "robustness": "right answers on poorer images",
    "privacy": "that nothing personal can be learnt from it",
    "latency": "answers quick enough",
    "interpretability": "answers that rest on the right part of an image",
    "leakage": "a fair trial, without copies and wrong labels",
    "external": "right answers on images of others",
}
PLACES = {
    "mirror": "images from the place of use",
    "test": "images that the model had never seen",
    "train": "images that it learnt from",
    "all": "all images",
    "cases": "images that must be read right",
}


def brief(dossier: Dossier) -> dict[str, Any]:
    """What the template brief.html.j2 shows."""
    plan, where = dossier.plan, dossier.where
    return {
        "project": dossier.project,
        "use_case": plan.use_case,
        "outcome": dossier.verdict.overall,
        "decision": DECISIONS[dossier.verdict.overall] + (UNSET if plan.scaffold else ""),
        "why": against(dossier, "block"),
        "benefit": benefit(dossier),
        "tried": [f"{_count(dossier, name)} {said}{_sources(dossier, name)}" for name, said in _tried(dossier)],
        "right": per_hundred(dossier.get("accuracy", where)),
        "where": PLACES[where],
        "weak": against(dossier, "warn"),
        "risks": [_risk(risk) for risk, _ in dossier.register][:MOST],
        "approval": " and ".join(plan.approval.roles) if plan.approval else None,
        "excluded": dossier.passport["excluded_use"][:MOST],
        "owner": plan.owner,
        "review_by": day(plan.review_by),
    }


def benefit(dossier: Dossier) -> dict[str, Any] | None:
    """Costs of 1,000 images in the plan's unit with the model and by hand, and what is saved; None without costs."""
    costs, where = dossier.plan.prices, dossier.where
    asked = ("expected_cost", "saving_over_always_ask", "coverage", "selective_accuracy")
    cost, saving, coverage, sure = (dossier.get(metric, where) for metric in asked)
    if costs is None or cost is None or saving is None:
        return None
    return {
        "unit": costs.unit,
        "wrong": f"{costs.wrong:.2f}",
        "ask": f"{costs.ask:.2f}",
        "by_hand": f"{1000 * costs.ask:,.0f}",
        "cost": thousand(cost),
        "saving": thousand(saving),
        "saves": saving.low > 0,
        "loses": saving.high < 0,
        "answers": per_hundred(coverage),
        "sure": per_hundred(sure),
    }


def thousand(finding: Finding) -> Markup:
    """`21 (17 to 26)`: what 1,000 images come to."""
    value, low, high = (f"{1000 * x:,.0f}" for x in (finding.value, finding.low, finding.high))
    return Markup("<span{}>{} ({} to {})</span>").format(traced(finding), value, low, high)


def per_hundred(finding: Finding | None) -> Markup | str:
    """`92 of 100 (90 to 94)`."""
    if finding is None:
        return "an unknown number"
    value, low, high = (f"{100 * x:.0f}" for x in (finding.value, finding.low, finding.high))
    return Markup("<span{}>{} of 100 ({} to {})</span>").format(traced(finding), value, low, high)


def day(date: dt.date) -> str:
    """`31 May 2027`."""
    return f"{date.day} {date:%B %Y}"


def plain_place(place: str) -> str:
    """`images from the place of use, with condition noise`; a gap between groups is `by condition`."""
    split, _, rest = place.partition("/")
    said, found = PLACES.get(split, split), rest.removeprefix("weak=")
    if not found:
        return said
    columns, _, values = found.partition("=")
    if values == "*":
        return f"{said}, by {columns.replace(' & ', ' and ')}"
    if found == rest and " & " in columns:  # two columns crossed: `stroke & slant=thin & left`
        named = [" ".join(pair) for pair in zip(columns.split(" & "), values.split(" & "), strict=False)]
    else:
        named = [part.replace("=", " ", 1) for part in found.split(" & ")]
    return f"{said}, with {' and '.join(named)}"


def against(dossier: Dossier, severity: str) -> list[Markup]:
    """Each demand that was missed or left open, once, in plain words; the last line counts those left out."""
    lines: dict[Markup, None] = {}
    for section, judgements, _ in dossier.by_section():
        for judgement in judgements:
            if judgement.outcome in (FAIL, INCONCLUSIVE) and judgement.severity == severity:
                lines[_plainly(judgement, DEMANDS[section])] = None
    more = len(lines) - MOST
    rest = [Markup(f"And {more} more: the full report names them.")] if more > 0 else []
    return [*lines][:MOST] + rest


def _plainly(judgement: Judgement, demand: str) -> Markup:
    """`Images from the place of use: 76 of 100 right`, or what was demanded where the metric is no such share."""
    place = plain_place(judgement.slice)
    if judgement.metric not in RIGHT or judgement.low is None or judgement.high is None or judgement.value is None:
        said = "Not met" if judgement.outcome == FAIL else "Not shown yet"
        return Markup("{}: {} ({}).").format(said, demand, place)
    value, low, high = (f"{100 * x:.0f}" for x in (judgement.value, judgement.low, judgement.high))
    said = Markup("<span{}>{} of 100 right ({} to {})</span>").format(traced(judgement), value, low, high)
    return Markup("{}: {}; {:.0f} are demanded.").format(place[0].upper() + place[1:], said, 100 * judgement.bound)


def _risk(risk: dict[str, Any]) -> str:
    """What could go wrong, and what is done against it."""
    return f"{risk['what']} {risk['mitigation'] or 'Nothing is done against it yet.'}"


def _tried(dossier: Dossier) -> list[tuple[str, str]]:
    present: pd.Series = dossier.manifest["split"]
    return [(name, PLACES[name]) for name in JUDGED if (present == name).any()]


def _count(dossier: Dossier, split: str) -> str:
    return f"{int((dossier.manifest['split'] == split).sum()):,}"


def _sources(dossier: Dossier, split: str) -> str:
    rows = dossier.manifest[dossier.manifest["split"] == split]
    named = sorted(set(rows["source"]) - {""})
    return f" ({', '.join(named)})" if named else ""
