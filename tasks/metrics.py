"""Metrics as functions of weights: `metric(outcomes, weights (B, n)) -> (B,)`.

Weights of ones give the point value, the weights of a resample its bootstrap value. A metric that averages over
classes averages over those that are present, that is, whose images have weight: scikit-learn's value with `labels`
set to the labels in y_true and `zero_division=0`. A class that is absent from the slice but predicted there lowers the
recall of the class it was mistaken for. Where nothing is present the value is NaN.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from tasks.resampling import Weights

PROBABILITY = "prob_"


@dataclass(frozen=True)
class Outcomes:
    """What a model said of n images: class numbers `truth` and `predicted` (n,), `probabilities` (n, K)."""

    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        """Whether each image was predicted right, (n,)."""
        return self.truth == self.predicted

    def take(self, images: np.ndarray) -> "Outcomes":
        """The outcomes of the images numbered so."""
        return Outcomes(self.truth[images], self.predicted[images], self.probabilities[images])

    @property
    def classes(self) -> int:
        """K."""
        return self.probabilities.shape[1]


Metric = Callable[[Outcomes, Weights], np.ndarray]


def classes_of(table: pd.DataFrame) -> list[str]:
    """The class labels, in the model's order, from the columns `prob_<label>`."""
    return [c.removeprefix(PROBABILITY) for c in table.columns if c.startswith(PROBABILITY)]


def outcomes_of(table: pd.DataFrame) -> Outcomes:
    """The outcomes of a table with columns label, predicted and prob_<label>."""
    classes = pd.Index(classes_of(table))
    probabilities = table[[PROBABILITY + c for c in classes]].to_numpy(dtype=float)
    return Outcomes(classes.get_indexer(table["label"]), classes.get_indexer(table["predicted"]), probabilities)


def point(metric: Metric, outcomes: Outcomes) -> float:
    """The metric on the images as they are."""
    return float(metric(outcomes, np.ones((1, len(outcomes.truth))))[0])


def accuracy(outcomes: Outcomes, weights: Weights) -> np.ndarray:
    """The share of images predicted right."""
    return weighted_mean(outcomes.hits, weights)


def macro_recall(outcomes: Outcomes, weights: Weights) -> np.ndarray:
    """The mean recall over the classes present."""
    hits, support, _ = _counts(outcomes, weights)
    return _average(_ratio(hits, support), support > 0)


balanced_accuracy = macro_recall  # the same figure under its other name (Brodersen et al. 2010)


def macro_precision(outcomes: Outcomes, weights: Weights) -> np.ndarray:
    """The mean precision over the classes present; a class that is never predicted counts as 0."""
    hits, support, called = _counts(outcomes, weights)
    return _average(np.nan_to_num(_ratio(hits, called)), support > 0)


def macro_f1(outcomes: Outcomes, weights: Weights) -> np.ndarray:
    """The mean over the classes present of the harmonic mean of precision and recall."""
    hits, support, called = _counts(outcomes, weights)
    return _average(_ratio(2 * hits, support + called), support > 0)


def macro_roc_auc(outcomes: Outcomes, weights: Weights) -> np.ndarray:
    """The mean over the classes present of the area under the ROC curve of that class against the rest.

    The area is the chance that an image of the class gets a higher probability than another image, ties counting half.
    """
    areas = np.stack([_area(outcomes, k, weights) for k in range(outcomes.classes)], axis=1)
    return _average(areas, np.isfinite(areas))


def ece(bins: int) -> Metric:
    """The expected calibration error: the mean gap between confidence and accuracy over equal-width bins.

    Guo et al. 2017, equation 3; a confidence on an edge belongs to the bin above it.
    """

    def error(outcomes: Outcomes, weights: Weights) -> np.ndarray:
        confidence = outcomes.probabilities.max(axis=1)
        gaps = _totals(bin_of(confidence, bins), outcomes.hits - confidence, bins, weights)
        return _ratio(np.abs(gaps).sum(axis=1), weights.sum(axis=1))

    return error


def bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The number 0..bins-1 of the equal-width bin of each confidence."""
    return np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1])


def brier(outcomes: Outcomes, weights: Weights) -> np.ndarray:
    """The mean squared distance between the probabilities and the truth, summed over classes: 0 to 2 (Brier 1950)."""
    return weighted_mean(squared_distances(outcomes), weights)


def nll(outcomes: Outcomes, weights: Weights) -> np.ndarray:
    """The mean negative log probability of the true class; 0 is taken as the smallest step of float64."""
    return weighted_mean(log_losses(outcomes), weights)


def squared_distances(outcomes: Outcomes) -> np.ndarray:
    """The Brier score of each image, (n,)."""
    return np.asarray(((outcomes.probabilities - np.eye(outcomes.classes)[outcomes.truth]) ** 2).sum(axis=1))


def log_losses(outcomes: Outcomes) -> np.ndarray:
    """The negative log probability of each image's true class, (n,)."""
    told = outcomes.probabilities[np.arange(len(outcomes.truth)), outcomes.truth]
    return np.asarray(-np.log(np.clip(told, np.finfo(float).eps, 1)))


