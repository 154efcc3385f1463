"""The report of a release: one self-contained page, from the verdict in a sentence down to how all was made.

Every figure on it is a Finding of the report, the comparison or the latency, and names its metric and slice
(tasks.figures).
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.dossier import Dossier, read_json
from tasks.figures import number, tell, unit
from tasks.findings import Finding
from tasks.methods import methods
from tasks.model_card import split_rows
from tasks.pictures import mistakes, negative_flips, with_examples, with_pictures
from tasks.plots import confusion_matrix, reliability_diagram, training_curves
from tasks.report_sections import (
    asking,
    attribution,
    groups,
    leakage,
    prediction_sets,
    privacy,
    robustness,
    weak_slices,
)
from tasks.sentences import describe_place
from tasks.slices import iter_splits
from tasks.strips import ends, scale_for, strip, strip_rows
from tasks.verdict import FAIL, INCONCLUSIVE, NOT_APPLICABLE, Judgement

FIRST = 4  # of a list on the first screen; the whole list stands further down
Line = tuple[str, str]  # as the first screen says it, and in full
GAINS = (
    *("accuracy_gain_over_champion", "macro_f1_gain_over_champion", "negative_flip_rate"),
    *("brier_gain_over_champion", "nll_gain_over_champion"),
)


def report_page(dossier: Dossier, folders: dict[str, Path], data: Path) -> dict[str, Any]:
    """What the template report.html.j2 shows."""
    report, scored, found = folders["report"], dossier.scored, dossier.found
    test = scored[scored["split"] == "test"]
    curves = [pd.read_csv(folders[name] / "curves.csv") for name in ("model", "scratch")]
    return {
        "dossier": dossier,
        "first": FIRST,
        "headline": headline(dossier),
        "wrong": wrong(dossier),
        "unknown": unknown(dossier),
        "sections": [(name, _criteria(judged), none) for name, judged, none in dossier.by_section()],
        "slices": strip_rows(
            [f for (metric, _), f in found.items() if metric == "accuracy"],
            _bounds(dossier.verdict.judgements),
            "accuracy; a red mark is the bound of the plan",
        ),
        "confusion": confusion_matrix(test["label"], test["predicted"], dossier.facts["classes"]),
        "reliability": reliability_diagram(pd.read_csv(report / "reliability.csv")),
        "curves": training_curves(*curves),
        "groups": groups(found),
        "weak": with_examples(weak_slices(report), scored, data),
        "champion": champion(dossier, data),
        "transfer": transfer_rows(dossier),
        "asking": asking(found, report),
        "sets": prediction_sets(found, report),
        "robustness": robustness(found, report),
        "attribution": attribution(found, folders["attributions"]),
        "privacy": privacy(found, report),
        "leakage": with_pictures(leakage(found, report), data),
        "mistakes": mistakes(scored, data),
        "methods": methods(dossier, read_json(folders["audit"] / "audit.json"), curves),
        "splits": split_rows(dossier.manifest),
        "digests": _digests(dossier),
    }


def headline(dossier: Dossier) -> list[dict[str, Any]]:
    """Three figures: how often right, how often at the place of use, and better than what there was."""
    gain = ("gain over the model in use", "accuracy_gain_over_champion", "test")
    if dossier.champion["why_not"] is not None:
        gain = ("gain over training from scratch", "accuracy_gain_over_scratch", dossier.where)
    asked = [("answers right, test", "accuracy", "test"), ("answers right, place of use", "accuracy", "mirror"), gain]
    return [{"title": title, "finding": f, **_parts(f)} for title, *key in asked for f in [dossier.get(*key)]]


def wrong(dossier: Dossier) -> list[Line]:
    """What could go wrong: demands that were missed, the risk register, risks and biases of the backbone."""
    register = [(f"{risk['what']} ({risk['level']} risk)", said) for risk, said in dossier.register]
    backbone = [(line, line) for line in (*dossier.passport["risks"], *dossier.passport["biases"])]
    return [*_said(dossier, FAIL), *register, *backbone]


def unknown(dossier: Dossier) -> list[Line]:
    """What is still not known: demands left open, what the plan does not ask, limitations of the backbone."""
    silent = [f"{name.capitalize()} was not judged: {none}" for name, _, none in dossier.by_section() if none]
    said = [*_beside_the_point(dossier), *_few_groups(dossier), *silent, *dossier.passport["limitations"]]
    return [*_said(dossier, INCONCLUSIVE), *((line, line) for line in said)]


def _few_groups(dossier: Dossier) -> Iterator[str]:
    """Where the groups of a split are too few to resample, so that its intervals say nothing of other groups."""
    least = dossier.params["evaluate"]["min_clusters"]
    for split, rows in iter_splits(dossier.manifest):
        groups = rows["group"].nunique()
        if groups < min(least, len(rows)):
            yield f"Other groups: {split} holds {groups}, too few to resample; its intervals speak for these alone."


def champion(dossier: Dossier, data: Path) -> dict[str, Any]:
    """Gains over the champion by slice and the negative flips, or why nobody was compared with."""
    if dossier.champion_answers is None:
        return {"why_not": dossier.champion["why_not"]}
    places = [place for metric, place in dossier.found if metric == GAINS[2] and "/label=" not in place]
    rows = [
        {"where": p, "n": dossier.found[GAINS[2], p].n, **{m: tell(dossier.get(m, p)) for m in GAINS}} for p in places
    ]
    gains = [f for (metric, place), f in dossier.found.items() if metric == GAINS[0] and "/label=" not in place]
    return {
        "why_not": None,
        "version": dossier.champion["version"],
        "plot": strip_rows(
            gains, dict.fromkeys([f.slice for f in gains], 0.0), "gain in accuracy; the red mark is no gain"
        ),
        "metrics": GAINS,
        "rows": rows,
        "flips": negative_flips(dossier.scored, dossier.champion_answers, data),
    }


def transfer_rows(dossier: Dossier) -> list[dict[str, Any]]:
    """Accuracy of the model and of the baseline on the same images, and the paired difference."""
    rows = []
    for gain in (f for (metric, _), f in dossier.found.items() if metric == "accuracy_gain_over_scratch"):
        model = dossier.found["accuracy", gain.slice]
        scratch = f"{100 * (model.value - gain.value):.1f}\u00a0%"
        rows.append({"slice": gain.slice, "model": tell(model), "scratch": scratch, "gain": tell(gain), "n": gain.n})
    return rows


def _said(dossier: Dossier, outcome: str) -> list[Line]:
    """The sentences of one outcome, those that decide first; on the first screen without what would settle them."""
    found = [j for j in dossier.verdict.judgements if j.outcome == outcome]
    said = [_capital(without(j.sentence, outcome)) for j in sorted(found, key=lambda j: j.severity != "block")]
    return [(sentence.partition("; ")[0], sentence) for sentence in said]


def _beside_the_point(dossier: Dossier) -> list[str]:
    """The demands that do not apply, a line for each reason."""
    reasons: dict[str, list[str]] = {}
    for judgement in (j for j in dossier.verdict.judgements if j.outcome == NOT_APPLICABLE):
        place = describe_place(judgement.metric, judgement.slice)
        why = without(judgement.sentence, f"{NOT_APPLICABLE} {place}")
        reasons.setdefault(why, []).append(judgement.criterion)
    return [f"{', '.join(names)}: {why}" for why, names in reasons.items()]


def without(sentence: str, word: str) -> str:
    """A sentence without the outcome that it begins with, where that stands beside it."""
    return sentence.removeprefix(word).lstrip(": ")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _parts(finding: Finding | None) -> dict[str, str]:
    if finding is None:
        return {"value": "not measured", "interval": "these data cannot show it"}
    value, low, high = (number(x, finding.metric) for x in (finding.value, finding.low, finding.high))
    behind = unit(finding.metric)
    return {"value": f"{value}{behind}", "interval": f"{low} to {high}{behind}, n = {finding.n}"}


def _criteria(judged: list[Judgement]) -> list[dict[str, Any]]:
    """The judgements of a section by criterion, with strips on one scale where there are figures."""
    parts = []
    for name, group in groupby(judged, lambda j: j.criterion):
        rows = list(group)
        shown = [j for j in rows if j.low is not None]
        scale = None
        if shown:
            edges = [x for j in shown for x in (j.low, j.high) if x is not None]
            scale = scale_for(shown[0].metric, [*edges, shown[0].bound])
        strips = [strip(j, scale, j.bound, j.outcome) if scale and j in shown else "" for j in rows]
        parts.append(
            {
                "name": name,
                "first": rows[0],
                "ends": ends(shown[0].metric, scale) if scale else None,
                "rows": list(zip(rows, strips, strict=True)),
            }
        )
    return parts


def _bounds(judgements: tuple[Judgement, ...]) -> dict[str, float]:
    """Slice -> the plan's lower bound on accuracy."""
    return {j.slice: j.bound for j in judgements if j.metric == "accuracy" and j.direction == "at_least"}


def _digests(dossier: Dossier) -> list[tuple[str, str]]:
    made = {f"model: {name}": digest for name, digest in dossier.facts["digests"].items()}
    return sorted({**dossier.verdict.digests, **made, "data version": dossier.data["digest"]}.items())
