"""What the report says of asking a person, of prediction sets, of groups and of weak slices: plots and rows.

Every figure is a Finding; the report folder's other files say what was chosen on the calibration split
(calibration.json), draw the curve (risk_coverage.csv) and list the slices that a search proposed (weak_slices.json).
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.figures import tell
from tasks.findings import Found
from tasks.plots import risk_coverage_curve
from tasks.slices import JUDGED
from tasks.strips import strip_rows

COMPARED = (
    "worst_group_accuracy",
    "accuracy_gap",
    "equalised_odds_difference",
    "calibration_gap",
    "accuracy_gap_change",
)


def asking(found: Found, report: Path) -> dict[str, Any] | None:
    """The threshold below which a person is asked, what it was chosen by, and what it does; None without costs."""
    chosen = _json(report / "calibration.json")
    if chosen["costs"] is None:
        return None
    splits = [split for split in JUDGED if ("coverage", split) in found]
    points = [(split, found["coverage", split], found["selective_accuracy", split]) for split in splits]
    metrics = ("coverage", "selective_accuracy", "expected_cost", "saving_over_always_answer", "saving_over_always_ask")
    rows = [{"split": split, "n": found["coverage", split].n, **_texts(found, metrics, split)} for split in splits]
    threshold = chosen["threshold"]
    said = (
        "never"
        if threshold is None
        else "always"
        if threshold == 0
        else f"from a confidence of {100 * threshold:.1f} %"
    )
    plot = risk_coverage_curve(pd.read_csv(report / "risk_coverage.csv"), points)
    return {"answers": said, "costs": chosen["costs"], "images": chosen["images"], "rows": rows, "plot": plot}


def prediction_sets(found: Found, report: Path) -> dict[str, Any]:
    """Coverage of the sets on each split and class against what was promised, their size, and where they fall short."""
    chosen = _json(report / "calibration.json")
    target = 1 - chosen["conformal_alpha"]
    covered = [f for (metric, _), f in found.items() if metric == "conformal_coverage" and f.is_number]
    drawn = [f for s in JUDGED for f in covered if f.slice == s or f.slice.startswith(f"{s}/label=")]
    short = [{"slice": f.slice, "figure": tell(f)} for f in covered if f.high < target and f not in drawn]
    rows = [
        {"split": split, **_texts(found, ("conformal_coverage", "mean_set_size"), split)}
        for split in JUDGED
        if ("conformal_coverage", split) in found
    ]
    plot = strip_rows(drawn, {f.slice: target for f in drawn}, "sets that hold the truth; the red mark is the promise")
    return {"target": f"{100 * target:g} %", "images": chosen["images"], "rows": rows, "short": short, "plot": plot}


def groups(found: Found) -> dict[str, Any] | None:
    """Each group's accuracy, what compares the groups of each column, and who was too few to judge."""
    single = [f for (metric, place), f in found.items() if metric == "group_accuracy" and " & " not in place]
    if not single:
        return None
    places = [place for metric, place in found if metric == "accuracy_gap"]
    rows = [{"columns": place.removesuffix("=*"), **_texts(found, COMPARED, place)} for place in places]
    small = {place.removesuffix("=*"): _unassessable(found, place) for place in places}
    plot = strip_rows(single, {}, "accuracy; intervals hold for all groups of a column at once")
    return {"plot": plot, "rows": rows, "small": [f"{name}: {which}" for name, which in small.items() if which]}


def weak_slices(report: Path) -> list[dict[str, Any]]:
    """The proposed slices, the confirmed ones first, each with its figure in words."""
    listed: list[dict[str, Any]] = _json(report / "weak_slices.json")
    rows = [row for row in listed if row["value"] is not None]
    for row in rows:
        row["accuracy"] = f"{100 * row['value']:.1f}\u00a0% [{100 * row['low']:.1f},\u00a0{100 * row['high']:.1f}]"
        row["chance"] = "below 0.001" if row["adjusted_p"] < 0.001 else f"{row['adjusted_p']:.3f}"
    return sorted(rows, key=lambda row: not row["confirmed"])


def _unassessable(found: Found, place: str) -> str:
    return found["accuracy_gap", place].method.partition("not assessable: ")[2]


def _texts(found: Found, metrics: tuple[str, ...], place: str) -> dict[str, str]:
    return {metric: tell(found.get((metric, place))) for metric in metrics}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