def aurc(outcomes: Outcomes, weights: Weights) -> np.ndarray:
    """The area under the risk-coverage curve: the selective risk, averaged over the images as thresholds.

    The risk at an image's confidence is the share of errors among the images at least as confident (Geifman &
    El-Yaniv 2017, section 2; the area: Geifman, Uziel & El-Yaniv 2019). Equal confidences count as one
    threshold, so that the order of the rows does not matter.
    """
    curve = risk_coverage(outcomes, weights)
    kept = curve.weights.sum(axis=0)
    return _ratio(np.where(curve.weights > 0, curve.weights * curve.risk, 0.0).sum(axis=0), kept)


def coverage_at_risk(bound: float) -> Metric:
    """The largest coverage at which the selective risk is at most `bound`; 0 where no threshold reaches it."""

    def coverage(outcomes: Outcomes, weights: Weights) -> np.ndarray:
        curve = risk_coverage(outcomes, weights)
        largest = np.where(curve.risk <= bound + 1e-12, curve.coverage, 0.0).max(axis=0)
        return np.where(curve.weights.sum(axis=0) > 0, largest, np.nan)

    return coverage


@dataclass(frozen=True)
class RiskCoverage:
    """Images by falling confidence: `weights` (n, B), and `coverage` and `risk` (n, B) with each one as threshold."""

    confidence: np.ndarray  # (n,)
    weights: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray


def risk_coverage(outcomes: Outcomes, weights: Weights) -> RiskCoverage:
    """The risk-coverage curve under each row of weights; the risk is NaN where no weight is covered."""
    confidence = outcomes.probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    ranked, drawn = confidence[order], weights.T[order]
    last = len(order) - 1 - np.searchsorted(ranked[::-1], ranked, side="left")  # of those equally confident
    covered = np.cumsum(drawn, axis=0)[last]
    errors = np.cumsum(drawn * ~outcomes.hits[order][:, None], axis=0)[last]
    return RiskCoverage(ranked, drawn, _ratio(covered, covered[-1:]), _ratio(errors, covered))


def group_means(values: np.ndarray, groups: np.ndarray, count: int, weights: Weights) -> np.ndarray:
    """The mean of values (n,) in each group 0..count-1, (B, count); NaN for a group without weight."""
    return _ratio(_totals(groups, values, count, weights), _totals(groups, np.ones(len(groups)), count, weights))


def true_positive_rates(outcomes: Outcomes, groups: np.ndarray, count: int, weights: Weights) -> np.ndarray:
    """Of the images of class k in group g, the share predicted as k, (B, K, count); NaN for a cell without weight."""
    cells = outcomes.truth * count + groups
    return group_means(outcomes.hits, cells, outcomes.classes * count, weights).reshape(-1, outcomes.classes, count)


def false_positive_rates(outcomes: Outcomes, groups: np.ndarray, count: int, weights: Weights) -> np.ndarray:
    """Of the images of other classes in group g, the share predicted as k, (B, K, count)."""
    size = outcomes.classes * count
    shape = (len(weights), outcomes.classes, count)
    ones = np.ones(len(groups))
    false = _totals(outcomes.predicted * count + groups, ~outcomes.hits, size, weights).reshape(shape)
    own = _totals(outcomes.truth * count + groups, ones, size, weights).reshape(shape)
    return _ratio(false, _totals(groups, ones, count, weights)[:, None, :] - own)


def between_groups(rates: np.ndarray) -> np.ndarray:
    """The largest difference between two groups, the last axis: fairlearn's `difference(method="between_groups")`.

    Of the true positive rates of one class it is equal opportunity's difference (Hardt, Price & Srebro 2016); the
    larger of the true and the false positive rates' is fairlearn's `equalized_odds_difference` with
    `agg="worst_case"`, for more than two classes the largest over each class against the rest.
    """
    return np.asarray(rates.max(axis=-1) - rates.min(axis=-1))


def weighted_mean(values: np.ndarray, weights: Weights) -> np.ndarray:
    """The mean of values (n,) under each row of weights."""
    total = _totals(np.zeros(len(values), dtype=int), values, 1, weights)[:, 0]
    return _ratio(total, weights.sum(axis=1))


