"""How often is the model right: overall, over classes, for each class, and in every slice."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from tasks import metrics
from tasks.estimates import Measure, estimate_measures, estimate_rate
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.metrics import Outcomes, classes_of
from tasks.slices import iter_slices, iter_splits


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """Accuracy and the averages over classes on each slice; recall and precision of each class on each split.

    `recall` on `test/label=3` is over the images of class 3, `precision` over those predicted as 3; every class of the
    model is reported, one without images as NaN.
    """
    table, params = evidence.judged, evidence.params
    for name, rows in iter_slices(table):
        yield estimate_rate("accuracy", name, _hits(rows), rows, params)
        yield from estimate_measures(AVERAGES, name, rows, params)
    for split, part in iter_splits(table):
        for label in classes_of(table):
            for metric, column in (("recall", "label"), ("precision", "predicted")):
                rows = part[part[column] == label]
                yield estimate_rate(metric, f"{split}/label={label}", _hits(rows), rows, params)


def even_number(outcomes: Outcomes) -> float:
    """How many images an average over classes rests on: K squared over the sum of 1 / n_k, for n_k images of class k.

    The mean of K shares p of n_k images each has variance p (1 - p) times the sum of 1 / n_k over K squared.
    """
    return _even(_sizes(outcomes))


def even_number_of_pairs(outcomes: Outcomes) -> float:
    """The same for areas under the ROC curve, with the smaller of n_k and n - n_k.

    An area A from m images against n has at most the variance A (1 - A) / min(m, n) (Birnbaum & Klose 1957).
    """
    sizes = _sizes(outcomes)
    return _even(np.minimum(sizes, len(outcomes.truth) - sizes))


def _sizes(outcomes: Outcomes) -> np.ndarray:
    return np.unique(outcomes.truth, return_counts=True)[1]


def _even(sizes: np.ndarray) -> float:
    return len(sizes) ** 2 / float((1 / sizes).sum()) if (sizes > 0).all() else 0.0


def _hits(rows: pd.DataFrame) -> np.ndarray:
    return (rows["label"] == rows["predicted"]).to_numpy()


AVERAGES = (
    Measure("balanced_accuracy", metrics.balanced_accuracy, even_number, of_labels=True),
    Measure("macro_precision", metrics.macro_precision, even_number, of_labels=True),
    Measure("macro_recall", metrics.macro_recall, even_number, of_labels=True),
    Measure("macro_f1", metrics.macro_f1, even_number, of_labels=True),
    Measure("macro_roc_auc", metrics.macro_roc_auc, even_number_of_pairs),
)
METRICS = ("accuracy", *(measure.name for measure in AVERAGES), "recall", "precision")
