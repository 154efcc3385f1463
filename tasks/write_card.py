"""The model card (Mitchell et al. 2019): one self-contained page that a person can judge the model by."""

import base64
import io
import json
import logging
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape

from tasks.card_sections import (
    asking,
    attribution,
    groups,
    leakage,
    prediction_sets,
    privacy,
    robustness,
    weak_slices,
)
from tasks.findings import Finding, read_findings
from tasks.images import decode
from tasks.plots import confusion_matrix, reliability_diagram, slice_intervals, training_curves
from tasks.stage import stage
from tasks.verdict import Verdict, read_verdict

HEADLINE = (
    ("accuracy on test", "accuracy", "test"),
    ("accuracy on the deployment mirror", "accuracy", "mirror"),
    ("gain over training from scratch, mirror", "accuracy_gain_over_scratch", "mirror"),
    ("calibration error (ECE) on test", "ece", "test"),
)
MISTAKES = 18
EXAMPLES = 3  # of each weak slice
PAIRS, DOUBTFUL = 12, 18  # near-duplicates and labels that look wrong, the surest of each
THUMBNAIL, SMALL = 96, 40  # pixels
PASSPORT = ("licence", "training_data", "intended_use", "excluded_use", "limitations", "biases", "risks")
logger = logging.getLogger("tasks.write_card")


@stage
def write_card(
    verdict: Path,
    report: Path,
    manifest: Path,
    data: Path,
    predictions: Path,
    model: Path,
    scratch: Path,
    backbone: Path,
    attributions: Path,
    out: Path,
) -> None:
    """Write card.html; every figure on it is a Finding of the report or a fact of the model folder."""
    judged, findings = read_verdict(verdict / "verdict.json"), read_findings(report)
    table = pd.read_parquet(manifest / "manifest.parquet")
    scored = pd.read_parquet(predictions / "predictions.parquet").merge(table, on="image_id")
    facts = _json(model / "model.json")
    passport = _json(backbone / "passport.json")
    by_key = {(f.metric, f.slice): f for f in findings}
    test = scored[scored["split"] == "test"]
    curves = [pd.read_csv(folder / "curves.csv") for folder in (model, scratch)]
    page = {
        "project": manifest.parent.name,
        "facts": facts,
        "verdict": judged,
        "criteria": [(name, list(group)) for name, group in groupby(judged.judgements, lambda j: j.criterion)],
        "headline": [headline(title, by_key.get((metric, part))) for title, metric, part in HEADLINE],
        "unknown": unknown(judged, passport),
        "plots": {
            "slices": slice_intervals(
                [f for f in findings if f.metric == "accuracy"],
                accuracy_bounds(judged),
                "accuracy, %, with its interval; a red tick is the plan's bound",
            ),
            "confusion": confusion_matrix(test["label"], test["predicted"], facts["classes"]),
            "reliability": reliability_diagram(pd.read_csv(report / "reliability.csv")),
            "curves": training_curves(*curves),
        },
        "level": f"{100 * findings[0].level:g} % confidence",
        "asking": asking(by_key, report),
        "sets": prediction_sets(by_key, report),
        "groups": groups(by_key),
        "weak": with_examples(weak_slices(report), scored, data),
        "robustness": robustness(by_key, report),
        "attribution": attribution(by_key, attributions),
        "privacy": privacy(by_key, report),
        "leakage": with_pictures(leakage(by_key, report), data),
        "transfer": transfer_rows(findings, by_key),
        "mistakes": [mistake(row, data) for row in worst(scored, facts["classes"])],
        "training": training_rows(facts, curves),
        "splits": split_rows(table),
        "passport": passport,
        "passport_rows": [(name.replace("_", " "), passport[name]) for name in PASSPORT],
        "digests": sorted({**judged.digests, **{f"model: {k}": v for k, v in facts["digests"].items()}}.items()),
    }
    environment = Environment(loader=PackageLoader("tasks", "."), autoescape=select_autoescape(default=True))
    environment.filters["without"] = lambda sentence, word: sentence.removeprefix(word).lstrip(": ")
    (out / "card.html").write_text(environment.get_template("card.html.j2").render(page), encoding="utf-8")
    logger.info("drew the model card")


def headline(title: str, finding: Finding | None) -> dict[str, str]:
    """One of the figures on the first screen."""
    if finding is None:
        return {"title": title, "value": "not measured", "interval": "this data cannot show it"}
    sign = "+" if finding.metric.startswith("accuracy_gain") else ""
    unit = "pp" if sign else "%"
    interval = f"{100 * finding.low:{sign}.1f} to {100 * finding.high:{sign}.1f} {unit}, n = {finding.n}"
    return {"title": title, "value": f"{100 * finding.value:{sign}.1f} {unit}", "interval": interval}


def unknown(verdict: Verdict, passport: dict[str, Any]) -> list[str]:
    """What the evidence leaves open: criteria that did not pass, and the limitations in the backbone's passport."""
    open_ones = [j.sentence for j in verdict.judgements if j.outcome != "PASS"]
    return open_ones + list(passport["limitations"])