def _counts(outcomes: Outcomes, weights: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight of the hits, of the images and of the predictions of each class, each (B, K)."""
    truth, predicted, k = outcomes.truth, outcomes.predicted, outcomes.classes
    ones = np.ones(len(truth))
    return (
        _totals(truth, outcomes.hits, k, weights),
        _totals(truth, ones, k, weights),
        _totals(predicted, ones, k, weights),
    )


def _totals(codes: np.ndarray, values: np.ndarray, size: int, weights: Weights) -> np.ndarray:
    """Sum weight times value over the images of each code: (B, size), in an order that no thread count changes."""
    picked = csr_array((np.asarray(values, float), (codes, np.arange(len(codes)))), shape=(size, len(codes)))
    return (picked @ weights.T).T


def _area(outcomes: Outcomes, k: int, weights: Weights) -> np.ndarray:
    scores = outcomes.probabilities[:, k]
    order = np.argsort(scores, kind="stable")
    ranked, positive = scores[order], outcomes.truth[order] == k
    below = np.zeros((len(order) + 1, len(weights)))
    np.take(weights.T, order, axis=0, out=below[1:])
    ours = below[1:][positive]  # (positives, B)
    below[1:][positive] = 0
    np.cumsum(below, axis=0, out=below)  # the weight of the negatives before each place
    first = np.searchsorted(ranked, ranked[positive], side="left")
    after = np.searchsorted(ranked, ranked[positive], side="right")
    won = (ours * (below[first] + below[after]) / 2).sum(axis=0)
    return _ratio(won, ours.sum(axis=0) * below[-1])


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)


def _average(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return _ratio(np.where(chosen, values, 0.0).sum(axis=1), chosen.sum(axis=1))


LABELS, TIMES = "labels", "timings"


@dataclass(frozen=True)
class Described:
    """How a metric is written for people: its title, and whether it is a share, a difference of shares or a number.

    `better` says which way a bound on it can point, `lowest` and `highest` what values it can take at all; `of_data`
    marks what is said of the data and not of the model, and therefore also of train or of all images.
    """

    title: str
    unit: str
    better: str = "at_least"
    lowest: float = 0.0
    highest: float = 1.0
    counted: str = LABELS  # more of which would tell more
    of_data: bool = False
    of_cases: bool = False  # said of single must-pass cases, and of nothing else


SHARE, DIFFERENCE, NUMBER = "share", "difference", "number"


def _timed(title: str) -> Described:
    return Described(title, NUMBER, better="at_most", highest=math.inf, counted=TIMES)


# Every metric that an evaluator may report and a plan may name.
REGISTRY = {
    "accuracy": Described("accuracy", SHARE),
    "balanced_accuracy": Described("balanced accuracy", SHARE),
    "macro_precision": Described("macro precision", SHARE),
    "macro_recall": Described("macro recall", SHARE),
    "macro_f1": Described("macro F1", SHARE),
    "macro_roc_auc": Described("macro ROC-AUC", SHARE),
    "recall": Described("recall", SHARE),
    "precision": Described("precision", SHARE),
    "ece": Described("expected calibration error", SHARE, better="at_most"),
    "brier": Described("Brier score", NUMBER, better="at_most", highest=2.0),
    "nll": Described("negative log-likelihood", NUMBER, better="at_most", highest=math.inf),
    "accuracy_gain_over_scratch": Described("accuracy gain over training from scratch", DIFFERENCE, lowest=-1.0),
    "aurc": Described("area under the risk-coverage curve", SHARE, better="at_most"),
    "coverage_at_risk": Described("coverage at the stated selective risk", SHARE),
    "coverage": Described("coverage at the chosen threshold", SHARE),
    "selective_accuracy": Described("selective accuracy at the chosen threshold", SHARE),
    "expected_cost": Described("expected cost of an image", NUMBER, better="at_most", highest=math.inf),
    "saving_over_always_answer": Described(
        "saving over always answering, an image", NUMBER, lowest=-math.inf, highest=math.inf
    ),
    "saving_over_always_ask": Described(
        "saving over always asking, an image", NUMBER, lowest=-math.inf, highest=math.inf
    ),
    "conformal_coverage": Described("coverage of the prediction sets", SHARE),
    "mean_set_size": Described("mean size of the prediction sets", NUMBER, better="at_most", highest=math.inf),
    "group_accuracy": Described("group accuracy", SHARE),
    "worst_group_accuracy": Described("accuracy of the worst group", SHARE),
    "accuracy_gap": Described("gap in accuracy between groups", DIFFERENCE, better="at_most"),
    "tpr_gap": Described("gap in true positive rate between groups", DIFFERENCE, better="at_most"),
    "fpr_gap": Described("gap in false positive rate between groups", DIFFERENCE, better="at_most"),
    "equalised_odds_difference": Described("equalised odds difference", DIFFERENCE, better="at_most"),
    "calibration_gap": Described(
        "gap in confidence beyond accuracy between groups", DIFFERENCE, better="at_most", highest=2.0
    ),
    "accuracy_gap_change": Described(
        "change of the gap in accuracy against training from scratch", DIFFERENCE, better="at_most", lowest=-1.0
    ),
    "accuracy_gain_over_champion": Described("accuracy gain over the champion", DIFFERENCE, lowest=-1.0),
    "macro_f1_gain_over_champion": Described("macro F1 gain over the champion", DIFFERENCE, lowest=-1.0),
    "brier_gain_over_champion": Described("Brier score spared against the champion", NUMBER, lowest=-2.0, highest=2.0),
    "nll_gain_over_champion": Described(
        "negative log-likelihood spared against the champion", NUMBER, lowest=-math.inf, highest=math.inf
    ),
    "negative_flip_rate": Described("share of negative flips against the champion", SHARE, better="at_most"),
    "weak_slice_accuracy": Described("accuracy of the weakest slice found", SHARE),
    **{
        f"{prefix}latency_{name}_ms": _timed(f"{title} of the milliseconds {of} takes")
        for prefix, of in (("", "an image"), ("batch_", "a batch"))
        for name, title in (("p50", "median"), ("p95", "95th percentile"), ("p99", "99th percentile"))
    },
    "deadline_misses": Described("share of answers after the deadline", SHARE, better="at_most", counted=TIMES),
    "cold_start_s": _timed("seconds from the start of a process to its first answer"),
    "model_size_mb": _timed("megabytes of the model on disk"),
    "peak_memory_mb": _timed("megabytes of memory of the process that answers"),
    "latency_ratio_to_champion": _timed("median time of an image over the champion's"),
    "case_passed": Described("must-pass case read right", SHARE, of_cases=True),
    "case_kept": Described("must-pass case not lost against the champion", SHARE, of_cases=True),
    "corruption_accuracy": Described("accuracy under corruption, mean over severities", SHARE),
    "corruption_accuracy_drop": Described(
        "accuracy lost under corruption, mean over severities", DIFFERENCE, better="at_most", lowest=-1.0
    ),
    "corruption_gain_over_scratch": Described(
        "accuracy gain under corruption over training from scratch", DIFFERENCE, lowest=-1.0
    ),
    "condition_accuracy": Described("accuracy under one condition", SHARE),
    "condition_overconfidence": Described(
        "confidence beyond accuracy under one condition", DIFFERENCE, better="at_most", lowest=-1.0
    ),
    "adversarial_accuracy": Described("accuracy on adversarial images", SHARE),
    "attribution_gain_over_random": Described(
        "insertion minus deletion area of attributions, beyond random order", NUMBER, lowest=-2.0, highest=2.0
    ),
    "random_weights_correlation": Described(
        "rank correlation of attributions with those of random weights", NUMBER, better="at_most", lowest=-1.0
    ),
    "border_attribution": Described("share of attribution in the border", SHARE, better="at_most"),
    "border_reliance": Described("answers that change with another class's border", SHARE, better="at_most"),
    "background_reliance": Described("answers that change with another class's background", SHARE, better="at_most"),
    "membership_auc": Described("area under the membership attack's ROC curve", SHARE, better="at_most"),
    "membership_auc_calibrated": Described(
        "area under the calibrated membership attack's ROC curve", SHARE, better="at_most"
    ),
    "membership_tpr": Described(
        "share of training images that the membership attack finds at 1 % false alarms", SHARE, better="at_most"
    ),
    "membership_tpr_calibrated": Described(
        "share of training images that the calibrated membership attack finds at 1 % false alarms",
        SHARE,
        better="at_most",
    ),
    "personal_data_share": Described(
        "share of images with personal data in their files", SHARE, better="at_most", of_data=True
    ),
    "near_duplicate_share": Described("share of images with a near-duplicate in train", SHARE, better="at_most"),
    "exact_duplicates": Described(
        "images with the same pixels as one in train", NUMBER, better="at_most", highest=math.inf
    ),
    "label_error_share": Described("estimated share of wrong labels", SHARE, better="at_most", of_data=True),
    "annotator_alpha": Described("annotators' agreement, Krippendorff's alpha", NUMBER, lowest=-1.0, of_data=True),
    "label_cue": Described(
        "information about the label, normalised and beyond chance", NUMBER, better="at_most", lowest=-1.0, of_data=True
    ),
}
