"""The report on a model, from tables alone: what the stage evaluate writes, and what a replay writes again.

Writes report.json (the findings), metrics.json (point values of each split, for `dvc metrics`), confusion.csv and
reliability.csv (for `dvc plots`), and evidence.json (digests of what was measured).
"""

import json
import logging
import math
from pathlib import Path

import pandas as pd

from tasks.digests import digest_of
from tasks.evaluators import Evaluator, accuracy, calibration, transfer
from tasks.evaluators.calibration import reliability
from tasks.findings import EVIDENCE, REPORT, Finding, write_findings
from tasks.params import EvaluateParams
from tasks.predictions import join_predictions, model_of, read_table
from tasks.slices import JUDGED

EVALUATORS: dict[str, Evaluator] = {"accuracy": accuracy, "calibration": calibration, "transfer": transfer}
logger = logging.getLogger("tasks.report")


def write_report(
    predictions: Path, scratch_predictions: Path, manifest: Path, params: EvaluateParams, out: Path
) -> None:
    """Write the report into the folder `out`; EvidenceMissing when a prediction that it needs is missing or unsound.

    Each table is given as its parquet file or as the folder that holds it alone.
    """
    ours, theirs, images = read_table(predictions), read_table(scratch_predictions), read_table(manifest)
    table = join_predictions(ours, images)
    logger.info("evaluating %d images of %s", len(table), " and ".join(table["split"].unique()))
    findings: list[Finding] = []
    for name, evaluator in EVALUATORS.items():
        found = list(evaluator.evaluate(ours, images, params, theirs))
        logger.info("%s: %d findings", name, len(found))
        findings += found
    write_findings(findings, out / REPORT)
    _write_json(_overall(findings), out / "metrics.json")
    _confusion(table).to_csv(out / "confusion.csv", index=False)
    reliability(table, params.calibration_bins).to_csv(out / "reliability.csv", index=False)
    digests = {"predictions": predictions, "scratch_predictions": scratch_predictions, "manifest": manifest}
    evidence = {"model": model_of(table), "scratch_model": model_of(join_predictions(theirs, images))}
    _write_json(evidence | {name: _digest(path) for name, path in digests.items()}, out / EVIDENCE)


def _overall(findings: list[Finding]) -> dict[str, dict[str, float | None]]:
    splits: dict[str, dict[str, float | None]] = {}
    for finding in findings:
        if finding.slice in JUDGED:
            value = finding.value if math.isfinite(finding.value) else None
            splits.setdefault(finding.slice, {})[finding.metric] = value
    return splits


def _confusion(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.loc[table["split"] == "test", ["label", "predicted"]]
    return rows.rename(columns={"label": "actual"})


def _digest(path: Path) -> str:
    return digest_of(next(iter(sorted(path.glob("*.parquet")))) if path.is_dir() else path)


def _write_json(value: object, path: Path) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
