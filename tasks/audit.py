"""The questions of the augmentation audit, answered on features, labels and losses; files are the verb's business.

* Domain: can a linear classifier on the frozen backbone's features tell augmented images from real ones? The area under
  its ROC curve says how far an ingredient moves the images: 0.5 not at all, 1 into another domain. Far is not bad, and
  nothing is decided by it. Its interval is one for the classifiers as fitted and leaves out how they vary (Bengio
  & Grandvalet 2004): on images that differ in nothing it held 0.5 in 49 of 60 simulations.
* Labels: a reader (a linear probe) that has met such images, of other people, reads the augmented image; its hits are
  compared with those of a reader of real images on the real image. What it cannot read has lost its label. A reader
  that never met them is reported beside it and decides nothing: one that was not shown noise misreads noisy digits
  that any person reads: the fault that augmentation cures, not one that it makes.
* Training: a short training with the policy against one without, on the same clean validation images.

Every reader is cross-fitted by group, so none has trained on an image of a person whom it judges. A harm is proved when
its one-sided test against the bound is significant after Holm's correction (1979) over all tests of the audit, so a
harmless policy is rejected in at most 2.5 of 100 audits. No proof of harm is not a proof of harmlessness: the outcome
says which of the two, or neither, was shown.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedGroupKFold

from tasks.estimates import (
    Measure,
    chance_of_change,
    chance_of_gain,
    estimate_change,
    estimate_gain,
    estimate_measures,
)
from tasks.findings import Finding
from tasks.metrics import macro_roc_auc
from tasks.multiplicity import holm
from tasks.params import Augmentation, EvaluateParams

POLICY = "the whole policy"
LABELS, ACCURACY, LOSS = "labels", "accuracy", "loss"
HARMFUL, HARMLESS, OPEN, NOT_ASSESSABLE = "HARMFUL", "HARMLESS", "NOT SHOWN", "NOT ASSESSABLE"
MOST_FOLDS = 5
Folds = list[tuple[np.ndarray, np.ndarray]]  # (fitted on, judged), positions


@dataclass(frozen=True)
class Check:
    """One question about one ingredient: how much was lost (negative: gained), and the bound that it must not pass.

    `p` is the chance of so much loss if the true loss were the bound; `unfit` says why nothing can be concluded.
    """

    question: str
    ingredient: str
    loss: Finding
    bound: float
    p: float
    unfit: str = ""


@dataclass(frozen=True)
class Judged:
    """A test with its p adjusted for all tests of the audit, its outcome, and the sentence that says so."""

    check: Check
    adjusted: float
    outcome: str
    sentence: str


@dataclass(frozen=True)
class Reading:
    """Hits of the readers on V augmented views of n images, (V, n), and of the reader of real images, (n,)."""

    real: np.ndarray
    met: np.ndarray  # by readers that have met augmented images
    unmet: np.ndarray  # by readers of real images only
    changed: np.ndarray  # whether the latter say something else than of the real image
    predicted: np.ndarray  # class numbers, by readers that have met them


def cross_fit(rows: pd.DataFrame, seed: int) -> Folds:
    """Up to five folds that keep groups whole; units, where folds by group would leave a reader without a class."""
    for column in ("group", "unit"):
        count = min(MOST_FOLDS, rows[column].nunique())
        if count < 2:
            continue
        maker = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes with fewer images than folds: the check below is stricter
            folds = list(maker.split(np.zeros(len(rows)), rows["label"], rows[column]))
        if all(rows["label"].iloc[fitted].nunique() == rows["label"].nunique() for fitted, _ in folds):
            return folds
    return []


def fit_linear(features: np.ndarray, targets: np.ndarray) -> LinearDiscriminantAnalysis:
    """The linear classifier of every question: closed form, with the shrinkage of Ledoit & Wolf (2004)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class with a single image, which counts with no spread of its own
        return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features, targets)


def domain_gap(
    name: str, real: np.ndarray, view: np.ndarray, rows: pd.DataFrame, folds: Folds, p: EvaluateParams
) -> Finding:
    """The area under the ROC curve of real against augmented, from features (n, D) of each, out of fold."""
    scores = np.zeros((2, len(rows)))
    for fitted, judged in folds:
        told = fit_linear(np.concatenate([real[fitted], view[fitted]]), np.repeat([0, 1], len(fitted)))
        margin = np.stack([told.decision_function(features[judged]) for features in (real, view)])
        scores[:, judged] = margin - margin.mean()  # each fold holds every image both ways: a common zero
    augmented = 1 / (1 + np.exp(-np.clip(scores.ravel(), -500, 500)))
    table = pd.concat([rows[["group", "unit"]]] * 2, ignore_index=True).assign(
        label=np.repeat(["real", "augmented"], len(rows)), prob_real=1 - augmented, prob_augmented=augmented
    )
    table["predicted"] = np.where(augmented > 0.5, "augmented", "real")
    return next(estimate_measures([Measure("domain_auc", macro_roc_auc)], name, table, p))


def read_labels(real: np.ndarray, views: Sequence[np.ndarray], targets: np.ndarray, folds: Folds) -> Reading:
    """Who can still read the label: features of real images (n, D), of each view (n, D), and class numbers (n,)."""
    count, n = len(views), len(targets)
    plain, plain_views, met = np.zeros(n, int), np.zeros((count, n), int), np.zeros((count, n), int)
    for fitted, judged in folds:
        reader = fit_linear(real[fitted], targets[fitted])
        everything = np.concatenate([features[fitted] for features in (real, *views)])
        informed = fit_linear(everything, np.tile(targets[fitted], count + 1))
        plain[judged] = reader.predict(real[judged])
        for place, view in enumerate(views):
            plain_views[place, judged] = reader.predict(view[judged])
            met[place, judged] = informed.predict(view[judged])
    return Reading(plain == targets, met == targets, plain_views == targets, plain_views != plain, met)


