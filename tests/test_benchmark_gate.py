"""The figures of benchmarks/gate.py: its truths, its dependence, and the rules that it sets beside the gate."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from mlflow import validate_evaluation_results
from mlflow.models import MetricThreshold
from mlflow.models.evaluation.validation import ModelValidationFailedException
from sklearn.metrics import f1_score

from benchmarks import gate
from tasks.params import EvaluateParams

PARAMS = EvaluateParams(level=0.95, resamples=100, min_clusters=20, calibration_bins=15, seed=1)


def mlflow_says(threshold: MetricThreshold, candidate: float, baseline: float) -> bool:
    results = [SimpleNamespace(metrics={"m": value}) for value in (candidate, baseline)]
    try:
        validate_evaluation_results({"m": threshold}, *results)
    except ModelValidationFailedException:
        return False
    return True


@pytest.mark.parametrize("value", [0.89, 0.9, 0.91])
def test_mlflows_threshold_is_mlflows(value: float) -> None:
    for direction, greater in (("at_least", True), ("at_most", False)):
        theirs = mlflow_says(MetricThreshold(threshold=0.9, greater_is_better=greater), value, 0.5)
        assert gate.mlflow_passes(value, 0.9, direction, is_change=False) == theirs


@pytest.mark.parametrize("change", [-0.01, 0.0, 0.001])
def test_mlflows_change_is_mlflows_and_allows_no_margin(change: float) -> None:
    smallest = MetricThreshold(min_absolute_change=1e-9, greater_is_better=True)
    assert gate.mlflow_passes(change, -0.01, "at_least", is_change=True) == mlflow_says(smallest, change, 0.0)
    with pytest.raises(Exception, match="must be a positive number"):
        MetricThreshold(min_absolute_change=-0.01, greater_is_better=True)


def test_macro_f1_of_the_population_is_scikit_learns_on_a_large_sample() -> None:
    random = np.random.default_rng(0)
    label = random.choice(len(gate.CLASSES), 400_000, p=gate.CLASSES)
    other = (label + random.integers(1, len(gate.CLASSES), len(label))) % len(gate.CLASSES)
    predicted = np.where(random.uniform(size=len(label)) < gate.recall_for(0.88), label, other)
    assert f1_score(label, predicted, average="macro") == pytest.approx(0.88, abs=0.002)


@pytest.mark.parametrize("question", gate.QUESTIONS, ids=lambda q: q.title)
@pytest.mark.parametrize("dependent", [False, True])
def test_a_candidates_value_in_a_large_test_set_is_its_true_one(question: gate.Question, dependent: bool) -> None:
    for name, truth in question.candidates.items():
        cell = gate.Cell(question, name, 100_000, dependent, 1, 50, 0)
        found = gate.measured(cell, np.random.default_rng(3), PARAMS.model_copy(update={"resamples": 2}))
        assert found.value == pytest.approx(truth, abs=0.01)
        assert found.clusters == (20_000 if dependent else 100_000)


def test_images_of_a_subject_are_correlated_and_uniform() -> None:
    drawn = gate.latents(200_000, True, np.random.default_rng(1)).reshape(-1, gate.IMAGES_OF_A_SUBJECT)
    assert np.quantile(drawn, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.01)
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] == pytest.approx(0.29, abs=0.02)  # 6 / pi asin(0.15)


def test_bars_name_what_breaks_them() -> None:
    accuracy, gain = gate.QUESTIONS[:2]
    bound = gate.Cell(accuracy, "bound", 500, False, 1000, 50, 0)
    assert gate.faults(bound, gate.Rates(0.06, 0, 0.94, 0.5, 0.5)) == []  # within three standard errors of 5 %
    [fault] = gate.faults(bound, gate.Rates(0.08, 0, 0.92, 0.5, 0.5))
    assert fault == "accuracy, n = 500, images, bound: 8.0% false passes, at most 5%"
    equal = gate.Cell(gain, "equal", 5000, False, 1000, 50, 0)
    assert len(gate.faults(equal, gate.Rates(0.7, 0, 0.3, 1, 0.5))) == 1
    assert gate.faults(replace(equal, n=500), gate.Rates(0.2, 0, 0.8, 1, 0.5)) == []
    assert gate.note(bound, gate.Rates(0.045, 0, 0, 0, 0)) == "false passes above nominal"
    assert gate.note(bound, gate.Rates(0, 0.045, 0, 0, 0)) == "false fails above nominal"
    assert gate.line(bound, gate.Rates(0.02, 0.01, 0.97, 0.5, 0.4)) == (
        "| accuracy | images | 500 | bound (+90.0%) | **2.0%** | **1.0%** | 97.0% | **50.0%** | **40.0%** |  |"
    )
