"""The report on a model, from tables alone: what the stage evaluate writes, and what a replay writes again.

Writes report.json (the findings), weak_slices.json (what the search for them proposed), personal_data.json (files that
carry some), leakage.json (copies of training images, labels that look wrong), calibration.json (what was
chosen on the calibration split: below which confidence a person is asked, and how large prediction sets are),
metrics.json (point values of each split, for `dvc metrics`), confusion.csv, reliability.csv, risk_coverage.csv and
robustness.csv (for plots), and evidence.json (digests of what was measured).
"""

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tasks.digests import digest_of
from tasks.evaluators import (
    Evaluator,
    accuracy,
    calibration,
    cases,
    conformal,
    external,
    fairness,
    interpretability,
    leakage,
    privacy,
    robustness,
    selective,
    transfer,
    weak_slices,
)
from tasks.evaluators.calibration import reliability
from tasks.evidence import Evidence, read_evidence
from tasks.findings import EVIDENCE, REPORT, Finding, without_nan, write_findings
from tasks.params import EvaluateParams
from tasks.plan import load_plan
from tasks.predictions import model_of
from tasks.slices import JUDGED

EVALUATORS: dict[str, Evaluator] = {
    "accuracy": accuracy,
    "calibration": calibration,
    "transfer": transfer,
    "selective": selective,
    "conformal": conformal,
    "fairness": fairness,
    "weak_slices": weak_slices,
    "robustness": robustness,
    "interpretability": interpretability,
    "privacy": privacy,
    "leakage": leakage,
    "cases": cases,
    "external": external,
}
logger = logging.getLogger("tasks.report")


def write_report(tables: Mapping[str, Path], plan: Path, params: EvaluateParams, out: Path) -> None:
    """Write the report into the folder `out`; EvidenceMissing when a prediction that it needs is missing or unsound.

    `tables` are those of tasks.findings.TABLES, each as its parquet file or as the folder that holds it alone. Of
    the plan only the costs are read: what is measured does not depend on the bounds.
    """
    evidence = read_evidence(tables, params, load_plan(plan).prices)
    table, baseline = evidence.judged, evidence.baseline_judged
    logger.info("evaluating %d images of %s", len(table), " and ".join(table["split"].unique()))
    findings: list[Finding] = []
    for name, evaluator in EVALUATORS.items():
        found = list(evaluator.evaluate(evidence))
        logger.info("%s: %d findings", name, len(found))
        findings += found
    write_findings(findings, out / REPORT)
    _write_json(_overall(findings), out / "metrics.json")
    _confusion(table).to_csv(out / "confusion.csv", index=False)
    reliability(table, params.calibration_bins).to_csv(out / "reliability.csv", index=False)
    selective.curves(table).to_csv(out / "risk_coverage.csv", index=False)
    robustness.curves(evidence).to_csv(out / "robustness.csv", index=False)
    _write_json(without_nan(_chosen(evidence)), out / "calibration.json")
    _write_json(without_nan([*weak_slices.table(evidence)]), out / "weak_slices.json")
    _write_json(privacy.files(evidence), out / "personal_data.json")
    _write_json(without_nan(leakage.details(evidence)), out / "leakage.json")
    _write_json(without_nan(cases.details(evidence)), out / "cases.json")
    models = {"model": model_of(table)} | ({} if baseline is None else {"scratch_model": model_of(baseline)})
    _write_json(models | {name: _digest(path) for name, path in tables.items()}, out / EVIDENCE)


def _overall(findings: list[Finding]) -> dict[str, dict[str, float | None]]:
    splits: dict[str, dict[str, float | None]] = {}
    for finding in findings:
        if finding.slice in JUDGED:
            value = finding.value if math.isfinite(finding.value) else None
            splits.setdefault(finding.slice, {})[finding.metric] = value
    return splits


def _chosen(evidence: Evidence) -> dict[str, object]:
    """The threshold (None: no answer is sure enough, or there are no costs) and the quantile (None: every class)."""
    return {
        "images": len(evidence.calibration.truth),
        "costs": None if evidence.costs is None else evidence.costs.model_dump(),
        "threshold": selective.chosen_threshold(evidence),
        "conformal_alpha": evidence.params.conformal_alpha,
        "conformal_quantile": conformal.chosen_quantile(evidence),
    }


def _confusion(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.loc[table["split"] == "test", ["label", "predicted"]]
    return rows.rename(columns={"label": "actual"})


def _digest(path: Path) -> str:
    return digest_of(next(iter(sorted(path.glob("*.parquet")))) if path.is_dir() else path)


def _write_json(value: object, path: Path) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
