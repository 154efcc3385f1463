"""How many classes must be named to be right as often as promised: split-conformal prediction sets.

A class is in the set when one minus its probability is at most the quantile of that score over the calibration split
(Vovk, Gammerman & Shafer 2005, chapter 4; the score LAC: Sadinle, Lei & Wasserman 2019). For images exchangeable with
the calibration split the set holds the truth with probability at least 1 - alpha, whatever the model; other writers or
another scanner are not, which is why coverage is measured. The temperature is fitted on the same split: one number,
whose effect on the quantile is of the order 1 / n.
"""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from tasks.estimates import estimate_rate, estimate_sum
from tasks.evidence import Evidence
from tasks.findings import Finding
from tasks.metrics import Outcomes, classes_of, outcomes_of
from tasks.params import EvaluateParams
from tasks.slices import iter_slices, iter_splits

METRICS = ("conformal_coverage", "mean_set_size")


def evaluate(evidence: Evidence) -> Iterator[Finding]:
    """Coverage and mean size of the sets on each slice, and on each split for the images of each class."""
    quantile, table, params = chosen_quantile(evidence), evidence.judged, evidence.params
    for name, rows in iter_slices(table):
        yield from _findings(name, rows, quantile, params)
    for split, part in iter_splits(table):
        for label in classes_of(table):
            yield from _findings(f"{split}/label={label}", part[part["label"] == label], quantile, params)


def chosen_quantile(evidence: Evidence) -> float:
    """The quantile of the calibration split's scores at the stage's alpha."""
    return conformal_quantile(scores(evidence.calibration), evidence.params.conformal_alpha)


def scores(outcomes: Outcomes) -> np.ndarray:
    """One minus the probability of the true class, (n,)."""
    return np.asarray(1 - outcomes.probabilities[np.arange(len(outcomes.truth)), outcomes.truth])


def conformal_quantile(scores: np.ndarray, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n scores; infinite when n is too small for alpha: all classes.

    The finite-sample quantile (Angelopoulos & Bates 2023, section 1). Coverage given the calibration images is then
    Beta(n + 1 - l, l) with l = floor((n + 1) alpha), for scores without ties (Vovk 2012; section 3.2 there).
    """
    place = math.ceil((len(scores) + 1) * (1 - alpha) - 1e-9)  # 0.9 * 10 is a hair above 9
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else math.inf


def prediction_sets(outcomes: Outcomes, quantile: float) -> np.ndarray:
    """Whether each class is in each image's set, (n, K)."""
    return np.asarray(1 - outcomes.probabilities <= quantile)


def _findings(name: str, rows: pd.DataFrame, quantile: float, params: EvaluateParams) -> Iterator[Finding]:
    outcomes = outcomes_of(rows)
    sets = prediction_sets(outcomes, quantile)
    yield estimate_rate("conformal_coverage", name, sets[np.arange(len(rows)), outcomes.truth], rows, params)
    yield estimate_sum("mean_set_size", name, _size_parts(sets), rows, params)


def _size_parts(sets: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """The mean size as a sum of shares: of the images with a set of at least so many, for each size that occurs.

    One size more than occurs is among them: that no image has it here does not mean that none has.
    """
    sizes = sets.sum(axis=1)
    most = int(sizes.max(initial=0))
    steps = sorted({*sizes.tolist(), min(most + 1, sets.shape[1])} - {0})
    return [(float(step - before), sizes >= step) for before, step in zip([0, *steps], steps, strict=False)]
