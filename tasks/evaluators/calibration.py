"""Do the probabilities mean what they say: calibration error, Brier score and log-likelihood in every slice."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from tasks import metrics
from tasks.estimates import Measure, estimate_measures
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.metrics import bin_of, outcomes_of
from tasks.slices import iter_slices, iter_splits

METRICS = ("ece", "brier", "nll")


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """Three findings a slice."""
    measures = (
        Measure("ece", metrics.ece(evidence.params.calibration_bins), inflated=True),
        Measure("brier", metrics.brier),
        Measure("nll", metrics.nll),
    )
    for name, rows in iter_slices(evidence.judged):
        yield from estimate_measures(measures, name, rows, evidence.params)


def reliability(table: pd.DataFrame, bins: int) -> pd.DataFrame:
    """For each split and bin with images, mean confidence against accuracy: bin, confidence, accuracy, count, split."""
    parts = []
    for split, rows in iter_splits(table):
        outcomes = outcomes_of(rows)
        confidence = outcomes.probabilities.max(axis=1)
        frame = pd.DataFrame({"confidence": confidence, "accuracy": outcomes.hits.astype(float)})
        binned = frame.groupby(pd.Series(bin_of(confidence, bins), name="bin"))
        means = binned.mean().round(10)
        parts.append(means.assign(count=binned.size().astype(np.int64), split=split).reset_index())
    return pd.concat(parts, ignore_index=True)
