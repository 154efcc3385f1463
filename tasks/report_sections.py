"""What the report says of asking a person, groups, slices, robustness, attribution, privacy and leaks: plots and rows.

Every figure is a Finding; the report folder's other files say what was chosen on the calibration split
(calibration.json), draw the curve (risk_coverage.csv) and list the slices that a search proposed
(weak_slices.json), files with personal data (personal_data.json), copies and doubtful labels (leakage.json).
"""

import base64
import json
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.figures import tell
from tasks.findings import Found
from tasks.gallery import CAPTIONS, PNG
from tasks.metrics import REGISTRY
from tasks.plots import corruption_curves, risk_coverage_curve
from tasks.slices import JUDGED
from tasks.strips import strip_rows

COMPARED = (
    "worst_group_accuracy",
    "accuracy_gap",
    "equalised_odds_difference",
    "calibration_gap",
    "accuracy_gap_change",
)
ATTRIBUTION = (
    "attribution_gain_over_random",
    "random_weights_correlation",
    "border_attribution",
    "border_reliance",
    "background_reliance",
)
OVERCONFIDENT = 0.1  # confidence beyond accuracy, the lower end: conditions above it are named


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


def robustness(found: Found, report: Path) -> dict[str, Any] | None:
    """Accuracy by severity of each corruption, candidate beside scratch; None where nothing was stressed."""
    if ("corruption_accuracy", "test") not in found:
        return None
    table = pd.read_csv(report / "robustness.csv", dtype={"level": str})
    metrics = ("corruption_accuracy", "corruption_accuracy_drop", "corruption_gain_over_scratch")
    kinds = [place for metric, place in found if metric == metrics[0]]
    rows = [{"where": _kind(place), **_texts(found, metrics, place)} for place in kinds]
    sure = [f for (metric, _), f in found.items() if metric == "condition_overconfidence" and f.low > OVERCONFIDENT]
    attacked = [(place, f) for (metric, place), f in found.items() if metric == "adversarial_accuracy"]
    return {
        "images": found[metrics[0], "test"].n,
        "plot": corruption_curves(table[table["family"] != "attack"]),
        "rows": rows,
        "overconfident": [{"under": _kind(f.slice), "figure": tell(f)} for f in sorted(sure, key=lambda f: -f.low)],
        "attacks": [
            {"attack": _kind(place, "all of them, and as taken"), "accuracy": tell(f)} for place, f in attacked
        ],
    }


def attribution(found: Found, folder: Path) -> dict[str, Any] | None:
    """The checks of attributions and the shortcut probes, and the gallery; None where nothing was attributed."""
    if (ATTRIBUTION[0], "test") not in found:
        return None
    listed = pd.read_csv(folder / CAPTIONS, dtype={"actual": str, "predicted": str})
    captions = [
        {
            "title": title,
            "images": [f"{r.actual} as {r.predicted} ({100 * r.confidence:.0f} %)" for r in part.itertuples()],
        }
        for title, part in listed.groupby("row", sort=False)
    ]
    rows = [{"said": REGISTRY[metric].title, "figure": tell(found[metric, "test"])} for metric in ATTRIBUTION]
    gallery = base64.b64encode((folder / PNG).read_bytes()).decode()
    return {"images": found[ATTRIBUTION[0], "test"].n, "rows": rows, "gallery": gallery, "captions": captions}


def weak_slices(report: Path) -> list[dict[str, Any]]:
    """The proposed slices, the confirmed ones first, each with its figure in words."""
    listed: list[dict[str, Any]] = _json(report / "weak_slices.json")
    rows = [row for row in listed if row["value"] is not None]
    for row in rows:
        row["accuracy"] = f"{100 * row['value']:.1f}\u00a0% [{100 * row['low']:.1f},\u00a0{100 * row['high']:.1f}]"
        row["chance"] = "below 0.001" if row["adjusted_p"] < 0.001 else f"{row['adjusted_p']:.3f}"
    return sorted(rows, key=lambda row: not row["confirmed"])


def _kind(place: str, whole: str = "all corruptions") -> str:
    """`shot noise 3` of `test/corruption=shot noise 3`."""
    return place.partition("=")[2] or whole


def privacy(found: Found, report: Path) -> dict[str, Any] | None:
    """The membership attacks, the share of files with personal data, and which; None where nothing was embedded."""
    if ("personal_data_share", "all") not in found:
        return None
    attacks = [("loss", ""), ("loss beyond that of the reference model", "_calibrated")]
    rows = [
        {"by": by, "auc": tell(area), "tpr": tell(found.get((f"membership_tpr{suffix}", "test")))}
        for by, suffix in attacks
        if (area := found.get((f"membership_auc{suffix}", "test")))
    ]
    files = _json(report / "personal_data.json")
    return {"rows": rows, "share": tell(found["personal_data_share", "all"]), "files": files}


def leakage(found: Found, report: Path) -> dict[str, Any] | None:
    """Copies of training images, labels that look wrong, and what gives the label away; None as in `privacy`."""
    if ("label_error_share", "train") not in found:
        return None
    copies = [
        {"split": split, "near": tell(found[metric, split]), "exact": f"{found['exact_duplicates', split].value:.0f}"}
        for metric, split in found
        if metric == "near_duplicate_share"
    ]
    labels = {
        metric: [{"split": place, "figure": tell(f)} for (name, place), f in found.items() if name == metric]
        for metric in ("label_error_share", "annotator_alpha", "label_cue")
    }
    return {"copies": copies, **labels, **_json(report / "leakage.json")}


def _unassessable(found: Found, place: str) -> str:
    return found["accuracy_gap", place].method.partition("not assessable: ")[2]


def _texts(found: Found, metrics: tuple[str, ...], place: str) -> dict[str, str]:
    return {metric: tell(found.get((metric, place))) for metric in metrics}


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