def accuracy_bounds(verdict: Verdict) -> dict[str, float]:
    """Slice -> the plan's lower bound on accuracy."""
    return {j.slice: j.bound for j in verdict.judgements if j.metric == "accuracy" and j.direction == "at_least"}


def transfer_rows(findings: list[Finding], by_key: dict[tuple[str, str], Finding]) -> list[dict[str, Any]]:
    """Accuracy of the model and of the baseline on the same images, and the paired difference."""
    rows = []
    for gain in (f for f in findings if f.metric == "accuracy_gain_over_scratch"):
        model = by_key[("accuracy", gain.slice)].value
        rows.append(
            {
                "slice": gain.slice,
                "model": f"{100 * model:.1f} %",
                "scratch": f"{100 * (model - gain.value):.1f} %",
                "gain": f"{100 * gain.value:+.1f} pp [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]",
                "n": gain.n,
            }
        )
    return rows


def worst(scored: pd.DataFrame, classes: list[str]) -> list[dict[str, Any]]:
    """The wrong answers given with most confidence, half from test and half from the mirror where there are enough."""
    wrong = scored[(scored["predicted"] != scored["label"]) & scored["split"].isin(["test", "mirror"])]
    wrong = wrong.assign(confidence=wrong[[f"prob_{c}" for c in classes]].max(axis=1))
    wrong = wrong.sort_values(["confidence", "image_id"], ascending=[False, True])
    chosen = wrong.groupby("split", sort=False).head(MISTAKES // 2)
    rows: list[dict[str, Any]] = chosen.to_dict("records")
    return rows


def with_examples(weak: list[dict[str, Any]], scored: pd.DataFrame, data: Path) -> list[dict[str, Any]]:
    """The weak slices, the confirmed ones with thumbnails of some wrong answers."""
    paths = scored.set_index("image_id")["path"]
    for row in weak:
        shown = row["examples"][:EXAMPLES] if row["confirmed"] else []
        row["images"] = [{"image": thumbnail(data / paths[i], paths[i], SMALL), "path": paths[i]} for i in shown]
    return weak


def with_pictures(found: dict[str, Any] | None, data: Path) -> dict[str, Any] | None:
    """The surest near-duplicates with both images, and the labels that look most wrong with theirs."""
    if found is None:
        return None
    pairs = [
        {**row, "pictures": [thumbnail(data / row[key], row[key], THUMBNAIL) for key in ("image", "of")]}
        for row in sorted(found["pairs"], key=lambda row: row["p"])[:PAIRS]
    ]
    doubtful = sorted(found["label_errors"], key=lambda row: row["probability_of_given"])[:DOUBTFUL]
    shown = [{**row, "picture": thumbnail(data / row["image"], row["image"], THUMBNAIL)} for row in doubtful]
    counts = {"pairs_in_all": len(found["pairs"]), "doubtful_in_all": len(found["label_errors"])}
    return {**found, **counts, "pairs": pairs, "label_errors": shown}


def mistake(row: dict[str, Any], data: Path) -> dict[str, str]:
    """A thumbnail with what was said of it."""
    slices = [str(v) for k, v in row.items() if k.startswith("slice_") and v]
    return {
        "image": thumbnail(data / row["path"], row["path"], THUMBNAIL),
        "path": row["path"],
        "actual": row["label"],
        "predicted": row["predicted"],
        "confidence": f"{100 * row['confidence']:.0f} %",
        "where": ", ".join([row["split"], *slices]),
    }


def thumbnail(file: Path, name: str, side: int) -> str:
    """A PNG of an image file in base64, `side` pixels at most."""
    image = decode(file, name)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def training_rows(facts: dict[str, Any], curves: list[pd.DataFrame]) -> list[tuple[str, str]]:
    """How the model was trained, in the record's own words."""
    return [
        ("learning rates tried", ", ".join(f"{rate:g}" for rate in sorted(curves[0]["rate"].unique()))),
        ("chosen by validation loss", f"{facts['rate']:g} (loss {facts['validation_loss']:.4f})"),
        ("rates tried from scratch", ", ".join(f"{rate:g}" for rate in sorted(curves[1]["rate"].unique()))),
        ("phases", "; ".join(f"{p}: open {o}" for p, o in curves[0].groupby("phase")["open"].first().items())),
        ("image size", f"{facts['image_size']} pixels"),
        ("seed", str(facts["seed"])),
        *(("", note) for note in facts["training"]),
    ]


def split_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """What lies in each split."""
    order = ["train", "validation", "calibration", "test", "mirror"]
    return [
        {
            "split": name,
            "images": len(part),
            "groups": part["group"].nunique(),
            "classes": part["label"].nunique(),
            "sources": ", ".join(sorted(set(part["source"]) - {""})) or "not stated",
            "licences": ", ".join(sorted(set(part["licence"]) - {""})) or "not stated",
        }
        for name in order
        if len(part := table[table["split"] == name])
    ]


def _json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
