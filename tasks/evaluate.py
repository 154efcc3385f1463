"""Measure a model: from predictions and manifest to the report that the gate judges.

Writes report.json (the findings), weak_slices.json (what the search for them proposed), threshold.json (below which
confidence a person is asked, and at what costs; null where the plan names none), metrics.json (point values of each
split, for `dvc metrics`), confusion.csv, reliability.csv and risk_coverage.csv (for plots), and evidence.json (digests
of what was measured).
"""

import json
import logging
import math
from pathlib import Path

import pandas as pd

from tasks.digests import digest_of
from tasks.evaluators import Evaluator, accuracy, calibration, conformal, fairness, selective, transfer, weak_slices
from tasks.evaluators.calibration import reliability
from tasks.findings import REPORT, Finding, without_nan, write_findings
from tasks.params import EvaluateParams
from tasks.plan import Costs, load_plan
from tasks.predictions import join_predictions, model_of, read_table
from tasks.slices import JUDGED
from tasks.stage import stage

EVALUATORS: dict[str, Evaluator] = {
    "accuracy": accuracy,
    "calibration": calibration,
    "transfer": transfer,
    "selective": selective,
    "conformal": conformal,
    "fairness": fairness,
    "weak_slices": weak_slices,
}
logger = logging.getLogger("tasks.evaluate")


@stage
def evaluate(
    predictions: Path, scratch_predictions: Path, manifest: Path, plan: Path, params: EvaluateParams, out: Path
) -> None:
    """Write the report; EvidenceMissing when a prediction that it needs is missing or unsound.

    Of the plan only the costs are read: what is measured does not depend on the bounds.
    """
    ours, theirs, images = read_table(predictions), read_table(scratch_predictions), read_table(manifest)
    costs = load_plan(plan).costs
    table = join_predictions(ours, images)
    logger.info("evaluating %d images of %s", len(table), " and ".join(table["split"].unique()))
    findings: list[Finding] = []
    for name, evaluator in EVALUATORS.items():
        found = list(evaluator.evaluate(ours, images, params, theirs, costs))
        logger.info("%s: %d findings", name, len(found))
        findings += found
    write_findings(findings, out / REPORT)
    _write_json(_overall(findings), out / "metrics.json")
    _confusion(table).to_csv(out / "confusion.csv", index=False)
    reliability(table, params.calibration_bins).to_csv(out / "reliability.csv", index=False)
    selective.curves(table).to_csv(out / "risk_coverage.csv", index=False)
    _write_json(_threshold(ours, images, costs), out / "threshold.json")
    _write_json(without_nan(weak_slices.table(ours, images, params)), out / "weak_slices.json")
    digests = {"predictions": predictions, "scratch_predictions": scratch_predictions, "manifest": manifest}
    evidence = {"model": model_of(table), "scratch_model": model_of(join_predictions(theirs, images))}
    _write_json(evidence | {name: _digest(path) for name, path in digests.items()}, out / "evidence.json")


def _overall(findings: list[Finding]) -> dict[str, dict[str, float | None]]:
    splits: dict[str, dict[str, float | None]] = {}
    for finding in findings:
        if finding.slice in JUDGED:
            value = finding.value if math.isfinite(finding.value) else None
            splits.setdefault(finding.slice, {})[finding.metric] = value
    return splits


def _threshold(predictions: pd.DataFrame, manifest: pd.DataFrame, costs: Costs | None) -> dict[str, object] | None:
    """The confidence below which a person is asked, None for all images; and what it was chosen on."""
    if costs is None:
        return None
    outcomes = selective.calibration_outcomes(predictions, manifest)
    threshold = selective.choose_threshold(outcomes, costs)
    chosen = {"threshold": threshold if math.isfinite(threshold) else None, "calibration_images": len(outcomes.truth)}
    return chosen | costs.model_dump()


def _confusion(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.loc[table["split"] == "test", ["label", "predicted"]]
    return rows.rename(columns={"label": "actual"})


def _digest(path: Path) -> str:
    return digest_of(next(iter(sorted(path.glob("*.parquet")))) if path.is_dir() else path)


def _write_json(value: object, path: Path) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
