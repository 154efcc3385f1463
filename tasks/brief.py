"""The brief: one page for people who decide and do not read code; short sentences, and each figure traced."""

import datetime as dt
from typing import Any

import pandas as pd
from markupsafe import Markup

from tasks.dossier import Dossier
from tasks.figures import traced
from tasks.findings import Finding
from tasks.metrics import REGISTRY
from tasks.verdict import FAIL, INCONCLUSIVE, PASS, Judgement

MOST = 5  # lines of a list, so that all fits a page
RIGHT = ("accuracy", "group_accuracy", "weak_slice_accuracy", "recall", "selective_accuracy", "worst_group_accuracy")
DECISIONS = {
    PASS: "The new model may be used: it has shown all that was demanded of it beforehand.",
    FAIL: "The new model must not be used: it falls short of what was demanded beforehand.",
    INCONCLUSIVE: "The new model may not be used yet: the evidence is too thin to decide.",
}
DEMANDS = {  # what a metric asks for, to people who do not know its name
    "accuracy_gain_over_champion": "as many right answers as the model in use gives",
    "negative_flip_rate": "few answers that were right before and are wrong now",
    "accuracy_gain_over_scratch": "more right answers than without a pretrained network",
    "ece": "confidence that can be taken at its word",
    "accuracy_gap": "answers that are as often right for one group as for another",
    "accuracy_gap_change": "differences between groups that pretraining does not widen",
    "saving_over_always_ask": "a saving over work by hand",
    "saving_over_always_answer": "a saving by asking a person where the model is unsure",
    "conformal_coverage": "short lists that hold the right answer",
}
PLACES = {"mirror": "images from the place of use", "test": "images that the model had never seen"}


def brief(dossier: Dossier) -> dict[str, Any]:
    """What the template brief.html.j2 shows."""
    plan, where = dossier.plan, dossier.where
    return {
        "project": dossier.project,
        "use_case": plan.use_case,
        "outcome": dossier.verdict.overall,
        "decision": DECISIONS[dossier.verdict.overall],
        "why": [_plainly(j) for j in _against(dossier) if j.severity == "block"][:MOST],
        "benefit": benefit(dossier),
        "tried": [f"{_count(dossier, name)} {said}{_sources(dossier, name)}" for name, said in _tried(dossier)],
        "right": per_hundred(dossier.get("accuracy", where)),
        "where": PLACES[where],
        "weak": [_plainly(j) for j in _against(dossier) if j.severity == "warn"][:MOST],
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
    """`images from the place of use with condition noise`."""
    split, _, rest = place.partition("/")
    said = PLACES.get(split, split)
    parts = [part.removeprefix("weak=") for part in rest.split(" & ") if part]
    named = [f"{part.partition('=')[0]} {part.partition('=')[2]}".replace(" *", "") for part in parts]
    return f"{said} with {' and '.join(named)}" if named else said


def _plainly(judgement: Judgement) -> Markup | str:
    """A demand that was missed or left open, without the field's words where the metric is a share of right answers."""
    place = plain_place(judgement.slice)
    if judgement.value is None or judgement.low is None or judgement.high is None:
        return f"{REGISTRY[judgement.metric].title}, {place}: nothing was measured."
    if judgement.metric not in RIGHT:
        said = DEMANDS.get(judgement.metric, REGISTRY[judgement.metric].title)
        return f"{'Not met' if judgement.outcome == FAIL else 'Not shown yet'}: {said}, on {place}."
    value, low, high = (f"{100 * x:.0f}" for x in (judgement.value, judgement.low, judgement.high))
    said = Markup("{}: <span{}>{} of 100 right ({} to {})</span>").format(
        _capital(place), traced(judgement), value, low, high
    )
    return said + f"; {100 * judgement.bound:.0f} are demanded."


def _against(dossier: Dossier) -> list[Judgement]:
    return [j for j in dossier.verdict.judgements if j.outcome in (FAIL, INCONCLUSIVE)]


def _tried(dossier: Dossier) -> list[tuple[str, str]]:
    present: pd.Series = dossier.manifest["split"]
    return [(name, said) for name, said in reversed(PLACES.items()) if (present == name).any()]


def _count(dossier: Dossier, split: str) -> str:
    return f"{int((dossier.manifest['split'] == split).sum()):,}"


def _sources(dossier: Dossier, split: str) -> str:
    rows = dossier.manifest[dossier.manifest["split"] == split]
    named = sorted(set(rows["source"]) - {""})
    return f" ({', '.join(named)})" if named else ""


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