def check_labels(name: str, reading: Reading, rows: pd.DataFrame, bound: float, unfit: str, p: EvaluateParams) -> Check:
    """Labels lost: hits on real images less hits on augmented ones, paired by image, clustered by group or unit."""
    views = len(reading.met)
    gains = (reading.met.astype(int) - reading.real.astype(int)).ravel()
    repeated = pd.concat([rows] * views, ignore_index=True)
    found = _as_loss(estimate_gain("label_loss", name, gains, repeated, p))
    return Check(LABELS, name, found, bound, chance_of_gain(gains, repeated, -bound, p), unfit)


def check_training(
    name: str,
    without: tuple[np.ndarray, np.ndarray],
    with_it: tuple[np.ndarray, np.ndarray],
    rows: pd.DataFrame,
    bounds: tuple[float, float],
    unfit: str,
    p: EvaluateParams,
) -> list[Check]:
    """Accuracy lost and loss increased on clean validation images by training with an ingredient.

    Each training is given by its hits (n,) and its cross-entropies (n,) on the same images.
    """
    gains, increase = with_it[0].astype(int) - without[0].astype(int), with_it[1] - without[1]
    lost = _as_loss(estimate_gain("accuracy_loss", name, gains, rows, p))
    grown = estimate_change("loss_increase", name, increase, rows, p)
    return [
        Check(ACCURACY, name, lost, bounds[0], chance_of_gain(gains, rows, -bounds[0], p), unfit),
        Check(LOSS, name, grown, bounds[1], chance_of_change(increase, rows, bounds[1], p), unfit),
    ]


def judge_checks(checks: list[Check], level: float) -> list[Judged]:
    """Holm's correction over the checks that can be assessed, and an outcome for each."""
    fit = [check for check in checks if not check.unfit]
    adjusted = iter(holm([check.p for check in fit]))
    judged = []
    for check in checks:
        p = math.nan if check.unfit else next(adjusted)
        outcome = _outcome(check, p, (1 - level) / 2)
        judged.append(Judged(check, p, outcome, f"{outcome} {_sentence(check, p, outcome)}"))
    return judged


def _outcome(check: Check, p: float, error: float) -> str:
    if check.unfit:
        return NOT_ASSESSABLE
    if p < error:
        return HARMFUL
    return HARMLESS if check.loss.high <= check.bound else OPEN


def describe_reading(reading: Reading, targets: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Shares for the page, and the pair of classes that augmentation makes most alike."""
    count = len(classes)
    codes = np.broadcast_to(targets, reading.predicted.shape) * count + reading.predicted
    table = np.bincount(codes.ravel(), minlength=count * count).reshape(count, count).astype(float)
    table /= np.maximum(table.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(table, 0)
    actual, taken = np.unravel_index(int(table.argmax()), table.shape)
    shares = {name: float(getattr(reading, name).mean()) for name in ("real", "met", "unmet", "changed")}
    return {**shares, "confused": f"{classes[actual]} is read as {classes[taken]} in {100 * table.max():.0f} %"}


def describe_policy(policy: Augmentation) -> list[str]:
    """`noise 0.2 on 50 %`, an entry for each ingredient that is on."""
    entries = []
    for name in type(policy).model_fields:
        found = policy.ingredient(name)
        if found.acts:
            strength = "" if policy.is_switch(name) else f" {found.strength:g}"
            share = f" on {100 * found.probability:g} %" if found.probability < 1 else ""
            entries.append(f"{name}{strength}{share}")
    return entries


_SAYS: dict[str, Callable[[Finding], str]] = {
    LABELS: lambda f: f"labels lost {_share(f)} of augmented training images",
    ACCURACY: lambda f: f"accuracy lost {_share(f)} of clean validation images after the short training",
    LOSS: lambda f: f"loss {f.value:+.3f} [{f.low:+.3f}, {f.high:+.3f}] on clean validation images ({_number(f)})",
}


def _sentence(check: Check, p: float, outcome: str) -> str:
    allowed = f"{check.bound:g}" if check.question == LOSS else f"{100 * check.bound:g} %"
    said = f"{check.ingredient}: {_SAYS[check.question](check.loss)}; at most {allowed} allowed"
    why = {
        HARMFUL: f"more is proved (p = {p:.2g} after correction for all tests)",
        HARMLESS: "the upper end stays within it",
        OPEN: "the interval reaches beyond it, and nothing is proved either way",
        NOT_ASSESSABLE: check.unfit,
    }
    return f"{said}; {why[outcome]}"


def _share(finding: Finding) -> str:
    low, high = 100 * finding.low, 100 * finding.high
    return f"{100 * finding.value:.1f} % [{low:.1f}, {high:.1f}] ({_number(finding)})"


def _number(finding: Finding) -> str:
    units = f" from {finding.clusters} units" if finding.clusters < finding.n else ""
    return f"n = {finding.n}{units}"


def _as_loss(gain: Finding) -> Finding:
    return replace(gain, value=-gain.value + 0.0, low=-gain.high + 0.0, high=-gain.low + 0.0)
