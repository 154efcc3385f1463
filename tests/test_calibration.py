"""The calibration evaluator and its reliability table."""

import numpy as np
import pytest
from drawn_predictions import PARAMS, draw_manifest, draw_predictions

from tasks.evaluators import calibration
from tasks.evidence import Evidence
from tasks.findings import index_findings
from tasks.predictions import join_predictions

MANIFEST = draw_manifest(test=300)
PREDICTIONS = draw_predictions(MANIFEST, 1, seed=2)


def test_three_figures_are_reported_on_every_slice() -> None:
    found = index_findings(calibration.evaluate(Evidence(PREDICTIONS, MANIFEST, PARAMS)))
    assert {metric for metric, _ in found} == {"ece", "brier", "nll"}
    assert len(found) == 3 * 6
    assert all(f.is_number and f.low <= f.value <= f.high for f in found.values())


def test_the_reliability_table_adds_up_to_the_calibration_error() -> None:
    table = calibration.reliability(join_predictions(PREDICTIONS, MANIFEST), PARAMS.calibration_bins)
    assert list(table.columns) == ["bin", "confidence", "accuracy", "count", "split"]
    test = table[table["split"] == "test"]
    assert test["count"].sum() == 300
    error = np.average(np.abs(test["confidence"] - test["accuracy"]), weights=test["count"])
    found = index_findings(calibration.evaluate(Evidence(PREDICTIONS, MANIFEST, PARAMS)))
    assert error == pytest.approx(found["ece", "test"].value, abs=1e-9)


def test_overconfident_probabilities_cost_more_of_every_figure() -> None:
    columns = [c for c in PREDICTIONS if c.startswith("prob_")]
    sharp = PREDICTIONS[columns] ** 4
    bold = PREDICTIONS.assign(**sharp.div(sharp.sum(axis=1), axis=0))
    honest, overdone = (
        index_findings(calibration.evaluate(Evidence(p, MANIFEST, PARAMS))) for p in (PREDICTIONS, bold)
    )
    for metric in ("ece", "brier", "nll"):
        assert overdone[metric, "test"].value > honest[metric, "test"].value
