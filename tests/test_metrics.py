"""Metrics against scikit-learn and torchmetrics, as points and under the weights of a resample."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from tasks import metrics
from tasks.metrics import Metric, Outcomes, point

K = 5


def draw(seed: int, n: int = 120, absent: tuple[int, ...] = (), decimals: int | None = None) -> Outcomes:
    """n images of K classes; rounding down makes ties, `absent` classes have no image but may be predicted."""
    random = np.random.default_rng(seed)
    truth = random.choice([k for k in range(K) if k not in absent], n)
    raw = random.gamma(1, size=(n, K)) + 1.2 * np.eye(K)[truth]
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    if decimals is not None:
        probabilities = np.floor(probabilities * 10**decimals) / 10**decimals
        probabilities[:, -1] = 1 - probabilities[:, :-1].sum(axis=1)
    return Outcomes(truth, probabilities.argmax(axis=1), probabilities)


def sklearn_macro(name: str) -> Callable[[Outcomes], float]:
    score = getattr(sk, name)
    return lambda o: score(o.truth, o.predicted, labels=np.unique(o.truth), average="macro", zero_division=0)


def sklearn_auc(o: Outcomes) -> float:
    return float(np.mean([sk.roc_auc_score(o.truth == k, o.probabilities[:, k]) for k in np.unique(o.truth)]))


def sklearn_brier(o: Outcomes) -> float:
    return float(((o.probabilities - np.eye(K)[o.truth]) ** 2).sum(axis=1).mean())


PAIRS = {
    "accuracy": (metrics.accuracy, lambda o: sk.accuracy_score(o.truth, o.predicted)),
    "balanced_accuracy": (metrics.balanced_accuracy, sklearn_macro("recall_score")),
    "macro_precision": (metrics.macro_precision, sklearn_macro("precision_score")),
    "macro_recall": (metrics.macro_recall, sklearn_macro("recall_score")),
    "macro_f1": (metrics.macro_f1, sklearn_macro("f1_score")),
    "macro_roc_auc": (metrics.macro_roc_auc, sklearn_auc),
    "nll": (metrics.nll, lambda o: sk.log_loss(o.truth, o.probabilities, labels=range(K))),
    "brier": (metrics.brier, sklearn_brier),
}
CASES = {"plain": draw(1), "ties": draw(2, decimals=1), "absent classes": draw(3, absent=(1, 4)), "few": draw(4, n=9)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", PAIRS)
def test_a_metric_agrees_with_scikit_learn(name: str, case: str) -> None:
    ours, theirs = PAIRS[name]
    assert point(ours, CASES[case]) == pytest.approx(theirs(CASES[case]), abs=1e-12)


@pytest.mark.parametrize("name", [*PAIRS, "ece"])
def test_weights_count_an_image_as_often_as_it_was_drawn(name: str) -> None:
    metric: Metric = PAIRS[name][0] if name in PAIRS else metrics.ece(10)
    outcomes, random = draw(6, decimals=2), np.random.default_rng(7)
    drawn = random.integers(0, 120, (8, 120))
    weights = np.stack([np.bincount(row, minlength=120) for row in drawn]).astype(float)
    repeated = [Outcomes(outcomes.truth[r], outcomes.predicted[r], outcomes.probabilities[r]) for r in drawn]
    assert metric(outcomes, weights) == pytest.approx([point(metric, o) for o in repeated], abs=1e-12)


def test_macro_auc_is_scikit_learns_one_versus_rest() -> None:
    o = draw(8, decimals=2)
    expected = sk.roc_auc_score(o.truth, o.probabilities, multi_class="ovr", average="macro")
    assert point(metrics.macro_roc_auc, o) == pytest.approx(expected, abs=1e-12)


def test_balanced_accuracy_is_scikit_learns() -> None:
    o = draw(9)
    assert point(metrics.balanced_accuracy, o) == pytest.approx(sk.balanced_accuracy_score(o.truth, o.predicted))


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_calibration_error_agrees_with_torchmetrics(bins: int) -> None:
    o = draw(10)
    given = torch.from_numpy(o.probabilities), torch.from_numpy(o.truth)
    assert point(metrics.ece(bins), o) == pytest.approx(
        float(multiclass_calibration_error(*given, num_classes=K, n_bins=bins)), abs=1e-6
    )


def test_a_confidence_of_one_falls_into_the_last_bin() -> None:
    assert metrics.bin_of(np.array([0.0, 0.1, 0.95, 1.0]), 10).tolist() == [0, 1, 9, 9]


def test_brier_agrees_with_scikit_learn_on_two_classes() -> None:
    told = np.array([0.9, 0.4, 0.2, 0.7])
    truth = np.array([1, 1, 0, 0])
    o = Outcomes(truth, (told > 0.5).astype(int), np.column_stack([1 - told, told]))
    assert point(metrics.brier, o) == pytest.approx(2 * sk.brier_score_loss(truth, told))  # the sum form is twice it


def test_a_class_alone_has_no_area() -> None:
    one_class = Outcomes(np.zeros(3, int), np.zeros(3, int), np.full((3, 2), 0.5))
    assert np.isnan(point(metrics.macro_roc_auc, one_class))


def test_a_probability_of_zero_for_the_truth_stays_finite() -> None:
    sure = Outcomes(np.array([0]), np.array([1]), np.array([[0.0, 1.0]]))
    assert point(metrics.nll, sure) == pytest.approx(sk.log_loss([0], [[0.0, 1.0]], labels=[0, 1]))
