"""What can be said of a night whose labels have not come: how many answers are probably right, and what to ask first.

Estimates without labels warn early and decide nothing. They hold while inputs change and their relation to the labels
does not; under concept shift (the same picture now means something else) nothing in the model's own answers tells, so
each estimate carries the sentence that says what it rests on.

Labels that are asked for where errors are likely make any model look worse than it is. So `to_label` draws at random,
with chances that it writes down, and hands out the weights that undo them: importance sampling of a model's risk
(Sawade et al. 2010, "Active risk estimation", ICML), one image after another without replacement as in active testing
(Kossen et al. 2021, ICML). A greedy list of the most uncertain images could not be bet on (tasks/e_detector.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from tasks.errors import BadInput, EvidenceMissing
from tasks.predictions import TOLERANCE
from tasks.resampling import Clusters, draw_weights, percentiles

EXPLORED = 0.5  # of the chance to be asked about, the share that all images have alike
LARGEST_WEIGHT = 1 / EXPLORED
Chances = Callable[[np.ndarray], np.ndarray]  # scores (n,) -> chance to be right (n,)
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Chances]  # scores, correct, weights, each (m,)


@dataclass(frozen=True)
class Answers:
    """What a model said of n images: `probabilities` (n, K) and the unit (n,) that each image belongs to."""

    probabilities: np.ndarray
    units: np.ndarray


@dataclass(frozen=True)
class AccuracyEstimate:
    """The share of right answers that `method` expects of a window, in [`low`, `high`]; it `holds` while what."""

    method: str
    value: float
    low: float
    high: float
    holds: str


@dataclass(frozen=True)
class Request:
    """An image to ask a label for, by its place in the window, and the weight of its loss."""

    image: int
    weight: float


def confidences(probabilities: np.ndarray) -> np.ndarray:
    """The largest probability of each image, (n,)."""
    return np.asarray(probabilities.max(axis=1))


def negative_entropies(probabilities: np.ndarray) -> np.ndarray:
    """The sum of p log p of each image, (n,): 0 when the model is certain, -log K when it knows nothing."""
    return np.asarray((probabilities * np.log(np.maximum(probabilities, np.finfo(float).tiny))).sum(axis=1))


def fit_threshold(scores: np.ndarray, correct: np.ndarray, weights: np.ndarray) -> Chances:
    """Average thresholded confidence: right is what scores at least the threshold (Garg et al. 2022, ICLR).

    As many of the calibration images lie below the threshold as are wrong.
    """
    order = np.argsort(scores, kind="stable")
    below = np.cumsum(weights[order]) <= weights[~correct].sum() + 1e-9
    ranked = np.append(scores[order], np.inf)
    threshold = ranked[int(below.sum())]
    return lambda found: (found >= threshold).astype(float)


def fit_calibration(scores: np.ndarray, correct: np.ndarray, weights: np.ndarray) -> Chances:
    """Confidence-based performance estimation: the chance to be right at a confidence, by isotonic regression.

    The mean over a window is then the expected accuracy (Bialek et al. 2024, "Estimating model performance under
    covariate shift without labels"); the calibration map: Zadrozny & Elkan 2002.
    """
    drawn = weights > 0
    curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    curve.fit(scores[drawn], correct[drawn].astype(float), sample_weight=weights[drawn])
    return lambda found: np.asarray(curve.predict(found))


@dataclass(frozen=True)
class Method:
    """How answers are scored, how scores become chances to be right, and what that rests on.

    `of_answers`: the luck of a window is drawn from these chances; else, where they are 0 or 1, from its images.
    """

    score: Callable[[np.ndarray], np.ndarray]
    fit: Fit
    of_answers: bool
    holds: str


FAILS = "it fails under concept shift, when answers that the model is sure of become wrong"
WHERE_UNSURE = f"holds while errors stay where the model is least sure, as many as on the calibration images; {FAILS}"
AS_CALIBRATED = f"holds while a confidence means the same chance to be right as on the calibration images; {FAILS}"
METHODS = {
    "ATC on confidence": Method(confidences, fit_threshold, False, WHERE_UNSURE),
    "ATC on negative entropy": Method(negative_entropies, fit_threshold, False, WHERE_UNSURE),
    "CBPE": Method(confidences, fit_calibration, True, AS_CALIBRATED),
}


def estimate_accuracy(
    calibration: Answers, correct: np.ndarray, window: Answers, level: float, resamples: int, seed: int
) -> list[AccuracyEstimate]:
    """The expected accuracy on a window without labels, by each of METHODS.

    `correct` (m,) says which of the calibration images, which the model must not have been fitted on, it answered
    right. The band is the percentile interval over resampled units of both sets, for CBPE with the window's answers
    drawn instead of its units, those of one unit alike. It is for the accuracy that the window's labels will show, and
    knows nothing of a failed assumption. EvidenceMissing when a set is empty or unsound, or when the calibration images
    hold no error or nothing but errors.
    """
    right = np.asarray(correct, dtype=float)
    for answers, name in ((calibration, "the calibration images"), (window, "the window")):
        _check(answers, name)
    if right.shape != (len(calibration.units),) or not np.isin(right, (0, 1)).all():
        raise EvidenceMissing("each calibration image must be known as right or wrong; join its label and prediction")
    if right.min() == right.max():
        raise EvidenceMissing(
            f"of {len(right)} calibration images {int(right.sum())} are right: with no error, or nothing else, there "
            "is nothing to learn from; calibrate on more images"
        )
    return [_estimate(name, calibration, right == 1, window, (level, resamples, seed)) for name in METHODS]


def to_label(probabilities: np.ndarray, embeddings: np.ndarray, known: np.ndarray, k: int, seed: int) -> list[Request]:
    """Which `k` images to ask labels for, in the order they were drawn; fewer when fewer are not yet `known` (N,).

    Half of an image's chance is the same for all; the other half grows with the root of the chance that the model errs
    (the best proposal for an error rate, Sawade et al. 2010, with 1 - confidence as that chance) and shrinks near
    images already drawn, by the cosine of their embeddings (N, D), as copies tell the same twice. Weight times loss has
    as its mean the mean loss of the images not yet drawn: that of the window at first, and less towards the end when
    doubtful images, which go first, do err more. A bet on it is fair on every window that is at most the tolerated
    risk. Give one image a unit: mark the others as known.
    """
    _check(Answers(probabilities, np.arange(len(probabilities))), "the window")
    if not len(probabilities) == len(embeddings) == len(known):
        raise BadInput(
            f"{len(probabilities)} probabilities, {len(embeddings)} embeddings and {len(known)} known; "
            "each image of the window has one of all"
        )
    if not np.isfinite(embeddings).all():
        raise EvidenceMissing("the window's embeddings hold values that are no numbers; embed its images again")
    return list(_draws(probabilities, embeddings, np.asarray(known, bool), k, np.random.default_rng(seed)))


def _draws(
    probabilities: np.ndarray, embeddings: np.ndarray, known: np.ndarray, k: int, random: np.random.Generator
) -> Iterator[Request]:
    """Draw one image after another from those left."""
    unsure, left = np.sqrt(1 - confidences(probabilities).clip(0, 1)), ~known
    directions = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    novelty = np.ones(len(known))
    for _ in range(min(k, int(left.sum()))):
        places = np.flatnonzero(left)
        merit = (unsure * novelty)[places]
        merit = merit if merit.sum() > 0 else unsure[places]  # all are copies of images already drawn
        chances = np.full(len(places), 1 / len(places))
        if merit.sum() > 0:
            chances = EXPLORED * chances + (1 - EXPLORED) * merit / merit.sum()
        drawn = int(random.choice(len(places), p=chances))
        image, left[places[drawn]] = int(places[drawn]), False
        yield Request(image, min(LARGEST_WEIGHT, float(1 / (len(places) * chances[drawn]))))  # rounding may exceed it
        distances = (1 - directions @ directions[image]).clip(0)  # of copies it is 0, whatever rounding makes of it
        novelty = np.minimum(novelty, distances / max(float(np.median(distances)), 1e-12))


def _estimate(
    name: str, calibration: Answers, correct: np.ndarray, window: Answers, drawing: tuple[float, int, int]
) -> AccuracyEstimate:
    level, resamples, seed = drawing
    method = METHODS[name]
    known, found = method.score(calibration.probabilities), method.score(window.probabilities)
    codes, random = pd.factorize(window.units)[0], np.random.default_rng(seed + 2)
    values = []
    for calibrating, images in zip(
        _rows(calibration, resamples, seed), _rows(window, resamples, seed + 1), strict=True
    ):
        chances = method.fit(known, correct, calibrating)(found)
        answered = random.uniform(size=codes.max() + 1)[codes] < chances
        values.append(answered.mean() if method.of_answers else np.average(chances, weights=images))
    ends = percentiles(np.array(values), level)
    value = float(method.fit(known, correct, np.ones(len(known)))(found).mean())
    return AccuracyEstimate(name, value, ends.low, ends.high, method.holds)


def _rows(answers: Answers, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """The weights (n,) of each resample of the units."""
    codes, names = pd.factorize(answers.units)
    for chunk in draw_weights(Clusters(codes, len(names), "units"), resamples, seed):
        yield from chunk


def _check(answers: Answers, name: str) -> None:
    told = answers.probabilities
    if len(told) == 0 or len(told) != len(answers.units):
        raise EvidenceMissing(f"{name}: {len(told)} answers and {len(answers.units)} units; score the images first")
    unsound = ~(np.isfinite(told) & (told >= 0)).all(axis=1) | (np.abs(told.sum(axis=1) - 1) > TOLERANCE)
    if unsound.any() or pd.isna(answers.units).any():
        raise EvidenceMissing(
            f"{name}: {int(unsound.sum())} of {len(told)} answers are no probabilities and "
            f"{int(pd.isna(answers.units).sum())} have no unit; score and join the images again"
        )
