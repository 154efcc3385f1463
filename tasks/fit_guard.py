"""Fit the guard of a released model: at which score an image is too strange to be answered, and the terms of an answer.

Class means and covariance come from the training split, every threshold from the calibration split: the conformal rank
of its scores, so that of ordinary images at most the stated share is turned away (Vovk, Gammerman & Shafer 2005). That
holds for images exchangeable with the calibration split; how far another part of the data is from that, the validation
split shows. Neither test nor mirror is looked at. Writes guard.json and guard.safetensors (tasks/guard.py).
"""

import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import beta
from sklearn.covariance import ledoit_wolf

from tasks.digests import identity
from tasks.errors import EvidenceMissing
from tasks.evaluators.conformal import conformal_quantile, scores
from tasks.evaluators.selective import choose_threshold
from tasks.guard import Facts, Guard, Threshold
from tasks.metrics import outcomes_of
from tasks.params import EvaluateParams, FitGuardParams
from tasks.penultimate import FeatureScorer
from tasks.pixels import load_pixels
from tasks.plan import load_plan
from tasks.predictions import join_predictions, read_table
from tasks.scorer import BATCH
from tasks.stage import stage
from tasks.suspicion import HIGH_FREQUENCY, OOD, SQUEEZING, distances, high_frequency, moved, squeezed
from tasks.told import Terms

ALWAYS_ASK = 2.0  # what stands for an infinite threshold: no confidence reaches it
logger = logging.getLogger("tasks.fit_guard")


@stage
def fit_guard(
    data: Path,
    manifest: Path,
    model: Path,
    predictions: Path,
    plan: Path,
    params: FitGuardParams,
    evaluating: EvaluateParams,
    out: Path,
) -> None:
    """Write guard.json and guard.safetensors; EvidenceMissing where a class has no training image."""
    table, scorer = read_table(manifest), FeatureScorer(model)
    parts = {name: table[table["split"] == name] for name in ("train", "calibration", "validation")}
    targets = pd.Index(scorer.classes).get_indexer(parts["train"]["label"])
    absent = sorted(set(range(len(scorer.classes))) - set(targets))
    if absent:
        raise EvidenceMissing(
            f"no training image of {', '.join(scorer.classes[k] for k in absent)}, from which its mean would come; "
            "check the split stage's parameters"
        )
    pixels = {name: load_pixels(data, rows, scorer.facts["image_size"]) for name, rows in parts.items()}
    answers = {name: answer_all(scorer, images) for name, images in pixels.items()}
    whitener, centres = fit_distances(answers["train"][1], targets, len(scorer.classes))
    found = {}
    for name in ("calibration", "validation"):
        told, features = answers[name]
        again = answer_all(scorer, squeezed(pixels[name], params.bits, params.window))[0]
        found[name] = {
            OOD: distances(features, whitener, centres),
            SQUEEZING: moved(told, again),
            HIGH_FREQUENCY: high_frequency(pixels[name], params.radius),
        }
    thresholds = {
        name: threshold_of(score, params.false_rejection, evaluating.level, found["validation"][name])
        for name, score in found["calibration"].items()
    }
    facts = Facts(
        identity(model), tuple(scorer.classes), params.bits, params.window, params.squeeze_share, params.radius
    )
    terms = terms_of(read_table(predictions), table, plan, evaluating)
    Guard(facts, terms, thresholds, whitener, centres).save(out)
    for name, one in thresholds.items():
        logger.info("%s: above %.4g flags at most %.2g of ordinary images", name, one.threshold, one.rate)


def answer_all(scorer: FeatureScorer, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (N, 3, S, S) -> probabilities (N, K) and features (N, D), a batch at a time."""
    parts = [scorer.answer(part) for part in pixels.split(BATCH)]
    return np.concatenate([p for p, _ in parts]), np.concatenate([f for _, f in parts])


def fit_distances(features: np.ndarray, targets: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) and class numbers (N,) of training images -> `whitener` (D, D) and `centres` (K, D), float32.

    After the whitener, distances are Euclidean; the centres are the class means there.
    """
    features = features.astype(np.float64)
    means = np.stack([features[targets == k].mean(axis=0) for k in range(classes)])
    covariance, _ = ledoit_wolf(features - means[targets], assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    floor = max(float(values.max()), 1.0) * 1e-9  # features that never vary are no reason to divide by 0
    whitener = vectors / np.sqrt(np.maximum(values, floor))
    return whitener.astype(np.float32), (means @ whitener).astype(np.float32)


def threshold_of(calibration: np.ndarray, rate: float, level: float, validation: np.ndarray) -> Threshold:
    """The threshold at which at most `rate` of images exchangeable with the calibration scores (n,) are flagged.

    The ceil((n + 1)(1 - rate))-th smallest. Where n is too small for the rate it is the largest, and the rate in force
    1 / (n + 1), which is said instead. Given the calibration scores, the share above is Beta(l, n + 1 - l), l being the
    number of them from the threshold upwards (Vovk 2012, for scores without ties).
    """
    n = len(calibration)
    if n == 0 or not np.isfinite(calibration).all():
        raise EvidenceMissing(f"of {n} calibration scores {int((~np.isfinite(calibration)).sum())} are no numbers")
    place = min(math.ceil((n + 1) * (1 - rate) - 1e-9), n)
    beyond = n + 1 - place
    low, high = (float(beta.ppf(q, beyond, n + 1 - beyond)) for q in ((1 - level) / 2, (1 + level) / 2))
    threshold = float(np.sort(calibration)[place - 1])
    flagged = int((~(validation <= threshold)).sum())
    return Threshold(threshold, beyond / (n + 1), low, high, level, n, flagged, len(validation))


def terms_of(predictions: pd.DataFrame, manifest: pd.DataFrame, plan: Path, evaluating: EvaluateParams) -> Terms:
    """The threshold and the quantile that the report's figures on answers and prediction sets were made with."""
    outcomes = outcomes_of(join_predictions(predictions, manifest, ("calibration",)))
    costs = load_plan(plan).prices
    threshold = None if costs is None else min(choose_threshold(outcomes, costs), ALWAYS_ASK)
    # No score is above 1, so a quantile of 1 means all classes just as an infinite one does.
    return Terms(threshold, min(conformal_quantile(scores(outcomes), evaluating.conformal_alpha), 1.0))
