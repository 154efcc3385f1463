"""Measure a model: from predictions and manifest to the report that the gate judges (tasks/report.py says what)."""

from pathlib import Path

from tasks.params import EvaluateParams
from tasks.report import write_report
from tasks.stage import stage


@stage
def evaluate(
    predictions: Path,
    scratch_predictions: Path,
    manifest: Path,
    stress: Path,
    attributions: Path,
    embeddings: Path,
    cases: Path,
    external: Path,
    plan: Path,
    params: EvaluateParams,
    out: Path,
) -> None:
    """Write the report; EvidenceMissing when a prediction that it needs is missing or unsound."""
    tables = {
        "predictions": predictions,
        "scratch_predictions": scratch_predictions,
        "manifest": manifest,
        "stress": stress,
        "attributions": attributions,
        "embeddings": embeddings,
        "cases": cases,
        "external": external,
    }
    write_report(tables, plan, params, out)
